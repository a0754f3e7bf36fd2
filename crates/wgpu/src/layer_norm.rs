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
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::layer_norm;

    #[test]
    fn rows_of_every_length() {
        agree_on(layer_norm::rows_of_every_length(), Tolerance { absolute: 2e-5, ..Tolerance::CLOSE });
    }
}
