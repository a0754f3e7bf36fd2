//! Convolution of one channel by each filter, of images of one or two axes.

use inferrum_backend::Decline;
use inferrum_ops::conv::ConvGeometry;

use crate::division::divisor;
use crate::epilogue::Epilogue;
use crate::images::axes;
use crate::kernel::{Kernel, Lowered, Lowering, Operand, word};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/conv_depthwise.cu");

/// Taps up to which they are written out.
const MOST_TAPS: usize = 64;
/// Pixels that a thread holds at most.
const MOST_PIXELS: usize = 128;

/// Whether [`lower`] takes a convolution.
pub(crate) fn is_depthwise(geometry: &ConvGeometry) -> bool {
    let window = &geometry.window;
    geometry.in_channels == 1
        && matches!(window.input.len(), 1 | 2)
        && (1..=MOST_TAPS).contains(&window.taps())
        && rows(geometry).is_some()
}

/// Outputs below each other that a thread computes, so that it does not hold too many pixels.
fn rows(geometry: &ConvGeometry) -> Option<usize> {
    let window = &geometry.window;
    let axes = |extents| axes(extents, 1).ok();
    let ([_, output, _], [_, kernel, width]) = (axes(&window.output)?, axes(&window.kernel)?);
    let ([_, stride, _], [_, dilation, _]) = (axes(&window.strides)?, axes(&window.dilations)?);
    let fits = |&rows: &usize| {
        let held = (rows - 1).saturating_mul(stride).saturating_add((kernel - 1).saturating_mul(dilation));
        (rows == 1 || output >= rows) && held.saturating_add(1).saturating_mul(width) <= MOST_PIXELS
    };
    [4, 2, 1].into_iter().find(fits)
}

/// The kernel.
///
/// # Errors
/// More elements than the kernel counts.
pub(crate) fn lower(
    geometry: &ConvGeometry,
    epilogue: &Epilogue,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    let window = &geometry.window;
    let [_, height, width] = axes(&window.output, 1)?;
    let [_, in_rows, in_width] = axes(&window.input, 1)?;
    let ([_, kernel_h, kernel_w], [_, stride_h, stride_w]) =
        (axes(&window.kernel, 1)?, axes(&window.strides, 1)?);
    let ([_, dilation_h, dilation_w], [_, pad_h, pad_w]) =
        (axes(&window.dilations, 1)?, axes(&window.pads_begin, 0)?);
    let at_once = rows(geometry).ok_or_else(|| Decline("a window that is too large".into()))?;
    let bands = height.div_ceil(at_once);
    let maps = geometry.groups * geometry.out_channels;
    let count = [geometry.batch, maps, bands, width].into_iter().fold(1, usize::saturating_mul);
    let elements = [lowering.shape(0)?.elements(), lowering.output_shape(0)?.elements()];
    for elements in elements {
        word(elements.saturating_add(4))?;
    }
    let mut words = vec![word(count)?];
    for number in [width, bands, maps, geometry.out_channels] {
        words.extend(divisor(number)?);
    }
    for number in [height, in_rows, in_width, stride_w, dilation_w, pad_h, pad_w] {
        words.push(word(number)?);
    }
    let template = Template::new("conv_depthwise", SOURCE)
        .define("BLOCK_M", 1)
        .define("BLOCK_N", 1)
        .define("X_T", lowering.float(0)?)
        .define("W_T", lowering.float(1)?)
        .define("KERNEL_H", kernel_h)
        .define("KERNEL_W", kernel_w)
        .define("ROWS", at_once)
        .define("STRIDE", stride_h)
        .define("DILATION", dilation_h)
        .switch("ALONE", geometry.out_channels == 1);
    let source = epilogue.fill(1, template, lowering)?.build();
    let mut operands = vec![Operand::Input(0), Operand::Input(1), Operand::words(&words)];
    operands.extend(epilogue.operands()?);
    Ok(Lowered::one("conv depthwise", Kernel::over(count, source, &operands)?))
}
