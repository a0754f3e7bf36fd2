//! `Slice` by constant ranges, with steps of either sign.

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
    use inferrum_ops::slice::Slice;
    use inferrum_tensor::Tensor;

    fn check(shape: &[usize], starts: &[i64], ends: &[i64], axes: Option<&[i64]>, steps: Option<&[i64]>) {
        let list = |list: &[i64]| Some((Tensor::vector(list.to_vec()), true));
        for dtype in stored() {
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
        check(&[5, 70, 9], &[0, 3], &[100, 69], Some(&[0, 1]), Some(&[2, 3]));
        check(&[5, 8, 8], &[4], &[8], Some(&[-1]), None);
        check(&[5, 8, 6], &[2], &[6], Some(&[-1]), None);
        check(&[5, 7], &[3], &[3], Some(&[0]), None);
        check(&[5, 7], &[0], &[99], Some(&[0]), None);
        check(&[0, 7], &[0], &[1], Some(&[0]), None);
        check(&[8], &[7], &[0], None, Some(&[i64::MIN]));
    }
}
