//! Attention on the GPU beside its reference.

use super::*;
use crate::testing::{Tolerance, agree_with, random, random_of};
use inferrum_ops::sdpa::{Reach, Stage};
use inferrum_tensor::Tensor;

const CLOSE: Tolerance = Tolerance { relative: 5e-5, absolute: 2e-5 };

fn op() -> Fused {
    Fused {
        scale: 0.3,
        layouts: [Layout::HeadsFirst; 3],
        output: Layout::HeadsFirst,
        fill: f32::NEG_INFINITY,
        zero_nan: false,
    }
}

fn agrees(op: Fused, inputs: &[&Tensor]) {
    let inputs: Vec<_> = inputs.iter().map(|tensor| Some(((*tensor).clone(), false))).collect();
    agree_with(op, &inputs, 1, CLOSE);
}

/// Queries, keys and values: batch, heads of queries and keys, lengths, widths.
fn operands([b, hq, h, s, t, d, dv]: [usize; 7], layout: Layout) -> [Tensor; 3] {
    let shape = |extents: [usize; 4]| {
        let mut dims = extents;
        layout.axes().into_iter().zip(extents).for_each(|(axis, extent)| dims[axis] = extent);
        dims
    };
    [random(&shape([b, hq, s, d]), 1), random(&shape([b, h, t, d]), 2), random(&shape([b, h, t, dv]), 3)]
}

const SIZES: &[[usize; 7]] = &[
    [1, 1, 1, 1, 1, 1, 1],
    [1, 4, 2, 17, 127, 16, 33],
    [2, 2, 1, 1, 127, 64, 64],
    [1, 2, 1, 3, 70, 300, 130],
    [1, 2, 2, 0, 5, 4, 4],
    [1, 2, 2, 5, 0, 4, 4],
    [1, 2, 2, 5, 3, 0, 4],
    [0, 2, 2, 5, 3, 4, 4],
];

#[test]
fn all_sizes_and_layouts_agree() {
    for &size in SIZES {
        for layout in Layout::ALL {
            let [q, k, v] = operands(size, layout);
            agrees(Fused { layouts: [layout; 3], output: layout, ..op() }, &[&q, &k, &v]);
        }
    }
    let tensors = [random(&[3, 17, 8], 1), random(&[3, 40, 8], 2), random(&[3, 40, 5], 3)];
    agrees(op(), &[&tensors[0], &tensors[1], &tensors[2], &random(&[3, 17, 40], 4)]);
    agrees(op(), &[&random(&[9, 8], 1), &random(&[40, 8], 2), &random(&[40, 5], 3), &random(&[40], 4)]);
}

#[test]
fn masks_of_every_kind_agree() {
    let [b, hq, h, s, t, d, dv] = [2, 4, 2, 7, 70, 8, 5];
    let [q, k, v] = operands([b, hq, h, s, t, d, dv], Layout::HeadsFirst);
    for shape in [[b, hq, s, t], [1, 1, s, t], [b, 1, 1, t], [1, hq, s, 1], [1, 1, 1, 1]] {
        agrees(op(), &[&q, &k, &v, &random(&shape, 4)]);
        for fill in [f32::NEG_INFINITY, -5.0, -1e9] {
            agrees(Fused { fill, ..op() }, &[&q, &k, &v, &random_of(DType::Bool, &shape, 4)]);
        }
    }
}

#[test]
fn a_query_that_sees_nothing_agrees() {
    let [q, k, v] = operands([1, 2, 2, 70, 130, 8, 4], Layout::HeadsFirst);
    let hidden = |rows: usize| {
        let values = (0..70 * 130).map(|i| if i / 130 < rows { f32::NEG_INFINITY } else { 0.5 });
        Tensor::from_vec([70, 130], values.collect()).unwrap()
    };
    for zero_nan in [false, true] {
        for rows in [1, 69, 70] {
            agrees(Fused { zero_nan, ..op() }, &[&q, &k, &v, &hidden(rows)]);
        }
    }
    let mut values = q.to_f64().unwrap();
    values[3] = f64::NAN;
    let q = Tensor::from_f64(DType::F32, [1, 2, 70, 8], &values).unwrap();
    for zero_nan in [false, true] {
        agrees(Fused { zero_nan, ..op() }, &[&q, &k, &v]);
    }
}

#[test]
fn caches_windows_and_caps() {
    let reaches = [Reach::default(), Reach::CAUSAL, Reach { left: Some(2), right: Some(1) }];
    for (past, softcap) in [(0, 0.0), (70, 2.0)] {
        for reach in reaches {
            let op = Attention {
                q_heads: None,
                kv_heads: None,
                scale: None,
                softcap,
                reach,
                softmax_precision: None,
                scores_at: Stage::Products,
                outputs: 3,
            };
            let [q, k, v] = operands([2, 4, 2, 7, 9, 8, 5], Layout::HeadsFirst);
            let given = |tensor: Tensor| Some((tensor, false));
            let mut inputs = vec![given(q), given(k), given(v), None];
            inputs.extend((past > 0).then(|| given(random(&[2, 2, past, 8], 5))));
            inputs.extend((past > 0).then(|| given(random(&[2, 2, past, 5], 6))));
            agree_with(op.clone(), &inputs, 3, CLOSE);
            let width = past + 9 - usize::from(past > 0);
            inputs[3] = given(random(&[7, width], 7));
            agree_with(Attention { outputs: 1, ..op.clone() }, &inputs, 1, CLOSE);
            inputs[3] = given(random_of(DType::Bool, &[2, 1, 7, past + 9], 7));
            agree_with(op, &inputs, 3, CLOSE);
        }
    }
}
