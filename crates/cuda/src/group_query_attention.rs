//! `GroupQueryAttention` over a cache of floats: lengths, queries, keys and values in one launch, then the attention.

use inferrum_backend::Decline;
use inferrum_backend::attention::{Blind, Mask};
use inferrum_ops::fused::attention::Layout;
use inferrum_ops::group_query_attention::GroupQueryAttention;
use inferrum_ops::sdpa::Sdpa;

use crate::attention::{Rows, Sinks, Sources, attend};
use crate::copies::{element_bytes, together};
use crate::kernel::{Kernel, Lowered, Lowering, Operand, Work, words};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/group_query_attention.cu");
const ROTATION: &str = include_str!("../../../kernels/rotation.cuh");

const KEY: usize = 1;
const VALUE: usize = 2;
const PAST_KEY: usize = 3;
const PAST_VALUE: usize = 4;
const LAST_KEYS: usize = 5;
const TOTAL: usize = 6;
const COS: usize = 7;
const SIN: usize = 8;
const POSITIONS: usize = 9;
const ADDED: usize = 10;
const SINKS: usize = 11;

pub(crate) fn lower(op: &GroupQueryAttention, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    if op.key_quantization.is_some() || op.value_quantization.is_some() || op.window_cache {
        return Err(Decline("a quantised cache, or one that holds a window".into()));
    }
    if lowering.wants(3) || (SINKS + 1..16).any(|place| lowering.has(place)) {
        return Err(Decline("scores as an output, or normalised queries and keys".into()));
    }
    lowering.require_floats(&[LAST_KEYS, TOTAL, POSITIONS])?;
    let element = lowering.float(0)?;
    for alike in [KEY, VALUE, PAST_KEY, PAST_VALUE, COS, SIN] {
        if lowering.has(alike) && lowering.float(alike)? != element {
            return Err(Decline(format!("input {alike} of another type than queries")));
        }
    }
    let packed = !lowering.has(KEY);
    let cached = if lowering.has(PAST_KEY) { lowering.shape(PAST_KEY)?[2] } else { 0 };
    let kv_len = kv_len(lowering, cached)?;
    let sdpa = op.sdpa(&lowering.shape(0)?, packed, kv_len).map_err(|error| Decline(error.to_string()))?;
    let mut work = Work {
        name: "group query attention".into(),
        kernels: Vec::new(),
        scratch: Vec::new(),
        library: None,
    };
    let prepared = prepare(op, &sdpa, [packed as usize, cached], lowering, &mut work)?;
    let Sdpa { batch, q_heads, kv_heads, q_len, head, .. } = sdpa;
    let [q, k, v, lengths] = prepared;
    let q = match (q, packed) {
        (Operand::Input(_), true) => {
            let width = (q_heads + 2 * kv_heads) * head;
            Rows { operand: Operand::Input(0), element, start: 0, strides: [q_len * width, head, width] }
        }
        (operand @ Operand::Input(_), false) => {
            Rows::of(operand, element, Layout::LengthFirst, [batch, q_heads, q_len, head])
        }
        (operand, _) => Rows::of(operand, element, Layout::HeadsFirst, [batch, q_heads, q_len, head]),
    };
    let cache = |operand| Rows::of(operand, element, Layout::HeadsFirst, [batch, kv_heads, kv_len, head]);
    let sinks = match (lowering.has(SINKS), op.smooth_softmax) {
        (true, _) => Some(Sinks::Input(SINKS)),
        (false, true) => Some(Sinks::Zero),
        (false, false) => None,
    };
    let sources = Sources {
        q,
        k: cache(k),
        v: cache(v),
        output: Layout::LengthFirst,
        first_place: 0,
        lengths: Some(lengths),
        sinks,
        mask: Mask::added(lowering, ADDED, &sdpa)?,
        blind: Blind::ZeroIfHidden,
        sdpa,
    };
    attend(sources, work, lowering)
}

/// Rows of a head of the cache after the call.
fn kv_len(lowering: &Lowering<'_>, cached: usize) -> Result<usize, Decline> {
    if lowering.constant(TOTAL).is_some() {
        let total = lowering.ints(TOTAL)?.first().copied().unwrap_or(0);
        let total = usize::try_from(total).map_err(|_| Decline(format!("a total length of {total}")))?;
        Ok(total.max(cached))
    } else if lowering.wants(1) {
        Ok(lowering.output_shape(1)?[2])
    } else {
        Err(Decline("the total length is not known".into()))
    }
}

