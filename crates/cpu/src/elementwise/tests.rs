//! Kernels against references, over shapes that broadcast in every way the engine treats on its own.

use std::sync::Arc;

use inferrum_graph::Operator;
use inferrum_ops::activation::Activation;
use inferrum_ops::bias_gelu::BiasGelu;
use inferrum_ops::binary::{Binary, BinaryKind};
use inferrum_ops::cast::{Cast, Conversion};
use inferrum_ops::clip::Clip;
use inferrum_ops::fused::elementwise::{Elementwise, Operand, Step};
use inferrum_ops::is_inf::IsInf;
use inferrum_ops::prelu::PRelu;
use inferrum_ops::select::Where;
use inferrum_ops::swiglu::SwiGlu;
use inferrum_ops::unary::{Unary, UnaryKind};
use inferrum_ops::variadic::{Variadic, VariadicKind};
use inferrum_tensor::{DType, Shape, Tensor};

use crate::testing::{Tolerance, agree, agree_with, computed, random, random_of};
use proptest::prelude::*;

const CLOSE: Tolerance = Tolerance { relative: 1e-6, absolute: 1e-6 };

/// Pairs of shapes: equal, scalar, per row, per channel, outer product, short rows, patterns, empty.
const PAIRS: &[(&[usize], &[usize])] = &[
    (&[], &[]),
    (&[1], &[1]),
    (&[17], &[17]),
    (&[3, 127], &[3, 127]),
    (&[127], &[1]),
    (&[], &[5, 7]),
    (&[2, 3, 130], &[130]),
    (&[33, 130], &[33, 1]),
    (&[2, 5, 9, 11], &[5, 1, 1]),
    (&[2, 5, 2, 3], &[5, 1, 1]),
    (&[40, 1], &[1, 37]),
    (&[700, 3], &[3]),
    (&[700, 3], &[700, 1]),
    (&[50, 3, 1, 7], &[3, 2, 1]),
    (&[2, 1, 3, 1, 5], &[4, 1, 6, 1]),
    (&[0, 4], &[4]),
    (&[3, 0], &[3, 1]),
    (&[1, 70000], &[2, 1]),
    (&[30000, 5], &[5]),
];

fn pair(shapes: (&[usize], &[usize]), dtype: DType) -> [Tensor; 2] {
    [random_of(dtype, shapes.0, 3), random_of(dtype, shapes.1, 11)]
}

/// Values between -3 and 3 with the special ones first.
fn special(length: usize) -> Tensor {
    let mut values = random(&[length], 5).as_slice::<f32>().unwrap().to_vec();
    let specials = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e30, -1e30, 1e-40, 100.0, -100.0];
    values.iter_mut().zip(specials).for_each(|(value, special)| *value = special);
    Tensor::vector(values)
}

#[test]
fn every_broadcast_of_two() {
    for &shapes in PAIRS {
        agree(Binary::new(BinaryKind::Sub), &pair(shapes, DType::F32), CLOSE);
        agree(Binary::new(BinaryKind::Sub), &pair((shapes.1, shapes.0), DType::F32), CLOSE);
        agree(Binary::new(BinaryKind::Less), &pair(shapes, DType::F32), Tolerance::EXACT);
        agree(
            Binary::new(BinaryKind::Mul),
            &pair(shapes, DType::F16),
            Tolerance { relative: 1e-3, absolute: 0.0 },
        );
        agree(Binary::new(BinaryKind::Sub), &pair(shapes, DType::I64), Tolerance::EXACT);
        agree(Binary::new(BinaryKind::Xor), &pair(shapes, DType::Bool), Tolerance::EXACT);
    }
}

