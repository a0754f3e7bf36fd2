//! `MultiHeadAttention` of `com.microsoft`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{Shape, Tensor, Value};

use crate::OpEntry;
use crate::attention::{add, heads};
use crate::padding_mask::padding;
use crate::sdpa::{Bias, Mask, Reach, Sdpa, Stage, append, swap_middle};

mod cache;
mod checks;
mod layout;

use cache::{fill_buffer, take_rows};
use layout::Layout;

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::microsoft("MultiHeadAttention", 10, MultiHeadAttention::parse)];

const QUERY: usize = 0;
const KEY: usize = 1;
const VALUE: usize = 2;
const BIAS: usize = 3;
const PADDING: usize = 4;
const ADDED: usize = 5;
const PAST_KEY: usize = 6;
const PAST_VALUE: usize = 7;
const PAST_LEN: usize = 8;
const BEAMS: usize = 9;

/// Scaled dot-product attention over projected queries, keys and values, with the projections' bias.
///
/// Inputs: queries `[B, S, N*H]`, keys `[B, L, N*H]`, values `[B, L, N*Hv]`, or packed `[B, S, N, 3, H]`, or keys and
/// values packed `[B, L, N, 2, H]`, or already by head `[B, N, L, H]`; bias `[2*N*H + N*Hv]`; padding mask int32, 0
/// for padding or one of the other forms of ONNX Runtime; a number added to the scores `[B or 1, N or 1, S, T]`; past
/// keys and values `[B, N, P, H]`, and how much of them is filled, int32 `[1]`, where they are buffers to append to. All
/// but the queries are optional; `T = P + L`.
///
/// Outputs: `[B, S, N*Hv]`; keys and values `[B, N, T, H]` (a buffer: `[B, N, P, H]`); masked scores `[B, N, S, T]`.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiHeadAttention {
    /// Heads.
    pub heads: usize,
    /// What the products are multiplied by; `1 / sqrt(H)` when `None`.
    pub scale: Option<f32>,
    /// What the padding mask adds to a score.
    pub mask_filter: f32,
    /// Whether a query sees only keys up to its own place.
    pub causal: bool,
    /// How many outputs the node has.
    pub outputs: usize,
}

impl MultiHeadAttention {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let heads = heads(def, "num_heads")?
            .ok_or_else(|| OpError::attribute("num_heads", "1 or more", "nothing"))?;
        Ok(Arc::new(MultiHeadAttention {
            heads,
            scale: def.float("scale")?.filter(|&scale| scale != 0.0),
            mask_filter: def.float_or("mask_filter_value", -10000.0)?,
            causal: def.flag("unidirectional", false)?,
            outputs: def.outputs.len().clamp(1, 4),
        }))
    }

    /// The attention for inputs of the given shapes after `past` cached keys.
    ///
    /// # Errors
    /// The shapes do not fit each other or the heads.
    pub fn sdpa(
        &self,
        q: &Shape,
        k: Option<&Shape>,
        v: Option<&Shape>,
        past: usize,
    ) -> Result<Sdpa, OpError> {
        let n = self.heads;
        let (batch, q_len, head) = match *q.dims() {
            [batch, len, hidden] if hidden.is_multiple_of(n) => (batch, len, hidden / n),
            [batch, len, heads, 3, head] if heads == n => (batch, len, head),
            _ => return Err(OpError::shape(QUERY, format!("[B, S, {n}*H] or [B, S, {n}, 3, H]"), q)),
        };
        let layout = Layout::of(q.rank(), k.map(|k| k.rank()));
        let new = layout.new_keys(k, [batch, n, q_len, head])?;
        let v_head = layout.value_head(k, v, [batch, n, new, head])?;
        Ok(Sdpa {
            batch,
            q_heads: n,
            kv_heads: n,
            q_len,
            kv_len: past.saturating_add(new),
            head,
            v_head,
            scale: self.scale.map_or_else(|| 1.0 / (head as f64).sqrt(), f64::from),
            softcap: 0.0,
            reach: if self.causal { Reach::CAUSAL } else { Reach::default() },
        })
    }
}

