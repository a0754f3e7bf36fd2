//! `QLinearMatMul` (<https://onnx.ai/onnx/operators/onnx__QLinearMatMul.html>). Opset 21 added float8 operands and scales
//! of 16 bits.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Tensor, Value};

use crate::matmul::{MatMulGeometry, matmul_flops, multiply, product_shape};
use crate::matmul_integer::{Per, centred, check_parameters, check_zero_point};
use crate::quantized::saturate;
use crate::{Broadcast, OpEntry};

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::onnx("QLinearMatMul", 8, |_| Ok(Arc::new(QLinearMatMul)))];

/// The matrix product of quantised matrices. Inputs: a `[..., M, K]`, its scale and zero point (scalars, `[M]` or
/// `[..., M, 1]`); b `[..., K, N]`, its scale and zero point (scalars, `[N]` or `[..., 1, N]`); scale and zero point of y
/// (as those of a). a and b: int8, uint8 or float8; scales: float32, float16 or bfloat16. Output `[..., M, N]`, of the
/// type of y's zero point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QLinearMatMul;

fn quantized_type(inputs: Facts<'_>, index: usize) -> Result<DType, OpError> {
    use DType::*;
    match inputs.dtype(index)? {
        dtype @ (I8 | U8 | F8E4M3Fn | F8E4M3Fnuz | F8E5M2 | F8E5M2Fnuz) => Ok(dtype),
        other => Err(OpError::dtype(index, "int8, uint8 or float8", other)),
    }
}

impl Operator for QLinearMatMul {
    fn key(&self) -> OpKey {
        OpKey::onnx("QLinearMatMul")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        quantized_type(inputs, 0)?;
        quantized_type(inputs, 3)?;
        let dtype = quantized_type(inputs, 7)?;
        for index in [1, 4, 6] {
            let scale = inputs.dtype(index)?;
            if !matches!(scale, DType::F32 | DType::F16 | DType::BF16) {
                return Err(OpError::dtype(index, "float32, float16 or bfloat16", scale));
            }
        }
        check_parameters(inputs, 1, 0, Per::Row)?;
        check_zero_point(inputs, 2, 0, Per::Row)?;
        check_parameters(inputs, 4, 3, Per::Column)?;
        check_zero_point(inputs, 5, 3, Per::Column)?;
        Ok(vec![Fact::tensor(dtype, product_shape(inputs.shape(0)?, inputs.shape(3)?, 3)?)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (a, b) = (inputs.tensor(0)?, inputs.tensor(3)?);
        let geometry = MatMulGeometry::new(a.shape(), b.shape())?;
        let (a_zero, b_zero) = (inputs.optional(2)?, inputs.optional(5)?);
        let integers = a.dtype().is_integer() && b.dtype().is_integer();
        let sums: Vec<f64> = if integers {
            let y = multiply(&geometry, &centred(a, a_zero, Per::Row)?, &centred(b, b_zero, Per::Column)?)?;
            // The sum of products is one of 32 bits.
            y.into_iter().map(|sum| f64::from(sum as i32)).collect()
        } else {
            multiply(
                &geometry,
                &centred_floats(a, a_zero, Per::Row)?,
                &centred_floats(b, b_zero, Per::Column)?,
            )?
        };
        let [a_scale, b_scale, y_scale, y_zero] = [1, 4, 6, 7].map(|index| inputs.tensor(index));
        let (a_scale, b_scale, y_scale, y_zero) = (a_scale?, b_scale?, y_scale?, y_zero?);
        let shapes = [
            geometry.output.clone(),
            Per::Row.parameters(a_scale.shape()),
            Per::Column.parameters(b_scale.shape()),
            Per::Row.parameters(y_scale.shape()),
            Per::Row.parameters(y_zero.shape()),
        ];
        let broadcast = Broadcast::onto_first(&shapes.each_ref())?;
        let (a_scales, b_scales, y_scales) = (a_scale.to_f64()?, b_scale.to_f64()?, y_scale.to_f64()?);
        let (y_zeros, dtype) = (y_zero.to_f64()?, y_zero.dtype());
        let places = broadcast
            .indices(1)
            .zip(broadcast.indices(2))
            .zip(broadcast.indices(3).zip(broadcast.indices(4)));
        let y = sums.into_iter().zip(places).map(|(sum, ((a, b), (y, zero)))| {
            // In f32, as ONNX Runtime has it: ties would fall otherwise.
            let factor = a_scales[a] as f32 * b_scales[b] as f32 / y_scales[y] as f32;
            match dtype {
                DType::I8 | DType::U8 => {
                    saturate(f64::from(sum as f32 * factor), y_zeros[zero] as i64, dtype) as f64
                }
                _ => sum * f64::from(factor) + y_zeros[zero],
            }
        });
        let y: Vec<f64> = y.collect();
        Ok(vec![Tensor::from_f64(dtype, geometry.output, &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        matmul_flops(inputs, 0, 3)
    }
}

/// The elements less their zero point, in f64.
fn centred_floats(matrix: &Tensor, zero_point: Option<&Tensor>, per: Per) -> Result<Vec<f64>, OpError> {
    let mut elements = matrix.to_f64()?;
    if let Some(zero_point) = zero_point {
        let shape = per.parameters(zero_point.shape());
        let broadcast = Broadcast::onto_first(&[matrix.shape(), &shape])?;
        let zero_points = zero_point.to_f64()?;
        elements.iter_mut().zip(broadcast.indices(1)).for_each(|(x, i)| *x -= zero_points[i]);
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};

    fn inputs() -> Vec<Tensor> {
        vec![
            Tensor::from_vec([2, 2], vec![208u8, 236, 3, 214]).unwrap(),
            Tensor::vector(vec![0.5f32, 0.25]),
            Tensor::scalar(113u8),
            Tensor::from_vec([2, 1], vec![3i8, -1]).unwrap(),
            Tensor::scalar(1f32),
            Tensor::scalar(0i8),
            Tensor::scalar(2f32),
            Tensor::scalar(-10i8),
        ]
    }

    #[test]
    fn rows_have_their_own_scale() {
        let y = run(&QLinearMatMul, &inputs()).remove(0);
        // (285 - 123) / 4 = 40.5 -> 40; (-330 - 101) / 8 = -53.875 -> -54.
        assert_eq!(y.as_slice::<i8>().unwrap(), [30, -64]);
    }

    #[test]
    fn parameters_that_do_not_fit_are_errors() {
        for (index, wrong) in [
            (1, Tensor::vector(vec![1f32; 3])),
            (4, Tensor::vector(vec![1f32; 2])),
            (7, Tensor::scalar(1i32)),
        ] {
            let mut inputs: Vec<Option<Tensor>> = inputs().into_iter().map(Some).collect();
            inputs[index] = Some(wrong);
            assert!(try_run(&QLinearMatMul, &inputs).is_err(), "{index}");
        }
    }

    #[test]
    fn float8_operands() {
        let zero = Tensor::from_f64(DType::F8E4M3Fn, [], &[0.0]).unwrap();
        let a = Tensor::from_f64(DType::F8E4M3Fn, [1, 2], &[1.5, 2.0]).unwrap();
        let b = Tensor::from_f64(DType::F8E4M3Fn, [2, 1], &[4.0, 0.5]).unwrap();
        let one = Tensor::scalar(1f32);
        let y = run(&QLinearMatMul, &[a, one.clone(), zero.clone(), b, one.clone(), zero.clone(), one, zero]);
        assert_eq!(y[0].to_f64().unwrap(), [7.0]);
    }
}
