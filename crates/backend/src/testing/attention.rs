//! Attention: fused, and the operators of ONNX and ONNX Runtime.

use inferrum_ops::attention::Attention;
use inferrum_ops::fused::attention::{Attention as Fused, Layout};
use inferrum_ops::multi_head_attention::MultiHeadAttention;
use inferrum_ops::sdpa::{Reach, Stage};
use inferrum_tensor::{DType, Tensor};

use super::{Case, Given, given, random, random_of};

/// Batch, heads of queries and keys, lengths, widths of keys and values.
pub const SIZES: &[[usize; 7]] = &[
    [1, 1, 1, 1, 1, 1, 1],
    [2, 3, 3, 3, 17, 5, 7],
    [1, 4, 2, 17, 127, 16, 33],
    [2, 2, 1, 1, 127, 64, 64],
    [1, 6, 2, 1, 600, 8, 3],
    [1, 1, 1, 127, 1100, 32, 17],
    [1, 8, 1, 3, 40, 20, 64],
    [1, 2, 1, 3, 70, 300, 130],
    [1, 2, 2, 0, 5, 4, 4],
    [1, 2, 2, 5, 0, 4, 4],
    [1, 2, 2, 5, 3, 0, 4],
    [1, 2, 2, 5, 3, 4, 0],
    [0, 2, 2, 5, 3, 4, 4],
    [1, 4, 2, 40, 130, 64, 32],
    [1, 2, 1, 70, 90, 128, 144],
];

fn fused() -> Fused {
    Fused {
        scale: 0.3,
        layouts: [Layout::HeadsFirst; 3],
        output: Layout::HeadsFirst,
        fill: f32::NEG_INFINITY,
        zero_nan: false,
    }
}

/// Queries, keys and values.
fn operands([b, hq, h, s, t, d, dv]: [usize; 7], layouts: [Layout; 3]) -> [Tensor; 3] {
    let shape = |layout: Layout, extents: [usize; 4]| {
        let mut dims = extents;
        layout.axes().into_iter().zip(extents).for_each(|(axis, extent)| dims[axis] = extent);
        dims
    };
    [
        random(&shape(layouts[0], [b, hq, s, d]), 1),
        random(&shape(layouts[1], [b, h, t, d]), 2),
        random(&shape(layouts[2], [b, h, t, dv]), 3),
    ]
}

/// All [`SIZES`] in every layout, layouts that differ, and fewer axes.
pub fn sizes_and_layouts() -> Vec<Case> {
    let mut layouts: Vec<_> =
        SIZES.iter().flat_map(|&size| Layout::ALL.map(|all| (size, [all; 3]))).collect();
    let mixed = [Layout::LengthFirst, Layout::HeadsFirst, Layout::LengthOuter];
    layouts.push(([2, 3, 3, 5, 9, 4, 6], mixed));
    let mut cases: Vec<Case> = layouts
        .into_iter()
        .map(|(size, layouts)| {
            let op = Fused { layouts, output: layouts[0], ..fused() };
            Case::new(op, given(operands(size, layouts)), 1)
        })
        .collect();
    for shapes in
        [[&[3, 17, 8][..], &[3, 40, 8], &[3, 40, 5], &[3, 17, 40]], [&[9, 8], &[40, 8], &[40, 5], &[40]]]
    {
        let mut seed = 0;
        let tensors = shapes.map(|shape| {
            seed += 1;
            random(shape, seed)
        });
        cases.push(Case::new(fused(), given(tensors), 1));
    }
    cases
}

/// A mask of zeros with some keys hidden by `value`: those after a query's own place, or every third one.
fn hiding(shape: [usize; 4], value: f32, causal: bool) -> Tensor {
    let [_, _, rows, keys] = shape;
    let values = (0..shape.iter().product()).map(|i: usize| {
        let (row, key) = (i / keys % rows.max(1), i % keys);
        let hidden = if causal { key > row + keys.saturating_sub(rows) } else { (key + row) % 3 == 1 };
        if hidden { value } else { 0.0 }
    });
    Tensor::from_vec(shape, values.collect()).expect("as many numbers as elements")
}

