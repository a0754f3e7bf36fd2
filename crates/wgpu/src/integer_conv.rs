//! Convolution of planar images of 8-bit integers, exact, with what is done to its sums.

use inferrum_backend::Decline;
use inferrum_ops::conv::Conv;

use crate::bindings::Bindings;
use crate::conv::{DIRECT_LOOPS, FEW_FILTERS, is_pointwise};
use crate::integers::{Layout, Zeros, flip};
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, word};
use crate::product::Product;
use crate::requantize::{Epilogue, QUANTIZED};
use crate::shader::{FUNCTIONS, Template};
use crate::storage;
use crate::tile::Integers;
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
    let values = vec![
        ("flip_a", flip(w)?.to_string()),
        ("flip_b", flip(x)?.to_string()),
        ("zeros", zeros),
        ("epilogue", epilogue.text),
    ];
    if direct {
        let template = Template::new("integer conv direct", DIRECT)
            .including(FUNCTIONS)
            .including(QUANTIZED)
            .including(DIRECT_LOOPS)
            .params(params.len())
            .with("buffers", bindings.declarations());
        let shader =
            values.into_iter().fold(template, |template, (name, value)| template.with(name, value)).build();
        let dispatch = Dispatch::over(elements, shader, bindings.operands(), params)?;
        return Ok(Lowered::one("integer conv direct", dispatch));
    }
    let switches = [("packed", packed), ("known_sums", known_sums), ("pointwise", is_pointwise(window))];
    let switches: Vec<&str> = switches.into_iter().filter_map(|(name, on)| on.then_some(name)).collect();
    let (along_a, along_b) = (!x_zeros.vanish() && !packed, !w_zeros.vanish());
    Product {
        name: "integer conv",
        source: TILED,
        included: vec![QUANTIZED],
        // The image is the right operand, and never packed.
        integers: Some(Integers { along_a, along_b, packed: false }),
        block: None,
        factors: None,
        kind: format!("{w} {x} {}", switches.join(" ")),
        batches: geometry.batch * groups,
        m: filters,
        n: pixels,
        k: depth.div_ceil(4),
        loads: bindings,
        stores: Bindings::default(),
        params,
        values,
        switches,
    }
    .lower(lowering)
}
