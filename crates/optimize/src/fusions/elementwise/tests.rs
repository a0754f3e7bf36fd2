use std::sync::Arc;

use inferrum_graph::{Attr, Fact, Graph, ShapeFact, SymDim, ValueId};
use inferrum_ops::if_::If;
use inferrum_tensor::{DType, Tensor};
use proptest::prelude::*;

use super::super::testing::{Builder, finished, finished_by};
use super::{MOST_INPUTS, MOST_STEPS, run};
use inferrum_ops::fused::elementwise::Elementwise;

fn cast(b: &mut Builder, to: i64, x: ValueId) -> ValueId {
    b.op("Cast", &[("to", Attr::Int(to))], &[x])
}

const FLOAT: i64 = 1;
const FLOAT16: i64 = 10;
const INT64: i64 = 7;

#[test]
fn scalars_rows_and_tensors_of_the_same_shape() {
    let mut b = Builder::new();
    let (x, z) = (b.input(&[2, 3, 5]), b.input(&[2, 3, 5]));
    let (scale, row) = (b.scalar(3.0), b.constant(&[5], 1));
    let y = b.op("Mul", &[], &[x, scale]);
    let y = b.op("Add", &[], &[row, y]);
    let y = b.op("Exp", &[], &[y]);
    let y = b.op("Sub", &[], &[y, z]);
    assert_eq!(finished(b, &[y]), ["Elementwise"]);
}

#[test]
fn a_result_may_be_taken_twice_by_the_chain() {
    let mut b = Builder::new();
    let (x, z) = (b.input(&[2, 5]), b.input(&[2, 1]));
    let sum = b.op("Add", &[], &[x, z]);
    let gate = b.op("Sigmoid", &[], &[sum]);
    let less = b.op("Less", &[], &[gate, z]);
    let y = b.op("Where", &[], &[less, sum, gate]);
    assert_eq!(finished(b, &[y]), ["Elementwise"]);
}

#[test]
fn casts_of_floats_at_the_ends() {
    let mut b = Builder::new();
    let x = b.input_of(DType::F16, &[3, 5]);
    let y = cast(&mut b, FLOAT, x);
    let y = b.op("Sqrt", &[], &[y]);
    let y = cast(&mut b, FLOAT16, y);
    assert_eq!(finished(b, &[y]), ["Elementwise"]);
}

#[test]
fn matrix_products_and_convolutions_take_their_part_first() {
    let mut b = Builder::new();
    let x = b.input(&[2, 3, 4]);
    let w = b.constant(&[4, 5], 1);
    let y = b.op("MatMul", &[], &[x, w]);
    let y = b.op("Relu", &[], &[y]);
    let y = b.op("Sqrt", &[], &[y]);
    let y = b.op("Neg", &[], &[y]);
    b.0.outputs = vec![y];
    let (graph, _) = crate::optimize(b.0).unwrap();
    let labels: Vec<_> = graph.nodes().iter().map(|node| node.op.label()).collect();
    assert_eq!(labels, ["Linear + Relu", "Sqrt + Neg"]);
    assert_eq!(graph.nodes()[1].name, "Sqrt2..Neg3");
}

#[test]
fn the_extents_need_not_be_known() {
    let mut b = Builder::new();
    let dims = [SymDim::Symbol(Arc::from("N")), SymDim::Unknown];
    let x = b.0.add_input("x", Fact::tensor(DType::F32, dims.into_iter().collect::<ShapeFact>()));
    let two = b.scalar(2.0);
    let y = b.op("Mul", &[], &[x, two]);
    let y = b.op("Exp", &[], &[y]);
    let y = b.op("Clip", &[], &[y, two]);
    // What is added may be longer.
    let z = b.0.add_input("z", Fact::of_dtype(DType::F32));
    let y = b.op("Add", &[], &[y, z]);
    let y = b.op("Abs", &[], &[y]);
    b.0.outputs = vec![y];
    let (graph, _) = crate::optimize(b.0).unwrap();
    let labels: Vec<_> = graph.nodes().iter().map(|node| node.op.label()).collect();
    assert_eq!(labels, ["Mul + Exp + Clip", "Add + Abs"]);
}

#[test]
fn an_output_of_the_graph_stays() {
    let mut b = Builder::new();
    let x = b.input(&[3]);
    let middle = b.op("Exp", &[], &[x]);
    let y = b.op("Neg", &[], &[middle]);
    let y = b.op("Abs", &[], &[y]);
    assert_eq!(finished(b, &[middle, y]), ["Exp", "Elementwise"]);
}

