//! `BiasAdd` and `BiasSplitGelu` of `com.microsoft`, which diffusion models are exported with
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.BiasAdd>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{Tensor, Value, zeroed};

use crate::conv::{check_channels, same_float_types};
use crate::{OpEntry, scalar};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::microsoft("BiasAdd", 3, |_| Ok(Arc::new(BiasAdd))),
    OpEntry::microsoft("BiasSplitGelu", 2, |_| Ok(Arc::new(BiasSplitGelu))),
];

/// `x + bias + skip`: `[N, S, C]`, `[C]` and `[N, S, C]` of one float type; output like `x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BiasAdd;

/// `l gelu(r)`, with `l` and `r` the halves of `x + bias` along the last axis: `[N, S, D]` and `[D]` of one float type;
/// output `[N, S, D / 2]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BiasSplitGelu;

/// Checks `[N, S, C]` and its bias `[C]`; gives `C`.
fn check(inputs: Facts<'_>) -> Result<SymDim, OpError> {
    let x = inputs.shape(0)?;
    if x.rank().is_some_and(|rank| rank != 3) {
        return Err(OpError::shape(0, "[N, S, C]", x));
    }
    inputs.require(1)?;
    check_channels(inputs, 1, &x.dim(2))?;
    Ok(x.dim(2))
}

impl Operator for BiasAdd {
    fn key(&self) -> OpKey {
        OpKey::microsoft("BiasAdd")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = same_float_types(inputs, 3)?;
        check(inputs)?;
        let (x, skip) = (inputs.shape(0)?, inputs.shape(2)?);
        let shape = x.merge(skip).ok_or_else(|| OpError::shape(2, x.to_string(), skip))?;
        Ok(vec![Fact::tensor(dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (x, bias, skip) = (inputs.tensor(0)?, inputs.tensor(1)?.to_f64()?, inputs.tensor(2)?.to_f64()?);
        let mut y = x.to_f64()?;
        for ((y, bias), skip) in y.iter_mut().zip(bias.iter().cycle()).zip(&skip) {
            *y += bias + skip;
        }
        Ok(vec![Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        2 * outputs.iter().map(Fact::element_count).sum::<u64>()
    }
}

impl Operator for BiasSplitGelu {
    fn key(&self) -> OpKey {
        OpKey::microsoft("BiasSplitGelu")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = same_float_types(inputs, 2)?;
        let channels = check(inputs)?;
        if channels.known().is_some_and(|channels| channels % 2 == 1) {
            return Err(OpError::shape(0, "[N, S, an even number]", inputs.shape(0)?));
        }
        let x = inputs.shape(0)?;
        Ok(vec![Fact::tensor(dtype, vec![x.dim(0), x.dim(1), channels.map(|channels| channels / 2)])])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (x, bias) = (inputs.tensor(0)?, inputs.tensor(1)?.to_f64()?);
        let half = bias.len() / 2;
        let mut shape = x.shape().clone();
        shape.dims_mut()[2] = half;
        let mut y: Vec<f64> = zeroed(shape.elements())?;
        let values = x.to_f64()?;
        for (y, row) in y.chunks_exact_mut(half.max(1)).zip(values.chunks_exact((2 * half).max(1))) {
            for (i, y) in y.iter_mut().enumerate() {
                *y = (row[i] + bias[i]) * scalar::gelu(row[half + i] + bias[half + i]);
            }
        }
        Ok(vec![Tensor::from_f64(x.dtype(), shape, &y)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        8 * outputs.iter().map(Fact::element_count).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_in, try_run};

    fn tensor(shape: &[usize], values: &[f32]) -> Option<Tensor> {
        Some(Tensor::from_vec(shape, values.to_vec()).unwrap())
    }

    #[test]
    fn bias_and_skip_are_added() {
        let op = parse_in("com.microsoft", 1, "BiasAdd", &[]);
        let (x, skip) = (tensor(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]), tensor(&[1, 2, 2], &[0.5; 4]));
        let y = try_run(&*op, &[x.clone(), tensor(&[2], &[10.0, 20.0]), skip.clone()]).unwrap();
        assert_eq!(y[0].to_f64().unwrap(), [11.5, 22.5, 13.5, 24.5]);
        assert!(try_run(&*op, &[x.clone(), tensor(&[3], &[0.0; 3]), skip]).is_err());
        assert!(try_run(&*op, &[x, tensor(&[2], &[0.0; 2]), tensor(&[1, 1, 2], &[0.0; 2])]).is_err());
    }

    #[test]
    fn the_right_half_gates_the_left() {
        let op = parse_in("com.microsoft", 1, "BiasSplitGelu", &[]);
        let x = tensor(&[1, 2, 2], &[3.0, 0.5, 4.0, -1e3]);
        let y = try_run(&*op, &[x, tensor(&[2], &[1.0, 0.5])]).unwrap().remove(0);
        let y = y.to_f64().unwrap();
        assert!((y[0] - 4.0 * 0.841_344_746).abs() < 1e-6 && y[1] == 0.0);
        assert!(try_run(&*op, &[tensor(&[1, 1, 3], &[0.0; 3]), tensor(&[3], &[0.0; 3])]).is_err());
        let empty = try_run(&*op, &[tensor(&[2, 0, 4], &[]), tensor(&[4], &[0.0; 4])]).unwrap();
        assert_eq!(empty[0].shape().dims(), [2, 0, 2]);
    }
}
