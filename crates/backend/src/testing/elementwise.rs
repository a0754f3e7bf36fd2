//! Element-wise operators, and chains of them.

use std::sync::Arc;

use inferrum_graph::Operator;
use inferrum_ops::activation::Activation;
use inferrum_ops::binary::{Binary, BinaryKind};
use inferrum_ops::cast::{Cast, Conversion};
use inferrum_ops::clip::Clip;
use inferrum_ops::fused::elementwise::{Elementwise, Operand, Step};
use inferrum_ops::select::Where;
use inferrum_ops::unary::{Unary, UnaryKind};
use inferrum_tensor::{DType, Tensor};

use super::{Case, Tolerance, given, random, random_of};

/// What a GPU's own functions of one number may miss.
pub const FUNCTIONS: Tolerance = Tolerance { relative: 1e-5, absolute: 3e-6 };

/// Integer types of every width.
const INTEGERS: [DType; 8] =
    [DType::I8, DType::U8, DType::I16, DType::U16, DType::I32, DType::U32, DType::I64, DType::U64];

fn exact(op: impl Operator, inputs: impl Into<Vec<Tensor>>) -> Case {
    Case { slack: 0.0, ..case(op, inputs) }
}

fn case(op: impl Operator, inputs: impl Into<Vec<Tensor>>) -> Case {
    Case::new(op, super::given_all(inputs.into()), 1)
}

fn binary(kind: BinaryKind, a: Tensor, b: Tensor) -> Case {
    exact(Binary::new(kind), [a, b])
}

