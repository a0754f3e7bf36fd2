//! `GridSample` of images of up to three axes: floats, or any stored type where the nearest element is taken.

use inferrum_backend::Decline;
use inferrum_ops::grid_sample::{GridSample, Mode, Padding};
use inferrum_tensor::DType;

use crate::bindings::Bindings;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, words};
use crate::shader::{FUNCTIONS, Template};
use crate::storage;

const SOURCE: &str = include_str!("../../../shaders/grid_sample.wgsl");

/// Spatial axes at most.
const MOST_AXES: usize = 3;

pub(crate) fn lower(op: &GridSample, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (image, dtype) = (lowering.shape(0)?, lowering.dtype(0)?);
    if op.mode != Mode::Nearest {
        lowering.float(0)?;
    }
    let element = storage::words(dtype).ok_or_else(|| Decline(format!("an image of {dtype}")))?;
    let [batch, channels, ref dims @ ..] = image[..] else { return Err(Decline("no image".into())) };
    if dims.len() > MOST_AXES || dims.contains(&0) {
        return Err(Decline(format!("an image of {} spatial axes, or none of its elements", dims.len())));
    }
    // Elements are told apart by f32, and places by i32.
    if dims.iter().any(|&extent| extent > 1 << 24) {
        return Err(Decline(format!("an axis of {image}")));
    }
    let elements = lowering.output_shape(0)?.elements();
    let places = elements.checked_div(batch * channels).unwrap_or(0);
    let mut params = words([elements, places, channels, dims.iter().product()])?;
    params.extend(words(dims.iter().copied())?);
    let (taps, before) = match op.mode {
        Mode::Nearest => (1usize, 0),
        Mode::Linear => (2, 0),
        Mode::Cubic => (4, 1),
    };
    let mut bindings = Bindings::default();
    bindings.read("x", element, Operand::Input(0));
    bindings.read("grid", lowering.float(1)?, Operand::Input(1));
    bindings.write("y", element, Operand::Output(0));
    let shader = Template::new("grid sample", SOURCE)
        .including(FUNCTIONS)
        .params(params.len())
        .with("buffers", bindings.declarations())
        .with("axes", dims.len())
        .with("taps", taps)
        .with("all_taps", taps.pow(dims.len() as u32))
        .with("before", before)
        .with("element", element)
        .with("type", if dtype == DType::F16 { "f32" } else { element })
        .switch("nearest", op.mode == Mode::Nearest)
        .switch("linear", op.mode == Mode::Linear)
        .switch("cubic", op.mode == Mode::Cubic)
        .switch("border", op.padding == Padding::Border)
        .switch("reflection", op.padding == Padding::Reflection)
        .switch("align_corners", op.align_corners)
        .build();
    Ok(Lowered::one("grid sample", Dispatch::over(elements, shader, bindings.operands(), params)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::grid_sample;

    #[test]
    fn every_mode_and_padding() {
        agree_on(grid_sample::every_mode_and_padding(), Tolerance { relative: 1e-4, absolute: 3e-5 });
    }
}
