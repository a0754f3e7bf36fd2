//! `ConstantOfShape`.

use inferrum_ops::constant_of_shape::ConstantOfShape;
use inferrum_tensor::{DType, Tensor};

use super::Case;

/// Of every rank, and empty.
pub fn every_rank(types: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &dtype in types {
        for shape in [&[][..], &[1], &[17, 3], &[0, 2], &[2, 1, 3, 1, 2, 5]] {
            let value = Tensor::from_f64(dtype, [1], &[1.0]).expect("a number");
            let inputs = vec![Some((Tensor::vector(shape.to_vec()), true))];
            cases.push(Case::new(ConstantOfShape { value }, inputs, 1));
        }
    }
    cases
}
