//! `If` (<https://onnx.ai/onnx/operators/onnx__If.html>). The opset versions differ in the types they allow.

use std::sync::Arc;

use inferrum_graph::{
    CallBody, Control, Fact, Facts, Graph, Inputs, NodeDef, OpError, OpKey, Operator, interpret,
};
use inferrum_tensor::{DType, Value};

use crate::OpEntry;
use crate::body::{captured_facts, captured_values, infer_body, is_pure, joined, without_value};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("If", 1, If::parse)];

/// Runs one of two bodies. Inputs: a condition of one `bool` element, then what the bodies capture. The outputs are
/// those of the body that ran, of any kind.
#[derive(Debug, Clone)]
pub struct If {
    /// The body for a true condition.
    pub then_branch: Arc<Graph>,
    /// The body for a false condition.
    pub else_branch: Arc<Graph>,
    /// How many of the node's inputs, at their end, are the bodies' inputs.
    pub captures: usize,
}

impl If {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let mut branch =
            |name: &str| def.graph(name)?.ok_or_else(|| OpError::attribute(name, "a graph", "nothing"));
        let (then_branch, else_branch) = (branch("then_branch")?, branch("else_branch")?);
        let (yes, no) = (then_branch.outputs.len(), else_branch.outputs.len());
        if yes != no {
            return Err(OpError::attribute(
                "else_branch",
                format!("a graph of {yes} outputs, as `then_branch`"),
                no,
            ));
        }
        Ok(Arc::new(If { then_branch, else_branch, captures: def.captures }))
    }
}

impl Operator for If {
    fn key(&self) -> OpKey {
        OpKey::onnx("If")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let condition = inputs.tensor(0)?;
        if condition.dtype != DType::Bool {
            return Err(OpError::dtype(0, "bool", condition.dtype));
        }
        if condition.shape.concrete().is_some_and(|shape| shape.elements() != 1) {
            return Err(OpError::shape(0, "of one element", &condition.shape));
        }
        let (_, captured) = captured_facts(inputs, self.captures)?;
        if let Some(known) = inputs.value(0) {
            let branch =
                if known.as_slice::<bool>()? == [true] { &self.then_branch } else { &self.else_branch };
            return infer_body(branch, &captured);
        }
        match (infer_body(&self.then_branch, &captured), infer_body(&self.else_branch, &captured)) {
            (Ok(yes), Ok(no)) => Ok(yes.iter().zip(&no).map(|(yes, no)| joined(yes, no)).collect()),
            // Exporters guard what does not fit the shapes at hand by a condition; that branch will not run.
            (Ok(facts), Err(_)) | (Err(_), Ok(facts)) => Ok(facts),
            (Err(error), Err(_)) => Err(error),
        }
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let bodies = [&self.then_branch, &self.else_branch];
        self.run(inputs, &mut |index, values| Ok(interpret(bodies[index], values)?))
    }

    fn value_inputs(&self) -> &[usize] {
        &[0]
    }

    fn is_pure(&self) -> bool {
        is_pure(&self.then_branch) && is_pure(&self.else_branch)
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }

    fn control(&self) -> Option<&dyn Control> {
        Some(self)
    }
}

impl Control for If {
    fn bodies(&self) -> Vec<&Arc<Graph>> {
        vec![&self.then_branch, &self.else_branch]
    }

    fn with_bodies(&self, bodies: Vec<Arc<Graph>>) -> Arc<dyn Operator> {
        let mut bodies = bodies.into_iter();
        Arc::new(If {
            then_branch: bodies.next().unwrap_or_else(|| self.then_branch.clone()),
            else_branch: bodies.next().unwrap_or_else(|| self.else_branch.clone()),
            captures: self.captures,
        })
    }

    fn body_inputs(&self, inputs: Facts<'_>) -> Result<Vec<Vec<Fact>>, OpError> {
        let captured = captured_facts(inputs, self.captures)?.1;
        Ok(vec![captured.iter().map(without_value).collect(); 2])
    }

