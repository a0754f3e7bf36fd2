//! `ArgMax` and `ArgMin`.

use inferrum_ops::arg_max::ArgReduce;
use inferrum_tensor::{DType, Tensor};

use super::{Case, given, random, random_of};

fn every(x: &Tensor, axis: i64) -> Vec<Case> {
    let mut cases = Vec::new();
    for greatest in [true, false] {
        for select_last_index in [true, false] {
            for keep_dims in [true, false] {
                let op = ArgReduce { greatest, axis, keep_dims, select_last_index };
                cases.push(Case::new(op, given([x.clone()]), 1));
            }
        }
    }
    cases
}

/// Rows side by side and apart, of one element, and none.
pub fn along_every_axis() -> Vec<Case> {
    let shapes =
        [(&[17usize][..], 0), (&[3, 500], -1), (&[7, 90], 0), (&[2, 300, 20], 1), (&[5, 1], 1), (&[0, 3], 1)];
    shapes.into_iter().flat_map(|(shape, axis)| every(&random(shape, 4), axis)).collect()
}

/// What is no number, what has no bounds, and what is there twice.
pub fn nan_and_equals() -> Vec<Case> {
    let mut cases = Vec::new();
    for length in [4, 70] {
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0, -0.0] {
            let mut row = vec![if special == 0.0 { 0.0 } else { 1.0f32 }; length];
            (row[1], row[length - 1]) = (special, special);
            cases.extend(every(&Tensor::vector(row), 0));
        }
    }
    cases
}

/// Equals are many among these.
pub fn integers_and_long_rows() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::U8, DType::I8, DType::I32, DType::I64, DType::F64] {
        cases.extend(every(&random_of(dtype, &[3, 70], 1), 1).into_iter().step_by(3));
        cases.extend(every(&random_of(dtype, &[50, 3], 1), 0).into_iter().step_by(3));
    }
    cases.extend(every(&random(&[2, 40_002], 1), 1).into_iter().step_by(3));
    cases
}
