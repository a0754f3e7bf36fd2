//! `Transpose`, by tiles where neighbours change.

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
    use inferrum_backend::testing::transpose;

    #[test]
    fn every_permutation_of_three_axes() {
        agree_on(transpose::every_permutation_of_three_axes(), Tolerance::EXACT);
    }

    #[test]
    fn every_type() {
        agree_on(transpose::every_type(&stored()), Tolerance::EXACT);
    }

    #[test]
    fn other_ranks() {
        agree_on(transpose::other_ranks(), Tolerance::EXACT);
    }
}
