//! Operators that do not exist, and attributes that do not fit.

use inferrum_onnx::summary_bytes;
use prost::Message;

use crate::model::{
    body, float, floats, function, graph, int, int_data, model, node, opset, refused, tensor_type, value,
};
use crate::proto::NodeProto;

fn x() -> Vec<crate::proto::ValueInfoProto> {
    vec![floats("x", &[2, 3])]
}

#[track_caller]
fn bad(node: NodeProto, parts: &[&str]) {
    refused(&model(graph(x(), vec![node], &["y"])), parts);
}

#[test]
fn unknown_operators_are_all_listed_at_once() {
    let inner = || graph(vec![], vec![node("InBody", &["x"], &["r"])], &["r"]);
    let nodes = vec![
        node("Ghost", &["x"], &["a"]).named("first"),
        node("Ghost", &["a"], &["b"]).named("second"),
        node("Relu", &["b"], &["c"]).of("com.example"),
        node("relu", &["c"], &["d"]),
        node("If", &["flag"], &["e"]).with(body("then_branch", inner())).with(body("else_branch", inner())),
        node("F", &["e"], &["y"]).of("local"),
    ];
    let function =
        function("F", &["a"], vec![node("InFunction", &["a"], &["b"]).of("com.microsoft")], &["b"]);
    let mut model = model(graph([x(), vec![value("flag", tensor_type(9, &[]))]].concat(), nodes, &["y"]))
        .defining(vec![function]);
    model.opset_import.push(opset("com.example", 7));
    let listed = [
        "ai.onnx.Ghost (opset 17, 2 nodes, first `first`)",
        "com.example.Relu (opset 7, 1 node, first `the_Relu`)",
        "ai.onnx.relu (opset 17, 1 node",
        "ai.onnx.InBody (opset 17, 2 nodes",
        "com.microsoft.InFunction (opset 1, 1 node",
    ];
    refused(&model, &listed);
    // The summary tells them also.
    assert_eq!(summary_bytes(model.encode_to_vec().into()).expect("a summary").unknown().len(), listed.len());
}

#[test]
fn a_blocked_layout_is_told_how_to_be_avoided() {
    let blocked = vec![node("ReorderInput", &["x"], &["y"]).of("com.microsoft.nchwc")];
    let mut model = model(graph(x(), blocked, &["y"]));
    model.opset_import.push(opset("com.microsoft.nchwc", 1));
    refused(&model, &["com.microsoft.nchwc.ReorderInput (opset 1, 1 node", "ORT_ENABLE_EXTENDED"]);
}

#[test]
fn names_of_operators_that_are_odd() {
    for op_type in ["", " ", "Rélu", "Relu\0", &"A".repeat(10_000)] {
        bad(node(op_type, &["x"], &["y"]), &["do not exist here", "opset 17"]);
    }
}

#[test]
fn attributes_that_the_operator_does_not_have() {
    bad(
        node("Relu", &["x"], &["y"]).with(float("slope", 1.)),
        &["the_Relu", "Relu", "unknown attribute `slope`"],
    );
    let two = node("Softmax", &["x"], &["y"]).with(int("a", 1)).with(int("axis", 1)).with(int("b", 1));
    bad(two, &["the_Softmax", "Softmax", "unknown attribute `a`, `b`"]);
    let twice = node("Softmax", &["x"], &["y"]).with(int("axis", 1)).with(int("axis", 1));
    bad(twice, &["the_Softmax", "Softmax", "attribute `axis` is given twice"]);
}

#[test]
fn attributes_of_the_wrong_kind() {
    let axis = node("Softmax", &["x"], &["y"]).with(float("axis", 1.));
    bad(axis, &["the_Softmax", "Softmax", "attribute `axis`: expected an integer, got a float"]);
    let missing = node("Cast", &["x"], &["y"]);
    bad(missing, &["the_Cast", "Cast", "attribute `to`", "got nothing"]);
    bad(node("Cast", &["x"], &["y"]).with(int("to", 99)), &["the_Cast", "Cast", "attribute `to`", "99"]);
    bad(node("Cast", &["x"], &["y"]).with(int("to", i64::MIN)), &["the_Cast", "Cast", "attribute `to`"]);
    let mut odd = int("axis", 1);
    odd.r#type = Some(77);
    bad(
        node("Softmax", &["x"], &["y"]).with(odd.clone()),
        &["`axis` of node `the_Softmax` (Softmax)", "attribute type 77"],
    );
    odd.r#type = Some(5);
    bad(
        node("Softmax", &["x"], &["y"]).with(odd),
        &["`axis` of node `the_Softmax` (Softmax)", "holds no such value"],
    );
}

