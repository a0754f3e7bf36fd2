//! `MatMul` (<https://onnx.ai/onnx/operators/onnx__MatMul.html>), the same in all opsets.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::accumulate::{Accumulate, add_scaled};
use crate::{Broadcast, OpEntry};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("MatMul", 2, |_| Ok(Arc::new(MatMul)))];

/// The matrix product, as NumPy's `matmul`. Inputs: `[..., M, K]` and `[..., K, N]`, whose leading axes broadcast, or a
/// vector `[K]` in place of either, which leaves M or N out of the output `[..., M, N]`. Any float of 16 bits or more;
/// int32, int64, uint32, uint64 (wrapping).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatMul;

/// The extents of one matrix product, all known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MatMulGeometry {
    /// The common shape of the leading axes: one product for each of its elements.
    pub batch: Shape,
    /// The leading axes of the first operand.
    pub a_batch: Shape,
    /// The leading axes of the second operand.
    pub b_batch: Shape,
    /// Rows of the first operand and of the product.
    pub m: usize,
    /// Columns of the first operand, rows of the second.
    pub k: usize,
    /// Columns of the second operand and of the product.
    pub n: usize,
    /// The product's shape: `batch`, `m` unless the first operand is a vector, `n` unless the second one is.
    pub output: Shape,
}

impl MatMulGeometry {
    /// The extents for operands of shapes `a` and `b`.
    ///
    /// # Errors
    /// They are scalars or do not fit each other.
    pub fn new(a: &Shape, b: &Shape) -> Result<MatMulGeometry, OpError> {
        let output = product_shape(&a.into(), &b.into(), 1)?;
        let (&[ref a_batch @ .., m, k], &[ref b_batch @ .., _, n]) = (&*matrix(a, true), &*matrix(b, false))
        else {
            return Err(OpError::shape(0, "[..., M, K]", a));
        };
        let (a_batch, b_batch) = (Shape::from(a_batch), Shape::from(b_batch));
        let unfit = || OpError::shape(1, format!("[..., {k}, N] that fits {a}"), b);
        let batch = a_batch.broadcast(&b_batch).ok_or_else(unfit)?;
        let output = output.concrete().ok_or_else(unfit)?;
        Ok(MatMulGeometry { batch, a_batch, b_batch, m, k, n, output })
    }

    /// For each product, which matrix of the first and which of the second operand it multiplies.
    ///
    /// # Errors
    /// None for a geometry that [`MatMulGeometry::new`] made.
    pub fn pairs(&self) -> Result<Vec<(usize, usize)>, OpError> {
        let broadcast = Broadcast::new(&[&self.a_batch, &self.b_batch])?;
        Ok(broadcast.indices(0).zip(broadcast.indices(1)).collect())
    }

    /// Two for each multiply-add.
    pub fn flops(&self) -> u64 {
        [self.m, self.k, self.n]
            .iter()
            .fold((self.batch.elements() as u64).saturating_mul(2), |p, &n| p.saturating_mul(n as u64))
    }
}

/// The shape as a stack of matrices: a vector becomes a row (of the first operand) or a column.
fn matrix(shape: &Shape, row: bool) -> Vec<usize> {
    match shape[..] {
        [k] if row => vec![1, k],
        [k] => vec![k, 1],
        _ => shape.to_vec(),
    }
}

