//! `SkipLayerNormalization` of f32: a sum, normalised.

use inferrum_backend::Decline;
use inferrum_ops::skip_layer_norm::SkipLayerNormalization;

use crate::kernel::{Lowered, Lowering, Operand};
use crate::moments::Normalization;

const SKIP: usize = 1;
const GAMMA: usize = 2;
/// Position of the sum among the outputs.
const SUM: usize = 3;

pub(crate) fn lower(op: &SkipLayerNormalization, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    if lowering.wants(1) || lowering.wants(2) {
        return Err(Decline("the moments as an output".into()));
    }
    let shape = lowering.shape(0)?;
    let extent = shape.last().copied().unwrap_or(1);
    let rows = shape.elements().checked_div(extent).unwrap_or(0);
    let mut norm = Normalization::new(rows, extent, op.epsilon, lowering)?;
    let parameter = |norm: &mut Normalization, name: &str, input: usize| {
        lowering.has(input).then(|| norm.broadcast(name, input, &shape, lowering)).transpose()
    };
    if let Some(skip) = parameter(&mut norm, "skip", SKIP)? {
        norm.load = format!("{} + {skip}", norm.load);
    }
    if let Some(bias) = parameter(&mut norm, "bias", op.bias())? {
        norm.load = format!("{} + {bias}", norm.load);
    }
    if let Some(gamma) = parameter(&mut norm, "gamma", GAMMA)? {
        norm.result = format!("value * {gamma}");
    }
    let beta = op.beta().map(|beta| parameter(&mut norm, "beta", beta)).transpose()?.flatten();
    if let Some(beta) = beta {
        norm.result = format!("{} + {beta}", norm.result);
    }
    let sum = lowering.wants(SUM);
    if sum {
        norm.bindings.write("sum", lowering.output_float(SUM)?, Operand::Output(SUM));
    }
    norm.lower("skip layer norm", !op.simplified, sum, lowering)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random};

    #[test]
    fn sums_are_normalised() {
        let close = Tolerance { absolute: 2e-5, ..Tolerance::CLOSE };
        for simplified in [false, true] {
            for (shape, skip) in [(&[2usize, 3, 17][..], &[3usize, 17][..]), (&[5, 300], &[5, 300])] {
                let hidden = &shape[shape.len() - 1..];
                let given = |shape: &[usize], seed: u64| Some((random(shape, seed), false));
                let mut inputs = vec![given(shape, 1), given(skip, 2), given(hidden, 3), given(hidden, 4)];
                inputs.extend((!simplified).then(|| given(hidden, 5)));
                let op = SkipLayerNormalization { epsilon: 1e-6, simplified, outputs: 1 };
                agree_with(op.clone(), &inputs, 1, close);
                agree_with(op, &inputs[..3], 1, close);
            }
        }
    }
}
