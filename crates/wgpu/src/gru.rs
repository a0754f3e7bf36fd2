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
    for step in 0..steps.geometry.steps {
        if !linear {
            let mut bindings = steps.bindings(step, false)?;
            bindings.write("scaled", "f32", Operand::Scratch(OWN));
            let template = steps.template("gru reset", SOURCE, false)?;
            let shader = template.with("buffers", bindings.declarations()).switch("reset", true).build();
            steps.step(step, shader, &bindings)?;
        }
        let mut bindings = steps.bindings(step, true)?;
        if !linear {
            bindings.read("scaled", "f32", Operand::ReadScratch(OWN));
        }
        if bias {
            bindings.read("bias", lowering.float(BIAS)?, Operand::Input(BIAS));
        }
        let shader = steps
            .template("gru", SOURCE, true)?
            .with("buffers", bindings.declarations())
            .switch("linear", linear)
            .switch("bias", bias)
            .build();
        steps.step(step, shader, &bindings)?;
    }
    steps.finish("gru")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random};
    use inferrum_ops::fused_activation::FusedActivation;
    use inferrum_ops::recurrent::{Direction, Recurrence};
    use inferrum_tensor::Tensor;

    /// Which optional inputs are given, one bit each: biases, lengths, state.
    fn check(op: GRU, [steps, batch, input, hidden]: [usize; 4], given: usize) {
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
            Some((small(&[directions, 3 * hidden, input], 2), true)),
            Some((small(&[directions, 3 * hidden, hidden], 3), true)),
            optional(1, small(&[directions, 6 * hidden], 4), true),
            optional(2, Tensor::vector(lengths), false),
            optional(4, small(&state, 5), false),
        ];
        agree_with(op, &inputs, 2, Tolerance { relative: 2e-5, absolute: 2e-5 });
    }

    #[test]
    fn every_direction_layout_and_place_of_the_reset() {
        use FusedActivation::{Sigmoid, Tanh};
        for direction in [Direction::Forward, Direction::Reverse, Direction::Bidirectional] {
            for batch_first in [false, true] {
                for linear_before_reset in [false, true] {
                    for (sizes, given) in [([4, 3, 7, 17], 0), ([4, 3, 7, 17], 7), ([1, 1, 1, 1], 1)] {
                        let recurrence = Recurrence {
                            direction,
                            hidden_size: None,
                            activations: vec![vec![Sigmoid, Tanh]; direction.count()],
                            clip: (given == 7).then_some(0.4),
                            batch_first,
                            outputs: 2,
                        };
                        check(GRU { recurrence, linear_before_reset }, sizes, given);
                    }
                }
            }
        }
    }
}
