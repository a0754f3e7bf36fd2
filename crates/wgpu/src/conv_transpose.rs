//! Transposed convolution of planar images and of volumes: each output element gathers what reaches it.

use inferrum_backend::Decline;
use inferrum_ops::conv_transpose::ConvTranspose;

use crate::bindings::Bindings;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, words};
use crate::shader::Template;
use crate::window::{axes, window_words};

const SOURCE: &str = include_str!("../../../shaders/conv_transpose.wgsl");

const BIAS: usize = 2;

pub(crate) fn lower(op: &ConvTranspose, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_floats(&[])?;
    let (x, w) = (lowering.shape(0)?, lowering.shape(1)?);
    let geometry = op.geometry(&x, &w).map_err(|error| Decline(error.to_string()))?;
    let window = &geometry.window;
    let elements = lowering.output_shape(0)?.elements();
    let mut params = words([elements, window.input_elements()])?;
    params.extend(window_words(window, 3)?);
    params.extend(&axes(&window.output, 1, 3)?[..1]);
    params.extend(words([geometry.in_channels, geometry.out_channels, geometry.groups])?);
    let mut bindings = Bindings::default();
    bindings.read("x", lowering.float(0)?, Operand::Input(0));
    bindings.read("weights", lowering.float(1)?, Operand::Input(1));
    let bias = lowering.has(BIAS);
    if bias {
        bindings.read("bias", lowering.float(BIAS)?, Operand::Input(BIAS));
    }
    bindings.write("y", lowering.output_float(0)?, Operand::Output(0));
    let shader = Template::new("conv transpose", SOURCE)
        .params(params.len())
        .with("buffers", bindings.declarations())
        .switch("bias", bias)
        .build();
    Ok(Lowered::one("conv transpose", Dispatch::over(elements, shader, bindings.operands(), params)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random, windows};
    use inferrum_ops::window::{Extents, WindowSpec};

    #[test]
    fn windows_of_every_kind() {
        for (x, w, group, stride, dilation, pads, extra) in [
            (&[2usize, 3, 5, 4][..], &[3usize, 4, 3, 2][..], 1, 2, 1, [0, 1], 0),
            (&[1, 4, 5, 4], &[4, 3, 2, 2], 2, 2, 1, [0, 0], 1),
            (&[1, 6, 7], &[6, 1, 4], 6, 3, 1, [1, 1], 2),
            (&[1, 2, 4, 5], &[2, 3, 3, 3], 1, 1, 2, [2, 1], 0),
            (&[1, 17, 3, 3], &[17, 5, 1, 1], 1, 3, 1, [0, 0], 0),
            (&[0, 3, 4], &[3, 2, 2], 1, 1, 1, [0, 0], 0),
            (&[2, 4, 3, 4, 2], &[4, 3, 2, 3, 2], 2, 2, 1, [1, 0], 1),
            (&[1, 3, 2, 3, 3], &[3, 2, 2, 1, 2], 1, 1, 2, [0, 1], 0),
        ] {
            let all = |n: usize| Extents::from_elem(n, x.len() - 2);
            // The kernel is that of the weights.
            let spec = windows(&w[2..], stride, dilation, pads);
            let window = WindowSpec { kernel: Extents::new(), ..spec };
            let op =
                ConvTranspose { group, window, output_padding: all(extra), output_shape: Extents::new() };
            let inputs = [random(x, 1), random(w, 2), random(&[group * w[1]], 3)];
            let close = Tolerance { relative: 1e-5, absolute: 1e-4 };
            agree(op.clone(), &inputs, close);
            agree(op, &inputs[..2], close);
        }
    }
}
