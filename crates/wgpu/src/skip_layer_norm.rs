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
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::skip_layer_norm;

    #[test]
    fn sums_are_normalised() {
        agree_on(skip_layer_norm::sums_are_normalised(), Tolerance { absolute: 2e-5, ..Tolerance::CLOSE });
    }
}
