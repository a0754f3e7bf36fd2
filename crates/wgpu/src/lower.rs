//! From a node to its kernel, for an adapter of some abilities.

use std::sync::LazyLock;

use inferrum_backend::{BoundNode, Decline, KernelTable};
use inferrum_tensor::DType;

use crate::abilities::Abilities;
use crate::kernel::{Lower, Lowered, Lowering, Operand, Packing};
use crate::storage;
use crate::tuner::Choose;

pub(crate) static KERNELS: LazyLock<KernelTable<Lower>> = LazyLock::new(|| KernelTable::new(crate::KERNELS));

/// The kernel of a node.
///
/// # Errors
/// Why there is none.
pub(crate) fn lower(
    bound: &BoundNode<'_>,
    abilities: &Abilities,
    chooser: &dyn Choose,
) -> Result<Lowered, Decline> {
    let op = bound.node.op.as_ref();
    for (kind, facts) in [("input", &bound.inputs), ("output", &bound.outputs)] {
        for (place, fact) in facts.iter().enumerate().filter_map(|(i, fact)| fact.map(|fact| (i, fact))) {
            let dtype = fact.as_tensor().map(|tensor| tensor.dtype);
            let stored = dtype.is_some_and(|dtype| is_stored(dtype, abilities));
            // What is a constant may be packed, or not be read at all.
            if !stored && (kind == "output" || fact.value().is_none()) {
                let dtype = dtype.map_or("no tensor".to_owned(), |dtype| dtype.to_string());
                return Err(Decline(format!("{kind} {place} is {dtype}, which has no form on a GPU")));
            }
            // A constant may be packed; what is read of it as it is follows below.
            if fact.value().is_none() {
                fits(kind, place, fact, abilities)?;
            }
        }
    }
    if bound.outputs.iter().flatten().all(|fact| fact.concrete_shape().is_some_and(|s| s.elements() == 0)) {
        return Ok(Lowered::many("nothing", Vec::new()));
    }
    let row = KERNELS.find(op).ok_or_else(|| Decline(format!("no GPU kernel for {}", op.key())))?;
    let lowered = (row.lower)(op, &Lowering { bound, abilities, chooser })?;
    if let Lowered::Work(work) = &lowered {
        let most = abilities.limits.max_storage_buffers_per_shader_stage as usize;
        if let Some(dispatch) = work.dispatches.iter().find(|dispatch| dispatch.operands.len() > most) {
            return Err(Decline(format!(
                "the kernel binds {} buffers; the adapter's max_storage_buffers_per_shader_stage is {most}",
                dispatch.operands.len()
            )));
        }
        for operand in work.dispatches.iter().flat_map(|dispatch| &dispatch.operands) {
            match operand {
                Operand::Input(place) => {
                    if let Some(fact) = bound.inputs.get(*place).copied().flatten() {
                        fits("input", *place, fact, abilities)?;
                    }
                }
                Operand::Packed(Packing { input, bytes, .. }) => {
                    bound_at_once(&format!("packed input {input}"), *bytes, abilities)?;
                }
                Operand::Table(words) => bound_at_once("a table", 4 * words.len(), abilities)?,
                _ => {}
            }
        }
        for &bytes in &work.scratch {
            bound_at_once("an intermediate value", bytes, abilities)?;
        }
    }
    Ok(lowered)
}

/// Whether an adapter of these abilities has a form for a type.
fn is_stored(dtype: DType, abilities: &Abilities) -> bool {
    storage::storage(dtype).is_some() && (dtype != DType::F16 || abilities.f16)
}

/// # Errors
/// The tensor is larger than what the adapter binds.
fn fits(kind: &str, place: usize, fact: &inferrum_graph::Fact, abilities: &Abilities) -> Result<(), Decline> {
    let (Some(tensor), Some(shape)) = (fact.as_tensor(), fact.concrete_shape()) else { return Ok(()) };
    let bytes = shape.elements().saturating_mul(storage::element_bytes(tensor.dtype));
    bound_at_once(&format!("{kind} {place}"), bytes, abilities)
}

/// # Errors
/// `what` is larger than what the adapter binds.
fn bound_at_once(what: &str, bytes: usize, abilities: &Abilities) -> Result<(), Decline> {
    let most = abilities.most_bytes();
    if bytes as u64 > most {
        return Err(Decline(format!(
            "{what} takes {bytes} bytes; kernels bind {most} here, by max_storage_buffer_binding_size"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{add, random, whole};
    use crate::tuner::Forced;
    use inferrum_graph::{Fact, Graph};

    /// Why there is no kernel for a graph's first node under limits.
    fn declined(graph: Graph, limits: impl FnOnce(&mut wgpu::Limits)) -> String {
        let mut abilities = Abilities::every().remove(0);
        limits(&mut abilities.limits);
        let region = whole(graph);
        let lowered = lower(&region.bound(region.nodes[0]), &abilities, &Forced::default());
        lowered.map(|_| ()).expect_err("it is declined").0
    }

    #[test]
    fn more_buffers_than_the_adapter_binds_are_declined() {
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", Fact::tensor(DType::F32, [1, 4, 5, 5]));
        let inputs = [[2, 4, 3, 3].as_slice(), &[2]].map(|shape| random(shape, 1));
        let [w, b] = inputs.map(|tensor| graph.add_constant("constant", tensor));
        let y = add(&mut graph, "Conv", &[], &[x, w, b]);
        graph.outputs = vec![y];
        let reason = declined(graph, |limits| limits.max_storage_buffers_per_shader_stage = 3);
        assert!(
            reason.contains("4 buffers") && reason.contains("max_storage_buffers_per_shader_stage is 3"),
            "{reason}"
        );
    }

    #[test]
    fn tensors_of_more_than_32_bits_of_bytes_are_declined() {
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", Fact::tensor(DType::F32, [(1 << 30) + 1]));
        let y = add(&mut graph, "Relu", &[], &[x]);
        graph.outputs = vec![y];
        let reason = declined(graph, |limits| {
            limits.max_buffer_size = 1 << 40;
            limits.max_storage_buffer_binding_size = 1 << 40;
        });
        assert!(reason.contains("4294967300 bytes"), "{reason}");
    }
}
