//! Scaled dot-product attention, `softmax(mask(softcap(scale Q Kᵀ))) V`: what every attention operator comes down to
//! (<https://arxiv.org/abs/1706.03762>; shared key heads: <https://arxiv.org/abs/2305.13245>).
//!
//! Each attention operator gives its [`Sdpa`], so that a kernel written for that serves all of them.

use inferrum_graph::OpError;
use inferrum_tensor::{Shape, Tensor, zeroed};

/// One attention with all its extents. Keys and values count those of a cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Sdpa {
    /// Independent attentions.
    pub batch: usize,
    /// Heads of the queries: a multiple of `kv_heads`. Each run of `q_heads / kv_heads` heads shares one head of keys.
    pub q_heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Queries of a head.
    pub q_len: usize,
    /// Keys and values of a head.
    pub kv_len: usize,
    /// Elements of a query and of a key.
    pub head: usize,
    /// Elements of a value.
    pub v_head: usize,
    /// What the products of queries and keys are multiplied by.
    pub scale: f64,
    /// `c` of `c tanh(score / c)`; 0 leaves the scores as they are.
    pub softcap: f64,
    /// Which keys a query sees by its place.
    pub reach: Reach,
}

/// Which keys a query sees by its place. A query at place `p` sees the keys from `p - left` to `p + right`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// How many keys before its own place a query sees; all when `None`.
    pub left: Option<usize>,
    /// How many keys after its own place a query sees; all when `None`. Causal attention has 0 here.
    pub right: Option<usize>,
}

impl Reach {
    /// Every key up to the query's own place.
    pub const CAUSAL: Reach = Reach { left: None, right: Some(0) };

    /// Whether a query at `place` sees `key`.
    pub fn sees(&self, place: i64, key: usize) -> bool {
        let distance = (key as i64).saturating_sub(place);
        self.left.is_none_or(|left| distance >= -(left as i64))
            && self.right.is_none_or(|right| distance <= right as i64)
    }
}

/// Where in the computation an optional output is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The scaled products.
    Products,
    /// After the soft cap.
    Capped,
    /// After the mask.
    Masked,
    /// After the softmax.
    Probabilities,
}

/// What differs from batch to batch and from place to place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mask {
    /// Added to the scores; minus infinity hides a key.
    pub biases: Vec<Bias>,
    /// For each batch, the place of the first query among the keys; 0 when empty.
    pub first_places: Vec<i64>,
    /// For each batch, how many keys there are; all of them when empty.
    pub keys: Vec<usize>,
    /// For each query head, a score that takes part in the softmax's sum but has no value.
    pub sinks: Option<Vec<f64>>,
}

/// A tensor broadcast to `[batch, q_heads, q_len, kv_len]`.
#[derive(Debug, Clone)]
pub(crate) struct Bias {
    values: Vec<f64>,
    strides: [usize; 4],
    /// Keys from here on are hidden.
    reach: usize,
    /// For each batch, how many columns stand before that of the first key; none when empty.
    skipped: Vec<usize>,
}

impl Bias {
    /// `values` of `shape`, whose last axes are those of the scores; the last axis may be shorter than the scores' and then
    /// hides the keys it does not reach.
    pub(crate) fn new(index: usize, sdpa: &Sdpa, shape: &Shape, values: Vec<f64>) -> Result<Bias, OpError> {
        let target = [sdpa.batch, sdpa.q_heads, sdpa.q_len, sdpa.kv_len];
        let unfit =
            || OpError::shape(index, format!("a shape that broadcasts to {}", Shape::from(target)), shape);
        if shape.rank() > 4 {
            return Err(unfit());
        }
        let mut strides = [0; 4];
        let mut reach = sdpa.kv_len;
        for (axis, (&extent, &stride)) in shape.iter().zip(&shape.strides()).enumerate() {
            let place = axis + 4 - shape.rank();
            if place == 3 && extent <= target[3] {
                reach = extent;
                strides[3] = 1;
            } else if extent == target[place] {
                strides[place] = stride;
            } else if extent != 1 {
                return Err(unfit());
            }
        }
        Ok(Bias { values, strides, reach, skipped: Vec::new() })
    }

