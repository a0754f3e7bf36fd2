//! `ConvInteger` (<https://onnx.ai/onnx/operators/onnx__ConvInteger.html>), the same in all opsets.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;
use crate::conv::{Conv, conv_flops, convolve};
use crate::quantized::{byte_type, zero_point_like};

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::onnx("ConvInteger", 4, |def| Ok(Arc::new(ConvInteger { conv: Conv::read(def)? })))];

/// Convolution of 8-bit integers, summed in 32 bits. Inputs: x `[N, C, D1, ...]` and w `[M, C / group, K1, ...]`, each
/// int8 or uint8; optionally the zero point of x (scalar) and of w (scalar or `[M]`). Output int32 `[N, M, O1, ...]`.
/// Padding holds the zero point of x.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvInteger {
    /// Group, kernel, strides, dilations and padding.
    pub conv: Conv,
}

impl Operator for ConvInteger {
    fn key(&self) -> OpKey {
        OpKey::onnx("ConvInteger")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        byte_type(inputs, 0)?;
        byte_type(inputs, 1)?;
        let shape = self.conv.output_shape(inputs.shape(0)?, inputs.shape(1)?, 1)?;
        zero_point_like(inputs, 2, 0, &SymDim::Known(1))?;
        zero_point_like(inputs, 3, 1, &inputs.shape(1)?.dim(0))?;
        Ok(vec![Fact::tensor(DType::I32, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (x, w) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let geometry = self.conv.geometry(x.shape(), w.shape())?;
        let x = centred(x, inputs.optional(2)?)?;
        let w = centred(w, inputs.optional(3)?)?;
        let y = convolve(&geometry, &x, &w)?;
        Ok(vec![Tensor::from_i64(DType::I32, geometry.output_shape(), &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        conv_flops(&self.conv, inputs, 0, 1)
    }
}

/// The elements less the zero point: one for all, or one for each index of the first axis.
pub(crate) fn centred(tensor: &Tensor, zero_point: Option<&Tensor>) -> Result<Vec<i64>, OpError> {
    let mut elements = tensor.to_i64()?;
    let Some(zero_point) = zero_point else { return Ok(elements) };
    let zero_points = zero_point.to_i64()?;
    match zero_points[..] {
        [] => {}
        [zero_point] => elements.iter_mut().for_each(|x| *x -= zero_point),
        _ => {
            let rows = elements.chunks_mut((tensor.len() / zero_points.len()).max(1));
            rows.zip(zero_points).for_each(|(row, zero_point)| row.iter_mut().for_each(|x| *x -= zero_point));
        }
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    #[test]
    fn padding_holds_the_zero_point() {
        let op = parse_at(10, "ConvInteger", &[("pads", Attr::Ints(vec![1, 1]))]);
        let x = Tensor::from_vec([1, 1, 3], vec![2u8, 3, 4]).unwrap();
        let w = Tensor::from_vec([2, 1, 3], vec![1i8, 1, 1, 3, 4, 5]).unwrap();
        let y = run(&*op, &[x, w, Tensor::scalar(1u8), Tensor::vector(vec![0i8, 3])]).remove(0);
        assert_eq!(y.as_slice::<i32>().unwrap(), [3, 6, 5, 1 + 4, 2 + 6, 3]);
    }

    #[test]
    fn other_types_are_errors() {
        let op = parse_at(10, "ConvInteger", &[]);
        let x = Tensor::zeros(DType::I32, [1, 1, 3]).unwrap();
        let w = Tensor::zeros(DType::I8, [1, 1, 3]).unwrap();
        assert!(try_run(&*op, &[Some(x), Some(w.clone())]).is_err());
        let zero_points = Tensor::vector(vec![0i8, 1]);
        assert!(try_run(&*op, &[Some(w.clone()), Some(w), None, Some(zero_points)]).is_err());
    }
}
