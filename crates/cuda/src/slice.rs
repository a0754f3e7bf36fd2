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
    use crate::testing::{Tolerance, agree_on, stored};
    use inferrum_backend::testing::slice;

    #[test]
    fn ranges_of_every_kind() {
        agree_on(slice::ranges_of_every_kind(&stored()), Tolerance::EXACT);
    }
}
