//! `RNN` (<https://onnx.ai/onnx/operators/onnx__RNN.html>); what changed between opsets is told in
//! [`crate::recurrent`].

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::recurrent::{Cell, Recurrence, Weights};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("RNN", 6, RNN::parse)];

/// `h = f(W x + R h + Wb + Rb)`, step by step.
///
/// Inputs (D directions, N sequences): X `[steps, N, inputs]`, W `[D, H, inputs]`, R `[D, H, H]`; optionally B `[D, 2H]`,
/// steps of each sequence int32 `[N]`, initial h `[D, N, H]`. Outputs: Y `[steps, D, N, H]`, last h `[D, N, H]`. Floats
/// of 16 bits or more.
#[derive(Debug, Clone, PartialEq)]
pub struct RNN {
    /// What the recurrent operators share.
    pub recurrence: Recurrence,
}

impl RNN {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(RNN { recurrence: Recurrence::parse(def, &["Tanh"], 2)? }))
    }
}

impl Operator for RNN {
    fn key(&self) -> OpKey {
        OpKey::onnx("RNN")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        self.recurrence.infer_floats(inputs, 1, &[5], None)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let geometry = self.recurrence.geometry(inputs.tensor(0)?.shape(), inputs.tensor(2)?.shape())?;
        let weights = Weights::read(&self.recurrence, inputs, &geometry, 1)?;
        let states = vec![self.recurrence.state(inputs, 5, &geometry)?];
        let mut cell = RnnCell { recurrence: &self.recurrence, weights };
        self.recurrence.run(inputs, &geometry, &mut cell, states)
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        self.recurrence.flops(inputs, 1)
    }
}

struct RnnCell<'a> {
    recurrence: &'a Recurrence,
    weights: Weights,
}

impl Cell for RnnCell<'_> {
    fn project_inputs(&mut self, direction: usize) -> Result<Vec<f64>, OpError> {
        self.weights.project_inputs(direction)
    }

    fn project_states(&mut self, direction: usize, h: &[f64]) -> Result<Vec<f64>, OpError> {
        self.weights.project_states(direction, h)
    }

    fn step(&self, direction: usize, from_input: &[f64], from_state: &[f64], states: &mut [&mut [f64]]) {
        let f = self.recurrence.activations[direction][0];
        let (wb, rb) = self.weights.biases(direction);
        for (j, h) in states[0].iter_mut().enumerate() {
            *h = f.apply(self.recurrence.clipped(from_input[j] + from_state[j] + wb[j] + rb[j]));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{parse_node, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::Tensor;

    fn tensor(shape: [usize; 3], values: &[f32]) -> Tensor {
        Tensor::from_vec(shape, values.to_vec()).unwrap()
    }

    fn affine() -> Attr {
        Attr::Strings(vec![b"Affine".to_vec(); 2])
    }

    #[test]
    fn both_directions_and_lengths() {
        let attrs = [("direction", Attr::String(b"bidirectional".to_vec())), ("activations", affine())];
        let op = parse_node("", 14, "RNN", &attrs, 2);
        let inputs = [
            // Two sequences, of three steps and of one.
            Some(tensor([3, 2, 1], &[1., 10., 2., 20., 3., 30.])),
            Some(tensor([2, 1, 1], &[1., 1.])),
            Some(tensor([2, 1, 1], &[1., 2.])),
            None,
            Some(Tensor::vector(vec![3i32, 1])),
        ];
        let y = try_run(&*op, &inputs).unwrap();
        // [step, direction, sequence]
        assert_eq!(y[0].as_slice::<f32>().unwrap(), [1., 10., 17., 10., 3., 0., 8., 0., 6., 0., 3., 0.]);
        assert_eq!(y[1].as_slice::<f32>().unwrap(), [6., 10., 17., 10.]);
    }

    #[test]
    fn batch_first_clip_bias_and_initial_state() {
        let attrs = [("layout", Attr::Int(1)), ("activations", affine()), ("clip", Attr::Float(5.0))];
        let op = parse_node("", 14, "RNN", &attrs, 2);
        let inputs = [
            Some(tensor([2, 2, 1], &[1., 2., -10., 1.])),
            Some(tensor([1, 1, 1], &[1.])),
            Some(tensor([1, 1, 1], &[1.])),
            Some(Tensor::from_vec([1, 2], vec![0.25f32, 0.25]).unwrap()),
            None,
            Some(tensor([2, 1, 1], &[1., 2.])),
        ];
        let y = try_run(&*op, &inputs).unwrap();
        assert_eq!(y[0].shape().dims(), [2, 2, 1, 1]);
        assert_eq!(y[0].as_slice::<f32>().unwrap(), [2.5, 5., -5., -3.5]);
        assert_eq!(y[1].as_slice::<f32>().unwrap(), [5., -3.5]);
    }

    #[test]
    fn misfits_are_errors() {
        let op = parse_node("", 14, "RNN", &[("hidden_size", Attr::Int(1))], 2);
        let x = || Some(tensor([2, 1, 1], &[1., 2.]));
        let one = || Some(tensor([1, 1, 1], &[1.]));
        let length = |n: i32| Some(Tensor::vector(vec![n]));
        assert!(try_run(&*op, &[x(), one(), one(), None, length(2)]).is_ok());
        assert!(try_run(&*op, &[x(), one(), one(), None, length(3)]).is_err());
        assert!(try_run(&*op, &[x(), one(), one(), None, length(-1)]).is_err());
        assert!(try_run(&*op, &[x(), one(), Some(tensor([1, 1, 2], &[1.; 2]))]).is_err());
        assert!(try_run(&*op, &[x(), Some(tensor([1, 1, 2], &[1.; 2])), one()]).is_err());
        let empty = [tensor([0, 3, 1], &[]), tensor([1, 1, 1], &[1.]), tensor([1, 1, 1], &[1.])];
        let y = run(&*op, &empty);
        assert_eq!(
            (y[0].shape().dims(), y[1].as_slice::<f32>().unwrap()),
            (&[0, 1, 3, 1][..], &[0f32; 3][..])
        );
    }
}
