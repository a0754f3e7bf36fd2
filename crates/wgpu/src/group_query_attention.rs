//! `GroupQueryAttention` over a cache of floats: lengths, queries, keys and values first, then the attention. Lengths and
//! positions that cannot be give something, as a GPU raises no errors.

use inferrum_backend::Decline;
use inferrum_ops::group_query_attention::GroupQueryAttention;
use inferrum_ops::sdpa::Sdpa;

use crate::attention::{Prepared, Sinks, lower_prepared};
use crate::bindings::Bindings;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, Work, words};
use crate::shader::Template;
use crate::storage;

const SOURCE: &str = include_str!("../../../shaders/group_query_attention.wgsl");

const KEY: usize = 1;
const PAST_KEY: usize = 3;
const LAST_KEYS: usize = 5;
const TOTAL: usize = 6;
const COS: usize = 7;
const SIN: usize = 8;
const POSITIONS: usize = 9;
const ADDED: usize = 10;
const SINKS: usize = 11;

/// Which rows are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    Queries,
    Keys,
    Values,
}

pub(crate) fn lower(op: &GroupQueryAttention, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    if op.key_quantization.is_some() || op.value_quantization.is_some() || op.window_cache {
        return Err(Decline("a quantised cache, or one that holds a window".into()));
    }
    if lowering.wants(3) || (SINKS + 1..16).any(|place| lowering.has(place)) {
        return Err(Decline("scores as an output, or normalised queries and keys".into()));
    }
    lowering.require_floats(&[LAST_KEYS, TOTAL, POSITIONS])?;
    let q = lowering.shape(0)?;
    let packed = !lowering.has(KEY);
    let cached = if lowering.has(PAST_KEY) { lowering.shape(PAST_KEY)?[2] } else { 0 };
    let kv_len = if lowering.constant(TOTAL).is_some() {
        let total = lowering.ints(TOTAL)?.first().copied().unwrap_or(0);
        usize::try_from(total).map_err(|_| Decline(format!("a total length of {total}")))?.max(cached)
    } else if lowering.wants(1) {
        lowering.output_shape(1)?[2]
    } else {
        return Err(Decline("the total length is not known".into()));
    };
    let sdpa = op.sdpa(&q, packed, kv_len).map_err(|error| Decline(error.to_string()))?;
    let mut layout = Layout {
        op,
        sdpa,
        packed,
        cached,
        lowering,
        work: Work { name: "group query attention".into(), dispatches: Vec::new(), scratch: Vec::new() },
    };
    layout.lengths()?;
    let q = layout.rows(Rows::Queries)?;
    let k = layout.rows(Rows::Keys)?;
    let v = layout.rows(Rows::Values)?;
    let Layout { sdpa, work, .. } = layout;
    let sinks = match (lowering.has(SINKS), op.smooth_softmax) {
        (true, _) => Some(Sinks::Input(SINKS)),
        (false, true) => Some(Sinks::Zero),
        (false, false) => None,
    };
    let mask = lowering.has(ADDED).then_some(ADDED);
    let element = lowering.float(0)?;
    lower_prepared(
        sdpa,
        Prepared { q, k, v, element, lengths: Operand::ReadScratch(0), sinks, work },
        mask,
        lowering,
    )
}

/// Writes the dispatches before the attention.
struct Layout<'a> {
    op: &'a GroupQueryAttention,
    sdpa: Sdpa,
    packed: bool,
    cached: usize,
    lowering: &'a Lowering<'a>,
    work: Work,
}

