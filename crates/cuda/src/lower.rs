//! From a node to its kernel, for a device of some abilities.

use std::sync::LazyLock;

use inferrum_backend::{BoundNode, Decline, KernelTable};

use crate::abilities::Abilities;
use crate::kernel::{Lower, Lowered, Lowering, c_type};

pub(crate) static KERNELS: LazyLock<KernelTable<Lower>> = LazyLock::new(|| KernelTable::new(crate::KERNELS));

/// The kernel of a node.
///
/// # Errors
/// Why there is none.
pub(crate) fn lower(bound: &BoundNode<'_>, abilities: &Abilities) -> Result<Lowered, Decline> {
    let op = bound.node.op.as_ref();
    for (kind, facts) in [("input", &bound.inputs), ("output", &bound.outputs)] {
        for (place, fact) in facts.iter().enumerate().filter_map(|(i, fact)| fact.map(|fact| (i, fact))) {
            let dtype = fact.as_tensor().map(|tensor| tensor.dtype);
            // What is a constant may be packed, or not be read at all.
            if dtype.and_then(c_type).is_none() && (kind == "output" || fact.value().is_none()) {
                let dtype = dtype.map_or("no tensor".to_owned(), |dtype| dtype.to_string());
                return Err(Decline(format!("{kind} {place} is {dtype}, which has no form on a GPU")));
            }
        }
    }
    if bound.outputs.iter().flatten().all(|fact| fact.concrete_shape().is_some_and(|s| s.elements() == 0)) {
        return Ok(Lowered::many("nothing", Vec::new()));
    }
    let row = KERNELS.find(op).ok_or_else(|| Decline(format!("no CUDA kernel for {}", op.key())))?;
    (row.lower)(op, &Lowering { bound, abilities })
}
