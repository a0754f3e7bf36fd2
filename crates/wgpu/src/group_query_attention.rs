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
    use crate::testing::{Tolerance, agree_within};
    use inferrum_backend::testing::{Case, group_query_attention};

    const CLOSE: Tolerance = Tolerance { relative: 5e-5, absolute: 3e-5 };

    /// Keys of float16 are rounded on their way into the cache, before they are attended.
    fn agree(cases: Vec<Case>, absolute: f64) {
        cases.iter().for_each(|case| agree_within(case, CLOSE, Tolerance { relative: 2e-3, absolute }));
    }

    #[test]
    fn prompts_and_tokens_after_caches() {
        agree(group_query_attention::prompts_and_tokens(), 0.0);
    }

    #[test]
    fn rotated_with_and_without_positions() {
        agree(group_query_attention::rotated(), 3e-2);
    }

    #[test]
    fn windows_caps_sinks_and_masks() {
        agree(group_query_attention::windows_caps_sinks_and_masks(), 0.0);
    }
}
