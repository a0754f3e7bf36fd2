//! `EmbedLayerNormalization` of `com.microsoft`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.EmbedLayerNormalization>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::attention::expect_shape;
use crate::conv::check_channels;
use crate::moments::Moments;
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::microsoft("EmbedLayerNormalization", 9, EmbedLayerNormalization::parse)];

const WORDS: usize = 0;
const SEGMENTS: usize = 1;
const WORD_TABLE: usize = 2;
const POSITION_TABLE: usize = 3;
const SEGMENT_TABLE: usize = 4;
const GAMMA: usize = 5;
const BETA: usize = 6;
const MASK: usize = 7;
const POSITIONS: usize = 8;

/// Layer normalisation of the sum of the embeddings of words, positions and segments: the start of BERT.
///
/// Inputs: words int32 `[B, S]`; segments `[B, S]` (optional); tables `[.., H]` of words, positions and segments (optional);
/// gamma and beta `[H]`; mask int32 `[B, S]` (optional); positions int32 `[B, S]` or `[1, S]` (optional: 0, 1, ...).
/// Outputs: `[B, S, H]`; int32 `[B]`, how many entries of the mask are 1 (0 without a mask); the sum `[B, S, H]`.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedLayerNormalization {
    /// What is added to the variance.
    pub epsilon: f32,
    /// How many outputs the node has.
    pub outputs: usize,
}

impl EmbedLayerNormalization {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        // Says only what the second output is for.
        def.ignore(&["mask_index_type"]);
        let outputs = def.outputs.len().clamp(1, 3);
        Ok(Arc::new(EmbedLayerNormalization { epsilon: def.float_or("epsilon", 1e-12)?, outputs }))
    }

    /// Adds to each row of `sum` the row of a table that `ids` names; with fewer ids than rows they repeat.
    fn add_rows(sum: &mut [f64], hidden: usize, ids: (usize, &[i64]), table: &Tensor) -> Result<(), OpError> {
        let (index, ids) = ids;
        let rows = table.shape()[0];
        let table = table.to_f64()?;
        for (row, &id) in sum.chunks_exact_mut(hidden.max(1)).zip(ids.iter().cycle()) {
            let id = usize::try_from(id).ok().filter(|&id| id < rows).ok_or_else(|| {
                OpError::value(index, format!("ids are 0 to {}, got {id}", rows as i64 - 1))
            })?;
            row.iter_mut().zip(&table[id * hidden..][..hidden]).for_each(|(sum, x)| *sum += x);
        }
        Ok(())
    }
}

