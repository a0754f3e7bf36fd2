//! `Concat`: as many inputs in a dispatch as the adapter binds.

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
    use inferrum_backend::testing::concat;

    #[test]
    fn every_axis() {
        agree_on(concat::every_axis(&stored()), Tolerance::EXACT);
    }

    #[test]
    fn many_inputs() {
        agree_on(concat::many_inputs(), Tolerance::EXACT);
    }
}
