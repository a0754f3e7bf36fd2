//! `MultiHeadAttention` of `com.microsoft`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::attention::{add, expect_shape, heads};
use crate::padding_mask::{PaddingKind, padding};
use crate::sdpa::{Bias, Mask, Reach, Sdpa, Stage, append, swap_middle};
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::microsoft("MultiHeadAttention", MultiHeadAttention::parse)];

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
/// for padding or one of the other forms of ONNX Runtime; a number added to the scores `[B or 1, N or 1, S, T]`; past keys and values `[B, N, P, H]`, and how much of
/// them is filled, int32 `[1]`, where they are buffers to append to. All but the queries are optional; `T = P + L`.
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

/// How queries, keys and values lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Three tensors `[B, L, N*H]`.
    Separate,
    /// Keys and values in one tensor `[B, L, N, 2, H]`.
    PackedKv,
    /// One tensor `[B, L, N, 3, H]`.
    PackedQkv,
    /// Queries `[B, S, N*H]`, keys and values `[B, N, L, H]`.
    ByHead,
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

    fn layout(query_rank: usize, key_rank: Option<usize>) -> Layout {
        match (query_rank, key_rank) {
            (5, _) => Layout::PackedQkv,
            (_, Some(5)) => Layout::PackedKv,
            (_, Some(4)) => Layout::ByHead,
            _ => Layout::Separate,
        }
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
        let layout = Self::layout(q.rank(), k.map(|k| k.rank()));
        let new = match (layout, k.map(|k| k.dims())) {
            (Layout::PackedQkv, None) => q_len,
            (Layout::PackedQkv, Some(_)) => {
                return Err(OpError::Invalid("packed queries already hold the keys".into()));
            }
            (Layout::PackedKv, Some(&[b, len, heads, 2, h])) if (b, heads, h) == (batch, n, head) => len,
            (Layout::ByHead, Some(&[b, heads, len, h])) if (b, heads, h) == (batch, n, head) => len,
            (Layout::Separate, Some(&[b, len, hidden])) if (b, hidden) == (batch, n * head) => len,
            (_, None) => return Err(OpError::MissingInput { index: KEY }),
            (_, Some(_)) => {
                let expected = format!(
                    "[{batch}, L, {n}*{head}], [{batch}, L, {n}, 2, {head}] or [{batch}, {n}, L, {head}]"
                );
                return Err(OpError::shape(KEY, expected, k.cloned().unwrap_or_default()));
            }
        };
        let v_head = match (layout, v.map(|v| v.dims())) {
            (Layout::PackedQkv | Layout::PackedKv, None) => head,
            (Layout::PackedQkv | Layout::PackedKv, Some(_)) => {
                return Err(OpError::Invalid("packed keys already hold the values".into()));
            }
            (Layout::ByHead, Some(&[b, heads, len, h])) if (b, heads, len) == (batch, n, new) => h,
            (Layout::Separate, Some(&[b, len, hidden]))
                if (b, len) == (batch, new) && hidden.is_multiple_of(n) =>
            {
                hidden / n
            }
            (_, None) => return Err(OpError::MissingInput { index: VALUE }),
            (_, Some(_)) => {
                let expected =
                    format!("the batch, heads and length of keys {}", k.cloned().unwrap_or_default());
                return Err(OpError::shape(VALUE, expected, v.cloned().unwrap_or_default()));
            }
        };
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

    /// Queries, keys and values by head, with their bias.
    fn operands(&self, sdpa: &Sdpa, past: usize, inputs: Inputs<'_>) -> Result<[Vec<f64>; 3], OpError> {
        let q = inputs.tensor(QUERY)?;
        let (k, v) = (inputs.optional(KEY)?, inputs.optional(VALUE)?);
        let Sdpa { batch, q_len, head, v_head, .. } = *sdpa;
        let (n, new) = (self.heads, sdpa.kv_len - past);
        let layout = Self::layout(q.shape().rank(), k.map(|k| k.shape().rank()));
        let part = |tensor: &Tensor, extents: [usize; 3], parts: usize, part: usize| {
            unpack(&tensor.to_f64()?, [batch, extents[0], n, extents[1]], parts, part)
        };
        let mut operands = match (layout, k, v) {
            (Layout::PackedQkv, ..) => [0, 1, 2].map(|i| part(q, [q_len, head, 0], 3, i)),
            (Layout::PackedKv, Some(k), _) => [
                part(q, [q_len, head, 0], 1, 0),
                part(k, [new, head, 0], 2, 0),
                part(k, [new, head, 0], 2, 1),
            ],
            (Layout::ByHead, Some(k), Some(v)) => [
                part(q, [q_len, head, 0], 1, 0),
                k.to_f64().map_err(OpError::from),
                v.to_f64().map_err(OpError::from),
            ],
            (_, Some(k), Some(v)) => [
                part(q, [q_len, head, 0], 1, 0),
                part(k, [new, head, 0], 1, 0),
                part(v, [new, v_head, 0], 1, 0),
            ],
            _ => return Err(OpError::MissingInput { index: KEY }),
        };
        if let Some(bias) = inputs.optional(BIAS)? {
            let bias = bias.to_f64()?;
            for (i, (operand, (len, width))) in
                operands.iter_mut().zip([(q_len, head), (new, head), (new, v_head)]).enumerate()
            {
                if let Ok(operand) = operand {
                    add_bias(operand, &bias[i * n * head..][..n * width], len, width);
                }
            }
        }
        let [q, k, v] = operands;
        Ok([q?, k?, v?])
    }

    /// How many cached keys there are: the filled part of a buffer, or the whole cache.
    fn past(&self, cache: Option<&Shape>, filled: Option<&Tensor>) -> Result<usize, OpError> {
        let extent = cache.and_then(|shape| shape.get(2).copied()).unwrap_or(0);
        let Some(filled) = filled.filter(|_| cache.is_some()) else { return Ok(extent) };
        let filled = filled.to_i64()?.first().copied().unwrap_or(0);
        usize::try_from(filled).ok().filter(|&filled| filled <= extent).ok_or_else(|| {
            OpError::value(PAST_LEN, format!("the filled length is 0 to {extent}, got {filled}"))
        })
    }

    fn check_shapes(&self, inputs: Facts<'_>) -> Result<(), OpError> {
        let shape = |index| inputs.get(index).and_then(Fact::concrete_shape);
        let Some(q) = shape(QUERY) else { return Ok(()) };
        let (k, v) = (shape(KEY), shape(VALUE));
        if inputs.has(KEY) != k.is_some() || inputs.has(VALUE) != v.is_some() {
            return Ok(());
        }
        let sdpa = self.sdpa(&q, k.as_ref(), v.as_ref(), 0)?;
        let Sdpa { batch, head, v_head, .. } = sdpa;
        if let Some(bias) = inputs.optional(BIAS)? {
            let total = self.heads.saturating_mul(head.saturating_mul(2).saturating_add(v_head));
            expect_shape(BIAS, &bias.shape, &[total])?;
        }
        for (index, width) in [(PAST_KEY, head), (PAST_VALUE, v_head)] {
            if let Some(past) = shape(index) {
                let len = past.get(2).copied().unwrap_or(0);
                expect_shape(index, &(&past).into(), &[batch, self.heads, len, width])?;
            }
        }
        // The number of keys is not known before the filled length of a buffer is.
        if inputs.has(PAST_LEN) || (inputs.has(PAST_KEY) && shape(PAST_KEY).is_none()) {
            return Ok(());
        }
        let past = self.past(shape(PAST_KEY).as_ref(), None)?;
        let sdpa = Sdpa { kv_len: sdpa.kv_len.saturating_add(past), ..sdpa };
        if let Some(added) = shape(ADDED) {
            Bias::new(ADDED, &sdpa, &added, Vec::new())?;
        }
        if let Some(mask) = shape(PADDING) {
            PaddingKind::of(PADDING, &mask, &sdpa)?;
        }
        Ok(())
    }

    /// Keys or values of a buffer `[B, N, P, H]` with `new` put at `past`.
    fn fill_buffer(
        &self,
        (buffer, extent): (Vec<f64>, usize),
        new: &[f64],
        (past, new_len, width): (usize, usize, usize),
    ) -> Result<Vec<f64>, OpError> {
        let mut buffer = buffer;
        if past + new_len > extent {
            let reason = format!("a buffer of {extent} does not hold {past} filled and {new_len} new keys");
            return Err(OpError::value(PAST_LEN, reason));
        }
        if new_len * width > 0 {
            for (head, new) in new.chunks_exact(new_len * width).enumerate() {
                buffer[(head * extent + past) * width..][..new.len()].copy_from_slice(new);
            }
        }
        Ok(buffer)
    }
}

