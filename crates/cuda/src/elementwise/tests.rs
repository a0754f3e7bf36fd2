//! Every operator and chain against its reference.

use inferrum_backend::testing::elementwise::{self, FUNCTIONS};
use inferrum_tensor::{DType, Tensor};

use crate::testing::{Tolerance, agree, agree_on, random_of};

#[test]
fn functions_of_one_number() {
    agree_on(elementwise::functions_of_one_number(), Tolerance { relative: 3e-6, absolute: 3e-6 });
    agree_on(elementwise::functions_of_finite_numbers(), FUNCTIONS);
    agree_on(elementwise::functions_of_small_numbers(), Tolerance { relative: 1e-4, absolute: 1e-4 });
}

#[test]
fn activations() {
    agree_on(elementwise::activations(), FUNCTIONS);
}

#[test]
fn operands_broadcast() {
    agree_on(elementwise::operands_broadcast(), Tolerance { relative: 3e-7, absolute: 0.0 });
}

#[test]
fn integers_wrap() {
    agree_on(elementwise::integers_wrap(), Tolerance::EXACT);
}

#[test]
fn integers_at_their_ends() {
    agree_on(elementwise::integers_at_their_ends(), Tolerance::EXACT);
}

#[test]
fn powers() {
    agree_on(elementwise::powers(), Tolerance { relative: 1e-5, absolute: 1e-6 });
    agree_on(elementwise::powers_of_integers(), Tolerance::EXACT);
}

#[test]
fn remainders() {
    agree_on(elementwise::remainders(), Tolerance { relative: 1e-6, absolute: 0.0 });
}

#[test]
fn types_change() {
    agree_on(
        elementwise::types_change(&[
            DType::F32,
            DType::I32,
            DType::U8,
            DType::I8,
            DType::Bool,
            DType::I64,
            DType::U64,
            DType::F64,
            DType::F16,
            DType::BF16,
            DType::I16,
        ]),
        Tolerance::EXACT,
    );
}

#[test]
fn floats_beyond_integers() {
    agree_on(elementwise::floats_beyond_integers(&[DType::F32, DType::F64, DType::F16]), Tolerance::EXACT);
}

#[test]
fn numbers_are_rounded_once() {
    agree_on(elementwise::numbers_are_rounded_once(&[DType::F16, DType::BF16]), Tolerance::EXACT);
}

#[test]
fn float64_is_computed_as_such() {
    use inferrum_ops::binary::{Binary, BinaryKind};
    use inferrum_ops::unary::{Unary, UnaryKind};
    let [x, y] = [1, 2].map(|seed| random_of(DType::F64, &[3, 17], seed));
    let close = Tolerance { relative: 1e-14, absolute: 1e-15 };
    for kind in [BinaryKind::Add, BinaryKind::Div, BinaryKind::Pow, BinaryKind::FloorMod, BinaryKind::Less] {
        agree(Binary::new(kind), &[x.clone(), y.clone()], close);
    }
    let ends = [1.0, -2.5, 0.0, f64::INFINITY, f64::NAN].map(|x| Tensor::vector(vec![x; 3]));
    let zeros = Tensor::vector(vec![0.0, -0.0, f64::NEG_INFINITY]);
    for kind in [BinaryKind::Div, BinaryKind::FloorMod, BinaryKind::TruncMod, BinaryKind::Pow] {
        for x in &ends {
            agree(Binary::new(kind), &[x.clone(), zeros.clone()], Tolerance::EXACT);
        }
    }
    for kind in [UnaryKind::Exp, UnaryKind::Sigmoid, UnaryKind::Softplus, UnaryKind::Erf, UnaryKind::Round] {
        agree(Unary { kind }, std::slice::from_ref(&x), close);
    }
}

#[test]
fn chains_are_one_launch() {
    agree_on(elementwise::chains(), FUNCTIONS);
}
