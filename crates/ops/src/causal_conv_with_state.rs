//! `CausalConvWithState` (<https://onnx.ai/onnx/operators/onnx__CausalConvWithState.html>, and that of `com.microsoft`
//! for one spatial axis, <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::conv::{check_channels, same_float_types};
use crate::fused_activation::FusedActivation;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("CausalConvWithState", 4, |def| {
        CausalConvWithState::parse(def, OpKey::onnx("CausalConvWithState"))
    }),
    OpEntry::microsoft("CausalConvWithState", 4, |def| {
        CausalConvWithState::parse(def, OpKey::microsoft("CausalConvWithState"))
    }),
];

/// Convolution of each channel with its own kernel over what came before. Inputs: `[N, C, L]`, weights `[C, 1, K]`,
/// optionally bias `[C]` and the state `[N, C, (K - 1) * dilation]`: what came before the input (zeros if left out).
/// Outputs: `[N, C, L]` and the state after it. Any float.
#[derive(Debug, Clone, PartialEq)]
pub struct CausalConvWithState {
    key: OpKey,
    /// Steps between the elements that one kernel meets.
    pub dilation: usize,
    /// What is applied to the sum: `Silu` or nothing.
    pub activation: Option<FusedActivation>,
}

impl CausalConvWithState {
    fn parse(def: &mut NodeDef, key: OpKey) -> Result<Arc<dyn Operator>, OpError> {
        let activation = match def.string_or("activation", "none")?.as_str() {
            "none" | "" => None,
            "silu" | "swish" => Some(FusedActivation::Silu),
            other => return Err(OpError::attribute("activation", "none, silu or swish", other)),
        };
        let mut dilation = 1;
        if !key.domain.is_empty() {
            dilation = def.int_or("dilation", 1)?;
            for (name, only) in [("ndim", 1), ("channels_last", 0), ("state_window", 0)] {
                let got = def.int_or(name, only)?;
                if got != only {
                    return Err(OpError::Unsupported(format!("attribute `{name}` other than {only}: {got}")));
                }
            }
        }
        let dilation = usize::try_from(dilation)
            .ok()
            .filter(|&d| d > 0)
            .ok_or_else(|| OpError::attribute("dilation", "1 or more", dilation))?;
        Ok(Arc::new(CausalConvWithState { key, dilation, activation }))
    }

    /// Elements before the input that a kernel of `taps` elements reaches.
    fn state(&self, taps: usize) -> Option<usize> {
        taps.checked_sub(1)?.checked_mul(self.dilation)
    }
}