/// The shape of a matrix product, as far as it is known; `b_input` is the second operand's place, for messages.
///
/// # Errors
/// The operands do not fit each other.
pub(crate) fn product_shape(a: &ShapeFact, b: &ShapeFact, b_input: usize) -> Result<ShapeFact, OpError> {
    for (index, shape) in [(0, a), (b_input, b)] {
        if shape.rank() == Some(0) {
            return Err(OpError::shape(index, "of rank 1 or more", shape));
        }
    }
    let (Some(a_dims), Some(b_dims)) = (a.dims(), b.dims()) else { return Ok(ShapeFact::unknown()) };
    let (a_lead, a_last) = a_dims.split_at(a_dims.len() - 1);
    let (b_lead, b_last) = b_dims.split_at(b_dims.len().saturating_sub(2));
    let unfit = || OpError::shape(b_input, format!("[..., {}, N] that fits {a}", a_last[0]), b);
    if a_last[0].merge(&b_last[0]).is_none() {
        return Err(unfit());
    }
    let (a_batch, m) = a_lead.split_at(a_lead.len().saturating_sub(1));
    let lead = |dims: &[SymDim]| dims.iter().cloned().collect::<ShapeFact>();
    let batch = lead(a_batch).broadcast(&lead(b_lead)).ok_or_else(unfit)?;
    let batch = batch.dims().unwrap_or_default().iter();
    Ok(batch.chain(m).chain(&b_last[1..]).cloned().collect())
}

/// The products of the matrices of `a` and `b`, one after the other.
pub(crate) fn multiply<T: Accumulate>(
    geometry: &MatMulGeometry,
    a: &[T],
    b: &[T],
) -> Result<Vec<T>, OpError> {
    let MatMulGeometry { m, k, n, .. } = *geometry;
    let mut y = zeroed::<T>(geometry.output.elements())?;
    if y.is_empty() {
        return Ok(y);
    }
    for (y, (a_index, b_index)) in y.chunks_exact_mut(m * n).zip(geometry.pairs()?) {
        let (a, b) = (&a[a_index * m * k..][..m * k], &b[b_index * k * n..][..k * n]);
        for (y, a) in y.chunks_exact_mut(n).zip(a.chunks_exact(k.max(1))) {
            for (&a, b) in a.iter().zip(b.chunks_exact(n)) {
                add_scaled(y, a, b, 1);
            }
        }
    }
    Ok(y)
}

/// Rows and columns exchanged.
pub(crate) fn transposed<T: bytemuck::Zeroable + Copy>(
    matrix: &[T],
    rows: usize,
    columns: usize,
) -> Result<Vec<T>, OpError> {
    let mut out = zeroed::<T>(matrix.len())?;
    for (i, row) in matrix.chunks_exact(columns.max(1)).enumerate() {
        out[i..].iter_mut().step_by(rows.max(1)).zip(row).for_each(|(out, &x)| *out = x);
    }
    Ok(out)
}

/// Checks that inputs 0 to `count` are of one type that matrices are multiplied in.
pub(crate) fn matrix_types(inputs: Facts<'_>, count: usize) -> Result<DType, OpError> {
    use DType::*;
    let dtype = inputs.dtype(0)?;
    if !matches!(dtype, F32 | F64 | F16 | BF16 | I32 | I64 | U32 | U64) {
        return Err(OpError::dtype(0, "a float type or an integer of 32 or 64 bits", dtype));
    }
    for index in 1..count {
        if let Some(input) = inputs.optional(index)?
            && input.dtype != dtype
        {
            return Err(OpError::dtype(index, format!("{dtype}, like input 0"), input.dtype));
        }
    }
    Ok(dtype)
}

/// The arithmetic operations of the product of inputs `a` and `b`.
pub(crate) fn matmul_flops(inputs: Facts<'_>, a: usize, b: usize) -> u64 {
    let shape = |index: usize| inputs.get(index).and_then(Fact::concrete_shape);
    let (Some(a), Some(b)) = (shape(a), shape(b)) else { return 0 };
    MatMulGeometry::new(&a, &b).map_or(0, |geometry| geometry.flops())
}