    /// The same tensor, of which the first columns of each batch are not those of the first keys.
    pub(crate) fn skipping(self, skipped: Vec<usize>) -> Bias {
        Bias { skipped, ..self }
    }

    fn at(&self, mut place: [usize; 4]) -> f64 {
        place[3] += self.skipped.get(place[0]).copied().unwrap_or(0);
        if place[3] >= self.reach {
            return f64::NEG_INFINITY;
        }
        let index: usize = place.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum();
        self.values.get(index).copied().unwrap_or(f64::NEG_INFINITY)
    }
}

impl Mask {
    /// What is added to a score; minus infinity when the key is hidden.
    fn at(&self, sdpa: &Sdpa, [batch, head, query, key]: [usize; 4]) -> f64 {
        let place = self.first_places.get(batch).copied().unwrap_or(0).saturating_add(query as i64);
        if !sdpa.reach.sees(place, key) || self.keys.get(batch).is_some_and(|&keys| key >= keys) {
            return f64::NEG_INFINITY;
        }
        self.biases.iter().map(|bias| bias.at([batch, head, query, key])).sum()
    }
}

impl Sdpa {
    /// The shape of the scores.
    pub fn scores_shape(&self) -> Shape {
        Shape::from([self.batch, self.q_heads, self.q_len, self.kv_len])
    }

    /// Checks that the heads of the queries can share those of the keys.
    ///
    /// # Errors
    /// They cannot.
    pub fn check(&self) -> Result<(), OpError> {
        if self.q_heads == 0 && self.kv_heads == 0
            || self.kv_heads > 0 && self.q_heads.is_multiple_of(self.kv_heads)
        {
            return Ok(());
        }
        let heads = (self.q_heads, self.kv_heads);
        Err(OpError::Invalid(format!(
            "{} query heads cannot share {} heads of keys and values equally",
            heads.0, heads.1
        )))
    }

    /// Arithmetic operations: both products and the softmax.
    pub fn flops(&self) -> u64 {
        let scores = self.scores_shape().elements() as u64;
        let each = (self.head as u64).saturating_add(self.v_head as u64).saturating_mul(2).saturating_add(5);
        scores.saturating_mul(each)
    }

    /// The output `[batch, q_heads, q_len, v_head]`, and the scores as they are at `keep`. Queries, keys and values are
    /// `[batch, heads, len, head]`. A query that sees no key gives zeros.
    pub(crate) fn run(
        &self,
        [q, k, v]: [&[f64]; 3],
        mask: &Mask,
        keep: Option<Stage>,
    ) -> Result<(Vec<f64>, Option<Vec<f64>>), OpError> {
        let mut scores = self.products(q, k)?;
        let mut kept = (keep == Some(Stage::Products)).then(|| scores.clone());
        self.cap(&mut scores);
        if keep == Some(Stage::Capped) {
            kept = Some(scores.clone());
        }
        self.mask(&mut scores, mask);
        if keep == Some(Stage::Masked) {
            kept = Some(scores.clone());
        }
        self.softmax(&mut scores, mask.sinks.as_deref());
        let output = self.combine(&scores, v)?;
        Ok((output, if keep == Some(Stage::Probabilities) { Some(scores) } else { kept }))
    }

    /// `scale Q Kᵀ`, `[batch, q_heads, q_len, kv_len]`.
    pub(crate) fn products(&self, q: &[f64], k: &[f64]) -> Result<Vec<f64>, OpError> {
        let mut scores: Vec<f64> = zeroed(self.scores_shape().elements())?;
        if scores.is_empty() {
            return Ok(scores);
        }
        for (row, row_scores) in scores.chunks_exact_mut(self.kv_len).enumerate() {
            let keys = self.kv_head_of_row(row) * self.kv_len;
            let query = &q[row * self.head..][..self.head];
            for (key, score) in row_scores.iter_mut().enumerate() {
                let key = &k[(keys + key) * self.head..][..self.head];
                *score = self.scale * query.iter().zip(key).map(|(a, b)| a * b).sum::<f64>();
            }
        }
        Ok(scores)
    }

