//! Shapes that depend on what a run feeds: the plan ends a stage, reads the elements, and goes on.

use std::sync::Arc;

use inferrum::graph::{Fact, Graph, ShapeFact, SymDim};
use inferrum::{DType, Error, Session, Tensor};
use inferrum_ops::reshape::Reshape;
use inferrum_ops::softmax::Softmax;

/// `softmax(reshape(softmax(x), shape))`, with the shape an input.
fn model() -> Graph {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", Fact::tensor(DType::F32, vec![SymDim::Symbol("n".into())]));
    let shape = graph.add_input("shape", Fact::tensor(DType::I64, ShapeFact::of_rank(1)));
    let softmax = || Arc::new(Softmax { axis: -1, flatten: false, log: false });
    let first = graph.add_node("first", softmax(), vec![Some(x)]).unwrap();
    let reshape = Arc::new(Reshape { allow_zero: false });
    let reshaped = graph.add_node("reshape", reshape, vec![Some(first), Some(shape)]).unwrap();
    let last = graph.add_node("last", softmax(), vec![Some(reshaped)]).unwrap();
    graph.outputs.push(last);
    graph
}

fn feed(n: usize, shape: &[i64]) -> [(&'static str, Tensor); 2] {
    [("x", Tensor::vector(vec![1f32; n])), ("shape", Tensor::vector(shape.to_vec()))]
}

#[test]
fn each_shape_gets_its_own_stage() {
    let session = Session::builder().build(model()).unwrap();
    for (n, shape) in [(6, [2, 3]), (6, [3, 2]), (8, [2, -1]), (6, [2, 3])] {
        let outputs = session.run(feed(n, &shape)).unwrap();
        let columns = if shape[1] < 0 { n as i64 / shape[0] } else { shape[1] };
        assert_eq!(outputs[0].shape().dims(), [shape[0] as usize, columns as usize]);
        let want = 1.0 / columns as f32;
        assert!(outputs[0].as_slice::<f32>().unwrap().iter().all(|y| (y - want).abs() < 1e-6));
    }
}

#[test]
fn a_shape_that_does_not_fit_names_the_node() {
    let session = Session::builder().build(model()).unwrap();
    let error = session.run(feed(6, &[4, 4])).unwrap_err().to_string();
    assert!(error.contains("`reshape`") && error.contains("[4, 4]"), "{error}");
}

#[test]
fn wrong_inputs_are_named() {
    let session = Session::builder().build(model()).unwrap();
    let missing = session.run([("x", Tensor::vector(vec![1f32]))]).unwrap_err();
    assert!(matches!(missing, Error::MissingInputs { names, .. } if names == ["shape"]));
    let unknown = session.run([("y", Tensor::vector(vec![1f32]))]).unwrap_err();
    assert!(matches!(unknown, Error::UnknownName { name, .. } if name == "y"));
    let wrong =
        session.run([("x", Tensor::vector(vec![1i64])), ("shape", Tensor::vector(vec![1i64]))]).unwrap_err();
    assert!(matches!(wrong, Error::Input { name, .. } if name == "x"));
}

#[test]
fn a_memory_limit_is_an_error_before_the_allocation() {
    let session = Session::builder().max_memory(1000).build(model()).unwrap();
    assert!(session.run(feed(10, &[2, 5])).is_ok());
    let error = session.run(feed(10_000, &[100, 100])).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { limit: 1000, .. }), "{error}");
}

#[test]
fn eight_threads_share_one_session() {
    let session = Session::builder().build(model()).unwrap();
    let want = session.run(feed(4096, &[64, 64])).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert!(session.run(feed(4096, &[64, 64])).unwrap()[0] == want[0]);
                }
            });
        }
    });
}

#[test]
fn a_passed_deadline_stops_the_run() {
    let session = Session::builder().build(model()).unwrap();
    let stop = inferrum::Stop::at(std::time::Instant::now());
    let options = inferrum::RunOptions { stop: Some(&stop), ..Default::default() };
    assert!(matches!(session.run_with(feed(4, &[2, 2]), options), Err(Error::Stopped(_))));
}
