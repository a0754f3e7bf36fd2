//! `Expand` of elements of any size.

use inferrum_backend::Decline;
use inferrum_ops::expand::Expand;

use crate::copies::Copies;
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower(op: &Expand, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    Copies::lower(op, lowering)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random_of};
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn axes_repeat_and_are_added() {
        for dtype in [DType::F32, DType::Bool, DType::I64, DType::BF16] {
            for (shape, target) in [
                (&[3, 1][..], &[3, 40][..]),
                (&[1, 40], &[3, 40]),
                (&[5], &[2, 3, 5]),
                (&[2, 1, 1, 7], &[1, 1, 4, 1]),
                (&[2, 8, 1, 3, 4], &[2, 8, 4, 3, 4]),
                (&[], &[100, 700]),
                (&[3, 1], &[3, 0]),
                (&[2, 3], &[1]),
            ] {
                let target: Vec<i64> = target.to_vec();
                let inputs =
                    [Some((random_of(dtype, shape, 1), false)), Some((Tensor::vector(target), true))];
                agree_with(Expand, &inputs, 1, Tolerance::EXACT);
            }
        }
    }
}
