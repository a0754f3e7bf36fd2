//! `LSTM` of f32, a dispatch for each step.

use inferrum_backend::Decline;
use inferrum_ops::lstm::LSTM;

use crate::kernel::{Lowered, Lowering, Operand};
use crate::recurrent::{OWN, Steps};

const SOURCE: &str = include_str!("../../../shaders/lstm.wgsl");

const STATE: usize = 5;
const CELL: usize = 6;
const PEEPHOLES: usize = 7;
const GATES: usize = 4;

pub(crate) fn lower(op: &LSTM, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let mut steps = Steps::new(&op.recurrence, lowering, GATES, GATES)?;
    steps.begin(STATE)?;
    steps.begin_own(CELL)?;
    let peepholes = lowering.has(PEEPHOLES);
    let mut turns = steps.bindings(true)?;
    for bindings in &mut turns {
        bindings.write("c", "f32", Operand::Scratch(OWN));
        if peepholes {
            bindings.read("peepholes", lowering.float(PEEPHOLES)?, Operand::Input(PEEPHOLES));
        }
    }
    let shader = steps
        .template("lstm", SOURCE, true)?
        .with("buffers", turns[0].declarations())
        .switch("peepholes", peepholes)
        .switch("input_forget", op.input_forget)
        .build();
    for step in 0..steps.geometry.steps {
        steps.step(step, &shader, &turns)?;
    }
    steps.finish("lstm")
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::lstm;

    const CLOSE: Tolerance = Tolerance { relative: 2e-5, absolute: 2e-5 };

    #[test]
    fn every_direction_layout_and_optional_input() {
        agree_on(lstm::directions_layouts_and_optional_inputs(), CLOSE);
    }

    #[test]
    fn other_activations_clips_and_coupled_gates() {
        agree_on(lstm::activations_clips_and_coupled_gates(), CLOSE);
    }
}
