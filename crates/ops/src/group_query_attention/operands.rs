//! Queries, new keys and new values: unpacked, normalised, rotated.

use inferrum_graph::{Inputs, OpError};

use super::cache::Lengths;
use super::{COS, GroupQueryAttention, KEY, KEY_NORM, POSITIONS, QUERY, QUERY_NORM, SIN, VALUE};
use crate::rotary_embedding::Rotation;
use crate::sdpa::{Sdpa, swap_middle};

impl GroupQueryAttention {
    /// Queries, new keys and new values by head, normalised and rotated.
    pub(super) fn operands(
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

/// Scales each row to a root mean square of 1, then by `weight`.
fn rms_normalize(values: &mut [f64], weight: &[f64], epsilon: f64) {
    for row in values.chunks_exact_mut(weight.len().max(1)) {
        let mean_square = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (mean_square + epsilon).sqrt();
        row.iter_mut().zip(weight).for_each(|(x, weight)| *x *= scale * weight);
    }
}