impl Operator for MultiHeadAttention {
    fn key(&self) -> OpKey {
        OpKey::microsoft("MultiHeadAttention")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let q = inputs.tensor(QUERY)?;
        FLOATS.check(QUERY, q.dtype)?;
        for index in [KEY, VALUE, BIAS, ADDED, PAST_KEY, PAST_VALUE] {
            if let Some(tensor) = inputs.optional(index)?
                && tensor.dtype != q.dtype
            {
                return Err(OpError::dtype(index, q.dtype.to_string(), tensor.dtype));
            }
        }
        for index in [PADDING, PAST_LEN] {
            if let Some(tensor) = inputs.optional(index)?
                && tensor.dtype != DType::I32
            {
                return Err(OpError::dtype(index, "int32", tensor.dtype));
            }
        }
        if inputs.has(PAST_KEY) != inputs.has(PAST_VALUE) {
            return Err(OpError::Invalid(
                "past keys and past values are given together or not at all".into(),
            ));
        }
        if inputs.has(BEAMS) {
            return Err(OpError::Unsupported("beams of a cache (input 9)".into()));
        }
        self.check_shapes(inputs)?;
        let heads = SymDim::Known(self.heads);
        let per_head = |dim: SymDim| dim.map(|hidden| hidden / self.heads);
        let rank = |index| -> Result<Option<usize>, OpError> {
            Ok(inputs.optional(index)?.and_then(|t| t.shape.rank()))
        };
        let layout = Self::layout(q.shape.rank().unwrap_or(3), rank(KEY)?);
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
                let key =
                    self.fill_buffer((past_key.to_f64()?, extent), &keys, (past, kv_len - past, head))?;
                let value =
                    self.fill_buffer((past_value.to_f64()?, extent), &values, (past, kv_len - past, v_head))?;
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

/// `[batch, heads, len, head]` of part `part` of `[batch, len, heads, parts, head]`.
fn unpack(
    values: &[f64],
    [batch, len, heads, head]: [usize; 4],
    parts: usize,
    part: usize,
) -> Result<Vec<f64>, OpError> {
    let mut out: Vec<f64> = zeroed(Shape::from([batch, heads, len, head]).elements())?;
    if out.is_empty() {
        return Ok(out);
    }
    for (row, to) in out.chunks_exact_mut(head).enumerate() {
        let (b, h, i) = (row / (heads * len), row / len % heads, row % len);
        to.copy_from_slice(&values[(((b * len + i) * heads + h) * parts + part) * head..][..head]);
    }
    Ok(out)
}

/// Adds a bias of `heads * width` elements to `[batch, heads, len, width]`.
fn add_bias(values: &mut [f64], bias: &[f64], len: usize, width: usize) {
    if values.is_empty() {
        return;
    }
    let heads = bias.len() / width;
    for (row, values) in values.chunks_exact_mut(width).enumerate() {
        let head = row / len % heads;
        values.iter_mut().zip(&bias[head * width..]).for_each(|(x, b)| *x += b);
    }
}

/// The first `rows` rows of each of `heads` matrices `[extent, width]`.
fn take_rows(values: &[f64], [heads, extent, width]: [usize; 3], rows: usize) -> Result<Vec<f64>, OpError> {
    let mut out: Vec<f64> = zeroed(Shape::from([heads, rows, width]).elements())?;
    if !out.is_empty() {
        for (head, to) in out.chunks_exact_mut(rows * width).enumerate() {
            to.copy_from_slice(&values[head * extent * width..][..rows * width]);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_node, try_run};
    use inferrum_graph::Attr;

    fn op(heads: i64, outputs: usize, attrs: &[(&str, Attr)]) -> Arc<dyn Operator> {
        let attrs: Vec<(&str, Attr)> =
            attrs.iter().cloned().chain([("num_heads", Attr::Int(heads))]).collect();
        parse_node("com.microsoft", 1, "MultiHeadAttention", &attrs, outputs)
    }

    fn tensor(shape: &[usize], values: &[f32]) -> Option<Tensor> {
        Some(Tensor::from_vec(shape, values.to_vec()).unwrap())
    }

    fn values(n: usize) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 1.3).sin()).collect()
    }

