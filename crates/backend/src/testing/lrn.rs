//! `LRN`.

use inferrum_ops::lrn::LRN;

use super::{Case, given, random};

/// One neighbour, several, and more than there are channels; powers that are roots, and others.
pub fn neighbours_of_every_number() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in [1, 2, 5, 9, 1000] {
        for shape in [&[2usize, 7, 3, 4][..], &[1, 1, 5], &[3, 6], &[0, 3, 2]] {
            for beta in [0.75, 0.6] {
                let op = LRN { alpha: 0.5, beta, bias: 1.5, size };
                cases.push(Case::new(op, given([random(shape, 1)]), 1));
            }
        }
    }
    cases
}
