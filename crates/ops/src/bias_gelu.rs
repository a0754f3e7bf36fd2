//! `BiasGelu`, `FastGelu` of `com.microsoft`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>).

use std::any::Any;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{Tensor, Value};

use crate::activation::Activation;
use crate::types::FLOATS;
use crate::{Broadcast, Expression, OpEntry, scalar};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::microsoft("BiasGelu", 2, |_| Ok(Arc::new(BiasGelu { tanh: false }))),
    OpEntry::microsoft("FastGelu", 2, parse_fast_gelu),
];

/// The Gaussian error linear unit of a sum. Inputs: data `[..., C]` and bias `[C]`, one float type; output: as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BiasGelu {
    /// Whether the approximation with `tanh` is used, as in `FastGelu`.
    pub tanh: bool,
}

fn parse_fast_gelu(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
    Ok(if def.has_input(1) { Arc::new(BiasGelu { tanh: true }) } else { Arc::new(Activation::GeluTanh) })
}

impl Operator for BiasGelu {
    fn key(&self) -> OpKey {
        OpKey::microsoft(if self.tanh { "FastGelu" } else { "BiasGelu" })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (data, bias) = (inputs.tensor(0)?, inputs.tensor(1)?);
        FLOATS.check(0, data.dtype)?;
        if bias.dtype != data.dtype {
            return Err(OpError::dtype(1, data.dtype.name(), bias.dtype));
        }
        if let Some(dims) = data.shape.dims() {
            let last = dims.last().cloned().ok_or_else(|| OpError::shape(0, "[..., C]", &data.shape))?;
            let fits = bias.shape.merge(&vec![last.clone()].into()).is_some();
            if !fits
                || (bias.shape.dims().is_some_and(|dims| dims == [SymDim::Known(1)])
                    && last.known() != Some(1))
            {
                return Err(OpError::shape(1, format!("[{last}]"), &bias.shape));
            }
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (data, bias) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let broadcast = Broadcast::onto_first(&[data.shape(), bias.shape()])?;
        let gelu = if self.tanh { scalar::gelu_tanh } else { scalar::gelu };
        let y = broadcast.zip(&data.to_f64()?, &bias.to_f64()?, |x, b| gelu(x + b))?;
        Ok(vec![Tensor::from_f64(data.dtype(), data.shape().clone(), &y)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        6 * outputs.iter().map(Fact::element_count).sum::<u64>()
    }
}

pub(crate) fn expression(op: &dyn Operator) -> Option<Expression> {
    let op = (op as &dyn Any).downcast_ref::<BiasGelu>()?;
    let text = if op.tanh {
        "T(0.5) * (x + y) * (T(1.0) + tanh(T(0.7978845608028654) * ((x + y) + T(0.044715) * (x + y) * (x + y) * (x + y))))"
    } else {
        "T(0.5) * (x + y) * (T(1.0) + erf((x + y) * T(0.7071067811865476)))"
    };
    Some(Expression { text, operands: 2, parameters: Vec::new(), truth: false, integers: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::evaluate::{SAMPLES, close, evaluate};
    use crate::testing::{parse_in, run, try_run};
    use inferrum_tensor::DType;

    #[test]
    fn the_bias_is_added_to_each_row() {
        let x = Tensor::from_vec([2, 2], vec![0f64, 1.0, -1.0, 0.5]).unwrap();
        let bias = Tensor::vector(vec![1f64, -1.0]);
        for (op_type, gelu) in [("BiasGelu", scalar::gelu as fn(f64) -> f64), ("FastGelu", scalar::gelu_tanh)]
        {
            let y = run(&*parse_in("com.microsoft", 1, op_type, &[]), &[x.clone(), bias.clone()]);
            assert_eq!(y[0].as_slice::<f64>().unwrap(), [gelu(1.0), gelu(0.0), gelu(0.0), gelu(-0.5)]);
        }
    }

    #[test]
    fn texts_agree_with_the_reference() {
        for tanh in [false, true] {
            let expression = crate::expression(&BiasGelu { tanh }).unwrap();
            for &x in SAMPLES {
                let expected = if tanh { scalar::gelu_tanh(x + 0.25) } else { scalar::gelu(x + 0.25) };
                assert!(close(evaluate(&expression, &[x, 0.25]), expected), "{tanh} {x}");
            }
        }
    }

    #[test]
    fn a_bias_of_another_extent_is_an_error() {
        let zeros = |dims: &[usize]| Some(Tensor::zeros(DType::F32, dims).unwrap());
        for bias in [&[2][..], &[1], &[1, 3], &[]] {
            assert!(try_run(&BiasGelu { tanh: false }, &[zeros(&[2, 3]), zeros(bias)]).is_err(), "{bias:?}");
        }
        assert!(try_run(&BiasGelu { tanh: false }, &[zeros(&[]), zeros(&[1])]).is_err());
        assert!(try_run(&BiasGelu { tanh: false }, &[zeros(&[0, 3]), zeros(&[3])]).is_ok());
    }
}
