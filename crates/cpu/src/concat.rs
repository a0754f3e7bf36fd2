//! `Concat` of elements of any size.

use inferrum_backend::Decline;
use inferrum_ops::concat::Concat;

use crate::copies::Copies;
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower(op: &Concat, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    Copies::lower(op, lowering)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random_of};
    use inferrum_tensor::DType;

    #[test]
    fn tensors_of_every_size_along_every_axis() {
        for dtype in [DType::F32, DType::U8, DType::I64, DType::F16] {
            for axis in [0i64, 1, 2, -1] {
                let shape = |extent: usize| {
                    let mut shape = [3, 4, 5];
                    shape[axis.rem_euclid(3) as usize] = extent;
                    shape
                };
                let inputs: Vec<_> =
                    [1, 0, 7, 2].iter().map(|&n| random_of(dtype, &shape(n), n as u64)).collect();
                agree(Concat { axis }, &inputs, Tolerance::EXACT);
                agree(Concat { axis }, &inputs[..1], Tolerance::EXACT);
            }
        }
        let wide = [random_of(DType::F32, &[300, 200], 1), random_of(DType::F32, &[300, 150], 2)];
        agree(Concat { axis: 1 }, &wide, Tolerance::EXACT);
    }
}