/// Queries, keys, values and lengths, and the launch that gives them.
fn prepare(
    op: &GroupQueryAttention,
    sdpa: &Sdpa,
    [packed, cached]: [usize; 2],
    lowering: &Lowering<'_>,
    work: &mut Work,
) -> Result<[Operand; 4], Decline> {
    let Sdpa { batch, q_heads, kv_heads, q_len, kv_len, head, .. } = *sdpa;
    let bytes = element_bytes(lowering.dtype(0)?)?;
    let (table_rows, half) = match op.rotary {
        true => (lowering.shape(COS)?[0], lowering.shape(COS)?[1]),
        false => (0, 0),
    };
    let mut scratch = |bytes: usize| {
        work.scratch.push(bytes);
        Operand::Scratch(work.scratch.len() - 1)
    };
    let queries = batch.saturating_mul(q_heads).saturating_mul(q_len).saturating_mul(head);
    let keys = batch.saturating_mul(kv_heads).saturating_mul(kv_len).saturating_mul(head);
    let lengths = scratch(batch.saturating_mul(8));
    let q = if op.rotary { scratch(queries.saturating_mul(bytes)) } else { Operand::Input(0) };
    let mut cache = |output: usize| match lowering.wants(output) {
        true => Operand::Output(output),
        false => scratch(keys.saturating_mul(bytes)),
    };
    let (k, v) = (cache(1), cache(2));
    let side = together(bytes, |factor| head % factor == 0);
    let [of_queries, of_keys] = [if op.rotary { queries } else { 0 }, keys].map(|elements| elements / side);
    let width = (q_heads + 2 * kv_heads) * head;
    let steps = match packed {
        0 => [q_heads * head, kv_heads * head, 0, 0],
        _ => [width, width, q_heads * head, (q_heads + kv_heads) * head],
    };
    let mut parameters = words([batch, q_heads, kv_heads, q_len, kv_len, cached, head])?;
    parameters.extend(words(steps)?);
    parameters.extend(words([half, table_rows, of_queries, of_keys])?);
    words([queries, keys, batch.saturating_mul(q_len).saturating_mul(width)])?;
    let source = Template::new("group_query_attention", SOURCE)
        .including(ROTATION)
        .define("X", lowering.float(0)?)
        .define("SIDE", format!("{side}u"))
        .switch("ROTARY", op.rotary)
        .switch("INTERLEAVED", op.rotary_interleaved)
        .build();
    let new = |input: usize| Operand::Input(if packed == 1 { 0 } else { input });
    let places = match (op.rotary, lowering.has(POSITIONS)) {
        (true, true) => Operand::Input(POSITIONS),
        _ => Operand::Nothing,
    };
    let table = |input: usize| if op.rotary { Operand::Input(input) } else { Operand::Nothing };
    let bad_place = match (op.rotary, &places) {
        (false, _) => Operand::Nothing,
        (true, Operand::Nothing) => Operand::Fault(COS),
        (true, _) => Operand::Fault(POSITIONS),
    };
    let operands = [
        Operand::Input(0),
        new(KEY),
        new(VALUE),
        lowering.optional(PAST_KEY),
        lowering.optional(PAST_VALUE),
        Operand::Input(LAST_KEYS),
        Operand::Input(TOTAL),
        table(COS),
        table(SIN),
        places,
        q.clone(),
        k.clone(),
        v.clone(),
        lengths.clone(),
        Operand::Fault(LAST_KEYS),
        bad_place,
        Operand::words(&parameters),
    ];
    let operands = match q {
        // It is not written.
        Operand::Input(_) => {
            let mut operands = operands;
            operands[10] = Operand::Nothing;
            operands
        }
        _ => operands,
    };
    let threads = batch.max(of_keys.saturating_mul(2).saturating_add(of_queries));
    work.kernels.push(Kernel::over(threads, source, &operands)?);
    Ok([q, k, v, lengths])
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_in, random};
    use inferrum_backend::testing::{Case, group_query_attention};
    use inferrum_tensor::{DType, Shape, Tensor};

    /// Keys of 16 bits are rounded on their way into the cache, and weights before they are multiplied.
    fn agree(cases: fn() -> Vec<Case>) {
        agree_in(DType::F32, cases(), Tolerance { relative: 5e-5, absolute: 3e-5 });
        agree_in(DType::F16, cases(), Tolerance { relative: 2e-3, absolute: 3e-2 });
        agree_in(DType::BF16, cases(), Tolerance { relative: 1.6e-2, absolute: 0.25 });
    }

    #[test]
    fn prompts_and_tokens_after_caches() {
        agree(group_query_attention::prompts_and_tokens);
    }

    #[test]
    fn rotated_with_and_without_positions() {
        agree(group_query_attention::rotated);
    }

    #[test]
    fn windows_caps_sinks_and_masks() {
        agree(group_query_attention::windows_caps_sinks_and_masks);
    }

    #[test]
    fn lengths_that_cannot_be_fail_the_run() {
        for bad in [-2, 5, 100] {
            let op = group_query_attention::op(2, 2);
            let rows = |seed| random(&[1, 5, 16], seed);
            let last = Tensor::vector(vec![bad]);
            let mut inputs: Vec<_> = [rows(1), rows(2), rows(3)].map(|rows| Some((rows, false))).into();
            inputs.extend([None, None, Some((last, false)), Some((Tensor::vector(vec![5i32]), true))]);
            let error = crate::testing::fails_with(op, &inputs, &[Shape::from([1, 5, 16])]);
            assert!(error.contains(&bad.to_string()), "{error}");
        }
    }
}
