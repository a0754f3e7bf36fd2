//! Convolution of one channel by each filter, of float images of two axes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use inferrum_backend::Decline;
use inferrum_ops::conv::ConvGeometry;
use inferrum_ops::fused_activation::FusedActivation;

use crate::epilogue::activate;
use crate::filters::{BIAS, RESIDUAL, by_element};
use crate::kernel::{Dispatch, Lowered, Lowering, word};
use crate::shader::{FUNCTIONS, Template};

const SOURCE: &str = include_str!("../../../shaders/conv_depthwise.wgsl");

/// Taps up to which they are written out.
const MOST_TAPS: usize = 64;

/// Whether [`lower_depthwise`] takes a convolution.
pub(crate) fn is_depthwise(geometry: &ConvGeometry) -> bool {
    let taps: usize = geometry.window.kernel.iter().product();
    geometry.in_channels == 1 && geometry.window.input.len() == 2 && (1..=MOST_TAPS).contains(&taps)
}

/// The kernel; `params` are those of a convolution, with the output's elements.
///
/// # Errors
/// More elements than the kernel takes.
pub(crate) fn lower_depthwise(
    geometry: &ConvGeometry,
    activation: Option<FusedActivation>,
    mut params: Vec<u32>,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    let output = lowering.output_shape(0)?;
    let width = geometry.window.output[1];
    let fours = width.div_ceil(4);
    let count = output.elements() / width.max(1) * fours;
    params.extend([word(fours)?, word(count)?]);
    let bindings = by_element(lowering)?;
    let shader = Template::new("conv depthwise", SOURCE)
        .including(FUNCTIONS)
        .params(params.len())
        .with("buffers", bindings.declarations())
        .with("activation", activate(activation)?)
        .with("taps", taps(geometry))
        .switch("bias", lowering.has(BIAS))
        .switch("residual", lowering.has(RESIDUAL))
        .build();
    Ok(Lowered::one("conv depthwise", Dispatch::over(count, shader, bindings.operands(), params)?))
}

/// Statements that add all taps to four neighbouring sums: what they share of a row is read once.
///
/// Products of a filter that is alone in its group are added by four, two and one before they come to the sum: ONNX Runtime's order,
/// under which quantised models were calibrated.
fn taps(geometry: &ConvGeometry) -> String {
    let window = &geometry.window;
    let (height, width) = (window.kernel[0], window.kernel[1]);
    let (stride, dilation) = (window.strides[1], window.dilations[1]);
    let all = height * width;
    let mut text = String::new();
    // Products that are added to the sum at once: how many, and how many of them are there.
    let (mut size, mut held) = (0, 0);
    for kh in 0..height {
        let row = format!("row{kh}");
        let _ = writeln!(text, "    let {row} = top + {kh}u * param(10u);");
        let _ = writeln!(text, "    let start{kh} = image + {row} * param(5u);");
        let places: BTreeSet<usize> =
            (0..width).flat_map(|kw| (0..4).map(move |i| kw * dilation + i * stride)).collect();
        for place in places {
            let _ = writeln!(
                text,
                "    let p{kh}_{place} = pixel(start{kh}, {row} < param(4u), left + {place}u);"
            );
        }
        for kw in 0..width {
            let tap = kh * width + kw;
            let p = [0, 1, 2, 3].map(|i| format!("p{kh}_{}", kw * dilation + i * stride)).join(", ");
            let weight = format!("vec4<f32>(f32(w[first_weight + {tap}u]))");
            if geometry.out_channels > 1 {
                let _ = writeln!(text, "    sums = fma({weight}, vec4<f32>({p}), sums);");
                continue;
            }
            if held == size {
                size = [4, 2, 1].into_iter().find(|&size| size <= all - tap).unwrap_or(1);
                held = 0;
                let _ = writeln!(text, "    var block{tap} = {weight} * vec4<f32>({p});");
            } else {
                let _ = writeln!(text, "    block{} += {weight} * vec4<f32>({p});", tap - held);
            }
            held += 1;
            if held == size {
                let _ = writeln!(text, "    sums += block{};", tap + 1 - held);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::conv;

    #[test]
    fn windows_of_every_kind() {
        agree_on(conv::channels_alone(), Tolerance { relative: 1e-5, absolute: 1e-5 });
    }
}