#[test]
fn axes_out_of_range() {
    for axis in [2, -3, i64::MIN, i64::MAX, 1_000_000_000_000_000_000] {
        let text = axis.to_string();
        for op_type in [
            "Softmax",
            "LogSoftmax",
            "Hardmax",
            "ArgMax",
            "Concat",
            "LayerNormalization",
            "Split",
            "TopK",
            "Gather",
            "Compress",
            "CumSum",
        ] {
            let extra: &[&str] = match op_type {
                "LayerNormalization" | "Gather" | "TopK" | "Compress" => &["x", "k"],
                "CumSum" => &["x", "axis"],
                _ => &["x"],
            };
            let mut with_axis = node(op_type, extra, &["y"]);
            if op_type != "CumSum" {
                with_axis = with_axis.with(int("axis", axis));
            }
            let mut graph = graph(x(), vec![with_axis], &["y"]);
            graph.initializer = match op_type {
                "LayerNormalization" => vec![crate::model::float_data("k", &[3], &[1.; 3])],
                "Compress" => vec![crate::proto::TensorProto {
                    data_type: Some(9),
                    int64_data: vec![],
                    int32_data: vec![1],
                    ..int_data("k", &[1], &[])
                }],
                "CumSum" => vec![int_data("axis", &[], &[axis])],
                _ => vec![int_data("k", &[1], &[1])],
            };
            refused(&model(graph), &[&format!("the_{op_type}"), op_type, &text]);
        }
        // Axes that are an input.
        for op_type in ["ReduceSum", "Squeeze", "Unsqueeze"] {
            let graph = graph(x(), vec![node(op_type, &["x", "axes"], &["y"])], &["y"]);
            if op_type == "Unsqueeze" && matches!(axis, 2 | -3) {
                continue;
            }
            refused(
                &model(graph.storing(int_data("axes", &[1], &[axis]))),
                &[&format!("the_{op_type}"), op_type, &text],
            );
        }
        let mut transpose = int("perm", 0);
        transpose.r#type = Some(7);
        transpose.ints = vec![0, axis];
        bad(node("Transpose", &["x"], &["y"]).with(transpose), &["the_Transpose", "Transpose", &text]);
        if axis != 2 {
            // Flatten may put everything before the axis.
            bad(node("Flatten", &["x"], &["y"]).with(int("axis", axis)), &["the_Flatten", "Flatten", &text]);
        }
    }
}

#[test]
fn element_types_that_the_operator_does_not_take() {
    let inputs = || {
        vec![floats("x", &[2, 3]), value("i", tensor_type(7, &[2, 3])), value("s", tensor_type(8, &[2, 3]))]
    };
    for (op_type, args) in [
        ("Add", ["x", "i"]),
        ("Add", ["s", "s"]),
        ("MatMul", ["x", "s"]),
        ("And", ["x", "x"]),
        ("Pow", ["s", "x"]),
    ] {
        let graph = graph(inputs(), vec![node(op_type, &args, &["y"])], &["y"]);
        refused(&model(graph), &[&format!("node `the_{op_type}` ({op_type}, inputs ("), "must be"]);
    }
    for op_type in ["Relu", "Exp", "Sin", "Softmax", "Not", "Sigmoid"] {
        let graph = graph(inputs(), vec![node(op_type, &["s"], &["y"])], &["y"]);
        refused(
            &model(graph),
            &[&format!("node `the_{op_type}` ({op_type}, inputs (string[2x3]))"), "input 0 must be of"],
        );
    }
}

#[test]
fn shapes_that_do_not_fit() {
    let inputs = || vec![floats("x", &[2, 3]), floats("w", &[4, 5]), floats("v", &[7])];
    for (op_type, args) in [
        ("MatMul", ["x", "w"]),
        ("Add", ["x", "w"]),
        ("Gemm", ["x", "w"]),
        ("Where", ["x", "w"]),
        ("Conv", ["x", "w"]),
    ] {
        let graph = graph(inputs(), vec![node(op_type, &args, &["y"])], &["y"]);
        refused(&model(graph), &[&format!("node `the_{op_type}` ({op_type}, inputs (float32[2x3]")]);
    }
}

#[test]
fn more_inputs_than_the_operator_takes() {
    for (op_type, most) in [("MatMul", 2), ("Gemm", 3), ("Conv", 3), ("Relu", 1), ("Add", 2), ("Where", 3)] {
        let inputs = vec!["x"; most + 1];
        let takes = format!("at most {most} inputs, got {}", most + 1);
        bad(node(op_type, &inputs, &["y"]).named("n"), &["`n`", op_type, &takes]);
    }
}
