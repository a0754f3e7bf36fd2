//! `GlobalMaxPool`, `GlobalAveragePool`, `GlobalLpPool` (<https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html>).
//! In opset 1 `p` of `GlobalLpPool` was a float.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::conv::same_float_types;
use crate::pool::exponent;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("GlobalAveragePool", 1, |_| Ok(Arc::new(GlobalPool::Average))),
    OpEntry::onnx("GlobalLpPool", 1, |def| Ok(Arc::new(GlobalPool::Lp { p: exponent(def)? }))),
    OpEntry::onnx("GlobalMaxPool", 1, |_| Ok(Arc::new(GlobalPool::Max))),
];

/// One value for all spatial elements of a channel. Input `[N, C, D1, ...]`, any float; output `[N, C, 1, ...]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GlobalPool {
    /// Their mean.
    Average,
    /// The greatest.
    Max,
    /// Their p-norm.
    Lp {
        /// The exponent, greater than 0.
        p: f32,
    },
}

impl GlobalPool {
    fn of(self, plane: &[f64]) -> f64 {
        match self {
            GlobalPool::Average => plane.iter().sum::<f64>() / plane.len() as f64,
            // `f64::max` prefers a number to NaN.
            GlobalPool::Max => plane.iter().copied().reduce(f64::max).unwrap_or(f64::NEG_INFINITY),
            GlobalPool::Lp { p } => {
                let p = f64::from(p);
                plane.iter().map(|x| x.abs().powf(p)).sum::<f64>().powf(p.recip())
            }
        }
    }
}

impl Operator for GlobalPool {
    fn key(&self) -> OpKey {
        OpKey::onnx(match self {
            GlobalPool::Average => "GlobalAveragePool",
            GlobalPool::Max => "GlobalMaxPool",
            GlobalPool::Lp { .. } => "GlobalLpPool",
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = same_float_types(inputs, 1)?;
        let shape = inputs.shape(0)?;
        let Some(dims) = shape.dims() else { return Ok(vec![Fact::of_dtype(dtype)]) };
        if dims.len() < 2 {
            return Err(OpError::shape(0, "[N, C, D1, ...]", shape));
        }
        let ones = (2..dims.len()).map(|_| SymDim::Known(1));
        Ok(vec![Fact::tensor(dtype, dims[..2].iter().cloned().chain(ones).collect::<Vec<_>>())])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let dims = x.shape().dims();
        let shape: Shape = dims[..2].iter().copied().chain(dims[2..].iter().map(|_| 1)).collect();
        let data = x.to_f64()?;
        let plane = data.len().checked_div(shape.elements()).unwrap_or(0);
        let mut y = zeroed::<f64>(shape.elements())?;
        y.iter_mut().enumerate().for_each(|(i, y)| *y = self.of(&data[i * plane..][..plane]));
        Ok(vec![Tensor::from_f64(x.dtype(), shape, &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        inputs.get(0).and_then(Fact::concrete_shape).map_or(0, |shape| shape.elements() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_tensor::DType;

    #[test]
    fn one_value_for_each_channel() {
        let x = Tensor::from_vec([1, 2, 1, 2], vec![3f32, -4., 1., 0.]).unwrap();
        for (op_type, expected) in
            [("GlobalAveragePool", [-0.5f32, 0.5]), ("GlobalMaxPool", [3., 1.]), ("GlobalLpPool", [5., 1.])]
        {
            let y = run(&*parse_at(22, op_type, &[]), std::slice::from_ref(&x)).remove(0);
            assert_eq!(y.shape().dims(), [1, 2, 1, 1]);
            assert_eq!(y.as_slice::<f32>().unwrap(), expected, "{op_type}");
        }
    }

    #[test]
    fn empty_and_unfit_inputs() {
        let op = parse_at(22, "GlobalAveragePool", &[]);
        assert_eq!(run(&*op, &[Tensor::zeros(DType::F16, [0, 3, 4]).unwrap()])[0].shape().dims(), [0, 3, 1]);
        assert!(try_run(&*op, &[Some(Tensor::zeros(DType::F32, [3]).unwrap())]).is_err());
        assert!(try_run(&*op, &[Some(Tensor::zeros(DType::I32, [1, 1, 3]).unwrap())]).is_err());
    }
}
