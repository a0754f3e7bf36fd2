//! `ai.onnx.ml.FeatureVectorizer`
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_FeatureVectorizer.html>), one version only.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::{OpEntry, features};

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::ml("FeatureVectorizer", OpEntry::VARIADIC, FeatureVectorizer::parse)];

/// The width of an input at most: the file states it, and nothing in the input stands for it.
const WIDEST: usize = 1 << 24;

/// Puts features next to each other. Inputs: `[N, ..]` or `[F]`, as many as there are widths; float32, float64, int64,
/// int32. Output: `[N, sum of widths]` in float32; each input's rows are cut or filled up with zeros to its width.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureVectorizer {
    /// The width of each input.
    pub widths: Vec<usize>,
}

impl FeatureVectorizer {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let widths = def.ints("inputdimensions")?.unwrap_or_default();
        let width = |&width: &i64| usize::try_from(width).ok().filter(|&width| width <= WIDEST);
        let fits = || OpError::attribute("inputdimensions", format!("0 to {WIDEST}"), format!("{widths:?}"));
        let widths = widths.iter().map(width).collect::<Option<Vec<usize>>>().ok_or_else(fits)?;
        Ok(Arc::new(FeatureVectorizer { widths }))
    }

    fn width(&self) -> usize {
        self.widths.iter().fold(0, |sum, &width| sum.saturating_add(width))
    }
}

impl Operator for FeatureVectorizer {
    fn key(&self) -> OpKey {
        OpKey::ml("FeatureVectorizer")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        if inputs.len() != self.widths.len() || inputs.is_empty() {
            let got = format!("{} widths", self.widths.len());
            return Err(OpError::attribute(
                "inputdimensions",
                format!("a width for each of {} inputs", inputs.len()),
                got,
            ));
        }
        let mut examples = SymDim::Unknown;
        for index in 0..inputs.len() {
            features::check_type(inputs, index)?;
            let shape = inputs.shape(index)?;
            let rows = match shape.dims() {
                None => SymDim::Unknown,
                Some([]) => return Err(OpError::shape(index, "[N, F] or [F]", shape)),
                Some([_]) => SymDim::Known(1),
                Some([rows, ..]) => rows.clone(),
            };
            let merged = examples.merge(&rows);
            examples = merged
                .ok_or_else(|| OpError::shape(index, format!("[{examples}, ..], as other inputs"), shape))?;
        }
        Ok(vec![Fact::tensor(DType::F32, features::matrix(examples, self.width()))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let rows = |x: &Tensor| if x.shape().rank() > 1 { x.shape()[0] } else { 1 };
        let examples = rows(inputs.tensor(0)?);
        let width = self.width();
        let mut y = zeroed::<f32>(examples.saturating_mul(width))?;
        let mut offset = 0;
        for (index, &own) in self.widths.iter().enumerate() {
            let x = inputs.tensor(index)?;
            let values = features::f32s(x)?;
            if rows(x) != examples {
                return Err(OpError::shape(index, format!("[{examples}, ..]"), x.shape()));
            }
            let given = x.len() / examples.max(1);
            let taken = given.min(own);
            if taken > 0 {
                for (from, to) in values.chunks_exact(given).zip(y.chunks_exact_mut(width)) {
                    to[offset..offset + taken].copy_from_slice(&from[..taken]);
                }
            }
            offset += own;
        }
        Ok(vec![Tensor::from_vec([examples, width], y)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::try_run;

    #[test]
    fn rows_are_cut_or_filled_up() {
        let op = FeatureVectorizer { widths: vec![3, 1] };
        let a = Tensor::from_vec([2, 2], vec![1i64, 2, 3, 4]).unwrap();
        let b = Tensor::from_vec([2, 2], vec![5f64, 6.0, 7.0, 8.0]).unwrap();
        let y = try_run(&op, &[Some(a.clone()), Some(b)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec([2, 4], vec![1f32, 2.0, 0.0, 5.0, 3.0, 4.0, 0.0, 7.0]).unwrap());
        assert!(try_run(&op, &[Some(a.clone()), Some(Tensor::vector(vec![1f32]))]).is_err());
        assert!(try_run(&op, &[Some(a)]).is_err());
    }

    #[test]
    fn vectors_are_one_example() {
        let op = FeatureVectorizer { widths: vec![1, 0] };
        let y =
            try_run(&op, &[Some(Tensor::vector(vec![1i32, 2])), Some(Tensor::vector(vec![3f32]))]).unwrap();
        assert_eq!(y[0], Tensor::from_vec([1, 1], vec![1f32]).unwrap());
        let empty = Some(Tensor::zeros(DType::F32, [0, 2]).unwrap());
        assert_eq!(try_run(&op, &[empty.clone(), empty]).unwrap()[0].shape().dims(), [0, 1]);
    }
}