#[test]
fn every_function_of_two() {
    for &kind in BinaryKind::ALL {
        for dtype in
            [DType::F32, DType::BF16, DType::F64, DType::I32, DType::I64, DType::U8, DType::I8, DType::Bool]
        {
            if !kind.row().types.hold(dtype) {
                continue;
            }
            let tolerance = match dtype {
                DType::BF16 => Tolerance { relative: 8e-3, absolute: 1e-6 },
                DType::F32 => CLOSE,
                _ => Tolerance::EXACT,
            };
            for shapes in [(&[3, 17][..], &[17][..]), (&[2, 40], &[2, 1])] {
                agree(Binary::new(kind), &pair(shapes, dtype), tolerance);
            }
        }
    }
}

#[test]
fn every_function_of_one() {
    for &kind in UnaryKind::ALL {
        let op = Unary { kind };
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64, DType::I32, DType::U8, DType::Bool] {
            let integers = kind.row().integer.is_some();
            if !kind.row().types.hold(dtype) || !(integers || dtype.is_float()) {
                continue;
            }
            let tolerance = match dtype {
                DType::F16 => Tolerance { relative: 2e-3, absolute: 1e-6 },
                DType::BF16 => Tolerance { relative: 8e-3, absolute: 1e-6 },
                DType::F32 => CLOSE,
                _ => Tolerance::EXACT,
            };
            for length in [0, 1, 3, 17, 127, 2000] {
                agree(op, &[random_of(dtype, &[length], 9)], tolerance);
            }
        }
        // The cosine of 1e30 is not 0.5 in either.
        if kind.row().types.hold(DType::F32) {
            agree(op, &[special(100)], CLOSE);
        }
    }
}

#[test]
fn every_activation() {
    use Activation::*;
    for activation in [
        Affine { alpha: 1.5, beta: -0.5 },
        Celu { alpha: 2.0 },
        Elu { alpha: 0.75 },
        Gelu,
        GeluTanh,
        HardSigmoid { alpha: 0.25, beta: 0.5 },
        LeakyRelu { alpha: 0.125 },
        ParametricSoftplus { alpha: 0.5, beta: 2.0 },
        Scale { scale: 3.0 },
        ScaledTanh { alpha: 1.5, beta: 0.25 },
        Selu { alpha: 1.673_263_2, gamma: 1.050_701 },
        Shrink { lambd: 0.5, bias: 1.5 },
        Swish { alpha: 1.702 },
        ThresholdedRelu { alpha: 0.5 },
    ] {
        for length in [0, 1, 17, 1000] {
            agree(activation, &[random(&[length], 2)], CLOSE);
        }
        agree(activation, &[random_of(DType::F64, &[3, 5], 2)], Tolerance::EXACT);
    }
}

#[test]
fn constant_powers_take_the_short_way() {
    for exponent in [0.5, 1.0, 2.0, 3.0, -1.0, -0.5, 1.7] {
        let x = Tensor::from_f64(DType::F32, [50], &(0..50).map(|i| 0.1 + f64::from(i)).collect::<Vec<_>>())
            .unwrap();
        for exponent in [Tensor::scalar(exponent as f32), Tensor::scalar(exponent)] {
            let inputs = [Some((x.clone(), false)), Some((exponent, true))];
            agree_with(Binary::new(BinaryKind::Pow), &inputs, 1, CLOSE);
        }
    }
}

#[test]
fn operands_before_opset_7() {
    let op = Binary { kind: BinaryKind::Mul, axis: Some(1) };
    agree(op, &[random(&[2, 3, 40], 1), random(&[3], 2)], CLOSE);
    agree(op, &[random_of(DType::I32, &[2, 3, 4], 1), random_of(DType::I32, &[3], 2)], Tolerance::EXACT);
    agree(PRelu { slope_per_channel: true }, &[random(&[2, 3, 5], 1), random(&[3], 2)], CLOSE);
}

