//! `LSTM`.

use inferrum_ops::fused_activation::FusedActivation::{HardSigmoid, Relu, Sigmoid, Softsign, Tanh};
use inferrum_ops::lstm::LSTM;
use inferrum_ops::recurrent::Direction;

use super::Case;
use super::recurrent::{STATES, directions, inputs, recurrence, small, state};

/// The bit of the peepholes among the optional inputs.
const PEEPHOLES: usize = 8;

fn case(op: LSTM, sizes: [usize; 4], optional: usize) -> Case {
    let [_, batch, _, hidden] = sizes;
    let mut inputs = inputs(&op.recurrence, 4, sizes, optional);
    let cell = small(&state(&op.recurrence, batch, hidden), 6);
    inputs.push((optional & STATES > 0).then_some((cell, false)));
    let peepholes = small(&[op.recurrence.direction.count(), 3 * hidden], 7);
    inputs.push((optional & PEEPHOLES > 0).then_some((peepholes, true)));
    Case::new(op, inputs, 3)
}

/// Every direction, layout and optional input.
pub fn directions_layouts_and_optional_inputs() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in directions() {
        let own = || LSTM { recurrence: recurrence(kind, &[Sigmoid, Tanh, Tanh], 3), input_forget: false };
        cases.extend((0..16).map(|optional| case(own(), [5, 3, 7, 17], optional)));
        cases.push(case(own(), [1, 1, 1, 1], 7));
        cases.push(case(own(), [3, 2, 40, 64], 5));
    }
    cases
}

/// Other activations, clips and coupled gates.
pub fn activations_clips_and_coupled_gates() -> Vec<Case> {
    let mut recurrence = recurrence((Direction::Bidirectional, false), &[Sigmoid, Tanh, Tanh], 3);
    recurrence.clip = Some(0.3);
    recurrence.activations[1] = vec![HardSigmoid { alpha: 0.2, beta: 0.5 }, Relu, Softsign];
    vec![case(LSTM { recurrence, input_forget: true }, [4, 2, 5, 19], 15)]
}
