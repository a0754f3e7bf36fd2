//! `Tile` of elements of any size.

use inferrum_backend::Decline;
use inferrum_ops::tile::Tile;

use crate::copies::Copies;
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower(op: &Tile, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    Copies::lower(op, lowering)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random_of};
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn axes_repeat_as_often_as_asked() {
        for dtype in [DType::F32, DType::U8, DType::I64] {
            for (shape, repeats) in [
                (&[2, 3][..], &[2, 2][..]),
                (&[2, 3, 4], &[1, 3, 1]),
                (&[1, 5], &[300, 1]),
                (&[7], &[0]),
                (&[], &[]),
                (&[0, 2], &[3, 3]),
                (&[4, 5], &[1, 1]),
            ] {
                let repeats = Tensor::vector(repeats.to_vec());
                let inputs = [Some((random_of(dtype, shape, 1), false)), Some((repeats, true))];
                agree_with(Tile { one_axis: false }, &inputs, 1, Tolerance::EXACT);
            }
        }
        let scalar = |x: i64| Some((Tensor::scalar(x), true));
        let inputs = [Some((random_of(DType::F32, &[2, 3], 1), false)), scalar(4), scalar(1)];
        agree_with(Tile { one_axis: true }, &inputs, 1, Tolerance::EXACT);
    }
}
