//! `ai.onnx.ml.OneHotEncoder` (<https://onnx.ai/onnx/operators/onnx_aionnxml_OneHotEncoder.html>), one version only.

use std::fmt;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::digest::Table;
use crate::mapping::Places;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::ml("OneHotEncoder", 1, OneHotEncoder::parse)];

/// A one at the place of each element's category. Input: any shape, string, or a number, which is truncated to an
/// integer; output: `[.., categories]` in float32.
pub struct OneHotEncoder {
    /// The categories, int64 or string, shape `[categories]`.
    pub categories: Tensor,
    /// Whether an unknown category gives zeros, not an error.
    pub zeros: bool,
    places: Places,
}

impl OneHotEncoder {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let ints = def.ints("cats_int64s")?.unwrap_or_default();
        let texts = def.strings("cats_strings")?.unwrap_or_default();
        let categories = match (ints.is_empty(), texts.is_empty()) {
            (false, true) => Tensor::vector(ints),
            (true, false) => Tensor::from_strings([texts.len()], texts)?,
            (none, _) => {
                let got = if none { "neither" } else { "both" };
                return Err(OpError::attribute("cats_int64s", "either this or `cats_strings`", got));
            }
        };
        let places = Places::of(&categories)?;
        Ok(Arc::new(OneHotEncoder { categories, zeros: def.int_or("zeros", 1)? != 0, places }))
    }
}

impl fmt::Debug for OneHotEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let categories = match self.categories.as_strings() {
            Ok(texts) => format!("{:?}", Table::from(texts.to_vec())),
            Err(_) => format!("{:?}", Table::from(self.categories.to_i64().unwrap_or_default())),
        };
        write!(f, "OneHotEncoder {{ categories: {categories}, zeros: {} }}", self.zeros)
    }
}

impl Operator for OneHotEncoder {
    fn key(&self) -> OpKey {
        OpKey::ml("OneHotEncoder")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0)?;
        let texts = self.categories.dtype() == DType::String;
        if texts != (dtype == DType::String)
            || !matches!(dtype, DType::String | DType::I64 | DType::I32 | DType::F32 | DType::F64)
        {
            let expected = if texts { "string" } else { "int64, int32, float32 or float64" };
            return Err(OpError::dtype(0, format!("{expected}, as the categories"), dtype));
        }
        let shape = match inputs.shape(0)?.dims() {
            None => ShapeFact::unknown(),
            Some(dims) => dims.iter().cloned().chain([SymDim::Known(self.categories.len())]).collect(),
        };
        Ok(vec![Fact::tensor(DType::F32, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let categories = self.categories.len();
        let mut y = zeroed::<f32>(x.len().saturating_mul(categories))?;
        for (row, place) in y.chunks_exact_mut(categories).zip(self.places.find(x)?) {
            match place {
                Some(place) => row[place] = 1.0,
                None if self.zeros => {}
                None => return Err(OpError::value(0, "an element is none of the categories")),
            }
        }
        let shape: Vec<usize> = x.shape().iter().copied().chain([categories]).collect();
        Ok(vec![Tensor::from_vec(shape, y)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_in, run, try_run};
    use inferrum_graph::Attr;

    #[test]
    fn categories_are_texts_or_truncated_numbers() {
        let op = parse_in("ai.onnx.ml", 1, "OneHotEncoder", &[("cats_int64s", Attr::Ints(vec![1, -1]))]);
        let y = run(&*op, &[Tensor::from_vec([1, 3], vec![1.7f32, -1.2, 9.0]).unwrap()]).remove(0);
        assert_eq!(y, Tensor::from_vec([1, 3, 2], vec![1f32, 0.0, 0.0, 1.0, 0.0, 0.0]).unwrap());
        let texts = Attr::Strings(vec![b"a".to_vec(), b"b".to_vec()]);
        let op =
            parse_in("ai.onnx.ml", 1, "OneHotEncoder", &[("cats_strings", texts), ("zeros", Attr::Int(0))]);
        let text = |text: &str| Some(Tensor::from_strings([1], vec![text.into()]).unwrap());
        assert_eq!(try_run(&*op, &[text("b")]).unwrap()[0].as_slice::<f32>().unwrap(), [0.0, 1.0]);
        assert!(try_run(&*op, &[text("c")]).is_err());
        assert!(try_run(&*op, &[Some(Tensor::vector(vec![1i64]))]).is_err());
    }
}