    fn run(&self, inputs: Inputs<'_>, call: &mut CallBody<'_>) -> Result<Vec<Value>, OpError> {
        let condition: bool = inputs.tensor(0)?.to_scalar()?;
        let (_, captured) = captured_values(inputs, self.captures)?;
        call(usize::from(!condition), captured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::parse_at;
    use inferrum_graph::{Attr, SymDim};
    use inferrum_tensor::Tensor;

    /// `softmax(x)` or, otherwise, `reshape(x, to)`; `x` is captured.
    fn branches(to: &[i64]) -> If {
        let mut yes = Graph::new("yes");
        let x = yes.add_input("x", Fact::of_dtype(DType::F32));
        let y = yes.add_node("y", parse_at(13, "Softmax", &[]), vec![Some(x)]).unwrap();
        yes.outputs = vec![y];
        let mut no = Graph::new("no");
        let x = no.add_input("x", Fact::of_dtype(DType::F32));
        let shape = no.add_constant("shape", Tensor::vector(to.to_vec()));
        let y = no.add_node("y", parse_at(14, "Reshape", &[]), vec![Some(x), Some(shape)]).unwrap();
        no.outputs = vec![y];
        If { then_branch: Arc::new(yes), else_branch: Arc::new(no), captures: 1 }
    }

    fn run(op: &If, condition: bool) -> Tensor {
        let values = [Value::Tensor(Tensor::scalar(condition)), Tensor::vector(vec![1f32, 1.0]).into()];
        let refs: Vec<Option<&Value>> = values.iter().map(Some).collect();
        op.reference(Inputs(&refs)).unwrap().remove(0).into_tensor().unwrap()
    }

    #[test]
    fn one_branch_runs() {
        let op = branches(&[2, 1]);
        assert_eq!(run(&op, true).as_slice::<f32>().unwrap(), [0.5, 0.5]);
        assert_eq!(run(&op, false).shape().dims(), [2, 1]);
    }

    #[test]
    fn facts_are_joined_unless_the_condition_is_known() {
        let infer = |op: &If, condition: Fact| {
            let x = Fact::tensor(DType::F32, [2]);
            op.infer(Facts(&[Some(&condition), Some(&x)]))
        };
        let op = branches(&[2, 1]);
        let unknown = Fact::tensor(DType::Bool, []);
        assert_eq!(infer(&op, unknown.clone()).unwrap(), [Fact::of_dtype(DType::F32)]);
        assert_eq!(
            infer(&op, Fact::constant(Tensor::scalar(true))).unwrap(),
            [Fact::tensor(DType::F32, [2])]
        );
        assert_eq!(infer(&branches(&[2]), unknown.clone()).unwrap(), [Fact::tensor(DType::F32, [2])]);
        // The reshape is impossible, so it cannot be the branch that runs.
        assert_eq!(infer(&branches(&[3]), unknown.clone()).unwrap(), [Fact::tensor(DType::F32, [2])]);
        let symbol = Fact::tensor(DType::F32, vec![SymDim::Symbol("n".into())]);
        let facts = op.infer(Facts(&[Some(&Fact::constant(Tensor::scalar(true))), Some(&symbol)])).unwrap();
        assert_eq!(facts, [symbol]);
        assert!(infer(&op, Fact::tensor(DType::F32, [])).is_err());
        assert!(infer(&op, Fact::tensor(DType::Bool, [2])).is_err());
    }

    #[test]
    fn branches_must_give_as_many_values() {
        let mut def = NodeDef::new(
            "If",
            19,
            [
                ("then_branch".to_owned(), Attr::Graph(branches(&[2]).then_branch)),
                ("else_branch".to_owned(), Attr::Graph(Arc::new(Graph::new("empty")))),
            ]
            .into(),
        );
        assert!(matches!(If::parse(&mut def), Err(OpError::Attribute { .. })));
    }
}
