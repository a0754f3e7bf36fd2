//! `GlobalAveragePool`, `GlobalMaxPool` and `GlobalLpPool`.

use inferrum_ops::global_pool::GlobalPool;

use super::{Case, given, random};

/// Images of every number of axes, and none.
pub fn every_pool_of_every_size() -> Vec<Case> {
    let mut cases = Vec::new();
    let norms = [1.0, 2.0, 3.0].map(|p| GlobalPool::Lp { p });
    for op in [GlobalPool::Average, GlobalPool::Max].into_iter().chain(norms) {
        for shape in [&[2usize, 3, 5, 7][..], &[1, 17, 40, 41], &[3, 2, 1], &[2, 3], &[0, 3, 4]] {
            cases.push(Case::new(op, given([random(shape, 1)]), 1));
        }
    }
    cases
}
