//! `CumSum` and `CumProd`.

use inferrum_ops::cum_sum::Cumulative;
use inferrum_tensor::{DType, Tensor};

use super::{Case, random_of};

fn case(op: Cumulative, x: Tensor, axis: i64) -> Case {
    Case::new(op, vec![Some((x, false)), Some((Tensor::scalar(axis), true))], 1)
}

fn ways() -> [(bool, bool); 4] {
    [(false, false), (false, true), (true, false), (true, true)]
}

/// Both ways, with and without the element itself, columns long and short.
pub fn every_way_along_every_axis() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::F32, DType::I32, DType::U32, DType::I64] {
        for (shape, axis) in [
            (&[17][..], 0),
            (&[3, 100], 1),
            (&[100, 3], 0),
            (&[2, 30, 7], -2),
            (&[0, 2], 0),
            (&[3, 255], 1),
            (&[2, 700, 3], 1),
        ] {
            for product in [false, true] {
                if product && (dtype == DType::I64 || shape.contains(&700)) {
                    continue;
                }
                for (exclusive, reverse) in ways() {
                    let op = Cumulative { product, exclusive, reverse };
                    cases.push(case(op, random_of(dtype, shape, 2), axis));
                }
            }
        }
    }
    cases
}

/// Sums that leave 32 bits, and 64.
pub fn carries_go_into_the_high_word() -> Vec<Case> {
    let values = vec![i64::from(u32::MAX), 1, -1, i64::MAX, 1, -(1 << 40)];
    let op = Cumulative { product: false, exclusive: false, reverse: false };
    vec![case(op, Tensor::vector(values), 0)]
}

/// Sums and products wrap.
pub fn integers_of_every_width() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::I8, DType::U8, DType::I16, DType::U64, DType::I64] {
        for shape in [[3usize, 11], [2, 3000]] {
            let product = shape[1] < 20;
            let op = Cumulative { product, exclusive: false, reverse: product };
            cases.push(case(op, random_of(dtype, &shape, 2), 1));
        }
    }
    cases
}
