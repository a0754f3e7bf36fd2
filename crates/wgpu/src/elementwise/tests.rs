//! Every operator and chain against its reference.

use super::*;
use crate::testing::{Tolerance, agree, agree_on, agree_with, gpu, outputs, random, random_of, stored};
use inferrum_backend::testing::elementwise::{self as cases, FUNCTIONS};
use inferrum_ops::binary::BinaryKind;
use inferrum_tensor::Tensor;
use std::sync::Arc;

/// The types that casts go between.
const TYPES: [DType; 10] = [
    DType::F32,
    DType::I32,
    DType::U32,
    DType::U8,
    DType::I8,
    DType::U16,
    DType::I16,
    DType::Bool,
    DType::I64,
    DType::U64,
];

#[test]
fn functions_of_one_number() {
    agree_on(cases::functions_of_one_number(), Tolerance { relative: 3e-6, absolute: 3e-6 });
    agree_on(cases::functions_of_finite_numbers(), FUNCTIONS);
    agree_on(cases::functions_of_small_numbers(), Tolerance { relative: 1e-4, absolute: 1e-4 });
}

#[test]
fn activations() {
    agree_on(cases::activations(), FUNCTIONS);
}

#[test]
fn operands_broadcast() {
    agree_on(cases::operands_broadcast(), Tolerance { relative: 3e-7, absolute: 0.0 });
}

#[test]
fn integers_wrap() {
    agree_on(cases::integers_wrap(), Tolerance::EXACT);
}

#[test]
fn integers_at_their_ends() {
    agree_on(cases::integers_at_their_ends(), Tolerance::EXACT);
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
    agree_on(cases::powers(), Tolerance { relative: 1e-5, absolute: 1e-6 });
    agree_on(cases::powers_of_integers(), Tolerance::EXACT);
}

#[test]
fn remainders() {
    agree_on(cases::remainders(), Tolerance { relative: 1e-6, absolute: 0.0 });
}

#[test]
fn types_change() {
    agree_on(cases::types_change(&TYPES), Tolerance::EXACT);
}

#[test]
fn floats_beyond_integers() {
    agree_on(cases::floats_beyond_integers(&[DType::F32]), Tolerance::EXACT);
}

#[test]
fn chains_are_one_dispatch() {
    agree_on(cases::chains(), FUNCTIONS);
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
