//! `GroupQueryAttention`.

use inferrum_ops::group_query_attention::GroupQueryAttention;
use inferrum_ops::sdpa::Reach;
use inferrum_tensor::Tensor;

use super::{Case, Given, random};

/// Place of the greatest number of keys among the inputs: a constant.
const TOTAL: usize = 6;

/// Causal, without anything else.
pub fn op(q_heads: usize, kv_heads: usize) -> GroupQueryAttention {
    GroupQueryAttention {
        q_heads,
        kv_heads,
        scale: None,
        softcap: 0.0,
        reach: Reach::CAUSAL,
        rotary: false,
        rotary_interleaved: false,
        smooth_softmax: false,
        scores_at: None,
        key_quantization: None,
        value_quantization: None,
        window_cache: false,
        norm_epsilon: 1e-6,
        outputs: 3,
    }
}

/// A call of `[batch, new rows, cached rows, width]` with the numbers of keys of each batch.
struct Call {
    extents: [usize; 4],
    keys: Vec<i32>,
    packed: bool,
}

impl Call {
    /// With the caches as outputs and without.
    fn case(&self, op: GroupQueryAttention, rest: &[Option<Tensor>]) -> Case {
        let [batch, new, cached, head] = self.extents;
        let (q_heads, kv_heads) = (op.q_heads, op.kv_heads);
        let rows = |heads: usize, seed| Some(random(&[batch, new, heads * head], seed));
        let mut inputs = if self.packed {
            vec![rows(q_heads + 2 * kv_heads, 1), None, None]
        } else {
            vec![rows(q_heads, 1), rows(kv_heads, 2), rows(kv_heads, 3)]
        };
        let cache = |seed| (cached > 0).then(|| random(&[batch, kv_heads, cached, head], seed));
        let last: Vec<i32> = self.keys.iter().map(|keys| keys - 1).collect();
        let total = self.keys.iter().copied().max().unwrap_or(0);
        inputs.extend([cache(4), cache(5), Some(Tensor::vector(last)), Some(Tensor::vector(vec![total]))]);
        inputs.extend(rest.iter().cloned());
        let given: Vec<Given> =
            inputs.into_iter().enumerate().map(|(i, x)| x.map(|tensor| (tensor, i == TOTAL))).collect();
        let outputs = if batch == 1 { 1 } else { 3 };
        Case::new(GroupQueryAttention { outputs, ..op }, given, outputs)
    }
}

fn calls() -> Vec<Call> {
    let call = |extents, keys: &[i32], packed| Call { extents, keys: keys.to_vec(), packed };
    vec![
        // Prompts, one shorter than the others; one token; several tokens after caches of their own lengths.
        call([2, 5, 0, 8], &[5, 3], false),
        call([1, 70, 0, 16], &[70], true),
        call([2, 1, 9, 8], &[10, 4], false),
        call([3, 3, 7, 8], &[8, 10, 3], true),
        // The cache has room for more.
        call([1, 1, 90, 8], &[67], false),
    ]
}

/// Prompts, one token, and several tokens after caches.
pub fn prompts_and_tokens() -> Vec<Case> {
    calls().iter().flat_map(|call| [call.case(op(4, 2), &[]), call.case(op(3, 3), &[])]).collect()
}

/// All or some of a head rotated, in both orders of pairs, at given places or those of the keys.
pub fn rotated() -> Vec<Case> {
    let mut cases = Vec::new();
    for call in calls() {
        for rotary_interleaved in [false, true] {
            for (half, given) in [(call.extents[3] / 2, false), (2, true)] {
                let op = GroupQueryAttention { rotary: true, rotary_interleaved, ..op(4, 2) };
                let angle = |i: usize| (i / half) as f32 * 0.3 / (i % half + 1) as f32;
                let table = |of: fn(f32) -> f32| {
                    let values = (0..100 * half).map(|i| of(angle(i))).collect();
                    Some(Tensor::from_vec([100, half], values).expect("as many numbers as elements"))
                };
                let [batch, new, ..] = call.extents;
                let positions: Vec<i64> = (0..batch * new).map(|i| (i as i64 * 7) % 100).collect();
                let positions = Tensor::from_vec([batch, new], positions).expect("as many as elements");
                cases.push(call.case(op, &[table(f32::cos), table(f32::sin), given.then_some(positions)]));
            }
        }
    }
    cases
}

/// A window with a cap and a scale; a score of 0 or given ones besides; numbers added to the scores.
pub fn windows_caps_sinks_and_masks() -> Vec<Case> {
    let mut cases = Vec::new();
    for call in calls() {
        let [batch, new, ..] = call.extents;
        let total = call.keys.iter().copied().max().unwrap_or(0) as usize;
        let reach = Reach { left: Some(2), right: Some(0) };
        let window = GroupQueryAttention { reach, softcap: 3.0, scale: Some(0.4), ..op(4, 2) };
        cases.push(call.case(window, &[]));
        cases.push(call.case(GroupQueryAttention { smooth_softmax: true, ..op(4, 2) }, &[]));
        let none = || vec![None, None, None];
        let sinks = [none(), vec![None, Some(random(&[4], 8))]].concat();
        cases.push(call.case(op(4, 2), &sinks));
        let added = [none(), vec![Some(random(&[batch, 1, new, total], 9))]].concat();
        cases.push(call.case(GroupQueryAttention { reach: Reach::default(), ..op(4, 2) }, &added));
    }
    cases
}
