//! `SkipLayerNormalization`: a sum, normalised.

use inferrum_backend::Decline;
use inferrum_ops::skip_layer_norm::SkipLayerNormalization;

use crate::kernel::{Lowered, Lowering};
use crate::moments::Normalization;

const SKIP: usize = 1;
const GAMMA: usize = 2;
/// Positions of means, inverse standard deviations and sums among the outputs.
const FURTHER: [Option<usize>; 3] = [Some(1), Some(2), Some(3)];

pub(crate) fn lower(op: &SkipLayerNormalization, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let extent = shape.last().copied().unwrap_or(1);
    let Some(rows) = shape.elements().checked_div(extent) else {
        return Err(Decline("statistics of no elements".into()));
    };
    let mut norm = Normalization::new(rows, extent, lowering)?;
    norm.centred = !op.simplified;
    for (name, input) in [("skip", SKIP), ("bias", op.bias())] {
        if lowering.has(input) {
            let term = norm.broadcast(name, input)?;
            norm.add(&term);
        }
    }
    if lowering.has(GAMMA) {
        let gamma = norm.broadcast("gamma", GAMMA)?;
        norm.scale(&gamma);
    }
    if let Some(beta) = op.beta().filter(|&beta| lowering.has(beta)) {
        let beta = norm.broadcast("beta", beta)?;
        norm.shift(&beta);
    }
    norm.lower("skip layer norm", op.epsilon, FURTHER)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::skip_layer_norm;

    const CLOSE: Tolerance = Tolerance { absolute: 2e-5, ..Tolerance::CLOSE };

    #[test]
    fn sums_are_normalised() {
        agree_on(skip_layer_norm::sums_are_normalised(), CLOSE);
    }

    #[test]
    fn every_output() {
        agree_on(skip_layer_norm::every_output(), CLOSE);
    }
}
