//! `STFT` (<https://onnx.ai/onnx/operators/onnx__STFT.html>), since opset 17.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::dft::scalar_integer;
use crate::fourier::{Complex, Fourier};
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("STFT", 4, Stft::parse)];

const STEP: usize = 1;
const WINDOW: usize = 2;
const LENGTH: usize = 3;

/// The Fourier transforms of the frames of a signal, each multiplied by a window.
///
/// Inputs: signal of floats `[B, L, 1]` (real) or `[B, L, 2]` (complex), or `[B, L]` (real), which the specification does
/// not know but PyTorch writes and ONNX Runtime takes; step from frame to frame, an integer scalar; window
/// `[N]` (optional: ones); frame length `N`, an integer scalar (optional: the window's, or the signal's). Output:
/// `[B, (L - N) / step + 1, N, 2]`, or `[B, .., N / 2 + 1, 2]` when one-sided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stft {
    /// Whether the half of the spectrum that follows from the other for a real signal is left out.
    pub onesided: bool,
}

impl Stft {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(Stft { onesided: def.flag("onesided", true)? }))
    }

    /// Elements of a frame's spectrum.
    fn bins(&self, length: usize) -> usize {
        if self.onesided { length / 2 + 1 } else { length }
    }

    /// How many frames there are and how long they are.
    ///
    /// # Errors
    /// The shapes and numbers do not fit each other.
    pub fn frames(
        &self,
        signal: &Shape,
        step: i64,
        window: Option<&Shape>,
        length: Option<i64>,
    ) -> Result<(usize, usize), OpError> {
        let (extent, parts) = match *signal.dims() {
            [_, extent] => (extent, 1),
            [_, extent, parts @ (1 | 2)] => (extent, parts),
            _ => return Err(OpError::shape(0, "[B, L, 1], [B, L, 2] or [B, L]", signal)),
        };
        if self.onesided && parts == 2 {
            return Err(OpError::shape(0, "[B, L, 1] or [B, L], as the output is one-sided", signal));
        }
        let positive = |index, name, n| {
            let bad = || OpError::value(index, format!("the {name} is 1 or more, got {n}"));
            usize::try_from(n).ok().filter(|&n| n > 0).ok_or_else(bad)
        };
        let step = positive(STEP, "step", step)?;
        let given = length.map(|n| positive(LENGTH, "frame length", n)).transpose()?;
        let length = match (given, window.map(|window| window.dims())) {
            (None, None) => extent,
            (Some(length), None) => length,
            (given, Some(&[length])) if given.is_none_or(|given| given == length) => length,
            (_, Some(window)) => {
                let expected = given.map_or("[N]".into(), |length| format!("[{length}]"));
                return Err(OpError::shape(WINDOW, expected, Shape::from(window)));
            }
        };
        let frames = extent.checked_sub(length).map_or(0, |rest| rest / step + 1);
        Ok((frames, length))
    }
}

