//! Lays images out channels last, [N, spatial axes, C], where kernels compute fastest on that.
//!
//! Values get a *twin*, the same image channels last. Convolutions and pools take and give twins; element-wise operators
//! and chains of them, normalisations, resizing, padding, concatenations and the like follow where twins lead. A `Transpose` is made only where a value is wanted in the form
//! that it is not in, and once for each value.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use inferrum_graph::{Fact, Graph, Node, NodeError, Operator, ValueId};
use inferrum_ops::concat::Concat;
use inferrum_ops::fused::channels_last::{ChannelsLast, to_channels_first, to_channels_last};
use inferrum_ops::identity::Identity;
use inferrum_ops::split::Split;
use inferrum_ops::transpose::Transpose;
use inferrum_tensor::{DType, Tensor};

use super::image_ops::{self, Role};

/// Rewrites a graph and its bodies.
///
/// # Errors
/// An operator refuses its inputs; they were accepted before, so this is a bug here.
pub(crate) fn run(mut graph: Graph) -> Result<Graph, NodeError> {
    let nodes = std::mem::take(graph.nodes_mut());
    let mut pass = Pass {
        graph,
        made: Vec::with_capacity(nodes.len()),
        twins: HashMap::new(),
        absent: HashSet::new(),
        given: HashSet::new(),
        transposed: HashMap::new(),
    };
    for node in nodes {
        pass.node(node)?;
    }
    for id in pass.graph.outputs.clone() {
        pass.first(id)?;
    }
    pass.drop_unused();
    let Pass { mut graph, made, .. } = pass;
    *graph.nodes_mut() = made;
    Ok(graph)
}

struct Pass {
    /// The graph, without its nodes.
    graph: Graph,
    made: Vec<Node>,
    /// The channels-last form of values.
    twins: HashMap<ValueId, ValueId>,
    /// Values that exist only as twins so far.
    absent: HashSet<ValueId>,
    /// Values that a node gives as twins, whether or not they exist otherwise by now.
    given: HashSet<ValueId>,
    /// What a `Transpose` of the graph gives: of which value, and how the axes are permuted.
    transposed: HashMap<ValueId, (ValueId, Vec<usize>)>,
}

impl Pass {
    fn node(&mut self, mut node: Node) -> Result<(), NodeError> {
        if let Some(control) = node.op.control() {
            let bodies = control.bodies().into_iter().map(|body| run(Graph::clone(body)).map(Arc::new));
            node.op = control.with_bodies(bodies.collect::<Result<_, _>>()?);
        }
        match image_ops::role(&self.graph, &node) {
            Role::Image { images } => self.wrap(node, images),
            Role::Follower { images } if self.leads(&node) => self.wrap(node, images),
            Role::Elementwise if self.leads(&node) && self.can_follow(&node) => self.follow(node, None),
            Role::Concat(axis) if self.mostly_twins(&node) => self.follow(node, Some(axis)),
            Role::Split(axis) if self.leads(&node) => self.follow(node, Some(axis)),
            Role::Transpose(perm) => self.permute(node, perm),
            _ => self.keep(node),
        }
    }

    /// A `Transpose`, of the channels-last form where only that is there.
    fn permute(&mut self, node: Node, perm: Vec<usize>) -> Result<(), NodeError> {
        let &[Some(from)] = &node.inputs[..] else { return self.keep(node) };
        let &[Some(to)] = &node.outputs[..] else { return self.keep(node) };
        match self.twins.get(&from).filter(|_| self.is_twin(from)) {
            None => {
                self.transposed.insert(to, (from, perm));
                self.keep(node)
            }
            Some(&twin) => {
                let first = to_channels_first(perm.len());
                let op = permutation(perm.into_iter().map(|axis| first[axis]).collect());
                self.made.push(Node { op, inputs: vec![Some(twin)], ..node });
                Ok(())
            }
        }
    }

