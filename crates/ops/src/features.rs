//! The input of most operators of `ai.onnx.ml`: examples `[N, F]`, or one example `[F]`, of float32, float64, int64 or
//! int32.

use std::borrow::Cow;

use inferrum_graph::{Facts, OpError, ShapeFact, SymDim};
use inferrum_tensor::{DType, Tensor, zeroed};

/// What is known of `N` and `F` of input `index`.
///
/// # Errors
/// The input has another type or rank.
pub(crate) fn infer(inputs: Facts<'_>, index: usize) -> Result<(SymDim, SymDim), OpError> {
    check_type(inputs, index)?;
    let shape = inputs.shape(index)?;
    match shape.dims() {
        None => Ok((SymDim::Unknown, SymDim::Unknown)),
        Some([features]) => Ok((SymDim::Known(1), features.clone())),
        Some([examples, features]) => Ok((examples.clone(), features.clone())),
        Some(_) => Err(OpError::shape(index, "[N, F] or [F]", shape)),
    }
}

/// That input `index` has one of the four element types.
///
/// # Errors
/// It has another.
pub(crate) fn check_type(inputs: Facts<'_>, index: usize) -> Result<(), OpError> {
    match inputs.dtype(index)? {
        DType::F32 | DType::F64 | DType::I64 | DType::I32 => Ok(()),
        other => Err(OpError::dtype(index, "float32, float64, int64 or int32", other)),
    }
}

/// That a known number of features is as many as a model was made for.
///
/// # Errors
/// It is not.
pub(crate) fn check_count(features: &SymDim, expected: usize) -> Result<(), OpError> {
    match features.known() {
        Some(known) if known != expected => {
            Err(OpError::shape(0, format!("[N, {expected}]"), format!("[N, {known}]")))
        }
        _ => Ok(()),
    }
}

/// `N` and `F` of a tensor.
///
/// # Errors
/// It has another rank.
pub(crate) fn extents(x: &Tensor) -> Result<(usize, usize), OpError> {
    match *x.shape().dims() {
        [features] => Ok((1, features)),
        [examples, features] => Ok((examples, features)),
        _ => Err(OpError::shape(0, "[N, F] or [F]", x.shape())),
    }
}

/// The elements in float32, in which ONNX Runtime works too.
///
/// # Errors
/// They are no numbers; memory.
pub(crate) fn f32s(x: &Tensor) -> Result<Cow<'_, [f32]>, OpError> {
    Ok(match x.dtype() {
        DType::F32 => Cow::Borrowed(x.as_slice::<f32>()?),
        DType::I64 => Cow::Owned(cast(x.as_slice::<i64>()?, |&x| x as f32)?),
        DType::I32 => Cow::Owned(cast(x.as_slice::<i32>()?, |&x| x as f32)?),
        _ => Cow::Owned(cast(&x.to_f64()?, |&x| x as f32)?),
    })
}

fn cast<T>(from: &[T], f: impl Fn(&T) -> f32) -> Result<Vec<f32>, OpError> {
    let mut to = zeroed::<f32>(from.len())?;
    for (to, from) in to.iter_mut().zip(from) {
        *to = f(from);
    }
    Ok(to)
}

/// Rows of `columns` numbers; as many empty ones as there are examples where there are no columns.
pub(crate) fn rows(values: &[f32], examples: usize, columns: usize) -> impl Iterator<Item = &[f32]> {
    (0..examples).map(move |row| values.get(row * columns..(row + 1) * columns).unwrap_or(&[]))
}

/// The inner product, summed in float64. Eight sums at a time let the compiler use vector instructions.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0f64; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(a) * f64::from(b);
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// The shape `[rows, columns]`, as far as it is known.
pub(crate) fn matrix(rows: SymDim, columns: impl Into<SymDim>) -> ShapeFact {
    vec![rows, columns.into()].into()
}
