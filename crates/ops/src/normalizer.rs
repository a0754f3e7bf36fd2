//! `ai.onnx.ml.Normalizer` (<https://onnx.ai/onnx/operators/onnx_aionnxml_Normalizer.html>), one version only.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::{OpEntry, features};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::ml("Normalizer", 1, Normalizer::parse)];

/// Divides each row by its norm, unless that is zero. Input: `[N, C]` or `[C]` of float32, float64, int64 or int32;
/// output: float32 of the same shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalizer {
    /// What rows are divided by.
    pub norm: Norm,
}

/// A norm of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// The greatest element, with its sign.
    Max,
    /// The sum of magnitudes.
    L1,
    /// The root of the sum of squares.
    L2,
}

impl Normalizer {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let norm = match def.string_or("norm", "MAX")?.as_str() {
            "MAX" => Norm::Max,
            "L1" => Norm::L1,
            "L2" => Norm::L2,
            other => return Err(OpError::attribute("norm", "MAX, L1 or L2", other)),
        };
        Ok(Arc::new(Normalizer { norm }))
    }
}

impl Norm {
    fn of(self, row: &[f32]) -> f64 {
        let elements = row.iter().map(|&x| f64::from(x));
        match self {
            Norm::Max => elements.fold(f64::from(f32::MIN), f64::max),
            Norm::L1 => elements.map(f64::abs).sum(),
            Norm::L2 => elements.map(|x| x * x).sum::<f64>().sqrt(),
        }
    }
}

impl Operator for Normalizer {
    fn key(&self) -> OpKey {
        OpKey::ml("Normalizer")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        features::infer(inputs, 0)?;
        Ok(vec![Fact::tensor(DType::F32, inputs.shape(0)?.clone())])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (_, columns) = features::extents(x)?;
        let values = features::f32s(x)?;
        let mut y = zeroed::<f32>(values.len())?;
        let columns = columns.max(1);
        for (x, y) in values.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
            let norm = self.norm.of(x);
            let divisor = if norm == 0.0 { 1.0 } else { norm };
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = (f64::from(x) / divisor) as f32);
        }
        Ok(vec![Tensor::from_vec(x.shape().clone(), y)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        3 * outputs.iter().map(Fact::element_count).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};

    fn normalized(norm: Norm, x: Tensor) -> Vec<f32> {
        run(&Normalizer { norm }, &[x])[0].as_slice::<f32>().unwrap().to_vec()
    }

    /// The expected numbers are ONNX Runtime's.
    #[test]
    fn rows_are_divided_by_their_norm() {
        let x = || Tensor::vector(vec![-3f32, 2.0, 1.0]);
        assert_eq!(normalized(Norm::Max, x()), [-1.5, 1.0, 0.5]);
        assert_eq!(normalized(Norm::L1, x()), [-0.5, 0.333_333_34, 0.166_666_67]);
        assert_eq!(normalized(Norm::L2, x()), [-0.801_783_74, 0.534_522_5, 0.267_261_24]);
        assert_eq!(normalized(Norm::Max, Tensor::vector(vec![-3i64, -2, -1])), [3.0, 2.0, 1.0]);
        let rows = Tensor::from_vec([2, 2], vec![0f32, 0.0, 1.0, -1.0]).unwrap();
        assert_eq!(normalized(Norm::L1, rows), [0.0, 0.0, 0.5, -0.5]);
    }

    #[test]
    fn empty_and_other_shapes() {
        assert!(normalized(Norm::L2, Tensor::zeros(DType::F32, [2, 0]).unwrap()).is_empty());
        let cube = Tensor::zeros(DType::F32, [1, 1, 1]).unwrap();
        assert!(try_run(&Normalizer { norm: Norm::L1 }, &[Some(cube)]).is_err());
    }
}
