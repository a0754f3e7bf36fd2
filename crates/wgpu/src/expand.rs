//! `Expand` and `Tile`.

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
    use inferrum_backend::testing::expand;

    #[test]
    fn axes_repeat_and_are_added() {
        agree_on(expand::axes_repeat_and_are_added(&stored()), Tolerance::EXACT);
    }

    #[test]
    fn axes_repeat_as_often_as_asked() {
        agree_on(expand::axes_repeat_as_often_as_asked(&stored()), Tolerance::EXACT);
    }

    #[test]
    fn many_elements() {
        agree_on(expand::many_elements(), Tolerance::EXACT);
    }
}
