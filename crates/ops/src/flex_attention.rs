//! `FlexAttention` of `ai.onnx.preview` (<https://onnx.ai/onnx/operators/onnx_aionnxpreview_FlexAttention.html>).

use std::sync::Arc;

use inferrum_graph::{
    CallBody, Control, Fact, Facts, Graph, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim,
    interpret,
};
use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::OpEntry;
use crate::attention::softmax_precision;
use crate::body::{captured_facts, without_value};
use crate::sdpa::{Reach, Sdpa};
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::preview("FlexAttention", 3, FlexAttention::parse)];

/// Scaled dot-product attention whose scores and probabilities pass through bodies.
///
/// Inputs of one float type: queries `[B, Hq, S, D]`, keys `[B, H, L, D]`, values `[B, H, L, Dv]`; then what the bodies
/// take from the graph around them. Output: `[B, Hq, S, Dv]`. A body takes and gives `[B, Hq, S, L]`.
#[derive(Debug, Clone)]
pub struct FlexAttention {
    /// What the products are multiplied by; `1 / sqrt(D)` when `None`.
    pub scale: Option<f32>,
    /// Type of scores and probabilities; float32, for float64 queries float64, when `None`.
    pub softmax_precision: Option<DType>,
    /// Changes the scores.
    pub score_mod: Option<Arc<Graph>>,
    /// Changes the probabilities.
    pub prob_mod: Option<Arc<Graph>>,
}

impl FlexAttention {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(FlexAttention {
            scale: def.float("scale")?,
            softmax_precision: softmax_precision(def)?,
            score_mod: def.graph("score_mod")?,
            prob_mod: def.graph("prob_mod")?,
        }))
    }

    /// The attention for queries, keys and values of the given shapes.
    ///
    /// # Errors
    /// The shapes do not fit each other.
    pub fn sdpa(&self, q: &Shape, k: &Shape, v: &Shape) -> Result<Sdpa, OpError> {
        let &[batch, q_heads, q_len, head] = q.dims() else {
            return Err(OpError::shape(0, "[B, Hq, S, D]", q));
        };
        let &[k_batch, kv_heads, kv_len, k_head] = k.dims() else {
            return Err(OpError::shape(1, "[B, H, L, D]", k));
        };
        let &[v_batch, v_heads, v_len, v_head] = v.dims() else {
            return Err(OpError::shape(2, "[B, H, L, Dv]", v));
        };
        if (k_batch, k_head) != (batch, head) {
            return Err(OpError::shape(1, format!("[{batch}, H, L, {head}]"), k));
        }
        if (v_batch, v_heads, v_len) != (batch, kv_heads, kv_len) {
            return Err(OpError::shape(2, format!("[{batch}, {kv_heads}, {kv_len}, Dv]"), v));
        }
        let scale = self.scale.map_or_else(|| 1.0 / (head as f64).sqrt(), f64::from);
        let reach = Reach::default();
        let sdpa = Sdpa { batch, q_heads, kv_heads, q_len, kv_len, head, v_head, scale, softcap: 0.0, reach };
        sdpa.check()?;
        Ok(sdpa)
    }

    fn precision(&self, queries: DType) -> DType {
        self.softmax_precision.unwrap_or(if queries == DType::F64 { DType::F64 } else { DType::F32 })
    }

    /// `scores` after body `index`, if there is that body.
    fn modify(
        &self,
        index: Option<usize>,
        scores: Vec<f64>,
        (dtype, shape): (DType, &Shape),
        captured: &[Value],
        call: &mut CallBody<'_>,
    ) -> Result<Vec<f64>, OpError> {
        let Some(index) = index else { return Ok(scores) };
        let mut values = vec![Value::Tensor(Tensor::from_f64(dtype, shape.clone(), &scores)?)];
        values.extend_from_slice(captured);
        let output = call(index, values)?.into_iter().next().and_then(Value::into_tensor);
        match output {
            Some(output) if output.shape() == shape && output.dtype() == dtype => Ok(output.to_f64()?),
            Some(output) => Err(OpError::Invalid(format!(
                "its body must give {dtype}[{shape}], gave {}[{}]",
                output.dtype(),
                output.shape()
            ))),
            None => Err(OpError::Invalid("its body must give one tensor".into())),
        }
    }
}