impl Operator for Stft {
    fn key(&self) -> OpKey {
        OpKey::onnx("STFT")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let signal = inputs.tensor(0)?;
        FLOATS.check(0, signal.dtype)?;
        inputs.require(STEP)?;
        scalar_integer(inputs, STEP)?;
        scalar_integer(inputs, LENGTH)?;
        let window = inputs.optional(WINDOW)?;
        if let Some(window) = window.filter(|window| window.dtype != signal.dtype) {
            return Err(OpError::dtype(WINDOW, signal.dtype.to_string(), window.dtype));
        }
        let number = |index| -> Result<Option<i64>, OpError> {
            Ok(inputs.ints(index)?.and_then(|n| n.first().copied()))
        };
        let (step, length) = (number(STEP)?, number(LENGTH)?);
        let window_shape = window.map(|window| window.shape.concrete());
        let dims = match (signal.shape.concrete(), step, &window_shape) {
            (Some(shape), Some(step), None | Some(Some(_))) if length.is_some() || !inputs.has(LENGTH) => {
                let window = window_shape.as_ref().and_then(Option::as_ref);
                let (frames, length) = self.frames(&shape, step, window, length)?;
                [shape[0].into(), frames.into(), self.bins(length).into(), 2.into()]
            }
            _ => {
                let length = match (length.map(usize::try_from), window) {
                    (Some(Ok(length)), _) => SymDim::Known(length),
                    (_, Some(window)) => window.shape.dim(0),
                    _ => SymDim::Unknown,
                };
                [signal.shape.dim(0), SymDim::Unknown, length.map(|length| self.bins(length)), 2.into()]
            }
        };
        // A symbol stands for the frame length, not for half of it.
        let [batch, frames, bins, two] = dims;
        let bins = if self.onesided && bins.known().is_none() { SymDim::Unknown } else { bins };
        Ok(vec![Fact::tensor(signal.dtype, vec![batch, frames, bins, two])])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let signal = inputs.tensor(0)?;
        let window = inputs.optional(WINDOW)?;
        let number = |index| -> Result<Option<i64>, OpError> {
            Ok(inputs.optional_ints(index)?.and_then(|n| n.first().copied()))
        };
        let step = number(STEP)?.unwrap_or(0);
        let (frames, length) =
            self.frames(signal.shape(), step, window.map(Tensor::shape), number(LENGTH)?)?;
        let (batch, extent) = (signal.shape()[0], signal.shape()[1]);
        let parts = signal.shape().get(2).copied().unwrap_or(1);
        let shape = Shape::from([batch, frames, self.bins(length), 2]);
        let mut y: Vec<f64> = zeroed(shape.elements())?;
        if y.is_empty() {
            return Ok(vec![Tensor::from_f64(signal.dtype(), shape, &y)?.into()]);
        }
        let values = signal.to_f64()?;
        let window = window.map(Tensor::to_f64).transpose()?;
        let (mut frame, mut spectrum): (Vec<Complex>, Vec<Complex>) = (zeroed(length)?, zeroed(length)?);
        let mut fourier = Fourier::new(length)?;
        for (index, y) in y.chunks_exact_mut(self.bins(length) * 2).enumerate() {
            let start = index / frames * extent + index % frames * step as usize;
            for (i, element) in frame.iter_mut().enumerate() {
                let weight = window.as_ref().map_or(1.0, |window| window[i]);
                let sample = &values[(start + i) * parts..][..parts];
                *element = [sample[0] * weight, sample.get(1).map_or(0.0, |imaginary| imaginary * weight)];
            }
            fourier.forward(&frame, &mut spectrum);
            for (to, from) in y.chunks_exact_mut(2).zip(&spectrum) {
                to.copy_from_slice(from);
            }
        }
        Ok(vec![Tensor::from_f64(signal.dtype(), shape, &y)?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[STEP, LENGTH]
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        let Some(shape) = outputs.first().and_then(Fact::concrete_shape) else { return 0 };
        // About 5 n log2 n for each frame of n elements.
        let bins = shape.get(2).copied().unwrap_or(1).max(1) as u64;
        (shape.elements() as u64).saturating_mul(5 * u64::from(bins.ilog2() + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::DType;

    fn stft(
        onesided: i64,
        x: &[f32],
        step: i64,
        window: Option<&[f32]>,
        length: Option<i64>,
    ) -> Result<Tensor, OpError> {
        let op = parse_at(17, "STFT", &[("onesided", Attr::Int(onesided))]);
        let inputs = [
            Some(Tensor::from_vec([1, x.len(), 1], x.to_vec()).unwrap()),
            Some(Tensor::scalar(step)),
            window.map(|window| Tensor::vector(window.to_vec())),
            length.map(Tensor::scalar),
        ];
        try_run(&*op, &inputs).map(|mut y| y.remove(0))
    }

    #[test]
    fn frames_step_and_are_weighted() {
        let y = stft(0, &[1.0, 2.0, 4.0, 8.0, 16.0], 2, Some(&[1.0, 0.5]), None).unwrap();
        assert_eq!(y.shape().dims(), [1, 2, 2, 2]);
        assert_eq!(y.to_f64().unwrap().iter().step_by(2).copied().collect::<Vec<_>>(), [2.0, 0.0, 8.0, 0.0]);
        let y = stft(1, &[1.0, 2.0, 4.0], 1, None, Some(3)).unwrap();
        assert_eq!((y.shape().dims(), y.to_f64().unwrap()[0]), (&[1, 1, 2, 2][..], 7.0));
    }

    #[test]
    fn a_real_signal_may_lack_the_last_axis() {
        let op = parse_at(17, "STFT", &[]);
        let samples: Vec<f32> = (0..14).map(|i| (i * i % 11) as f32).collect();
        let y = |dims: &[usize]| {
            let x = Tensor::from_vec(dims, samples.clone()).unwrap();
            try_run(&*op, &[Some(x), Some(Tensor::scalar(2i64)), None, Some(Tensor::scalar(4i64))])
        };
        assert_eq!(y(&[2, 7]).unwrap(), y(&[2, 7, 1]).unwrap());
        assert!(y(&[14]).is_err() && y(&[7, 2, 1, 1]).is_err());
    }

    #[test]
    fn unfit_arguments_are_errors() {
        let x = [0.0; 4];
        assert!(stft(1, &x, 0, None, Some(2)).is_err() && stft(1, &x, -1, None, Some(2)).is_err());
        assert!(stft(1, &x, 1, Some(&[1.0; 3]), Some(2)).is_err() && stft(1, &x, 1, None, Some(0)).is_err());
        assert_eq!(stft(1, &x, 1, None, Some(9)).unwrap().shape().dims(), [1, 0, 5, 2]);
    }

    #[test]
    fn symbols_do_not_leak_into_halves() {
        let op = parse_at(17, "STFT", &[]);
        let signal = Fact::tensor(DType::F32, vec![SymDim::Symbol("B".into()), SymDim::Unknown, 1.into()]);
        let step = Fact::of_dtype(DType::I64);
        let window = Fact::tensor(DType::F32, vec![SymDim::Symbol("N".into())]);
        let fact = op.infer(Facts(&[Some(&signal), Some(&step), Some(&window)])).unwrap().remove(0);
        let dims = vec![SymDim::Symbol("B".into()), SymDim::Unknown, SymDim::Unknown, 2.into()];
        assert_eq!(fact, Fact::tensor(DType::F32, dims));
    }
}
