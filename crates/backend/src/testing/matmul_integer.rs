//! `MatMulInteger` and `MatMulIntegerToFloat`.

use inferrum_ops::matmul_integer::{MatMulInteger, MatMulIntegerToFloat};
use inferrum_tensor::{DType, Tensor};

use super::{Case, Given, bytes, random};

const TYPES: [(DType, DType); 4] =
    [(DType::U8, DType::I8), (DType::U8, DType::U8), (DType::I8, DType::I8), (DType::I8, DType::U8)];

/// Of every type, from one row to many tiles, with zero points of every number and without.
pub fn every_type_and_size() -> Vec<Case> {
    let mut cases = Vec::new();
    let sizes = [(1, 1, 1), (3, 17, 5), (1, 300, 70), (9, 33, 17), (16, 32, 16), (65, 127, 40), (70, 3, 130)];
    for (i, (m, k, n)) in sizes.into_iter().enumerate() {
        // Two of the types by turns.
        for (a, b) in [TYPES[i % 4], TYPES[(i + 1) % 4]] {
            for constant in [false, true] {
                let seed = (m * k + i) as u64;
                let zeros =
                    |dtype, shape: &[usize], constant| Some((bytes(dtype, shape, seed + 7), constant));
                let inputs = |a_zero, b_zero| {
                    let (x, w) = (bytes(a, &[m, k], seed), bytes(b, &[k, n], seed + 1));
                    vec![Some((x, false)), Some((w, constant)), a_zero, b_zero]
                };
                let given = [
                    inputs(None, None),
                    inputs(zeros(a, &[], false), None),
                    inputs(None, zeros(b, &[n], true)),
                    inputs(zeros(a, &[m], true), zeros(b, &[], false)),
                    inputs(zeros(a, &[1], true), zeros(b, &[n], false)),
                ];
                cases.extend(given.map(|inputs| Case::new(MatMulInteger, inputs, 1)));
            }
        }
    }
    cases
}

/// Stacks of matrices, vectors, and nothing.
pub fn batches_broadcast() -> Vec<Case> {
    let mut cases = Vec::new();
    for (a, b) in [
        (&[2usize, 3, 5, 17][..], &[2usize, 3, 17, 9][..]),
        (&[2, 1, 5, 17], &[3, 17, 9]),
        (&[4, 5, 17], &[17, 9]),
        (&[17], &[4, 17, 9]),
        (&[5, 17], &[17]),
        (&[17], &[17]),
        (&[0, 5, 17], &[17, 3]),
        (&[2, 0], &[0, 3]),
    ] {
        let zero = |seed| Some((bytes(DType::U8, &[], seed), false));
        let x = |shape, seed| Some((bytes(DType::U8, shape, seed), false));
        cases.push(Case::new(MatMulInteger, vec![x(a, 1), x(b, 2), zero(3), zero(4)], 1));
    }
    let inputs = vec![
        Some((bytes(DType::U8, &[3, 5, 17], 1), false)),
        Some((bytes(DType::I8, &[17, 9], 2), true)),
        Some((bytes(DType::U8, &[3, 5, 1], 3), false)),
    ];
    cases.push(Case::new(MatMulInteger, inputs, 1));
    cases
}

/// Sums as far from 0 as they get.
pub fn the_greatest_sums() -> Vec<Case> {
    let mut cases = Vec::new();
    for (a, b) in TYPES {
        let all = |dtype: DType, greatest: bool, shape: [usize; 2]| {
            let value = match (dtype, greatest) {
                (DType::U8, true) => 255,
                (DType::U8, false) => 0,
                (_, true) => 127,
                (_, false) => -128,
            };
            Tensor::from_i64(dtype, shape, &vec![value; shape[0] * shape[1]]).expect("integers")
        };
        for (m, greatest_a, greatest_b) in
            [(3, false, false), (20, false, true), (3, true, false), (20, true, true), (20, false, false)]
        {
            let zero = |dtype, greatest: bool| -> Given {
                Some((all(dtype, !greatest, [1, 1]).reshape([1]).expect("one"), true))
            };
            let inputs = vec![
                Some((all(a, greatest_a, [m, 1000]), false)),
                Some((all(b, greatest_b, [1000, 18]), true)),
                zero(a, greatest_a),
                zero(b, greatest_b),
            ];
            cases.push(Case::new(MatMulInteger, inputs, 1));
        }
    }
    cases
}

/// Sums times scales, of columns or of all, with a bias and without.
pub fn floats_with_scales_and_bias() -> Vec<Case> {
    let mut cases = Vec::new();
    for (m, k, n) in [(1, 40, 33), (17, 65, 20)] {
        for (scales, bias) in [(&[n][..], true), (&[], false)] {
            let inputs = vec![
                Some((bytes(DType::U8, &[m, k], 1), false)),
                Some((bytes(DType::I8, &[k, n], 2), true)),
                Some((Tensor::scalar(0.02f32), false)),
                Some((random(scales, 3), true)),
                Some((bytes(DType::U8, &[], 4), false)),
                None,
                bias.then(|| (random(&[n], 5), true)),
            ];
            cases.push(Case::new(MatMulIntegerToFloat, inputs, 1));
        }
    }
    cases
}
