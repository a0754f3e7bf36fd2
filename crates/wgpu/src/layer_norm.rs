//! `LayerNormalization` and `RMSNormalization` of f32.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::Operator;
use inferrum_ops::layer_norm::{LayerNormalization, RMSNormalization};

use crate::kernel::{Lowered, Lowering};
use crate::moments::Normalization;

const SCALE: usize = 1;
const BIAS: usize = 2;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    let (axis, epsilon, centred) =
        match (any.downcast_ref::<LayerNormalization>(), any.downcast_ref::<RMSNormalization>()) {
            (Some(op), _) => (op.axis, op.epsilon, true),
            (None, Some(op)) => (op.axis, op.epsilon, false),
            (None, None) => return Err(Decline("another operator".into())),
        };
    if lowering.wants(1) || lowering.wants(2) {
        return Err(Decline("the moments as an output".into()));
    }
    let shape = lowering.shape(0)?;
    let axis = shape.axis(axis).ok_or_else(|| Decline(format!("axis {axis} is out of range")))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    let mut norm = Normalization::new(outer, extent.saturating_mul(inner), epsilon, lowering)?;
    norm.result = format!("value * {}", norm.broadcast("scale", SCALE, &shape, lowering)?);
    if lowering.has(BIAS) {
        let bias = norm.broadcast("bias", BIAS, &shape, lowering)?;
        norm.result = format!("{} + {bias}", norm.result);
    }
    norm.lower(if centred { "layer norm" } else { "rms norm" }, centred, false, lowering)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random};
    use inferrum_tensor::DType;

    #[test]
    fn rows_of_every_length() {
        for (shape, axis, parameters) in [
            (&[3usize, 1][..], -1, &[1usize][..]),
            (&[3, 17], -1, &[17]),
            (&[2, 5, 127], 1, &[5, 127]),
            (&[2, 5, 127], 1, &[127]),
            (&[2, 5, 768], -1, &[768]),
            (&[2, 5, 6], -1, &[5, 1]),
            (&[2, 5000], 1, &[5000]),
            (&[2, 5000], 1, &[1]),
            (&[4, 3], 0, &[4, 3]),
            (&[0, 3], 1, &[3]),
        ] {
            let inputs = [random(shape, 1), random(parameters, 2), random(parameters, 3)];
            let layer = LayerNormalization { axis, epsilon: 1e-5, stash: DType::F32, outputs: 1 };
            agree(layer.clone(), &inputs, Tolerance { absolute: 2e-5, ..Tolerance::CLOSE });
            agree(layer, &inputs[..2], Tolerance { absolute: 2e-5, ..Tolerance::CLOSE });
            let rms = RMSNormalization { axis, epsilon: 1e-5, stash: DType::F32, outputs: 1 };
            agree(rms, &inputs[..2], Tolerance::CLOSE);
        }
    }
}