impl Operator for FlexAttention {
    fn key(&self) -> OpKey {
        OpKey::preview("FlexAttention")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (q, k, v) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        FLOATS.check(0, q.dtype)?;
        for (index, tensor) in [(1, k), (2, v)] {
            if tensor.dtype != q.dtype {
                return Err(OpError::dtype(index, q.dtype.to_string(), tensor.dtype));
            }
        }
        if let (Some(q), Some(k), Some(v)) = (q.shape.concrete(), k.shape.concrete(), v.shape.concrete()) {
            self.sdpa(&q, &k, &v)?;
        }
        let dims: Vec<SymDim> = (0..3).map(|axis| q.shape.dim(axis)).chain([v.shape.dim(3)]).collect();
        Ok(vec![Fact::tensor(q.dtype, dims)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let bodies: Vec<Arc<Graph>> = self.bodies().into_iter().cloned().collect();
        self.run(inputs, &mut |index, values| Ok(interpret(&bodies[index], values)?))
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        let shape = |index| inputs.get(index).and_then(Fact::concrete_shape);
        let (Some(q), Some(k), Some(v)) = (shape(0), shape(1), shape(2)) else { return 0 };
        self.sdpa(&q, &k, &v).map_or(0, |sdpa| sdpa.flops())
    }

    fn control(&self) -> Option<&dyn Control> {
        // Without bodies it is a plain operator.
        (self.score_mod.is_some() || self.prob_mod.is_some()).then_some(self)
    }
}

impl Control for FlexAttention {
    fn bodies(&self) -> Vec<&Arc<Graph>> {
        self.score_mod.iter().chain(&self.prob_mod).collect()
    }

    fn with_bodies(&self, bodies: Vec<Arc<Graph>>) -> Arc<dyn Operator> {
        let mut bodies = bodies.into_iter();
        let mut replace =
            |old: &Option<Arc<Graph>>| old.as_ref().map(|old| bodies.next().unwrap_or_else(|| old.clone()));
        let (score_mod, prob_mod) = (replace(&self.score_mod), replace(&self.prob_mod));
        Arc::new(FlexAttention { score_mod, prob_mod, ..self.clone() })
    }

    fn body_inputs(&self, inputs: Facts<'_>) -> Result<Vec<Vec<Fact>>, OpError> {
        let [q, k, v] = [inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?];
        let shape = match (q.shape.concrete(), k.shape.concrete(), v.shape.concrete()) {
            (Some(q), Some(k), Some(v)) => self.sdpa(&q, &k, &v)?.scores_shape().into(),
            _ => ShapeFact::unknown(),
        };
        let mut facts = vec![Fact::tensor(self.precision(q.dtype), shape)];
        facts.extend(captured_facts(inputs, inputs.len() - 3)?.1.iter().map(without_value));
        Ok(vec![facts; self.bodies().len()])
    }

    fn run(&self, inputs: Inputs<'_>, call: &mut CallBody<'_>) -> Result<Vec<Value>, OpError> {
        let [q, k, v] = [inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?];
        let sdpa = self.sdpa(q.shape(), k.shape(), v.shape())?;
        let captured: Vec<Value> =
            (3..inputs.len()).map(|index| inputs.require(index).cloned()).collect::<Result<_, _>>()?;
        let (shape, precision) = (sdpa.scores_shape(), self.precision(q.dtype()));
        let score_mod = self.score_mod.is_some().then_some(0);
        let prob_mod = self.prob_mod.is_some().then_some(usize::from(self.score_mod.is_some()));
        let scores = sdpa.products(&q.to_f64()?, &k.to_f64()?)?;
        let mut scores = self.modify(score_mod, scores, (precision, &shape), &captured, call)?;
        sdpa.softmax(&mut scores, None);
        let probabilities = self.modify(prob_mod, scores, (precision, &shape), &captured, call)?;
        let y = sdpa.combine(&probabilities, &v.to_f64()?)?;
        let y_shape = Shape::from([sdpa.batch, sdpa.q_heads, sdpa.q_len, sdpa.v_head]);
        Ok(vec![Tensor::from_f64(q.dtype(), y_shape, &y)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_in, run, try_run};
    use inferrum_graph::Attr;

    fn tensor(shape: [usize; 4], values: &[f32]) -> Tensor {
        Tensor::from_vec(shape, values.to_vec()).unwrap()
    }

    /// A body that gives what it is given.
    fn identity() -> Arc<Graph> {
        let mut graph = Graph::new("identity");
        let x = graph.add_input("x", Fact::of_dtype(DType::F32));
        graph.outputs = vec![x];
        Arc::new(graph)
    }

    #[test]
    fn bodies_are_called_in_their_places() {
        let op = FlexAttention {
            scale: Some(1.0),
            softmax_precision: None,
            score_mod: Some(identity()),
            prob_mod: Some(identity()),
        };
        let one = Value::Tensor(tensor([1, 1, 1, 1], &[3.0]));
        let inputs = [Some(&one), Some(&one), Some(&one)];
        let mut seen = Vec::new();
        let outputs = op.run(Inputs(&inputs), &mut |index, values| {
            let x = values[0].as_tensor().unwrap();
            seen.push((index, x.to_f64().unwrap()[0]));
            Ok(vec![Value::Tensor(tensor([1, 1, 1, 1], &[0.5]))])
        });
        assert_eq!(seen, [(0, 9.0), (1, 1.0)]);
        assert_eq!(outputs.unwrap()[0].as_tensor().unwrap().to_f64().unwrap(), [1.5]);
        assert_eq!(op.with_bodies(vec![identity(), identity()]).control().unwrap().bodies().len(), 2);
    }

    #[test]
    fn an_identity_body_changes_nothing() {
        let (q, kv) = (tensor([1, 2, 1, 1], &[0.3, 0.6]), tensor([1, 1, 3, 1], &[1.0, 2.0, 4.0]));
        let inputs = [q, kv.clone(), kv];
        let plain = run(&*parse_in("ai.onnx.preview", 1, "FlexAttention", &[]), &inputs);
        let body = [("score_mod", Attr::Graph(identity()))];
        let with_body = run(&*parse_in("ai.onnx.preview", 1, "FlexAttention", &body), &inputs);
        let difference = plain[0].to_f64().unwrap()[1] - with_body[0].to_f64().unwrap()[1];
        assert!(difference.abs() < 1e-6);
    }

    #[test]
    fn a_body_that_changes_the_shape_is_an_error() {
        let mut graph = Graph::new("constant");
        graph.add_input("x", Fact::of_dtype(DType::F32));
        let value = graph.add_value("y", Fact::constant(Tensor::scalar(1f32)));
        graph.outputs = vec![value];
        let op =
            parse_in("ai.onnx.preview", 1, "FlexAttention", &[("prob_mod", Attr::Graph(Arc::new(graph)))]);
        let one = Some(tensor([1, 1, 1, 1], &[3.0]));
        assert!(try_run(&*op, &[one.clone(), one.clone(), one]).is_err());
    }
}
