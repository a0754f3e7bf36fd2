//! `RNN`.

use inferrum_ops::fused_activation::FusedActivation::{Relu, Tanh};
use inferrum_ops::rnn::RNN;

use super::Case;
use super::recurrent::{directions, inputs, recurrence};

/// Every direction, layout and optional input.
pub fn directions_layouts_and_optional_inputs() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in directions() {
        for optional in 0..8 {
            let mut recurrence = recurrence(kind, &[Tanh], 2);
            recurrence.clip = (optional == 7).then_some(1.0);
            if let Some(second) = recurrence.activations.get_mut(1) {
                *second = vec![Relu];
            }
            let inputs = inputs(&recurrence, 1, [5, 3, 7, 18], optional);
            cases.push(Case::new(RNN { recurrence }, inputs, 2));
        }
    }
    cases
}
