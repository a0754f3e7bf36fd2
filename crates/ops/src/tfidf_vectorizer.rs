//! `TfIdfVectorizer` (<https://onnx.ai/onnx/operators/onnx__TfIdfVectorizer.html>), one version only, opset 9.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::digest::Table;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("TfIdfVectorizer", 1, TfIdfVectorizer::parse)];

/// Outputs of a row at most: the file states the last one's place, and there need not be others.
const MOST_OUTPUTS: usize = 1 << 26;

/// Counts n-grams. Input: tokens `[C]` or `[N, C]` (strings, int32 or int64, as the pool); output: float32
/// `[outputs]` or `[N, outputs]`.
///
/// An n-gram is found wherever its tokens stand at equal distances of 1 to `most_skipped + 1`.
pub struct TfIdfVectorizer {
    /// What is done with the counts.
    pub weighting: Weighting,
    /// The lengths of the n-grams that are counted.
    pub lengths: std::ops::RangeInclusive<usize>,
    /// How many tokens may lie between neighbours of an n-gram.
    pub most_skipped: usize,
    /// The n-grams, each with its output.
    pub pool: Pool,
    /// A weight for each output; all 1 if empty.
    pub weights: Table<f32>,
    /// The number of outputs of a row.
    pub outputs: usize,
    trie: Trie,
}

/// What is done with the counts of n-grams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weighting {
    /// Nothing.
    Tf,
    /// What was found counts once, and is weighted.
    Idf,
    /// They are weighted.
    TfIdf,
}

/// N-grams and the places of their counts in the output.
#[derive(Debug, Clone, PartialEq)]
pub enum Pool {
    /// Of numbers.
    Int(Table<(Vec<i64>, usize)>),
    /// Of words.
    String(Table<(Vec<String>, usize)>),
}

/// The n-grams as a tree of tokens.
#[derive(Default)]
struct Trie {
    ints: HashMap<i64, u32>,
    words: HashMap<String, u32>,
    /// From a node and a token to the next node; 0 is the root.
    edges: HashMap<(u32, u32), u32>,
    /// The output of each node, if an n-gram ends there.
    ends: Vec<Option<usize>>,
}

impl Trie {
    fn of(pool: &Pool) -> Result<Trie, OpError> {
        let mut trie = Trie { ends: vec![None], ..Trie::default() };
        match pool {
            Pool::Int(grams) => {
                for (gram, output) in grams.iter() {
                    let tokens: Vec<u32> = gram
                        .iter()
                        .map(|&token| {
                            let next = trie.ints.len() as u32;
                            *trie.ints.entry(token).or_insert(next)
                        })
                        .collect();
                    trie.insert(&tokens, *output)?;
                }
            }
            Pool::String(grams) => {
                for (gram, output) in grams.iter() {
                    let tokens: Vec<u32> = gram
                        .iter()
                        .map(|token| {
                            let next = trie.words.len() as u32;
                            *trie.words.entry(token.clone()).or_insert(next)
                        })
                        .collect();
                    trie.insert(&tokens, *output)?;
                }
            }
        }
        Ok(trie)
    }

    fn insert(&mut self, tokens: &[u32], output: usize) -> Result<(), OpError> {
        let mut node = 0u32;
        for &token in tokens {
            let next = self.ends.len() as u32;
            node = *self.edges.entry((node, token)).or_insert(next);
            if node == next {
                self.ends.push(None);
            }
        }
        match self.ends[node as usize].replace(output) {
            None => Ok(()),
            Some(_) => Err(OpError::Invalid("an n-gram stands twice in the pool".into())),
        }
    }

