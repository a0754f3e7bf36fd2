//! Every operator and chain against its reference.

use super::*;
use crate::testing::{Tolerance, agree, agree_with, gpu, outputs, random, random_of, stored};
use inferrum_ops::activation::Activation;
use inferrum_ops::binary::BinaryKind;
use inferrum_ops::cast::Conversion;
use inferrum_ops::clip::Clip;
use inferrum_ops::select::Where;
use inferrum_ops::unary::{Unary, UnaryKind};
use inferrum_tensor::Tensor;
use std::sync::Arc;

/// What a GPU's own functions of one number may miss.
const FUNCTIONS: Tolerance = Tolerance { relative: 1e-5, absolute: 3e-6 };

#[test]
fn functions_of_one_number() {
    use UnaryKind::*;
    let special =
        vec![0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, 1e-4, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let mut numbers = special;
    numbers.extend(random(&[127], 1).as_slice::<f32>().unwrap());
    let x = Tensor::vector(numbers);
    for kind in [
        Abs, Ceil, Exp, Floor, HardSwish, IsNaN, Mish, Neg, Reciprocal, Relu, Round, Sigmoid, Sign, Softplus,
        Softsign, Tanh, Erf, Atan, Sqrt, Log,
    ] {
        let absolute =
            if matches!(kind, Abs | Ceil | Floor | Neg | Relu | Round | Sign | IsNaN) { 0.0 } else { 3e-6 };
        agree(Unary { kind }, std::slice::from_ref(&x), Tolerance { relative: 3e-6, absolute });
    }
    let finite = random(&[130], 2);
    for kind in [Cos, Sin, Cosh, Sinh, Asinh] {
        agree(Unary { kind }, std::slice::from_ref(&finite), FUNCTIONS);
    }
    let inside = Tensor::vector((-60..=60).map(|i| i as f32 / 61.0).collect::<Vec<f32>>());
    for kind in [Acos, Asin, Atanh, Tan] {
        agree(Unary { kind }, std::slice::from_ref(&inside), Tolerance { relative: 1e-4, absolute: 1e-4 });
    }
}

#[test]
fn activations() {
    for op in [
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Swish { alpha: 1.5 },
        Activation::Elu { alpha: 0.7 },
        Activation::LeakyRelu { alpha: 0.1 },
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
    ] {
        agree(op, &[random(&[3, 127], 1)], FUNCTIONS);
    }
}

#[test]
fn operands_broadcast() {
    for (a, b) in [
        (&[2usize, 3, 17][..], &[2usize, 3, 17][..]),
        (&[2, 3, 17], &[17]),
        (&[2, 1, 17], &[3, 1]),
        (&[], &[5]),
        (&[4, 1, 3, 1, 2], &[2, 1, 5, 1]),
    ] {
        for kind in [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Div] {
            agree(
                Binary::new(kind),
                &[random(a, 1), random(b, 2)],
                Tolerance { relative: 3e-7, absolute: 0.0 },
            );
        }
        for kind in [BinaryKind::Less, BinaryKind::GreaterOrEqual, BinaryKind::Equal] {
            let inputs = [random_of(DType::I32, a, 1), random_of(DType::I32, b, 2)];
            agree(Binary::new(kind), &inputs, Tolerance::EXACT);
        }
        let inputs = [random_of(DType::Bool, a, 3), random(a, 1), random(b, 2)];
        agree(Where, &inputs, Tolerance::EXACT);
    }
    let inputs = [random(&[0, 3], 1), random(&[3], 2)];
    agree(Binary::new(BinaryKind::Add), &inputs, Tolerance::EXACT);
}

#[test]
fn integers_wrap() {
    for dtype in
        [DType::I8, DType::U8, DType::I16, DType::U16, DType::I32, DType::U32, DType::I64, DType::U64]
    {
        let (a, b) = (random_of(dtype, &[70], 1), random_of(dtype, &[70], 2));
        let divisors = Tensor::from_i64(dtype, [70], &(1..=70).collect::<Vec<i64>>()).unwrap();
        for kind in
            [BinaryKind::Add, BinaryKind::Mul, BinaryKind::Less, BinaryKind::FloorMod, BinaryKind::Div]
        {
            let b = if matches!(kind, BinaryKind::FloorMod | BinaryKind::Div) { &divisors } else { &b };
            agree(Binary::new(kind), &[a.clone(), b.clone()], Tolerance::EXACT);
        }
    }
    let logic = [random_of(DType::Bool, &[33], 1), random_of(DType::Bool, &[33], 2)];
    agree(Binary::new(BinaryKind::Xor), &logic, Tolerance::EXACT);
    agree(Unary { kind: UnaryKind::Not }, &logic[..1], Tolerance::EXACT);
}

#[test]
fn integers_at_their_edges() {
    use BinaryKind::*;
    for dtype in
        [DType::I8, DType::U8, DType::I16, DType::U16, DType::I32, DType::U32, DType::I64, DType::U64]
    {
        let bits = 8 * dtype.size() as u32;
        let least = if dtype.is_unsigned_integer() { 0 } else { i64::MIN >> (64 - bits) };
        let numbers = [0, 1, 2, 3, 7, -1, -2, -3, -7, least, least + 1, -(least + 1), i64::from(bits)];
        let pairs = || numbers.iter().flat_map(|&x| numbers.iter().map(move |&y| (x, y)));
        let of = |numbers: Vec<i64>| Tensor::from_i64(dtype, [numbers.len()], &numbers).unwrap();
        let fits = |number: i64| !dtype.is_unsigned_integer() || number >= 0;
        let (x, y): (Vec<i64>, Vec<i64>) = pairs().filter(|&(x, y)| fits(x) && fits(y)).unzip();
        let inputs = [of(x), of(y)];
        for kind in [Div, FloorMod, TruncMod, Pow, ShiftLeft, ShiftRight] {
            agree(Binary::new(kind), &inputs, Tolerance::EXACT);
        }
    }
}

#[test]
fn powers_of_zero_keep_signs() {
    let pairs = [(-0.0f32, -2.0f32), (-0.0, -3.0), (-0.0, 3.0), (-0.0, 2.0), (-0.0, 0.5), (-0.0, -0.5)];
    let zeros = pairs.iter().flat_map(|&(x, y)| [(x, y), (-x, y)]);
    let rest = [(-1.0, f32::INFINITY), (-1.0, f32::NEG_INFINITY), (0.0, f32::NAN), (f32::NEG_INFINITY, -3.0)];
    let (x, y): (Vec<f32>, Vec<f32>) = zeros.chain(rest).unzip();
    let want: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x.powf(*y)).collect();
    let inputs = [Some((Tensor::vector(x.clone()), false)), Some((Tensor::vector(y.clone()), false))];
    for got in outputs(Binary::new(BinaryKind::Pow), &inputs, &[x.len()]) {
        for (place, (got, want)) in got[0].as_slice::<f32>().unwrap().iter().zip(&want).enumerate() {
            let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
            assert!(same, "{}^{} is {got}, not {want}", x[place], y[place]);
        }
    }
}

