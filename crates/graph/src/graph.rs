//! Graphs, nodes and values.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use inferrum_tensor::Tensor;

use crate::{Fact, Facts, NodeError, OpError, Operator};

/// A value of a graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ValueId(u32);

/// A node of a graph: its place in [`Graph::nodes`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeId(pub usize);

impl ValueId {
    /// Its place in [`Graph::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A value's name and what is known of it.
#[derive(Clone, Debug)]
pub struct ValueDef {
    /// Its name in the file, or one made up.
    pub name: String,
    /// What is known of it. A constant's elements are known.
    pub fact: Fact,
}

/// One use of an operator.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name in the file, or one made up.
    pub name: String,
    /// The operator with its attributes.
    pub op: Arc<dyn Operator>,
    /// Its inputs; `None` is an optional input left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Its outputs; `None` is an output that nobody asked for.
    pub outputs: Vec<Option<ValueId>>,
}

/// A graph in SSA form. Nodes stand in topological order.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The graph's name.
    pub name: String,
    /// The inputs.
    pub inputs: Vec<ValueId>,
    /// The outputs; one value may stand twice, and an input or constant may be an output.
    pub outputs: Vec<ValueId>,
    nodes: Vec<Node>,
    values: Vec<ValueDef>,
}

/// Why a graph is not well-formed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Nodes wait for each other.
    #[error("the graph has a cycle through node{} {}", if .0.len() == 1 { "" } else { "s" }, .0.join(", "))]
    Cycle(Vec<String>),
    /// Two nodes give one value.
    #[error("value `{0}` is produced twice")]
    ProducedTwice(String),
    /// What the file declares of a value contradicts what its operator gives.
    #[error("value `{name}` is declared as {declared}, but node `{node}` ({op}) gives {inferred}")]
    Contradiction {
        /// The value.
        name: String,
        /// Its producer.
        node: String,
        /// The producer's operator.
        op: String,
        /// The declared fact.
        declared: Box<Fact>,
        /// The inferred fact.
        inferred: Box<Fact>,
    },
    /// An operator refuses its inputs.
    #[error(transparent)]
    Node(#[from] NodeError),
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Graph {
        Graph { name: name.into(), ..Graph::default() }
    }

    /// The nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes, to be changed in place; whoever changes edges calls [`Graph::sort`] after.
    pub fn nodes_mut(&mut self) -> &mut Vec<Node> {
        &mut self.nodes
    }

    /// Every value, by [`ValueId::index`].
    pub fn values(&self) -> &[ValueDef] {
        &self.values
    }

    /// The ids of every value.
    pub fn value_ids(&self) -> impl Iterator<Item = ValueId> + use<> {
        (0..self.values.len() as u32).map(ValueId)
    }

    /// A value's definition.
    pub fn value(&self, id: ValueId) -> &ValueDef {
        &self.values[id.index()]
    }

    /// A value's definition, to be changed.
    pub fn value_mut(&mut self, id: ValueId) -> &mut ValueDef {
        &mut self.values[id.index()]
    }

    /// What is known of a value.
    pub fn fact(&self, id: ValueId) -> &Fact {
        &self.values[id.index()].fact
    }

    /// The elements of a value, if they are known.
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.fact(id).value()
    }

    /// Adds a value.
    pub fn add_value(&mut self, name: impl Into<String>, fact: Fact) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        self.values.push(ValueDef { name: name.into(), fact });
        id
    }

    /// Adds an input.
    pub fn add_input(&mut self, name: impl Into<String>, fact: Fact) -> ValueId {
        let id = self.add_value(name, fact);
        self.inputs.push(id);
        id
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        self.add_value(name, Fact::constant(tensor))
    }

    /// Appends a node with one output and infers what is known of that.
    ///
    /// # Errors
    /// The operator refuses the inputs, or gives no output.
    pub fn add_node(
        &mut self,
        name: impl Into<String>,
        op: Arc<dyn Operator>,
        inputs: Vec<Option<ValueId>>,
    ) -> Result<ValueId, NodeError> {
        let name = name.into();
        let output = self.add_value(name.clone(), Fact::Unknown);
        let node = Node { name, op, inputs, outputs: vec![Some(output)] };
        let facts = self.infer_node(&node)?;
        if let Some(fact) = facts.into_iter().next() {
            self.values[output.index()].fact = fact;
        }
        self.nodes.push(node);
        Ok(output)
    }

    /// What is known of a node's inputs.
    pub fn input_facts(&self, node: &Node) -> Vec<Option<&Fact>> {
        node.inputs.iter().map(|input| input.map(|id| self.fact(id))).collect()
    }

    /// Types and shapes of a node's outputs, from what is known of its inputs.
    ///
    /// # Errors
    /// The operator refuses the inputs.
    pub fn infer_node(&self, node: &Node) -> Result<Vec<Fact>, NodeError> {
        let facts = self.input_facts(node);
        node.op.infer(Facts(&facts)).map_err(|source| node.error(&facts, source))
    }

    /// Infers what is known of every value, in topological order, and joins it with what is known already.
    ///
    /// # Errors
    /// An operator refuses its inputs, or a declaration is contradicted.
    pub fn infer(&mut self) -> Result<(), GraphError> {
        for index in 0..self.nodes.len() {
            let facts = self.infer_node(&self.nodes[index])?;
            for (slot, inferred) in self.nodes[index].outputs.clone().into_iter().zip(facts) {
                let Some(id) = slot else { continue };
                let declared = &self.values[id.index()];
                let Some(merged) = inferred.merge(&declared.fact) else {
                    return Err(GraphError::Contradiction {
                        name: declared.name.clone(),
                        node: self.nodes[index].name.clone(),
                        op: self.nodes[index].op.key().to_string(),
                        declared: Box::new(declared.fact.clone()),
                        inferred: Box::new(inferred),
                    });
                };
                self.values[id.index()].fact = merged;
            }
        }
        Ok(())
    }

    /// The node that gives each value; `None` for inputs and constants.
    pub fn producers(&self) -> Vec<Option<NodeId>> {
        let mut producers = vec![None; self.values.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for id in node.outputs.iter().flatten() {
                producers[id.index()] = Some(NodeId(index));
            }
        }
        producers
    }

    /// The nodes that take each value, in order; a node that takes it twice stands twice.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.values.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for id in node.inputs.iter().flatten() {
                consumers[id.index()].push(NodeId(index));
            }
        }
        consumers
    }

    /// Makes every use of `from` (as input or graph output) a use of `to`.
    pub fn replace_uses(&mut self, from: ValueId, to: ValueId) {
        let inputs = self.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().flatten());
        for id in inputs.chain(self.outputs.iter_mut()) {
            if *id == from {
                *id = to;
            }
        }
    }

    /// Puts the nodes into topological order, keeping the given order where it is one.
    ///
    /// # Errors
    /// [`GraphError::Cycle`], [`GraphError::ProducedTwice`].
    pub fn sort(&mut self) -> Result<(), GraphError> {
        let inputs: HashSet<ValueId> = self.inputs.iter().copied().collect();
        let mut producer: HashMap<ValueId, usize> = HashMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for &id in node.outputs.iter().flatten() {
                if producer.insert(id, index).is_some() || inputs.contains(&id) {
                    return Err(GraphError::ProducedTwice(self.value(id).name.clone()));
                }
            }
        }
        let mut waiting = vec![0usize; self.nodes.len()];
        let mut dependents = vec![Vec::new(); self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for source in node.inputs.iter().flatten().filter_map(|id| producer.get(id)) {
                waiting[index] += 1;
                dependents[*source].push(index);
            }
        }
        // A heap of indices keeps the file's order among nodes that are ready at once.
        let mut ready: std::collections::BinaryHeap<std::cmp::Reverse<usize>> =
            (0..self.nodes.len()).filter(|&i| waiting[i] == 0).map(std::cmp::Reverse).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(std::cmp::Reverse(index)) = ready.pop() {
            order.push(index);
            for &next in &dependents[index] {
                waiting[next] -= 1;
                if waiting[next] == 0 {
                    ready.push(std::cmp::Reverse(next));
                }
            }
        }
        if order.len() < self.nodes.len() {
            let stuck = (0..self.nodes.len()).filter(|&i| waiting[i] > 0).take(8);
            let place = |i: usize| format!("`{}` ({})", self.nodes[i].name, self.nodes[i].op.key());
            return Err(GraphError::Cycle(stuck.map(place).collect()));
        }
        let mut nodes: Vec<Option<Node>> = std::mem::take(&mut self.nodes).into_iter().map(Some).collect();
        self.nodes = order.into_iter().filter_map(|index| nodes[index].take()).collect();
        Ok(())
    }
}

impl Node {
    /// An operator's error with this node's name and the facts of its inputs.
    pub fn error(&self, inputs: &[Option<&Fact>], source: OpError) -> NodeError {
        let inputs: Vec<String> =
            inputs.iter().map(|fact| fact.map_or("-".into(), Fact::to_string)).collect();
        NodeError {
            node: self.name.clone(),
            op: self.op.key().to_string(),
            inputs: format!("({})", inputs.join(", ")),
            source,
        }
    }
}