    /// Adds the n-grams of a row to its counts.
    fn count(&self, row: &[Option<u32>], op: &TfIdfVectorizer, counts: &mut [f32]) {
        for distance in 1..=op.most_skipped.saturating_add(1).min(row.len().max(1)) {
            for start in 0..row.len() {
                let mut node = 0u32;
                for length in 1..=*op.lengths.end() {
                    let place = (length - 1).checked_mul(distance).and_then(|skip| start.checked_add(skip));
                    let Some(Some(token)) = place.and_then(|place| row.get(place)) else { break };
                    let Some(&next) = self.edges.get(&(node, *token)) else { break };
                    node = next;
                    // Distances make no difference to a single token.
                    let counted = length > 1 || distance == 1;
                    if let Some(output) = self.ends[node as usize].filter(|_| counted) {
                        counts[output] += 1.0;
                    }
                }
            }
        }
    }
}

fn required<T>(name: &str, value: Option<T>) -> Result<T, OpError> {
    value.ok_or_else(|| OpError::attribute(name, "a value", "nothing"))
}

fn count_attr(def: &mut NodeDef, name: &str, least: i64) -> Result<usize, OpError> {
    let value = required(name, def.int(name)?)?;
    let fits = usize::try_from(value).ok().filter(|_| value >= least);
    fits.ok_or_else(|| OpError::attribute(name, format!("{least} or more"), value))
}

impl TfIdfVectorizer {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let weighting = match required("mode", def.string("mode")?)?.as_str() {
            "TF" => Weighting::Tf,
            "IDF" => Weighting::Idf,
            "TFIDF" => Weighting::TfIdf,
            other => return Err(OpError::attribute("mode", "TF, IDF or TFIDF", other)),
        };
        let least = count_attr(def, "min_gram_length", 1)?;
        let lengths = least..=count_attr(def, "max_gram_length", least as i64)?;
        let most_skipped = count_attr(def, "max_skip_count", 0)?;
        let starts = required("ngram_counts", def.ints("ngram_counts")?)?;
        let places = required("ngram_indexes", def.ints("ngram_indexes")?)?
            .into_iter()
            .map(|place| {
                let fits = usize::try_from(place).ok().filter(|&place| place < MOST_OUTPUTS);
                fits.ok_or_else(|| OpError::attribute("ngram_indexes", format!("0 to {MOST_OUTPUTS}"), place))
            })
            .collect::<Result<Vec<usize>, _>>()?;
        let pool = match (def.strings("pool_strings")?, def.ints("pool_int64s")?) {
            (Some(words), None) => Pool::String(grams(&words, &starts, &places, &lengths)?.into()),
            (None, Some(ints)) => Pool::Int(grams(&ints, &starts, &places, &lengths)?.into()),
            _ => {
                return Err(OpError::attribute("pool_strings", "either this or pool_int64s", "both or none"));
            }
        };
        let outputs = places.iter().max().map_or(0, |&last| last.saturating_add(1));
        let weights = weights(def.floats("weights")?, &places, outputs, weighting)?.into();
        let trie = Trie::of(&pool)?;
        Ok(Arc::new(TfIdfVectorizer { weighting, lengths, most_skipped, pool, weights, outputs, trie }))
    }

    /// The tokens of a tensor as the pool's; `None` for those that are in no n-gram.
    fn tokens(&self, x: &Tensor) -> Result<Vec<Option<u32>>, OpError> {
        Ok(match &self.pool {
            Pool::String(_) => {
                x.as_strings()?.iter().map(|token| self.trie.words.get(token).copied()).collect()
            }
            Pool::Int(_) => x.to_i64()?.iter().map(|token| self.trie.ints.get(token).copied()).collect(),
        })
    }
}