impl Layout<'_> {
    fn scratch(&mut self, elements: usize, bytes: usize) -> Operand {
        self.work.scratch.push(elements.saturating_mul(bytes));
        Operand::Scratch(self.work.scratch.len() - 1)
    }

    /// The first intermediate buffer: for each batch how many keys are cached, and how many there are.
    fn lengths(&mut self) -> Result<(), Decline> {
        let Sdpa { batch, q_len, .. } = self.sdpa;
        let lengths = self.scratch(batch, 8);
        let mut bindings = Bindings::default();
        bindings.read("last_keys", "i32", Operand::Input(LAST_KEYS));
        bindings.read("given_total", "i32", Operand::Input(TOTAL));
        bindings.write("lengths", "vec2<u32>", lengths);
        let params = words([batch, 0, 0, 0, 0, q_len])?;
        let shader = Template::new("lengths of keys", SOURCE)
            .params(params.len())
            .with("buffers", bindings.declarations())
            .switch("lengths", true)
            .build();
        self.work.dispatches.push(Dispatch::over(batch, shader, bindings.operands(), params)?);
        Ok(())
    }

    /// Rows by heads: where they are to be read.
    fn rows(&mut self, rows: Rows) -> Result<Operand, Decline> {
        let Sdpa { batch, q_heads, kv_heads, q_len, kv_len, head, .. } = self.sdpa;
        let (heads, each, input, before) = match rows {
            Rows::Queries => (q_heads, q_len, 0, 0),
            Rows::Keys => (kv_heads, kv_len, 1, q_heads),
            Rows::Values => (kv_heads, kv_len, 2, q_heads + kv_heads),
        };
        let elements = batch.saturating_mul(heads).saturating_mul(each).saturating_mul(head);
        let all_heads = if self.packed { q_heads + 2 * kv_heads } else { heads };
        let source = if self.packed { 0 } else { input };
        let first = if self.packed { before * head } else { 0 };
        let rotary = self.op.rotary && rows != Rows::Values;
        let (table_rows, half) = match rotary {
            true => (self.lowering.shape(COS)?[0], self.lowering.shape(COS)?[1]),
            false => (0, 0),
        };
        let params = words([
            elements,
            each,
            head,
            heads,
            self.cached,
            q_len,
            all_heads * head,
            first,
            half,
            table_rows,
        ])?;
        let element = self.lowering.float(0)?;
        let written = match rows {
            Rows::Queries => self.scratch(elements, size_of::<f32>()),
            _ if self.lowering.wants(input) => Operand::Output(input),
            _ => self.scratch(elements, storage::element_bytes(self.lowering.dtype(0)?)),
        };
        let to = if rows == Rows::Queries { "f32" } else { element };
        let mut bindings = Bindings::default();
        bindings.read("lengths", "vec2<u32>", Operand::ReadScratch(0));
        bindings.read("new_rows", element, Operand::Input(source));
        let past = rows != Rows::Queries && self.lowering.has(PAST_KEY);
        if past {
            let place = PAST_KEY + usize::from(rows == Rows::Values);
            bindings.read("past_rows", self.lowering.float(place)?, Operand::Input(place));
        }
        let positions = rotary && self.lowering.has(POSITIONS);
        if rotary {
            bindings.read("cosines", self.lowering.float(COS)?, Operand::Input(COS));
            bindings.read("sines", self.lowering.float(SIN)?, Operand::Input(SIN));
        }
        if positions {
            bindings.read("positions", "vec2<u32>", Operand::Input(POSITIONS));
        }
        bindings.write("all_rows", to, written.clone());
        let shader = Template::new("rows of keys", SOURCE)
            .params(params.len())
            .with("buffers", bindings.declarations())
            .with("element", to)
            .switch("queries", rows == Rows::Queries)
            .switch("past", past)
            .switch("rotary", rotary)
            .switch("positions", positions)
            .switch("interleaved", self.op.rotary_interleaved)
            .build();
        self.work.dispatches.push(Dispatch::over(elements, shader, bindings.operands(), params)?);
        Ok(match written {
            Operand::Scratch(place) => Operand::ReadScratch(place),
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_within, random};
    use inferrum_backend::testing::Case;
    use inferrum_ops::sdpa::Reach;
    use inferrum_tensor::Tensor;

    const CLOSE: Tolerance = Tolerance { relative: 5e-5, absolute: 3e-5 };

    fn op(q_heads: usize, kv_heads: usize) -> GroupQueryAttention {
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
        fn check(&self, op: GroupQueryAttention, rest: &[Option<Tensor>]) {
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
            inputs.extend([
                cache(4),
                cache(5),
                Some(Tensor::vector(last)),
                Some(Tensor::vector(vec![total])),
            ]);
            inputs.extend(rest.iter().cloned());
            let given: Vec<_> =
                inputs.into_iter().enumerate().map(|(i, x)| x.map(|tensor| (tensor, i == TOTAL))).collect();
            // With the caches as outputs and without.
            let outputs = if batch == 1 { 1 } else { 3 };
            let rotary = op.rotary;
            let op = GroupQueryAttention { outputs, ..op };
            // Keys of float16 are rounded on their way into the cache, before they are attended.
            let half = Tolerance { relative: 2e-3, absolute: if rotary { 3e-2 } else { 0.0 } };
            agree_within(&Case::new(op, given, outputs), CLOSE, half);
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

    #[test]
    fn prompts_and_tokens_after_caches() {
        for call in calls() {
            call.check(op(4, 2), &[]);
            call.check(op(3, 3), &[]);
        }
    }

    #[test]
    fn rotated_with_and_without_positions() {
        for call in calls() {
            for rotary_interleaved in [false, true] {
                for (half, given) in [(call.extents[3] / 2, false), (2, true)] {
                    let op = GroupQueryAttention { rotary: true, rotary_interleaved, ..op(4, 2) };
                    let angle = |i: usize| (i / half) as f32 * 0.3 / (i % half + 1) as f32;
                    let table = |of: fn(f32) -> f32| {
                        let values = (0..100 * half).map(|i| of(angle(i))).collect();
                        Some(Tensor::from_vec([100, half], values).unwrap())
                    };
                    let [batch, new, ..] = call.extents;
                    let positions: Vec<i64> = (0..batch * new).map(|i| (i as i64 * 7) % 100).collect();
                    let positions = Tensor::from_vec([batch, new], positions).unwrap();
                    call.check(op, &[table(f32::cos), table(f32::sin), given.then_some(positions)]);
                }
            }
        }
    }

    #[test]
    fn windows_caps_sinks_and_masks() {
        for call in calls() {
            let [batch, new, ..] = call.extents;
            let total = call.keys.iter().copied().max().unwrap_or(0) as usize;
            let window = Reach { left: Some(2), right: Some(0) };
            call.check(
                GroupQueryAttention { reach: window, softcap: 3.0, scale: Some(0.4), ..op(4, 2) },
                &[],
            );
            call.check(GroupQueryAttention { smooth_softmax: true, ..op(4, 2) }, &[]);
            let none = || vec![None, None, None];
            let sinks = [none(), vec![None, Some(random(&[4], 8))]].concat();
            call.check(op(4, 2), &sinks);
            let added = [none(), vec![Some(random(&[batch, 1, new, total], 9))]].concat();
            call.check(GroupQueryAttention { reach: Reach::default(), ..op(4, 2) }, &added);
        }
    }
}
