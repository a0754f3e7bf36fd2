//! Absurd extents.

use crate::model::{F32, I64, float_data, floats, graph, int_data, model, node, refused, value, tensor_type, accepted};

const HUGE: i64 = 1_000_000_000_000_000_000;

#[test]
fn of_initializers() {
    for dims in [&[HUGE][..], &[HUGE, HUGE], &[i64::MAX], &[i64::MAX; 8], &[1 << 32, 1 << 32], &[1 << 62, 2, 2]] {
        let stored = model(graph(vec![], vec![], &["w"]).storing(float_data("w", dims, &[1.0])));
        refused(&stored, &["initializer `w`", "float32[", "float_data", "got 1"]);
    }
    for dims in [&[-1][..], &[2, -3], &[i64::MIN], &[0, -1]] {
        let stored = model(graph(vec![], vec![], &["w"]).storing(float_data("w", dims, &[1.0])));
        refused(&stored, &["initializer `w`", "extents must be 0 or more"]);
    }
}

#[test]
fn of_inputs() {
    for dims in [&[-2][..], &[3, i64::MIN]] {
        let relu = graph(vec![floats("x", dims)], vec![node("Relu", &["x"], &["y"])], &["y"]);
        refused(&model(relu), &["input `x`", "extents must be 0 or more"]);
    }
    // What is merely declared takes no memory.
    let relu = graph(vec![floats("x", &[HUGE, HUGE])], vec![node("Relu", &["x"], &["y"])], &["y"]);
    let loaded = accepted(&model(relu));
    assert_eq!(loaded.graph.fact(loaded.graph.outputs[0]).to_string(), format!("float32[{HUGE}x{HUGE}]"));
}

#[test]
fn of_shapes_that_are_elements() {
    let filled = |shape: &[i64]| {
        let n = i64::try_from(shape.len()).unwrap();
        model(
            graph(vec![], vec![node("ConstantOfShape", &["s"], &["y"])], &["y"]).storing(int_data("s", &[n], shape)),
        )
    };
    accepted(&filled(&[HUGE, HUGE]));
    refused(&filled(&[2, -1]), &["the_ConstantOfShape", "(ConstantOfShape", "-1"]);
    let expand = |shape: &[i64]| {
        let inputs = vec![value("x", tensor_type(F32, &[2, 1]))];
        let n = i64::try_from(shape.len()).unwrap();
        model(graph(inputs, vec![node("Expand", &["x", "s"], &["y"])], &["y"]).storing(int_data("s", &[n], shape)))
    };
    accepted(&expand(&[HUGE, 2, HUGE]));
    refused(&expand(&[3, 4]), &["the_Expand", "Expand", "float32[2x1]"]);
    let reshape = |shape: &[i64]| {
        let inputs = vec![value("x", tensor_type(I64, &[2, 3]))];
        let n = i64::try_from(shape.len()).unwrap();
        model(graph(inputs, vec![node("Reshape", &["x", "s"], &["y"])], &["y"]).storing(int_data("s", &[n], shape)))
    };
    for shape in [&[HUGE, HUGE][..], &[-2, 3], &[i64::MIN], &[-1, -1], &[4, -1], &[i64::MAX, -1], &[6, 0, 0]] {
        refused(&reshape(shape), &["the_Reshape", "Reshape", "int64[2x3]"]);
    }
}

#[test]
fn of_ranges() {
    let range = |start: i64, limit: i64, delta: i64| {
        let nodes = vec![node("Range", &["a", "b", "c"], &["y"])];
        let range = graph(vec![], nodes, &["y"]).storing(int_data("a", &[], &[start]));
        model(range.storing(int_data("b", &[], &[limit])).storing(int_data("c", &[], &[delta])))
    };
    // The type is known; elements are not made.
    accepted(&range(i64::MIN, i64::MAX, 1));
    accepted(&range(0, HUGE, 1));
    refused(&range(0, 1, 0), &["the_Range", "Range"]);
}