    #[test]
    fn packed_and_separate_operands_agree() {
        let packed = values(2 * 3 * 2 * 3 * 4);
        let part = |part: usize| -> Vec<f32> {
            packed
                .chunks_exact(4)
                .enumerate()
                .filter(|(i, _)| i % 3 == part)
                .flat_map(|(_, x)| x.to_vec())
                .collect()
        };
        let pairs: Vec<f32> = packed
            .chunks_exact(4)
            .enumerate()
            .filter(|(i, _)| i % 3 > 0)
            .flat_map(|(_, x)| x.to_vec())
            .collect();
        let separate = [0, 1, 2].map(|i| tensor(&[2, 3, 8], &part(i)));
        let run = |inputs: &[Option<Tensor>]| try_run(&*op(2, 3, &[]), inputs).unwrap();
        let expected = run(&separate);
        assert_eq!(expected, run(&[tensor(&[2, 3, 2, 3, 4], &packed)]));
        assert_eq!(expected, run(&[separate[0].clone(), tensor(&[2, 3, 2, 2, 4], &pairs)]));
        let by_head = [&expected[1], &expected[2]].map(|t| Some(t.clone()));
        assert_eq!(expected, run(&[separate[0].clone(), by_head[0].clone(), by_head[1].clone()]));
    }

