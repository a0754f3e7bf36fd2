//! `DepthToSpace` and `SpaceToDepth`.

use inferrum_ops::depth_to_space::{DepthToSpace, SpaceToDepth};
use inferrum_tensor::DType;

use super::{Case, given, random_of};

/// Either way, in either order.
pub fn both_ways_in_both_orders(types: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &dtype in types {
        for column_major in [false, true] {
            for (block_size, shape) in
                [(2, [2, 12, 3, 5]), (3, [1, 9, 4, 40]), (1, [2, 3, 4, 5]), (2, [0, 4, 1, 1])]
            {
                let op = DepthToSpace { block_size, column_major };
                cases.push(Case::new(op, given([random_of(dtype, &shape, 1)]), 1));
                let [n, c, h, w] = shape;
                let image = [n, c / (block_size * block_size), h * block_size, w * block_size];
                let op = SpaceToDepth { block_size, column_major };
                cases.push(Case::new(op, given([random_of(dtype, &image, 1)]), 1));
            }
        }
    }
    cases
}
