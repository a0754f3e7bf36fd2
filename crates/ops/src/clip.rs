//! `Clip` (<https://onnx.ai/onnx/operators/onnx__Clip.html>). Before opset 11 the bounds were attributes, in float32.

use std::any::Any;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Tensor, Value, dispatch};

use crate::types::NUMBERS;
use crate::{Expression, OpEntry, scalar};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Clip", 3, Clip::parse).before(&[(11, 1)])];

/// `min(max(x, least), greatest)`; so where the bounds cross, the greatest holds. Inputs: data of any shape and type of
/// numbers; least and greatest (both optional), one element each, of the data's type or, where they were attributes,
/// float32. Output: as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clip {
    /// Whether input 1, the least value, is given.
    pub has_min: bool,
    /// Whether input 2, the greatest value, is given.
    pub has_max: bool,
}

impl Clip {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        if def.opset >= 11 {
            return Ok(Arc::new(Clip { has_min: def.has_input(1), has_max: def.has_input(2) }));
        }
        if def.opset < 6 {
            def.ignore(&["consumed_inputs"]);
        }
        let (min, max) = (def.float("min")?, def.float("max")?);
        for (index, bound) in [(1, min), (2, max)] {
            if let Some(bound) = bound {
                def.lift_scalar(index, bound);
            }
        }
        Ok(Arc::new(Clip { has_min: min.is_some(), has_max: max.is_some() }))
    }
}

impl Operator for Clip {
    fn key(&self) -> OpKey {
        OpKey::onnx("Clip")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        NUMBERS.check(0, data.dtype)?;
        for index in [1, 2] {
            let Some(bound) = inputs.optional(index)? else { continue };
            if bound.dtype != data.dtype && !(bound.dtype.is_float() && data.dtype.is_float()) {
                return Err(OpError::dtype(index, data.dtype.name(), bound.dtype));
            }
            if bound.shape.concrete().is_some_and(|shape| shape.elements() != 1) {
                return Err(OpError::shape(index, "scalar", &bound.shape));
            }
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (least, greatest) = (inputs.optional(1)?, inputs.optional(2)?);
        if x.dtype().is_float() {
            let bound = |tensor: Option<&Tensor>, or| -> Result<f64, OpError> {
                Ok(tensor
                    .map(Tensor::to_f64)
                    .transpose()?
                    .and_then(|bound| bound.first().copied())
                    .unwrap_or(or))
            };
            let (least, greatest) = (bound(least, f64::NEG_INFINITY)?, bound(greatest, f64::INFINITY)?);
            let clip = |x| scalar::minimum(scalar::maximum(x, least), greatest);
            let y: Vec<f64> = x.to_f64()?.into_iter().map(clip).collect();
            return Ok(vec![Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into()]);
        }
        dispatch!(integer, x.dtype(), T => {
            let bound = |tensor: Option<&Tensor>, or: T| tensor.map_or(Ok(or), Tensor::to_scalar::<T>);
            let (least, greatest) = (bound(least, T::MIN)?, bound(greatest, T::MAX)?);
            let y: Vec<T> = x.as_slice::<T>()?.iter().map(|&x| x.max(least).min(greatest)).collect();
            Ok(vec![Tensor::from_vec(x.shape().clone(), y)?.into()])
        }, else Err(OpError::dtype(0, NUMBERS.name, x.dtype())))
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        2 * outputs.iter().map(Fact::element_count).sum::<u64>()
    }
}

/// Only where both bounds are given: an operand cannot be left out of the middle.
pub(crate) fn expression(op: &dyn Operator) -> Option<Expression> {
    let op = (op as &dyn Any).downcast_ref::<Clip>()?;
    let (text, operands) = match (op.has_min, op.has_max) {
        (true, true) => ("minimum(maximum(x, T(y)), T(z))", 3),
        (true, false) => ("maximum(x, T(y))", 2),
        (false, false) => ("x", 1),
        (false, true) => return None,
    };
    Some(Expression { text, operands, parameters: Vec::new(), truth: false, integers: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::evaluate::evaluate;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::DType;

    #[test]
    fn bounds_hold_and_the_greatest_wins() {
        let op = parse_at(13, "Clip", &[]);
        let x = Tensor::vector(vec![f32::NAN, -9.0, 0.5, 9.0]);
        let y = run(&*op, &[x.clone(), Tensor::scalar(-1f32), Tensor::scalar(1f32)]);
        let y = y[0].as_slice::<f32>().unwrap();
        assert!(y[0].is_nan());
        assert_eq!(y[1..], [-1.0, 0.5, 1.0]);
        let crossed = run(&*op, &[x, Tensor::scalar(3f32), Tensor::scalar(0f32)]);
        assert_eq!(crossed[0].as_slice::<f32>().unwrap()[1..], [0.0; 3]);
        assert_eq!(evaluate(&crate::expression(&*op).unwrap(), &[5.0, 3.0, 0.0]), 0.0);
    }

    #[test]
    fn a_bound_may_be_left_out() {
        let op = Clip { has_min: false, has_max: true };
        let y =
            try_run(&op, &[Some(Tensor::vector(vec![u64::MAX, 3])), None, Some(Tensor::vector(vec![7u64]))])
                .unwrap();
        assert_eq!(y[0].as_slice::<u64>().unwrap(), [7, 3]);
        let op = Clip { has_min: false, has_max: false };
        assert_eq!(run(&op, &[Tensor::vector(vec![i8::MIN])])[0].as_slice::<i8>().unwrap(), [i8::MIN]);
    }

    #[test]
    fn attributes_of_old_opsets_become_inputs() {
        let attrs = [("max".to_owned(), Attr::Float(6.0)), ("min".to_owned(), Attr::Float(0.0))];
        let mut def = NodeDef::new("Clip", 6, attrs.into());
        let op = crate::parse("", &mut def).unwrap().unwrap();
        assert_eq!((&*op as &dyn Any).downcast_ref(), Some(&Clip { has_min: true, has_max: true }));
        let lifted = def.finish().unwrap();
        assert_eq!(lifted, [(1, Tensor::scalar(0f32)), (2, Tensor::scalar(6f32))]);
        // The data may be of another float type.
        let y = run(&*op, &[Tensor::vector(vec![-1f64, 9.0]), lifted[0].1.clone(), lifted[1].1.clone()]);
        assert_eq!(y[0].as_slice::<f64>().unwrap(), [0.0, 6.0]);
    }

    #[test]
    fn unfit_bounds_are_errors() {
        let op = parse_at(13, "Clip", &[]);
        let x = Some(Tensor::zeros(DType::F32, [2]).unwrap());
        assert!(try_run(&*op, &[x.clone(), Some(Tensor::scalar(1i32))]).is_err());
        assert!(try_run(&*op, &[x, Some(Tensor::vector(vec![1f32, 2.0]))]).is_err());
    }
}