    #[test]
    fn a_buffer_is_filled_in_place() {
        let one = tensor(&[1, 1, 1], &[0.0]);
        let cache = tensor(&[1, 1, 3, 1], &[1.0, 7.0, 9.0]);
        let new = tensor(&[1, 1, 1], &[3.0]);
        let len = Some(Tensor::vector(vec![1i32]));
        let inputs = [one.clone(), one, new, None, None, None, cache.clone(), cache, len];
        let outputs = try_run(&*op(1, 3, &[]), &inputs).unwrap();
        assert_eq!(outputs[0].to_f64().unwrap(), [2.0]);
        assert_eq!(outputs[2].to_f64().unwrap(), [1.0, 3.0, 9.0]);
        let full = Some(Tensor::vector(vec![3i32]));
        let inputs: Vec<_> = inputs[..8].iter().cloned().chain([full]).collect();
        assert!(try_run(&*op(1, 3, &[]), &inputs).is_err());
    }

    #[test]
    fn padding_masks_of_every_form_agree() {
        let q = tensor(&[2, 2, 1], &[0.0; 4]);
        let v = tensor(&[2, 3, 1], &[1.0, 2.0, 4.0, 1.0, 2.0, 4.0]);
        let y = |mask: Tensor| {
            try_run(&*op(1, 1, &[]), &[q.clone(), v.clone(), v.clone(), None, Some(mask)]).unwrap()[0]
                .to_f64()
                .unwrap()
        };
        let ints = |shape: &[usize], values: &[i32]| Tensor::from_vec(shape, values.to_vec()).unwrap();
        let expected = y(ints(&[2], &[2, 1]));
        assert_eq!(expected, [1.5, 1.5, 1.0, 1.0]);
        assert_eq!(expected, y(ints(&[2, 3], &[1, 1, 0, 1, 0, 0])));
        assert_eq!(expected, y(ints(&[2, 2, 3], &[1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0])));
        assert_eq!(expected, y(ints(&[8], &[2, 1, 0, 2, 4, 0, 3, 6])));
        assert_eq!(y(ints(&[4], &[3, 2, 2, 0]))[..3], [4.0, 4.0, 1.5]);
    }

    #[test]
    fn unfit_inputs_are_errors() {
        let zeros = |shape: &[usize]| Some(Tensor::zeros(DType::F32, shape).unwrap());
        let fails = |inputs: &[Option<Tensor>]| try_run(&*op(2, 1, &[]), inputs).is_err();
        assert!(fails(&[zeros(&[1, 2, 3])]));
        assert!(fails(&[zeros(&[1, 2, 4])]));
        assert!(fails(&[zeros(&[1, 2, 4]), zeros(&[1, 2, 6]), zeros(&[1, 2, 4])]));
        assert!(fails(&[zeros(&[1, 2, 4]), zeros(&[1, 2, 4]), zeros(&[1, 3, 4])]));
        assert!(fails(&[zeros(&[1, 2, 4]), zeros(&[1, 2, 4]), zeros(&[1, 2, 4]), zeros(&[11])]));
        assert!(!fails(&[zeros(&[0, 2, 4]), zeros(&[0, 3, 4]), zeros(&[0, 3, 4])]));
    }
}
