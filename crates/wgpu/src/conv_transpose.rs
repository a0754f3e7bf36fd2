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
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::conv_transpose;

    #[test]
    fn windows_of_every_kind() {
        agree_on(conv_transpose::windows_of_every_kind(), Tolerance { relative: 1e-5, absolute: 1e-4 });
    }
}
