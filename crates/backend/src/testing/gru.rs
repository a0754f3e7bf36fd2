//! `GRU`.

use inferrum_ops::fused_activation::FusedActivation::{Relu, Sigmoid, Softsign, Tanh};
use inferrum_ops::gru::GRU;
use inferrum_ops::recurrent::{Direction, Recurrence};

use super::Case;
use super::recurrent::{directions, inputs, recurrence};

fn case(recurrence: Recurrence, linear_before_reset: bool, sizes: [usize; 4], optional: usize) -> Case {
    let inputs = inputs(&recurrence, 3, sizes, optional);
    Case::new(GRU { recurrence, linear_before_reset }, inputs, 2)
}

/// Every direction, layout, place of the reset and optional input; other activations with a clip.
pub fn directions_layouts_and_optional_inputs() -> Vec<Case> {
    let mut cases = Vec::new();
    for linear in [false, true] {
        for kind in directions() {
            let own = || recurrence(kind, &[Sigmoid, Tanh], 2);
            cases.extend((0..8).map(|optional| case(own(), linear, [5, 3, 7, 17], optional)));
            cases.push(case(own(), linear, [1, 1, 1, 1], 7));
        }
        let mut other = recurrence((Direction::Forward, false), &[Softsign, Relu], 2);
        other.clip = Some(0.4);
        cases.push(case(other, linear, [4, 2, 5, 40], 7));
    }
    cases
}
