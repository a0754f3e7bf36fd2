//! `LRN`.

use inferrum_backend::Decline;
use inferrum_ops::lrn::LRN;

use crate::kernel::{Kernel, Lowered, Lowering, Operand};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/lrn.cu");

pub(crate) fn lower(op: &LRN, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    if shape.rank() < 2 || op.size == 0 {
        return Err(Decline(format!("an input of shape {shape}, or no neighbours")));
    }
    let (_, channels, plane) = shape.split_at_axis(1);
    let before = (op.size - 1) / 2;
    let (before, after) = (before.min(channels), (op.size - before).min(channels));
    // Roots cost much less than powers.
    let power = match op.beta {
        0.75 => "sqrtf(x) * sqrtf(sqrtf(x))",
        0.5 => "sqrtf(x)",
        1.0 => "x",
        _ => "powf(x, beta)",
    };
    let source = Template::new("lrn", SOURCE)
        .define("X", lowering.float(0)?)
        .define("Y", lowering.output_float(0)?)
        .define("POWER(x)", power)
        .build();
    let mut operands = vec![Operand::Input(0), Operand::Output(0)];
    for number in [shape.elements(), plane, channels, before, after] {
        operands.push(Operand::word(number)?);
    }
    operands.extend([op.alpha / op.size as f32, op.beta, op.bias].map(Operand::float));
    Ok(Lowered::one("lrn", Kernel::over(shape.elements(), source, &operands)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::lrn;

    #[test]
    fn neighbours_of_every_number() {
        agree_on(lrn::neighbours_of_every_number(), Tolerance { relative: 5e-5, absolute: 1e-5 });
    }
}