impl Operator for CausalConvWithState {
    fn key(&self) -> OpKey {
        self.key
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = same_float_types(inputs, 4)?;
        let (x, w) = (inputs.shape(0)?, inputs.shape(1)?);
        if x.rank().is_some_and(|rank| rank != 3) {
            return Err(OpError::shape(0, "[N, C, L]", x));
        }
        let channels = x.dim(1);
        let taps = w.dim(2);
        let weights = [channels.clone(), SymDim::Known(1), taps.clone()].into_iter().collect();
        if w.merge(&weights).is_none() || taps == SymDim::Known(0) {
            return Err(OpError::shape(1, format!("[{channels}, 1, K]"), w));
        }
        check_channels(inputs, 2, &channels)?;
        let length = match taps.known() {
            Some(taps) => SymDim::Known(self.state(taps).ok_or_else(|| {
                OpError::attribute(
                    "dilation",
                    "so few that the state's elements can be counted",
                    self.dilation,
                )
            })?),
            None => SymDim::Unknown,
        };
        let state = [x.dim(0), channels, length].into_iter().collect();
        if let Some(given) = inputs.optional(3)?
            && given.shape.merge(&state).is_none()
        {
            return Err(OpError::shape(3, state.to_string(), &given.shape));
        }
        Ok(vec![inputs.like(0)?, Fact::tensor(dtype, state)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (x, w) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let (batch, channels, length, taps) = (x.shape()[0], x.shape()[1], x.shape()[2], w.shape()[2]);
        let before = self.state(taps).unwrap_or(0);
        let (xs, ws) = (x.to_f64()?, w.to_f64()?);
        let bias = inputs.optional(2)?.map(Tensor::to_f64).transpose()?;
        let past = inputs.optional(3)?.map(Tensor::to_f64).transpose()?;
        let rows = Shape::from([batch, channels]).elements();
        let mut y = zeroed::<f64>(x.len())?;
        let mut present = zeroed::<f64>(rows.saturating_mul(before))?;
        let mut line = zeroed::<f64>(before.saturating_add(length))?;
        for row in if line.is_empty() { 0..0 } else { 0..rows } {
            let channel = row % channels;
            if let Some(past) = &past {
                line[..before].copy_from_slice(&past[row * before..][..before]);
            }
            line[before..].copy_from_slice(&xs[row * length..][..length]);
            let y = &mut y[row * length..][..length];
            for (tap, &w) in ws[channel * taps..][..taps].iter().enumerate() {
                y.iter_mut().zip(&line[tap * self.dilation..]).for_each(|(y, x)| *y += w * x);
            }
            let bias = bias.as_ref().map_or(0.0, |bias| bias[channel]);
            y.iter_mut().for_each(|y| *y = self.activation.map_or(*y + bias, |f| f.apply(*y + bias)));
            present[row * before..][..before].copy_from_slice(&line[length..]);
        }
        let state = [batch, channels, before];
        Ok(vec![
            Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into(),
            Tensor::from_f64(x.dtype(), state, &present)?.into(),
        ])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        let shape = |index: usize| inputs.get(index).and_then(Fact::concrete_shape);
        let (Some(x), Some(w)) = (shape(0), shape(1)) else { return 0 };
        (x.elements() as u64).saturating_mul(2).saturating_mul(w.last().copied().unwrap_or(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, parse_in, run, try_run};
    use inferrum_graph::Attr;

    fn tensor(shape: [usize; 3], values: &[f32]) -> Tensor {
        Tensor::from_vec(shape, values.to_vec()).unwrap()
    }

    #[test]
    fn two_halves_give_what_the_whole_gives() {
        let op = parse_at(27, "CausalConvWithState", &[]);
        let w = tensor([2, 1, 3], &[1., 2., 3., -1., 0., 1.]);
        let bias = Tensor::vector(vec![0.5f32, 0.]);
        let whole = tensor([1, 2, 4], &[1., 2., 3., 4., 5., 6., 7., 8.]);
        let all = run(&*op, &[whole, w.clone(), bias.clone()]);
        assert_eq!(all[0].as_slice::<f32>().unwrap(), [3.5, 8.5, 14.5, 20.5, 5., 6., 2., 2.]);
        assert_eq!(all[1].as_slice::<f32>().unwrap(), [3., 4., 7., 8.]);
        let first = run(&*op, &[tensor([1, 2, 1], &[1., 5.]), w.clone(), bias.clone()]);
        assert_eq!(first[1].as_slice::<f32>().unwrap(), [0., 1., 0., 5.]);
        let rest = tensor([1, 2, 3], &[2., 3., 4., 6., 7., 8.]);
        let second = run(&*op, &[rest, w, bias, first[1].clone()]);
        assert_eq!(second[0].as_slice::<f32>().unwrap(), [8.5, 14.5, 20.5, 6., 2., 2.]);
        assert_eq!(second[1], all[1]);
    }

    #[test]
    fn dilation_and_activation() {
        let attrs = [("dilation", Attr::Int(2)), ("activation", Attr::String(b"silu".to_vec()))];
        let op = parse_in("com.microsoft", 1, "CausalConvWithState", &attrs);
        let y = run(&*op, &[tensor([1, 1, 3], &[1., 2., 3.]), tensor([1, 1, 2], &[10., 1.])]);
        let silu = |x: f64| (x / (1.0 + (-x).exp())) as f32;
        assert_eq!(y[0].as_slice::<f32>().unwrap(), [silu(1.), silu(2.), silu(13.)]);
        assert_eq!(y[1].as_slice::<f32>().unwrap(), [2., 3.]);
    }

    #[test]
    fn misfits_are_errors() {
        let op = parse_at(27, "CausalConvWithState", &[]);
        let x = || Some(tensor([1, 2, 1], &[1., 2.]));
        assert!(try_run(&*op, &[x(), Some(tensor([2, 2, 1], &[1.; 4]))]).is_err());
        assert!(try_run(&*op, &[x(), Some(tensor([2, 1, 0], &[]))]).is_err());
        let w = Some(tensor([2, 1, 2], &[1.; 4]));
        assert!(try_run(&*op, &[x(), w, None, Some(tensor([1, 2, 2], &[1.; 4]))]).is_err());
    }
}
