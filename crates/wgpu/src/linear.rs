//! Matrix products of floats with their epilogue, by tiles.

use std::sync::Arc;

use inferrum_backend::{Decline, Loops, dense_strides};
use inferrum_ops::fused::linear::Linear;
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_ops::fused_matmul::FusedMatMul;
use inferrum_ops::matmul::MatMulGeometry;
use inferrum_tensor::{DType, Shape, Tensor};

use crate::bindings::{Bindings, fours};
use crate::epilogue::activate;
use crate::kernel::{Lowered, Lowering, Operand, Packing, word};
use crate::product::Product;
use crate::storage::packed;
use crate::strides::{loop_words, offsets};

const SOURCE: &str = include_str!("../../../shaders/linear.wgsl");

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
    lowering.require_floats(&[])?;
    let (a, b) = (Side::new(product, 0, lowering)?, Side::new(product, 1, lowering)?);
    let geometry = MatMulGeometry::new(&a.shape, &b.shape).map_err(|error| Decline(error.to_string()))?;
    let output = lowering.output_shape(0)?;
    // One right operand for all rows of the left one is a single product.
    let joined = geometry.b_batch.elements() == 1 && a.is_dense();
    let m = if joined { geometry.batch.elements() * geometry.m } else { geometry.m };
    let (n, k) = (geometry.n, geometry.k);
    let batch = if joined { Shape::scalar() } else { geometry.batch.clone() };
    let strides = [a.batch_strides(&batch), b.batch_strides(&batch)];
    let loops = Loops::new(&batch, &[&strides[0], &strides[1]])?;
    let mut params = vec![word(m)?, word(n)?, word(k)?, product.alpha.to_bits()];
    for stride in [a.row, a.column, b.row, b.column] {
        params.push(word(stride)?);
    }
    let walk = offsets(loops.dims().len(), 2, params.len(), "batch");
    params.extend(loop_words(&loops, &[0, 1])?);

    let right = Right::of(&b, lowering, [k, n], &strides[1]);
    let mut loads = Bindings::default();
    loads.read("a", lowering.float(0)?, Operand::Input(0));
    let element = fours(lowering.float(1)?, right != Right::ByElement);
    let by_fours = || Operand::Packed(b.by_fours([k, n]));
    loads.read("b", &element, if right == Right::Packed { by_fours() } else { Operand::Input(1) });

    let bias =
        lowering.has(Linear::BIAS) && addend.as_ref().is_none_or(|addend| addend.input != Linear::BIAS);
    let walked = match &addend {
        Some(addend) => Some(Loops::broadcast(&output, &[&lowering.shape(addend.input)?])?),
        None => None,
    };
    let wide = n % 4 == 0 && walked.as_ref().is_none_or(|loops| loops.is_dense(0));
    let mut stores = Bindings::default();
    let mut addends = String::new();
    if bias {
        stores.read("bias", &fours(lowering.float(Linear::BIAS)?, wide), Operand::Input(Linear::BIAS));
        addends.push_str("    value += Sums(bias[column / WIDTH]);\n");
    }
    if let (Some(Addend { input, scale }), Some(loops)) = (addend, walked) {
        stores.read("addend", &fours(lowering.float(input)?, wide), Operand::Input(input));
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
        addends.push_str(&format!("    value += bitcast<f32>(param({first}u)) * Sums(addend[{at}]);\n"));
    }
    stores.write("output", &fours(lowering.output_float(0)?, wide), Operand::Output(0));

    let switches = [
        ("a_by_row", a.row == 1 && a.column != 1),
        ("b_by_depth", right == Right::ByElement && b.row == 1 && b.column != 1),
        ("wide_b", right != Right::ByElement),
        ("packed_b", right == Right::Packed),
        ("wide_y", wide),
    ];
    let switches: Vec<&str> = switches.into_iter().filter_map(|(name, on)| on.then_some(name)).collect();
    Product {
        name: "gemm",
        source: SOURCE,
        included: None,
        block: None,
        factors: Some(lowering.dtype(0)?).filter(|dtype| lowering.dtype(1).as_ref() == Ok(dtype)),
        kind: format!("{} {}", lowering.float(1)?, switches.join(" ")),
        batches: batch.elements(),
        m,
        n,
        k,
        loads,
        stores,
        params,
        values: vec![("offsets", walk), ("addends", addends), ("activation", activate(activation)?)],
        switches,
    }
    .lower(lowering)
}

