//! Matrix products of f32 with their epilogue, by tiles.

use inferrum_backend::{Decline, Loops, dense_strides};
use inferrum_ops::fused::linear::Linear;
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_ops::fused_matmul::FusedMatMul;
use inferrum_ops::matmul::MatMulGeometry;
use inferrum_tensor::{DType, Shape};

use crate::bindings::Bindings;
use crate::epilogue::activate;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, word};
use crate::shader::{FUNCTIONS, Template};
use crate::strides::{loop_words, offsets};
use crate::tile::Tile;

const SOURCE: &str = include_str!("../../../shaders/linear.wgsl");

/// Workgroups along the third axis that every adapter takes.
const MOST_BATCHES: usize = 65535;

pub(crate) fn lower(op: &Linear, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let residual = lowering.has(Linear::RESIDUAL).then_some(Addend { input: Linear::RESIDUAL, scale: 1.0 });
    lower_product(&op.product, op.activation, residual, lowering)
}

/// What is added to a product under NumPy's broadcasting, scaled.
pub(crate) struct Addend {
    pub(crate) input: usize,
    pub(crate) scale: f32,
}

/// The kernel of `activation(product + bias + addend)`; the bias is input 2, one value per column, unless that is the addend.
pub(crate) fn lower_product(
    product: &FusedMatMul,
    activation: Option<FusedActivation>,
    addend: Option<Addend>,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    lowering.require_dtype(DType::F32, &[])?;
    let (a, b) = (Side::new(product, 0, lowering)?, Side::new(product, 1, lowering)?);
    let geometry = MatMulGeometry::new(&a.shape, &b.shape).map_err(|error| Decline(error.to_string()))?;
    let output = lowering.output_shape(0)?;
    // One right operand for all rows of the left one is a single product.
    let joined = geometry.b_batch.elements() == 1 && a.is_dense();
    let m = if joined { geometry.batch.elements() * geometry.m } else { geometry.m };
    let (n, k) = (geometry.n, geometry.k);
    let batch = if joined { Shape::scalar() } else { geometry.batch.clone() };
    if batch.elements() > MOST_BATCHES {
        return Err(Decline(format!("{} products, the kernel takes {MOST_BATCHES}", batch.elements())));
    }
    let strides = [a.batch_strides(&batch), b.batch_strides(&batch)];
    let loops = Loops::new(&batch, &[&strides[0], &strides[1]])?;
    let mut params = vec![word(m)?, word(n)?, word(k)?, product.alpha.to_bits()];
    for stride in [a.row, a.column, b.row, b.column] {
        params.push(word(stride)?);
    }
    let walk = offsets(loops.dims().len(), 2, params.len(), "batch");
    params.extend(loop_words(&loops, &[0, 1])?);

    let mut bindings = Bindings::default();
    bindings.read("a", "f32", Operand::Input(0));
    bindings.read("b", "f32", Operand::Input(1));
    let mut addends = String::new();
    let bias =
        lowering.has(Linear::BIAS) && addend.as_ref().is_none_or(|addend| addend.input != Linear::BIAS);
    if bias {
        bindings.read("bias", "f32", Operand::Input(Linear::BIAS));
        addends.push_str("    value += bias[column];\n");
    }
    if let Some(Addend { input, scale }) = addend {
        bindings.read("addend", "f32", Operand::Input(input));
        let loops = Loops::broadcast(&output, &[&lowering.shape(input)?])?;
        let first = params.len();
        params.push(scale.to_bits());
        let at = if loops.is_dense(0) {
            "at".to_owned()
        } else {
            let walk = offsets(loops.dims().len(), 1, first + 1, "at").replace("offset0", "place");
            params.extend(loop_words(&loops, &[0])?);
            addends.push_str(&walk);
            "place".to_owned()
        };
        addends.push_str(&format!("    value += bitcast<f32>(param({first}u)) * addend[{at}];\n"));
    }
    bindings.write("output", "f32", Operand::Output(0));

    let tile = Tile::of(m, n);
    let (columns, rows) = tile.groups(m, n);
    let template = Template::new("linear", SOURCE).including(FUNCTIONS).params(params.len());
    let shader = tile
        .fill(template, a.row == 1 && a.column != 1, b.row == 1 && b.column != 1)
        .with("buffers", bindings.declarations())
        .with("offsets", walk)
        .with("addends", addends)
        .with("activation", activate(activation)?)
        .build();
    let groups = [word(columns)?, word(rows)?, word(batch.elements())?];
    if groups[0].max(groups[1]) as usize > MOST_BATCHES {
        return Err(Decline(format!("{m} x {n} sums are more than the kernel takes")));
    }
    let operands = bindings.operands().iter().cloned().collect();
    Ok(Lowered::one(format!("gemm {}x{}", tile.m, tile.n), Dispatch { shader, operands, params, groups }))
}

