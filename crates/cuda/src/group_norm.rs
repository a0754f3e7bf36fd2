//! `GroupNormalization` and `InstanceNormalization`.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::Operator;
use inferrum_ops::group_norm::GroupNormalization;
use inferrum_ops::instance_norm::InstanceNormalization;

use crate::kernel::{Lowered, Lowering};
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
    let rows = shape[0].saturating_mul(groups);
    let mut norm = Normalization::new(rows, of_group.saturating_mul(plane), lowering)?;
    norm.number("groups", groups)?;
    let (entry, sharing) = if per_group || of_group == 1 {
        ("row % groups", of_group * plane)
    } else {
        norm.number("of_group", of_group)?;
        norm.number("plane", plane)?;
        ("row % groups * of_group + place / plane", plane)
    };
    let scale = norm.entry("scale", 1, entry, sharing)?;
    let bias = norm.entry("bias", 2, entry, sharing)?;
    norm.scale(&scale);
    norm.shift(&bias);
    norm.lower("group norm", epsilon, [None; 3])
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::group_norm;

    #[test]
    fn groups_and_instances() {
        agree_on(group_norm::groups_and_instances(), Tolerance { absolute: 2e-5, ..Tolerance::CLOSE });
    }

    #[test]
    fn large_images() {
        agree_on(group_norm::large_images(), Tolerance { absolute: 2e-5, ..Tolerance::CLOSE });
    }
}
