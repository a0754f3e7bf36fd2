//! `Crop`.

use inferrum_ops::crop::Crop;
use inferrum_tensor::DType;

use super::{Case, given, random_of};

/// With borders, and with an extent.
pub fn borders_and_extents(types: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (border, scale) in [([1, 2, 3, 0], None), ([0; 4], None), ([2, 1, 9, 9], Some([3, 4]))] {
        for &dtype in types {
            let image = random_of(dtype, &[2, 3, 7, 17], 1);
            cases.push(Case::new(Crop { border, scale }, given([image]), 1));
        }
    }
    cases
}
