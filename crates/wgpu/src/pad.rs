//! `Pad` by constant pads, in every mode.

use std::fmt::Write as _;

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::pad::{Pad, PadMode};
use inferrum_tensor::DType;

use crate::copies::{copy_type, element_bytes, repeated, together, words_of};
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, word, words};
use crate::shader::Template;

const SOURCE: &str = include_str!("../../../shaders/pad.wgsl");

/// An axis, or several that stay as they are.
#[derive(Clone, Debug)]
struct Axis {
    /// Extents of source and output.
    source: usize,
    output: usize,
    pads: Option<Pads>,
}

/// What happens to an axis.
#[derive(Clone, Debug)]
struct Pads {
    /// New places before the first element.
    before: usize,
    /// Elements taken away before that.
    cut: usize,
    /// Elements that are left.
    left: usize,
}

pub(crate) fn lower(op: &Pad, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let dtype = lowering.dtype(0)?;
    let mut axes = axes(lowering)?;
    let empty =
        axes.iter().any(|axis| axis.source == 0 || axis.pads.as_ref().is_some_and(|pads| pads.left == 0));
    if empty && op.mode != PadMode::Constant {
        return Err(Decline("there is nothing to pad with".into()));
    }
    let element = element_bytes(dtype)?;
    let innermost = axes.last().filter(|axis| axis.pads.is_none()).map_or(1, |axis| axis.output);
    let fill = fill(dtype, lowering)?;
    // What is read of a buffer cannot be put together from parts of words.
    let whole = element >= 4 || fill.is_some();
    let factor = together(element, |factor| whole && innermost.is_multiple_of(factor));
    if let Some(last) = axes.last_mut().filter(|_| factor > 1) {
        (last.source, last.output) = (last.source / factor, last.output / factor);
    }
    let count = lowering.output_shape(0)?.elements() / factor;
    let mut params = vec![word(count)?];
    params.extend(fill.iter().flatten().copied().chain([0; 2]).take(2));
    let text = walk(&axes, op.mode, &mut params)?;

    let mut operands = vec![Operand::Output(0)];
    let mut buffers = String::new();
    let mut bind = |name: &str, input: usize, bytes: usize| {
        operands.push(Operand::Input(input));
        let (binding, ty) = (operands.len(), copy_type(bytes));
        let _ = writeln!(buffers, "@group(0) @binding({binding}) var<storage, read> {name}: array<{ty}>;");
    };
    if !empty {
        bind("input", 0, element * factor);
    }
    let value = if fill.is_some() {
        repeated(1, element, factor)
    } else {
        bind("fill", 2, element);
        format!("T({})", vec!["fill[0]"; factor].join(", "))
    };
    let shader = Template::new("pad", SOURCE)
        .with("type", copy_type(element * factor))
        .with("buffers", buffers)
        .with("axes", text)
        .with("fill", value)
        .switch("data", !empty)
        .switch("edge", op.mode == PadMode::Edge)
        .switch("wrap", op.mode == PadMode::Wrap)
        .switch("reflect", op.mode == PadMode::Reflect)
        .switch("constant", op.mode == PadMode::Constant)
        .params(params.len())
        .build();
    Ok(Lowered::one("pad", Dispatch::over(count, shader, &operands, params)?))
}

/// The axes, neighbours that stay as they are joined.
fn axes(lowering: &Lowering<'_>) -> Result<Vec<Axis>, Decline> {
    let (shape, output) = (lowering.shape(0)?, lowering.output_shape(0)?);
    let listed = lowering.has(3).then(|| lowering.ints(3)).transpose()?;
    let declined = |error: OpError| Decline(error.to_string());
    let pads = Pad::pads(shape.rank(), &lowering.ints(1)?, listed.as_deref()).map_err(declined)?;
    let mut axes: Vec<Axis> = Vec::new();
    for ((&source, &output), (before, after)) in shape.iter().zip(output.iter()).zip(pads) {
        if let (0, 0, Some(last)) = (before, after, axes.last_mut().filter(|last| last.pads.is_none())) {
            last.source = last.source.saturating_mul(source);
            last.output = last.output.saturating_mul(output);
            continue;
        }
        let cut = |pad: i64| usize::try_from(pad.min(0).unsigned_abs()).unwrap_or(usize::MAX);
        let grown = usize::try_from(before.max(0)).unwrap_or(usize::MAX);
        let left = source.saturating_sub(cut(before)).saturating_sub(cut(after));
        let pads = Pads { before: grown, cut: cut(before).min(source), left };
        axes.push(Axis { source, output, pads: ((before, after) != (0, 0)).then_some(pads) });
    }
    Ok(axes)
}

/// Statements that find `from_`, the element of the source, and whether it is `inside`.
fn walk(axes: &[Axis], mode: PadMode, params: &mut Vec<u32>) -> Result<String, Decline> {
    let mut text = String::new();
    let mut stride = 1usize;
    for axis in axes.iter().rev() {
        let first = params.len();
        params.extend(words([axis.output, stride])?);
        let (at, next) = (format!("rest % param({first}u)"), format!("    rest = rest / param({first}u);"));
        let step = format!("param({}u)", first + 1);
        match &axis.pads {
            None => {
                let _ = writeln!(text, "    from_ += {at} * {step};\n{next}");
            }
            Some(pads) => {
                params.extend(words([pads.before, pads.cut, pads.left])?);
                let number = |place: usize| format!("i32(param({}u))", first + place);
                let (before, cut, left) = (number(2), number(3), number(4));
                let _ = writeln!(text, "    place = source(i32({at}) - {before}, {left});\n{next}");
                if mode == PadMode::Constant {
                    let _ = writeln!(text, "    inside = inside && place >= 0 && place < {left};");
                }
                let _ = writeln!(text, "    from_ += u32(place + {cut}) * {step};");
            }
        }
        stride = stride.saturating_mul(axis.source);
    }
    Ok(text)
}

/// The words of the constant; None where input 2 is read for it.
fn fill(dtype: DType, lowering: &Lowering<'_>) -> Result<Option<Vec<u32>>, Decline> {
    if !lowering.has(2) {
        return Ok(Some(vec![0; 2]));
    }
    let Some(constant) = lowering.constant(2) else {
        let same = lowering.dtype(2)? == dtype;
        return if same { Ok(None) } else { Err(Decline("the constant is of another type".into())) };
    };
    let constant = Pad::constant(dtype, Some(constant)).map_err(|error| Decline(error.to_string()))?;
    constant.map_or_else(|| Ok(vec![0; 2]), |constant| words_of(&constant)).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_on, declined, random_of, stored};
    use inferrum_backend::testing::pad;
    use inferrum_tensor::Tensor;

    #[test]
    fn every_mode_on_every_side() {
        agree_on(pad::every_mode_on_every_side(&stored()), Tolerance::EXACT);
    }

    #[test]
    fn pads_known_only_in_the_run_are_declined() {
        let inputs = [(random_of(DType::F32, &[3], 1), false), (Tensor::vector(vec![0i64, 0]), false)];
        let Some(reason) = declined(Pad { mode: PadMode::Edge }, &inputs) else { return };
        assert!(reason.contains("input 1 is not constant"), "{reason}");
    }
}
