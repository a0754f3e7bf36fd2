use super::*;
use crate::testing::{parse_at, try_run};
use inferrum_graph::{Attr, SymDim};
use inferrum_tensor::DType;

/// Carries the last item as it was given and gives each item as a row: `(state, item) -> (item, item as [1, 2])`.
fn body() -> Arc<Graph> {
    let mut body = Graph::new("body");
    body.add_input("state", Fact::of_dtype(DType::F32));
    let item = body.add_input("item", Fact::of_dtype(DType::F32));
    let to = body.add_constant("to", Tensor::vector(vec![1i64, 2]));
    let row = body.add_node("row", parse_at(14, "Reshape", &[]), vec![Some(item), Some(to)]).unwrap();
    body.outputs = vec![item, row];
    Arc::new(body)
}

fn scan(opset: i64, attrs: &[(&str, i64)]) -> Arc<dyn Operator> {
    let mut all: Vec<(&str, Attr)> =
        attrs.iter().map(|&(name, value)| (name, Attr::Ints(vec![value]))).collect();
    all.extend([("body", Attr::Graph(body())), ("num_scan_inputs", Attr::Int(1))]);
    parse_at(opset, "Scan", &all)
}

fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_vec(shape, values.to_vec()).unwrap()
}

fn run(op: &dyn Operator, inputs: &[Option<Tensor>]) -> Vec<Tensor> {
    try_run(op, inputs).unwrap()
}

#[test]
fn items_are_taken_and_joined_in_either_direction() {
    let (state, x) = (f32s(&[2], &[0., 0.]), f32s(&[2, 3], &[1., 2., 3., 4., 5., 6.]));
    let inputs = [Some(state), Some(x)];
    let forward = run(&*scan(9, &[("scan_input_axes", 1)]), &inputs);
    assert_eq!(forward[0].as_slice::<f32>().unwrap(), [3., 6.]);
    assert_eq!(forward[1], f32s(&[3, 1, 2], &[1., 4., 2., 5., 3., 6.]));
    let backward = run(&*scan(9, &[("scan_input_axes", -1), ("scan_input_directions", 1)]), &inputs);
    assert_eq!(backward[0].as_slice::<f32>().unwrap(), [1., 4.]);
    assert_eq!(backward[1], f32s(&[3, 1, 2], &[3., 6., 2., 5., 1., 4.]));
    let prepended = [("scan_input_axes", 1), ("scan_output_directions", 1), ("scan_output_axes", -1)];
    assert_eq!(run(&*scan(11, &prepended), &inputs)[1], f32s(&[1, 2, 3], &[3., 2., 1., 6., 5., 4.]));
}

#[test]
fn scanning_nothing_gives_empty_outputs() {
    let inputs = [Some(f32s(&[2], &[7., 8.])), Some(f32s(&[0, 2], &[]))];
    let outputs = run(&*scan(9, &[]), &inputs);
    assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [7., 8.]);
    assert_eq!(outputs[1].shape().dims(), [0, 1, 2]);
}

#[test]
fn opset_8_scans_each_sequence_of_a_batch() {
    let lengths = Tensor::vector(vec![1i64, 2]);
    let state = f32s(&[2, 2], &[0.; 4]);
    let x = f32s(&[2, 2, 2], &[1., 2., 3., 4., 5., 6., 7., 8.]);
    let outputs = run(&*scan(8, &[]), &[Some(lengths), Some(state.clone()), Some(x.clone())]);
    assert_eq!(outputs[0], f32s(&[2, 2], &[1., 2., 7., 8.]));
    assert_eq!(outputs[1], f32s(&[2, 2, 1, 2], &[1., 2., 0., 0., 5., 6., 7., 8.]));
    let reverse = run(&*scan(8, &[("directions", 1)]), &[None, Some(state.clone()), Some(x.clone())]);
    assert_eq!(reverse[0], f32s(&[2, 2], &[1., 2., 5., 6.]));
    let too_long = Tensor::vector(vec![1i64, 3]);
    assert!(try_run(&*scan(8, &[]), &[Some(too_long), Some(state), Some(x)]).is_err());
}

#[test]
fn facts_keep_symbols() {
    let n = SymDim::Symbol("n".into());
    let x = Fact::tensor(DType::F32, vec![n.clone(), SymDim::Known(2)]);
    let state = Fact::tensor(DType::F32, [2]);
    let facts = scan(9, &[]).infer(Facts(&[Some(&state), Some(&x)])).unwrap();
    assert_eq!(
        facts,
        [
            Fact::tensor(DType::F32, [2]),
            Fact::tensor(DType::F32, vec![n, SymDim::Known(1), SymDim::Known(2)])
        ]
    );
}

#[test]
fn what_cannot_be_scanned_is_an_error() {
    let state = f32s(&[2], &[0., 0.]);
    let op = scan(9, &[("scan_input_axes", 1)]);
    assert!(try_run(&*op, &[Some(state.clone()), Some(state.clone())]).is_err());
    assert!(try_run(&*op, &[Some(state.clone())]).is_err());
    let op = scan(9, &[("scan_output_axes", 3)]);
    assert!(try_run(&*op, &[Some(state), Some(f32s(&[1, 2], &[1., 2.]))]).is_err());
}
