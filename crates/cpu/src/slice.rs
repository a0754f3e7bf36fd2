//! `Slice`, with steps of either sign, of elements of any size.

use inferrum_backend::Decline;
use inferrum_ops::slice::Slice;

use crate::copies::Copies;
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower(op: &Slice, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    Copies::lower(op, lowering)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random_of};
    use inferrum_tensor::{DType, Tensor};

    fn check(shape: &[usize], starts: &[i64], ends: &[i64], axes: Option<&[i64]>, steps: Option<&[i64]>) {
        let list = |list: &[i64]| Some((Tensor::vector(list.to_vec()), true));
        for dtype in [DType::F32, DType::U8, DType::I64, DType::F16] {
            let inputs = [
                Some((random_of(dtype, shape, 5), false)),
                list(starts),
                list(ends),
                axes.and_then(list),
                steps.and_then(list),
            ];
            agree_with(Slice, &inputs, 1, Tolerance::EXACT);
        }
    }

    #[test]
    fn ranges_of_every_kind() {
        check(&[5, 7, 9], &[1, 0, 2], &[4, 7, 9], None, None);
        check(&[5, 7, 9], &[-3], &[i64::MAX], Some(&[1]), None);
        check(&[5, 7, 9], &[-1, 6], &[i64::MIN, 0], Some(&[-1, 1]), Some(&[-1, -2]));
        check(&[5, 700, 9], &[0, 3], &[100, 690], Some(&[0, 1]), Some(&[2, 3]));
        check(&[5, 7], &[3], &[3], Some(&[0]), None);
        check(&[5, 7], &[0], &[99], Some(&[0]), None);
        check(&[0, 7], &[0], &[1], Some(&[0]), None);
        check(&[300, 500], &[0, 1], &[300, 401], None, None);
        check(&[8], &[7], &[0], None, Some(&[i64::MIN]));
    }
}
