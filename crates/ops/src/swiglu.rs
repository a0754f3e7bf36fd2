//! `SwiGLU` (<https://onnx.ai/onnx/operators/onnx__SwiGLU.html>).

use std::any::Any;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Tensor, Value};

use crate::types::FLOATS;
use crate::{Expression, OpEntry, scalar};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("SwiGLU", 2, SwiGlu::parse)];

/// The gated linear unit `a * sigmoid(alpha * a) * b`. Inputs: gate `a` and value `b`, of one shape (nothing is
/// broadcast) and one float type; output: the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SwiGlu {
    /// What scales the gate inside the sigmoid.
    pub alpha: f32,
}

impl SwiGlu {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(SwiGlu { alpha: def.float_or("alpha", 1.0)? }))
    }
}

impl Operator for SwiGlu {
    fn key(&self) -> OpKey {
        OpKey::onnx("SwiGLU")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (inputs.tensor(0)?, inputs.tensor(1)?);
        FLOATS.check(0, a.dtype)?;
        if b.dtype != a.dtype {
            return Err(OpError::dtype(1, a.dtype.name(), b.dtype));
        }
        let shape =
            a.shape.merge(&b.shape).ok_or_else(|| OpError::shape(1, a.shape.to_string(), &b.shape))?;
        Ok(vec![Fact::tensor(a.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (a, b) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let alpha = f64::from(self.alpha);
        let gated = a.to_f64()?.into_iter().zip(b.to_f64()?).map(|(a, b)| a * scalar::sigmoid(alpha * a) * b);
        let y: Vec<f64> = gated.collect();
        Ok(vec![Tensor::from_f64(a.dtype(), a.shape().clone(), &y)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        6 * outputs.iter().map(Fact::element_count).sum::<u64>()
    }
}

pub(crate) fn expression(op: &dyn Operator) -> Option<Expression> {
    let op = (op as &dyn Any).downcast_ref::<SwiGlu>()?;
    Some(Expression {
        text: "x * sigmoid(alpha * x) * y",
        operands: 2,
        parameters: vec![("alpha", op.alpha)],
        truth: false,
        integers: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::evaluate::evaluate;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::DType;

    #[test]
    fn the_gate_is_a_swish() {
        let op = parse_at(28, "SwiGLU", &[("alpha", Attr::Float(2.0))]);
        let (a, b) = (Tensor::vector(vec![1f64, -0.5]), Tensor::vector(vec![3f64, 4.0]));
        let y = run(&*op, &[a, b]);
        let y = y[0].as_slice::<f64>().unwrap();
        assert!((y[0] - 2.6423912339336475).abs() < 1e-15 && (y[1] + 0.5378828427399902).abs() < 1e-15);
        assert_eq!(evaluate(&crate::expression(&*op).unwrap(), &[1.0, 3.0]), y[0]);
    }

    #[test]
    fn shapes_that_differ_are_an_error() {
        let zeros = |dims: &[usize]| Some(Tensor::zeros(DType::F32, dims).unwrap());
        assert!(try_run(&SwiGlu { alpha: 1.0 }, &[zeros(&[2, 3]), zeros(&[3])]).is_err());
    }
}