/// Masks that are added, that hide, and of bool, in every shape.
pub fn masks(size: [usize; 7]) -> Vec<Case> {
    let [b, hq, _, s, t, ..] = size;
    let [q, k, v] = operands(size, [Layout::HeadsFirst; 3]);
    let mut cases = Vec::new();
    let mut add = |op: Fused, mask: Tensor, slack: f64| {
        let inputs = given([q.clone(), k.clone(), v.clone(), mask]);
        cases.push(Case { slack, ..Case::new(op, inputs, 1) });
    };
    for shape in [[b, hq, s, t], [1, 1, s, t], [b, 1, 1, t], [1, hq, s, 1], [1, 1, 1, 1], [1, hq, 1, t]] {
        add(fused(), random(&shape, 4), 1.0);
        for value in [f32::NEG_INFINITY, -1e4, f32::MIN] {
            // Scores of a row that is all hidden by 10,000 are held to 10^-3.
            let slack = if value == -1e4 { 100.0 } else { 1.0 };
            for causal in [false, true] {
                add(fused(), hiding(shape, value, causal), slack);
            }
        }
        for fill in [f32::NEG_INFINITY, -5.0, -1e9] {
            add(Fused { fill, ..fused() }, random_of(DType::Bool, &shape, 4), 1.0);
        }
    }
    cases
}

/// Large scores are not hidden by a finite mask.
pub fn large_scores() -> Vec<Case> {
    let [q, k, v] = operands([1, 2, 2, 17, 40, 8, 4], [Layout::HeadsFirst; 3]);
    let inputs = given([q, k, v, hiding([1, 1, 17, 40], -1e4, true)]);
    // A probability depends on the last bit of a score of thousands.
    [300.0, 3000.0]
        .map(|scale| Case { slack: 2500.0, ..Case::new(Fused { scale, ..fused() }, inputs.clone(), 1) })
        .into()
}

/// Queries that see no key, or are not numbers.
pub fn blind_queries() -> Vec<Case> {
    let [q, k, v] = operands([1, 2, 2, 70, 600, 8, 4], [Layout::HeadsFirst; 3]);
    let hidden = |rows: usize| {
        let values = (0..70 * 600).map(|i| if i / 600 < rows { f32::NEG_INFINITY } else { 0.5 });
        Tensor::from_vec([70, 600], values.collect()).expect("as many numbers as elements")
    };
    let mut values = q.as_slice::<f32>().expect("floats").to_vec();
    values[3] = f32::NAN;
    let nan = Tensor::from_vec([1, 2, 70, 8], values).expect("as many numbers as elements");
    let mut inputs = vec![given([nan, k.clone(), v.clone()])];
    inputs.extend([1, 69, 70].map(|rows| given([q.clone(), k.clone(), v.clone(), hidden(rows)])));
    let both = |inputs: Vec<_>| {
        [false, true].map(|zero_nan| Case::new(Fused { zero_nan, ..fused() }, inputs.clone(), 1))
    };
    inputs.into_iter().flat_map(both).collect()
}

fn onnx(outputs: usize, reach: Reach) -> Attention {
    Attention {
        q_heads: None,
        kv_heads: None,
        scale: None,
        softcap: 0.0,
        reach,
        softmax_precision: None,
        scores_at: Stage::Products,
        outputs,
    }
}

/// The operator of ONNX with caches, windows, caps and masks.
pub fn caches_windows_and_caps(size: [usize; 7]) -> Vec<Case> {
    let [b, _, h, s, t, d, dv] = size;
    let mut cases = Vec::new();
    for reach in [Reach::default(), Reach::CAUSAL, Reach { left: Some(2), right: Some(1) }] {
        for (past, softcap) in [(0, 0.0), (0, 2.0), (9, 0.0), (70, 2.0)] {
            let mut add = |outputs: usize, mask: Option<Tensor>| {
                let mut inputs = given(operands(size, [Layout::HeadsFirst; 3]));
                inputs.push(mask.map(|mask| (mask, false)));
                if past > 0 {
                    inputs.extend(given([random(&[b, h, past, d], 5), random(&[b, h, past, dv], 6)]));
                }
                let op = Attention { softcap, ..onnx(outputs, reach) };
                cases.push(Case::new(op, inputs, outputs));
            };
            add(1, None);
            add(3, None);
            // After a cache the mask does not reach the last key.
            add(1, Some(random(&[s, past + t - usize::from(past > 0 && t > 0)], 7)));
            add(3, Some(random_of(DType::Bool, &[b, 1, s, past + t], 7)));
        }
    }
    cases
}

