//! `GroupQueryAttention` of `com.microsoft`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::OpEntry;
use crate::attention::{expect_shape, heads, multiply};
use crate::rotary_embedding::Rotation;
use crate::sdpa::{Bias, Mask, Reach, Sdpa, Stage, swap_middle};
use crate::types::FLOATS;

mod cache;

pub use cache::CacheQuantization;
use cache::{Cache, Lengths, attended, held_in_window, kept};

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::microsoft("GroupQueryAttention", GroupQueryAttention::parse)];

const QUERY: usize = 0;
const KEY: usize = 1;
const VALUE: usize = 2;
const PAST_KEY: usize = 3;
const PAST_VALUE: usize = 4;
const LAST_KEYS: usize = 5;
const TOTAL: usize = 6;
const COS: usize = 7;
const SIN: usize = 8;
const POSITIONS: usize = 9;
const ADDED: usize = 10;
const SINKS: usize = 11;
const KEY_SCALE: usize = 12;
const VALUE_SCALE: usize = 13;
const QUERY_NORM: usize = 14;
const KEY_NORM: usize = 15;

/// Causal attention over a cache that new keys and values are added to, with rotary embedding.
///
/// Inputs: queries `[B, S, Nq*H]`, keys and values `[B, S, N*H]`, or all packed `[B, S, (Nq + 2*N)*H]`; cached keys and
/// values `[B, N, P, H]`; for each batch the number of its keys after the call less 1, int32 `[B]`; the greatest of these
/// numbers (not less 1), int32 scalar `T`; cosines and sines `[M, R/2]`; positions int64 `[B, S]`; a number added to the
/// scores `[B or 1, Nq or 1, S, T]`; a score `[Nq]` that takes part in the softmax without a value; weights `[H]` that
/// scale root-mean-square normalised queries and keys. A call of `S = T` starts anew. Between sinks and weights stand the
/// scales of a quantised cache, float32, of keys and of values; see [`CacheQuantization`].
///
/// Outputs: `[B, S, Nq*H]`; keys and values `[B, N, max(P, T), H]`, zero after each batch's last; scores `[B, Nq, S, T]`,
/// zero for a key that the query does not see. With `window_cache` the cache keeps its `P` places, of which the first hold
/// the last keys in order: at least those that the window reaches.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupQueryAttention {
    /// Heads of the queries, a multiple of `kv_heads`.
    pub q_heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// What the products are multiplied by; `1 / sqrt(H)` when `None`.
    pub scale: Option<f32>,
    /// `c` of `c tanh(score / c)`; 0 for none.
    pub softcap: f32,
    /// Which keys a query sees by its place.
    pub reach: Reach,
    /// Whether queries and keys are rotated.
    pub rotary: bool,
    /// Whether a rotated pair is two neighbours; else it is an element of the first half and one of the second.
    pub rotary_interleaved: bool,
    /// Whether a score of 0 takes part in the softmax without a value.
    pub smooth_softmax: bool,
    /// Where the fourth output is taken, if anywhere.
    pub scores_at: Option<Stage>,
    /// How cached keys are quantised, if they are.
    pub key_quantization: Option<CacheQuantization>,
    /// How cached values are quantised, if they are.
    pub value_quantization: Option<CacheQuantization>,
    /// Whether the cache holds only what the window reaches.
    pub window_cache: bool,
    /// Added to the mean square under the root.
    pub norm_epsilon: f32,
    /// How many outputs the node has.
    pub outputs: usize,
}

