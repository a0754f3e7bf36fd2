//! `LayerNormalization` and `RMSNormalization`.

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
    let shape = lowering.shape(0)?;
    let axis = shape.axis(axis).ok_or_else(|| Decline(format!("axis {axis} is out of range")))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    let extent = extent.saturating_mul(inner);
    if extent == 0 {
        return Err(Decline("statistics of no elements".into()));
    }
    let mut norm = Normalization::new(outer, extent, lowering)?;
    norm.centred = centred;
    let scale = norm.broadcast("scale", SCALE)?;
    norm.scale(&scale);
    if lowering.has(BIAS) {
        let bias = norm.broadcast("bias", BIAS)?;
        norm.shift(&bias);
    }
    match centred {
        true => norm.lower("layer norm", epsilon, [Some(1), Some(2), None]),
        false => norm.lower("rms norm", epsilon, [None, Some(1), None]),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::layer_norm;

    const CLOSE: Tolerance = Tolerance { absolute: 2e-5, ..Tolerance::CLOSE };

    #[test]
    fn rows_of_every_length() {
        agree_on(layer_norm::rows_of_every_length(), CLOSE);
    }

    #[test]
    fn statistics_are_outputs() {
        agree_on(layer_norm::statistics_are_outputs(), CLOSE);
    }

    #[test]
    fn far_from_zero() {
        agree_on(layer_norm::far_from_zero(), Tolerance { relative: 1e-3, absolute: 1e-3 });
    }
}
