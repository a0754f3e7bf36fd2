//! `GRU` of f32 with constant weights.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_ops::gru::GRU;

use crate::gemm::PackedB;
use crate::kernel::{Lowered, Lowering};
use crate::recurrent::{self, Cell, Gate, Step, clipped, multiply, packed};
use crate::simd::{Kernel, Simd};

const GATES: usize = 3;

struct GruCell {
    weights: Vec<Weights>,
    activations: Vec<[Gate; 2]>,
    linear_before_reset: bool,
    clip: Option<f32>,
}

/// Recurrence weights of a direction.
struct Weights {
    /// Of the update and reset gate; of all gates if the reset comes after the product.
    gates: Arc<PackedB>,
    /// Of the candidate.
    candidate: Arc<PackedB>,
    /// What is added to the candidate's product before the reset gate scales it.
    candidate_bias: Vec<f32>,
}

pub(crate) fn lower(op: &GRU, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let recurrence = &op.recurrence;
    let parts = recurrent::parts::<GruCell>(recurrence, lowering)?;
    let hidden = parts.geometry.hidden;
    let linear = op.linear_before_reset;
    let mut weights = Vec::new();
    let mut biases = Vec::new();
    for (direction, [w, r]) in parts.biases.iter().enumerate() {
        let start = direction * GATES * hidden * hidden;
        let gates = packed(lowering, 2, start, if linear { GATES } else { 2 } * hidden, hidden)?;
        let candidate = if linear {
            Arc::clone(&gates)
        } else {
            packed(lowering, 2, start + 2 * hidden * hidden, hidden, hidden)?
        };
        weights.push(Weights { gates, candidate, candidate_bias: r[2 * hidden..].to_vec() });
        let early = if linear { 2 * hidden } else { GATES * hidden };
        biases.push(w.iter().enumerate().map(|(i, w)| w + if i < early { r[i] } else { 0.0 }).collect());
    }
    let gates = |of_direction: &Vec<_>| match of_direction[..] {
        [f, g] => Ok([Gate::of(f), Gate::of(g)]),
        _ => Err(Decline("not two activations".into())),
    };
    let activations = recurrence.activations.iter().map(gates).collect::<Result<_, _>>()?;
    let cell = GruCell { weights, activations, linear_before_reset: linear, clip: recurrence.clip };
    recurrent::lower(cell, recurrence, &parts, biases, lowering)
}

impl Cell for GruCell {
    const NAME: &'static str = "gru";
    const GATES: usize = GATES;
    const STATES: [Option<usize>; 2] = [Some(5), None];

    fn step(&self, step: &mut Step<'_>) {
        let (hidden, columns) = (step.hidden, GATES * step.hidden);
        let weights = &self.weights[step.direction];
        let first = if self.linear_before_reset { columns } else { 2 * hidden };
        multiply(step.threads, step.h, hidden, &weights.gates, step.products, first, columns);
        step.isa.dispatch(Gates { cell: self, step });
        if !self.linear_before_reset {
            let (reset, candidates) = (&step.spare[..step.h.len()], &mut step.products[2 * hidden..]);
            multiply(step.threads, reset, hidden, &weights.candidate, candidates, hidden, columns);
        }
        step.isa.dispatch(States { cell: self, step });
    }
}

/// The update and reset gates, in place of their products; and the state scaled by the reset gate, as `spare`.
struct Gates<'a, 'b> {
    cell: &'a GruCell,
    step: &'a mut Step<'b>,
}

impl Kernel for Gates<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gates { cell, step } = self;
        let (hidden, columns) = (step.hidden, GATES * step.hidden);
        let [f, _] = cell.activations[step.direction];
        if !cell.linear_before_reset {
            // Sequences that are over still take part in the product.
            step.spare.fill(0.0);
        }
        for (sequence, at) in step.rows.each() {
            let x = &step.from_input[step.rows.row(sequence, at) * columns..][..2 * hidden];
            let gates = &mut step.products[sequence * columns..][..2 * hidden];
            crate::simd::zip_in_place(
                s,
                gates,
                x,
                #[inline(always)]
                |r, x| f.apply(s, clipped(s, s.add(r, x), cell.clip)),
            );
            if !cell.linear_before_reset {
                let h = &step.h[sequence * hidden..][..hidden];
                let out = &mut step.spare[sequence * hidden..][..hidden];
                crate::simd::zip(
                    s,
                    &gates[hidden..],
                    h,
                    out,
                    #[inline(always)]
                    |r, h| s.mul(r, h),
                );
            }
        }
    }
}

/// The new states, from gates and the candidate's product.
struct States<'a, 'b> {
    cell: &'a GruCell,
    step: &'a mut Step<'b>,
}

impl Kernel for States<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let States { cell, step } = self;
        let (hidden, columns) = (step.hidden, GATES * step.hidden);
        let [_, g] = cell.activations[step.direction];
        let bias = &cell.weights[step.direction].candidate_bias;
        for (sequence, at) in step.rows.each() {
            let x = &step.from_input[step.rows.row(sequence, at) * columns..][2 * hidden..columns];
            let row = &step.products[sequence * columns..][..columns];
            let h = &mut step.h[sequence * hidden..][..hidden];
            for start in (0..hidden).step_by(S::LANES) {
                let place = start..hidden.min(start + S::LANES);
                let part = |gate: usize| s.load_partial(&row[gate * hidden..][place.clone()]);
                let product = if cell.linear_before_reset {
                    s.mul(part(1), s.add(part(2), s.load_partial(&bias[place.clone()])))
                } else {
                    part(2)
                };
                let candidate = s.add(s.load_partial(&x[place.clone()]), product);
                let candidate = g.apply(s, clipped(s, candidate, cell.clip));
                let old = s.load_partial(&h[place.clone()]);
                let new = s.mul_add(part(0), s.sub(old, candidate), candidate);
                s.store_partial(&mut h[place.clone()], new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::gru;

    const CLOSE: Tolerance = Tolerance { relative: 1e-5, absolute: 1e-5 };

    #[test]
    fn every_direction_layout_and_optional_input() {
        agree_on(gru::directions_layouts_and_optional_inputs(), CLOSE);
    }
}
