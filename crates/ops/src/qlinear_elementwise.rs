//! `QLinearAdd`, `QLinearMul`, `QLinearSigmoid` and `QLinearLeakyRelu` of `com.microsoft`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{Tensor, Value, zeroed};

use crate::quantized::{Affine, byte_type, scale, zero_point_like};
use crate::{Broadcast, OpEntry};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::microsoft("QLinearAdd", 8, |_| Ok(Arc::new(QLinearBinary::Add))),
    OpEntry::microsoft("QLinearLeakyRelu", 5, |def| {
        Ok(Arc::new(QLinearUnary::LeakyRelu { alpha: def.float_or("alpha", 0.01)? }))
    }),
    OpEntry::microsoft("QLinearMul", 8, |_| Ok(Arc::new(QLinearBinary::Mul))),
    OpEntry::microsoft("QLinearSigmoid", 5, |_| Ok(Arc::new(QLinearUnary::Sigmoid))),
];

/// A function of two quantised tensors, quantised. Inputs: A, its scale and zero point; B, its scale and zero point, of
/// A's type; scale and zero point of the output. A and B (int8 or uint8) broadcast; scales and zero points are scalars,
/// and a zero point that is left out is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QLinearBinary {
    /// The sum.
    Add,
    /// The product.
    Mul,
}