/// How the right operand is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// Element by element.
    ByElement,
    /// By vectors of four columns, as it stands in memory.
    ByFours,
    /// By vectors of four columns; a constant, of which every row starts at a vector.
    Packed,
}

impl Right {
    fn of(side: &Side, lowering: &Lowering<'_>, [k, n]: [usize; 2], batch_strides: &[isize]) -> Right {
        let fours = |stride: usize| stride.is_multiple_of(4);
        let batches_fit = batch_strides.iter().all(|stride| fours(stride.unsigned_abs()));
        if side.column == 1 && fours(n) && fours(side.row) && batches_fit {
            return Right::ByFours;
        }
        let bytes = side.packed_bytes([k, n]);
        let fits = bytes as u64 <= lowering.abilities.most_bytes();
        let alone = batch_strides.iter().all(|&stride| stride == 0);
        if lowering.constant(1).is_some() && alone && fits { Right::Packed } else { Right::ByElement }
    }
}

/// An operand of a product as it stands in memory.
struct Side {
    /// As `MatMul` sees it.
    shape: Shape,
    dtype: DType,
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
        Ok(Side { shape, dtype: lowering.dtype(operand)?, strides, row, column })
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

    /// The operand with its columns next to each other, as many as make vectors of four.
    fn by_fours(&self, [k, n]: [usize; 2]) -> Packing {
        let (row, column) = (self.row, self.column);
        let pack = move |tensor: &Tensor| {
            let width = n.next_multiple_of(4);
            packed(tensor, k * width, |at| {
                let (depth, place) = (at / width, at % width);
                (place < n).then_some(depth * row + place * column)
            })
        };
        let form = format!("{k}x{n} by fours, strides {row}, {column}");
        Packing { input: 1, form, bytes: self.packed_bytes([k, n]), pack: Arc::new(pack) }
    }

    /// Bytes of [`Side::by_fours`].
    fn packed_bytes(&self, [k, n]: [usize; 2]) -> usize {
        k.saturating_mul(n.next_multiple_of(4)).saturating_mul(self.dtype.size())
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
    use crate::abilities::Abilities;
    use crate::testing::{Tolerance, agree_on};
    use crate::tile::{Form, TILES_OF_ALL_SIZES};
    use inferrum_backend::testing::linear;

    const SUMS: Tolerance = Tolerance { relative: 1e-5, absolute: 1e-4 };

    fn check(extents: [usize; 3], trans_b: bool, activation: Option<FusedActivation>) {
        agree_on(linear::products(extents, [false, trans_b], activation), SUMS);
    }

    #[test]
    fn operands_either_way() {
        agree_on(linear::operands_either_way(), SUMS);
    }

    #[test]
    fn every_activation() {
        agree_on(linear::every_activation(), SUMS);
    }

    #[test]
    fn every_tile_and_parts_of_the_depth() {
        let software = Abilities { at_once: 4, ..Abilities::every().swap_remove(0) };
        let candidates = |extents| Form::candidates(extents, false, &software);
        for tile in TILES_OF_ALL_SIZES {
            let (m, n) = (2 * tile.m(), 2 * tile.n() - 1);
            let among = |form: &Form| matches!(form, Form::Tiles { tile: other, .. } if *other == tile);
            assert!(candidates([1, m, n, 40]).iter().any(among), "{tile:?} is not tried");
            check([m, 40, n], false, Some(FusedActivation::Gelu));
        }
        assert!(candidates([1, 33, 36, 1100]).iter().any(|form| form.splits() > 1));
        check([33, 1100, 36], false, Some(FusedActivation::Relu));
        check([5, 1030, 7], true, None);
    }

    #[test]
    fn batches_broadcast() {
        agree_on(linear::batches_broadcast(), SUMS);
    }
}
