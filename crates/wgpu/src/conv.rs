//! Convolution of planar images of floats: as a matrix product by tiles, or element by element where a group has few filters.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::Operator;
use inferrum_ops::conv::{Conv, ConvGeometry, FusedConv};
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_ops::window::Window;

use crate::bindings::{Bindings, fours};
use crate::conv_depthwise::{is_depthwise, lower_depthwise};
use crate::conv_volume::lower_volume;
use crate::epilogue::activate;
use crate::filters;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, word};
use crate::shader::{FUNCTIONS, Template};
use crate::window::window_words;

const TILED: &str = include_str!("../../../shaders/conv.wgsl");
const DIRECT: &str = include_str!("../../../shaders/conv_direct.wgsl");

/// The loops of convolutions with an invocation for each output element, for [`Template::including`].
pub(crate) const DIRECT_LOOPS: &str = include_str!("../../../shaders/direct.wgsl");

/// Filters of a group below which tiles are mostly empty.
pub(crate) const FEW_FILTERS: usize = 4;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    let (conv, activation, ordered) = match (any.downcast_ref::<FusedConv>(), any.downcast_ref::<Conv>()) {
        (Some(fused), _) => (&fused.conv, fused.activation, fused.ordered),
        (None, Some(conv)) => (conv, None, false),
        (None, None) => return Err(Decline("another operator".into())),
    };
    lowering.require_floats(&[])?;
    let (x, w) = (lowering.shape(0)?, lowering.shape(1)?);
    let geometry = conv.geometry(&x, &w).map_err(|error| Decline(error.to_string()))?;
    let window = &geometry.window;
    if window.input.len() == 3 {
        return lower_volume(&geometry, activation, lowering);
    }
    if !matches!(window.input.len(), 1 | 2) {
        return Err(Decline(format!("an image of {} spatial axes", window.input.len())));
    }
    let pixels: usize = window.output.iter().product();
    let depth = geometry.in_channels * window.kernel.iter().product::<usize>();
    let mut params = vec![word(geometry.out_channels)?, word(pixels)?, word(depth)?, word(geometry.groups)?];
    params.extend(window_words(window, 2)?);
    let output = lowering.output_shape(0)?;
    params.push(word(output.elements())?);
    if geometry.out_channels < FEW_FILTERS && is_depthwise(&geometry) {
        return lower_depthwise(&geometry, activation, params, lowering);
    }
    if geometry.out_channels < FEW_FILTERS || depth == 0 {
        params.push(word(block(pixels, depth))?);
        return lower_direct(&geometry, activation, params, lowering);
    }
    let pointwise = is_pointwise(window);
    let wide = pointwise && pixels.is_multiple_of(4);
    let mut loads = Bindings::default();
    loads.read("x", &fours(lowering.float(0)?, wide), Operand::Input(0));
    let mut switches = vec![if pointwise { "pointwise" } else { "own_b" }];
    switches.extend(wide.then_some("wide_b"));
    let width = window.kernel.last().copied().unwrap_or(1);
    let taps: usize = window.kernel.iter().product();
    let values = vec![("kernel_width", width.to_string()), ("taps", taps.to_string())];
    let block = ordered.then(|| block(pixels, depth));
    filters::Images { name: "conv", source: TILED, elements: pixels, loads, params, values, switches, block }
        .lower(&geometry, activation, lowering)
}

/// An invocation for each output element.
fn lower_direct(
    geometry: &ConvGeometry,
    activation: Option<FusedActivation>,
    params: Vec<u32>,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    let bindings = filters::by_element(lowering)?;
    let shader = Template::new("conv direct", DIRECT)
        .including(FUNCTIONS)
        .including(DIRECT_LOOPS)
        .params(params.len())
        .with("buffers", bindings.declarations())
        .with("activation", activate(activation)?)
        .switch("alone", geometry.out_channels == 1)
        .switch("bias", lowering.has(filters::BIAS))
        .switch("residual", lowering.has(filters::RESIDUAL))
        .build();
    let elements = lowering.output_shape(0)?.elements();
    Ok(Lowered::one("conv direct", Dispatch::over(elements, shader, bindings.operands(), params)?))
}

/// Length of the blocks in which products are summed: ONNX Runtime's, since a sum of quantised values that falls to the other
/// side of a rounding moves a result by a whole step. (It goes on to 1024 with 16 pixels or fewer.)
fn block(pixels: usize, depth: usize) -> usize {
    let (mut across, mut along) = (128, 128);
    if pixels < depth {
        while across > 16 && across / 2 >= pixels {
            across /= 2;
            along *= 2;
        }
    }
    along.min(512)
}

pub(crate) fn is_pointwise(window: &Window) -> bool {
    let all = |extents: &[usize], value: usize| extents.iter().all(|&extent| extent == value);
    all(&window.kernel, 1)
        && all(&window.strides, 1)
        && all(&window.pads_begin, 0)
        && window.input == window.output
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_on, outputs, random};
    use inferrum_backend::testing::conv;

    const SUMS: Tolerance = Tolerance { relative: 1e-5, absolute: 1e-4 };

    #[test]
    fn windows_of_every_kind() {
        agree_on(conv::windows_of_every_kind(), SUMS);
    }

    #[test]
    fn ordered_sums_are_those_of_the_processor() {
        let (channels, pixels, filters) = (300, 144, 9);
        let (x, w) = (random(&[1, channels, 12, 12], 1), random(&[filters, channels, 1, 1], 2));
        let op = FusedConv {
            ordered: true,
            ..FusedConv::new(conv::conv(&[filters, channels, 1, 1], 1, 1, 1, 0), None)
        };
        let (elements, weights) = (x.as_slice::<f32>().unwrap(), w.as_slice::<f32>().unwrap());
        assert_eq!(block(pixels, channels), 128);
        let sum = |filter: usize, pixel: usize| {
            let depths: Vec<usize> = (0..channels).collect();
            let of_block = |depths: &[usize]| {
                depths.iter().fold(0.0f32, |sum, &depth| {
                    weights[filter * channels + depth].mul_add(elements[depth * pixels + pixel], sum)
                })
            };
            depths.chunks(128).map(of_block).fold(0.0f32, |sum, block| sum + block)
        };
        let want: Vec<f32> = (0..filters * pixels).map(|at| sum(at / pixels, at % pixels)).collect();
        for got in outputs(op, &[Some((x.clone(), false)), Some((w.clone(), true))], &[1, filters, 12, 12]) {
            assert_eq!(got[0].as_slice::<f32>().unwrap(), want);
        }
    }

    #[test]
    fn a_residual_is_added() {
        agree_on(conv::a_residual_is_added(), SUMS);
    }
}
