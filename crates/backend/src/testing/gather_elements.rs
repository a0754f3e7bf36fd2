//! `GatherElements`.

use inferrum_ops::gather_elements::GatherElements;
use inferrum_tensor::{DType, Shape, Tensor};

use super::{Case, given, random_of};

/// Along every axis, from all of the others or a part.
pub fn every_axis(types: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &dtype in types {
        for (shape, axis, part) in [
            (&[9, 5][..], 0, &[4, 5][..]),
            (&[9, 5], 1, &[9, 12]),
            (&[2, 7, 40], -2, &[2, 3, 39]),
            (&[20, 30], 1, &[20, 30]),
            (&[3, 4], 0, &[0, 4]),
            (&[2, 3, 2, 3, 2, 3], 3, &[2, 1, 2, 5, 1, 3]),
        ] {
            let extent = shape[i64::rem_euclid(axis, shape.len() as i64) as usize] as i64;
            let count = Shape::from(part).elements() as i64;
            let values: Vec<i64> = (0..count).map(|i| (i * 7 + 3) % (2 * extent) - extent).collect();
            for index_type in [DType::I64, DType::I32] {
                let indices = Tensor::from_i64(index_type, part, &values).expect("integers");
                let inputs = given([random_of(dtype, shape, 1), indices]);
                cases.push(Case::new(GatherElements { axis }, inputs, 1));
            }
        }
    }
    cases
}

/// As [`super::gather::out_of_range`].
pub fn out_of_range() -> Vec<(GatherElements, [Tensor; 2], Shape, String)> {
    let case = |index: i64| {
        let inputs = [random_of(DType::F32, &[5], 1), Tensor::vector(vec![0i64, index, 1])];
        let told = format!("index {index} is out of range for an axis of 5");
        (GatherElements { axis: 0 }, inputs, Shape::from([3]), told)
    };
    [5, -6].map(case).into()
}
