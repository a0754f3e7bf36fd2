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
    for step in 0..steps.geometry.steps {
        let mut bindings = steps.bindings(step, true)?;
        bindings.write("c", "f32", Operand::Scratch(OWN));
        if peepholes {
            bindings.read("peepholes", lowering.float(PEEPHOLES)?, Operand::Input(PEEPHOLES));
        }
        let shader = steps
            .template("lstm", SOURCE, true)?
            .with("buffers", bindings.declarations())
            .switch("peepholes", peepholes)
            .switch("input_forget", op.input_forget)
            .build();
        steps.step(step, shader, &bindings)?;
    }
    steps.finish("lstm")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random};
    use inferrum_ops::fused_activation::FusedActivation;
    use inferrum_ops::recurrent::{Direction, Recurrence};
    use inferrum_tensor::Tensor;

    const CLOSE: Tolerance = Tolerance { relative: 2e-5, absolute: 2e-5 };

    /// Which optional inputs are given, one bit each: biases, lengths, states, peepholes.
    fn check(op: LSTM, [steps, batch, input, hidden]: [usize; 4], given: usize) {
        let directions = op.recurrence.direction.count();
        let small = |shape: &[usize], seed: u64| {
            let values: Vec<f32> =
                random(shape, seed).as_slice::<f32>().unwrap().iter().map(|x| x / 4.0).collect();
            Tensor::from_vec(shape, values).unwrap()
        };
        let first = op.recurrence.batch_first;
        let x = if first { [batch, steps, input] } else { [steps, batch, input] };
        let state = if first { [batch, directions, hidden] } else { [directions, batch, hidden] };
        let optional =
            |bit: usize, tensor: Tensor, constant: bool| (given & bit > 0).then_some((tensor, constant));
        let lengths = (0..batch).map(|i| (i * 2 % (steps + 1)) as i32).collect();
        let inputs = [
            Some((small(&x, 1), false)),
            Some((small(&[directions, 4 * hidden, input], 2), true)),
            Some((small(&[directions, 4 * hidden, hidden], 3), true)),
            optional(1, small(&[directions, 8 * hidden], 4), true),
            optional(2, Tensor::vector(lengths), false),
            optional(4, small(&state, 5), false),
            optional(4, small(&state, 6), false),
            optional(8, small(&[directions, 3 * hidden], 7), true),
        ];
        let outputs = op.recurrence.outputs;
        agree_with(op, &inputs, outputs, CLOSE);
    }

    fn op(direction: Direction, batch_first: bool) -> LSTM {
        use FusedActivation::{Sigmoid, Tanh};
        let activations = vec![vec![Sigmoid, Tanh, Tanh]; direction.count()];
        let recurrence =
            Recurrence { direction, hidden_size: None, activations, clip: None, batch_first, outputs: 3 };
        LSTM { recurrence, input_forget: false }
    }

    #[test]
    fn every_direction_layout_and_optional_input() {
        for direction in [Direction::Forward, Direction::Reverse, Direction::Bidirectional] {
            for batch_first in [false, true] {
                for given in [0, 1, 3, 7, 15] {
                    check(op(direction, batch_first), [4, 3, 7, 17], given);
                }
                check(op(direction, batch_first), [1, 1, 1, 1], 7);
            }
        }
    }

    #[test]
    fn other_activations_clips_and_coupled_gates() {
        let mut coupled = op(Direction::Bidirectional, false);
        coupled.input_forget = true;
        coupled.recurrence.clip = Some(0.3);
        let hard = FusedActivation::HardSigmoid { alpha: 0.2, beta: 0.5 };
        coupled.recurrence.activations[1] = vec![hard, FusedActivation::Relu, FusedActivation::Softsign];
        check(coupled, [3, 2, 5, 19], 15);
    }
}
