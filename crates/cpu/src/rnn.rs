//! `RNN` of f32 with constant weights.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_ops::rnn::RNN;

use crate::gemm::PackedB;
use crate::kernel::{Lowered, Lowering};
use crate::recurrent::{self, Cell, Gate, Step, clipped, multiply, packed};
use crate::simd::{Kernel, Simd};

struct RnnCell {
    weights: Vec<Arc<PackedB>>,
    activations: Vec<Gate>,
    clip: Option<f32>,
}

pub(crate) fn lower(op: &RNN, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let recurrence = &op.recurrence;
    let parts = recurrent::parts::<RnnCell>(recurrence, lowering)?;
    let hidden = parts.geometry.hidden;
    let weights = (0..parts.geometry.directions)
        .map(|direction| packed(lowering, 2, direction * hidden * hidden, hidden, hidden))
        .collect::<Result<_, _>>()?;
    let gate = |of_direction: &Vec<_>| match of_direction[..] {
        [f] => Ok(Gate::of(f)),
        _ => Err(Decline("not one activation".into())),
    };
    let activations = recurrence.activations.iter().map(gate).collect::<Result<_, _>>()?;
    let cell = RnnCell { weights, activations, clip: recurrence.clip };
    let sum = |[w, r]: &[Vec<f32>; 2]| w.iter().zip(r).map(|(w, r)| w + r).collect();
    let biases = parts.biases.iter().map(sum).collect();
    recurrent::lower(cell, recurrence, &parts, biases, lowering)
}

impl Cell for RnnCell {
    const NAME: &'static str = "rnn";
    const GATES: usize = 1;
    const STATES: [Option<usize>; 2] = [Some(5), None];

    fn step(&self, step: &mut Step<'_>) {
        let weights = &self.weights[step.direction];
        multiply(step.threads, step.h, step.hidden, weights, step.products, step.hidden, step.hidden);
        step.isa.dispatch(States { cell: self, step });
    }
}

/// The new states, from the products.
struct States<'a, 'b> {
    cell: &'a RnnCell,
    step: &'a mut Step<'b>,
}

impl Kernel for States<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let States { cell, step } = self;
        let hidden = step.hidden;
        let f = cell.activations[step.direction];
        for (sequence, at) in step.rows.each() {
            let x = &step.from_input[step.rows.row(sequence, at) * hidden..][..hidden];
            let r = &step.products[sequence * hidden..][..hidden];
            let h = &mut step.h[sequence * hidden..][..hidden];
            crate::simd::zip(
                s,
                x,
                r,
                h,
                #[inline(always)]
                |x, r| f.apply(s, clipped(s, s.add(x, r), cell.clip)),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random};
    use inferrum_ops::fused_activation::FusedActivation;
    use inferrum_ops::recurrent::{Direction, Recurrence};
    use inferrum_tensor::Tensor;

    #[test]
    fn every_direction_and_layout() {
        let (steps, batch, input, hidden) = (5, 3, 7, 18);
        for direction in [Direction::Forward, Direction::Reverse, Direction::Bidirectional] {
            for batch_first in [false, true] {
                let directions = direction.count();
                let activations = vec![vec![FusedActivation::Tanh]; directions];
                let recurrence = Recurrence {
                    direction,
                    hidden_size: None,
                    activations,
                    clip: Some(1.0),
                    batch_first,
                    outputs: 2,
                };
                let x = if batch_first { [batch, steps, input] } else { [steps, batch, input] };
                let state =
                    if batch_first { [batch, directions, hidden] } else { [directions, batch, hidden] };
                let inputs = [
                    Some((random(&x, 1), false)),
                    Some((random(&[directions, hidden, input], 2), true)),
                    Some((random(&[directions, hidden, hidden], 3), true)),
                    Some((random(&[directions, 2 * hidden], 4), true)),
                    Some((Tensor::vector(vec![5i32, 0, 3]), false)),
                    Some((random(&state, 5), false)),
                ];
                agree_with(RNN { recurrence }, &inputs, 2, Tolerance { relative: 1e-4, absolute: 1e-4 });
            }
        }
    }
}
