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
    for step in 0..steps.geometry.steps {
        let bindings = steps.bindings(step, true)?;
        let shader = steps.template("rnn", SOURCE, true)?.with("buffers", bindings.declarations()).build();
        steps.step(step, shader, &bindings)?;
    }
    steps.finish("rnn")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random};
    use inferrum_ops::fused_activation::FusedActivation;
    use inferrum_ops::recurrent::{Direction, Recurrence};
    use inferrum_tensor::Tensor;

    #[test]
    fn both_directions_and_layouts() {
        let [steps, batch, input, hidden] = [4usize, 3, 7, 17];
        for batch_first in [false, true] {
            for given in [false, true] {
                let recurrence = Recurrence {
                    direction: Direction::Bidirectional,
                    hidden_size: None,
                    activations: vec![vec![FusedActivation::Tanh], vec![FusedActivation::Relu]],
                    clip: None,
                    batch_first,
                    outputs: 2,
                };
                let small = |shape: &[usize], seed: u64| {
                    let values = random(shape, seed).to_f64().unwrap();
                    let values: Vec<f32> = values.iter().map(|x| *x as f32 / 8.0).collect();
                    Tensor::from_vec(shape, values).unwrap()
                };
                let x = if batch_first { [batch, steps, input] } else { [steps, batch, input] };
                let state = if batch_first { [batch, 2, hidden] } else { [2, batch, hidden] };
                let optional = |tensor: Tensor| given.then_some((tensor, false));
                let inputs = [
                    Some((small(&x, 1), false)),
                    Some((small(&[2, hidden, input], 2), true)),
                    Some((small(&[2, hidden, hidden], 3), true)),
                    optional(small(&[2, 2 * hidden], 4)),
                    optional(Tensor::vector(vec![4i32, 0, 2])),
                    optional(small(&state, 5)),
                ];
                agree_with(RNN { recurrence }, &inputs, 2, Tolerance { relative: 2e-5, absolute: 2e-5 });
            }
        }
    }
}
