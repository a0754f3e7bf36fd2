use super::super::testing::{Builder, optimized};
use inferrum_graph::{Attr, ValueId};
use inferrum_tensor::{DType, Tensor};

fn transpose(b: &mut Builder, perm: &[i64], x: ValueId) -> ValueId {
    b.op("Transpose", &[("perm", Attr::Ints(perm.to_vec()))], &[x])
}

fn softmax(b: &mut Builder, x: ValueId) -> ValueId {
    b.op("Softmax", &[("axis", Attr::Int(-1))], &[x])
}

fn bools(b: &mut Builder, shape: &[usize]) -> ValueId {
    let elements = shape.iter().product();
    let tensor = Tensor::from_vec(shape, (0..elements).map(|i: usize| i % 3 != 1).collect::<Vec<bool>>());
    b.0.add_constant("mask", tensor.unwrap())
}

fn is_one(left: &[String]) {
    assert_eq!(left, ["Attention"]);
}

fn is_none(left: &[String]) {
    assert!(!left.contains(&"Attention".to_owned()), "{left:?}");
}

#[test]
fn bert_with_heads_split_and_merged() {
    let mut b = Builder::new();
    let [q, k, v] = [3, 5, 5].map(|len| b.input(&[2, len, 4, 8]));
    let mask = b.input(&[2, 1, 1, 5]);
    let q = transpose(&mut b, &[0, 2, 1, 3], q);
    let k = transpose(&mut b, &[0, 2, 3, 1], k);
    let v = transpose(&mut b, &[0, 2, 1, 3], v);
    let s = b.op("MatMul", &[], &[q, k]);
    let root = b.scalar(2.5);
    let s = b.op("Div", &[], &[s, root]);
    let s = b.op("Add", &[], &[s, mask]);
    let p = softmax(&mut b, s);
    let y = b.op("MatMul", &[], &[p, v]);
    let y = transpose(&mut b, &[0, 2, 1, 3], y);
    is_one(&optimized(b, y));
}

#[test]
fn torch_with_scaled_operands_and_a_stack_of_keys() {
    for guarded in [false, true] {
        let mut b = Builder::new();
        let [q, k, v] = [3, 5, 5].map(|len| b.input(&[2, 4, len, 8]));
        let (root, zero) = (b.scalar(0.6), b.scalar(0.0));
        let q = b.op("Mul", &[], &[q, root]);
        let (stack, columns) = (b.ints(&[-1, 5, 8]), b.ints(&[2, 4, 8, 5]));
        let k = b.op("Reshape", &[], &[k, stack]);
        let k = transpose(&mut b, &[0, 2, 1], k);
        let k = b.op("Reshape", &[], &[k, columns]);
        let k = b.op("Mul", &[], &[k, root]);
        let s = b.op("MatMul", &[], &[q, k]);
        let mut p = softmax(&mut b, s);
        if guarded {
            let test = b.op("IsNaN", &[], &[p]);
            p = b.op("Where", &[], &[test, zero, p]);
        }
        let y = b.op("MatMul", &[], &[p, v]);
        is_one(&optimized(b, y));
    }
}

#[test]
fn torch_with_the_length_outermost() {
    let mut b = Builder::new();
    let [mut q, mut k, v] = [3, 5, 5].map(|len| {
        let x = b.input(&[len, 8, 8]);
        let x = transpose(&mut b, &[1, 0, 2], x);
        let four = b.ints(&[2, 4, len as i64, 8]);
        b.op("Reshape", &[], &[x, four])
    });
    let root = b.scalar(0.6);
    let (stack, columns) = (b.ints(&[-1, 5, 8]), b.ints(&[2, 4, 8, 5]));
    k = b.op("Reshape", &[], &[k, stack]);
    k = transpose(&mut b, &[0, 2, 1], k);
    k = b.op("Reshape", &[], &[k, columns]);
    k = b.op("Mul", &[], &[k, root]);
    q = b.op("Mul", &[], &[q, root]);
    let s = b.op("MatMul", &[], &[q, k]);
    let p = softmax(&mut b, s);
    let y = b.op("MatMul", &[], &[p, v]);
    let y = transpose(&mut b, &[2, 0, 1, 3], y);
    assert_eq!(optimized(b, y), ["Reshape", "Reshape", "Reshape", "Attention"]);
}

#[test]
fn masks_that_choose() {
    for (inverted, shape) in [(false, &[1, 1, 3, 5][..]), (true, &[5])] {
        let mut b = Builder::new();
        let [q, k, v] = [3, 5, 5].map(|len| b.input(&[2, 4, len, 8]));
        let mask = bools(&mut b, shape);
        let k = transpose(&mut b, &[0, 1, 3, 2], k);
        let s = b.op("MatMul", &[], &[q, k]);
        let (scale, hidden) = (b.scalar(0.3), b.scalar(-1e9));
        let s = b.op("Mul", &[], &[scale, s]);
        let operands = if inverted { [mask, hidden, s] } else { [mask, s, hidden] };
        let s = b.op("Where", &[], &operands);
        let p = softmax(&mut b, s);
        let y = b.op("MatMul", &[], &[p, v]);
        is_one(&optimized(b, y));
    }
}