#[test]
fn any_number_of_operands() {
    for kind in [VariadicKind::Max, VariadicKind::Min, VariadicKind::Sum, VariadicKind::Mean] {
        for count in 1..5 {
            let shapes: [&[usize]; 4] = [&[2, 1, 9], &[3, 1], &[9], &[2, 3, 9]];
            let inputs: Vec<Tensor> = (0..count).map(|i| random(shapes[i], i as u64)).collect();
            agree(Variadic { kind, operands: count }, &inputs, CLOSE);
        }
        agree(Variadic { kind, operands: 2 }, &[special(30), random(&[30], 1)], CLOSE);
        agree(Variadic { kind, operands: 2 }, &[random(&[30], 1), special(30)], CLOSE);
        if kind != VariadicKind::Mean {
            agree(Variadic { kind, operands: 2 }, &pair((&[3, 4], &[4]), DType::U16), Tolerance::EXACT);
            agree(Variadic { kind, operands: 2 }, &pair((&[3, 4], &[4]), DType::F64), Tolerance::EXACT);
        }
    }
}

#[test]
fn bounds_constant_or_not_and_left_out() {
    for (low, high) in [
        (Some(-1.0f32), Some(1.5f32)),
        (Some(0.0), None),
        (None, Some(0.5)),
        (None, None),
        (Some(2.0), Some(1.0)),
    ] {
        for constant in [false, true] {
            for dtype in [DType::F32, DType::F16, DType::I64] {
                let bound = |x: Option<f32>| {
                    x.map(|x| (Tensor::from_f64(dtype, [1], &[f64::from(x)]).unwrap(), constant))
                };
                let data = random_of(dtype, &[5, 41], 6);
                let op = Clip { has_min: low.is_some(), has_max: high.is_some() };
                agree_with(op, &[Some((data, false)), bound(low), bound(high)], 1, Tolerance::EXACT);
            }
        }
    }
}

#[test]
fn choices_of_every_size() {
    let condition = random_of(DType::Bool, &[4, 1, 33], 1);
    for dtype in [DType::F32, DType::F16, DType::I64, DType::U8, DType::Bool, DType::I16, DType::F64] {
        let (x, y) = (random_of(dtype, &[3, 1], 2), random_of(dtype, &[33], 3));
        agree(Where, &[condition.clone(), x, y], Tolerance::EXACT);
    }
    agree(Where, &[condition, Tensor::scalar(f32::NEG_INFINITY), random(&[4, 3, 33], 4)], Tolerance::EXACT);
}

#[test]
fn others() {
    for (detect_negative, detect_positive) in [(true, true), (true, false), (false, true), (false, false)] {
        agree(IsInf { detect_negative, detect_positive }, &[special(20)], Tolerance::EXACT);
    }
    for tanh in [false, true] {
        agree(BiasGelu { tanh }, &[random(&[3, 2, 65], 1), random(&[65], 2)], CLOSE);
    }
    agree(SwiGlu { alpha: 1.5 }, &[random(&[3, 65], 1), random(&[3, 65], 2)], CLOSE);
}

fn step(op: impl Operator, operands: &[Operand]) -> Step {
    Step { op: Arc::new(op), operands: operands.iter().copied().map(Some).collect() }
}

#[test]
fn chains_are_one_pass() {
    use Operand::{Input, Step};
    let chain = Elementwise {
        steps: vec![
            step(Binary::new(BinaryKind::Sub), &[Input(0), Input(1)]),
            step(Binary::new(BinaryKind::Mul), &[Step(0), Input(2)]),
            step(Activation::Gelu, &[Step(1)]),
            step(Binary::new(BinaryKind::Less), &[Step(2), Input(3)]),
            step(Where, &[Step(3), Step(1), Input(0)]),
        ],
    };
    let shapes: &[[&[usize]; 3]] = &[
        [&[6, 70], &[70], &[6, 1]],
        [&[300, 5], &[5], &[300, 1]],
        [&[7, 2000], &[2000], &[7, 2000]],
        [&[2, 3, 4, 5], &[3, 1, 1], &[2, 1, 4, 1]],
        [&[1, 1], &[], &[1]],
        [&[0, 3], &[3], &[1]],
        [&[9000, 9], &[9], &[9000, 9]],
    ];
    for [a, b, c] in shapes {
        let inputs = [random(a, 1), random(b, 2), random(c, 3), Tensor::scalar(0.25f32)];
        agree(chain.clone(), &inputs, CLOSE);
        let constant = [
            Some((inputs[0].clone(), false)),
            Some((inputs[1].clone(), true)),
            Some((inputs[2].clone(), false)),
            Some((inputs[3].clone(), true)),
        ];
        agree_with(chain.clone(), &constant, 1, CLOSE);
    }
}

