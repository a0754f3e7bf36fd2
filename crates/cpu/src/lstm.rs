//! `LSTM` of f32 with constant weights.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_ops::lstm::LSTM;

use crate::gemm::PackedB;
use crate::kernel::{Lowered, Lowering};
use crate::recurrent::{self, Cell, Gate, Step, clipped, multiply, optional_constant, packed};
use crate::simd::{Kernel, Simd};

const GATES: usize = 4;

struct LstmCell {
    weights: Vec<Arc<PackedB>>,
    /// Of each direction: those of the input, output and forget gate.
    peepholes: Option<Vec<f32>>,
    activations: Vec<[Gate; 3]>,
    input_forget: bool,
    clip: Option<f32>,
}

pub(crate) fn lower(op: &LSTM, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let recurrence = &op.recurrence;
    let parts = recurrent::parts::<LstmCell>(recurrence, lowering)?;
    let hidden = parts.geometry.hidden;
    let weights = (0..parts.geometry.directions)
        .map(|direction| packed(lowering, 2, direction * GATES * hidden * hidden, GATES * hidden, hidden))
        .collect::<Result<_, _>>()?;
    let gates = |of_direction: &Vec<_>| match of_direction[..] {
        [f, g, h] => Ok([Gate::of(f), Gate::of(g), Gate::of(h)]),
        _ => Err(Decline("not three activations".into())),
    };
    let cell = LstmCell {
        weights,
        peepholes: optional_constant(lowering, 7)?,
        activations: recurrence.activations.iter().map(gates).collect::<Result<_, _>>()?,
        input_forget: op.input_forget,
        clip: recurrence.clip,
    };
    let sum = |[w, r]: &[Vec<f32>; 2]| w.iter().zip(r).map(|(w, r)| w + r).collect();
    let biases = parts.biases.iter().map(sum).collect();
    recurrent::lower(cell, recurrence, &parts, biases, lowering)
}

impl Cell for LstmCell {
    const NAME: &'static str = "lstm";
    const GATES: usize = GATES;
    const STATES: [Option<usize>; 2] = [Some(5), Some(6)];

    fn step(&self, step: &mut Step<'_>) {
        let columns = GATES * step.hidden;
        let weights = &self.weights[step.direction];
        multiply(step.threads, step.h, step.hidden, weights, step.products, columns, columns);
        step.isa.dispatch(Gates { cell: self, step });
    }
}

/// The gates of a step, from the products.
struct Gates<'a, 'b> {
    cell: &'a LstmCell,
    step: &'a mut Step<'b>,
}

impl Kernel for Gates<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gates { cell, step } = self;
        let hidden = step.hidden;
        let [f, g, out] = cell.activations[step.direction];
        let peepholes = cell.peepholes.as_ref().map(|p| &p[step.direction * 3 * hidden..][..3 * hidden]);
        for (sequence, at) in step.rows.each() {
            let columns = GATES * hidden;
            let x = &step.from_input[step.rows.row(sequence, at) * columns..][..columns];
            let r = &step.products[sequence * columns..][..columns];
            let c = &mut step.c[sequence * hidden..][..hidden];
            let h = &mut step.h[sequence * hidden..][..hidden];
            for start in (0..hidden).step_by(S::LANES) {
                let end = hidden.min(start + S::LANES);
                let sum = |gate: usize| {
                    let place = gate * hidden + start..gate * hidden + end;
                    s.add(s.load_partial(&x[place.clone()]), s.load_partial(&r[place]))
                };
                let seen = |gate: usize, sum: S::F32, c: S::F32| {
                    let peephole =
                        peepholes.map(|p| s.load_partial(&p[gate * hidden + start..gate * hidden + end]));
                    clipped(s, peephole.map_or(sum, |p| s.mul_add(p, c, sum)), cell.clip)
                };
                let old = s.load_partial(&c[start..end]);
                let input = f.apply(s, seen(0, sum(0), old));
                let forget = if cell.input_forget {
                    s.sub(s.splat(1.0), input)
                } else {
                    f.apply(s, seen(2, sum(2), old))
                };
                let candidate = g.apply(s, clipped(s, sum(3), cell.clip));
                let new = s.mul_add(forget, old, s.mul(input, candidate));
                let output = f.apply(s, seen(1, sum(1), new));
                s.store_partial(&mut c[start..end], new);
                s.store_partial(&mut h[start..end], s.mul(output, out.apply(s, new)));
            }
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

    const CLOSE: Tolerance = Tolerance { relative: 1e-5, absolute: 1e-5 };

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
                for given in 0..16 {
                    check(op(direction, batch_first), [5, 3, 7, 17], given);
                }
                check(op(direction, batch_first), [1, 1, 1, 1], 7);
                check(op(direction, batch_first), [3, 2, 40, 64], 5);
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
        check(coupled, [4, 2, 5, 19], 15);
    }
}
