//! `Max`, `Mean`, `Min`, `Sum` of any number of operands (<https://onnx.ai/onnx/operators/onnx__Sum.html>).
//!
//! Before opset 8 all shapes were equal; opset 1 had `consumed_inputs`, which never changed a result.

use std::any::Any;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Shape, Tensor, Value, collected, dispatch};

use crate::broadcast::broadcast_facts;
use crate::types::NUMBERS;
use crate::{Broadcast, Expression, OpEntry, scalar};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("Max", OpEntry::VARIADIC, |def| Variadic::parse(def, VariadicKind::Max)),
    OpEntry::onnx("Mean", OpEntry::VARIADIC, |def| Variadic::parse(def, VariadicKind::Mean)),
    OpEntry::onnx("Min", OpEntry::VARIADIC, |def| Variadic::parse(def, VariadicKind::Min)),
    OpEntry::onnx("Sum", OpEntry::VARIADIC, |def| Variadic::parse(def, VariadicKind::Sum)),
];

/// An element-wise function of one or more operands. Inputs: shapes that broadcast together, one type of numbers;
/// output: the common shape, the same type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variadic {
    /// The function.
    pub kind: VariadicKind,
    /// How many operands there are, at least 1.
    pub operands: usize,
}

/// The function of a [`Variadic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VariadicKind {
    /// The greatest; NaN if any is.
    Max,
    /// The sum, divided by the number of operands.
    Mean,
    /// The smallest; NaN if any is.
    Min,
    /// The sum.
    Sum,
}

impl Variadic {
    fn parse(def: &mut NodeDef, kind: VariadicKind) -> Result<Arc<dyn Operator>, OpError> {
        if def.opset < 6 {
            def.ignore(&["consumed_inputs"]);
        }
        Ok(Arc::new(Variadic { kind, operands: def.inputs.len() }))
    }

    fn floats(&self, broadcast: &Broadcast, operands: &[&Tensor]) -> Result<Tensor, OpError> {
        let fold = match self.kind {
            VariadicKind::Max => scalar::maximum,
            VariadicKind::Min => scalar::minimum,
            VariadicKind::Sum | VariadicKind::Mean => |a, b| a + b,
        };
        let mut values = broadcast.expand(0, &operands[0].to_f64()?)?;
        for (index, operand) in operands.iter().enumerate().skip(1) {
            let elements = operand.to_f64()?;
            for (value, i) in values.iter_mut().zip(broadcast.indices(index)) {
                *value = fold(*value, elements[i]);
            }
        }
        if self.kind == VariadicKind::Mean {
            values.iter_mut().for_each(|value| *value /= operands.len() as f64);
        }
        Ok(Tensor::from_f64(operands[0].dtype(), broadcast.shape().clone(), &values)?)
    }

    fn integers(&self, broadcast: &Broadcast, operands: &[&Tensor]) -> Result<Tensor, OpError> {
        dispatch!(integer, operands[0].dtype(), T => {
            // A mean of integers truncates, as their division does.
            let mut values = collected(broadcast.shape().elements(), std::iter::repeat_n(None::<i128>, broadcast.shape().elements()))?;
            for (index, operand) in operands.iter().enumerate() {
                let elements = operand.as_slice::<T>()?;
                for (value, i) in values.iter_mut().zip(broadcast.indices(index)) {
                    let next = elements[i] as i128;
                    *value = Some(value.map_or(next, |value| match self.kind {
                        VariadicKind::Max => value.max(next),
                        VariadicKind::Min => value.min(next),
                        VariadicKind::Sum | VariadicKind::Mean => value + next,
                    }));
                }
            }
            let divisor = if self.kind == VariadicKind::Mean { operands.len() as i128 } else { 1 };
            let elements = values.into_iter().map(|value| (value.unwrap_or(0) / divisor) as T).collect();
            Ok(Tensor::from_vec::<T>(broadcast.shape().clone(), elements)?)
        }, else Err(OpError::dtype(0, NUMBERS.name, operands[0].dtype())))
    }
}

