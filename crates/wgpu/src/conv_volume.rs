//! Convolution of volumes of floats: as a matrix product by tiles.

use inferrum_backend::Decline;
use inferrum_ops::conv::ConvGeometry;
use inferrum_ops::fused_activation::FusedActivation;

use crate::bindings::Bindings;
use crate::filters::Images;
use crate::kernel::{Lowered, Lowering, Operand, word};
use crate::window::window_words;

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
    params.extend(window_words(window, 3)?);
    let mut loads = Bindings::default();
    loads.read("x", lowering.float(0)?, Operand::Input(0));
    let (values, switches) = (Vec::new(), Vec::new());
    let block = None;
    Images { name: "conv volume", source: SOURCE, elements, loads, params, values, switches, block }
        .lower(geometry, activation, lowering)
}
