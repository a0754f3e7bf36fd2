//! `MelWeightMatrix` (<https://onnx.ai/onnx/operators/onnx__MelWeightMatrix.html>), since opset 17.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::dft::scalar_integer;
use crate::signal_window::{count, output_datatype};
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("MelWeightMatrix", 5, MelWeightMatrix::parse)];

/// Triangles, evenly spaced on the mel scale, that sum the bins of a one-sided spectrum.
///
/// Inputs, all scalars: number of triangles `M`, length `N` of the transform, sample rate (integers), lowest and highest
/// frequency in hertz (floats). Output: `[N / 2 + 1, M]` of `dtype`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MelWeightMatrix {
    /// The output's type.
    pub dtype: DType,
}

impl MelWeightMatrix {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(MelWeightMatrix { dtype: output_datatype(def)? }))
    }

    /// The bins at which the triangles start, peak and end: triangle `i` has `i`, `i + 1`, `i + 2`.
    fn edges(
        &self,
        triangles: usize,
        length: usize,
        rate: usize,
        hertz: [f64; 2],
    ) -> Result<Vec<usize>, OpError> {
        let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
        let (low, high) = (mel(hertz[0]), mel(hertz[1]));
        // The definition divides by the number of edges, not of gaps between them.
        let step = (high - low) / (triangles as f64 + 2.0);
        let bins = length / 2 + 1;
        let mut edges: Vec<usize> = zeroed(triangles.saturating_add(2))?;
        for (i, edge) in edges.iter_mut().enumerate() {
            let frequency = 700.0 * (10f64.powf((low + i as f64 * step) / 2595.0) - 1.0);
            let bin = ((length as f64 + 1.0) * frequency / rate as f64).floor();
            if !(0.0..bins as f64).contains(&bin) {
                let reason =
                    format!("{frequency} Hz is not within the {bins} bins of a spectrum at {rate} Hz");
                return Err(OpError::value(4, reason));
            }
            *edge = bin as usize;
        }
        Ok(edges)
    }
}

impl Operator for MelWeightMatrix {
    fn key(&self) -> OpKey {
        OpKey::onnx("MelWeightMatrix")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        for index in 0..3 {
            inputs.require(index)?;
            scalar_integer(inputs, index)?;
        }
        for index in 3..5 {
            FLOATS.check(index, inputs.dtype(index)?)?;
        }
        let number = |index| -> Result<SymDim, OpError> {
            Ok(match inputs.ints(index)? {
                Some(values) => SymDim::Known(count(index, &values)?),
                None => SymDim::Unknown,
            })
        };
        let bins = number(1)?.map(|length| length / 2 + 1);
        Ok(vec![Fact::tensor(self.dtype, vec![bins, number(0)?])])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let number = |index| count(index, &inputs.ints(index)?);
        let hertz = |index| -> Result<f64, OpError> {
            let value = inputs.tensor(index)?.to_f64()?.first().copied().unwrap_or(f64::NAN);
            let fits = value >= 0.0 && value.is_finite();
            if fits {
                Ok(value)
            } else {
                Err(OpError::value(index, format!("a frequency is 0 or more, got {value}")))
            }
        };
        let (triangles, length, rate) = (number(0)?, number(1)?, number(2)?);
        let bins = length / 2 + 1;
        let mut weights: Vec<f64> = zeroed(bins.saturating_mul(triangles))?;
        let edges = self.edges(triangles, length, rate, [hertz(3)?, hertz(4)?])?;
        for (triangle, edges) in edges.windows(3).enumerate() {
            let &[start, peak, end] = edges else { continue };
            for bin in start..=peak {
                let rise = (peak - start) as f64;
                weights[bin * triangles + triangle] =
                    if rise == 0.0 { 1.0 } else { (bin - start) as f64 / rise };
            }
            for bin in peak..end {
                weights[bin * triangles + triangle] = (end - bin) as f64 / (end - peak) as f64;
            }
        }
        Ok(vec![Tensor::from_f64(self.dtype, [bins, triangles], &weights)?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[0, 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, try_run};

    fn matrix(numbers: [i64; 3], hertz: [f32; 2]) -> Result<Tensor, OpError> {
        let op = parse_at(17, "MelWeightMatrix", &[]);
        let inputs: Vec<Option<Tensor>> = numbers
            .iter()
            .map(|&n| Some(Tensor::scalar(n)))
            .chain(hertz.iter().map(|&h| Some(Tensor::scalar(h))))
            .collect();
        try_run(&*op, &inputs).map(|mut y| y.remove(0))
    }

    #[test]
    fn triangles_peak_at_one() {
        let y = matrix([8, 64, 16000], [0.0, 8000.0]).unwrap();
        assert_eq!(y.shape().dims(), [33, 8]);
        let y = y.to_f64().unwrap();
        for triangle in 0..8 {
            let column: Vec<f64> = y.iter().skip(triangle).step_by(8).copied().collect();
            assert_eq!(column.iter().copied().fold(0.0, f64::max), 1.0);
        }
    }

    #[test]
    fn frequencies_beyond_the_spectrum_are_errors() {
        assert!(matrix([8, 16, 8192], [0.0, 80000.0]).is_err());
        assert!(matrix([8, 16, 8192], [-1.0, 4000.0]).is_err());
        assert!(matrix([8, 16, 0], [0.0, 4000.0]).is_err());
        assert!(matrix([-1, 16, 8192], [0.0, 4000.0]).is_err());
        assert_eq!(matrix([0, 16, 8192], [0.0, 4000.0]).unwrap().shape().dims(), [9, 0]);
    }
}