#[test]
fn three_axes_and_an_addend_of_every_score() {
    let mut b = Builder::new();
    let [q, k, v] = [3, 5, 5].map(|len| b.input(&[6, len, 8]));
    let added = b.input(&[6, 3, 5]);
    let k = transpose(&mut b, &[0, 2, 1], k);
    let s = b.op("MatMul", &[], &[q, k]);
    let s = b.op("Add", &[], &[added, s]);
    let p = softmax(&mut b, s);
    let y = b.op("MatMul", &[], &[p, v]);
    is_one(&optimized(b, y));
}

#[test]
fn heads_that_queries_share() {
    let mut b = Builder::new();
    let q = b.input(&[2, 6, 3, 8]);
    let mut repeated = [0, 1].map(|_| {
        let x = b.input(&[2, 2, 5, 8]);
        let (axis, five, four) = (b.ints(&[2]), b.ints(&[2, 2, 3, 5, 8]), b.ints(&[2, 6, 5, 8]));
        let x = b.op("Unsqueeze", &[], &[x, axis]);
        let x = b.op("Expand", &[], &[x, five]);
        b.op("Reshape", &[], &[x, four])
    });
    repeated[0] = transpose(&mut b, &[0, 1, 3, 2], repeated[0]);
    let s = b.op("MatMul", &[], &[q, repeated[0]]);
    let p = softmax(&mut b, s);
    let y = b.op("MatMul", &[], &[p, repeated[1]]);
    is_one(&optimized(b, y));
}

/// Attention, of which `change` may alter the scores.
fn plain(change: impl FnOnce(&mut Builder, ValueId) -> ValueId, axis: i64) -> (Builder, ValueId) {
    let mut b = Builder::new();
    let [q, k, v] = [5, 5, 5].map(|len| b.input(&[2, 4, len, 8]));
    let k = transpose(&mut b, &[0, 1, 3, 2], k);
    let s = b.op("MatMul", &[], &[q, k]);
    let s = change(&mut b, s);
    let p = b.op("Softmax", &[("axis", Attr::Int(axis))], &[s]);
    let y = b.op("MatMul", &[], &[p, v]);
    (b, y)
}

#[test]
fn what_is_not_attention_stays() {
    let (b, y) = plain(|_, s| s, -1);
    is_one(&optimized(b, y));
    let (b, y) = plain(|_, s| s, -2);
    is_none(&optimized(b, y));
    let (b, y) = plain(|b, s| b.op("Relu", &[], &[s]), -1);
    is_none(&optimized(b, y));
    // A factor of a mask.
    let scaled_mask = |b: &mut Builder, s| {
        let (mask, two) = (b.constant(&[5, 5], 9), b.scalar(2.0));
        let s = b.op("Add", &[], &[s, mask]);
        b.op("Mul", &[], &[s, two])
    };
    let (b, y) = plain(scaled_mask, -1);
    is_none(&optimized(b, y));
    // A score that is hidden by a number that does not hide.
    let kept = |b: &mut Builder, s| {
        let (mask, one) = (bools(b, &[5, 5]), b.scalar(1.0));
        b.op("Where", &[], &[mask, s, one])
    };
    let (b, y) = plain(kept, -1);
    is_none(&optimized(b, y));
    // A mask of more axes than the scores.
    let wider = |b: &mut Builder, s| {
        let mask = b.constant(&[2, 1, 1, 5, 5], 9);
        b.op("Add", &[], &[s, mask])
    };
    let (b, y) = plain(wider, -1);
    is_none(&optimized(b, y));
}

#[test]
fn scores_and_probabilities_that_others_want_stay() {
    for wants_scores in [false, true] {
        let mut b = Builder::new();
        let [q, k, v] = [5, 5, 5].map(|len| b.input(&[2, len, 5]));
        let k = transpose(&mut b, &[0, 2, 1], k);
        let s = b.op("MatMul", &[], &[q, k]);
        let p = softmax(&mut b, s);
        let y = b.op("MatMul", &[], &[p, v]);
        let y = b.op("Add", &[], &[y, if wants_scores { s } else { p }]);
        is_none(&optimized(b, y));
    }
}

#[test]
fn shapes_that_are_broadcast_stay() {
    let mut b = Builder::new();
    let (q, k, v) = (b.input(&[2, 4, 3, 8]), b.input(&[1, 4, 8, 5]), b.input(&[2, 4, 5, 8]));
    let s = b.op("MatMul", &[], &[q, k]);
    let p = softmax(&mut b, s);
    let y = b.op("MatMul", &[], &[p, v]);
    is_none(&optimized(b, y));
}

#[test]
fn half_precision_stays_half() {
    let mut b = Builder::new();
    let [q, k, v] = [3, 5, 5].map(|len| {
        let x = b.input(&[4, len, 8]);
        b.op("Cast", &[("to", Attr::Int(10))], &[x])
    });
    let k = transpose(&mut b, &[0, 2, 1], k);
    let s = b.op("MatMul", &[], &[q, k]);
    let p = softmax(&mut b, s);
    let y = b.op("MatMul", &[], &[p, v]);
    b.0.outputs = vec![y];
    let (graph, _) = crate::optimize(b.0).unwrap();
    assert_eq!(graph.nodes().last().unwrap().op.key().op_type, "Attention");
    assert_eq!(graph.fact(graph.outputs[0]).as_tensor().unwrap().dtype, DType::F16);
}
