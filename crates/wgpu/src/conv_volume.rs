//! Convolution of volumes of floats: as a matrix product by tiles.

use inferrum_backend::Decline;
use inferrum_ops::conv::ConvGeometry;
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_ops::window::Window;

use crate::bindings::Bindings;
use crate::filters::Images;
use crate::kernel::{Lowered, Lowering, Operand, word};

const SOURCE: &str = include_str!("../../../shaders/conv_volume.wgsl");

/// The kernel of a convolution of three spatial axes.
///
/// # Errors
/// More elements than the kernel takes.
pub(crate) fn lower_volume(
    geometry: &ConvGeometry,
    activation: Option<FusedActivation>,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    let window = &geometry.window;
    let elements: usize = window.output.iter().product();
    let depth = geometry.in_channels * window.kernel.iter().product::<usize>();
    let mut params =
        vec![word(geometry.out_channels)?, word(elements)?, word(depth)?, word(geometry.groups)?];
    params.extend(volume_words(window)?);
    let mut loads = Bindings::default();
    loads.read("x", lowering.float(0)?, Operand::Input(0));
    let (values, switches) = (Vec::new(), Vec::new());
    let block = None;
    Images { name: "conv volume", source: SOURCE, elements, loads, params, values, switches, block }
        .lower(geometry, activation, lowering)
}

/// Three each: input, kernel, strides, dilations, pads before; then the output's height and width.
///
/// # Errors
/// Another number of axes; a number does not fit a word.
pub(crate) fn volume_words(window: &Window) -> Result<Vec<u32>, Decline> {
    let mut words = Vec::new();
    let of = [&window.input, &window.kernel, &window.strides, &window.dilations, &window.pads_begin];
    for extents in of {
        if extents.len() != 3 {
            return Err(Decline(format!("an image of {} spatial axes", window.input.len())));
        }
        for &extent in extents {
            words.push(word(extent)?);
        }
    }
    for &extent in &window.output[1..] {
        words.push(word(extent)?);
    }
    Ok(words)
}
