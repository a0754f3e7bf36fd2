//! The launches of an attention in a form.

use inferrum_backend::Decline;
use inferrum_backend::attention::{Blind, Masking, strides};
use inferrum_ops::sdpa::{Reach, Sdpa};

use super::forms::{Choice, FEW_THREADS, Kind, Question, rounded};
use super::{Rows, Sinks, Sources};
use crate::kernel::{Kernel, Lowering, Operand, Work, word, words};
use crate::source::Template;

const COMMON: &str = include_str!("../../../../kernels/attention.cuh");
const ASYNC: &str = include_str!("../../../../kernels/async.cuh");
const TILE: &str = include_str!("../../../../kernels/attention_tile.cu");
const MMA: &str = include_str!("../../../../kernels/mma.cuh");
const TENSOR: &str = include_str!("../../../../kernels/attention_tensor.cu");
const FEW: &str = include_str!("../../../../kernels/attention_decode.cu");
const JOIN: &str = include_str!("../../../../kernels/attention_join.cu");

/// Keys to one side of a query that it sees, where that is not bounded.
const UNBOUNDED: usize = i32::MAX as usize / 2;

/// Adds the launches that attend.
///
/// # Errors
/// More elements than an index counts.
pub(super) fn add(sources: &Sources, work: &mut Work, lowering: &Lowering<'_>) -> Result<(), Decline> {
    let Sdpa { batch, q_heads, q_len, kv_len, head, v_head, .. } = sources.sdpa;
    let rows = batch.saturating_mul(q_heads).saturating_mul(q_len);
    if rows == 0 || v_head == 0 || !lowering.wants(0) {
        return Ok(());
    }
    for (rows, len) in [(&sources.q, q_len), (&sources.k, kv_len), (&sources.v, kv_len)] {
        let ends =
            rows.strides.iter().zip([batch, q_heads, len]).map(|(step, count)| step.saturating_mul(count));
        word(ends.fold(rows.start, usize::saturating_add))?;
    }
    word(rows.saturating_mul(v_head))?;
    let question = question(sources, lowering);
    let choice = question.choose().ok_or_else(|| {
        Decline(format!("heads of {head} and {v_head} elements are wider than the kernels take"))
    })?;
    work.name = format!("{}, {}", work.name, choice.form.name);
    let parameters = Operand::words(&parameters(sources, &choice)?);
    let element = lowering.output_float(0)?;
    let parts = (choice.splits > 1).then(|| {
        let parts = rows.saturating_mul(choice.splits);
        work.scratch.extend([parts.saturating_mul(8), parts.saturating_mul(v_head).saturating_mul(4)]);
        [Operand::Scratch(work.scratch.len() - 2), Operand::Scratch(work.scratch.len() - 1)]
    });
    let [sums, totals] = parts.clone().unwrap_or([Operand::Nothing, Operand::Nothing]);
    let sink = match sources.sinks {
        Some(Sinks::Input(input)) => Operand::Input(input),
        _ => Operand::Nothing,
    };
    let operands = [
        sources.q.operand.clone(),
        sources.k.operand.clone(),
        sources.v.operand.clone(),
        sources.mask.map_or(Operand::Nothing, |mask| Operand::Input(mask.input)),
        sources.lengths.clone().unwrap_or(Operand::Nothing),
        sink,
        Operand::Output(0),
        sums.clone(),
        totals.clone(),
        parameters.clone(),
    ];
    let (entry, text, threads) = match choice.form.kind {
        Kind::Tile { rows, each } => ("attention_tile", TILE, rows / each[0] * 16),
        Kind::Tensor { warps, .. } => ("attention_tensor", TENSOR, warps * 32),
        Kind::Few { .. } => ("attention_decode", FEW, FEW_THREADS),
    };
    let template = template(entry, text, sources, lowering)?.define("Y", element);
    let source = shaped(template, sources, &question, &choice).build();
    let blocks = question.blocks(choice.form).saturating_mul(choice.splits);
    let shared = word(question.shared(choice.form))?;
    work.kernels.push(Kernel { shared, ..Kernel::blocks(blocks, threads, source, &operands)? });
    if choice.splits > 1 {
        let count = rows.saturating_mul(v_head);
        let source = template_of_join(sources, lowering)?.define("Y", element).build();
        let operands = [sums, totals, Operand::Output(0), Operand::word(count)?, parameters];
        work.kernels.push(Kernel::over(count, source, &operands)?);
    }
    Ok(())
}

fn question<'a>(sources: &'a Sources, lowering: &'a Lowering<'_>) -> Question<'a> {
    let Sources { sdpa, q, k, v, .. } = sources;
    let wide = |rows: &Rows, width: usize| {
        let side = 16 / bytes(rows);
        width.is_multiple_of(side)
            && rows.start.is_multiple_of(side)
            && rows.strides.iter().all(|step| step.is_multiple_of(side))
    };
    Question {
        sdpa,
        abilities: lowering.abilities,
        element: (q.element == k.element && k.element == v.element).then_some(q.element),
        bytes: [bytes(k), bytes(v)],
        wide: wide(q, sdpa.head) && wide(k, sdpa.head) && wide(v, sdpa.v_head),
    }
}

/// Bytes of an element.
fn bytes(rows: &Rows) -> usize {
    if rows.element == "float" { 4 } else { 2 }
}

