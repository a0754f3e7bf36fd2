//! Networks as lists of operators, from which a graph is made and a plain loop of kernels.

use std::collections::BTreeMap;

use inferrum::graph::{Attr, Fact, Graph, NodeDef};
use inferrum::{DType, Shape, Tensor};

/// An operator; what it takes are earlier values.
pub(crate) enum Op {
    /// Image, filters, bias.
    Conv {
        stride: usize,
        pad: usize,
    },
    Relu,
    Gelu,
    Add,
    MatMul,
    /// Along the last axis.
    Softmax,
    /// Along the last axis; scale, bias.
    LayerNorm,
    Transpose(Vec<usize>),
    /// Nothing moves.
    Reshape,
}

/// A value: where it comes from, and its shape.
pub(crate) struct Value {
    pub(crate) shape: Vec<usize>,
    pub(crate) from: From,
}

pub(crate) enum From {
    Input,
    Weight(Vec<f32>),
    Op(Op, Vec<usize>),
}

/// Values in order; the last one is the output.
#[derive(Default)]
pub(crate) struct Network {
    pub(crate) values: Vec<Value>,
}

impl Network {
    fn add(&mut self, shape: &[usize], from: From) -> usize {
        self.values.push(Value { shape: shape.to_vec(), from });
        self.values.len() - 1
    }

    fn input(&mut self, shape: &[usize]) -> usize {
        self.add(shape, From::Input)
    }

    /// Numbers whose sums stay of size one over `depth` products.
    fn weight(&mut self, shape: &[usize], depth: usize) -> usize {
        let seed = self.values.len() * 31;
        let scale = 1.0 / (depth as f32).sqrt();
        let number = |i: usize| (((i + seed) * 7919) % 1009) as f32 / 504.5 - 1.0;
        let count: usize = shape.iter().product();
        self.add(shape, From::Weight((0..count).map(|i| number(i) * scale).collect()))
    }

    fn op(&mut self, op: Op, inputs: &[usize], shape: &[usize]) -> usize {
        self.add(shape, From::Op(op, inputs.to_vec()))
    }

    /// Same shape as its first input.
    fn same(&mut self, op: Op, inputs: &[usize]) -> usize {
        let shape = self.values[inputs[0]].shape.clone();
        self.op(op, inputs, &shape)
    }

    fn conv(&mut self, x: usize, filters: usize, kernel: usize, stride: usize) -> usize {
        let shape = self.values[x].shape.clone();
        let pad = kernel / 2;
        let extent = |size: usize| (size + 2 * pad - kernel) / stride + 1;
        let depth = shape[1] * kernel * kernel;
        let w = self.weight(&[filters, shape[1], kernel, kernel], depth);
        let b = self.weight(&[filters], 1);
        let out = [shape[0], filters, extent(shape[2]), extent(shape[3])];
        self.op(Op::Conv { stride, pad }, &[x, w, b], &out)
    }

    /// Convolutions of 1x1, 3x3 and 1x1 with a shortcut.
    fn bottleneck(&mut self, x: usize, width: usize, stride: usize) -> usize {
        let shortcut = self.conv(x, 4 * width, 1, stride);
        let mut y = x;
        for (filters, kernel, stride) in [(width, 1, 1), (width, 3, stride)] {
            y = self.conv(y, filters, kernel, stride);
            y = self.same(Op::Relu, &[y]);
        }
        y = self.conv(y, 4 * width, 1, 1);
        y = self.same(Op::Add, &[y, shortcut]);
        self.same(Op::Relu, &[y])
    }

    fn dense(&mut self, x: usize, features: usize) -> usize {
        let shape = self.values[x].shape.clone();
        let w = self.weight(&[shape[1], features], shape[1]);
        let b = self.weight(&[features], 1);
        let y = self.op(Op::MatMul, &[x, w], &[shape[0], features]);
        self.same(Op::Add, &[y, b])
    }

    fn norm(&mut self, x: usize) -> usize {
        let width = self.values[x].shape[1];
        let (scale, bias) = (self.weight(&[width], 1), self.weight(&[width], 1));
        self.same(Op::LayerNorm, &[x, scale, bias])
    }

