//! `Split`.

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
    use inferrum_backend::testing::split;

    #[test]
    fn parts_along_every_axis() {
        agree_on(split::parts_along_every_axis(&stored()), Tolerance::EXACT);
    }
}
