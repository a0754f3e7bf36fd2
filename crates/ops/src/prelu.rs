//! `PRelu` (<https://onnx.ai/onnx/operators/onnx__PRelu.html>).
//!
//! Before opset 7 the slope was one number or one for each channel (axis 1); since then it broadcasts to the data.

use std::any::Any;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{Real, Shape, Tensor, Value, dispatch};

use crate::types::NUMBERS;
use crate::{Broadcast, Expression, OpEntry};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("PRelu", 2, PRelu::parse)];

/// `x` if that is 0 or more, else `slope * x`. Inputs: data of any shape, slope that broadcasts to it, one type of
/// numbers; output: as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PRelu {
    /// Whether a slope `[C]` goes along axis 1 of the data, and not along the last.
    pub slope_per_channel: bool,
}

impl PRelu {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        if def.opset < 6 {
            def.ignore(&["consumed_inputs"]);
        }
        Ok(Arc::new(PRelu { slope_per_channel: def.opset < 7 }))
    }

    /// The slope's shape in a form that broadcasts as NumPy's to data of rank `rank`.
    pub fn slope_shape(&self, rank: usize, slope: &Shape) -> Shape {
        // A slope of rank 1 goes along axis 1, so every axis after that repeats it.
        let repeats = if self.slope_per_channel && slope.rank() == 1 { rank.saturating_sub(2) } else { 0 };
        slope.iter().copied().chain(std::iter::repeat_n(1, repeats)).collect()
    }
}

impl Operator for PRelu {
    fn key(&self) -> OpKey {
        OpKey::onnx("PRelu")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (data, slope) = (inputs.tensor(0)?, inputs.tensor(1)?);
        NUMBERS.check(0, data.dtype)?;
        if slope.dtype != data.dtype {
            return Err(OpError::dtype(1, data.dtype.name(), slope.dtype));
        }
        if let (Some(rank), Some(shape)) = (data.shape.rank(), slope.shape.concrete()) {
            let shape = ShapeFact::from(self.slope_shape(rank, &shape));
            let fits = shape.rank() <= Some(rank)
                && data.shape.broadcast(&shape).is_some_and(|common| grows_not(&data.shape, &common));
            if !fits {
                return Err(OpError::shape(1, format!("that broadcasts to {}", data.shape), &slope.shape));
            }
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (data, slope) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let slope_shape = self.slope_shape(data.shape().rank(), slope.shape());
        let broadcast = Broadcast::onto_first(&[data.shape(), &slope_shape])?;
        let y = if data.dtype().is_float() {
            let y =
                broadcast.zip(&data.to_f64()?, &slope.to_f64()?, |x, s| if x < 0.0 { s * x } else { x })?;
            Tensor::from_f64(data.dtype(), data.shape().clone(), &y)?
        } else {
            dispatch!(integer, data.dtype(), T => {
                let product = |x: T, s: T| if x.to_i128() < 0 { x.wrapping_mul(s) } else { x };
                Tensor::from_vec(data.shape().clone(), broadcast.zip(data.as_slice::<T>()?, slope.as_slice::<T>()?, product)?)?
            }, else return Err(OpError::dtype(0, NUMBERS.name, data.dtype())))
        };
        Ok(vec![y.into()])
    }
}

/// Whether no known extent of `shape` is another in `common`.
fn grows_not(shape: &ShapeFact, common: &ShapeFact) -> bool {
    let (Some(shape), Some(common)) = (shape.dims(), common.dims()) else { return true };
    shape
        .iter()
        .zip(common)
        .all(|(a, b)| matches!((a, b), (SymDim::Known(a), SymDim::Known(b)) if a == b) || a.known().is_none())
}

pub(crate) fn expression(op: &dyn Operator) -> Option<Expression> {
    let op = (op as &dyn Any).downcast_ref::<PRelu>()?;
    (!op.slope_per_channel).then(|| Expression {
        text: "select(x, y * x, x < T(0.0))",
        operands: 2,
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
    use inferrum_tensor::DType;

    fn minus_ones(dims: &[usize]) -> Tensor {
        Tensor::from_f64(DType::F32, dims, &vec![-1.0; dims.iter().product()]).unwrap()
    }

    #[test]
    fn a_slope_broadcasts_from_the_last_axis() {
        let y =
            run(&*parse_at(16, "PRelu", &[]), &[minus_ones(&[1, 2, 2]), Tensor::vector(vec![0.5f32, 2.0])]);
        assert_eq!(y[0].as_slice::<f32>().unwrap(), [-0.5, -2.0, -0.5, -2.0]);
        assert_eq!(evaluate(&crate::expression(&*parse_at(9, "PRelu", &[])).unwrap(), &[-3.0, 0.5]), -1.5);
    }

    #[test]
    fn before_opset_7_a_slope_is_per_channel() {
        let op = parse_at(6, "PRelu", &[]);
        let y = run(&*op, &[minus_ones(&[1, 2, 2]), Tensor::vector(vec![0.5f32, 2.0])]);
        assert_eq!(y[0].as_slice::<f32>().unwrap(), [-0.5, -0.5, -2.0, -2.0]);
        let y = run(&*op, &[minus_ones(&[3]), Tensor::vector(vec![0.5f32])]);
        assert_eq!(y[0].as_slice::<f32>().unwrap(), [-0.5; 3]);
        assert!(crate::expression(&*op).is_none());
    }

    #[test]
    fn integers_wrap_and_nan_stays() {
        let op = parse_at(16, "PRelu", &[]);
        let y = run(&*op, &[Tensor::vector(vec![-3i32, 4, i32::MIN]), Tensor::scalar(2i32)]);
        assert_eq!(y[0].as_slice::<i32>().unwrap(), [-6, 4, 0]);
        let y = run(&*op, &[Tensor::scalar(f32::NAN), Tensor::scalar(2f32)]);
        assert!(y[0].to_scalar::<f32>().unwrap().is_nan());
    }

    #[test]
    fn a_slope_may_not_enlarge_the_data() {
        let op = parse_at(16, "PRelu", &[]);
        for (data, slope) in [(&[3][..], &[2, 3][..]), (&[1], &[3]), (&[2, 3], &[2])] {
            assert!(
                try_run(&*op, &[Some(minus_ones(data)), Some(minus_ones(slope))]).is_err(),
                "{data:?} {slope:?}"
            );
        }
    }
}