impl Operator for EmbedLayerNormalization {
    fn key(&self) -> OpKey {
        OpKey::microsoft("EmbedLayerNormalization")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (words, table) = (inputs.tensor(WORDS)?, inputs.tensor(WORD_TABLE)?);
        FLOATS.check(WORD_TABLE, table.dtype)?;
        let expected = [POSITION_TABLE, GAMMA, BETA, SEGMENT_TABLE].map(|index| (index, table.dtype));
        let ids = [WORDS, SEGMENTS, MASK, POSITIONS].map(|index| (index, DType::I32));
        for (index, dtype) in expected.into_iter().chain(ids) {
            match inputs.optional(index)? {
                Some(tensor) if tensor.dtype != dtype => {
                    return Err(OpError::dtype(index, dtype.to_string(), tensor.dtype));
                }
                None if matches!(index, POSITION_TABLE | GAMMA | BETA) => {
                    return Err(OpError::MissingInput { index });
                }
                _ => {}
            }
        }
        if inputs.has(SEGMENTS) != inputs.has(SEGMENT_TABLE) {
            return Err(OpError::Invalid("segments and their table are given together or not at all".into()));
        }
        if words.shape.rank().is_some_and(|rank| rank != 2) {
            return Err(OpError::shape(WORDS, "[B, S]", &words.shape));
        }
        let hidden = table.shape.dim(1);
        for index in [WORD_TABLE, POSITION_TABLE, SEGMENT_TABLE] {
            if let Some(table) = inputs.optional(index)?
                && (table.shape.rank().is_some_and(|rank| rank != 2)
                    || table.shape.dim(1).merge(&hidden).is_none())
            {
                return Err(OpError::shape(index, format!("[N, {hidden}]"), &table.shape));
            }
        }
        check_channels(inputs, GAMMA, &hidden)?;
        check_channels(inputs, BETA, &hidden)?;
        let (batch, len) = (words.shape.dim(0), words.shape.dim(1));
        if let (Some(batch), Some(len)) = (batch.known(), len.known()) {
            for index in [SEGMENTS, MASK] {
                if let Some(ids) = inputs.optional(index)? {
                    expect_shape(index, &ids.shape, &[batch, len])?;
                }
            }
            if let Some(ids) = inputs.optional(POSITIONS)? {
                let rows = if ids.shape.dim(0).known() == Some(1) { 1 } else { batch };
                expect_shape(POSITIONS, &ids.shape, &[rows, len])?;
            }
        }
        let embedded = Fact::tensor(table.dtype, vec![batch.clone(), len, hidden]);
        let mut facts = vec![embedded.clone(), Fact::tensor(DType::I32, vec![batch]), embedded];
        facts.truncate(self.outputs);
        Ok(facts)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (words, table) = (inputs.tensor(WORDS)?, inputs.tensor(WORD_TABLE)?);
        let (batch, len, hidden) = (words.shape()[0], words.shape()[1], table.shape()[1]);
        let shape = Shape::from([batch, len, hidden]);
        let mut sum: Vec<f64> = zeroed(shape.elements())?;
        Self::add_rows(&mut sum, hidden, (WORDS, &words.to_i64()?), table)?;
        let positions = match inputs.optional_ints(POSITIONS)? {
            Some(positions) => positions,
            None => (0..len as i64).collect(),
        };
        Self::add_rows(&mut sum, hidden, (POSITIONS, &positions), inputs.tensor(POSITION_TABLE)?)?;
        if let (Some(segments), Some(table)) =
            (inputs.optional_ints(SEGMENTS)?, inputs.optional(SEGMENT_TABLE)?)
        {
            Self::add_rows(&mut sum, hidden, (SEGMENTS, &segments), table)?;
        }
        let (gamma, beta) = (inputs.tensor(GAMMA)?.to_f64()?, inputs.tensor(BETA)?.to_f64()?);
        let mut y = sum.clone();
        for row in y.chunks_exact_mut(hidden.max(1)) {
            let moments = Moments::of(row);
            let inverse = moments.inverse_deviation(self.epsilon);
            for ((y, gamma), beta) in row.iter_mut().zip(&gamma).zip(&beta) {
                *y = (*y - moments.mean) * inverse * gamma + beta;
            }
        }
        let mut kept: Vec<i32> = zeroed(batch)?;
        if let Some(mask) = inputs.optional_ints(MASK)?.filter(|_| len > 0) {
            for (kept, row) in kept.iter_mut().zip(mask.chunks_exact(len)) {
                *kept = row.iter().filter(|&&entry| entry == 1).count() as i32;
            }
        }
        let outputs = [
            Tensor::from_f64(table.dtype(), shape.clone(), &y)?,
            Tensor::vector(kept),
            Tensor::from_f64(table.dtype(), shape, &sum)?,
        ];
        Ok(outputs.into_iter().take(self.outputs).map(Value::Tensor).collect())
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        outputs.first().map_or(0, |y| 9 * y.element_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_node, try_run};

    fn table(rows: usize, values: &[f32]) -> Option<Tensor> {
        Some(Tensor::from_vec([rows, 2], values.to_vec()).unwrap())
    }

    fn embed(words: &[i32]) -> Result<Vec<Tensor>, OpError> {
        let op = parse_node("com.microsoft", 1, "EmbedLayerNormalization", &[], 3);
        let ids = |values: &[i32]| Some(Tensor::from_vec([1, values.len()], values.to_vec()).unwrap());
        let inputs = [
            ids(words),
            None,
            table(2, &[1.0, 2.0, 3.0, 4.0]),
            table(2, &[0.0, 0.0, 0.0, 4.0]),
            None,
            Some(Tensor::vector(vec![1f32, 2.0])),
            Some(Tensor::vector(vec![0f32, 10.0])),
            ids(&[1, 0]),
        ];
        try_run(&*op, &inputs)
    }

    #[test]
    fn rows_of_the_tables_are_summed_and_normalised() {
        let outputs = embed(&[1, 0]).unwrap();
        assert_eq!(outputs[2].to_f64().unwrap(), [3.0, 4.0, 1.0, 6.0]);
        assert_eq!(outputs[1].to_i64().unwrap(), [1]);
        assert!(
            outputs[0]
                .to_f64()
                .unwrap()
                .iter()
                .zip([-1.0, 12.0, -1.0, 12.0])
                .all(|(a, b)| (a - b).abs() < 1e-5)
        );
    }

    #[test]
    fn unknown_words_and_positions_are_errors() {
        assert!(embed(&[2, 0]).is_err() && embed(&[-1, 0]).is_err() && embed(&[0, 0, 0]).is_err());
    }
}
