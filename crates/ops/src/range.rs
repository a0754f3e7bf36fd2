//! `Range` (<https://onnx.ai/onnx/operators/onnx__Range.html>). Opset 27 added float16, bfloat16 and `stash_type`, the type
//! in which those are worked on; here that is always float64.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::number::{Number, with_number};
use crate::types::NUMBERS;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Range", 3, Range::parse)];

/// The numbers `start`, `start + delta`, ... before `limit`, `[max(ceil((limit - start) / delta), 0)]`. Inputs: start,
/// limit, delta, scalars of one float or integer type.
#[derive(Debug, Clone, PartialEq)]
pub struct Range;

impl Range {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        def.ignore(&["stash_type"]);
        Ok(Arc::new(Range))
    }

    /// How many numbers there are.
    ///
    /// # Errors
    /// `delta` is 0, or one of the three is not finite.
    pub fn count(start: &Tensor, limit: &Tensor, delta: &Tensor) -> Result<usize, OpError> {
        if !start.dtype().is_float() {
            let (start, limit, delta) =
                (one::<i128>(0, start)?, one::<i128>(1, limit)?, one::<i128>(2, delta)?);
            // 64-bit numbers leave room for the difference and the rounding up.
            let distance = (limit - start) * delta.signum();
            return match delta {
                0 => Err(OpError::value(2, "the delta is 0")),
                _ => Ok(usize::try_from(distance.max(0).unsigned_abs().div_ceil(delta.unsigned_abs()))
                    .unwrap_or(usize::MAX)),
            };
        }
        let (start, limit, delta) = (one::<f64>(0, start)?, one::<f64>(1, limit)?, one::<f64>(2, delta)?);
        if delta == 0.0 || ![start, limit, delta].iter().all(|x| x.is_finite()) {
            let reason =
                format!("start, limit and delta are finite, and delta is not 0: {start}, {limit}, {delta}");
            return Err(OpError::value(2, reason));
        }
        Ok(((limit - start) / delta).ceil().max(0.0) as usize)
    }
}

/// The only element of input `index`.
fn one<N: Number>(index: usize, tensor: &Tensor) -> Result<N, OpError> {
    match N::read(tensor)?.as_slice() {
        [number] => Ok(*number),
        _ => Err(OpError::shape(index, "scalar", tensor.shape())),
    }
}

fn numbers<N: Number>(inputs: Inputs<'_>, count: usize) -> Result<Tensor, OpError> {
    let (start, delta) = (one::<N>(0, inputs.tensor(0)?)?, one::<N>(2, inputs.tensor(2)?)?);
    let mut numbers = zeroed::<N>(count)?;
    for (i, number) in numbers.iter_mut().enumerate() {
        *number = start.plus(N::count(i).times(delta));
    }
    N::write(inputs.tensor(0)?.dtype(), [count].into(), &numbers)
}

impl Operator for Range {
    fn key(&self) -> OpKey {
        OpKey::onnx("Range")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0)?;
        NUMBERS.check(0, dtype)?;
        for index in 1..3 {
            let other = inputs.dtype(index)?;
            if other != dtype {
                return Err(OpError::dtype(index, format!("{dtype} as the start"), other));
            }
        }
        let count = match (inputs.value(0), inputs.value(1), inputs.value(2)) {
            (Some(start), Some(limit), Some(delta)) => SymDim::Known(Range::count(start, limit, delta)?),
            _ => SymDim::Unknown,
        };
        Ok(vec![Fact::tensor(dtype, ShapeFact::from(vec![count]))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let count = Range::count(inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?)?;
        let dtype: DType = inputs.tensor(0)?.dtype();
        Ok(vec![with_number!(dtype, N => numbers::<N>(inputs, count))?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[0, 1, 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};

    fn range<T: inferrum_tensor::Element>(start: T, limit: T, delta: T) -> Vec<f64> {
        let inputs = [start, limit, delta].map(Tensor::scalar);
        run(&Range, &inputs).remove(0).to_f64().unwrap()
    }

    #[test]
    fn numbers_lie_before_the_limit() {
        assert_eq!(range(3i32, 9, 3), [3.0, 6.0]);
        assert_eq!(range(10i64, 4, -2), [10.0, 8.0, 6.0]);
        assert_eq!(range(1i16, 1, 1), [0.0; 0]);
        assert_eq!(range(1f32, 0.0, 1.0), [0.0; 0]);
        assert_eq!(range(0f64, 1.0, 0.3), [0.0, 0.3, 0.6, 0.3 * 3.0]);
        assert_eq!(range(i64::MIN, i64::MAX, i64::MAX), [i64::MIN as f64, -1.0, i64::MAX as f64 - 1.0]);
    }

    #[test]
    fn endless_ranges_are_errors() {
        let floats = |x: [f32; 3]| try_run(&Range, &x.map(|x| Some(Tensor::scalar(x))));
        assert!(floats([0.0, 1.0, 0.0]).is_err());
        assert!(floats([0.0, f32::INFINITY, 1.0]).is_err());
        assert!(floats([f32::NAN, 1.0, 1.0]).is_err());
        assert!(floats([0.0, f32::MAX, 1.0]).is_err());
        assert!(try_run(&Range, &[0i64, 1, 0].map(|x| Some(Tensor::scalar(x)))).is_err());
        assert!(try_run(&Range, &[0i64, i64::MAX, 1].map(|x| Some(Tensor::scalar(x)))).is_err());
    }
}
