//! `Expand` and `Tile`.

use inferrum_backend::Decline;
use inferrum_graph::Operator;

use crate::copies;
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    copies::lower(op, lowering)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_with, random_of, stored};
    use inferrum_ops::expand::Expand;
    use inferrum_ops::tile::Tile;
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn axes_repeat_and_are_added() {
        for dtype in stored() {
            for (shape, target) in [
                (&[3, 1][..], &[3, 40][..]),
                (&[1, 40], &[3, 40]),
                (&[5], &[2, 3, 5]),
                (&[2, 1, 1, 7], &[1, 1, 4, 1]),
                (&[2, 8, 1, 3, 4], &[2, 8, 4, 3, 4]),
                (&[], &[10, 70]),
                (&[3, 1], &[3, 0]),
                (&[2, 3], &[1]),
            ] {
                let inputs = [
                    Some((random_of(dtype, shape, 1), false)),
                    Some((Tensor::vector(target.to_vec()), true)),
                ];
                agree_with(Expand, &inputs, 1, Tolerance::EXACT);
            }
        }
    }

    #[test]
    fn axes_repeat_as_often_as_asked() {
        for dtype in stored() {
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

    /// More workgroups than an axis counts.
    #[test]
    fn many_elements() {
        let target = Tensor::vector(vec![5_000_003i64]);
        let inputs = [Some((random_of(DType::I32, &[1], 1), false)), Some((target, true))];
        agree_with(Expand, &inputs, 1, Tolerance::EXACT);
    }
}