#[test]
fn chains_of_half_floats_and_truth_values() {
    use Operand::{Input, Step};
    let chain = Elementwise {
        steps: vec![
            step(Unary { kind: UnaryKind::Tanh }, &[Input(0)]),
            step(Binary::new(BinaryKind::Greater), &[Step(0), Input(1)]),
            step(Binary::new(BinaryKind::And), &[Step(1), Input(2)]),
            step(Unary { kind: UnaryKind::Not }, &[Step(2)]),
        ],
    };
    for [a, b, c] in
        [[&[6, 70][..], &[70], &[6, 1]], [&[300, 5], &[300, 1], &[5]], [&[4, 3, 2], &[2], &[3, 1]]]
    {
        let inputs = [random(a, 1), random(b, 2), random_of(DType::Bool, c, 3)];
        agree(chain.clone(), &inputs, Tolerance::EXACT);
    }
    // Casts within a chain.
    let cast = |to| Cast { to, conversion: Conversion::default() };
    let chain = Elementwise {
        steps: vec![
            step(cast(DType::F32), &[Input(0)]),
            step(Unary { kind: UnaryKind::Exp }, &[Step(0)]),
            step(cast(DType::Bool), &[Input(1)]),
            step(Where, &[Step(2), Step(1), Step(0)]),
            step(cast(DType::F16), &[Step(3)]),
        ],
    };
    let inputs =
        [random_of(DType::F16, &[9, 40], 1), Tensor::vector((0..40).map(|i| (i % 3) as f32).collect())];
    agree(chain, &inputs, Tolerance { relative: 1e-3, absolute: 0.0 });
    // Numbers that 16 bits hold exactly, so that rounding between steps makes no difference.
    let exact = |shape: &[usize], seed| {
        let values: Vec<f64> =
            random(shape, seed).to_f64().unwrap().iter().map(|x| (x * 4.0).round()).collect();
        Tensor::from_f64(DType::BF16, Shape::from(shape), &values).unwrap()
    };
    let chain = Elementwise {
        steps: vec![
            step(Binary::new(BinaryKind::Add), &[Input(0), Input(1)]),
            step(Unary { kind: UnaryKind::Relu }, &[Step(0)]),
            step(Binary::new(BinaryKind::Sub), &[Step(1), Input(0)]),
        ],
    };
    for (a, b) in PAIRS.iter().copied().filter(|(a, b)| a.len() >= b.len()) {
        agree(chain.clone(), &[exact(a, 1), exact(b, 2)], Tolerance::EXACT);
    }
}

