//! `Pad` by constant pads, in every mode.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::pad::{Pad, PadMode};
use inferrum_tensor::{DType, Tensor};

use crate::copies::{copy_type, element_bytes, together};
use crate::driver::Argument;
use crate::kernel::{Kernel, Lowered, Lowering, Operand, word};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/pad.cu");

/// An axis, or several that stay as they are.
#[derive(Clone, Copy, Debug)]
struct Axis {
    /// Extents of source and output.
    source: usize,
    output: usize,
    /// New places before the first element, elements taken away before that, elements that are left.
    before: usize,
    cut: usize,
    left: usize,
    /// Whether nothing happens to it.
    stays: bool,
}

pub(crate) fn lower(op: &Pad, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let dtype = lowering.dtype(0)?;
    let mut axes = axes(lowering)?;
    let empty = axes.iter().any(|axis| axis.source == 0 || axis.left == 0);
    if empty && op.mode != PadMode::Constant {
        return Err(Decline("there is nothing to pad with".into()));
    }
    let element = element_bytes(dtype)?;
    let innermost = axes.last().filter(|axis| axis.stays).map_or(1, |axis| axis.output);
    let fill = fill(dtype, lowering)?;
    let factor = together(element, |factor| fill.is_some() && innermost.is_multiple_of(factor));
    if let Some(last) = axes.last_mut().filter(|_| factor > 1) {
        for extent in [&mut last.source, &mut last.output, &mut last.left] {
            *extent /= factor;
        }
    }
    let count = lowering.output_shape(0)?.elements() / factor;
    let moved = copy_type(element * factor);
    let mode = match op.mode {
        PadMode::Constant => "CONSTANT",
        PadMode::Reflect => "REFLECT",
        PadMode::Edge => "EDGE",
        PadMode::Wrap => "WRAP",
    };
    let source = Template::new("pad", SOURCE)
        .define("T", moved)
        .define("AXES", axes.len())
        .define("MODE", mode)
        .switch("GIVEN", fill.is_none())
        .define("FILL", if fill.is_none() { "const T*" } else { "T" })
        .build();
    let filled = |fill: &Tensor| Operand::Value(Argument::of_bytes(&fill.bytes().repeat(factor)));
    let operands = [
        Operand::Input(0),
        Operand::Output(0),
        fill.as_ref().map_or(Operand::Input(2), filled),
        Operand::word(count)?,
        Operand::words(&walk(&axes)?),
    ];
    Ok(Lowered::one("pad", Kernel::over(count, source, &operands)?))
}

/// The axes, neighbours that stay as they are joined; one at least.
fn axes(lowering: &Lowering<'_>) -> Result<Vec<Axis>, Decline> {
    let (shape, output) = (lowering.shape(0)?, lowering.output_shape(0)?);
    let listed = lowering.has(3).then(|| lowering.ints(3)).transpose()?;
    let declined = |error: OpError| Decline(error.to_string());
    let pads = Pad::pads(shape.rank(), &lowering.ints(1)?, listed.as_deref()).map_err(declined)?;
    let mut axes: Vec<Axis> = Vec::new();
    for ((&source, &output), (before, after)) in shape.iter().zip(output.iter()).zip(pads) {
        let stays = (before, after) == (0, 0);
        if let Some(last) = axes.last_mut().filter(|last| last.stays && stays) {
            for (whole, extent) in
                [(&mut last.source, source), (&mut last.output, output), (&mut last.left, source)]
            {
                *whole = whole.saturating_mul(extent);
            }
            continue;
        }
        let cut = |pad: i64| usize::try_from(pad.min(0).unsigned_abs()).unwrap_or(usize::MAX);
        let grown = usize::try_from(before.max(0)).unwrap_or(usize::MAX);
        let left = source.saturating_sub(cut(before)).saturating_sub(cut(after));
        axes.push(Axis { source, output, before: grown, cut: cut(before).min(source), left, stays });
    }
    if axes.is_empty() {
        axes.push(Axis { source: 1, output: 1, before: 0, cut: 0, left: 1, stays: true });
    }
    Ok(axes)
}

/// The struct `Axes` (pad.cu).
fn walk(axes: &[Axis]) -> Result<Vec<u32>, Decline> {
    let (mut words, mut stride) = (Vec::new(), 1usize);
    for axis in axes.iter().rev() {
        // Places are counted from before the first element to behind the last one, and twice as far where they are mirrored.
        word(axis.left.saturating_mul(2))?;
        for number in [axis.output, stride, axis.before, axis.cut, axis.left] {
            words.push(word(number)?);
        }
        stride = stride.saturating_mul(axis.source);
    }
    word(stride)?;
    Ok(words)
}

/// The constant; None where input 2 is read for it.
fn fill(dtype: DType, lowering: &Lowering<'_>) -> Result<Option<Tensor>, Decline> {
    let declined = |error: &dyn std::fmt::Display| Decline(error.to_string());
    let zero = || Tensor::zeros(dtype, [1]).map(Some).map_err(|error| declined(&error));
    if !lowering.has(2) {
        return zero();
    }
    let Some(constant) = lowering.constant(2) else {
        let same = lowering.dtype(2)? == dtype;
        return if same { Ok(None) } else { Err(Decline("the constant is of another type".into())) };
    };
    match Pad::constant(dtype, Some(constant)).map_err(|error| declined(&error))? {
        Some(constant) => Ok(Some(constant)),
        None => zero(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_on, declined, random_of, stored};
    use inferrum_backend::testing::pad;

    #[test]
    fn every_mode_on_every_side() {
        agree_on(pad::every_mode_on_every_side(&stored()), Tolerance::EXACT);
    }

    #[test]
    fn pads_known_only_in_the_run_are_declined() {
        let inputs = [(random_of(DType::F32, &[3], 1), false), (Tensor::vector(vec![0i64, 0]), false)];
        let reason = declined(Pad { mode: PadMode::Edge }, &inputs);
        assert!(reason.contains("input 1 is not constant"), "{reason}");
    }
}