impl GroupQueryAttention {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let required = |heads: Option<usize>, name| {
            heads.ok_or_else(|| OpError::attribute(name, "1 or more", "nothing"))
        };
        let q_heads = required(heads(def, "num_heads")?, "num_heads")?;
        let kv_heads = required(heads(def, "kv_num_heads")?, "kv_num_heads")?;
        if !q_heads.is_multiple_of(kv_heads) {
            return Err(OpError::attribute(
                "num_heads",
                format!("a multiple of kv_num_heads {kv_heads}"),
                q_heads,
            ));
        }
        let key_quantization = CacheQuantization::parse(def, "k_quant_type")?;
        let value_quantization = CacheQuantization::parse(def, "v_quant_type")?;
        def.ignore(&["kv_cache_bit_width"]);
        let causal = def.flag("causal", true)?;
        let left = match def.int_or("local_window_size", -1)? {
            -1 => None,
            // The window counts the query's own place.
            n => Some(usize::try_from(n).ok().and_then(|n| n.checked_sub(1)).filter(|_| causal).ok_or_else(
                || OpError::attribute("local_window_size", "-1, or for causal attention 1 or more", n),
            )?),
        };
        let scores_at = match def.int_or("qk_output", 0)? {
            0 => None,
            1 => Some(Stage::Masked),
            2 => Some(Stage::Probabilities),
            other => return Err(OpError::attribute("qk_output", "0 to 2", other)),
        };
        let outputs = def.outputs.len().clamp(1, 4);
        let window_cache = def.flag("sliding_window_cache", false)?;
        if window_cache && left.is_none() {
            return Err(OpError::attribute(
                "local_window_size",
                "1 or more, as the cache holds a window",
                -1,
            ));
        }
        if window_cache && outputs == 4 {
            return Err(OpError::Unsupported("scores of a cache that holds a window".into()));
        }
        if outputs == 4 && scores_at.is_none() {
            return Err(OpError::attribute("qk_output", "1 or 2, as the fourth output is used", 0));
        }
        Ok(Arc::new(GroupQueryAttention {
            q_heads,
            kv_heads,
            scale: def.float("scale")?.filter(|&scale| scale != 0.0),
            softcap: def.float_or("softcap", 0.0)?,
            reach: Reach { left, right: causal.then_some(0) },
            rotary: def.flag("do_rotary", false)?,
            rotary_interleaved: def.flag("rotary_interleaved", false)?,
            smooth_softmax: def.int_or("smooth_softmax", -1)? == 1,
            scores_at,
            key_quantization,
            value_quantization,
            window_cache,
            norm_epsilon: def.float_or("qk_norm_epsilon", 1e-6)?,
            outputs,
        }))
    }

    /// The attention for queries (or all, `packed`) of the given shape over a cache of `kv_len` places.
    ///
    /// # Errors
    /// The shape does not fit the heads.
    pub fn sdpa(&self, q: &Shape, packed: bool, kv_len: usize) -> Result<Sdpa, OpError> {
        let heads = if packed { self.q_heads + 2 * self.kv_heads } else { self.q_heads };
        let (batch, q_len, head) = match *q.dims() {
            [batch, len, hidden] if hidden.is_multiple_of(heads) => (batch, len, hidden / heads),
            _ => return Err(OpError::shape(QUERY, format!("[B, S, {heads}*H]"), q)),
        };
        Ok(Sdpa {
            batch,
            q_heads: self.q_heads,
            kv_heads: self.kv_heads,
            q_len,
            kv_len,
            head,
            v_head: head,
            scale: self.scale.map_or_else(|| 1.0 / (head as f64).sqrt(), f64::from),
            softcap: f64::from(self.softcap),
            reach: self.reach,
        })
    }

    fn check_types(&self, inputs: Facts<'_>) -> Result<(), OpError> {
        let dtype = inputs.dtype(QUERY)?;
        FLOATS.check(QUERY, dtype)?;
        let alike = [KEY, VALUE, COS, SIN, ADDED, SINKS, QUERY_NORM, KEY_NORM];
        let expected = alike.map(|index| (index, dtype)).into_iter().chain([
            (LAST_KEYS, DType::I32),
            (TOTAL, DType::I32),
            (POSITIONS, DType::I64),
            (KEY_SCALE, DType::F32),
            (VALUE_SCALE, DType::F32),
        ]);
        for (index, expected) in expected {
            if let Some(tensor) = inputs.optional(index)?
                && tensor.dtype != expected
            {
                return Err(OpError::dtype(index, expected.to_string(), tensor.dtype));
            }
        }
        for (a, b) in [(KEY, VALUE), (PAST_KEY, PAST_VALUE), (COS, SIN), (QUERY_NORM, KEY_NORM)] {
            if inputs.has(a) != inputs.has(b) {
                return Err(OpError::Invalid(format!("inputs {a} and {b} are given together or not at all")));
            }
        }
        for (index, scale, quantization) in
            [(PAST_KEY, KEY_SCALE, self.key_quantization), (PAST_VALUE, VALUE_SCALE, self.value_quantization)]
        {
            match (inputs.optional(index)?, quantization) {
                (None, None) if self.window_cache => return Err(OpError::MissingInput { index }),
                (None, None) => {}
                (None, Some(_)) => return Err(OpError::MissingInput { index }),
                (Some(past), None) if past.dtype != dtype => {
                    return Err(OpError::dtype(index, dtype.to_string(), past.dtype));
                }
                (Some(_), None) => {}
                (Some(past), Some(quantization)) => {
                    quantization.check(index, past.dtype)?;
                    inputs.require(scale)?;
                }
            }
        }
        let needed = if self.rotary { &[LAST_KEYS, TOTAL, COS][..] } else { &[LAST_KEYS, TOTAL] };
        match needed.iter().find(|&&index| !inputs.has(index)) {
            Some(&index) => Err(OpError::MissingInput { index }),
            None => Ok(()),
        }
    }

    fn check_shapes(&self, inputs: Facts<'_>) -> Result<(), OpError> {
        let shape = |index| inputs.get(index).and_then(Fact::concrete_shape);
        let Some(q) = shape(QUERY) else { return Ok(()) };
        let Sdpa { batch, q_len, head, .. } = self.sdpa(&q, !inputs.has(KEY), 0)?;
        let width = self.kv_heads.saturating_mul(head);
        let cached = shape(PAST_KEY).and_then(|past| past.get(2).copied());
        let expected = [
            (KEY, vec![batch, q_len, width]),
            (VALUE, vec![batch, q_len, width]),
            (LAST_KEYS, vec![batch]),
            (POSITIONS, vec![batch, q_len]),
            (SINKS, vec![self.q_heads]),
            (QUERY_NORM, vec![head]),
            (KEY_NORM, vec![head]),
        ];
        for (index, expected) in expected {
            // ONNX Runtime takes the lengths in any shape of that many elements.
            let reshaped = index == LAST_KEYS && shape(index).is_some_and(|shape| shape.elements() == batch);
            if let Some(tensor) = inputs.optional(index)?
                && !reshaped
            {
                expect_shape(index, &tensor.shape, &expected)?;
            }
        }
        if let Some(cached) = cached {
            let caches = [
                (PAST_KEY, KEY_SCALE, self.key_quantization),
                (PAST_VALUE, VALUE_SCALE, self.value_quantization),
            ];
            for (index, scale, quantization) in caches {
                let packed = quantization.is_some_and(|quantization| quantization.bits == 4);
                if packed && head % 2 == 1 {
                    return Err(OpError::shape(QUERY, "heads of an even size, as the cache packs pairs", &q));
                }
                let width = if packed { head / 2 } else { head };
                expect_shape(index, inputs.shape(index)?, &[batch, self.kv_heads, cached, width])?;
                if let (Some(quantization), Some(scales)) = (quantization, shape(scale)) {
                    let count = if quantization.per_channel { self.kv_heads * head } else { 1 };
                    if scales.elements() != count {
                        return Err(OpError::shape(scale, format!("{count} elements"), scales));
                    }
                }
            }
            if self.window_cache && cached < self.window() {
                let expected = format!("at least {} places, the window", self.window());
                return Err(OpError::shape(PAST_KEY, expected, inputs.shape(PAST_KEY)?));
            }
        }
        if let (true, Some(cos)) = (self.rotary, shape(COS)) {
            let fits = cos.rank() == 2 && cos[1] <= head / 2;
            if !fits {
                return Err(OpError::shape(COS, format!("[M, up to {}]", head / 2), cos));
            }
            expect_shape(SIN, inputs.shape(SIN)?, &cos)?;
        }
        Ok(())
    }

    /// The greatest number of keys of a batch.
    fn total(&self, total: &[i64]) -> Result<usize, OpError> {
        match *total {
            [n] if n >= 0 => Ok(n as usize),
            [n] => Err(OpError::value(TOTAL, format!("the total length is 0 or more, got {n}"))),
            _ => Err(OpError::shape(TOTAL, "one element", format!("{} elements", total.len()))),
        }
    }

    /// How many keys a query sees, its own place included; 0 for no bound.
    fn window(&self) -> usize {
        self.reach.left.map_or(0, |left| left.saturating_add(1))
    }

    /// For each batch entry, its keys; `total` is the greatest number of them.
    fn lengths(
        &self,
        q_len: usize,
        total: usize,
        last_keys: &[i64],
        cached: usize,
    ) -> Result<Vec<Lengths>, OpError> {
        if !self.window_cache && total > cached.saturating_add(q_len) {
            let reason = format!("{total} keys are more than {cached} cached and {q_len} new ones");
            return Err(OpError::value(TOTAL, reason));
        }
        let starts_anew = q_len == total;
        let lengths = |last: i64| {
            let out_of_range =
                || OpError::value(LAST_KEYS, format!("a last key is 0 to {}, got {last}", total as i64 - 1));
            let keys = usize::try_from(last.saturating_add(1)).ok().filter(|&keys| keys <= total);
            let keys = keys.ok_or_else(out_of_range)?;
            // An entry that starts anew may be shorter than the call: what follows its last key is padding.
            let past = if starts_anew { Some(0) } else { keys.checked_sub(q_len) };
            let held =
                past.map(
                    |past| if self.window_cache { held_in_window(past, cached, self.window()) } else { past },
                );
            let (Some(past), Some(held)) = (past, held.filter(|&held| held <= cached)) else {
                let reason = format!("{keys} keys are not {q_len} new ones and up to {cached} cached ones");
                return Err(OpError::value(LAST_KEYS, reason));
            };
            let all = past.saturating_add(q_len);
            let kept = if self.window_cache { held_in_window(all, cached, self.window()) } else { all };
            Ok(Lengths { keys, past, held, kept })
        };
        last_keys.iter().map(|&last| lengths(last)).collect()
    }

    /// Queries, new keys and new values by head, normalised and rotated.
    fn operands(
        &self,
        sdpa: &Sdpa,
        lengths: &[Lengths],
        inputs: Inputs<'_>,
    ) -> Result<[Vec<f64>; 3], OpError> {
        let Sdpa { batch, q_len, head, .. } = *sdpa;
        let q = inputs.tensor(QUERY)?.to_f64()?;
        let (mut q, mut k, v) = match (inputs.optional(KEY)?, inputs.optional(VALUE)?) {
            (Some(k), Some(v)) => (
                swap_middle(&q, [batch, q_len, self.q_heads, head])?,
                swap_middle(&k.to_f64()?, [batch, q_len, self.kv_heads, head])?,
                swap_middle(&v.to_f64()?, [batch, q_len, self.kv_heads, head])?,
            ),
            _ => {
                let heads = self.q_heads + 2 * self.kv_heads;
                let all = swap_middle(&q, [batch, q_len, heads, head])?;
                let part = |first: usize, count: usize| -> Vec<f64> {
                    let width = q_len * head;
                    let rows = all.chunks_exact((heads * width).max(1));
                    rows.flat_map(|row| &row[first * width..(first + count) * width]).copied().collect()
                };
                let kv = self.kv_heads;
                (part(0, self.q_heads), part(self.q_heads, kv), part(self.q_heads + kv, kv))
            }
        };
        for (index, values) in [(QUERY_NORM, &mut q), (KEY_NORM, &mut k)] {
            if let Some(weight) = inputs.optional(index)? {
                rms_normalize(values, &weight.to_f64()?, f64::from(self.norm_epsilon));
            }
        }
        if self.rotary {
            let (cos, sin) = (inputs.tensor(COS)?, inputs.tensor(SIN)?);
            let (rows, half) = (cos.shape()[0], cos.shape()[1]);
            let rotation = Rotation {
                cos: &cos.to_f64()?,
                sin: &sin.to_f64()?,
                half,
                interleaved: self.rotary_interleaved,
            };
            let positions = self.positions(sdpa, lengths, inputs)?;
            if let Some(bad) = positions.iter().find(|&&position| position >= rows) {
                let reason = format!("position {bad} is beyond the {rows} rows of the table");
                return Err(OpError::value(COS, reason));
            }
            for (values, heads) in [(&mut q, self.q_heads), (&mut k, self.kv_heads)] {
                for (row, values) in values.chunks_exact_mut(head.max(1)).enumerate() {
                    rotation.apply(values, positions[row / (heads * q_len) * q_len + row % q_len]);
                }
            }
        }
        Ok([q, k, v])
    }

    /// For each batch and new token, its position, flattened.
    fn positions(&self, sdpa: &Sdpa, lengths: &[Lengths], inputs: Inputs<'_>) -> Result<Vec<usize>, OpError> {
        if let Some(given) = inputs.optional_ints(POSITIONS)? {
            return given
                .iter()
                .map(|&position| {
                    let bad =
                        || OpError::value(POSITIONS, format!("positions are 0 or more, got {position}"));
                    usize::try_from(position).map_err(|_| bad())
                })
                .collect();
        }
        Ok(lengths.iter().flat_map(|lengths| (0..sdpa.q_len).map(|i| lengths.past + i)).collect())
    }
}

