//! `MatMulInteger` (<https://onnx.ai/onnx/operators/onnx__MatMulInteger.html>), and of `com.microsoft`
//! `MatMulIntegerToFloat` and `DynamicQuantizeMatMul`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::matmul::{MatMulGeometry, matmul_flops, multiply, product_shape};
use crate::quantized::{Affine, byte_type};
use crate::{Broadcast, OpEntry};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("MatMulInteger", 4, |_| Ok(Arc::new(MatMulInteger))),
    OpEntry::microsoft("DynamicQuantizeMatMul", 5, |_| Ok(Arc::new(DynamicQuantizeMatMul))),
    OpEntry::microsoft("MatMulIntegerToFloat", 7, |_| Ok(Arc::new(MatMulIntegerToFloat))),
];

/// The matrix product of 8-bit integers, summed in 32 bits. Inputs: A `[..., M, K]` and B `[..., K, N]`, each int8 or
/// uint8; optionally the zero point of A (scalar, `[M]` or `[..., M, 1]`) and of B (scalar, `[N]` or `[..., 1, N]`).
/// Output int32 `[..., M, N]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatMulInteger;

/// The matrix product of 8-bit integers as floats, and a bias. Inputs: A and B as those of [`MatMulInteger`]; their scales
/// (float32 or float16; scalars, that of B also `[N]`); optionally their zero points and a bias `[N]`. Output of the
/// scales' type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatMulIntegerToFloat;

/// The matrix product of float32 A `[..., M, K]`, quantised to uint8 as `DynamicQuantizeLinear` does, with int8 or uint8
/// B `[..., K, N]`. Further inputs: scale of B (scalar or `[N]`); optionally its zero point, and a bias `[N]`. Output
/// float32 `[..., M, N]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DynamicQuantizeMatMul;

/// Which axis of a matrix has a parameter for each of its indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Per {
    /// The last but one: a vector of parameters is a column.
    Row,
    /// The last.
    Column,
}

impl Per {
    /// The shape of the parameters as it broadcasts against the matrix.
    pub(crate) fn parameters(self, shape: &Shape) -> Shape {
        match (self, &shape[..]) {
            (_, &[1]) => Shape::scalar(),
            (Per::Row, &[rows]) => Shape::from([rows, 1]),
            _ => shape.clone(),
        }
    }
}

/// Checks that input `index`, if it is given, is a zero point of the matrix at place `of`.
pub(crate) fn check_zero_point(inputs: Facts<'_>, index: usize, of: usize, per: Per) -> Result<(), OpError> {
    let Some(zero_point) = inputs.optional(index)? else { return Ok(()) };
    let matrix = inputs.tensor(of)?;
    if zero_point.dtype != matrix.dtype {
        return Err(OpError::dtype(index, format!("{}, like input {of}", matrix.dtype), zero_point.dtype));
    }
    check_parameters(inputs, index, of, per)
}

/// Checks that the shape of the parameters at place `index` fits the matrix at place `of`.
pub(crate) fn check_parameters(inputs: Facts<'_>, index: usize, of: usize, per: Per) -> Result<(), OpError> {
    let shape = |index: usize| inputs.get(index).and_then(Fact::concrete_shape);
    if let (Some(parameters), Some(matrix)) = (shape(index), shape(of)) {
        let parameters = per.parameters(&parameters);
        // One for each row or column, not for each element.
        let along = match per {
            Per::Row => parameters.last().copied().unwrap_or(1),
            Per::Column => parameters.len().checked_sub(2).map_or(1, |axis| parameters[axis]),
        };
        if along != 1 || Broadcast::onto_first(&[&matrix, &parameters]).is_err() {
            let expected = format!("scalar or one for each {per:?} of {matrix}").to_lowercase();
            return Err(OpError::shape(index, expected, parameters));
        }
    }
    Ok(())
}

/// The elements less their zero point.
pub(crate) fn centred(matrix: &Tensor, zero_point: Option<&Tensor>, per: Per) -> Result<Vec<i64>, OpError> {
    let mut elements = matrix.to_i64()?;
    if let Some(zero_point) = zero_point {
        let shape = per.parameters(zero_point.shape());
        let broadcast = Broadcast::onto_first(&[matrix.shape(), &shape])?;
        let zero_points = zero_point.to_i64()?;
        elements.iter_mut().zip(broadcast.indices(1)).for_each(|(x, i)| *x -= zero_points[i]);
    }
    Ok(elements)
}

