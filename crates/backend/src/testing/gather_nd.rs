//! `GatherND`.

use inferrum_ops::gather_nd::GatherND;
use inferrum_tensor::{DType, Shape, Tensor};

use super::{Case, given, random_of};

/// Elements and slices, with batches and without.
pub fn elements_and_slices(types: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &dtype in types {
        for (data, indices, batch_dims) in [
            (&[4, 5][..], &[7, 2][..], 0),
            (&[4, 5], &[7, 1], 0),
            (&[4, 5, 6], &[2, 3, 2], 0),
            (&[3, 4, 8], &[3, 1], 1),
            (&[3, 4, 5], &[3, 6, 2], 1),
            (&[2, 3, 4, 5], &[2, 3, 2, 1], 2),
            (&[4, 5], &[0, 2], 0),
            (&[40, 100], &[30, 1], 0),
        ] {
            let depth = indices[indices.len() - 1].max(1);
            let index = |i: usize| {
                let extent = data[batch_dims + i % depth] as i64;
                (i as i64 * 5 + 1) % (2 * extent) - extent
            };
            let values: Vec<i64> = (0..Shape::from(indices).elements()).map(index).collect();
            let indices = Tensor::from_i64(DType::I64, indices, &values).expect("integers");
            let inputs = given([random_of(dtype, data, 1), indices]);
            cases.push(Case::new(GatherND { batch_dims }, inputs, 1));
        }
    }
    cases
}

/// As [`super::gather::out_of_range`].
pub fn out_of_range() -> Vec<(GatherND, [Tensor; 2], Shape, String)> {
    let case = |(tuple, told): ([i64; 2], &str)| {
        let indices = Tensor::from_i64(DType::I64, [2, 2], &[0, 0, tuple[0], tuple[1]]).expect("integers");
        let inputs = [random_of(DType::F32, &[4, 5], 1), indices];
        (GatherND { batch_dims: 0 }, inputs, Shape::from([2]), told.to_owned())
    };
    [([1, 5], "index 5 is out of range for an axis of 5"), ([-5, 0], "index -5")].map(case).into()
}