    /// Drops the transposes that nobody wants any more, since their users took the channels-last form.
    fn drop_unused(&mut self) {
        let mut used: HashSet<ValueId> = self.graph.outputs.iter().copied().collect();
        used.extend(self.made.iter().flat_map(|node| node.inputs.iter().flatten()));
        let wanted = |id: &ValueId| used.contains(id) || !self.transposed.contains_key(id);
        self.made.retain(|node| node.outputs.iter().flatten().any(wanted));
    }

    /// The node as it is.
    fn keep(&mut self, node: Node) -> Result<(), NodeError> {
        for id in node.inputs.iter().flatten() {
            self.first(*id)?;
        }
        self.made.push(node);
        Ok(())
    }

    /// The node on channels-last images.
    fn wrap(&mut self, mut node: Node, images: Vec<usize>) -> Result<(), NodeError> {
        for (index, input) in node.inputs.clone().into_iter().enumerate() {
            let Some(id) = input else { continue };
            if images.contains(&index) {
                node.inputs[index] = Some(self.last(id)?);
            } else {
                self.first(id)?;
            }
        }
        node.op = Arc::new(ChannelsLast { inner: node.op, images });
        self.give_twins(node)
    }

    /// The node, its inputs and outputs channels last; `axis` is its axis attribute, if it has one.
    fn follow(&mut self, mut node: Node, axis: Option<usize>) -> Result<(), NodeError> {
        let rank = self.output_rank(&node).unwrap_or(0);
        let moved = axis.map(|axis| to_channels_first(rank)[axis] as i64);
        node.op = match (&moved, image_ops::downcast::<Split>(&node)) {
            (None, _) => node.op,
            (Some(axis), Some(split)) => Arc::new(Split { axis: *axis, ..split.clone() }),
            (Some(axis), None) => Arc::new(Concat { axis: *axis }),
        };
        for index in 0..node.inputs.len() {
            let Some(id) = node.inputs[index] else { continue };
            node.inputs[index] = match self.rank(id) {
                Some(r) if r == rank => Some(self.last(id)?),
                _ => Some(self.aligned_constant(id, rank).unwrap_or(id)),
            };
        }
        self.give_twins(node)
    }

    /// Makes the node give twins of its outputs.
    fn give_twins(&mut self, mut node: Node) -> Result<(), NodeError> {
        let outputs = std::mem::take(&mut node.outputs);
        let facts = self.graph.infer_node(&node)?;
        for (output, fact) in outputs.into_iter().zip(facts) {
            node.outputs.push(output.map(|id| {
                let twin = self.graph.add_value(format!("{}.channels_last", self.graph.value(id).name), fact);
                self.twins.insert(id, twin);
                self.absent.insert(id);
                self.given.insert(id);
                twin
            }));
        }
        self.made.push(node);
        Ok(())
    }

    /// The twin of a value, made if it is not there.
    fn last(&mut self, id: ValueId) -> Result<ValueId, NodeError> {
        if let Some(&twin) = self.twins.get(&id) {
            return Ok(twin);
        }
        let rank = self.rank(id).unwrap_or(0);
        let name = format!("{}.channels_last", self.graph.value(id).name);
        if let Some((from, perm)) = self.transposed.get(&id).cloned() {
            let perm: Vec<usize> = to_channels_last(rank).into_iter().map(|axis| perm[axis]).collect();
            let twin = if is_identity(&perm) {
                from
            } else {
                let twin = self.graph.add_value(name, Fact::Unknown);
                self.transpose(from, twin, perm)?;
                twin
            };
            self.twins.insert(id, twin);
            return Ok(twin);
        }
        let twin = match self.graph.constant(id).and_then(|tensor| transposed(tensor, to_channels_last(rank)))
        {
            Some(constant) => self.graph.add_constant(name, constant),
            None => {
                let twin = self.graph.add_value(name, Fact::Unknown);
                self.transpose(id, twin, to_channels_last(rank))?;
                twin
            }
        };
        self.twins.insert(id, twin);
        Ok(twin)
    }

