//! `RNN` of f32, a dispatch for each step.

use inferrum_backend::Decline;
use inferrum_ops::rnn::RNN;

use crate::kernel::{Lowered, Lowering};
use crate::recurrent::Steps;

const SOURCE: &str = include_str!("../../../shaders/rnn.wgsl");

const STATE: usize = 5;

pub(crate) fn lower(op: &RNN, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let mut steps = Steps::new(&op.recurrence, lowering, 1, 1)?;
    steps.begin(STATE)?;
    let turns = steps.bindings(true)?;
    let shader = steps.template("rnn", SOURCE, true)?.with("buffers", turns[0].declarations()).build();
    for step in 0..steps.geometry.steps {
        steps.step(step, &shader, &turns)?;
    }
    steps.finish("rnn")
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::rnn;

    const CLOSE: Tolerance = Tolerance { relative: 2e-5, absolute: 2e-5 };

    #[test]
    fn every_direction_layout_and_optional_input() {
        agree_on(rnn::directions_layouts_and_optional_inputs(), CLOSE);
    }
}
