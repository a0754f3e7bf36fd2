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
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::rnn;

    const CLOSE: Tolerance = Tolerance { relative: 1e-5, absolute: 1e-5 };

    #[test]
    fn every_direction_layout_and_optional_input() {
        agree_on(rnn::directions_layouts_and_optional_inputs(), CLOSE);
    }
}
