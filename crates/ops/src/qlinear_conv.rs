//! `QLinearConv` (<https://onnx.ai/onnx/operators/onnx__QLinearConv.html>), the same in all opsets, and that of
//! `com.microsoft` (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>), whose nodes may lay
//! images out channels last and then become [`ChannelsLast`] around the operator.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;
use crate::conv::{Conv, check_channels, conv_flops, convolve};
use crate::conv_integer::centred;
use crate::fused::channels_last::ChannelsLast;
use crate::quantized::{byte_type, one_scale, one_zero_point, saturate, scale, scales, zero_point_like};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("QLinearConv", 9, |def| Ok(Arc::new(QLinearConv { conv: Conv::read(def)? }))),
    OpEntry::microsoft("QLinearConv", 9, |def| {
        let inner = Arc::new(QLinearConv { conv: Conv::read(def)? });
        Ok(if def.flag("channels_last", false)? {
            Arc::new(ChannelsLast { inner, images: vec![0] })
        } else {
            inner
        })
    }),
];

/// Convolution of 8-bit integers to 8-bit integers. Inputs: x `[N, C, D1, ...]`, its scale and zero point (scalars);
/// w `[M, C / group, K1, ...]`, its scale and zero point (scalars or `[M]`); scale and zero point of y (scalars);
/// optionally B `[M]` int32, whose scale is that of x times that of w. Output `[N, M, O1, ...]`, of the type of y's zero
/// point.
#[derive(Debug, Clone, PartialEq)]
pub struct QLinearConv {
    /// Group, kernel, strides, dilations and padding.
    pub conv: Conv,
}

impl Operator for QLinearConv {
    fn key(&self) -> OpKey {
        OpKey::onnx("QLinearConv")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let one = SymDim::Known(1);
        byte_type(inputs, 0)?;
        byte_type(inputs, 3)?;
        let shape = self.conv.output_shape(inputs.shape(0)?, inputs.shape(3)?, 3)?;
        let maps = inputs.shape(3)?.dim(0);
        scale(inputs, 1, &one)?;
        zero_point_like(inputs, 2, 0, &one)?;
        scale(inputs, 4, &maps)?;
        zero_point_like(inputs, 5, 3, &maps)?;
        scale(inputs, 6, &one)?;
        let dtype = byte_type(inputs, 7)?;
        zero_point_like(inputs, 7, 7, &one)?;
        if let Some(bias) = inputs.optional(8)?
            && bias.dtype != DType::I32
        {
            return Err(OpError::dtype(8, "int32", bias.dtype));
        }
        check_channels(inputs, 8, &maps)?;
        Ok(vec![Fact::tensor(dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (x, w) = (inputs.tensor(0)?, inputs.tensor(3)?);
        let dtype = inputs.tensor(7)?.dtype();
        let geometry = self.conv.geometry(x.shape(), w.shape())?;
        let x = centred(x, inputs.optional(2)?)?;
        let w = centred(w, inputs.optional(5)?)?;
        let mut y = convolve(&geometry, &x, &w)?;
        if let Some(bias) = inputs.optional_ints(8)? {
            geometry.add_per_channel(&mut y, &bias, |y, bias| *y += bias);
        }
        let (x_scale, y_scale, zero_point) =
            (one_scale(inputs, 1)?, one_scale(inputs, 6)?, one_zero_point(inputs, 7)?);
        // In f32 and in this order, as ONNX Runtime does: ties would fall otherwise.
        let factors: Vec<f32> =
            scales(inputs, 4)?.into_iter().map(|w_scale| x_scale * w_scale / y_scale).collect();
        geometry.add_per_channel(&mut y, &factors, |y, factor| {
            *y = saturate(f64::from(*y as i32 as f32 * factor), zero_point, dtype);
        });
        Ok(vec![Tensor::from_i64(dtype, geometry.output_shape(), &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        conv_flops(&self.conv, inputs, 0, 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, parse_in, run, try_run};
    use inferrum_graph::Attr;

    fn inputs() -> Vec<Tensor> {
        vec![
            Tensor::from_vec([1, 1, 3], vec![130u8, 126, 255]).unwrap(),
            Tensor::scalar(0.5f32),
            Tensor::scalar(128u8),
            Tensor::from_vec([2, 1, 1], vec![3i8, -2]).unwrap(),
            Tensor::vector(vec![1.0f32, 0.25]),
            Tensor::vector(vec![1i8, 0]),
            Tensor::scalar(1.0f32),
            Tensor::scalar(10u8),
            Tensor::vector(vec![1i32, -2]),
        ]
    }

    #[test]
    fn channels_have_their_own_scale() {
        let y = run(&*parse_at(10, "QLinearConv", &[]), &inputs()).remove(0);
        // (2 * 2 + 1) / 2 = 2.5 -> 2; (-4 + 1) / 2 = -1.5 -> -2; 255 / 2 -> 128 (half to even), saturated below 255.
        // (-4 - 2) / 8 = -0.75 -> -1; (4 - 2) / 8 -> 0; (-254 - 2) / 8 = -32, saturated at 0.
        assert_eq!(y.as_slice::<u8>().unwrap(), [12, 8, 138, 9, 10, 0]);
    }

    #[test]
    fn channels_may_come_last() {
        let microsoft =
            |last: i64| parse_in("com.microsoft", 1, "QLinearConv", &[("channels_last", Attr::Int(last))]);
        assert_eq!(run(&*microsoft(0), &inputs()), run(&*parse_at(10, "QLinearConv", &[]), &inputs()));
        let mut last = inputs();
        last[0] = Tensor::from_vec([1, 3, 1], vec![130u8, 126, 255]).unwrap();
        let y = run(&*microsoft(1), &last).remove(0);
        assert_eq!(y.shape().dims(), [1, 3, 2]);
        assert_eq!(y.as_slice::<u8>().unwrap(), [12, 9, 8, 10, 138, 0]);
    }

    #[test]
    fn parameters_of_another_extent_are_errors() {
        let op = parse_at(10, "QLinearConv", &[]);
        for (index, wrong) in [
            (1, Tensor::vector(vec![1f32, 2.])),
            (4, Tensor::vector(vec![1f32, 2., 3.])),
            (5, Tensor::scalar(1u8)),
            (8, Tensor::vector(vec![1f32, 2.])),
            (8, Tensor::vector(vec![1i32])),
        ] {
            let mut inputs: Vec<Option<Tensor>> = inputs().into_iter().map(Some).collect();
            inputs[index] = Some(wrong);
            assert!(try_run(&*op, &inputs).is_err(), "{index}");
        }
    }
}