/// Heads side by side: the operator of ONNX, and ONNX Runtime's `MultiHeadAttention`.
pub fn packed_heads() -> Vec<Case> {
    let op = Attention { q_heads: Some(4), kv_heads: Some(2), ..onnx(3, Reach::CAUSAL) };
    let operands = [random(&[2, 17, 20], 1), random(&[2, 17, 10], 2), random(&[2, 17, 6], 3)];
    let mut cases = vec![Case::new(op, given(operands), 3)];
    for causal in [false, true] {
        let op = MultiHeadAttention { heads: 4, scale: None, mask_filter: -1e4, causal, outputs: 3 };
        let mut inputs = given([random(&[2, 17, 20], 1), random(&[2, 9, 20], 2), random(&[2, 9, 12], 3)]);
        cases.push(Case::new(op.clone(), inputs.clone(), 3));
        inputs.extend([None, None]);
        let past = [random(&[1, 4, 17, 14], 4), random(&[2, 4, 5, 5], 5), random(&[2, 4, 5, 3], 6)];
        inputs.extend(given(past));
        cases.push(Case::new(op.clone(), inputs, 3));
        let crossed = [random(&[2, 3, 20], 1), random(&[2, 4, 9, 5], 2), random(&[2, 4, 9, 3], 3)];
        cases.push(Case::new(op, given(crossed), 3));
    }
    cases
}

/// Values that are no numbers, of keys that no query sees, or only some. There are 17 queries or more, and 300 keys.
pub fn hidden_values(size: [usize; 7]) -> Vec<Case> {
    let [b, hq, h, s, t, _, dv] = size;
    let [q, k, v] = operands(size, [Layout::HeadsFirst; 3]);
    let mut numbers = v.as_slice::<f32>().expect("floats").to_vec();
    for (i, number) in numbers.iter_mut().enumerate() {
        match i / dv % t {
            100 => *number = f32::NAN,
            290 => *number = f32::INFINITY,
            _ => {}
        }
    }
    let v = Tensor::from_vec([b, h, t, dv], numbers).expect("as many numbers as elements");
    let mask = |hidden: fn(usize, usize) -> bool| {
        let values = (0..hq * s * t).map(|i| if hidden(i / t % s, i % t) { f32::NEG_INFINITY } else { 0.25 });
        Tensor::from_vec([1, hq, s, t], values.collect()).expect("as many numbers as elements")
    };
    let for_all = mask(|_, key| key == 100 || key > 280);
    let for_some = mask(|query, key| (key == 100 && query != 3) || (key > 280 && query < 15));
    [for_all, for_some]
        .map(|mask| Case::new(fused(), given([q.clone(), k.clone(), v.clone(), mask]), 1))
        .into()
}

/// ONNX Runtime's `MultiHeadAttention` of queries, keys and values in one tensor, or of keys and values in one; padding that is told for each
/// key.
pub fn packed_inputs_and_padding() -> Vec<Case> {
    let [batch, heads, len, keys] = [2, 4, 9, 13];
    let mut cases = Vec::new();
    for head in [5, 16] {
        for (causal, mask_filter) in [(false, -1e4), (true, -3.0)] {
            let op = MultiHeadAttention { heads, scale: None, mask_filter, causal, outputs: 3 };
            let hidden = heads * head;
            let given = |tensor: Tensor| Some((tensor, false));
            let all = given(random(&[batch, len, heads, 3, head], 1));
            let q = given(random(&[batch, len, hidden], 1));
            let both = given(random(&[batch, keys, heads, 2, head], 2));
            let apart = |seed| given(random(&[batch, keys, hidden], seed));
            let kept = |shape: &[usize]| {
                let count = shape.iter().product();
                let values =
                    (0..count).map(|i: usize| i32::from(i % 5 != 3 || i.is_multiple_of(7))).collect();
                given(Tensor::from_vec(shape, values).expect("as many numbers as elements"))
            };
            let cache = || [4, 5].map(|seed| given(random(&[batch, heads, 6, head], seed)));
            let mut add = |mut inputs: Vec<Given>, rest: Vec<Given>| {
                inputs.push(None);
                inputs.extend(rest);
                cases.push(Case::new(op.clone(), inputs, 3));
            };
            add(vec![all.clone(), None, None], vec![]);
            add(vec![all.clone(), None, None], vec![kept(&[batch, len])]);
            add(vec![q.clone(), both.clone(), None], vec![]);
            let [past_keys, past_values] = cache();
            add(vec![q.clone(), both, None], vec![None, None, past_keys, past_values]);
            add(vec![q.clone(), apart(2), apart(3)], vec![kept(&[batch, keys])]);
            add(vec![q, apart(2), apart(3)], vec![kept(&[batch, len, keys])]);
        }
    }
    cases
}