    /// Soft-caps the scores.
    pub(crate) fn cap(&self, scores: &mut [f64]) {
        if self.softcap > 0.0 {
            scores.iter_mut().for_each(|score| *score = self.softcap * (*score / self.softcap).tanh());
        }
    }

    /// Adds the mask; a hidden key's score is minus infinity whatever it was.
    pub(crate) fn mask(&self, scores: &mut [f64], mask: &Mask) {
        if scores.is_empty() {
            return;
        }
        for (row, row_scores) in scores.chunks_exact_mut(self.kv_len).enumerate() {
            let (heads, query) = (row / self.q_len, row % self.q_len);
            for (key, score) in row_scores.iter_mut().enumerate() {
                let bias = mask.at(self, [heads / self.q_heads, heads % self.q_heads, query, key]);
                *score = if bias == f64::NEG_INFINITY { bias } else { *score + bias };
            }
        }
    }

    /// Turns each query's scores into probabilities; all 0 where every key is hidden.
    pub(crate) fn softmax(&self, scores: &mut [f64], sinks: Option<&[f64]>) {
        if scores.is_empty() {
            return;
        }
        for (row, row_scores) in scores.chunks_exact_mut(self.kv_len).enumerate() {
            let sink = sinks.map_or(f64::NEG_INFINITY, |sinks| sinks[row / self.q_len % self.q_heads]);
            let greatest = row_scores.iter().copied().fold(sink, f64::max);
            if greatest == f64::NEG_INFINITY && !row_scores.iter().any(|score| score.is_nan()) {
                row_scores.fill(0.0);
                continue;
            }
            row_scores.iter_mut().for_each(|score| *score = (*score - greatest).exp());
            let sum: f64 = row_scores.iter().sum::<f64>() + (sink - greatest).exp();
            row_scores.iter_mut().for_each(|score| *score /= sum);
        }
    }

    /// `probabilities V`, `[batch, q_heads, q_len, v_head]`. What a value holds does not matter where its probability is 0.
    pub(crate) fn combine(&self, probabilities: &[f64], v: &[f64]) -> Result<Vec<f64>, OpError> {
        let shape = Shape::from([self.batch, self.q_heads, self.q_len, self.v_head]);
        let mut output: Vec<f64> = zeroed(shape.elements())?;
        if output.is_empty() || self.kv_len == 0 {
            return Ok(output);
        }
        for (row, sums) in output.chunks_exact_mut(self.v_head).enumerate() {
            let values = self.kv_head_of_row(row) * self.kv_len;
            for (key, &probability) in probabilities[row * self.kv_len..][..self.kv_len].iter().enumerate() {
                if probability != 0.0 {
                    let value = &v[(values + key) * self.v_head..][..self.v_head];
                    sums.iter_mut().zip(value).for_each(|(sum, x)| *sum += probability * x);
                }
            }
        }
        Ok(output)
    }

    /// Which of the `batch * kv_heads` heads of keys row `row` of the scores uses.
    fn kv_head_of_row(&self, row: usize) -> usize {
        let head = row / self.q_len;
        let group = self.q_heads / self.kv_heads;
        head / self.q_heads * self.kv_heads + head % self.q_heads / group
    }
}

/// Elements of a real tensor, reordered from `[batch, len, heads, head]` to `[batch, heads, len, head]`.
pub(crate) fn split_heads(
    tensor: &Tensor,
    [batch, len, heads, head]: [usize; 4],
) -> Result<Vec<f64>, OpError> {
    swap_middle(&tensor.to_f64()?, [batch, len, heads, head])
}