/// Functions of any number; those that only choose or round are exact.
pub fn functions_of_one_number() -> Vec<Case> {
    use UnaryKind::*;
    let mut numbers =
        vec![0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, 1e-4, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    numbers.extend(random(&[127], 1).as_slice::<f32>().expect("floats"));
    let x = Tensor::vector(numbers);
    let kinds = [
        Abs, Ceil, Exp, Floor, HardSwish, IsNaN, Mish, Neg, Reciprocal, Relu, Round, Sigmoid, Sign, Softplus,
        Softsign, Tanh, Erf, Atan, Sqrt, Log,
    ];
    let of = |kind| {
        let chooses = matches!(kind, Abs | Ceil | Floor | Neg | Relu | Round | Sign | IsNaN);
        Case { slack: if chooses { 0.0 } else { 1.0 }, ..case(Unary { kind }, [x.clone()]) }
    };
    kinds.into_iter().map(of).collect()
}

/// Functions of numbers that are not too large.
pub fn functions_of_finite_numbers() -> Vec<Case> {
    use UnaryKind::*;
    let x = random(&[130], 2);
    [Cos, Sin, Cosh, Sinh, Asinh].into_iter().map(|kind| case(Unary { kind }, [x.clone()])).collect()
}

/// Functions that are steep at -1 and 1, between these.
pub fn functions_of_small_numbers() -> Vec<Case> {
    use UnaryKind::*;
    let x = Tensor::vector((-60..=60).map(|i| i as f32 / 61.0).collect::<Vec<f32>>());
    [Acos, Asin, Atanh, Tan].into_iter().map(|kind| case(Unary { kind }, [x.clone()])).collect()
}

/// Functions with parameters.
pub fn activations() -> Vec<Case> {
    [
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Swish { alpha: 1.5 },
        Activation::Elu { alpha: 0.7 },
        Activation::LeakyRelu { alpha: 0.1 },
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
    ]
    .into_iter()
    .map(|op| case(op, [random(&[3, 127], 1)]))
    .collect()
}

/// Operands of other shapes than the result.
pub fn operands_broadcast() -> Vec<Case> {
    use BinaryKind::*;
    let mut cases = Vec::new();
    for (a, b) in [
        (&[2usize, 3, 17][..], &[2usize, 3, 17][..]),
        (&[2, 3, 17], &[17]),
        (&[2, 1, 17], &[3, 1]),
        (&[], &[5]),
        (&[4, 1, 3, 1, 2], &[2, 1, 5, 1]),
        (&[3, 64], &[64]),
        (&[3, 64], &[3, 1]),
    ] {
        for kind in [Add, Sub, Mul, Div] {
            cases.push(case(Binary::new(kind), [random(a, 1), random(b, 2)]));
        }
        for kind in [Less, GreaterOrEqual, Equal] {
            cases.push(binary(kind, random_of(DType::I32, a, 1), random_of(DType::I32, b, 2)));
        }
        cases.push(exact(Where, [random_of(DType::Bool, a, 3), random(a, 1), random(b, 2)]));
    }
    cases.push(case(Binary::new(Add), [random(&[0, 3], 1), random(&[3], 2)]));
    cases
}

/// Of every integer type, and of truth values.
pub fn integers_wrap() -> Vec<Case> {
    use BinaryKind::*;
    let mut cases = Vec::new();
    for dtype in INTEGERS {
        let (a, b) = (random_of(dtype, &[70], 1), random_of(dtype, &[70], 2));
        let divisors = integers(dtype, &(1..=70).collect::<Vec<i64>>());
        for kind in [Add, Mul, Less] {
            cases.push(binary(kind, a.clone(), b.clone()));
        }
        for kind in [FloorMod, Div] {
            cases.push(binary(kind, a.clone(), divisors.clone()));
        }
    }
    let [a, b] = [1, 2].map(|seed| random_of(DType::Bool, &[33], seed));
    cases.push(binary(Xor, a.clone(), b));
    cases.push(exact(Unary { kind: UnaryKind::Not }, [a]));
    cases
}

fn integers(dtype: DType, values: &[i64]) -> Tensor {
    Tensor::from_i64(dtype, [values.len()], values).expect("integers")
}

/// The ends of an integer type that a 64-bit integer holds.
fn ends(dtype: DType) -> (i64, i64) {
    match (dtype, dtype.size()) {
        (DType::U64, _) => (0, -1),
        (_, 8) => (i64::MIN, i64::MAX),
        (dtype, bytes) if dtype.is_unsigned_integer() => (0, (1i64 << (8 * bytes)) - 1),
        (_, bytes) => (-(1i64 << (8 * bytes - 1)), (1i64 << (8 * bytes - 1)) - 1),
    }
}

/// Integers at the ends of their types: what does not fit wraps, what is divided by zero is 0.
pub fn integers_at_their_ends() -> Vec<Case> {
    use BinaryKind::*;
    let mut cases = Vec::new();
    for dtype in INTEGERS {
        let (least, most) = ends(dtype);
        let signed = !dtype.is_unsigned_integer();
        let bits = 8 * dtype.size() as i64;
        let some = if signed {
            vec![least, least + 1, -3, -2, -1, 0, 1, 2, 7, bits, most]
        } else {
            vec![least, 1, 2, 7, bits - 1, bits, 100, most]
        };
        let a: Vec<i64> = some.iter().flat_map(|&a| some.iter().map(move |_| a)).collect();
        let b: Vec<i64> = some.iter().flat_map(|_| some.iter().copied()).collect();
        for kind in [Add, Sub, Mul, Div, FloorMod, TruncMod, Pow, ShiftLeft, ShiftRight, Less, Equal] {
            cases.push(binary(kind, integers(dtype, &a), integers(dtype, &b)));
        }
        let x = integers(dtype, &some);
        cases.push(exact(Unary { kind: UnaryKind::Abs }, [x.clone()]));
        if signed {
            cases.push(exact(Unary { kind: UnaryKind::Neg }, [x]));
        }
    }
    cases
}

/// Integers to powers of either sign.
pub fn powers_of_integers() -> Vec<Case> {
    let bases = [-3i64, -2, -1, 0, 1, 2, 3, 5];
    let mut cases = Vec::new();
    for (dtype, least) in
        [(DType::I8, -3), (DType::I32, -3), (DType::I64, -3), (DType::U8, 0), (DType::U32, 0)]
    {
        let bases: Vec<i64> = bases.iter().map(|&base| base.max(least.max(-3))).collect();
        for exponent in [-3i64, -2, -1, 0, 1, 2, 3, 31, 40].into_iter().filter(|&e| least < 0 || e >= 0) {
            let exponents = integers(dtype, &[exponent; 8]);
            cases.push(binary(BinaryKind::Pow, integers(dtype, &bases), exponents));
        }
    }
    cases
}

/// Floats to known powers.
pub fn powers() -> Vec<Case> {
    let bases = Tensor::vector(vec![-2f32, -1.5, 0.0, 0.5, 3.0, 2.0, -3.0, 4.0]);
    let of = |exponent: f32| {
        let exponent = Some((Tensor::scalar(exponent), true));
        Case::new(Binary::new(BinaryKind::Pow), vec![Some((bases.clone(), false)), exponent], 1)
    };
    [2f32, 3.0, 0.5, -1.0, 0.0, 1.0].into_iter().map(of).collect()
}

/// Remainders of floats, also where the quotient is beyond all digits.
pub fn remainders() -> Vec<Case> {
    let mut numbers = vec![5.5f32, -5.5, 1e8, -1e30, 0.3, 7.0, -0.0, f32::INFINITY, 3.0, f32::NAN];
    let mut divisors = vec![2f32, 2.0, 3.0, 0.7, 0.1, f32::INFINITY, 1.0, 2.0, 0.0, 1.0];
    // Far apart, and below the normal numbers.
    let far = [1e30f32, f32::MAX, 2e-38, 3e-39, 1e-45, 1e-10, 7e-42];
    for (x, y) in far.into_iter().flat_map(|x| far.map(|y| (x, y))) {
        numbers.extend([x, -x]);
        divisors.extend([y, y]);
    }
    let of = |kind| {
        let inputs = given([Tensor::vector(numbers.clone()), Tensor::vector(divisors.clone())]);
        // Floored remainders are put together of two.
        let slack = if kind == BinaryKind::TruncMod { 0.0 } else { 1.0 };
        Case { slack, ..Case::new(Binary::new(kind), inputs, 1) }
    };
    [BinaryKind::TruncMod, BinaryKind::FloorMod].map(of).into()
}

fn cast(x: Tensor, to: DType) -> Case {
    exact(Cast { to, conversion: Conversion::default() }, [x])
}

/// Small numbers from each of the types to each.
pub fn types_change(types: &[DType]) -> Vec<Case> {
    let pairs = types.iter().flat_map(|&from| types.iter().map(move |&to| (from, to)));
    pairs.map(|(from, to)| cast(random_of(from, &[40], 1), to)).collect()
}

/// Floats that the integers do not hold, and none at all.
pub fn floats_beyond_integers(types: &[DType]) -> Vec<Case> {
    let mut numbers = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.9, -0.9, -0.0];
    for size in [127.0, 128.0, 255.0, 256.0, 300.0, 32768.0, 65536.0, 70000.0] {
        numbers.extend([size, size + 0.5, -size, -size - 0.75]);
    }
    for power in [31, 32, 40, 53, 62, 63, 64, 65, 100] {
        let size = 2f64.powi(power);
        numbers.extend([size, size * (1.0 - 2f64.powi(-20)), size * 1.375, -size, -size * 1.25]);
    }
    let pairs = types.iter().flat_map(|&from| INTEGERS.iter().map(move |&to| (from, to)));
    pairs
        .map(|(from, to)| cast(Tensor::from_f64(from, [numbers.len()], &numbers).expect("floats"), to))
        .collect()
}