/// The n-grams of a pool, of the lengths asked for, with their outputs. Those of length `n` begin at `starts[n - 1]`.
fn grams<T: Clone>(
    pool: &[T],
    starts: &[i64],
    places: &[usize],
    lengths: &std::ops::RangeInclusive<usize>,
) -> Result<Vec<(Vec<T>, usize)>, OpError> {
    let wrong = |expected: &str| OpError::attribute("ngram_counts", expected, format!("{starts:?}"));
    if *lengths.end() > starts.len() {
        return Err(wrong("a start for each length up to max_gram_length"));
    }
    let mut found = Vec::new();
    let mut places = places.iter();
    for (index, &start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).map_or(pool.len(), |&end| usize::try_from(end).unwrap_or(usize::MAX));
        let part = usize::try_from(start).ok().and_then(|start| pool.get(start..end));
        let part = part.ok_or_else(|| wrong("ascending places in the pool"))?;
        let length = index + 1;
        if !part.len().is_multiple_of(length) {
            return Err(wrong("whole n-grams between two places"));
        }
        for gram in part.chunks_exact(length) {
            let place = places.next();
            let place = place
                .ok_or_else(|| OpError::attribute("ngram_indexes", "a place for each n-gram", "fewer"))?;
            if lengths.contains(&length) {
                found.push((gram.to_vec(), *place));
            }
        }
    }
    Ok(found)
}

/// The file's weights of n-grams as weights of outputs.
fn weights(
    given: Option<Vec<f32>>,
    places: &[usize],
    outputs: usize,
    weighting: Weighting,
) -> Result<Vec<f32>, OpError> {
    let Some(given) = given.filter(|given| !given.is_empty()) else { return Ok(Vec::new()) };
    if given.len() != places.len() {
        return Err(OpError::attribute(
            "weights",
            format!("{} floats, as ngram_indexes", places.len()),
            given.len(),
        ));
    }
    if weighting == Weighting::Tf {
        return Ok(Vec::new());
    }
    let mut weights = zeroed::<f32>(outputs)?;
    for (&place, weight) in places.iter().zip(given) {
        weights[place] = weight;
    }
    Ok(weights)
}

impl fmt::Debug for TfIdfVectorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TfIdfVectorizer")
            .field("weighting", &self.weighting)
            .field("lengths", &self.lengths)
            .field("most_skipped", &self.most_skipped)
            .field("pool", &self.pool)
            .field("weights", &self.weights)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