impl Operator for MatMul {
    fn key(&self) -> OpKey {
        OpKey::onnx("MatMul")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = matrix_types(inputs, 2)?;
        Ok(vec![Fact::tensor(dtype, product_shape(inputs.shape(0)?, inputs.shape(1)?, 1)?)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (a, b) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let geometry = MatMulGeometry::new(a.shape(), b.shape())?;
        Ok(vec![if a.dtype().is_integer() {
            let y = multiply(&geometry, &a.to_i64()?, &b.to_i64()?)?;
            Tensor::from_i64(a.dtype(), geometry.output, &y)?.into()
        } else {
            let y = multiply(&geometry, &a.to_f64()?, &b.to_f64()?)?;
            Tensor::from_f64(a.dtype(), geometry.output, &y)?.into()
        }])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        matmul_flops(inputs, 0, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};

    fn ramp(shape: &[usize]) -> Tensor {
        let shape = Shape::from(shape);
        Tensor::from_vec(shape.clone(), (1..=shape.elements() as i32).collect()).unwrap()
    }

    fn product(a: &[usize], b: &[usize]) -> Result<(Vec<usize>, Vec<i32>), OpError> {
        let y = try_run(&MatMul, &[Some(ramp(a)), Some(ramp(b))])?.remove(0);
        Ok((y.shape().to_vec(), y.as_slice::<i32>()?.to_vec()))
    }

    #[test]
    fn vectors_matrices_and_stacks() {
        assert_eq!(product(&[3], &[3]).unwrap(), (vec![], vec![14]));
        assert_eq!(product(&[2], &[2, 2]).unwrap(), (vec![2], vec![7, 10]));
        assert_eq!(product(&[2, 2], &[2]).unwrap(), (vec![2], vec![5, 11]));
        assert_eq!(product(&[1, 2], &[2, 2]).unwrap(), (vec![1, 2], vec![7, 10]));
        assert_eq!(
            product(&[2, 1, 1, 2], &[3, 2, 1]).unwrap(),
            (vec![2, 3, 1, 1], vec![5, 11, 17, 11, 25, 39])
        );
        assert_eq!(product(&[2, 1, 2], &[2]).unwrap(), (vec![2, 1], vec![5, 11]));
    }

    #[test]
    fn empty_extents() {
        assert_eq!(product(&[2, 0], &[0, 3]).unwrap(), (vec![2, 3], vec![0; 6]));
        assert_eq!(product(&[0, 2], &[2, 3]).unwrap().0, [0, 3]);
        assert_eq!(product(&[0, 1, 2], &[2, 3]).unwrap().0, [0, 1, 3]);
    }

    #[test]
    fn misfits_are_errors() {
        for (a, b) in
            [(vec![2, 3], vec![2, 3]), (vec![], vec![1]), (vec![1], vec![]), (vec![2, 1, 1], vec![3, 1, 1])]
        {
            assert!(product(&a, &b).is_err(), "{a:?} {b:?}");
        }
        let floats = Tensor::zeros(DType::F32, [3]).unwrap();
        assert!(try_run(&MatMul, &[Some(ramp(&[3])), Some(floats)]).is_err());
    }

    #[test]
    fn integers_wrap_and_floats_are_summed_wide() {
        let big = Tensor::vector(vec![u32::MAX, 2]);
        assert_eq!(run(&MatMul, &[big.clone(), big])[0].as_slice::<u32>().unwrap(), [5]);
        let a = Tensor::vector(vec![1e8f32, 1., -1e8]);
        let ones = Tensor::vector(vec![1f32; 3]);
        assert_eq!(run(&MatMul, &[a, ones])[0].as_slice::<f32>().unwrap(), [1.]);
    }

    #[test]
    fn symbols_pass_through() {
        let dims = |names: &[&str]| names.iter().map(|n| SymDim::Symbol((*n).into())).collect::<ShapeFact>();
        assert_eq!(
            product_shape(&dims(&["b", "m", "k"]), &dims(&["k", "n"]), 1).unwrap(),
            dims(&["b", "m", "n"])
        );
        assert_eq!(product_shape(&dims(&["k"]), &dims(&["b", "k", "n"]), 1).unwrap(), dims(&["b", "n"]));
    }
}
