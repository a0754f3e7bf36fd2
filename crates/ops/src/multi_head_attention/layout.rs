//! How queries, keys and values lie in the inputs, and how they are taken from there.

use inferrum_graph::{Inputs, OpError};
use inferrum_tensor::{Shape, Tensor, zeroed};

use super::{BIAS, KEY, MultiHeadAttention, QUERY, VALUE};
use crate::sdpa::Sdpa;

/// How queries, keys and values lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Three tensors `[B, L, N*H]`.
    Separate,
    /// Keys and values in one tensor `[B, L, N, 2, H]`.
    PackedKv,
    /// One tensor `[B, L, N, 3, H]`.
    PackedQkv,
    /// Queries `[B, S, N*H]`, keys and values `[B, N, L, H]`.
    ByHead,
}

impl Layout {
    /// By the ranks of queries and keys.
    pub(super) fn of(query_rank: usize, key_rank: Option<usize>) -> Layout {
        match (query_rank, key_rank) {
            (5, _) => Layout::PackedQkv,
            (_, Some(5)) => Layout::PackedKv,
            (_, Some(4)) => Layout::ByHead,
            _ => Layout::Separate,
        }
    }

    /// How many keys there are beside those of a cache, for queries of the given extents.
    pub(super) fn new_keys(
        self,
        k: Option<&Shape>,
        [batch, n, q_len, head]: [usize; 4],
    ) -> Result<usize, OpError> {
        match (self, k.map(|k| k.dims())) {
            (Layout::PackedQkv, None) => Ok(q_len),
            (Layout::PackedQkv, Some(_)) => {
                Err(OpError::Invalid("packed queries already hold the keys".into()))
            }
            (Layout::PackedKv, Some(&[b, len, heads, 2, h])) if (b, heads, h) == (batch, n, head) => Ok(len),
            (Layout::ByHead, Some(&[b, heads, len, h])) if (b, heads, h) == (batch, n, head) => Ok(len),
            (Layout::Separate, Some(&[b, len, hidden])) if (b, hidden) == (batch, n * head) => Ok(len),
            (_, None) => Err(OpError::MissingInput { index: KEY }),
            (_, Some(_)) => {
                let expected = format!(
                    "[{batch}, L, {n}*{head}], [{batch}, L, {n}, 2, {head}] or [{batch}, {n}, L, {head}]"
                );
                Err(OpError::shape(KEY, expected, k.cloned().unwrap_or_default()))
            }
        }
    }

    /// The width of a value, for keys of the given extents.
    pub(super) fn value_head(
        self,
        k: Option<&Shape>,
        v: Option<&Shape>,
        [batch, n, new, head]: [usize; 4],
    ) -> Result<usize, OpError> {
        match (self, v.map(|v| v.dims())) {
            (Layout::PackedQkv | Layout::PackedKv, None) => Ok(head),
            (Layout::PackedQkv | Layout::PackedKv, Some(_)) => {
                Err(OpError::Invalid("packed keys already hold the values".into()))
            }
            (Layout::ByHead, Some(&[b, heads, len, h])) if (b, heads, len) == (batch, n, new) => Ok(h),
            (Layout::Separate, Some(&[b, len, hidden]))
                if (b, len) == (batch, new) && hidden.is_multiple_of(n) =>
            {
                Ok(hidden / n)
            }
            (_, None) => Err(OpError::MissingInput { index: VALUE }),
            (_, Some(_)) => {
                let expected =
                    format!("the batch, heads and length of keys {}", k.cloned().unwrap_or_default());
                Err(OpError::shape(VALUE, expected, v.cloned().unwrap_or_default()))
            }
        }
    }
}

impl MultiHeadAttention {
    /// Queries, keys and values by head, with their bias.
    pub(super) fn operands(
        &self,
        sdpa: &Sdpa,
        past: usize,
        inputs: Inputs<'_>,
    ) -> Result<[Vec<f64>; 3], OpError> {
        let q = inputs.tensor(QUERY)?;
        let (k, v) = (inputs.optional(KEY)?, inputs.optional(VALUE)?);
        let Sdpa { batch, q_len, head, v_head, .. } = *sdpa;
        let (n, new) = (self.heads, sdpa.kv_len - past);
        let layout = Layout::of(q.shape().rank(), k.map(|k| k.shape().rank()));
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
