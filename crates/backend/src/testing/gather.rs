//! `Gather`.

use inferrum_ops::gather::Gather;
use inferrum_tensor::{DType, Shape, Tensor};

use super::{Case, given, random_of};

/// Indices of either sign into an axis.
fn indices(dtype: DType, shape: &[usize], extent: usize) -> Tensor {
    let extent = extent as i64;
    let values: Vec<i64> =
        (0..Shape::from(shape).elements() as i64).map(|i| (i * 7 + 3) % (2 * extent) - extent).collect();
    Tensor::from_i64(dtype, shape, &values).expect("integers")
}

/// Short and long runs along every axis, by indices of any shape.
pub fn every_axis(types: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &dtype in types {
        for (shape, axis) in [(&[9, 5][..], 0), (&[9, 5], 1), (&[2, 7, 40], -2), (&[30, 70], 0), (&[11], 0)] {
            let extent = shape[i64::rem_euclid(axis, shape.len() as i64) as usize];
            for index_shape in [&[][..], &[5], &[2, 3], &[0]] {
                for index_type in [DType::I64, DType::I32] {
                    let inputs = [random_of(dtype, shape, 1), indices(index_type, index_shape, extent)];
                    cases.push(Case::new(Gather { axis }, given(inputs), 1));
                }
            }
        }
    }
    cases
}

/// One index, and a table, that are known.
pub fn constants() -> Vec<Case> {
    let one = |shape: &[usize]| {
        let index = Tensor::from_i64(DType::I64, shape, &[-2]).expect("integers");
        let inputs = vec![Some((random_of(DType::F32, &[3, 5, 7], 1), false)), Some((index, true))];
        Case::new(Gather { axis: 1 }, inputs, 1)
    };
    let mut cases: Vec<Case> = [&[][..], &[1], &[1, 1]].into_iter().map(one).collect();
    for known in [[true, false], [false, true]] {
        let [table, places] = [random_of(DType::F32, &[9, 5], 1), indices(DType::I64, &[2, 7], 9)];
        let inputs = vec![Some((table, known[0])), Some((places, known[1]))];
        cases.push(Case::new(Gather { axis: 0 }, inputs, 1));
    }
    cases
}

/// Indices that no axis has: operator, inputs, the output's shape, what is said of it.
pub fn out_of_range() -> Vec<(Gather, [Tensor; 2], Shape, String)> {
    let told = |index: i64, extent: usize| format!("index {index} is out of range for an axis of {extent}");
    let mut cases = Vec::new();
    for index in [5, -6, i64::MIN, i64::MAX, 1 << 32, -(1 << 32), i64::from(i32::MIN)] {
        let inputs = [random_of(DType::F32, &[5], 1), Tensor::vector(vec![0, 4, index, -5])];
        cases.push((Gather { axis: 0 }, inputs, Shape::from([4]), told(index, 5)));
    }
    let narrow = Tensor::from_i64(DType::I32, [2], &[-7, 0]).expect("integers");
    let inputs = [random_of(DType::F32, &[3, 6], 1), narrow];
    cases.push((Gather { axis: 1 }, inputs, Shape::from([3, 2]), told(-7, 6)));
    cases
}

/// The least and the greatest index.
pub fn ends() -> Vec<Case> {
    let inputs = [random_of(DType::F32, &[5], 1), Tensor::vector(vec![-5i64, 4])];
    vec![Case::new(Gather { axis: 0 }, given(inputs), 1)]
}