impl Operator for MultiHeadAttention {
    fn key(&self) -> OpKey {
        OpKey::microsoft("MultiHeadAttention")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let q = inputs.tensor(QUERY)?;
        self.check_types(inputs)?;
        self.check_shapes(inputs)?;
        let heads = SymDim::Known(self.heads);
        let per_head = |dim: SymDim| dim.map(|hidden| hidden / self.heads);
        let rank = |index| -> Result<Option<usize>, OpError> {
            Ok(inputs.optional(index)?.and_then(|t| t.shape.rank()))
        };
        let layout = Layout::of(q.shape.rank().unwrap_or(3), rank(KEY)?);
        let (batch, q_len) = (q.shape.dim(0), q.shape.dim(1));
        let key_dim =
            |axis| inputs.get(KEY).and_then(Fact::as_tensor).map_or(SymDim::Unknown, |t| t.shape.dim(axis));
        let value_dim =
            |axis| inputs.get(VALUE).and_then(Fact::as_tensor).map_or(SymDim::Unknown, |t| t.shape.dim(axis));
        let (new, head, v_head) = match layout {
            Layout::PackedQkv => (q_len.clone(), q.shape.dim(4), q.shape.dim(4)),
            Layout::PackedKv => (key_dim(1), key_dim(4), key_dim(4)),
            Layout::ByHead => (key_dim(2), key_dim(3), value_dim(3)),
            Layout::Separate => (key_dim(1), per_head(q.shape.dim(2)), per_head(value_dim(2))),
        };
        let cache = match inputs.optional(PAST_KEY)? {
            Some(past) => past.shape.dim(2),
            None => SymDim::Known(0),
        };
        let total = add(&cache, &new);
        // Into a buffer the new keys are written; its filled length says how many scores there are.
        let (present, scored) = match (inputs.has(PAST_LEN) && inputs.has(PAST_KEY), inputs.ints(PAST_LEN)?) {
            (false, _) => (total.clone(), total),
            (true, filled) => {
                let filled = filled.and_then(|filled| usize::try_from(*filled.first()?).ok());
                (cache, filled.map_or(SymDim::Unknown, |filled| add(&SymDim::Known(filled), &new)))
            }
        };
        let hidden = v_head.map(|v_head| v_head.saturating_mul(self.heads));
        let shapes = [
            vec![batch.clone(), q_len.clone(), hidden],
            vec![batch.clone(), heads.clone(), present.clone(), head],
            vec![batch.clone(), heads.clone(), present, v_head],
            vec![batch, heads, q_len, scored],
        ];
        Ok(shapes.into_iter().take(self.outputs).map(|shape| Fact::tensor(q.dtype, shape)).collect())
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let dtype = inputs.tensor(QUERY)?.dtype();
        let shape =
            |index| -> Result<Option<&Shape>, OpError> { Ok(inputs.optional(index)?.map(Tensor::shape)) };
        let filled = inputs.optional(PAST_LEN)?;
        let past = self.past(shape(PAST_KEY)?, filled)?;
        let sdpa = self.sdpa(inputs.tensor(QUERY)?.shape(), shape(KEY)?, shape(VALUE)?, past)?;
        let [queries, mut keys, mut values] = self.operands(&sdpa, past, inputs)?;
        let Sdpa { batch, q_heads, q_len, kv_len, head, v_head, .. } = sdpa;
        let mut buffers = None;
        if let (Some(past_key), Some(past_value)) = (inputs.optional(PAST_KEY)?, inputs.optional(PAST_VALUE)?)
        {
            let extent = past_key.shape().get(2).copied().unwrap_or(0);
            if filled.is_some() {
                let key = fill_buffer((past_key.to_f64()?, extent), &keys, (past, kv_len - past, head))?;
                let value =
                    fill_buffer((past_value.to_f64()?, extent), &values, (past, kv_len - past, v_head))?;
                keys = take_rows(&key, [batch * q_heads, extent, head], kv_len)?;
                values = take_rows(&value, [batch * q_heads, extent, v_head], kv_len)?;
                buffers = Some((key, value, extent));
            } else {
                keys = append(&past_key.to_f64()?, &keys, batch * q_heads, head)?;
                values = append(&past_value.to_f64()?, &values, batch * q_heads, v_head)?;
            }
        }
        let mut mask = Mask { first_places: vec![past as i64; batch], ..Mask::default() };
        if let Some(tensor) = inputs.optional(PADDING)? {
            mask.biases.extend(padding(PADDING, tensor, &sdpa, self.mask_filter)?);
        }
        if let Some(added) = inputs.optional(ADDED)? {
            mask.biases.push(Bias::new(ADDED, &sdpa, added.shape(), added.to_f64()?)?);
        }
        let keep = (self.outputs > 3).then_some(Stage::Masked);
        let (y, scores) = sdpa.run([&queries, &keys, &values], &mask, keep)?;
        let y = swap_middle(&y, [batch, q_heads, q_len, v_head])?;
        let mut outputs = vec![Tensor::from_f64(dtype, [batch, q_len, q_heads * v_head], &y)?];
        let (keys, values, present) = buffers.unwrap_or((keys, values, kv_len));
        outputs.push(Tensor::from_f64(dtype, [batch, q_heads, present, head], &keys)?);
        outputs.push(Tensor::from_f64(dtype, [batch, q_heads, present, v_head], &values)?);
        if let Some(scores) = scores {
            outputs.push(Tensor::from_f64(dtype, sdpa.scores_shape(), &scores)?);
        }
        Ok(outputs.into_iter().take(self.outputs).map(Value::Tensor).collect())
    }

    fn value_inputs(&self) -> &[usize] {
        // Only the scores' shape depends on how much of a buffer is filled.
        if self.outputs > 3 { &[PAST_LEN] } else { &[] }
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        let shape = |index| inputs.get(index).and_then(Fact::concrete_shape);
        let past = shape(PAST_KEY).and_then(|past| past.get(2).copied()).unwrap_or(0);
        let Some(q) = shape(QUERY) else { return 0 };
        self.sdpa(&q, shape(KEY).as_ref(), shape(VALUE).as_ref(), past).map_or(0, |sdpa| sdpa.flops())
    }
}

#[cfg(test)]
mod tests;
