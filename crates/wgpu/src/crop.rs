//! `Crop`.

use inferrum_backend::Decline;
use inferrum_graph::Operator;

use crate::copies;
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    copies::lower(op, lowering)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree, random_of, stored};
    use inferrum_ops::crop::Crop;

    #[test]
    fn borders_and_extents() {
        for (border, scale) in [([1, 2, 3, 0], None), ([0; 4], None), ([2, 1, 9, 9], Some([3, 4]))] {
            for dtype in stored() {
                agree(Crop { border, scale }, &[random_of(dtype, &[2, 3, 7, 17], 1)], Tolerance::EXACT);
            }
        }
    }
}
