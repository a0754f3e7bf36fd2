//! The cache of keys and values: a tensor that new ones follow, or a buffer of which a part is filled.

use inferrum_graph::OpError;
use inferrum_tensor::{Shape, Tensor, zeroed};

use super::{MultiHeadAttention, PAST_LEN};

impl MultiHeadAttention {
    /// How many cached keys there are: the filled part of a buffer, or the whole cache.
    pub(super) fn past(&self, cache: Option<&Shape>, filled: Option<&Tensor>) -> Result<usize, OpError> {
        let extent = cache.and_then(|shape| shape.get(2).copied()).unwrap_or(0);
        let Some(filled) = filled.filter(|_| cache.is_some()) else { return Ok(extent) };
        let filled = filled.to_i64()?.first().copied().unwrap_or(0);
        usize::try_from(filled).ok().filter(|&filled| filled <= extent).ok_or_else(|| {
            OpError::value(PAST_LEN, format!("the filled length is 0 to {extent}, got {filled}"))
        })
    }
}

/// Keys or values of a buffer `[B, N, P, H]` of extent `P`, with `new` put at `past`.
pub(super) fn fill_buffer(
    (mut buffer, extent): (Vec<f64>, usize),
    new: &[f64],
    (past, new_len, width): (usize, usize, usize),
) -> Result<Vec<f64>, OpError> {
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

/// The first `rows` rows of each of `heads` matrices `[extent, width]`.
pub(super) fn take_rows(
    values: &[f64],
    [heads, extent, width]: [usize; 3],
    rows: usize,
) -> Result<Vec<f64>, OpError> {
    let mut out: Vec<f64> = zeroed(Shape::from([heads, rows, width]).elements())?;
    if !out.is_empty() {
        for (head, to) in out.chunks_exact_mut(rows * width).enumerate() {
            to.copy_from_slice(&values[head * extent * width..][..rows * width]);
        }
    }
    Ok(out)
}
