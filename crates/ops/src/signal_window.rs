//! `HannWindow`, `HammingWindow`, `BlackmanWindow` (<https://onnx.ai/onnx/operators/onnx__HannWindow.html>), since opset 17.

use std::f64::consts::TAU;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::dft::scalar_integer;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("HannWindow", 1, |def| SignalWindow::parse(def, Kind::Hann)),
    OpEntry::onnx("HammingWindow", 1, |def| SignalWindow::parse(def, Kind::Hamming)),
    OpEntry::onnx("BlackmanWindow", 1, |def| SignalWindow::parse(def, Kind::Blackman)),
];

/// Weights for the elements of a frame of a signal: a sum of cosines. Input: their number, an integer scalar. Output:
/// `[number]` of `dtype`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalWindow {
    /// Which window.
    pub kind: Kind,
    /// Whether the weights are one period, so that the one after the last is the first; else first and last are equal.
    pub periodic: bool,
    /// The output's type.
    pub dtype: DType,
}

/// A window by its inventor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `0.5 - 0.5 cos`.
    Hann,
    /// `25/46 - 21/46 cos`.
    Hamming,
    /// `0.42 - 0.5 cos + 0.08 cos 2`.
    Blackman,
}

impl SignalWindow {
    fn parse(def: &mut NodeDef, kind: Kind) -> Result<Arc<dyn Operator>, OpError> {
        let dtype = output_datatype(def)?;
        Ok(Arc::new(SignalWindow { kind, periodic: def.flag("periodic", true)?, dtype }))
    }

    /// Weight `index` of `count`.
    fn weight(&self, index: usize, count: usize) -> f64 {
        let period = if self.periodic { count } else { count - 1 };
        if period == 0 {
            return 1.0;
        }
        let angle = TAU * index as f64 / period as f64;
        match self.kind {
            Kind::Hann => 0.5 - 0.5 * angle.cos(),
            Kind::Hamming => (25.0 - 21.0 * angle.cos()) / 46.0,
            Kind::Blackman => 0.42 - 0.5 * angle.cos() + 0.08 * (2.0 * angle).cos(),
        }
    }
}

impl Operator for SignalWindow {
    fn key(&self) -> OpKey {
        OpKey::onnx(match self.kind {
            Kind::Hann => "HannWindow",
            Kind::Hamming => "HammingWindow",
            Kind::Blackman => "BlackmanWindow",
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        inputs.require(0)?;
        scalar_integer(inputs, 0)?;
        let dim = match inputs.ints(0)? {
            Some(size) => SymDim::Known(count(0, &size)?),
            None => SymDim::Unknown,
        };
        Ok(vec![Fact::tensor(self.dtype, vec![dim])])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let count = count(0, &inputs.ints(0)?)?;
        let mut weights: Vec<f64> = zeroed(count)?;
        weights.iter_mut().enumerate().for_each(|(index, weight)| *weight = self.weight(index, count));
        Ok(vec![Tensor::from_f64(self.dtype, [count], &weights)?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[0]
    }
}

/// The attribute `output_datatype`: a number, float32 by default.
pub(crate) fn output_datatype(def: &mut NodeDef) -> Result<DType, OpError> {
    let code = def.int_or("output_datatype", 1)?;
    i32::try_from(code)
        .ok()
        .and_then(DType::from_onnx_code)
        .filter(|dtype| dtype.is_integer() || dtype.is_float())
        .ok_or_else(|| OpError::attribute("output_datatype", "the data type of a number", code))
}

/// An input that counts.
pub(crate) fn count(index: usize, values: &[i64]) -> Result<usize, OpError> {
    match values {
        [n] => {
            usize::try_from(*n).map_err(|_| OpError::value(index, format!("a number is 0 or more, got {n}")))
        }
        _ => Err(OpError::shape(index, "one element", format!("{} elements", values.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, try_run};
    use inferrum_graph::Attr;

    fn window(kind: &str, periodic: i64, size: i64) -> Result<Vec<f64>, OpError> {
        let op = parse_at(17, kind, &[("periodic", Attr::Int(periodic)), ("output_datatype", Attr::Int(11))]);
        try_run(&*op, &[Some(Tensor::scalar(size))]).map(|y| y[0].to_f64().unwrap())
    }

    #[test]
    fn windows_rise_and_fall() {
        let close = |a: Vec<f64>, b: &[f64]| {
            a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12) && a.len() == b.len()
        };
        assert!(close(window("HannWindow", 1, 4).unwrap(), &[0.0, 0.5, 1.0, 0.5]));
        assert!(close(window("HannWindow", 0, 3).unwrap(), &[0.0, 1.0, 0.0]));
        assert!(close(window("HammingWindow", 0, 3).unwrap(), &[4.0 / 46.0, 1.0, 4.0 / 46.0]));
        assert!(close(window("BlackmanWindow", 1, 2).unwrap(), &[0.0, 1.0]));
        assert!(close(window("HannWindow", 0, 1).unwrap(), &[1.0]));
        assert!(window("HannWindow", 1, 0).unwrap().is_empty());
    }

    #[test]
    fn sizes_out_of_range_are_errors() {
        assert!(window("HannWindow", 1, -1).is_err());
        assert!(window("HannWindow", 1, 1 << 61).is_err());
    }
}