/// `sums * scales + bias`, where scales and bias broadcast along columns.
fn scaled(
    sums: &[i64],
    shape: &Shape,
    a_scale: f64,
    b_scale: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Vec<f64>, OpError> {
    let b_shape = Per::Column.parameters(b_scale.shape());
    let b_scales = b_scale.to_f64()?;
    let broadcast = Broadcast::onto_first(&[shape, &b_shape])?;
    let mut y: Vec<f64> =
        sums.iter().zip(broadcast.indices(1)).map(|(&sum, i)| sum as f64 * (a_scale * b_scales[i])).collect();
    if let Some(bias) = bias {
        let broadcast = Broadcast::onto_first(&[shape, bias.shape()])?;
        let bias = bias.to_f64()?;
        y.iter_mut().zip(broadcast.indices(1)).for_each(|(y, i)| *y += bias[i]);
    }
    Ok(y)
}

/// Checks the bias at place `index`: of `dtype`, `[N]`.
fn check_bias(inputs: Facts<'_>, index: usize, dtype: DType, b: usize) -> Result<(), OpError> {
    if let Some(bias) = inputs.optional(index)?
        && bias.dtype != dtype
    {
        return Err(OpError::dtype(index, dtype.to_string(), bias.dtype));
    }
    check_parameters(inputs, index, b, Per::Column)
}

impl Operator for MatMulInteger {
    fn key(&self) -> OpKey {
        OpKey::onnx("MatMulInteger")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        byte_type(inputs, 0)?;
        byte_type(inputs, 1)?;
        check_zero_point(inputs, 2, 0, Per::Row)?;
        check_zero_point(inputs, 3, 1, Per::Column)?;
        Ok(vec![Fact::tensor(DType::I32, product_shape(inputs.shape(0)?, inputs.shape(1)?, 1)?)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (a, b) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let geometry = MatMulGeometry::new(a.shape(), b.shape())?;
        let a = centred(a, inputs.optional(2)?, Per::Row)?;
        let b = centred(b, inputs.optional(3)?, Per::Column)?;
        let y = multiply(&geometry, &a, &b)?;
        Ok(vec![Tensor::from_i64(DType::I32, geometry.output, &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        matmul_flops(inputs, 0, 1)
    }
}

impl Operator for MatMulIntegerToFloat {
    fn key(&self) -> OpKey {
        OpKey::microsoft("MatMulIntegerToFloat")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        byte_type(inputs, 0)?;
        byte_type(inputs, 1)?;
        let dtype = inputs.dtype(2)?;
        if !matches!(dtype, DType::F32 | DType::F16) {
            return Err(OpError::dtype(2, "float32 or float16", dtype));
        }
        if inputs.dtype(3)? != dtype {
            return Err(OpError::dtype(3, format!("{dtype}, like input 2"), inputs.dtype(3)?));
        }
        if inputs.shape(2)?.concrete().is_some_and(|shape| shape.elements() != 1) {
            return Err(OpError::shape(2, "scalar", inputs.shape(2)?));
        }
        check_parameters(inputs, 3, 1, Per::Column)?;
        check_zero_point(inputs, 4, 0, Per::Row)?;
        check_zero_point(inputs, 5, 1, Per::Column)?;
        check_bias(inputs, 6, dtype, 1)?;
        Ok(vec![Fact::tensor(dtype, product_shape(inputs.shape(0)?, inputs.shape(1)?, 1)?)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (a, b) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let geometry = MatMulGeometry::new(a.shape(), b.shape())?;
        let a = centred(a, inputs.optional(4)?, Per::Row)?;
        let b = centred(b, inputs.optional(5)?, Per::Column)?;
        let sums = multiply(&geometry, &a, &b)?;
        let a_scale = inputs.tensor(2)?;
        let y =
            scaled(&sums, &geometry.output, a_scale.to_f64()?[0], inputs.tensor(3)?, inputs.optional(6)?)?;
        Ok(vec![Tensor::from_f64(a_scale.dtype(), geometry.output, &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        matmul_flops(inputs, 0, 1)
    }
}

impl Operator for DynamicQuantizeMatMul {
    fn key(&self) -> OpKey {
        OpKey::microsoft("DynamicQuantizeMatMul")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        for index in [0, 2] {
            if inputs.dtype(index)? != DType::F32 {
                return Err(OpError::dtype(index, "float32", inputs.dtype(index)?));
            }
        }
        byte_type(inputs, 1)?;
        check_parameters(inputs, 2, 1, Per::Column)?;
        check_zero_point(inputs, 3, 1, Per::Column)?;
        check_bias(inputs, 4, DType::F32, 1)?;
        Ok(vec![Fact::tensor(DType::F32, product_shape(inputs.shape(0)?, inputs.shape(1)?, 1)?)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (a, b) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let geometry = MatMulGeometry::new(a.shape(), b.shape())?;
        let a = a.as_slice::<f32>()?;
        let fitted = Affine::fitted(a);
        let a: Vec<i64> = fitted.quantize_all(a).into_iter().map(|q| q - fitted.zero_point).collect();
        let b = centred(b, inputs.optional(3)?, Per::Column)?;
        let sums = multiply(&geometry, &a, &b)?;
        let y = scaled(&sums, &geometry.output, fitted.scale, inputs.tensor(2)?, inputs.optional(4)?)?;
        Ok(vec![Tensor::from_f64(DType::F32, geometry.output, &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        matmul_flops(inputs, 0, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};

    fn a() -> Tensor {
        Tensor::from_vec([2, 2], vec![1u8, 2, 3, 4]).unwrap()
    }

    fn b() -> Tensor {
        Tensor::from_vec([2, 2], vec![-1i8, 2, 3, -4]).unwrap()
    }

    #[test]
    fn zero_points_of_rows_and_columns() {
        let y = |zero_points: [Option<Tensor>; 2]| {
            let [a_zero, b_zero] = zero_points;
            try_run(&MatMulInteger, &[Some(a()), Some(b()), a_zero, b_zero])
                .map(|y| y[0].as_slice::<i32>().unwrap().to_vec())
        };
        assert_eq!(y([None, None]).unwrap(), [5, -6, 9, -10]);
        assert_eq!(y([Some(Tensor::scalar(1u8)), None]).unwrap(), [3, -4, 7, -8]);
        assert_eq!(y([Some(Tensor::vector(vec![0u8, 3])), None]).unwrap(), [5, -6, 3, -4]);
        assert_eq!(y([None, Some(Tensor::vector(vec![3i8, -4]))]).unwrap(), [-4, 6, -12, 18]);
        let column = Tensor::from_vec([2, 1], vec![0u8, 3]).unwrap();
        assert_eq!(y([Some(column), None]).unwrap(), [5, -6, 3, -4]);
        assert!(y([Some(Tensor::vector(vec![0u8; 3])), None]).is_err());
        assert!(y([Some(Tensor::scalar(1i8)), None]).is_err());
        assert!(y([None, Some(Tensor::from_vec([2, 1], vec![0i8; 2]).unwrap())]).is_err());
    }

    #[test]
    fn to_float_scales_each_column_and_adds_the_bias() {
        let inputs = [
            a(),
            b(),
            Tensor::scalar(0.5f32),
            Tensor::vector(vec![2f32, 4.]),
            Tensor::scalar(1u8),
            Tensor::scalar(0i8),
            Tensor::vector(vec![100f32, 200.]),
        ];
        let y = run(&MatMulIntegerToFloat, &inputs).remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap(), [103., 192., 107., 184.]);
    }

    #[test]
    fn dynamic_quantisation_is_close_to_the_float_product() {
        // Multiples of 1/255 of the range are met exactly.
        let a = Tensor::from_vec([2, 2], vec![0f32, 255., -255., 51.]).unwrap();
        let y = run(&DynamicQuantizeMatMul, &[a, b(), Tensor::scalar(1f32)]).remove(0);
        let expected = [765., -1020., 255. + 153., -510. - 204.];
        let y = y.to_f64().unwrap();
        assert!(y.iter().zip(expected).all(|(y, e): (&f64, f64)| (y - e).abs() <= 12.0), "{y:?}");
    }
}
