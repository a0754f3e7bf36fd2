//! Affine quantisation to 8 bits, as the `QLinear...` and `...Integer` operators share it: `real = (q - zero_point) * scale`
//! (<https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>).

use inferrum_graph::{Facts, Inputs, OpError, ShapeFact, SymDim};
use inferrum_tensor::DType;

/// Checks that input `index` is int8 or uint8.
pub(crate) fn byte_type(inputs: Facts<'_>, index: usize) -> Result<DType, OpError> {
    match inputs.dtype(index)? {
        dtype @ (DType::I8 | DType::U8) => Ok(dtype),
        other => Err(OpError::dtype(index, "int8 or uint8", other)),
    }
}

/// Checks that input `index`, if it is given, is a zero point: of the type of input `like`, and a scalar or one for each
/// of `channels`.
pub(crate) fn zero_point_like(
    inputs: Facts<'_>,
    index: usize,
    like: usize,
    channels: &SymDim,
) -> Result<(), OpError> {
    if let Some(zero_point) = inputs.optional(index)? {
        let dtype = inputs.dtype(like)?;
        if zero_point.dtype != dtype {
            return Err(OpError::dtype(index, format!("{dtype}, like input {like}"), zero_point.dtype));
        }
        one_or_each(index, &zero_point.shape, channels)?;
    }
    Ok(())
}

/// Checks that input `index` is a float32 scale, or one for each of `channels`.
pub(crate) fn scale(inputs: Facts<'_>, index: usize, channels: &SymDim) -> Result<(), OpError> {
    let scale = inputs.tensor(index)?;
    if scale.dtype != DType::F32 {
        return Err(OpError::dtype(index, "float32", scale.dtype));
    }
    one_or_each(index, &scale.shape, channels)
}

/// Checks that a shape is a scalar, `[1]` or `[channels]`.
fn one_or_each(index: usize, shape: &ShapeFact, channels: &SymDim) -> Result<(), OpError> {
    let fits = |dims: &[SymDim]| match dims {
        [] | [SymDim::Known(1)] => true,
        [dim] => dim.merge(channels).is_some(),
        _ => false,
    };
    match shape.dims().is_none_or(fits) {
        true => Ok(()),
        false => Err(OpError::shape(index, format!("scalar or [{channels}]"), shape)),
    }
}

/// The elements of a scale that has passed [`scale`]: at least one.
pub(crate) fn scales(inputs: Inputs<'_>, index: usize) -> Result<Vec<f32>, OpError> {
    let scales = inputs.tensor(index)?.as_slice::<f32>()?;
    if scales.is_empty() {
        return Err(OpError::value(index, "a scale must have an element"));
    }
    Ok(scales.to_vec())
}

/// The scalar scale at `index`.
pub(crate) fn one_scale(inputs: Inputs<'_>, index: usize) -> Result<f32, OpError> {
    Ok(scales(inputs, index)?[0])
}

/// The scalar zero point at `index`; 0 where it is left out.
pub(crate) fn one_zero_point(inputs: Inputs<'_>, index: usize) -> Result<i64, OpError> {
    Ok(inputs.optional_ints(index)?.and_then(|values| values.first().copied()).unwrap_or(0))
}

/// Least and greatest value of an 8-bit type.
pub(crate) fn range(dtype: DType) -> (i64, i64) {
    if dtype == DType::I8 { (-128, 127) } else { (0, 255) }
}

/// `value`, in steps of the scale, as an 8-bit integer: rounded half to even, moved by the zero point, saturated.
pub(crate) fn saturate(value: f64, zero_point: i64, dtype: DType) -> i64 {
    let (low, high) = range(dtype);
    (value.round_ties_even() as i64).saturating_add(zero_point).clamp(low, high)
}

/// A scale and a zero point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Affine {
    /// Real distance of neighbouring integers.
    pub(crate) scale: f64,
    /// The integer of 0.
    pub(crate) zero_point: i64,
}

impl Affine {
    /// The scalars at the given places; the zero point may be left out.
    pub(crate) fn read(inputs: Inputs<'_>, scale: usize, zero_point: usize) -> Result<Affine, OpError> {
        Ok(Affine {
            scale: f64::from(one_scale(inputs, scale)?),
            zero_point: one_zero_point(inputs, zero_point)?,
        })
    }

    /// The real number that `q` stands for.
    pub(crate) fn real(self, q: i64) -> f64 {
        (q - self.zero_point) as f64 * self.scale
    }

    /// The nearest integer of `dtype`.
    pub(crate) fn quantize(self, real: f64, dtype: DType) -> i64 {
        saturate(real / self.scale, self.zero_point, dtype)
    }

    /// The parameters that `DynamicQuantizeLinear` finds for `values` in uint8, computed in f32 as it defines
    /// (<https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>).
    pub(crate) fn fitted(values: &[f32]) -> Affine {
        let low = values.iter().copied().fold(0f32, f32::min);
        let high = values.iter().copied().fold(0f32, f32::max);
        let scale = if high == low { 1.0 } else { (high - low) / 255.0 };
        let zero_point = (-low / scale).clamp(0.0, 255.0).round_ties_even();
        Affine { scale: f64::from(scale), zero_point: zero_point as i64 }
    }

    /// `values` in uint8, computed in f32 as `QuantizeLinear` defines.
    pub(crate) fn quantize_all(self, values: &[f32]) -> Vec<i64> {
        let scale = self.scale as f32;
        values.iter().map(|x| saturate(f64::from(x / scale), self.zero_point, DType::U8)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_even_and_ends_saturate() {
        assert_eq!(saturate(2.5, 0, DType::U8), 2);
        assert_eq!(saturate(3.5, 0, DType::U8), 4);
        assert_eq!(saturate(-1.0, 0, DType::U8), 0);
        assert_eq!(saturate(1e30, 5, DType::I8), 127);
        assert_eq!(saturate(f64::NEG_INFINITY, 5, DType::I8), -128);
    }

    #[test]
    fn fitted_parameters_are_those_of_dynamic_quantize_linear() {
        // The example of the operator's own tests.
        let values = [0f32, 2., -3., -2.5, 1.34, 0.5];
        let affine = Affine::fitted(&values);
        assert_eq!((affine.scale as f32, affine.zero_point), (5.0 / 255.0, 153));
        assert_eq!(affine.quantize_all(&values), [153, 255, 0, 26, 221, 179]);
        assert_eq!(Affine::fitted(&[0.0]), Affine { scale: 1.0, zero_point: 0 });
    }
}