/// A function of a quantised tensor, quantised. Inputs: X (int8 or uint8), its scale and zero point; scale and zero point
/// of the output. Scales and zero points are scalars; a zero point that is left out is 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum QLinearUnary {
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x` if it is not negative, else `alpha * x`.
    LeakyRelu {
        /// Slope of the negative side.
        alpha: f32,
    },
}

/// Checks the scalar scale at place `index` and the zero point after it, of the type of input `like`.
pub(crate) fn check_scalar_parameters(inputs: Facts<'_>, index: usize, like: usize) -> Result<(), OpError> {
    scale(inputs, index, &SymDim::Known(1))?;
    zero_point_like(inputs, index + 1, like, &SymDim::Known(1))
}

impl Operator for QLinearBinary {
    fn key(&self) -> OpKey {
        OpKey::microsoft(match self {
            QLinearBinary::Add => "QLinearAdd",
            QLinearBinary::Mul => "QLinearMul",
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = byte_type(inputs, 0)?;
        if inputs.dtype(3)? != dtype {
            return Err(OpError::dtype(3, format!("{dtype}, like input 0"), inputs.dtype(3)?));
        }
        [(1, 0), (4, 3), (6, 0)]
            .into_iter()
            .try_for_each(|(index, like)| check_scalar_parameters(inputs, index, like))?;
        let (a, b) = (inputs.shape(0)?, inputs.shape(3)?);
        let shape =
            a.broadcast(b).ok_or_else(|| OpError::shape(3, format!("that broadcasts with {a}"), b))?;
        Ok(vec![Fact::tensor(dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (a, b) = (inputs.tensor(0)?, inputs.tensor(3)?);
        let (of_a, of_b, of_c) =
            (Affine::read(inputs, 1, 2)?, Affine::read(inputs, 4, 5)?, Affine::read(inputs, 6, 7)?);
        let broadcast = Broadcast::new(&[a.shape(), b.shape()])?;
        let (a_elements, b_elements) = (a.to_i64()?, b.to_i64()?);
        let mut c = zeroed::<i64>(broadcast.shape().elements())?;
        for (c, (i, j)) in c.iter_mut().zip(broadcast.indices(0).zip(broadcast.indices(1))) {
            let (x, y) = (of_a.real(a_elements[i]), of_b.real(b_elements[j]));
            let real = match self {
                QLinearBinary::Add => x + y,
                QLinearBinary::Mul => x * y,
            };
            *c = of_c.quantize(real, a.dtype());
        }
        Ok(vec![Tensor::from_i64(a.dtype(), broadcast.shape().clone(), &c)?.into()])
    }
}

impl Operator for QLinearUnary {
    fn key(&self) -> OpKey {
        OpKey::microsoft(match self {
            QLinearUnary::Sigmoid => "QLinearSigmoid",
            QLinearUnary::LeakyRelu { .. } => "QLinearLeakyRelu",
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        byte_type(inputs, 0)?;
        check_scalar_parameters(inputs, 1, 0)?;
        check_scalar_parameters(inputs, 3, 0)?;
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (of_x, of_y) = (Affine::read(inputs, 1, 2)?, Affine::read(inputs, 3, 4)?);
        let function = |x: f64| match *self {
            QLinearUnary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            QLinearUnary::LeakyRelu { alpha } if x < 0.0 => f64::from(alpha) * x,
            QLinearUnary::LeakyRelu { .. } => x,
        };
        let mut y = x.to_i64()?;
        y.iter_mut().for_each(|y| *y = of_y.quantize(function(of_x.real(*y)), x.dtype()));
        Ok(vec![Tensor::from_i64(x.dtype(), x.shape().clone(), &y)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_in, run, try_run};
    use inferrum_graph::Attr;

    #[test]
    fn operands_broadcast_and_results_saturate() {
        let inputs = [
            Tensor::from_vec([2, 1], vec![130u8, 126]).unwrap(),
            Tensor::scalar(0.5f32),
            Tensor::scalar(128u8),
            Tensor::vector(vec![0u8, 10, 255]),
            Tensor::scalar(2f32),
            Tensor::scalar(5u8),
            Tensor::scalar(4f32),
            Tensor::scalar(100u8),
        ];
        // A: 1, -1; B: -10, 10, 500.
        let y = run(&*parse_in("com.microsoft", 1, "QLinearAdd", &[]), &inputs).remove(0);
        assert_eq!(y.shape().dims(), [2, 3]);
        assert_eq!(y.as_slice::<u8>().unwrap(), [98, 103, 225, 97, 102, 225]);
        let y = run(&*parse_in("com.microsoft", 1, "QLinearMul", &[]), &inputs).remove(0);
        assert_eq!(y.as_slice::<u8>().unwrap(), [98, 102, 225, 102, 98, 0]);
    }

    #[test]
    fn functions_of_one_tensor() {
        let x = Tensor::vector(vec![-128i8, -10, 0, 127]);
        let inputs = |y_scale: f32| {
            [
                Some(x.clone()),
                Some(Tensor::scalar(0.1f32)),
                None,
                Some(Tensor::scalar(y_scale)),
                Some(Tensor::scalar(-10i8)),
            ]
        };
        let y = |op_type: &str, attrs: &[(&str, Attr)], y_scale: f32| {
            let y = try_run(&*parse_in("com.microsoft", 1, op_type, attrs), &inputs(y_scale)).unwrap();
            y[0].as_slice::<i8>().unwrap().to_vec()
        };
        assert_eq!(y("QLinearLeakyRelu", &[("alpha", Attr::Float(0.5))], 0.1), [-74, -15, -10, 117]);
        // 1 / (1 + e) = 0.2689; in steps of 0.01 that is 27.
        assert_eq!(y("QLinearSigmoid", &[], 0.01), [-10, 17, 40, 90]);
    }

    #[test]
    fn other_types_are_errors() {
        let op = parse_in("com.microsoft", 1, "QLinearSigmoid", &[]);
        let one = || Some(Tensor::scalar(1f32));
        assert!(try_run(&*op, &[Some(Tensor::scalar(1i32)), one(), None, one()]).is_err());
        let wrong_zero = Some(Tensor::scalar(0u8));
        assert!(try_run(&*op, &[Some(Tensor::scalar(1i8)), one(), wrong_zero, one()]).is_err());
        let two = Some(Tensor::vector(vec![1f32; 2]));
        assert!(try_run(&*op, &[Some(Tensor::scalar(1i8)), two, None, one()]).is_err());
    }
}
