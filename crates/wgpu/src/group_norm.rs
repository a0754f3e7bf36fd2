//! `GroupNormalization` and `InstanceNormalization` of f32.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::Operator;
use inferrum_ops::group_norm::GroupNormalization;
use inferrum_ops::instance_norm::InstanceNormalization;

use crate::kernel::{Lowered, Lowering, Operand, words};
use crate::moments::Normalization;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    let shape = lowering.shape(0)?;
    if shape.rank() < 2 {
        return Err(Decline(format!("an input of shape {shape}")));
    }
    let channels = shape[1];
    let (groups, epsilon, per_group) =
        match (any.downcast_ref::<GroupNormalization>(), any.downcast_ref::<InstanceNormalization>()) {
            (Some(op), _) => (op.groups, op.epsilon, op.per_group),
            (None, Some(op)) => (channels, op.epsilon, false),
            (None, None) => return Err(Decline("another operator".into())),
        };
    let plane: usize = shape[2..].iter().product();
    let of_group = channels.checked_div(groups).unwrap_or(0);
    let mut norm = Normalization::new(
        shape[0].saturating_mul(groups),
        of_group.saturating_mul(plane),
        epsilon,
        lowering,
    )?;
    norm.bindings.read("scale", lowering.float(1)?, Operand::Input(1));
    norm.bindings.read("bias", lowering.float(2)?, Operand::Input(2));
    let first = norm.params.len();
    norm.params.extend(words([groups, of_group, plane])?);
    let group = format!("row % param({first}u)");
    let entry = if per_group {
        group
    } else {
        format!("({group}) * param({}u) + i / param({}u)", first + 1, first + 2)
    };
    norm.result = format!("value * f32(scale[{entry}]) + f32(bias[{entry}])");
    norm.lower("group norm", true, false, lowering)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::group_norm;

    #[test]
    fn groups_and_instances() {
        agree_on(group_norm::groups_and_instances(), Tolerance { absolute: 2e-5, ..Tolerance::CLOSE });
    }
}
