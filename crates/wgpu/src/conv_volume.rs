//! Convolution of volumes of f32: as a matrix product by tiles.

use inferrum_backend::Decline;
use inferrum_ops::conv::ConvGeometry;
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_ops::window::Window;

use crate::bindings::Bindings;
use crate::epilogue::activate;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, word};
use crate::shader::{FUNCTIONS, Template};
use crate::tile::Tile;

const SOURCE: &str = include_str!("../../../shaders/conv_volume.wgsl");

const BIAS: usize = 2;
const RESIDUAL: usize = 3;

/// The kernel of a convolution of three spatial axes, of float32.
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
    let mut bindings = Bindings::default();
    bindings.read("x", "f32", Operand::Input(0));
    bindings.read("w", "f32", Operand::Input(1));
    let (bias, residual) = (lowering.has(BIAS), lowering.has(RESIDUAL));
    if bias {
        bindings.read("bias", "f32", Operand::Input(BIAS));
    }
    if residual {
        bindings.read("residual", "f32", Operand::Input(RESIDUAL));
    }
    bindings.write("output", "f32", Operand::Output(0));
    let template = Template::new("conv volume", SOURCE)
        .including(FUNCTIONS)
        .params(params.len())
        .with("buffers", bindings.declarations())
        .with("activation", activate(activation)?)
        .switch("bias", bias)
        .switch("residual", residual);
    let tile = Tile::of(geometry.out_channels, elements);
    let shader = tile.fill(template, false, false).build();
    let (columns, rows) = tile.groups(geometry.out_channels, elements);
    let groups = [word(columns)?, word(rows)?, word(geometry.batch * geometry.groups)?];
    if groups.iter().any(|&count| count > 65535) {
        return Err(Decline("more elements, or more volumes, than the kernel takes".into()));
    }
    let operands = bindings.operands().iter().cloned().collect();
    let name = format!("conv volume {}x{}", tile.m, tile.n);
    Ok(Lowered::one(name, Dispatch { shader, operands, params, groups }))
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