#[test]
fn powers() {
    let bases = Tensor::vector(vec![-2f32, -1.5, 0.0, 0.5, 3.0, 2.0, -3.0, 4.0]);
    for exponent in [2f32, 3.0, 0.5, -1.0, 0.0, 1.0] {
        let exponent = Some((Tensor::scalar(exponent), true));
        let inputs = [Some((bases.clone(), false)), exponent];
        agree_with(Binary::new(BinaryKind::Pow), &inputs, 1, Tolerance { relative: 1e-5, absolute: 1e-6 });
    }
}

#[test]
fn remainders_are_exact() {
    let mut numbers = vec![5.5f32, -5.5, 1e8, -1e30, 0.3, 7.0, -0.0, f32::INFINITY, 3.0, f32::NAN];
    let mut divisors = vec![2f32, 2.0, 3.0, 0.7, 0.1, f32::INFINITY, 1.0, 2.0, 0.0, 1.0];
    // Far apart, and below the normal numbers.
    let far = [1e30f32, f32::MAX, 2e-38, 3e-39, 1e-45, 1e-10, 7e-42];
    for (x, y) in far.into_iter().flat_map(|x| far.map(|y| (x, y))) {
        numbers.extend([x, -x]);
        divisors.extend([y, y]);
    }
    for kind in [BinaryKind::TruncMod, BinaryKind::FloorMod] {
        let inputs = [Tensor::vector(numbers.clone()), Tensor::vector(divisors.clone())];
        let tolerance = if kind == BinaryKind::TruncMod { 0.0 } else { 1e-6 };
        agree(Binary::new(kind), &inputs[..], Tolerance { relative: tolerance, absolute: 0.0 });
    }
}

