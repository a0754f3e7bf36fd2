//! `ReduceSum` and its kin.

use inferrum_ops::reduce::{Reduce, Reduction};
use inferrum_tensor::{DType, Tensor};

use super::{Case, random, random_of};

const ALL: [Reduction; 10] = [
    Reduction::L1,
    Reduction::L2,
    Reduction::LogSum,
    Reduction::LogSumExp,
    Reduction::Max,
    Reduction::Mean,
    Reduction::Min,
    Reduction::Prod,
    Reduction::Sum,
    Reduction::SumSquare,
];

fn case(reduction: Reduction, x: Tensor, axes: Option<Vec<i64>>, keep_dims: bool, noop: bool) -> Case {
    let x = match reduction {
        // Logarithms of sums near 0 have no digits, products of many grow beyond bounds.
        Reduction::LogSum | Reduction::Prod if x.dtype() == DType::F32 => {
            let numbers = x.to_f64().expect("floats");
            let positive: Vec<f64> = numbers.iter().map(|x| 0.9 + x.abs() / 15.0).collect();
            Tensor::from_f64(DType::F32, x.shape().clone(), &positive).expect("floats")
        }
        _ => x,
    };
    let op = Reduce { reduction, keep_dims, noop_with_empty_axes: noop };
    let mut inputs = vec![Some((x, false))];
    inputs.extend(axes.map(|axes| Some((Tensor::vector(axes), true))));
    Case::new(op, inputs, 1)
}

/// Rows, columns, and both at once; axes that are listed, all of them, and none.
pub fn every_reduction_over_every_kind_of_axes() -> Vec<Case> {
    let mut cases = Vec::new();
    for reduction in ALL {
        for (shape, axes) in [
            (&[3usize, 130][..], Some(vec![-1])),
            (&[130, 3], Some(vec![0])),
            (&[2, 3, 4, 5], Some(vec![1, 3])),
            (&[2, 0, 3], Some(vec![1])),
        ] {
            cases.push(case(reduction, random(shape, 1), axes, true, false));
        }
    }
    for reduction in [Reduction::LogSumExp, Reduction::Max, Reduction::Mean] {
        for (shape, axes) in [
            (&[17usize][..], Some(vec![0])),
            (&[2, 3, 4, 5], Some(vec![0, 2])),
            (&[2, 3, 4, 5], None),
            (&[1, 40, 50], Some(vec![1, 2])),
            (&[6, 50, 32], Some(vec![1])),
            (&[0, 3], Some(vec![1])),
        ] {
            cases.push(case(reduction, random(shape, 1), axes.clone(), true, false));
            cases.push(case(reduction, random(shape, 1), axes, false, false));
        }
        cases.push(case(reduction, random(&[3, 5], 1), None, true, true));
        cases.push(case(reduction, random(&[3, 5], 1), Some(vec![]), false, true));
    }
    cases
}

/// NaN and infinities among numbers.
pub fn nan_and_infinities_spread() -> Vec<Case> {
    let mut cases = Vec::new();
    for length in [2, 64] {
        for first in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for reduction in [Reduction::Max, Reduction::Min, Reduction::LogSumExp, Reduction::Sum] {
                let mut row = vec![1.0f32; length];
                row[length / 2] = first;
                cases.push(case(reduction, Tensor::vector(row), None, false, false));
            }
        }
    }
    cases
}

/// So long that a device shares them out, few and many, in two axes too.
pub fn long_rows_and_columns() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, axes) in [
        (&[100_003usize][..], vec![0]),
        (&[2, 50_000], vec![1]),
        (&[40_000, 3], vec![0]),
        (&[35_000, 8], vec![0]),
        (&[90, 2, 16, 25], vec![0, 2, 3]),
        (&[700, 64], vec![0]),
        (&[5000, 24], vec![1]),
    ] {
        for reduction in [Reduction::Mean, Reduction::LogSumExp] {
            cases.push(case(reduction, random(shape, 1), Some(axes.clone()), false, false));
        }
    }
    cases
}

/// Of every kind, where the results are integers.
pub fn integers() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::U8, DType::I8, DType::I32, DType::I64] {
        for reduction in ALL {
            if matches!(reduction, Reduction::L2 | Reduction::LogSum | Reduction::LogSumExp) {
                continue;
            }
            for (shape, axes) in [(&[3usize, 12][..], vec![1]), (&[7, 5], vec![0])] {
                cases.push(case(reduction, random_of(dtype, shape, 1), Some(axes), false, false));
            }
        }
    }
    for reduction in [Reduction::Max, Reduction::Min] {
        cases.push(case(reduction, random_of(DType::Bool, &[9, 3], 1), Some(vec![1]), true, false));
    }
    cases
}