/// A kernel's source with what does not depend on its form.
fn template(
    entry: &'static str,
    text: &'static str,
    sources: &Sources,
    lowering: &Lowering<'_>,
) -> Result<Template, Decline> {
    let mask = sources.mask.as_ref();
    let masking = mask.map(|mask| mask.masking);
    let mask_element = match (mask, masking) {
        (Some(mask), Some(Masking::Added)) => lowering.float(mask.input)?,
        (_, Some(Masking::Kept(_))) => "i32",
        _ => "u8",
    };
    let sinks = match sources.sinks {
        None => 0,
        Some(Sinks::Zero) => 1,
        Some(Sinks::Input(input)) if lowering.float(input)? == sources.q.element => 2,
        Some(Sinks::Input(_)) => return Err(Decline("scores of sinks of another type than queries".into())),
    };
    let mask = match masking {
        None => 0,
        Some(Masking::Added) => 1,
        Some(Masking::Truths(_)) => 2,
        Some(Masking::Kept(_)) => 3,
    };
    Ok(Template::new(entry, text)
        .including(ASYNC)
        .including(COMMON)
        .define("Q", sources.q.element)
        .define("K", sources.k.element)
        .define("V", sources.v.element)
        .define("M", mask_element)
        .define("SINKS", sinks)
        .switch("SOFTCAP", sources.sdpa.softcap != 0.0)
        .switch("REACH", reach(sources) != Reach::default())
        .define("MASK", mask))
}

/// The kernel that joins parts depends on little.
fn template_of_join(sources: &Sources, lowering: &Lowering<'_>) -> Result<Template, Decline> {
    Ok(template("attention_join", JOIN, sources, lowering)?.define("EXP", "expf"))
}

/// What a form is made for.
fn shaped(template: Template, sources: &Sources, question: &Question<'_>, choice: &Choice) -> Template {
    // Whether columns of the mask can be read by twos.
    let pairs = sources.mask.is_some_and(|mask| {
        !mask.constant && mask.columns % 2 == 0 && mask.strides.iter().all(|step| step % 2 == 0)
    });
    let template = template.switch("VECTORS", question.wide);
    match choice.form.kind {
        Kind::Tile { rows, each } => template
            .define("EXP", "expf")
            .define("ROWS", format!("{rows}u"))
            .define("ROWS_OF_A_THREAD", format!("{}u", each[0]))
            .define("KEYS_OF_A_THREAD", format!("{}u", each[1]))
            .define("HEAD", format!("{}u", rounded(question.sdpa.head)))
            .define("V_HEAD", format!("{}u", rounded(question.sdpa.v_head))),
        Kind::Tensor { warps, packed } => template
            .define("WARPS", format!("{warps}u"))
            .including(MMA)
            .define("EXP", "__expf")
            .switch("PACKED", packed)
            .switch("MASK_PAIRS", pairs)
            .define("HEAD", format!("{}u", rounded(question.sdpa.head)))
            .define("V_HEAD", format!("{}u", rounded(question.sdpa.v_head))),
        Kind::Few { rows } => {
            let [k, v] = question.pieces();
            template
                .define("EXP", "expf")
                .define("ROWS", format!("{rows}u"))
                .define("K_LANES", format!("{}u", k.lanes))
                .define("K_CHUNKS", format!("{}u", k.chunks))
                .define("V_LANES", format!("{}u", v.lanes))
                .define("V_CHUNKS", format!("{}u", v.chunks))
        }
    }
}

/// The reach, or none if it hides nothing.
fn reach(sources: &Sources) -> Reach {
    let Sdpa { q_len, kv_len, reach, .. } = sources.sdpa;
    if sources.lengths.is_some() {
        return reach;
    }
    let last = sources.first_place.saturating_add(q_len).saturating_sub(1);
    Reach {
        left: reach.left.filter(|&left| last > left),
        right: reach
            .right
            .filter(|&right| sources.first_place.saturating_add(right) < kv_len.saturating_sub(1)),
    }
}

/// The struct `Attention` of attention.cuh.
fn parameters(sources: &Sources, choice: &Choice) -> Result<Vec<u32>, Decline> {
    let Sdpa { batch, q_heads, kv_heads, q_len, kv_len, head, v_head, .. } = sources.sdpa;
    let group = q_heads.checked_div(kv_heads).unwrap_or(1).max(1);
    let mut parameters = words([batch, q_heads, q_len, kv_len, head, v_head, group])?;
    parameters.extend([sources.sdpa.scale as f32, sources.sdpa.softcap as f32].map(f32::to_bits));
    let y = strides(sources.output, [batch, q_heads, q_len, v_head]);
    let mask = sources.mask.as_ref();
    for of in
        [sources.q.strides, sources.k.strides, sources.v.strides, y, mask.map_or([0; 3], |mask| mask.strides)]
    {
        parameters.extend(words(of)?);
    }
    let fill = match mask.map(|mask| mask.masking) {
        Some(Masking::Truths(fill) | Masking::Kept(fill)) => fill,
        _ => 0.0,
    };
    parameters.extend(words([sources.q.start, sources.k.start, sources.v.start])?);
    let constant = mask.is_some_and(|mask| mask.constant);
    let columns = mask.map_or(0, |mask| if constant { i32::MAX as usize } else { mask.columns });
    parameters.extend(words([columns, usize::from(!constant)])?);
    parameters.push(fill.to_bits());
    let blind = if sources.blind == Blind::Nan && kv_len > 0 { f32::NAN } else { 0.0 };
    parameters.extend([blind.to_bits(), u32::from(sources.blind == Blind::Zero)]);
    parameters.push(word(sources.first_place)?);
    let reach = reach(sources);
    for keys in [reach.left, reach.right] {
        parameters.push(word(keys.unwrap_or(UNBOUNDED).min(UNBOUNDED))?);
    }
    parameters.extend(words([choice.splits, choice.keys_of_split])?);
    Ok(parameters)
}