/// An operand of a product as it stands in memory.
struct Side {
    /// As `MatMul` sees it.
    shape: Shape,
    strides: Vec<usize>,
    row: usize,
    column: usize,
}

impl Side {
    fn new(product: &FusedMatMul, operand: usize, lowering: &Lowering<'_>) -> Result<Side, Decline> {
        let stored = lowering.shape(operand)?;
        let dense = dense_strides(&stored);
        let axes = product.axes(operand, stored.rank());
        let shape: Shape = axes.iter().map(|&axis| stored[axis]).collect();
        let strides: Vec<usize> = axes.iter().map(|&axis| dense[axis].unsigned_abs()).collect();
        let (row, column) = match strides[..] {
            [.., row, column] => (row, column),
            // A vector is a row on the left, a column on the right.
            [stride] if operand == 0 => (0, stride),
            [stride] => (stride, 0),
            [] => return Err(Decline("an operand is a scalar".into())),
        };
        Ok(Side { shape, strides, row, column })
    }

    /// Whether all its rows are equally far apart.
    fn is_dense(&self) -> bool {
        let mut expected = self.row;
        let rank = self.strides.len();
        (0..rank.saturating_sub(1)).rev().all(|axis| {
            let fits = self.shape[axis] == 1 || self.strides[axis] == expected;
            expected = expected.saturating_mul(self.shape[axis]);
            fits
        })
    }

    /// Strides along the axes of `batch`, 0 where the operand repeats.
    fn batch_strides(&self, batch: &Shape) -> Vec<isize> {
        let own = self.strides.len().saturating_sub(2);
        let lead = batch.rank().saturating_sub(own);
        (0..batch.rank())
            .map(|axis| match axis.checked_sub(lead) {
                Some(axis) if self.shape[axis] != 1 => self.strides[axis] as isize,
                _ => 0,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random};

    const SUMS: Tolerance = Tolerance { relative: 1e-5, absolute: 3e-5 };

    #[test]
    fn sizes_around_the_tiles() {
        for (m, k, n) in
            [(1, 1, 1), (3, 17, 5), (16, 16, 16), (33, 127, 65), (64, 40, 130), (1, 300, 70), (100, 3, 1)]
        {
            for (trans_a, trans_b) in [(false, false), (true, false), (false, true), (true, true)] {
                let product = FusedMatMul { alpha: 0.5, trans_a, trans_b, ..FusedMatMul::default() };
                let a = if trans_a { [k, m] } else { [m, k] };
                let b = if trans_b { [n, k] } else { [k, n] };
                for activation in [None, Some(FusedActivation::Gelu)] {
                    let op = Linear { product: product.clone(), activation };
                    let inputs = [
                        Some((random(&a, 1), false)),
                        Some((random(&b, 2), true)),
                        Some((random(&[n], 3), true)),
                        Some((random(&[m, n], 4), false)),
                    ];
                    agree_with(op.clone(), &inputs, 1, SUMS);
                    agree_with(op, &inputs[..2], 1, SUMS);
                }
            }
        }
    }

    #[test]
    fn batches_broadcast() {
        for (a, b) in [
            (&[2usize, 3, 5, 17][..], &[2usize, 3, 17, 9][..]),
            (&[2, 3, 5, 17], &[3, 17, 9]),
            (&[2, 1, 5, 17], &[1, 3, 17, 9]),
            (&[5, 17], &[4, 17, 9]),
            (&[4, 3, 17], &[17, 9]),
            (&[17], &[4, 17, 9]),
            (&[4, 5, 17], &[17]),
            (&[0, 5, 17], &[17, 3]),
            (&[2, 0], &[0, 3]),
        ] {
            let op = Linear { product: FusedMatMul::default(), activation: None };
            agree_with(op, &[Some((random(a, 1), false)), Some((random(b, 2), false))], 1, SUMS);
        }
        let product = FusedMatMul { trans_batch_a: true, trans_b: true, ..FusedMatMul::default() };
        let inputs = [Some((random(&[5, 2, 7], 1), false)), Some((random(&[2, 9, 7], 2), false))];
        agree_with(Linear { product, activation: None }, &inputs, 1, SUMS);
    }
}
