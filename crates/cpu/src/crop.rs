//! `Crop` of elements of any size.

use inferrum_backend::{Decline, copies};
use inferrum_ops::crop::Crop;

use crate::copies::Copies;
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower(op: &Crop, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    Copies::lower(op, lowering)
}

/// As [`lower`], of a tensor whose axes are laid out in another order: axis `i` is the operator's axis `order[i]`.
pub(crate) fn lower_in(op: &Crop, order: &[usize], lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    Copies::of(&copies::crop::parts_in(op, order, lowering)?, lowering)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random_of};
    use inferrum_tensor::DType;

    #[test]
    fn borders_and_extents() {
        for (border, scale) in [([1, 2, 3, 0], None), ([0; 4], None), ([2, 1, 9, 9], Some([3, 4]))] {
            for dtype in [DType::F32, DType::U8, DType::F16] {
                agree(Crop { border, scale }, &[random_of(dtype, &[2, 3, 7, 17], 1)], Tolerance::EXACT);
            }
        }
    }
}
