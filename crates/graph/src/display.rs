//! A graph as text, one node a line.

use std::fmt;

use crate::Graph;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |id: Option<crate::ValueId>| id.map_or("-", |id| self.value(id).name.as_str());
        for &id in &self.inputs {
            writeln!(f, "input {}: {}", self.value(id).name, self.fact(id))?;
        }
        for node in self.nodes() {
            let outputs: Vec<String> = node
                .outputs
                .iter()
                .map(|id| id.map_or("-".into(), |id| format!("{}: {}", self.value(id).name, self.fact(id))))
                .collect();
            let inputs: Vec<&str> = node.inputs.iter().map(|&id| name(id)).collect();
            writeln!(f, "{} = {:?}({})", outputs.join(", "), node.op, inputs.join(", "))?;
        }
        for &id in &self.outputs {
            writeln!(f, "output {}: {}", self.value(id).name, self.fact(id))?;
        }
        Ok(())
    }
}
