//! Convolution of one channel by each filter, of images of one or two axes.

use inferrum_backend::Decline;
use inferrum_ops::conv::ConvGeometry;

use crate::division::divisor;
use crate::epilogue::Epilogue;
use crate::kernel::{Kernel, Lowered, Lowering, Operand, word};
use crate::source::Template;
use crate::images::axes;

const SOURCE: &str = include_str!("../../../kernels/conv_depthwise.cu");

/// Taps up to which they are written out.
const MOST_TAPS: usize = 64;
/// Pixels of a row that a thread holds at most.
const MOST_PIXELS: usize = 64;

/// Whether [`lower`] takes a convolution.
pub(crate) fn is_depthwise(geometry: &ConvGeometry) -> bool {
    let window = &geometry.window;
    let (Some(&kernel), Some(&stride), Some(&dilation)) =
        (window.kernel.last(), window.strides.last(), window.dilations.last())
    else {
        return false;
    };
    let pixels = stride.saturating_mul(3).saturating_add(kernel.saturating_sub(1).saturating_mul(dilation));
    geometry.in_channels == 1
        && matches!(window.input.len(), 1 | 2)
        && (1..=MOST_TAPS).contains(&window.taps())
        && pixels < MOST_PIXELS
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
    let [_, rows, width] = axes(&window.output, 1)?;
    let [_, in_rows, in_width] = axes(&window.input, 1)?;
    let ([_, kernel_h, kernel_w], [_, stride_h, stride_w]) = (axes(&window.kernel, 1)?, axes(&window.strides, 1)?);
    let ([_, dilation_h, dilation_w], [_, pad_h, pad_w]) = (axes(&window.dilations, 1)?, axes(&window.pads_begin, 0)?);
    let fours = width.div_ceil(4);
    let maps = geometry.groups * geometry.out_channels;
    let count = [geometry.batch, maps, rows, fours].into_iter().fold(1, usize::saturating_mul);
    let elements = [lowering.shape(0)?.elements(), lowering.output_shape(0)?.elements()];
    for elements in elements {
        word(elements.saturating_add(4))?;
    }
    let mut words = vec![word(count)?];
    for number in [fours, rows, maps, geometry.out_channels] {
        words.extend(divisor(number)?);
    }
    for number in [width, in_rows, in_width, stride_h, dilation_h, pad_h, pad_w] {
        words.push(word(number)?);
    }
    let template = Template::new("conv_depthwise", SOURCE)
        .define("BLOCK_M", 1)
        .define("BLOCK_N", 1)
        .define("X_T", lowering.float(0)?)
        .define("W_T", lowering.float(1)?)
        .define("KERNEL_H", kernel_h)
        .define("KERNEL_W", kernel_w)
        .define("STRIDE", stride_w)
        .define("DILATION", dilation_w)
        .switch("ALONE", geometry.out_channels == 1);
    let source = epilogue.fill(1, template, lowering)?.build();
    let mut operands = vec![Operand::Input(0), Operand::Input(1), Operand::words(&words)];
    operands.extend(epilogue.operands()?);
    Ok(Lowered::one("conv depthwise", Kernel::over(count, source, &operands)?))
}