impl Operator for TfIdfVectorizer {
    fn key(&self) -> OpKey {
        OpKey::onnx("TfIdfVectorizer")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0)?;
        let (expected, fits) = match self.pool {
            Pool::String(_) => ("string, as the pool", dtype == DType::String),
            Pool::Int(_) => ("int32 or int64, as the pool", matches!(dtype, DType::I32 | DType::I64)),
        };
        if !fits {
            return Err(OpError::dtype(0, expected, dtype));
        }
        let shape = inputs.shape(0)?;
        let outputs = SymDim::Known(self.outputs);
        let shape = match shape.dims() {
            None => ShapeFact::unknown(),
            Some([_]) => vec![outputs].into(),
            Some([rows, _]) => vec![rows.clone(), outputs].into(),
            Some(_) => return Err(OpError::shape(0, "[C] or [N, C]", shape)),
        };
        Ok(vec![Fact::tensor(DType::F32, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (rows, columns) = match *x.shape().dims() {
            [columns] => (1, columns),
            [rows, columns] => (rows, columns),
            _ => return Err(OpError::shape(0, "[C] or [N, C]", x.shape())),
        };
        let mut counts = zeroed::<f32>(rows.saturating_mul(self.outputs))?;
        let tokens = self.tokens(x)?;
        if columns > 0 && self.outputs > 0 {
            for (row, counts) in tokens.chunks_exact(columns).zip(counts.chunks_exact_mut(self.outputs)) {
                self.trie.count(row, self, counts);
                for (index, count) in counts.iter_mut().enumerate() {
                    if self.weighting == Weighting::Idf {
                        *count = count.min(1.0);
                    }
                    *count *= self.weights.get(index).copied().unwrap_or(1.0);
                }
            }
        }
        let mut shape = x.shape().clone();
        if let Some(last) = shape.dims_mut().last_mut() {
            *last = self.outputs;
        }
        Ok(vec![Tensor::from_vec(shape, counts)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    fn attrs(mode: &str, lengths: (i64, i64), skip: i64) -> Vec<(&'static str, Attr)> {
        vec![
            ("mode", Attr::String(mode.as_bytes().to_vec())),
            ("min_gram_length", Attr::Int(lengths.0)),
            ("max_gram_length", Attr::Int(lengths.1)),
            ("max_skip_count", Attr::Int(skip)),
            ("ngram_counts", Attr::Ints(vec![0, 2])),
            ("ngram_indexes", Attr::Ints(vec![2, 0, 1])),
            ("pool_int64s", Attr::Ints(vec![1, 2, 1, 2])),
            ("weights", Attr::Floats(vec![10.0, 20.0, 30.0])),
        ]
    }

    fn vectorize(mode: &str, lengths: (i64, i64), skip: i64, x: &[i64]) -> Vec<f32> {
        let op = parse_at(9, "TfIdfVectorizer", &attrs(mode, lengths, skip));
        run(&*op, &[Tensor::vector(x.to_vec())])[0].as_slice().unwrap().to_vec()
    }

    #[test]
    fn counts_and_weights_are_those_of_onnx_runtime() {
        let x = [1, 2, 1, 1, 2];
        assert_eq!(vectorize("TF", (1, 2), 1, &x), [2.0, 3.0, 3.0]);
        assert_eq!(vectorize("IDF", (1, 2), 1, &x), [20.0, 30.0, 10.0]);
        assert_eq!(vectorize("TFIDF", (1, 2), 1, &x), [40.0, 90.0, 30.0]);
        assert_eq!(vectorize("TF", (2, 2), 0, &x), [0.0, 2.0, 0.0]);
        assert_eq!(vectorize("TF", (1, 1), 5, &x), [2.0, 0.0, 3.0]);
        assert_eq!(vectorize("TF", (1, 2), i64::MAX, &[]), [0.0; 3]);
    }

    #[test]
    fn rows_are_counted_by_themselves() {
        let op = parse_at(9, "TfIdfVectorizer", &attrs("TF", (1, 2), 0));
        let x = Tensor::from_vec([2, 2], vec![1i32, 2, 2, 1]).unwrap();
        assert_eq!(
            run(&*op, &[x])[0],
            Tensor::from_vec([2, 3], vec![1f32, 1.0, 1.0, 1.0, 0.0, 1.0]).unwrap()
        );
        let empty = run(&*op, &[Tensor::zeros(DType::I64, [2, 0]).unwrap()]);
        assert_eq!(empty[0], Tensor::zeros(DType::F32, [2, 3]).unwrap());
        assert!(try_run(&*op, &[Some(Tensor::zeros(DType::String, [2]).unwrap())]).is_err());
        assert!(try_run(&*op, &[Some(Tensor::scalar(1i64))]).is_err());
    }

    #[test]
    fn pools_that_do_not_fit_are_errors() {
        let cases: [(&str, Attr); 7] = [
            ("ngram_counts", Attr::Ints(vec![0])),
            ("ngram_counts", Attr::Ints(vec![0, 1])),
            ("ngram_counts", Attr::Ints(vec![2, 0])),
            ("ngram_counts", Attr::Ints(vec![0, 9])),
            ("ngram_indexes", Attr::Ints(vec![0, 1])),
            ("ngram_indexes", Attr::Ints(vec![0, 1, -1])),
            ("pool_int64s", Attr::Ints(vec![1, 1, 1, 2])),
        ];
        for (name, attr) in cases {
            let mut all: std::collections::BTreeMap<String, Attr> =
                attrs("TF", (1, 2), 0).into_iter().map(|(name, attr)| (name.to_owned(), attr)).collect();
            all.insert(name.to_owned(), attr);
            assert!(TfIdfVectorizer::parse(&mut NodeDef::new("TfIdfVectorizer", 9, all)).is_err(), "{name}");
        }
    }
}
