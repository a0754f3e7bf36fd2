//! The padding masks of the attention operators of `com.microsoft`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.Attention>).

use inferrum_graph::OpError;
use inferrum_tensor::{Shape, Tensor, zeroed};

use crate::sdpa::{Bias, Sdpa};

/// How a padding mask of `com.microsoft` is to be read; `T` counts all keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PaddingKind {
    /// `[B]`, or `[3*B + 2]` of which the first `B`: how many keys there are.
    Ends,
    /// `[2*B]`: how many keys there are, then how many at the start are padding.
    EndsAndStarts,
    /// `[B, T]`, `[B, S, T]`: 0 hides.
    Keep,
    /// `[B, 1, M, M]` with `M >= T`: 0 hides; the rows are those of all keys.
    Square,
    /// `[B, 1]`, `[1, 1]`: says nothing.
    Dummy,
}

impl PaddingKind {
    pub(crate) fn of(index: usize, mask: &Shape, sdpa: &Sdpa) -> Result<PaddingKind, OpError> {
        let Sdpa { batch, q_len, kv_len, .. } = *sdpa;
        match *mask.dims() {
            [n] if n == batch || n == 3 * batch + 2 => Ok(PaddingKind::Ends),
            [n] if n == 2 * batch => Ok(PaddingKind::EndsAndStarts),
            [b, t] if (b, t) == (batch, kv_len) => Ok(PaddingKind::Keep),
            [b, 1] if b == batch || b == 1 => Ok(PaddingKind::Dummy),
            [b, s, t] if (b, s, t) == (batch, q_len, kv_len) => Ok(PaddingKind::Keep),
            [b, 1, m, n] if b == batch && m == n && m >= kv_len && m >= q_len => Ok(PaddingKind::Square),
            _ => {
                let expected = format!(
                    "[{batch}], [{}], [{batch}, {kv_len}] or [{batch}, {q_len}, {kv_len}]",
                    2 * batch
                );
                Err(OpError::shape(index, expected, mask))
            }
        }
    }
}

/// What a padding mask, int32, adds to the scores: `filter` for a hidden key.
pub(crate) fn padding(
    index: usize,
    mask: &Tensor,
    sdpa: &Sdpa,
    filter: f32,
) -> Result<Option<Bias>, OpError> {
    let Sdpa { batch, q_len, kv_len, .. } = *sdpa;
    let kind = PaddingKind::of(index, mask.shape(), sdpa)?;
    let given = mask.to_i64()?;
    let cost = |kept: bool| if kept { 0.0 } else { f64::from(filter) };
    let (shape, values): (Shape, Vec<f64>) = match kind {
        PaddingKind::Dummy => return Ok(None),
        PaddingKind::Keep => {
            let rows = if mask.shape().rank() == 3 { q_len } else { 1 };
            (Shape::from([batch, 1, rows, kv_len]), given.iter().map(|&keep| cost(keep > 0)).collect())
        }
        PaddingKind::Square => {
            let extent = mask.shape()[3];
            let first = extent.min(kv_len).saturating_sub(q_len);
            let mut values: Vec<f64> = zeroed(batch * q_len * kv_len)?;
            for (place, value) in values.iter_mut().enumerate() {
                let (row, key) = (place / kv_len, place % kv_len);
                *value = cost(given[(row / q_len * extent + first + row % q_len) * extent + key] > 0);
            }
            (Shape::from([batch, 1, q_len, kv_len]), values)
        }
        PaddingKind::Ends | PaddingKind::EndsAndStarts => {
            let mut values: Vec<f64> = zeroed(batch * kv_len)?;
            for (place, value) in values.iter_mut().enumerate() {
                let (row, key) = (place / kv_len, (place % kv_len) as i64);
                let start = if kind == PaddingKind::EndsAndStarts { given[batch + row] } else { 0 };
                *value = cost((start..given[row]).contains(&key));
            }
            (Shape::from([batch, 1, 1, kv_len]), values)
        }
    };
    Bias::new(index, sdpa, &shape, values).map(Some)
}