#[test]
fn what_others_take_stays() {
    let mut b = Builder::new();
    let x = b.input(&[3, 4]);
    let middle = b.op("Exp", &[], &[x]);
    let other = b.op("Softmax", &[], &[middle]);
    let y = b.op("Neg", &[], &[middle]);
    let y = b.op("Add", &[], &[y, other]);
    // The root reaches `Exp` through `Neg`, but `Softmax` lies between the two.
    assert_eq!(finished(b, &[y]), ["Exp", "Softmax", "Elementwise"]);
}

#[test]
fn what_is_broadcast_is_computed_once() {
    let mut b = Builder::new();
    let (x, row) = (b.input(&[4, 3]), b.input(&[3]));
    let row = b.op("Exp", &[], &[row]);
    let row = b.op("Neg", &[], &[row]);
    let y = b.op("Mul", &[], &[x, row]);
    let y = b.op("Abs", &[], &[y]);
    assert_eq!(finished(b, &[y]), ["Elementwise", "Elementwise"]);
    // Both operands are broadcast.
    let mut b = Builder::new();
    let (column, row) = (b.input(&[4, 1]), b.input(&[1, 3]));
    let (column, row) = (b.op("Exp", &[], &[column]), b.op("Neg", &[], &[row]));
    let y = b.op("Mul", &[], &[column, row]);
    assert_eq!(finished(b, &[y]), ["Exp", "Neg", "Mul"]);
}

#[test]
fn integers_and_doubles_stay() {
    for dtype in [DType::I64, DType::I32, DType::F64, DType::BF16] {
        let mut b = Builder::new();
        let x = b.input_of(dtype, &[2, 3]);
        let y = b.op("Add", &[], &[x, x]);
        let y = b.op("Mul", &[], &[y, x]);
        assert_eq!(finished(b, &[y]), ["Add", "Mul"], "{dtype}");
    }
}

#[test]
fn steps_of_float16_join() {
    let mut b = Builder::new();
    let x = b.input_of(DType::F16, &[2, 3]);
    let y = b.op("Add", &[], &[x, x]);
    let y = b.op("Mul", &[], &[y, x]);
    let y = b.op("Tanh", &[], &[y]);
    assert_eq!(finished(b, &[y]), ["Elementwise"]);
}

#[test]
fn rounding_on_the_way_is_kept() {
    let mut b = Builder::new();
    let x = b.input(&[2, 3]);
    let y = b.op("Exp", &[], &[x]);
    let y = cast(&mut b, FLOAT16, y);
    let y = cast(&mut b, FLOAT, y);
    let y = b.op("Sqrt", &[], &[y]);
    assert_eq!(finished(b, &[y]), ["Elementwise", "Elementwise"]);
    let mut b = Builder::new();
    let x = b.input(&[2, 3]);
    let y = b.op("Exp", &[], &[x]);
    let y = cast(&mut b, INT64, y);
    let y = cast(&mut b, FLOAT, y);
    let y = b.op("Sqrt", &[], &[y]);
    assert_eq!(finished(b, &[y]), ["Exp", "Cast", "Cast", "Sqrt"]);
}

#[test]
fn truth_values_alone_stay() {
    let mut b = Builder::new();
    let (x, z) = (b.input_of(DType::Bool, &[2, 3]), b.input_of(DType::Bool, &[2, 3]));
    let y = b.op("And", &[], &[x, z]);
    let y = b.op("Not", &[], &[y]);
    assert_eq!(finished(b, &[y]), ["And", "Not"]);
}

#[test]
fn what_a_body_captures_stays() {
    let mut b = Builder::new();
    let x = b.input(&[3]);
    let condition = b.input_of(DType::Bool, &[1]);
    let middle = b.op("Exp", &[], &[x]);
    let branch = |op_type: &str| {
        let mut body = Builder(Graph::new(op_type));
        let x = body.0.add_input("captured", Fact::of_dtype(DType::F32));
        let y = body.op(op_type, &[], &[x]);
        let y = body.op("Neg", &[], &[y]);
        body.0.outputs = vec![y];
        Arc::new(body.0)
    };
    let op = If { then_branch: branch("Sqrt"), else_branch: branch("Abs"), captures: 1 };
    let chosen = b.0.add_node("if", Arc::new(op), vec![Some(condition), Some(middle)]).unwrap();
    let y = b.op("Neg", &[], &[middle]);
    let y = b.op("Softmax", &[], &[y]);
    assert_eq!(finished(b, &[chosen, y]), ["Exp", "If", "Neg", "Softmax"]);
}

