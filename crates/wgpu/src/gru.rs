//! `GRU` of f32, one or two dispatches for each step.

use inferrum_backend::Decline;
use inferrum_ops::gru::GRU;

use crate::kernel::{Lowered, Lowering, Operand};
use crate::recurrent::{OWN, Steps};

const SOURCE: &str = include_str!("../../../shaders/gru.wgsl");

const BIAS: usize = 3;
const STATE: usize = 5;
const GATES: usize = 3;

pub(crate) fn lower(op: &GRU, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let linear = op.linear_before_reset;
    // What the reset gate scales holds the second bias of its gate.
    let mut steps = Steps::new(&op.recurrence, lowering, GATES, if linear { GATES - 1 } else { GATES })?;
    steps.begin(STATE)?;
    let bias = linear && lowering.has(BIAS);
    let mut resets = steps.bindings(false)?;
    resets.iter_mut().for_each(|bindings| bindings.write("scaled", "f32", Operand::Scratch(OWN)));
    let reset = steps.template("gru reset", SOURCE, false)?;
    let reset = reset.with("buffers", resets[0].declarations()).switch("reset", true).build();
    let mut turns = steps.bindings(true)?;
    for bindings in &mut turns {
        if !linear {
            bindings.read("scaled", "f32", Operand::ReadScratch(OWN));
        }
        if bias {
            bindings.read("bias", lowering.float(BIAS)?, Operand::Input(BIAS));
        }
    }
    let shader = steps
        .template("gru", SOURCE, true)?
        .with("buffers", turns[0].declarations())
        .switch("linear", linear)
        .switch("bias", bias)
        .build();
    for step in 0..steps.geometry.steps {
        if !linear {
            steps.step(step, &reset, &resets)?;
        }
        steps.step(step, &shader, &turns)?;
    }
    steps.finish("gru")
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::gru;

    const CLOSE: Tolerance = Tolerance { relative: 2e-5, absolute: 2e-5 };

    #[test]
    fn every_direction_layout_and_optional_input() {
        agree_on(gru::directions_layouts_and_optional_inputs(), CLOSE);
    }
}
