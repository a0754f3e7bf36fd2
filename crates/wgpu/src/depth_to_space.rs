//! `DepthToSpace`, `SpaceToDepth`.

use inferrum_backend::Decline;
use inferrum_graph::Operator;

use crate::copies;
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    copies::lower(op, lowering)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree, random_of};
    use inferrum_ops::depth_to_space::{DepthToSpace, SpaceToDepth};
    use inferrum_tensor::DType;

    #[test]
    fn both_ways_in_both_orders() {
        for dtype in [DType::F32, DType::U8, DType::I64] {
            for column_major in [false, true] {
                for (block_size, shape) in
                    [(2, [2, 12, 3, 5]), (3, [1, 9, 4, 40]), (1, [2, 3, 4, 5]), (2, [0, 4, 1, 1])]
                {
                    let op = DepthToSpace { block_size, column_major };
                    agree(op, &[random_of(dtype, &shape, 1)], Tolerance::EXACT);
                    let [n, c, h, w] = shape;
                    let image = [n, c / (block_size * block_size), h * block_size, w * block_size];
                    let op = SpaceToDepth { block_size, column_major };
                    agree(op, &[random_of(dtype, &image, 1)], Tolerance::EXACT);
                }
            }
        }
    }
}
