//! `DepthToSpace`, `SpaceToDepth` of elements of any size.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::Operator;
use inferrum_ops::depth_to_space::{DepthToSpace, SpaceToDepth};
use inferrum_tensor::Shape;

use crate::copies::{Copies, Part, Strided, StridedCopy};
use crate::kernel::{Lowered, Lowering};
use crate::strided::dense_strides;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (shape, output) = (lowering.shape(0)?, lowering.output_shape(0)?);
    let (&[n, c, h, w], &[_, out_c, out_h, out_w]) = (shape.dims(), output.dims()) else {
        return Err(Decline("not an image".into()));
    };
    let any = op as &dyn Any;
    let (view, perm) = if let Some(op) = any.downcast_ref::<DepthToSpace>() {
        let b = op.block_size;
        if op.column_major {
            (Shape::from([n, out_c, b, b, h, w]), [0, 1, 4, 2, 5, 3])
        } else {
            (Shape::from([n, b, b, out_c, h, w]), [0, 3, 4, 1, 5, 2])
        }
    } else if let Some(op) = any.downcast_ref::<SpaceToDepth>() {
        let b = op.block_size;
        let perm = if op.column_major { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
        (Shape::from([n, c, out_h, b, out_w, b]), perm)
    } else {
        return Err(Decline("another operator".into()));
    };
    let strides = dense_strides(&view);
    let dims: Shape = perm.iter().map(|&axis| view[axis]).collect();
    let source = perm.map(|axis| strides[axis]);
    let copy = StridedCopy::new(
        lowering.dtype(0)?.size(),
        &dims,
        Strided { start: 0, strides: &source },
        Strided { start: 0, strides: &dense_strides(&dims) },
    )?;
    Ok(Copies::lower(lowering.isa, vec![Part { input: 0, output: 0, copy }]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random_of};
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
