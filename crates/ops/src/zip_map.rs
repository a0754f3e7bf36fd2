//! `ai.onnx.ml.ZipMap` (<https://onnx.ai/onnx/operators/onnx_aionnxml_ZipMap.html>), one version only.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, MapKeys, Tensor, Value};

use crate::OpEntry;
use crate::class_labels::ClassLabels;
use crate::features::{extents, rows};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::ml("ZipMap", 1, ZipMap::parse)];

/// Gives each column a name. Input: float32 `[N, labels]` or `[labels]`; output: a sequence of `N` dictionaries.
#[derive(Debug, Clone, PartialEq)]
pub struct ZipMap {
    /// The columns' names.
    pub labels: ClassLabels,
}

impl ZipMap {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let labels = ClassLabels::parse(def, "classlabels_int64s", "classlabels_strings")?;
        Ok(Arc::new(ZipMap { labels }))
    }

    fn keys(&self) -> MapKeys {
        match &self.labels {
            ClassLabels::Int(labels) => MapKeys::Int(labels.clone()),
            ClassLabels::String(labels) => MapKeys::String(labels.clone()),
        }
    }
}

impl Operator for ZipMap {
    fn key(&self) -> OpKey {
        OpKey::ml("ZipMap")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.tensor(0)?;
        if x.dtype != DType::F32 {
            return Err(OpError::dtype(0, "float32", x.dtype));
        }
        let expected = self.labels.len();
        match x.shape.dims() {
            None => {}
            Some([columns] | [_, columns]) if columns.known().is_none_or(|columns| columns == expected) => {}
            Some(_) => return Err(OpError::shape(0, format!("[N, {expected}] or [{expected}]"), &x.shape)),
        }
        Ok(vec![Fact::Sequence(Box::new(Fact::Map { key: self.labels.dtype(), value: DType::F32 }))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (examples, columns) = extents(x)?;
        if columns != self.labels.len() {
            return Err(OpError::shape(0, format!("[N, {}]", self.labels.len()), x.shape()));
        }
        let maps = rows(x.as_slice::<f32>()?, examples, columns)
            .map(|row| Value::Map { keys: self.keys(), values: Tensor::vector(row.to_vec()) });
        Ok(vec![Value::Sequence(maps.collect())])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zip(x: Tensor) -> Result<Vec<(MapKeys, Tensor)>, OpError> {
        let op = ZipMap { labels: ClassLabels::Int(vec![5, 7]) };
        let value = Value::Tensor(x);
        Inputs(&[Some(&value)]).with_facts(|facts| op.infer(facts))?;
        let Value::Sequence(items) = op.reference(Inputs(&[Some(&value)]))?.remove(0) else { panic!() };
        Ok(items
            .into_iter()
            .map(|item| match item {
                Value::Map { keys, values } => (keys, values),
                other => panic!("{}", other.describe()),
            })
            .collect())
    }

    #[test]
    fn each_row_is_a_dictionary() {
        let maps = zip(Tensor::from_vec([2, 2], vec![1f32, 2.0, 3.0, 4.0]).unwrap()).unwrap();
        assert_eq!(maps.len(), 2);
        assert_eq!(maps[1], (MapKeys::Int(vec![5, 7]), Tensor::vector(vec![3f32, 4.0])));
        assert_eq!(zip(Tensor::vector(vec![1f32, 2.0])).unwrap().len(), 1);
        assert!(zip(Tensor::zeros(DType::F32, [0, 2]).unwrap()).unwrap().is_empty());
        assert!(zip(Tensor::vector(vec![1f32])).is_err());
        assert!(zip(Tensor::vector(vec![1f64, 2.0])).is_err());
    }
}