/// The operators of a random chain, by number; the first ones are the likely ones.
fn random_op(number: usize) -> (Arc<dyn Operator>, usize) {
    const UNARY: [UnaryKind; 14] = [
        UnaryKind::Exp,
        UnaryKind::Sigmoid,
        UnaryKind::Tanh,
        UnaryKind::Neg,
        UnaryKind::Abs,
        UnaryKind::Sqrt,
        UnaryKind::Reciprocal,
        UnaryKind::Erf,
        UnaryKind::HardSwish,
        UnaryKind::Log,
        UnaryKind::Sin,
        UnaryKind::Round,
        UnaryKind::Atan,
        UnaryKind::Mish,
    ];
    const BINARY: [BinaryKind; 5] =
        [BinaryKind::Add, BinaryKind::Mul, BinaryKind::Sub, BinaryKind::Div, BinaryKind::Pow];
    const OTHERS: [Activation; 4] = [
        Activation::Gelu,
        Activation::Swish { alpha: 1.0 },
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Activation::LeakyRelu { alpha: 0.1 },
    ];
    match number {
        0..14 => (Arc::new(Unary { kind: UNARY[number] }), 1),
        14..19 => (Arc::new(Binary::new(BINARY[number - 14])), 2),
        19..23 => (Arc::new(OTHERS[number - 19]), 1),
        23 => (Arc::new(Clip { has_min: false, has_max: false }), 1),
        24 => (Arc::new(Variadic { kind: VariadicKind::Max, operands: 2 }), 2),
        _ => (Arc::new(Variadic { kind: VariadicKind::Mean, operands: 3 }), 3),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// A chain gives the bits that its operators give one by one, each by its own kernel, with what is not finite too.
    #[test]
    fn random_chains_equal_their_operators(
        ops in prop::collection::vec((0usize..26, 0usize..4, 0usize..6, 0usize..6), 1..12),
        dims in prop::collection::vec(prop::sample::select(vec![1usize, 2, 3, 5, 17, 40, 130]), 1..4),
        ones in 0usize..8,
        threads in 1usize..3,
    ) {
        let broadcast: Vec<usize> =
            dims.iter().enumerate().map(|(axis, &extent)| if ones >> axis & 1 == 1 { 1 } else { extent }).collect();
        let mut data = random(&dims, 1).as_slice::<f32>().unwrap().to_vec();
        let special = special(10);
        data.iter_mut().step_by(7).zip(special.as_slice::<f32>().unwrap()).for_each(|(x, special)| *x = *special);
        let inputs = [
            Tensor::from_vec(&dims[..], data).unwrap(),
            random(&broadcast, 2),
            random(&dims[dims.len() - 1..], 3),
            Tensor::scalar(0.75f32),
        ];
        let mut steps: Vec<Step> = Vec::new();
        let mut results: Vec<Tensor> = Vec::new();
        for &(number, i, j, k) in &ops {
            let (op, arity) = random_op(number);
            // The first operand is of the full shape: a result, or the first input.
            let first = results.len().checked_sub(1 + i).map_or(Operand::Input(0), Operand::Step);
            let other = |j: usize| match results.len().checked_sub(4.max(j) - 3) {
                Some(step) if j > 3 && step < results.len() => Operand::Step(step),
                _ => Operand::Input(j % 4),
            };
            let operands = [first, other(j), other(k)][..arity].to_vec();
            let values: Vec<Tensor> = operands.iter().map(|operand| match *operand {
                Operand::Input(input) => inputs[input].clone(),
                Operand::Step(step) => results[step].clone(),
            }).collect();
            results.push(computed(Arc::clone(&op), &values, threads));
            steps.push(Step { op, operands: operands.into_iter().map(Some).collect() });
        }
        let got = computed(Arc::new(Elementwise { steps }), &inputs, threads);
        let want = results.last().unwrap();
        prop_assert_eq!(got.shape(), want.shape());
        prop_assert_eq!(got.bytes(), want.bytes());
    }
}

#[test]
fn narrow_floats_at_the_ends_are_rounded_as_casts_round() {
    use Operand::{Input, Step};
    let cast = |to| Cast { to, conversion: Conversion::default() };
    for (from, to) in [
        (DType::F16, DType::BF16),
        (DType::BF16, DType::F16),
        (DType::F16, DType::Bool),
        (DType::Bool, DType::F16),
    ] {
        let x = random_of(from, &[3, 41], 4);
        let wide = computed(Arc::new(cast(DType::F32)), std::slice::from_ref(&x), 1);
        let sine = computed(Arc::new(Unary { kind: UnaryKind::Sin }), &[wide], 1);
        let want = computed(Arc::new(cast(to)), &[sine], 1);
        let chain = Elementwise {
            steps: vec![
                step(cast(DType::F32), &[Input(0)]),
                step(Unary { kind: UnaryKind::Sin }, &[Step(0)]),
                step(cast(to), &[Step(1)]),
            ],
        };
        assert_eq!(computed(Arc::new(chain), &[x], 2).bytes(), want.bytes());
    }
}