impl Operator for GroupQueryAttention {
    fn key(&self) -> OpKey {
        OpKey::microsoft("GroupQueryAttention")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        self.check_types(inputs)?;
        self.check_shapes(inputs)?;
        let q = inputs.tensor(QUERY)?;
        let packed = !inputs.has(KEY);
        let heads = if packed { self.q_heads + 2 * self.kv_heads } else { self.q_heads };
        let head = q.shape.dim(2).map(|hidden| hidden / heads);
        let cached = match inputs.optional(PAST_KEY)? {
            Some(past) => past.shape.dim(2),
            None => SymDim::Known(0),
        };
        let total = inputs.ints(TOTAL)?.map(|total| self.total(&total)).transpose()?;
        let present = match (cached.known(), total) {
            _ if self.window_cache => cached,
            (Some(cached), Some(total)) => SymDim::Known(cached.max(total)),
            _ => SymDim::Unknown,
        };
        let total = total.map_or(SymDim::Unknown, SymDim::Known);
        let (batch, q_len) = (q.shape.dim(0), q.shape.dim(1));
        let cache = |index: usize, quantization: Option<CacheQuantization>| -> Result<Fact, OpError> {
            let packed = quantization.is_some_and(|quantization| quantization.bits == 4);
            let width = if packed { head.map(|head| head / 2) } else { head.clone() };
            let dtype = inputs.optional(index)?.map_or(q.dtype, |past| past.dtype);
            let dims = vec![batch.clone(), SymDim::Known(self.kv_heads), present.clone(), width];
            Ok(Fact::tensor(dtype, dims))
        };
        let hidden = multiply(&SymDim::Known(self.q_heads), &head);
        let facts = [
            Fact::tensor(q.dtype, vec![batch.clone(), q_len.clone(), hidden]),
            cache(PAST_KEY, self.key_quantization)?,
            cache(PAST_VALUE, self.value_quantization)?,
            Fact::tensor(q.dtype, vec![batch.clone(), SymDim::Known(self.q_heads), q_len, total]),
        ];
        Ok(facts.into_iter().take(self.outputs).collect())
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (q, past) = (inputs.tensor(QUERY)?, inputs.optional(PAST_KEY)?);
        let cached = past.and_then(|past| past.shape().get(2).copied()).unwrap_or(0);
        let total = self.total(&inputs.ints(TOTAL)?)?;
        let packed = inputs.get(KEY).is_none();
        let q_len = self.sdpa(q.shape(), packed, 0)?.q_len;
        let lengths = self.lengths(q_len, total, &inputs.ints(LAST_KEYS)?, cached)?;
        // A cache of full length is attended in place; of a window, what it held and what is new.
        let capacity = if self.window_cache { cached } else { total.max(cached) };
        let most = lengths.iter().map(|lengths| lengths.held + q_len).max().unwrap_or(0);
        let kv_len = if self.window_cache { most } else { capacity };
        let sdpa = self.sdpa(q.shape(), packed, kv_len)?;
        let [queries, mut new_keys, mut new_values] = self.operands(&sdpa, &lengths, inputs)?;
        let key_cache =
            Cache::new(&sdpa, self.key_quantization, inputs.optional(KEY_SCALE)?, past, q.dtype())?;
        let past_value = inputs.optional(PAST_VALUE)?;
        let value_cache =
            Cache::new(&sdpa, self.value_quantization, inputs.optional(VALUE_SCALE)?, past_value, q.dtype())?;
        key_cache.quantize(&mut new_keys, q_len);
        value_cache.quantize(&mut new_values, q_len);
        let mut keys = attended(&sdpa, &lengths, (&key_cache.past()?, cached), &new_keys)?;
        let mut values = attended(&sdpa, &lengths, (&value_cache.past()?, cached), &new_values)?;
        let place = [sdpa.batch, capacity];
        let present_keys = key_cache.tensor(&kept(&sdpa, &lengths, &keys, capacity)?, place)?;
        let present_values = value_cache.tensor(&kept(&sdpa, &lengths, &values, capacity)?, place)?;
        key_cache.dequantize(&mut keys, kv_len);
        value_cache.dequantize(&mut values, kv_len);
        let mut mask = Mask {
            first_places: lengths.iter().map(|lengths| lengths.held as i64).collect(),
            // What was evicted counts among an entry's keys, but is not attended.
            keys: lengths.iter().map(|lengths| lengths.held + lengths.keys - lengths.past).collect(),
            sinks: self.smooth_softmax.then(|| vec![0.0; self.q_heads]),
            ..Mask::default()
        };
        if let Some(added) = inputs.optional(ADDED)? {
            // Its columns are the keys since the start.
            let whole = Sdpa { kv_len: kv_len.max(total), ..sdpa.clone() };
            let evicted = lengths.iter().map(|lengths| lengths.past - lengths.held).collect();
            mask.biases.push(Bias::new(ADDED, &whole, added.shape(), added.to_f64()?)?.skipping(evicted));
        }
        if let Some(sinks) = inputs.optional(SINKS)? {
            mask.sinks = Some(sinks.to_f64()?);
        }
        let keep = self.scores_at.filter(|_| self.outputs > 3);
        let (y, scores) = sdpa.run([&queries, &keys, &values], &mask, keep)?;
        let Sdpa { batch, q_heads, q_len, kv_len, head, .. } = sdpa;
        let y = swap_middle(&y, [batch, q_heads, q_len, head])?;
        let y = Tensor::from_f64(q.dtype(), [batch, q_len, q_heads * head], &y)?;
        let mut outputs = vec![y, present_keys, present_values];
        if let Some(scores) = scores {
            let rows = scores.chunks_exact(kv_len.max(1));
            let seen = |&score: &f64| if score == f64::NEG_INFINITY { 0.0 } else { score };
            let scores: Vec<f64> = rows.flat_map(|row| row[..total].iter().map(seen)).collect();
            outputs.push(Tensor::from_f64(q.dtype(), [batch, q_heads, q_len, total], &scores)?);
        }
        Ok(outputs.into_iter().take(self.outputs).map(Value::Tensor).collect())
    }