/// Numbers that narrow floats round, and would round otherwise by way of float32.
pub fn numbers_are_rounded_once(to: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &to in to {
        let digits = if to == DType::F16 { 11 } else { 8 };
        let tie = 1.0 + 2f64.powi(-digits);
        let near = [tie, tie + 2f64.powi(-40), tie - 2f64.powi(-40), 3e38, -1e300, 6e-8, 1e-45, f64::NAN];
        cases.push(cast(Tensor::vector(near.to_vec()), to));
        let half = 1i64 << (40 - digits);
        let whole = vec![(1i64 << 40) + half, (1 << 40) + half + 1, (1 << 40) + half - 1, -3, 65519, 65520];
        cases.push(cast(Tensor::vector(whole), to));
    }
    cases
}

/// Four operators as one.
pub fn chains() -> Vec<Case> {
    let step = |op: Arc<dyn Operator>, operands: &[Operand]| Step {
        op,
        operands: operands.iter().copied().map(Some).collect(),
    };
    use Operand::{Input, Step as Result};
    let chain = Elementwise {
        steps: vec![
            step(Arc::new(Binary::new(BinaryKind::Mul)), &[Input(0), Input(1)]),
            step(Arc::new(Unary { kind: UnaryKind::Sigmoid }), &[Result(0)]),
            step(Arc::new(Binary::new(BinaryKind::Less)), &[Result(1), Input(2)]),
            step(Arc::new(Where), &[Result(2), Result(1), Input(0)]),
        ],
    };
    let clip = Clip { has_min: true, has_max: true };
    let bounds = [random(&[9], 1), Tensor::scalar(-1f32), Tensor::scalar(1f32)];
    vec![
        case(chain, [random(&[5, 1, 17], 1), random(&[3, 1], 2), Tensor::scalar(0.4f32)]),
        exact(clip, bounds),
    ]
}
