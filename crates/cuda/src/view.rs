//! Operators that give the first input's elements under another shape.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_ops::dropout::Dropout;

use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower<O: Any>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    if (op as &dyn Any).is::<Dropout>() && (lowering.has(2) || lowering.wants(1)) {
        return Err(Decline("it may train, or the mask is needed".into()));
    }
    Ok(Lowered::View)
}