    fn value_inputs(&self) -> &[usize] {
        if self.outputs > 1 { &[TOTAL] } else { &[] }
    }

    fn flops(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        let kv_len =
            outputs.get(1).and_then(Fact::concrete_shape).and_then(|present| present.get(2).copied());
        let q = inputs.get(QUERY).and_then(Fact::concrete_shape);
        let (Some(q), Some(kv_len)) = (q, kv_len) else { return 0 };
        self.sdpa(&q, !inputs.has(KEY), kv_len).map_or(0, |sdpa| sdpa.flops())
    }
}

/// Scales each row to a root mean square of 1, then by `weight`.
fn rms_normalize(values: &mut [f64], weight: &[f64], epsilon: f64) {
    for row in values.chunks_exact_mut(weight.len().max(1)) {
        let mean_square = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (mean_square + epsilon).sqrt();
        row.iter_mut().zip(weight).for_each(|(x, weight)| *x *= scale * weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_node, try_run};
    use inferrum_graph::Attr;

    fn op(q_heads: i64, attrs: &[(&str, Attr)]) -> Arc<dyn Operator> {
        let heads = [("num_heads", Attr::Int(q_heads)), ("kv_num_heads", Attr::Int(1))];
        let attrs: Vec<(&str, Attr)> = attrs.iter().cloned().chain(heads).collect();
        parse_node("com.microsoft", 1, "GroupQueryAttention", &attrs, 3)
    }

    fn tensor(shape: &[usize], values: &[f32]) -> Option<Tensor> {
        Some(Tensor::from_vec(shape, values.to_vec()).unwrap())
    }

    fn ints(values: &[i32]) -> Option<Tensor> {
        Some(Tensor::vector(values.to_vec()))
    }

    #[test]
    fn each_batch_has_its_own_past() {
        let q = tensor(&[2, 1, 1], &[0.0, 0.0]);
        let v = tensor(&[2, 1, 1], &[8.0, 9.0]);
        let cache = tensor(&[2, 1, 2, 1], &[1.0, 3.0, 5.0, 7.0]);
        let inputs = [q.clone(), q, v, cache.clone(), cache, ints(&[2, 1]), ints(&[3])];
        let outputs = try_run(&*op(1, &[]), &inputs).unwrap();
        assert_eq!(outputs[0].to_f64().unwrap(), [4.0, 7.0]);
        assert_eq!(outputs[2].to_f64().unwrap(), [1.0, 3.0, 8.0, 5.0, 9.0, 0.0]);
    }

    #[test]
    fn a_window_counts_its_own_place() {
        let q = tensor(&[1, 3, 1], &[0.0; 3]);
        let v = tensor(&[1, 3, 1], &[1.0, 3.0, 9.0]);
        let inputs = [q.clone(), q, v, None, None, ints(&[2]), ints(&[3])];
        let y = |attrs: &[(&str, Attr)]| try_run(&*op(1, attrs), &inputs).unwrap()[0].to_f64().unwrap();
        assert_eq!(y(&[("local_window_size", Attr::Int(2))]), [1.0, 2.0, 6.0]);
        assert_eq!(y(&[("local_window_size", Attr::Int(1))]), [1.0, 3.0, 9.0]);
        assert_eq!(y(&[("smooth_softmax", Attr::Int(1))])[0], 0.5);
    }

    #[test]
    fn packed_and_separate_operands_agree() {
        let packed: Vec<f32> = (0..2 * 2 * 4 * 2).map(|i| (i as f32 * 0.9).cos()).collect();
        let part = |columns: std::ops::Range<usize>| -> Vec<f32> {
            packed.chunks_exact(8).flat_map(|row| row[columns.clone()].to_vec()).collect()
        };
        let rest = [None, None, ints(&[1, 1]), ints(&[2])];
        let separate = [
            tensor(&[2, 2, 4], &part(0..4)),
            tensor(&[2, 2, 2], &part(4..6)),
            tensor(&[2, 2, 2], &part(6..8)),
        ];
        let a = try_run(&*op(2, &[]), &separate.into_iter().chain(rest.clone()).collect::<Vec<_>>()).unwrap();
        let all = [tensor(&[2, 2, 8], &packed), None, None];
        let b = try_run(&*op(2, &[]), &all.into_iter().chain(rest).collect::<Vec<_>>()).unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn a_window_cache_holds_the_last_keys() {
        let attrs = [("local_window_size", Attr::Int(2)), ("sliding_window_cache", Attr::Int(1))];
        let q = |value| tensor(&[1, 1, 1], &[value]);
        // Positions 2 and 3 are held when position 4 comes; with 2 places the older one goes.
        let cache = tensor(&[1, 1, 2, 1], &[2.0, 3.0]);
        let inputs = [q(0.0), q(4.0), q(4.0), cache.clone(), cache, ints(&[4]), ints(&[5])];
        let outputs = try_run(&*op(1, &attrs), &inputs).unwrap();
        assert_eq!(outputs[0].to_f64().unwrap(), [3.5]);
        assert_eq!(outputs[1].to_f64().unwrap(), [3.0, 4.0]);
    }

    #[test]
    fn a_quantised_cache_is_scaled() {
        let attrs = [
            ("k_quant_type", Attr::String("PER_TENSOR".into())),
            ("v_quant_type", Attr::String("PER_CHANNEL".into())),
            ("kv_cache_bit_width", Attr::Int(4)),
        ];
        let x = tensor(&[1, 1, 2], &[0.0, 0.0]);
        let v = tensor(&[1, 1, 2], &[1.2, -40.0]);
        let cache = |byte: u8| Some(Tensor::from_vec([1, 1, 1, 1], vec![byte]).unwrap());
        let mut inputs = vec![x.clone(), x, v, cache(0x88), cache(0x9A), ints(&[1]), ints(&[2])];
        inputs.extend([
            None,
            None,
            None,
            None,
            None,
            tensor(&[1], &[1.0]),
            tensor(&[1, 1, 1, 2], &[0.5, 4.0]),
        ]);
        let outputs = try_run(&*op(1, &attrs), &inputs).unwrap();
        // Cached (2, 1) stands for (1, 4); new (1.2, -40) becomes (2, -8), which stands for (1, -32).
        assert_eq!(outputs[0].to_f64().unwrap(), [1.0, -14.0]);
        assert_eq!(outputs[2].as_slice::<u8>().unwrap(), [0x9A, 0x0A]);
    }

    #[test]
    fn lengths_that_cannot_be_are_errors() {
        let q = tensor(&[1, 1, 1], &[0.0]);
        let cache = tensor(&[1, 1, 2, 1], &[1.0, 3.0]);
        let run = |last: &[i32], total: i32| {
            let inputs =
                [q.clone(), q.clone(), q.clone(), cache.clone(), cache.clone(), ints(last), ints(&[total])];
            try_run(&*op(1, &[]), &inputs)
        };
        assert!(run(&[2], 3).is_ok());
        assert!(
            run(&[3], 4).is_err()
                && run(&[3], 3).is_err()
                && run(&[-2], 3).is_err()
                && run(&[1, 1], 3).is_err()
        );
        assert!(run(&[i32::MAX], i32::MAX).is_err());
    }
}
