//! `GroupQueryAttention` of `com.microsoft`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{Shape, Tensor, Value};

use crate::OpEntry;
use crate::attention::{heads, multiply};
use crate::sdpa::{Bias, Mask, Reach, Sdpa, Stage, swap_middle};

mod cache;
mod checks;
mod operands;

pub use cache::CacheQuantization;
use cache::{Cache, Lengths, attended, held_in_window, kept};

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::microsoft("GroupQueryAttention", 16, GroupQueryAttention::parse)];

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
        let reach = reach(def)?;
        let scores_at = match def.int_or("qk_output", 0)? {
            0 => None,
            1 => Some(Stage::Masked),
            2 => Some(Stage::Probabilities),
            other => return Err(OpError::attribute("qk_output", "0 to 2", other)),
        };
        let outputs = def.outputs.len().clamp(1, 4);
        let window_cache = def.flag("sliding_window_cache", false)?;
        if window_cache && reach.left.is_none() {
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
            reach,
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
}

/// Which keys a query sees: of the attributes `causal` and `local_window_size`.
fn reach(def: &mut NodeDef) -> Result<Reach, OpError> {
    let causal = def.flag("causal", true)?;
    let left = match def.int_or("local_window_size", -1)? {
        -1 => None,
        // The window counts the query's own place.
        n => Some(usize::try_from(n).ok().and_then(|n| n.checked_sub(1)).filter(|_| causal).ok_or_else(
            || OpError::attribute("local_window_size", "-1, or for causal attention 1 or more", n),
        )?),
    };
    Ok(Reach { left, right: causal.then_some(0) })
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

#[cfg(test)]
mod tests;