#[test]
fn types_change() {
    use DType::*;
    // Fractions, what no integer type holds, and the ends of those that some do.
    let ends = [7, 8, 15, 16, 31, 32, 63, 64].map(|bits| 2f32.powi(bits));
    let beside = |end: f32| [end, -end, end.next_down(), -end.next_down(), end.next_up(), -end.next_up()];
    let mut edges = vec![0.0, -0.0, 0.9, -0.9, 1.9, -2.5, 300.7, -300.7, 3e9, -3e9, 1e-40, 1e20, -1e20];
    edges.extend([f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    edges.extend(ends.into_iter().flat_map(beside));
    let edges = Tensor::vector(edges);
    let types = [F32, I32, U32, U8, I8, U16, I16, Bool, I64, U64];
    for to in types {
        let cast = || Cast { to, conversion: Conversion::default() };
        agree(cast(), std::slice::from_ref(&edges), Tolerance::EXACT);
        for from in types {
            agree(cast(), &[random_of(from, &[40], 1)], Tolerance::EXACT);
        }
    }
}

#[test]
fn chains_are_one_dispatch() {
    let step = |op: Arc<dyn Operator>, operands: &[fused::Operand]| fused::Step {
        op,
        operands: operands.iter().copied().map(Some).collect(),
    };
    use fused::Operand::{Input, Step};
    let chain = || Elementwise {
        steps: vec![
            step(Arc::new(Binary::new(BinaryKind::Mul)), &[Input(0), Input(1)]),
            step(Arc::new(Unary { kind: UnaryKind::Sigmoid }), &[Step(0)]),
            step(Arc::new(Binary::new(BinaryKind::Less)), &[Step(1), Input(2)]),
            step(Arc::new(Where), &[Step(2), Step(1), Input(0)]),
        ],
    };
    let inputs = [random(&[5, 1, 17], 1), random(&[3, 1], 2), Tensor::scalar(0.4f32)];
    agree(chain(), &inputs, FUNCTIONS);
    agree(
        Clip { has_min: true, has_max: true },
        &[random(&[9], 1), Tensor::scalar(-1f32), Tensor::scalar(1f32)],
        Tolerance::EXACT,
    );
}

/// A chain of sums of so many inputs.
fn sums(inputs: usize) -> Elementwise {
    let add = |place: usize| fused::Step {
        op: Arc::new(Binary::new(BinaryKind::Add)),
        operands: vec![
            Some(if place == 1 { fused::Operand::Input(0) } else { fused::Operand::Step(place - 2) }),
            Some(fused::Operand::Input(place)),
        ],
    };
    Elementwise { steps: (1..inputs).map(add).collect() }
}

#[test]
fn constants_of_one_element_take_no_buffer() {
    let tensors = (0..6).map(|seed| Some((random(&[3, 5], seed), false)));
    let constants = (0..6).map(|number| Some((Tensor::scalar(number as f32 + 0.5), true)));
    let inputs: Vec<_> = tensors.chain(constants).collect();
    agree_with(sums(12), &inputs, 1, Tolerance { relative: 1e-6, absolute: 1e-6 });
    for dtype in stored() {
        let constant = random_of(dtype, &[1, 1], 9);
        let op = || Binary::new(BinaryKind::Equal);
        let inputs = [Some((random_of(dtype, &[40], 1), false)), Some((constant.clone(), true))];
        agree_with(op(), &inputs, 1, Tolerance::EXACT);
        agree_with(op(), &[inputs[1].clone(), Some((constant, true))], 1, Tolerance::EXACT);
    }
}

#[test]
fn as_many_inputs_as_the_adapter_binds() {
    let Some(gpu) = gpu() else { return };
    let most = gpu.limits.max_storage_buffers_per_shader_stage as usize - 1;
    let inputs = |count: usize| (0..count).map(|seed| random(&[7], seed as u64)).collect::<Vec<_>>();
    agree(sums(most.min(8)), &inputs(most.min(8)), Tolerance { relative: 1e-6, absolute: 1e-6 });
}
