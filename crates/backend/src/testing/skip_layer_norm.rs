//! `SkipLayerNormalization`.

use inferrum_ops::skip_layer_norm::SkipLayerNormalization;

use super::{Case, given, random};

fn cases_of(outputs: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for simplified in [false, true] {
        for (shape, skip) in [(&[2usize, 3, 17][..], &[3usize, 17][..]), (&[5, 300], &[5, 300])] {
            let hidden = &shape[shape.len() - 1..];
            let [x, skip, gamma] = [random(shape, 1), random(skip, 2), random(hidden, 3)];
            let mut inputs = given([x, skip, gamma, random(hidden, 4)]);
            if !simplified {
                inputs.extend(given([random(hidden, 5)]));
            }
            let op = SkipLayerNormalization { epsilon: 1e-6, simplified, outputs };
            cases.push(Case::new(op.clone(), inputs.clone(), outputs));
            cases.push(Case::new(op, inputs[..3].to_vec(), outputs));
        }
    }
    cases
}

/// With and without what may be left out.
pub fn sums_are_normalised() -> Vec<Case> {
    cases_of(1)
}

/// Means, inverse deviations and sums beside the result.
pub fn every_output() -> Vec<Case> {
    cases_of(4)
}
