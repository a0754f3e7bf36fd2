//! `DepthToSpace`, `SpaceToDepth`.

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
    use inferrum_backend::testing::depth_to_space;

    #[test]
    fn both_ways_in_both_orders() {
        agree_on(depth_to_space::both_ways_in_both_orders(&stored()), Tolerance::EXACT);
    }
}