/// `[a, b, c, d]` to `[a, c, b, d]`: its own inverse, with `b` and `c` swapped.
pub(crate) fn swap_middle(values: &[f64], [a, b, c, d]: [usize; 4]) -> Result<Vec<f64>, OpError> {
    let mut out: Vec<f64> = zeroed(values.len())?;
    if out.is_empty() {
        return Ok(out);
    }
    for (row, to) in out.chunks_exact_mut(d).enumerate() {
        let (outer, j, i) = (row / (b * c), row / b % c, row % b);
        debug_assert!(outer < a);
        to.copy_from_slice(&values[((outer * b + i) * c + j) * d..][..d]);
    }
    Ok(out)
}

/// `[heads, past, width]` and `[heads, new, width]` one after the other along the middle axis.
pub(crate) fn append(past: &[f64], new: &[f64], heads: usize, width: usize) -> Result<Vec<f64>, OpError> {
    let mut out: Vec<f64> = zeroed(past.len().saturating_add(new.len()))?;
    if heads == 0 || width == 0 {
        return Ok(out);
    }
    let (past_row, new_row) = (past.len() / heads, new.len() / heads);
    if past_row + new_row > 0 {
        for (head, to) in out.chunks_exact_mut(past_row + new_row).enumerate() {
            to[..past_row].copy_from_slice(&past[head * past_row..][..past_row]);
            to[past_row..].copy_from_slice(&new[head * new_row..][..new_row]);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_by_three() -> Sdpa {
        Sdpa {
            batch: 1,
            q_heads: 2,
            kv_heads: 1,
            q_len: 1,
            kv_len: 3,
            head: 1,
            v_head: 1,
            scale: 1.0,
            softcap: 0.0,
            reach: Reach::default(),
        }
    }

    #[test]
    fn heads_share_keys_and_hidden_values_do_not_matter() {
        let sdpa = two_by_three();
        let mask = Mask { keys: vec![2], ..Mask::default() };
        let (y, p) = sdpa
            .run(
                [&[0.0, 1.0], &[0.0, 1.0, f64::NAN], &[2.0, 4.0, f64::NAN]],
                &mask,
                Some(Stage::Probabilities),
            )
            .unwrap();
        let e = 1f64.exp();
        assert_eq!(y[0], 3.0);
        assert!((y[1] - (2.0 + 4.0 * e) / (1.0 + e)).abs() < 1e-12);
        assert_eq!(p.unwrap()[..3], [0.5, 0.5, 0.0]);
    }

    #[test]
    fn a_query_that_sees_nothing_gives_zero() {
        let sdpa = Sdpa { reach: Reach::CAUSAL, ..two_by_three() };
        let mask = Mask { first_places: vec![-1], ..Mask::default() };
        let (y, _) = sdpa.run([&[1.0, 1.0], &[1.0; 3], &[5.0; 3]], &mask, None).unwrap();
        assert_eq!(y, [0.0, 0.0]);
    }

    #[test]
    fn a_sink_takes_its_share() {
        let sdpa = two_by_three();
        let mask = Mask { sinks: Some(vec![0.0, f64::NEG_INFINITY]), ..Mask::default() };
        let (y, _) = sdpa.run([&[0.0, 0.0], &[0.0; 3], &[1.0; 3]], &mask, None).unwrap();
        assert!((y[0] - 0.75).abs() < 1e-12 && (y[1] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn reach_is_bounded_on_both_sides() {
        let reach = Reach { left: Some(1), right: Some(2) };
        let seen: Vec<usize> = (0..8).filter(|&key| reach.sees(3, key)).collect();
        assert_eq!(seen, [2, 3, 4, 5]);
        assert!(Reach::default().sees(-5, 7));
    }

    #[test]
    fn appending_keeps_heads_apart() {
        assert_eq!(append(&[1.0, 3.0], &[2.0, 4.0], 2, 1).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(append(&[], &[2.0, 4.0], 2, 1).unwrap(), [2.0, 4.0]);
        assert_eq!(
            swap_middle(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1, 2, 3, 1]).unwrap(),
            [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]
        );
    }
}
