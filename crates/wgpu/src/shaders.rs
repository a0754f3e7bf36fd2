//! The shaders of nodes, and whether they are valid: what tests ask without an adapter.

use inferrum_backend::{BoundNode, Decline};
use inferrum_graph::{Graph, NodeError};

use crate::abilities::Abilities;
use crate::kernel::Lowered;
use crate::lower::lower;
use crate::tuner::Forced;

/// A graph as an adapter of these abilities takes it.
///
/// # Errors
/// An operator refuses its inputs.
pub fn legalize(graph: Graph, abilities: &Abilities) -> Result<Graph, NodeError> {
    crate::legalize::legalize(graph, abilities)
}

/// The shaders of a node, in all its forms, on an adapter of these abilities: their names and texts.
///
/// # Errors
/// Why the node has no kernel.
pub fn of_node(bound: &BoundNode<'_>, abilities: &Abilities) -> Result<Vec<(&'static str, String)>, Decline> {
    let mut shaders = Vec::new();
    let mut form = 0;
    loop {
        let forced = Forced::new(form);
        if let Lowered::Work(work) = lower(bound, abilities, &forced)? {
            let made = work.dispatches.into_iter().map(|dispatch| dispatch.shader);
            shaders.extend(made.map(|shader| (shader.name, shader.source.to_string())));
        }
        form += 1;
        if form >= forced.forms() {
            return Ok(shaders);
        }
    }
}

/// Whether a shader is valid WGSL that asks for no more than an adapter of these abilities can do.
///
/// # Errors
/// What is wrong, with the place in the text.
pub fn validate(source: &str, abilities: &Abilities) -> Result<(), String> {
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let allowed = |capability, on: bool| if on { capability } else { Capabilities::empty() };
    let capabilities = allowed(Capabilities::SHADER_FLOAT16, abilities.f16)
        | allowed(Capabilities::SUBGROUP, abilities.subgroups)
        | allowed(Capabilities::SHADER_INT64, abilities.i64)
        | allowed(Capabilities::FLOAT64, abilities.wide_fma)
        | allowed(Capabilities::COOPERATIVE_MATRIX, !abilities.cooperative.is_empty());
    let module = naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string(source))?;
    let validated = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
    validated.map(drop).map_err(|error| error.emit_to_string(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_that_are_missing_are_found_out() {
        let [all, none] = [0, 7].map(|place| Abilities::every().swap_remove(place));
        let body = |statement: &str| format!("@compute @workgroup_size(64)\nfn main() {{ {statement} }}");
        for text in [
            format!("enable f16;\n{}", body("var x = f16(1.0);")),
            body("var x = subgroupAdd(1.0);"),
            body("var x = 1li;"),
        ] {
            assert_eq!(validate(&text, &all), Ok(()), "{text}");
            assert!(validate(&text, &none).is_err(), "{text}");
        }
        assert!(validate(&body("let x = 1.0 + 1u;"), &all).is_err());
    }
}
