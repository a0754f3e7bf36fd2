//! `IsInf` (<https://onnx.ai/onnx/operators/onnx__IsInf.html>).

use std::any::Any;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Tensor, Value};

use crate::types::FLOATS_AND_FLOAT8;
use crate::{Expression, OpEntry};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("IsInf", 1, IsInf::parse)];

/// Whether an element is infinite. Input: any shape, floats of 8 bits or more; output: the same shape, bool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsInf {
    /// Whether negative infinity counts.
    pub detect_negative: bool,
    /// Whether positive infinity counts.
    pub detect_positive: bool,
}

impl IsInf {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let detect_negative = def.flag("detect_negative", true)?;
        Ok(Arc::new(IsInf { detect_negative, detect_positive: def.flag("detect_positive", true)? }))
    }

    /// Whether `x` is an infinity that counts.
    pub fn holds(&self, x: f64) -> bool {
        x.is_infinite() && if x > 0.0 { self.detect_positive } else { self.detect_negative }
    }
}

impl Operator for IsInf {
    fn key(&self) -> OpKey {
        OpKey::onnx("IsInf")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let input = inputs.tensor(0)?;
        FLOATS_AND_FLOAT8.check(0, input.dtype)?;
        Ok(vec![Fact::tensor(DType::Bool, input.shape.clone())])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let y: Vec<bool> = x.to_f64()?.into_iter().map(|x| self.holds(x)).collect();
        Ok(vec![Tensor::from_vec(x.shape().clone(), y)?.into()])
    }
}

pub(crate) fn expression(op: &dyn Operator) -> Option<Expression> {
    let op = (op as &dyn Any).downcast_ref::<IsInf>()?;
    let text = match (op.detect_negative, op.detect_positive) {
        (true, true) => "is_inf(x)",
        (true, false) => "is_inf(x) && x < T(0.0)",
        (false, true) => "is_inf(x) && x > T(0.0)",
        (false, false) => "is_inf(x) && !is_inf(x)",
    };
    Some(Expression { text, operands: 1, parameters: Vec::new(), truth: true, integers: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::evaluate::evaluate;
    use crate::testing::{parse_at, run};
    use inferrum_graph::Attr;

    #[test]
    fn each_sign_can_be_switched_off() {
        let x = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN, f32::MAX];
        for (negative, positive) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let attrs = [("detect_negative", Attr::Int(negative)), ("detect_positive", Attr::Int(positive))];
            let op = parse_at(20, "IsInf", &attrs);
            let expected = [negative == 1, positive == 1, false, false];
            assert_eq!(run(&*op, &[Tensor::vector(x.to_vec())])[0].as_slice::<bool>().unwrap(), expected);
            let expression = crate::expression(&*op).unwrap();
            let text = x.map(|x| evaluate(&expression, &[f64::from(x)]) != 0.0);
            assert_eq!(text, expected);
        }
    }
}
