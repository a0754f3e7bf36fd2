//! Outputs whose memory later runs write to.

use std::sync::Arc;

use inferrum::graph::{Fact, Graph};
use inferrum::{DType, Outputs, RunOptions, Session, Tensor};
use inferrum_ops::softmax::Softmax;

/// `softmax(x)` over 1000 elements.
fn session() -> Session {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", Fact::tensor(DType::F32, [1000]));
    let softmax = Softmax { axis: 0, flatten: false, log: false };
    let y = graph.add_node("y", Arc::new(softmax), vec![Some(x)]).unwrap();
    graph.outputs = vec![y];
    Session::builder().build(graph).unwrap()
}

fn ramp(step: f32) -> Tensor {
    Tensor::vector((0..1000).map(|i| i as f32 * step).collect())
}

fn address(outputs: &Outputs) -> usize {
    outputs[0].bytes().as_ptr().addr()
}

#[test]
fn a_run_into_outputs_writes_to_their_memory() {
    let session = session();
    let mut outputs = Outputs::default();
    session.run_into(ramp(0.1), &mut outputs, RunOptions::default()).unwrap();
    let first = address(&outputs);
    session.run_into(ramp(0.2), &mut outputs, RunOptions::default()).unwrap();
    assert_eq!(address(&outputs), first);
    assert_eq!(outputs[0], session.run(ramp(0.2)).unwrap()[0]);
}

#[test]
fn outputs_that_somebody_holds_are_left_alone() {
    let session = session();
    let mut outputs = Outputs::default();
    session.run_into(ramp(0.1), &mut outputs, RunOptions::default()).unwrap();
    let (held, bytes) = (outputs["y"].clone(), outputs["y"].bytes().to_vec());
    session.run_into(ramp(0.2), &mut outputs, RunOptions::default()).unwrap();
    assert_ne!(held, outputs["y"]);
    assert_eq!(held.bytes(), bytes);
}

#[test]
fn an_error_leaves_no_outputs() {
    let session = session();
    let mut outputs = session.run(ramp(0.1)).unwrap();
    assert!(session.run_into(Tensor::scalar(1.0f32), &mut outputs, RunOptions::default()).is_err());
    assert!(outputs.is_empty() && outputs.get("y").is_none());
}

#[test]
fn a_plan_tells_what_a_run_takes() {
    let session = session();
    let plan = session.plan(&[Fact::tensor(DType::F32, [1000])]).unwrap();
    assert!(plan.complete && plan.flops() >= 1000, "{plan:?}");
    assert_eq!(plan.nodes.len(), 1);
    assert_eq!(plan.nodes[0].bytes, 8000);
    assert!(session.plan(&[Fact::of_dtype(DType::F32)]).is_err());
    assert!(session.plan(&[Fact::tensor(DType::F32, [7])]).is_err());
    assert!(session.plan(&[]).is_err());
}