impl Operator for Variadic {
    fn key(&self) -> OpKey {
        OpKey::onnx(match self.kind {
            VariadicKind::Max => "Max",
            VariadicKind::Mean => "Mean",
            VariadicKind::Min => "Min",
            VariadicKind::Sum => "Sum",
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0)?;
        NUMBERS.check(0, dtype)?;
        for index in 1..inputs.len() {
            if inputs.dtype(index)? != dtype {
                return Err(OpError::dtype(index, dtype.name(), inputs.dtype(index)?));
            }
        }
        Ok(vec![Fact::tensor(dtype, broadcast_facts(inputs, inputs.len())?)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let operands = (0..inputs.len()).map(|index| inputs.tensor(index)).collect::<Result<Vec<_>, _>>()?;
        let shapes: Vec<&Shape> = operands.iter().map(|operand| operand.shape()).collect();
        let broadcast = Broadcast::new(&shapes)?;
        let first = inputs.tensor(0)?;
        let float = first.dtype().is_float();
        let output =
            if float { self.floats(&broadcast, &operands) } else { self.integers(&broadcast, &operands) };
        Ok(vec![output?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        let each = inputs.len().saturating_sub(1) as u64;
        each * outputs.iter().map(Fact::element_count).sum::<u64>()
    }
}

/// For one to three operands.
pub(crate) fn expression(op: &dyn Operator) -> Option<Expression> {
    use VariadicKind::{Max, Mean, Min, Sum};
    let op = (op as &dyn Any).downcast_ref::<Variadic>()?;
    let text = match (op.kind, op.operands) {
        (_, 1) => "x",
        (Max, 2) => "maximum(x, y)",
        (Max, 3) => "maximum(maximum(x, y), z)",
        (Min, 2) => "minimum(x, y)",
        (Min, 3) => "minimum(minimum(x, y), z)",
        (Sum, 2) => "x + y",
        (Sum, 3) => "x + y + z",
        (Mean, 2) => "(x + y) / T(2.0)",
        (Mean, 3) => "(x + y + z) / T(3.0)",
        _ => return None,
    };
    Some(Expression { text, operands: op.operands, parameters: Vec::new(), truth: false, integers: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::evaluate::evaluate;
    use crate::testing::{run, try_run};
    use VariadicKind::{Max, Mean, Min, Sum};

    fn of(kind: VariadicKind, inputs: &[Tensor]) -> Tensor {
        run(&Variadic { kind, operands: inputs.len() }, inputs).remove(0)
    }

    #[test]
    fn operands_broadcast_and_texts_agree() {
        let inputs = [
            Tensor::from_vec([2, 1], vec![1f64, 5.0]).unwrap(),
            Tensor::vector(vec![2f64, 3.0]),
            Tensor::scalar(4f64),
        ];
        for (kind, expected) in [
            (Max, [4., 4., 5., 5.]),
            (Min, [1., 1., 2., 3.]),
            (Sum, [7., 8., 11., 12.]),
            (Mean, [7. / 3., 8. / 3., 11. / 3., 4.]),
        ] {
            let y = of(kind, &inputs);
            assert_eq!(
                (y.shape().dims(), y.as_slice::<f64>().unwrap()),
                (&[2, 2][..], &expected[..]),
                "{kind:?}"
            );
            let expression = crate::expression(&Variadic { kind, operands: 3 }).unwrap();
            assert_eq!(evaluate(&expression, &[5.0, 3.0, 4.0]), expected[3]);
            let expression = crate::expression(&Variadic { kind, operands: 2 }).unwrap();
            let two = of(kind, &[Tensor::scalar(5f64), Tensor::scalar(3f64)]).to_scalar::<f64>().unwrap();
            assert_eq!(evaluate(&expression, &[5.0, 3.0]), two);
            assert_eq!(of(kind, &inputs[1..2]), inputs[1]);
            assert!(crate::expression(&Variadic { kind, operands: 4 }).is_none());
        }
    }

    #[test]
    fn integers_stay_exact() {
        let of = |kind, a: Vec<u64>, b: Vec<u64>| {
            of(kind, &[Tensor::vector(a), Tensor::vector(b)]).as_slice::<u64>().unwrap().to_vec()
        };
        assert_eq!(of(Max, vec![u64::MAX - 1, 0], vec![u64::MAX, 1]), [u64::MAX, 1]);
        assert_eq!(of(Min, vec![u64::MAX - 1, 0], vec![u64::MAX, 1]), [u64::MAX - 1, 0]);
        assert_eq!(of(Sum, vec![u64::MAX, 3], vec![1, 4]), [0, 7]);
    }

    #[test]
    fn nan_spreads_and_nothing_is_an_error() {
        for kind in [Max, Min, Sum, Mean] {
            for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN)] {
                assert!(
                    of(kind, &[Tensor::scalar(a), Tensor::scalar(b)]).to_scalar::<f32>().unwrap().is_nan()
                );
            }
            assert!(try_run(&Variadic { kind, operands: 0 }, &[]).is_err());
            let misfits = [Some(Tensor::vector(vec![1f32; 2])), Some(Tensor::vector(vec![1f32; 3]))];
            assert!(try_run(&Variadic { kind, operands: 2 }, &misfits).is_err());
        }
    }
}
