//! `OneHot`.

use inferrum_ops::one_hot::OneHot;
use inferrum_tensor::{DType, Tensor};

use super::{Case, random_of};

/// Every new axis, for indices and values of these types.
pub fn every_axis(indices: &[DType], values: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &dtype in indices {
        for &values in values {
            let values = Tensor::from_f64(values, [2], &[0.0, 1.0]).expect("numbers");
            for shape in [&[3, 17][..], &[5], &[], &[0, 3], &[2, 3, 27]] {
                for axis in [-1, 0, shape.len() as i64] {
                    let inputs = vec![
                        Some((random_of(dtype, shape, 1), false)),
                        Some((Tensor::scalar(6i64), true)),
                        Some((values.clone(), false)),
                    ];
                    cases.push(Case::new(OneHot { axis }, inputs, 1));
                }
            }
        }
    }
    cases
}

/// Indices that the axis does not have.
pub fn indices_beyond_the_axis() -> Vec<Case> {
    let case = |indices: Tensor| {
        let values = Tensor::vector(vec![-1i64, 7]);
        let inputs = vec![Some((indices, false)), Some((Tensor::scalar(6i64), true)), Some((values, false))];
        Case::new(OneHot { axis: -1 }, inputs, 1)
    };
    [
        Tensor::vector(vec![i64::MIN, i64::MAX, 1 << 32, 6, -7, -6]),
        Tensor::vector(vec![u32::MAX, 6, 0]),
        Tensor::vector(vec![3e9f32, -1e18, 5.0]),
    ]
    .map(case)
    .into()
}