    /// Makes a value exist as it was.
    fn first(&mut self, id: ValueId) -> Result<(), NodeError> {
        if self.absent.remove(&id)
            && let Some(&twin) = self.twins.get(&id)
        {
            let rank = self.rank(twin).unwrap_or(0);
            self.transpose(twin, id, to_channels_first(rank))?;
        }
        Ok(())
    }

    fn transpose(&mut self, from: ValueId, to: ValueId, perm: Vec<usize>) -> Result<(), NodeError> {
        let name = format!("{}.layout", self.graph.value(to).name);
        let op = Arc::new(Transpose { perm: Some(perm) });
        let node = Node { name, op, inputs: vec![Some(from)], outputs: vec![Some(to)] };
        if let Some(fact) = self.graph.infer_node(&node)?.into_iter().next() {
            let value = self.graph.value_mut(to);
            value.fact = fact.merge(&value.fact).unwrap_or(fact);
        }
        self.made.push(node);
        Ok(())
    }

    fn rank(&self, id: ValueId) -> Option<usize> {
        self.graph.fact(id).as_tensor()?.shape.rank()
    }

    fn output_rank(&self, node: &Node) -> Option<usize> {
        self.rank(node.outputs.iter().flatten().next().copied()?)
    }

    fn is_twin(&self, id: ValueId) -> bool {
        self.given.contains(&id)
    }

    /// Whether an input comes channels last.
    fn leads(&self, node: &Node) -> bool {
        node.inputs.iter().flatten().any(|id| self.is_twin(*id))
    }

    fn mostly_twins(&self, node: &Node) -> bool {
        let twins = node.inputs.iter().flatten().filter(|id| self.is_twin(**id)).count();
        2 * twins >= node.inputs.len() && twins > 0
    }

    /// Whether every input of an element-wise node can be had channels last at little cost: a twin, a constant, one
    /// element, an image of the output's rank that is small, or one of fewer images than there are twins, which would
    /// have to be laid out otherwise.
    fn can_follow(&self, node: &Node) -> bool {
        let Some(rank) = self.output_rank(node).filter(|rank| *rank >= 3) else { return false };
        let (mut leading, mut others) = (0, 0);
        for &id in node.inputs.iter().flatten() {
            let single = self.graph.fact(id).concrete_shape().is_some_and(|shape| shape.elements() == 1);
            let aligned = self.graph.constant(id).is_some() || single;
            match self.rank(id) {
                Some(own) if own == rank => {
                    leading += usize::from(self.is_twin(id));
                    let near = self.twins.contains_key(&id) || aligned || self.is_small(id);
                    others += usize::from(!near);
                }
                Some(_) if aligned => {}
                _ => return false,
            }
        }
        others == 0 || others < leading
    }

    /// Whether an image has one pixel, like a channel's gate.
    fn is_small(&self, id: ValueId) -> bool {
        let fact = self.graph.fact(id).as_tensor();
        let spatial = fact.and_then(|tensor| tensor.shape.dims()).and_then(|dims| dims.get(2..));
        spatial.is_some_and(|dims| dims.iter().all(|dim| dim.known() == Some(1)))
    }

    /// A constant of lower rank, channels last at the output's rank; `None` where one element needs no change.
    fn aligned_constant(&mut self, id: ValueId, rank: usize) -> Option<ValueId> {
        let constant = self.graph.constant(id)?.clone();
        if constant.len() == 1 {
            return None;
        }
        let shape = constant.shape();
        let padded: Vec<usize> =
            std::iter::repeat_n(1, rank - shape.rank()).chain(shape.iter().copied()).collect();
        let constant = transposed(&constant.reshape(padded).ok()?, to_channels_last(rank))?;
        let name = format!("{}.channels_last", self.graph.value(id).name);
        Some(self.graph.add_constant(name, constant))
    }
}

/// The operator that permutes axes.
fn permutation(perm: Vec<usize>) -> Arc<dyn Operator> {
    if is_identity(&perm) { Arc::new(Identity) } else { Arc::new(Transpose { perm: Some(perm) }) }
}

fn is_identity(perm: &[usize]) -> bool {
    perm.iter().copied().eq(0..perm.len())
}