#[test]
fn bodies_have_chains_too() {
    let mut body = Builder(Graph::new("body"));
    let x = body.0.add_input("captured", Fact::of_dtype(DType::F32));
    let y = body.op("Sqrt", &[], &[x]);
    let y = body.op("Neg", &[], &[y]);
    body.0.outputs = vec![y];
    let body = Arc::new(body.0);
    let mut b = Builder::new();
    let (x, condition) = (b.input(&[3]), b.input_of(DType::Bool, &[1]));
    let op = If { then_branch: Arc::clone(&body), else_branch: body, captures: 1 };
    let y = b.0.add_node("if", Arc::new(op), vec![Some(condition), Some(x)]).unwrap();
    b.0.outputs = vec![y];
    let (_, counts) = crate::optimize(b.0).unwrap();
    assert_eq!(counts, [("element-wise chains".to_owned(), 2)]);
}

#[test]
fn what_decides_a_shape_stays() {
    let mut b = Builder::new();
    let (x, extents) = (b.input(&[1, 1]), b.input(&[2]));
    let half = b.scalar(0.5);
    let extents = b.op("Mul", &[], &[extents, half]);
    let extents = b.op("Ceil", &[], &[extents]);
    let target = cast(&mut b, INT64, extents);
    let y = b.op("Reshape", &[], &[x, target]);
    let z = b.op("Neg", &[], &[extents]);
    let z = b.op("Exp", &[], &[z]);
    assert_eq!(finished(b, &[y, z]), ["Elementwise", "Cast", "Reshape", "Elementwise"]);
}

#[test]
fn chains_are_bounded() {
    let mut b = Builder::new();
    let mut y = b.input(&[3]);
    for _ in 0..20 {
        let x = b.input(&[3]);
        y = b.op("Add", &[], &[y, x]);
    }
    for _ in 0..2 * MOST_STEPS {
        y = b.op("Sqrt", &[], &[y]);
    }
    b.0.outputs = vec![y];
    let (graph, _) = crate::optimize(b.0).unwrap();
    for node in graph.nodes() {
        let op = crate::index::operator::<Elementwise>(node);
        assert!(op.is_none_or(|op| op.steps.len() <= MOST_STEPS) && node.inputs.len() <= MOST_INPUTS);
    }
    assert!(graph.nodes().len() <= 6, "{graph}");
}

/// One step of a random graph: an operator, and how far back its operands are.
fn random_graph(steps: &[(usize, usize, usize, usize)], keep: usize) -> (Builder, Vec<ValueId>) {
    let mut b = Builder::new();
    let mut floats = vec![b.input(&[2, 3, 4]), b.input(&[4]), b.input(&[3, 1]), b.scalar(1.5)];
    let mut truths = vec![b.input_of(DType::Bool, &[2, 3, 4])];
    let mut made = Vec::new();
    for &(op, i, j, k) in steps {
        let pick = |values: &[ValueId], back: usize| values[values.len() - 1 - back % values.len()];
        let (x, y) = (pick(&floats, i), pick(&floats, j));
        let one = |b: &mut Builder, name: &str| b.op(name, &[], &[x]);
        let two = |b: &mut Builder, name: &str| b.op(name, &[], &[x, y]);
        let value = match op {
            0 => one(&mut b, "Sqrt"),
            1 => one(&mut b, "Neg"),
            2 => one(&mut b, "Sigmoid"),
            3 => one(&mut b, "HardSwish"),
            4 => two(&mut b, "Add"),
            5 => two(&mut b, "Mul"),
            6 => two(&mut b, "Max"),
            7 => two(&mut b, "Sub"),
            8 => one(&mut b, "Softsign"),
            9 => {
                let half = cast(&mut b, FLOAT16, x);
                cast(&mut b, FLOAT, half)
            }
            10 => {
                let less = two(&mut b, "Less");
                truths.push(less);
                less
            }
            11 => {
                let mask = pick(&truths, k);
                b.op("Where", &[], &[mask, x, y])
            }
            _ => b.op("Clip", &[], &[x]),
        };
        if op != 10 {
            floats.push(value);
        }
        made.push(value);
    }
    let last = made.len() - 1;
    let outputs = vec![made[keep % made.len()], made[last]];
    (b, outputs)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_chains_give_the_same_bits(
        steps in prop::collection::vec((0usize..13, 0usize..4, 0usize..4, 0usize..4), 1..40),
        keep in 0usize..40,
    ) {
        let (b, outputs) = random_graph(&steps, keep);
        finished_by(run, b, &outputs);
    }
}

#[test]
fn constants_are_inputs() {
    let mut b = Builder::new();
    let x = b.input(&[2, 3]);
    let c = b.0.add_constant("table", Tensor::from_vec([2, 3], vec![1f32; 6]).unwrap());
    let y = b.op("Div", &[], &[x, c]);
    let y = b.op("Neg", &[], &[y]);
    assert_eq!(finished(b, &[y]), ["Elementwise"]);
}
