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
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::lstm;

    const CLOSE: Tolerance = Tolerance { relative: 1e-5, absolute: 1e-5 };

    #[test]
    fn every_direction_layout_and_optional_input() {
        agree_on(lstm::directions_layouts_and_optional_inputs(), CLOSE);
    }

    #[test]
    fn other_activations_clips_and_coupled_gates() {
        agree_on(lstm::activations_clips_and_coupled_gates(), CLOSE);
    }
}
