//! Infers what is known of a loaded graph's values and holds it against what the file declares.

use std::collections::HashMap;

use inferrum_graph::{Fact, Graph, GraphError, ValueId};

use crate::error::LoadErrorKind;

/// Infers the facts of every node's outputs and joins them with the declared ones.
///
/// Exporters write wrong shapes for inner values, so where a declared shape contradicts inference it is dropped with a
/// warning. A wrong element type is an error, since nothing good can come of it.
///
/// # Errors
/// An operator refuses its inputs or has fewer outputs than its node; an element type is contradicted.
pub(crate) fn infer(graph: &mut Graph, declared: &HashMap<ValueId, Fact>) -> Result<(), LoadErrorKind> {
    for index in 0..graph.nodes().len() {
        let Some(node) = graph.nodes().get(index) else { break };
        let facts = graph.infer_node(node).map_err(GraphError::from)?;
        if node.outputs.iter().skip(facts.len()).any(Option::is_some) {
            return Err(LoadErrorKind::Node {
                node: node.name.clone(),
                op: node.op.key().to_string(),
                reason: format!(
                    "the operator gives {} outputs here, the node asks for {}",
                    facts.len(),
                    node.outputs.len()
                ),
            });
        }
        let (name, op, outputs) = (node.name.clone(), node.op.key().to_string(), node.outputs.clone());
        for (id, inferred) in outputs.into_iter().zip(facts) {
            let Some(id) = id else { continue };
            let fact = match declared.get(&id) {
                None => inferred,
                Some(declared) => join(graph, id, &name, &op, inferred, declared)?,
            };
            graph.value_mut(id).fact = fact;
        }
    }
    Ok(())
}

fn join(
    graph: &Graph,
    id: ValueId,
    node: &str,
    op: &str,
    inferred: Fact,
    declared: &Fact,
) -> Result<Fact, LoadErrorKind> {
    if let Some(fact) = inferred.merge(declared) {
        return Ok(fact);
    }
    let name = &graph.value(id).name;
    if same_type(&inferred, declared) {
        log::warn!(
            "value `{name}` is declared as {declared}, but node `{node}` gives {inferred}, which is used"
        );
        return Ok(inferred);
    }
    Err(LoadErrorKind::Graph(GraphError::Contradiction {
        name: name.clone(),
        node: node.to_owned(),
        op: op.to_owned(),
        declared: Box::new(declared.clone()),
        inferred: Box::new(inferred),
    }))
}

/// Whether two facts agree in all but shapes.
fn same_type(a: &Fact, b: &Fact) -> bool {
    match (a, b) {
        (Fact::Unknown, _) | (_, Fact::Unknown) => true,
        (Fact::Tensor(a), Fact::Tensor(b)) => a.dtype == b.dtype,
        (Fact::Sequence(a), Fact::Sequence(b)) | (Fact::Optional(a), Fact::Optional(b)) => same_type(a, b),
        (a, b) => a == b,
    }
}
