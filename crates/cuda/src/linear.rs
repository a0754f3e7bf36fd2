//! Linear layers: matrix products with what is added and done to them.

use inferrum_backend::{Decline, Loops, dense_strides};
use inferrum_ops::fused::linear::Linear;
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_ops::fused_matmul::FusedMatMul;
use inferrum_ops::matmul::MatMulGeometry;
use inferrum_tensor::Shape;

use crate::epilogue::{Bias, Epilogue};
use crate::kernel::{Lowered, Lowering, Operand};
use crate::packed::rearranged;
use crate::product::{Factor, Product};

pub(crate) fn lower(op: &Linear, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let bias = match lowering.has(Linear::BIAS) {
        true => {
            let by_column = lowering.shape(Linear::BIAS)?.elements() != 1;
            Some(Bias { input: Linear::BIAS, scale: 1.0, batch: 0, row: 0, by_column })
        }
        false => None,
    };
    let residual = lowering.has(Linear::RESIDUAL).then_some(Linear::RESIDUAL);
    lower_product(&op.product, op.activation, bias, residual, lowering)
}

/// The kernel of `activation(product + bias + residual)`.
///
/// # Errors
/// A type that is no float of 16 or 32 bits, or more elements than the kernel counts.
pub(crate) fn lower_product(
    product: &FusedMatMul,
    activation: Option<FusedActivation>,
    bias: Option<Bias>,
    residual: Option<usize>,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    lowering.require_floats(&[])?;
    let (a, b) = (Side::new(product, 0, lowering)?, Side::new(product, 1, lowering)?);
    let geometry = MatMulGeometry::new(&a.shape, &b.shape).map_err(|error| Decline(error.to_string()))?;
    // One right operand for all rows of the left one is a single product.
    let joined = geometry.b_batch.elements() == 1 && a.is_dense();
    let m = if joined { geometry.batch.elements() * geometry.m } else { geometry.m };
    let (n, k) = (geometry.n, geometry.k);
    if let Some(bias) = bias.as_ref().filter(|bias| bias.by_column) {
        let shape = lowering.shape(bias.input)?;
        if shape.last() != Some(&n) {
            return Err(Decline(format!("a bias of {shape} for {n} columns")));
        }
    }
    let batch = if joined { Shape::scalar() } else { geometry.batch.clone() };
    let strides = [a.batch_strides(&batch), b.batch_strides(&batch)];
    let batches = Loops::new(&batch, &[&strides[0], &strides[1]])?;
    let epilogue =
        Epilogue { alpha: product.alpha, bias, residual, activation, batch: m * n, row: n, images: None };
    let left =
        Factor::matrix(Operand::Input(0), lowering.dtype(0)?, [a.row, a.column], [m, k], batches.strides(0));
    let right = b.right([k, n], batches.strides(1), lowering)?;
    Product { name: "gemm", batches, m, n, k, a: left, b: right, epilogue, block: None, before: None }
        .lower(lowering)
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

    /// The right factor: as it stands, or, if it is a constant that cannot be read by 16 bytes, with longer rows.
    fn right(
        &self,
        [k, n]: [usize; 2],
        batches: &[isize],
        lowering: &Lowering<'_>,
    ) -> Result<Factor, Decline> {
        let dtype = lowering.dtype(1)?;
        let plain = Factor::matrix(Operand::Input(1), dtype, [self.column, self.row], [n, k], batches);
        let whole = 16 / dtype.size();
        let alone = batches.iter().all(|&stride| stride == 0);
        if plain.width == whole || n < whole || k == 0 || lowering.constant(1).is_none() || !alone {
            return Ok(plain);
        }
        let width = n.next_multiple_of(whole);
        let (row, column) = (self.row, self.column);
        let form = format!("{k}x{n} in rows of {width}, strides {row}, {column}");
        let operand = rearranged(1, form, k * width, move |at| {
            let (depth, place) = (at / width, at % width);
            (place < n).then_some(depth * row + place * column)
        });
        // Rows go on with zeros, so that the columns do.
        Ok(Factor { by_depth: false, width: whole, outer: 1, depth: width, operand, ..plain })
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
    use crate::product::tests::SUMS;
    use crate::testing::agree_on;
    use inferrum_backend::testing::linear;

    #[test]
    fn operands_either_way() {
        agree_on(linear::operands_either_way(), SUMS);
    }

    #[test]
    fn sums_of_nothing() {
        agree_on(linear::without_depth(), SUMS);
    }

    #[test]
    fn every_activation() {
        agree_on(linear::every_activation(), SUMS);
    }

    #[test]
    fn batches_broadcast() {
        agree_on(linear::batches_broadcast(), SUMS);
    }
}