    /// The network as a graph, and what it is fed.
    pub(crate) fn graph(&self) -> (Graph, Tensor) {
        let mut graph = Graph::new("network");
        let mut ids = Vec::new();
        let mut feed = None;
        for (number, value) in self.values.iter().enumerate() {
            let name = format!("v{number}");
            ids.push(match &value.from {
                From::Input => {
                    feed = Some(Tensor::from_vec(&value.shape[..], self.feed(value)).expect("as many"));
                    graph.add_input(name, Fact::tensor(DType::F32, Shape::from(&value.shape[..])))
                }
                From::Weight(numbers) => graph.add_constant(
                    name,
                    Tensor::from_vec(&value.shape[..], numbers.clone()).expect("as many"),
                ),
                From::Op(op, inputs) => {
                    let mut inputs: Vec<_> = inputs.iter().map(|&input| Some(ids[input])).collect();
                    if let Op::Reshape = op {
                        let extents: Vec<i64> = value.shape.iter().map(|&extent| extent as i64).collect();
                        let extents = Tensor::from_vec([extents.len()], extents).expect("as many");
                        inputs.push(Some(graph.add_constant(format!("shape{number}"), extents)));
                    }
                    let (kind, attrs) = named(op);
                    let attrs: BTreeMap<String, Attr> =
                        attrs.into_iter().map(|(name, attr)| (name.to_owned(), attr)).collect();
                    let mut def = NodeDef::new(kind, 21, attrs);
                    def.inputs = vec![true; inputs.len()];
                    let op = inferrum_ops::parse("", &mut def).expect("it exists").expect("it fits");
                    graph.add_node(&name, op, inputs).expect("the inputs fit")
                }
            });
        }
        graph.outputs.extend(ids.last());
        (graph, feed.expect("an input"))
    }

    /// What is fed to an input.
    pub(crate) fn feed(&self, value: &Value) -> Vec<f32> {
        let count: usize = value.shape.iter().product();
        (0..count).map(|i| ((i * 7907) % 1013) as f32 / 506.5 - 1.0).collect()
    }
}

/// The operator of ONNX, with its attributes.
fn named(op: &Op) -> (&'static str, Vec<(&'static str, Attr)>) {
    match op {
        Op::Conv { stride, pad } => (
            "Conv",
            vec![
                ("strides", Attr::Ints(vec![*stride as i64; 2])),
                ("pads", Attr::Ints(vec![*pad as i64; 4])),
            ],
        ),
        Op::Relu => ("Relu", Vec::new()),
        Op::Gelu => ("Gelu", Vec::new()),
        Op::Add => ("Add", Vec::new()),
        Op::MatMul => ("MatMul", Vec::new()),
        Op::Softmax => ("Softmax", Vec::new()),
        Op::LayerNorm => ("LayerNormalization", Vec::new()),
        Op::Transpose(axes) => {
            ("Transpose", vec![("perm", Attr::Ints(axes.iter().map(|&axis| axis as i64).collect()))])
        }
        Op::Reshape => ("Reshape", Vec::new()),
    }
}

/// The first convolution, and the first block of every stage, each on an input of its stage's size.
pub(crate) fn resnet50() -> Network {
    let mut network = Network::default();
    let x = network.input(&[1, 3, 224, 224]);
    let mut y = network.conv(x, 64, 7, 2);
    y = network.same(Op::Relu, &[y]);
    // In place of the pooling, which is no product.
    y = network.conv(y, 64, 1, 2);
    for (width, stride) in [(64, 1), (128, 2), (256, 2), (512, 2)] {
        y = network.bottleneck(y, width, stride);
    }
    network
}

/// An encoder layer: attention of 12 heads, then the two dense layers.
pub(crate) fn bert_base(tokens: usize) -> Network {
    let (width, heads) = (768, 12);
    let each = width / heads;
    let mut network = Network::default();
    let x = network.input(&[tokens, width]);
    let split = |network: &mut Network, axes: [usize; 3]| {
        let y = network.dense(x, width);
        let y = network.op(Op::Reshape, &[y], &[tokens, heads, each]);
        let shape = [tokens, heads, each];
        network.op(Op::Transpose(axes.to_vec()), &[y], &axes.map(|axis| shape[axis]))
    };
    let q = split(&mut network, [1, 0, 2]);
    let k = split(&mut network, [1, 2, 0]);
    let v = split(&mut network, [1, 0, 2]);
    let scores = network.op(Op::MatMul, &[q, k], &[heads, tokens, tokens]);
    let shares = network.same(Op::Softmax, &[scores]);
    let mixed = network.op(Op::MatMul, &[shares, v], &[heads, tokens, each]);
    let mixed = network.op(Op::Transpose(vec![1, 0, 2]), &[mixed], &[tokens, heads, each]);
    let mixed = network.op(Op::Reshape, &[mixed], &[tokens, width]);
    let y = network.dense(mixed, width);
    let y = network.same(Op::Add, &[y, x]);
    let y = network.norm(y);
    let z = network.dense(y, 4 * width);
    let z = network.same(Op::Gelu, &[z]);
    let z = network.dense(z, width);
    let z = network.same(Op::Add, &[z, y]);
    network.norm(z);
    network
}
