//! `GridSample` of images of up to three axes: floats, or any stored type where the nearest element is taken.

use inferrum_backend::Decline;
use inferrum_ops::grid_sample::{GridSample, Mode, Padding};

use crate::copies::{copy_type, element_bytes};
use crate::kernel::{Kernel, Lowered, Lowering, Operand, c_type, words};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/grid_sample.cu");

/// Spatial axes at most.
const MOST_AXES: usize = 3;

pub(crate) fn lower(op: &GridSample, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (image, dtype) = (lowering.shape(0)?, lowering.dtype(0)?);
    let [batch, channels, ref dims @ ..] = image[..] else { return Err(Decline("no image".into())) };
    if dims.len() > MOST_AXES || dims.contains(&0) {
        return Err(Decline(format!("an image of {} spatial axes, or none of its elements", dims.len())));
    }
    // Elements are told apart by float32.
    if dims.iter().any(|&extent| extent > 1 << 24) {
        return Err(Decline(format!("an axis of {image}")));
    }
    let elements = lowering.output_shape(0)?.elements();
    let places = elements.checked_div(batch * channels).unwrap_or(0);
    let mut images = words([elements, places, channels, dims.iter().product()])?;
    images.extend(words(dims.iter().copied())?);
    words([image.elements(), lowering.shape(1)?.elements()])?;
    let (mode, taps) = match op.mode {
        Mode::Nearest => ("NEAREST", 1usize),
        Mode::Linear => ("LINEAR", 2),
        Mode::Cubic => ("CUBIC", 4),
    };
    let padding = match op.padding {
        Padding::Zeros => "ZEROS",
        Padding::Border => "BORDER",
        Padding::Reflection => "REFLECTION",
    };
    // The nearest element is only moved.
    let (x, number) = match op.mode {
        Mode::Nearest if c_type(dtype).is_some() => {
            let moved = if element_bytes(dtype)? == 8 { "u64" } else { copy_type(element_bytes(dtype)?) };
            (moved, moved)
        }
        _ => (lowering.float(0)?, "float"),
    };
    let source = Template::new("grid_sample", SOURCE)
        .define("X", x)
        .define("NUMBER", number)
        .define("GRID", lowering.float(1)?)
        .define("AXES", dims.len())
        .define("TAPS", format!("{taps}u"))
        .define("ALL_TAPS", format!("{}u", taps.pow(dims.len() as u32)))
        .define("MODE", mode)
        .define("PADDING", padding)
        .switch("ALIGN_CORNERS", op.align_corners)
        .build();
    let operands = [Operand::Input(0), Operand::Input(1), Operand::Output(0), Operand::words(&images)];
    Ok(Lowered::one("grid sample", Kernel::over(elements, source, &operands)?))
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
