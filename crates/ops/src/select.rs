//! `Where` (<https://onnx.ai/onnx/operators/onnx__Where.html>).

use std::any::Any;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator};
use inferrum_tensor::{AlignedBytes, DType, Tensor, Value, collected};

use crate::broadcast::broadcast_facts;
use crate::types::TRUTH;
use crate::{Broadcast, Expression, OpEntry};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Where", 3, |_| Ok(Arc::new(Where)))];

/// The second input where the first is true, else the third. Inputs: bool; two tensors of one type, any; shapes that
/// broadcast together. Output: the common shape, that type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Where;

impl Operator for Where {
    fn key(&self) -> OpKey {
        OpKey::onnx("Where")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        TRUTH.check(0, inputs.dtype(0)?)?;
        let (x, y) = (inputs.dtype(1)?, inputs.dtype(2)?);
        if x != y {
            return Err(OpError::dtype(2, x.name(), y));
        }
        Ok(vec![Fact::tensor(x, broadcast_facts(inputs, 3)?)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (condition, x, y) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        let broadcast = Broadcast::new(&[condition.shape(), x.shape(), y.shape()])?;
        let condition = condition.as_slice::<bool>()?;
        // For each output element: whether it comes from `x`, and its index there.
        let sources = broadcast
            .indices(0)
            .zip(broadcast.indices(1).zip(broadcast.indices(2)))
            .map(|(c, (i, j))| if condition[c] { (true, i) } else { (false, j) });
        let shape = broadcast.shape().clone();
        if x.dtype() == DType::String {
            let (x, y) = (x.as_strings()?, y.as_strings()?);
            let chosen = sources.map(|(first, i)| if first { x[i].clone() } else { y[i].clone() });
            return Ok(vec![
                Tensor::from_strings(shape.clone(), collected(shape.elements(), chosen)?)?.into(),
            ]);
        }
        let (size, dtype, x, y) = (x.dtype().size(), x.dtype(), x.bytes(), y.bytes());
        let mut bytes = AlignedBytes::zeroed(shape.elements().saturating_mul(size))?;
        for (element, (first, i)) in bytes.as_mut().chunks_exact_mut(size).zip(sources) {
            element.copy_from_slice(&(if first { x } else { y })[i * size..][..size]);
        }
        Ok(vec![Tensor::from_aligned(dtype, shape, bytes)?.into()])
    }
}

pub(crate) fn expression(op: &dyn Operator) -> Option<Expression> {
    (op as &dyn Any).downcast_ref::<Where>().map(|_| Expression {
        text: "select(z, y, x)",
        operands: 3,
        parameters: Vec::new(),
        truth: false,
        integers: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::evaluate::evaluate;
    use crate::testing::{parse_at, run, try_run};

    #[test]
    fn every_kind_of_element_is_chosen() {
        let condition = Tensor::from_vec([2, 1], vec![true, false]).unwrap();
        let y = run(&Where, &[condition.clone(), Tensor::vector(vec![1i64, 2]), Tensor::scalar(9i64)]);
        assert_eq!((y[0].shape().dims(), y[0].as_slice::<i64>().unwrap()), (&[2, 2][..], &[1, 2, 9, 9][..]));
        let y = run(&Where, &[condition.clone(), Tensor::scalar([1f64, 2.0]), Tensor::scalar([3f64, 4.0])]);
        assert_eq!(y[0].as_slice::<[f64; 2]>().unwrap(), [[1., 2.], [3., 4.]]);
        let y = run(&Where, &[condition.clone(), Tensor::scalar(true), Tensor::scalar(false)]);
        assert_eq!(y[0].as_slice::<bool>().unwrap(), [true, false]);
        let text = |text: &str| Tensor::from_strings([], vec![text.into()]).unwrap();
        let y = run(&Where, &[condition, text("a"), text("b")]);
        assert_eq!(y[0].as_strings().unwrap(), ["a", "b"]);
    }

    #[test]
    fn nothing_chosen_and_wrong_types() {
        let op = parse_at(16, "Where", &[]);
        let empty = run(
            &*op,
            &[Tensor::zeros(DType::Bool, [0, 2]).unwrap(), Tensor::scalar(1f32), Tensor::scalar(1f32)],
        );
        assert_eq!(empty[0].shape().dims(), [0, 2]);
        let scalars = |a: Tensor, b: Tensor, c: Tensor| try_run(&Where, &[Some(a), Some(b), Some(c)]);
        assert!(scalars(Tensor::scalar(1u8), Tensor::scalar(1f32), Tensor::scalar(1f32)).is_err());
        assert!(scalars(Tensor::scalar(true), Tensor::scalar(1f32), Tensor::scalar(1f64)).is_err());
        assert_eq!(evaluate(&crate::expression(&Where).unwrap(), &[1.0, 5.0, 7.0]), 5.0);
    }
}
