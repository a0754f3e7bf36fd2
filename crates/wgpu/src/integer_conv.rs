//! Convolution of planar images of 8-bit integers, exact, with what is done to its sums.

use inferrum_backend::Decline;
use inferrum_ops::conv::Conv;

use crate::bindings::Bindings;
use crate::conv::{DIRECT_LOOPS, FEW_FILTERS, is_pointwise};
use crate::integer_tile::{IntegerTile, Sums};
use crate::integers::{Layout, Zeros, flip};
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, word};
use crate::requantize::{Epilogue, QUANTIZED};
use crate::shader::{FUNCTIONS, Template};
use crate::storage;
use crate::window::window_words;

const TILED: &str = include_str!("../../../shaders/integer_conv.wgsl");
const DIRECT: &str = include_str!("../../../shaders/integer_conv_direct.wgsl");

/// Places of a convolution's inputs; the image is the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IntegerConv {
    pub(crate) x_zero: usize,
    pub(crate) w: usize,
    pub(crate) w_zero: usize,
}

/// The kernel. `epilogue` adds the buffers that it reads; `of_filter` is there the filter of a sum.
///
/// # Errors
/// A type or shape that it does not take.
pub(crate) fn lower_integer_conv(
    conv: &Conv,
    places: IntegerConv,
    lowering: &Lowering<'_>,
    epilogue: impl FnOnce(&mut Bindings) -> Result<Epilogue, Decline>,
) -> Result<Lowered, Decline> {
    let (x, w) = (lowering.dtype(0)?, lowering.dtype(places.w)?);
    let geometry = conv
        .geometry(&lowering.shape(0)?, &lowering.shape(places.w)?)
        .map_err(|error| Decline(error.to_string()))?;
    let window = &geometry.window;
    if !matches!(window.input.len(), 1 | 2) {
        return Err(Decline(format!("an image of {} spatial axes", window.input.len())));
    }
    let pixels: usize = window.output.iter().product();
    let (filters, groups) = (geometry.out_channels, geometry.groups);
    let depth = geometry.in_channels * window.kernel.iter().product::<usize>();
    let mut params = vec![word(filters)?, word(pixels)?, word(depth)?, word(groups)?];
    params.extend(window_words(window, 2)?);
    let elements = lowering.output_shape(0)?.elements();
    params.push(word(elements)?);

    let direct = filters < FEW_FILTERS || depth == 0;
    let packed = !direct && lowering.constant(places.w).is_some();
    let x_zeros = Zeros::of(lowering, x, places.x_zero, &[])?;
    let w_zeros = Zeros::of(lowering, w, places.w_zero, &[filters * groups])?;
    let (lines, depth_stride) = (filters * groups, 1);
    let layout = Layout { lines, depth, line_stride: depth, depth_stride, lines_inner: false };
    let known_sums = packed && !x_zeros.vanish();
    let mut bindings = Bindings::default();
    let element = |dtype| storage::words(dtype).ok_or_else(|| Decline(format!("integers of {dtype}")));
    bindings.read("x", element(x)?, Operand::Input(0));
    if packed {
        bindings.read("w", "u32", layout.words(places.w, w)?);
    } else {
        bindings.read("w", element(w)?, Operand::Input(places.w));
    }
    if known_sums {
        bindings.read("w_sums", "i32", layout.sums(places.w, w)?);
    }
    let mut zeros = x_zeros.declare("zero_b", &mut bindings)?;
    zeros.push_str(&w_zeros.declare("filter_zero", &mut bindings)?);
    let epilogue = epilogue(&mut bindings)?;
    bindings.write("output", epilogue.element, Operand::Output(0));
    let (name, source) = if direct { ("integer conv direct", DIRECT) } else { ("integer conv", TILED) };
    let template = Template::new(name, source)
        .including(FUNCTIONS)
        .including(QUANTIZED)
        .params(params.len())
        .with("buffers", bindings.declarations())
        .with("flip_a", flip(w)?)
        .with("flip_b", flip(x)?)
        .with("zeros", zeros)
        .with("epilogue", epilogue.text)
        .switch("packed", packed)
        .switch("known_sums", known_sums)
        .switch("pointwise", is_pointwise(window));
    if direct {
        let shader = template.including(DIRECT_LOOPS).build();
        let dispatch = Dispatch::over(elements, shader, bindings.operands(), params)?;
        return Ok(Lowered::one(name, dispatch));
    }
    let tile = IntegerTile::of(filters, pixels, false);
    let sums = Sums { a: !x_zeros.vanish() && !packed, b: !w_zeros.vanish() };
    tile.lower(name, [geometry.batch * groups, filters, pixels], template, sums, &bindings, params)
}
