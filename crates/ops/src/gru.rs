//! `GRU` (<https://onnx.ai/onnx/operators/onnx__GRU.html>). `linear_before_reset` came with opset 3; what else changed is
//! told in [`crate::recurrent`].

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::recurrent::{Cell, Recurrence, Weights};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("GRU", 6, GRU::parse)];

/// Gated recurrent unit: `z = f(Wz x + Rz h + b)`, `r = f(Wr x + Rr h + b)`, `n = g(Wh x + Rh (r h) + b)`, then
/// `h = (1 - z) n + z h`, step by step. The gates lie in the order z, r, h.
///
/// Inputs (D directions, N sequences): X `[steps, N, inputs]`, W `[D, 3H, inputs]`, R `[D, 3H, H]`; optionally B
/// `[D, 6H]`, steps of each sequence int32 `[N]`, initial h `[D, N, H]`. Outputs: Y `[steps, D, N, H]`, last h
/// `[D, N, H]`. Floats of 16 bits or more.
#[derive(Debug, Clone, PartialEq)]
pub struct GRU {
    /// What the recurrent operators share.
    pub recurrence: Recurrence,
    /// Whether the reset gate scales `Rh h + Rbh` instead of `h`.
    pub linear_before_reset: bool,
}

impl GRU {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let linear_before_reset = def.int_or("linear_before_reset", 0)? != 0;
        Ok(Arc::new(GRU {
            recurrence: Recurrence::parse(def, &["Sigmoid", "Tanh"], 2)?,
            linear_before_reset,
        }))
    }
}

impl Operator for GRU {
    fn key(&self) -> OpKey {
        OpKey::onnx("GRU")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        self.recurrence.infer_floats(inputs, 3, &[5], None)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let geometry = self.recurrence.geometry(inputs.tensor(0)?.shape(), inputs.tensor(2)?.shape())?;
        let weights = Weights::read(&self.recurrence, inputs, &geometry, 3)?;
        let states = vec![self.recurrence.state(inputs, 5, &geometry)?];
        let mut cell = GruCell { op: self, weights };
        self.recurrence.run(inputs, &geometry, &mut cell, states)
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        self.recurrence.flops(inputs, 3)
    }
}

struct GruCell<'a> {
    op: &'a GRU,
    weights: Weights,
}

impl Cell for GruCell<'_> {
    fn project_inputs(&mut self, direction: usize) -> Result<Vec<f64>, OpError> {
        self.weights.project_inputs(direction)
    }

    fn project_states(&mut self, direction: usize, h: &[f64]) -> Result<Vec<f64>, OpError> {
        self.weights.project_states(direction, h)
    }

    fn step(&self, direction: usize, from_input: &[f64], from_state: &[f64], states: &mut [&mut [f64]]) {
        let recurrence = &self.op.recurrence;
        let h = &mut *states[0];
        let hidden = h.len();
        let (wb, rb) = self.weights.biases(direction);
        let activations = &recurrence.activations[direction];
        let (f, g) = (activations[0], activations[1]);
        let gate = |i: usize| f.apply(recurrence.clipped(from_input[i] + from_state[i] + wb[i] + rb[i]));
        // The rows of R of the third gate.
        let r_h = &self.weights.r[(direction * 3 + 2) * hidden * hidden..][..hidden * hidden];
        let reset: Vec<f64> = (hidden..2 * hidden).map(gate).collect();
        let reset_h: Vec<f64> = reset.iter().zip(&*h).map(|(r, h)| r * h).collect();
        for j in 0..hidden {
            let i = 2 * hidden + j;
            let from_state = if self.op.linear_before_reset {
                reset[j] * (from_state[i] + rb[i])
            } else {
                r_h[j * hidden..][..hidden].iter().zip(&reset_h).map(|(r, h)| r * h).sum::<f64>() + rb[i]
            };
            let candidate = g.apply(recurrence.clipped(from_input[i] + wb[i] + from_state));
            let update = gate(j);
            h[j] = (1.0 - update) * candidate + update * h[j];
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{parse_node, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::Tensor;

    /// The operator with weights of 1 and 2, by its formulas.
    fn by_formula(xs: &[f64], linear: bool, biases: [f64; 6]) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let [wz, wr, wh, rz, rr, rh] = biases;
        xs.iter().fold(0.5, |h, x| {
            let z = sigmoid(x + 2.0 * h + wz + rz);
            let r = sigmoid(x + 2.0 * h + wr + rr);
            let inner = if linear { r * (2.0 * h + rh) + wh } else { 2.0 * (r * h) + rh + wh };
            (1.0 - z) * (x + inner).tanh() + z * h
        })
    }

    #[test]
    fn both_places_of_the_reset_gate() {
        let biases = [0.1f32, -0.2, 0.3, 0.4, -0.5, 0.6];
        for linear in [false, true] {
            let attrs =
                [("linear_before_reset", Attr::Int(i64::from(linear))), ("hidden_size", Attr::Int(1))];
            let op = parse_node("", 14, "GRU", &attrs, 2);
            let tensor = |shape: [usize; 3], values: Vec<f32>| Some(Tensor::from_vec(shape, values).unwrap());
            let inputs = [
                tensor([2, 1, 1], vec![0.3, -0.7]),
                tensor([1, 3, 1], vec![1.; 3]),
                tensor([1, 3, 1], vec![2.; 3]),
                Some(Tensor::from_vec([1, 6], biases.to_vec()).unwrap()),
                None,
                tensor([1, 1, 1], vec![0.5]),
            ];
            let y = try_run(&*op, &inputs).unwrap();
            let expected = by_formula(&[0.3, -0.7], linear, biases.map(f64::from));
            let got = y[1].to_f64().unwrap()[0];
            assert!((got - expected).abs() < 1e-6, "{got} {expected}");
            assert_eq!(y[0].to_f64().unwrap()[1], got);
        }
    }
}
