//! `DynamicQuantizeLinear` (<https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator, ShapeFact};
use inferrum_tensor::{DType, Tensor, Value, collected};

use crate::OpEntry;

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::onnx("DynamicQuantizeLinear", 1, |_| Ok(Arc::new(DynamicQuantizeLinear)))];

/// Quantises to uint8 with a scale that covers the data and 0. Input: any shape, float32. Outputs: the data as uint8, its
/// scale (scalar float32), its zero point (scalar uint8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DynamicQuantizeLinear;

impl DynamicQuantizeLinear {
    /// Scale and zero point of data between `least` and `greatest`, computed in float32. Where both are 0 the scale is 1,
    /// as ONNX Runtime has it; the specification's formula would give 0.
    pub fn parameters(least: f32, greatest: f32) -> (f32, u8) {
        let (least, greatest) = (least.min(0.0), greatest.max(0.0));
        let scale = if least == greatest { 1.0 } else { (greatest - least) / 255.0 };
        (scale, (-least / scale).round_ties_even().clamp(0.0, 255.0) as u8)
    }
}

impl Operator for DynamicQuantizeLinear {
    fn key(&self) -> OpKey {
        OpKey::onnx("DynamicQuantizeLinear")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let input = inputs.tensor(0)?;
        if input.dtype != DType::F32 {
            return Err(OpError::dtype(0, "float32", input.dtype));
        }
        let scalar = || ShapeFact::from([]);
        Ok(vec![
            Fact::tensor(DType::U8, input.shape.clone()),
            Fact::tensor(DType::F32, scalar()),
            Fact::tensor(DType::U8, scalar()),
        ])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let elements = x.as_slice::<f32>()?;
        let (least, greatest) =
            elements.iter().fold((0f32, 0f32), |(least, greatest), &x| (least.min(x), greatest.max(x)));
        let (scale, zero) = DynamicQuantizeLinear::parameters(least, greatest);
        let quantized = elements
            .iter()
            .map(|x| ((x / scale).round_ties_even() + f32::from(zero)).clamp(0.0, 255.0) as u8);
        let y = Tensor::from_vec(x.shape().clone(), collected(elements.len(), quantized)?)?;
        Ok(vec![y.into(), Tensor::scalar(scale).into(), Tensor::scalar(zero).into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Two comparisons for the range, a division, a rounding, an addition.
        outputs.first().map_or(0, |y| 5 * y.element_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run};

    fn quantized(x: Vec<f32>) -> (Vec<u8>, f32, u8) {
        let y = run(&*parse_at(11, "DynamicQuantizeLinear", &[]), &[Tensor::vector(x)]);
        (y[0].as_slice::<u8>().unwrap().to_vec(), y[1].to_scalar().unwrap(), y[2].to_scalar().unwrap())
    }

    #[test]
    fn the_range_covers_the_data_and_zero() {
        // The examples of the specification.
        let (y, scale, zero) = quantized(vec![0., 2., -3., -2.5, 1.34, 0.5]);
        assert_eq!((y, zero), (vec![153, 255, 0, 26, 221, 179], 153));
        assert!((scale - 0.019_607_844).abs() < 1e-9);
        let (y, _, zero) = quantized(vec![-1., -2.1, -1.3, -2.5, -3.34, -4.]);
        assert_eq!((y, zero), (vec![191, 121, 172, 96, 42, 0], 255));
        let (y, _, zero) = quantized(vec![1., 2.1, 1.3, 2.5, 3.34, 4., 1.5, 2.6, 3.9, 4., 3., 2.345]);
        assert_eq!((y, zero), (vec![64, 134, 83, 159, 213, 255, 96, 166, 249, 255, 191, 149], 0));
    }

    #[test]
    fn zeros_and_nothing_have_scale_one() {
        assert_eq!(quantized(vec![0.0; 3]), (vec![0; 3], 1.0, 0));
        assert_eq!(quantized(Vec::new()), (vec![], 1.0, 0));
    }
}
