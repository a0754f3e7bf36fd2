//! `GroupNormalization` and `InstanceNormalization`.

use inferrum_ops::group_norm::GroupNormalization;
use inferrum_ops::instance_norm::InstanceNormalization;
use inferrum_tensor::DType;

use super::{Case, given, random};

fn cases_of(shape: &[usize]) -> Vec<Case> {
    let x = random(shape, 1);
    let channels = shape[1];
    let op = InstanceNormalization { epsilon: 1e-3 };
    let inputs = given([x.clone(), random(&[channels], 2), random(&[channels], 3)]);
    let mut cases = vec![Case::new(op, inputs, 1)];
    for (groups, per_group) in [(1, false), (2, false), (3, true), (channels, false)] {
        let op = GroupNormalization { groups, epsilon: 1e-3, per_group, stash: DType::F32 };
        let n = [if per_group { groups } else { channels }];
        cases.push(Case::new(op, given([x.clone(), random(&n, 2), random(&n, 3)]), 1));
    }
    cases
}

/// Images of every number of axes, parameters by channel and by group.
pub fn groups_and_instances() -> Vec<Case> {
    [&[2usize, 6, 7, 5][..], &[1, 6, 60, 70], &[3, 6], &[1, 6, 1], &[0, 6, 3]]
        .into_iter()
        .flat_map(cases_of)
        .collect()
}

/// Groups of so many elements that they are shared out.
pub fn large_images() -> Vec<Case> {
    cases_of(&[1, 6, 160, 140])
}
