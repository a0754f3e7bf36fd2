//! `LSTM` (<https://onnx.ai/onnx/operators/onnx__LSTM.html>); what changed between opsets is told in
//! [`crate::recurrent`].

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Tensor, Value};

use crate::OpEntry;
use crate::recurrent::{Cell, Recurrence, Weights};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("LSTM", 8, |def| Ok(Arc::new(LSTM::read(def)?)))];

/// Long short-term memory: `i = f(Wi x + Ri h + Pi c + b)`, `e = f(We x + Re h + Pe c + b)` (the forget gate),
/// `c' = e c + i g(Wc x + Rc h + b)`, `o = f(Wo x + Ro h + Po c' + b)`, `h = o h(c')`, step by step. The gates lie in the
/// order i, o, forget, c; the peepholes P in the order i, o, forget.
///
/// Inputs (D directions, N sequences): X `[steps, N, inputs]`, W `[D, 4H, inputs]`, R `[D, 4H, H]`; optionally B
/// `[D, 8H]`, steps of each sequence int32 `[N]`, initial h and c `[D, N, H]`, P `[D, 3H]`. Outputs: Y `[steps, D, N, H]`,
/// last h and c `[D, N, H]`. Floats of 16 bits or more.
#[derive(Debug, Clone, PartialEq)]
pub struct LSTM {
    /// What the recurrent operators share.
    pub recurrence: Recurrence,
    /// Whether the forget gate is one less the input gate.
    pub input_forget: bool,
}

impl LSTM {
    /// Reads the attributes, also those of the quantised operator.
    pub(crate) fn read(def: &mut NodeDef) -> Result<LSTM, OpError> {
        let input_forget = def.int_or("input_forget", 0)? != 0;
        Ok(LSTM { recurrence: Recurrence::parse(def, &["Sigmoid", "Tanh", "Tanh"], 3)?, input_forget })
    }

    /// The new states of one sequence from the sums of the gates without peepholes, which lie in the order i, o,
    /// forget, c.
    pub(crate) fn advance(
        &self,
        direction: usize,
        gates: impl Fn(usize) -> f64,
        peepholes: Option<&[f64]>,
        states: &mut [&mut [f64]],
    ) {
        let [h, c] = states else { return };
        let hidden = h.len();
        let activations = &self.recurrence.activations[direction];
        let peephole = |gate: usize, j: usize| peepholes.map_or(0.0, |p| p[gate * hidden + j]);
        let clipped = |x: f64| self.recurrence.clipped(x);
        for j in 0..hidden {
            let gate = |index: usize, c: f64| {
                activations[0].apply(clipped(gates(index * hidden + j) + peephole(index, j) * c))
            };
            let input = gate(0, c[j]);
            let forget = if self.input_forget { 1.0 - input } else { gate(2, c[j]) };
            c[j] = forget * c[j] + input * activations[1].apply(clipped(gates(3 * hidden + j)));
            h[j] = gate(1, c[j]) * activations[2].apply(c[j]);
        }
    }

    /// P of all directions, at place 7.
    pub(crate) fn peepholes(inputs: Inputs<'_>) -> Result<Option<Vec<f64>>, OpError> {
        Ok(inputs.optional(7)?.map(Tensor::to_f64).transpose()?)
    }
}

impl Operator for LSTM {
    fn key(&self) -> OpKey {
        OpKey::onnx("LSTM")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        self.recurrence.infer_floats(inputs, 4, &[5, 6], Some(7))
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let geometry = self.recurrence.geometry(inputs.tensor(0)?.shape(), inputs.tensor(2)?.shape())?;
        let weights = Weights::read(&self.recurrence, inputs, &geometry, 4)?;
        let states =
            vec![self.recurrence.state(inputs, 5, &geometry)?, self.recurrence.state(inputs, 6, &geometry)?];
        let mut cell = LstmCell { op: self, weights, peepholes: LSTM::peepholes(inputs)? };
        self.recurrence.run(inputs, &geometry, &mut cell, states)
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        self.recurrence.flops(inputs, 4)
    }
}

struct LstmCell<'a> {
    op: &'a LSTM,
    weights: Weights,
    peepholes: Option<Vec<f64>>,
}

impl Cell for LstmCell<'_> {
    fn project_inputs(&mut self, direction: usize) -> Result<Vec<f64>, OpError> {
        self.weights.project_inputs(direction)
    }

    fn project_states(&mut self, direction: usize, h: &[f64]) -> Result<Vec<f64>, OpError> {
        self.weights.project_states(direction, h)
    }

    fn step(&self, direction: usize, from_input: &[f64], from_state: &[f64], states: &mut [&mut [f64]]) {
        let (wb, rb) = self.weights.biases(direction);
        let of_direction = 3 * states[0].len();
        let peepholes = self.peepholes.as_ref().map(|p| &p[direction * of_direction..][..of_direction]);
        let gates = |i: usize| from_input[i] + from_state[i] + wb[i] + rb[i];
        self.op.advance(direction, gates, peepholes, states);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_node, try_run};
    use inferrum_graph::Attr;

    #[test]
    fn every_gate_is_where_it_belongs() {
        let op = parse_node("", 14, "LSTM", &[("clip", Attr::Float(1.5))], 3);
        let (x, h, c) = (0.7f64, 0.25f64, -0.5f64);
        let [wi, wo, we, wc] = [0.3, -0.4, 0.9, 2.5];
        let [ri, ro, re, rc] = [0.1, 0.2, -0.3, 0.4];
        let biases = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08];
        let [pi, po, pe] = [0.5, -0.6, 0.7];
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x.clamp(-1.5, 1.5)).exp());
        let sum = |w: f64, r: f64, gate: usize| w * x + r * h + biases[gate] + biases[gate + 4];
        let i = sigmoid(sum(wi, ri, 0) + pi * c);
        let e = sigmoid(sum(we, re, 2) + pe * c);
        let new_c = e * c + i * sum(wc, rc, 3).clamp(-1.5, 1.5).tanh();
        let new_h = sigmoid(sum(wo, ro, 1) + po * new_c) * new_c.tanh();
        let tensor = |shape: &[usize], values: &[f64]| {
            Some(Tensor::from_f64(inferrum_tensor::DType::F64, shape, values).unwrap())
        };
        let inputs = [
            tensor(&[1, 1, 1], &[x]),
            tensor(&[1, 4, 1], &[wi, wo, we, wc]),
            tensor(&[1, 4, 1], &[ri, ro, re, rc]),
            tensor(&[1, 8], &biases),
            None,
            tensor(&[1, 1, 1], &[h]),
            tensor(&[1, 1, 1], &[c]),
            tensor(&[1, 3], &[pi, po, pe]),
        ];
        let y = try_run(&*op, &inputs).unwrap();
        let got: Vec<f64> = y.iter().map(|y| y.to_f64().unwrap()[0]).collect();
        assert!((got[0] - new_h).abs() < 1e-12 && got[0] == got[1], "{got:?} {new_h}");
        assert!((got[2] - new_c).abs() < 1e-12, "{got:?} {new_c}");
        let coupled =
            parse_node("", 14, "LSTM", &[("clip", Attr::Float(1.5)), ("input_forget", Attr::Int(1))], 3);
        let got = try_run(&*coupled, &inputs).unwrap()[2].to_f64().unwrap()[0];
        let expected = (1.0 - i) * c + (new_c - e * c);
        assert!((got - expected).abs() < 1e-12, "{got} {expected}");
    }
}
