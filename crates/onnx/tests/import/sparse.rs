//! Sparse initializers and attributes.

use crate::model::{accepted, constant, float_data, graph, int_data, model, refused};
use crate::proto::{ModelProto, SparseTensorProto, TensorProto};

fn sparse(dims: &[i64], values: TensorProto, indices: TensorProto) -> ModelProto {
    let stored = SparseTensorProto { dims: dims.to_vec(), values: Some(values), indices: Some(indices) };
    let mut graph = graph(vec![], vec![], &["w"]);
    graph.sparse_initializer.push(stored);
    model(graph)
}

#[test]
fn linear_indices_and_indices_of_each_axis() {
    let values = float_data("w", &[2], &[5., 7.]);
    let linear = sparse(&[2, 3], values.clone(), int_data("", &[2], &[1, 5]));
    assert_eq!(constant(&accepted(&linear)).to_f64().unwrap(), [0., 5., 0., 0., 0., 7.]);
    let pairs = sparse(&[2, 3], values, int_data("", &[2, 2], &[0, 1, 1, 2]));
    assert_eq!(constant(&accepted(&pairs)), constant(&accepted(&linear)));
    let none = sparse(&[3], float_data("w", &[0], &[]), int_data("", &[0], &[]));
    assert_eq!(constant(&accepted(&none)).to_f64().unwrap(), [0.; 3]);
}

#[test]
fn strings() {
    let texts = TensorProto {
        name: Some("w".into()),
        dims: vec![1],
        data_type: Some(8),
        string_data: vec!["a".into()],
        ..TensorProto::default()
    };
    let dense = constant(&accepted(&sparse(&[2], texts, int_data("", &[1], &[1]))));
    assert_eq!(dense.as_strings().unwrap(), ["", "a"]);
}

#[test]
fn parts_that_do_not_fit() {
    let values = || float_data("w", &[2], &[5., 7.]);
    for indices in [&[0, 6][..], &[0, -1], &[i64::MIN, 0], &[i64::MAX, 0]] {
        let linear = sparse(&[2, 3], values(), int_data("", &[2], indices));
        refused(&linear, &["initializer `w`", "is outside of shape 2x3"]);
    }
    let pairs = sparse(&[2, 3], values(), int_data("", &[2, 2], &[0, 1, 2, 0]));
    refused(&pairs, &["initializer `w`", "[2, 0] is outside of shape 2x3"]);
    let count = sparse(&[2, 3], values(), int_data("", &[3], &[0, 1, 2]));
    refused(&count, &["initializer `w`", "`indices` must have shape [2] or [2, 2], got [3]"]);
    let rank = sparse(&[2, 3], float_data("w", &[1, 2], &[5., 7.]), int_data("", &[2], &[0, 1]));
    refused(&rank, &["initializer `w`", "`values` must have shape [NNZ], got [1x2]"]);
    let floats = sparse(&[2, 3], values(), float_data("", &[2], &[0., 1.]));
    refused(&floats, &["initializer `w`", "int64", "float32"]);
    let mut missing = sparse(&[2, 3], values(), int_data("", &[2], &[0, 1]));
    missing.graph.as_mut().expect("a graph").sparse_initializer[0].indices = None;
    refused(&missing, &["initializer `w`", "must both be there"]);
}

#[test]
fn absurd_extents() {
    let one = || (float_data("w", &[1], &[5.]), int_data("", &[1], &[0]));
    for dims in [&[1_000_000_000_000_000_000][..], &[i64::MAX, i64::MAX], &[1 << 40]] {
        let (values, indices) = one();
        refused(&sparse(dims, values, indices), &["initializer `w`", "when expanded"]);
    }
    let (values, indices) = one();
    refused(&sparse(&[-5], values, indices), &["initializer `w`", "extents must be 0 or more"]);
}