fn transposed(tensor: &Tensor, perm: Vec<usize>) -> Option<Tensor> {
    let value = inferrum_tensor::Value::Tensor(tensor.clone());
    let outputs = Transpose { perm: Some(perm) }.reference(inferrum_graph::Inputs(&[Some(&value)])).ok()?;
    outputs.into_iter().next()?.into_tensor()
}

/// Whether a value is an f32 image: [N, C, one or two spatial axes].
pub(super) fn is_image(graph: &Graph, id: ValueId) -> bool {
    let tensor = graph.fact(id).as_tensor();
    tensor.is_some_and(|t| t.dtype == DType::F32 && matches!(t.shape.rank(), Some(3 | 4)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, assert_close, random};
    use inferrum_graph::interpret;
    use inferrum_ops::conv::{Conv, FusedConv};
    use inferrum_ops::fused::elementwise::{Elementwise, Operand, Step};
    use inferrum_ops::pool::AveragePool;
    use inferrum_ops::window::WindowSpec;
    use inferrum_tensor::Value;

    fn parse(op_type: &str, attrs: &[(&str, inferrum_graph::Attr)]) -> Arc<dyn Operator> {
        let attrs = attrs.iter().map(|(name, attr)| ((*name).to_owned(), attr.clone())).collect();
        let mut def = inferrum_graph::NodeDef::new(op_type, 13, attrs);
        let most = inferrum_ops::find("", op_type).expect("exists").most_inputs(13);
        def.inputs = vec![true; most.min(3)];
        inferrum_ops::parse("", &mut def).expect("exists").expect("parses")
    }

    /// Convolutions, element-wise operators with constants of all kinds, a concatenation, a pool, and a reshape that wants
    /// the image as it was.
    fn model() -> Graph {
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", Fact::tensor(DType::F32, [2, 3, 6, 5]));
        let w = graph.add_constant("w", random(&[4, 3, 3, 3], 1));
        let bias = graph.add_constant("bias", random(&[4, 1, 1], 2));
        let gate = graph.add_constant("gate", random(&[1, 4, 1, 1], 3));
        let pads = inferrum_graph::Attr::Ints(vec![1, 1, 1, 1]);
        let conv = graph.add_node("conv", parse("Conv", &[("pads", pads)]), vec![Some(x), Some(w)]).unwrap();
        let sum = graph.add_node("add", parse("Add", &[]), vec![Some(conv), Some(bias)]).unwrap();
        let gated = graph.add_node("mul", parse("Mul", &[]), vec![Some(gate), Some(sum)]).unwrap();
        let relu = graph.add_node("relu", parse("Relu", &[]), vec![Some(gated)]).unwrap();
        let both =
            graph.add_node("concat", Arc::new(Concat { axis: 1 }), vec![Some(relu), Some(conv)]).unwrap();
        let kernel = inferrum_graph::Attr::Ints(vec![2, 2]);
        let pool = parse("AveragePool", &[("kernel_shape", kernel)]);
        assert!((pool.as_ref() as &dyn std::any::Any).is::<AveragePool>());
        let pooled = graph.add_node("pool", pool, vec![Some(both)]).unwrap();
        let shape = graph.add_constant("shape", Tensor::vector(vec![2i64, -1]));
        let flat = graph.add_node("reshape", parse("Reshape", &[]), vec![Some(pooled), Some(shape)]).unwrap();
        graph.outputs = vec![flat, relu];
        graph
    }

    #[test]
    fn the_rewritten_graph_gives_the_same() {
        let graph = model();
        let rewritten = run(graph.clone()).unwrap();
        let x = vec![Value::Tensor(random(&[2, 3, 6, 5], 9))];
        let want = interpret(&graph, x.clone()).unwrap();
        let got = interpret(&rewritten, x).unwrap();
        for (got, want) in got.iter().zip(&want) {
            let tolerance = Tolerance { relative: 1e-6, absolute: 1e-6 };
            assert_close(got.as_tensor().unwrap(), want.as_tensor().unwrap(), tolerance, "rewritten");
        }
    }

    #[test]
    fn images_are_transposed_at_the_borders_only() {
        let rewritten = run(model()).unwrap();
        let transposes = rewritten.nodes().iter().filter(|node| node.op.key().op_type == "Transpose").count();
        assert_eq!(transposes, 3, "{rewritten}");
    }

    #[test]
    fn convolutions_with_ordered_sums_stay_planar() {
        for ordered in [false, true] {
            let mut graph = Graph::new("test");
            let x = graph.add_input("x", Fact::tensor(DType::F32, [2, 3, 6, 5]));
            let w = graph.add_constant("w", random(&[4, 3, 3, 3], 1));
            let conv = FusedConv {
                ordered,
                ..FusedConv::new(Conv { group: 1, window: WindowSpec::default() }, None)
            };
            let y = graph.add_node("conv", Arc::new(conv), vec![Some(x), Some(w)]).unwrap();
            graph.outputs = vec![y];
            let rewritten = run(graph).unwrap();
            let wrapped = |node: &Node| image_ops::downcast::<ChannelsLast>(node).is_some();
            assert_eq!(rewritten.nodes().iter().any(wrapped), !ordered, "{rewritten}");
        }
    }

    fn transposes(graph: &Graph) -> usize {
        graph.nodes().iter().filter(|node| node.op.key().op_type == "Transpose").count()
    }

    fn same(graph: &Graph, shape: &[usize]) -> Graph {
        let rewritten = run(graph.clone()).unwrap();
        let x = vec![Value::Tensor(random(shape, 9))];
        let want = interpret(graph, x.clone()).unwrap();
        let got = interpret(&rewritten, x).unwrap();
        for (got, want) in got.iter().zip(&want) {
            let tolerance = Tolerance { relative: 1e-5, absolute: 1e-5 };
            assert_close(got.as_tensor().unwrap(), want.as_tensor().unwrap(), tolerance, "rewritten");
        }
        rewritten
    }

    /// Between two convolutions: padding, normalisation, resizing, a mean that keeps its axes, a chain of element-wise
    /// operators, quantising.
    #[test]
    fn what_follows_a_convolution_stays_channels_last() {
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", Fact::tensor(DType::F32, [1, 3, 6, 5]));
        let constant = |graph: &mut Graph, shape: &[usize], seed| {
            let values =
                random(shape, seed).to_f64().unwrap().iter().map(|x| x.abs() + 0.1).collect::<Vec<_>>();
            Some(
                graph.add_constant(format!("c{seed}"), Tensor::from_f64(DType::F32, shape, &values).unwrap()),
            )
        };
        let list = |graph: &mut Graph, name: &str, values: Vec<i64>| {
            Some(graph.add_constant(name, Tensor::vector(values)))
        };
        let w = constant(&mut graph, &[4, 3, 1, 1], 1);
        let conv = graph.add_node("conv", parse("Conv", &[]), vec![Some(x), w]).unwrap();
        let pads = list(&mut graph, "pads", vec![0, 0, 1, 1, 0, 0, 1, 1]);
        let y = graph.add_node("pad", parse("Pad", &[]), vec![Some(conv), pads]).unwrap();
        let (scale, bias) = (constant(&mut graph, &[4], 2), constant(&mut graph, &[4], 3));
        let y =
            graph.add_node("in", parse("InstanceNormalization", &[]), vec![Some(y), scale, bias]).unwrap();
        let (mean, variance) = (constant(&mut graph, &[4], 4), constant(&mut graph, &[4], 5));
        let inputs = vec![Some(y), scale, bias, mean, variance];
        let y = graph.add_node("bn", parse("BatchNormalization", &[]), inputs).unwrap();
        let scales = Some(graph.add_constant("scales", Tensor::vector(vec![1f32, 1.0, 2.0, 2.0])));
        let y = graph.add_node("resize", parse("Resize", &[]), vec![Some(y), None, scales]).unwrap();
        let axes = inferrum_graph::Attr::Ints(vec![2, 3]);
        let mean = graph.add_node("mean", parse("ReduceMean", &[("axes", axes)]), vec![Some(y)]).unwrap();
        let steps = vec![
            Step { op: parse("Sub", &[]), operands: vec![Some(Operand::Input(0)), Some(Operand::Input(1))] },
            Step { op: parse("Exp", &[]), operands: vec![Some(Operand::Step(0))] },
        ];
        let chain = Arc::new(Elementwise { steps });
        let y = graph.add_node("chain", chain, vec![Some(y), Some(mean)]).unwrap();
        let step = Some(graph.add_constant("step", Tensor::scalar(0.02f32)));
        let zero = Some(graph.add_constant("zero", Tensor::scalar(3u8)));
        let y = graph.add_node("q", parse("QuantizeLinear", &[]), vec![Some(y), step, zero]).unwrap();
        let y = graph.add_node("dq", parse("DequantizeLinear", &[]), vec![Some(y), step, zero]).unwrap();
        let w = constant(&mut graph, &[2, 4, 1, 1], 6);
        let y = graph.add_node("last", parse("Conv", &[]), vec![Some(y), w]).unwrap();
        graph.outputs = vec![y];
        let rewritten = same(&graph, &[1, 3, 6, 5]);
        assert_eq!(transposes(&rewritten), 2, "{rewritten}");
    }

    #[test]
    fn transposes_of_the_model_meet_those_of_the_layout() {
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", Fact::tensor(DType::F32, [1, 6, 5, 3]));
        let transpose = |perm: Vec<usize>| Arc::new(Transpose { perm: Some(perm) });
        let first = graph.add_node("first", transpose(vec![0, 3, 1, 2]), vec![Some(x)]).unwrap();
        let w = graph.add_constant("w", random(&[4, 3, 1, 1], 1));
        let conv = graph.add_node("conv", parse("Conv", &[]), vec![Some(first), Some(w)]).unwrap();
        let last = graph.add_node("last", transpose(vec![0, 2, 3, 1]), vec![Some(conv)]).unwrap();
        let other = graph.add_node("other", transpose(vec![0, 1, 3, 2]), vec![Some(conv)]).unwrap();
        graph.outputs = vec![last, other];
        let rewritten = same(&graph, &[1, 6, 5, 3]);
        assert_eq!(transposes(&rewritten), 1, "{rewritten}");
    }

    #[test]
    fn fewer_images_are_laid_out_otherwise() {
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", Fact::tensor(DType::F32, [1, 3, 6, 5]));
        let swapped = Arc::new(Transpose { perm: Some(vec![0, 1, 3, 2]) });
        let conv = |graph: &mut Graph, seed| {
            let w = graph.add_constant(format!("w{seed}"), random(&[5, 3, 1, 1], seed));
            graph.add_node(format!("conv{seed}"), parse("Conv", &[]), vec![Some(x), Some(w)]).unwrap()
        };
        let (a, b) = (conv(&mut graph, 1), conv(&mut graph, 2));
        let other = graph.add_input("z", Fact::tensor(DType::F32, [1, 5, 5, 6]));
        let other = graph.add_node("swap", swapped, vec![Some(other)]).unwrap();
        let sum = parse("Sum", &[]);
        let y = graph.add_node("sum", sum, vec![Some(a), Some(b), Some(other)]).unwrap();
        graph.outputs = vec![y];
        let rewritten = run(graph.clone()).unwrap();
        let x = vec![Value::Tensor(random(&[1, 3, 6, 5], 1)), Value::Tensor(random(&[1, 5, 5, 6], 2))];
        let want = interpret(&graph, x.clone()).unwrap().remove(0).into_tensor().unwrap();
        let got = interpret(&rewritten, x).unwrap().remove(0).into_tensor().unwrap();
        assert_close(&got, &want, Tolerance { relative: 1e-6, absolute: 1e-6 }, "rewritten");
        // One of the input, one of the third operand, one of the sum.
        assert_eq!(transposes(&rewritten), 3, "{rewritten}");
    }
}
