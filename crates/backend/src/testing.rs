//! What the tests of backends share: numbers, regions of one node, and the cases of operators that every backend runs.

pub mod arg_max;
pub mod attention;
pub mod batch_norm;
pub mod concat;
pub mod constant_of_shape;
pub mod conv;
pub mod conv_integer;
pub mod conv_transpose;
pub mod crop;
pub mod cum_sum;
pub mod depth_to_space;
pub mod dynamic_quantize;
pub mod elementwise;
pub mod expand;
pub mod gather;
pub mod gather_elements;
pub mod gather_nd;
pub mod global_pool;
pub mod grid_sample;
pub mod group_norm;
pub mod group_query_attention;
pub mod gru;
pub mod layer_norm;
pub mod linear;
pub mod lp_norm;
pub mod lrn;
pub mod lstm;
pub mod matmul_integer;
pub mod matmul_nbits;
pub mod one_hot;
pub mod pad;
pub mod pool;
pub mod qgemm;
pub mod qlinear_conv;
pub mod qlinear_matmul;
pub mod qlinear_pool;
pub mod qlinear_softmax;
pub mod quantize;
pub mod recurrent;
pub mod reduce;
pub mod resize;
pub mod rnn;
pub mod rotary_embedding;
pub mod scatter;
pub mod skip_layer_norm;
pub mod slice;
pub mod softmax;
pub mod split;
pub mod table;
pub mod top_k;
pub mod transpose;
pub mod trilu;

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Graph, Node, NodeId, Operator};
use inferrum_ops::window::{Extents, Padding, WindowSpec};
use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::Region;

/// `|got - want| <= absolute + relative * |want|`.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// What may be missed by a factor.
    pub relative: f64,
    /// What may be missed besides.
    pub absolute: f64,
}

impl Tolerance {
    /// Nothing is missed.
    pub const EXACT: Tolerance = Tolerance { relative: 0.0, absolute: 0.0 };
    /// Rounding of f32, a few times over.
    pub const CLOSE: Tolerance = Tolerance { relative: 2e-5, absolute: 2e-6 };

    /// As much, so many times.
    pub fn times(self, slack: f64) -> Tolerance {
        Tolerance { relative: self.relative * slack, absolute: self.absolute * slack }
    }
}

/// An input of a node, if it is given, and whether it is a constant.
pub type Given = Option<(Tensor, bool)>;

/// An operator with inputs, on which a backend has to agree with the reference.
#[derive(Clone, Debug)]
pub struct Case {
    /// The operator.
    pub op: Arc<dyn Operator>,
    /// Its inputs.
    pub inputs: Vec<Given>,
    /// How many outputs it has.
    pub outputs: usize,
    /// How many times what a backend may miss otherwise: 0 if the result is exact.
    pub slack: f64,
}

impl Case {
    /// A case without slack, nor need for it.
    pub fn new(op: impl Operator, inputs: Vec<Given>, outputs: usize) -> Case {
        Case { op: Arc::new(op), inputs, outputs, slack: 1.0 }
    }
}

/// A graph of one node, what to feed it, and what the operator's reference gives.
pub struct Expected {
    /// The graph; of its outputs all is known but the elements.
    pub graph: Graph,
    /// The inputs that are no constants.
    pub feeds: Vec<Tensor>,
    /// The outputs.
    pub want: Vec<Tensor>,
}

impl Case {
    /// What the reference gives.
    ///
    /// # Panics
    /// It refuses the inputs.
    pub fn expected(&self) -> Expected {
        let (mut graph, feeds) = one_node(Arc::clone(&self.op), &self.inputs, self.outputs);
        let want = reference(&graph, &feeds);
        known(&mut graph, &want);
        Expected { graph, feeds, want }
    }

    /// As [`Case::expected`] with `narrow`, a type of floats, in place of float32; None where the operator does not take that, or
    /// there is no float32. The reference computes in float32 from the same numbers, and its results are rounded.
    ///
    /// # Panics
    /// As there.
    pub fn expected_in(&self, narrow: DType) -> Option<Expected> {
        let single = |input: &Given| matches!(input, Some((x, _)) if x.dtype() == DType::F32);
        if !self.inputs.iter().any(single) {
            return None;
        }
        let halves = changed(&self.inputs, DType::F32, narrow);
        let fact = |(tensor, constant): &(Tensor, bool)| match constant {
            true => Fact::constant(tensor.clone()),
            false => Fact::tensor(tensor.dtype(), tensor.shape()),
        };
        let facts: Vec<Option<Fact>> = halves.iter().map(|input| input.as_ref().map(fact)).collect();
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let inferred = self.op.infer(Facts(&facts)).ok()?;
        let wide = changed(&halves, narrow, DType::F32);
        let (graph, feeds) = one_node(Arc::clone(&self.op), &wide, self.outputs);
        let want = reference(&graph, &feeds).into_iter().zip(&inferred).map(|(want, fact)| {
            let is_narrow = fact.as_tensor().is_some_and(|fact| fact.dtype == narrow);
            if is_narrow { converted(&want, narrow) } else { want }
        });
        let want: Vec<Tensor> = want.collect();
        let (mut graph, feeds) = one_node(Arc::clone(&self.op), &halves, self.outputs);
        known(&mut graph, &want);
        Some(Expected { graph, feeds, want })
    }
}

fn reference(graph: &Graph, feeds: &[Tensor]) -> Vec<Tensor> {
    let feeds = feeds.iter().cloned().map(Value::Tensor).collect();
    let want = inferrum_graph::interpret(graph, feeds).expect("reference runs");
    want.iter().map(|want| want.as_tensor().expect("a tensor").clone()).collect()
}

/// Writes types and shapes of the outputs into the graph.
fn known(graph: &mut Graph, outputs: &[Tensor]) {
    for (id, output) in graph.outputs.clone().into_iter().zip(outputs) {
        graph.value_mut(id).fact = Fact::tensor(output.dtype(), output.shape());
    }
}

fn converted(tensor: &Tensor, dtype: DType) -> Tensor {
    let numbers = tensor.to_f64().expect("numbers");
    Tensor::from_f64(dtype, tensor.shape().clone(), &numbers).expect("floats")
}

/// Inputs of one type in another one.
fn changed(inputs: &[Given], from: DType, into: DType) -> Vec<Given> {
    let one = |(tensor, constant): &(Tensor, bool)| {
        let tensor = if tensor.dtype() == from { converted(tensor, into) } else { tensor.clone() };
        (tensor, *constant)
    };
    inputs.iter().map(|input| input.as_ref().map(one)).collect()
}

/// Panics, naming the first element, unless the two are close.
///
/// # Panics
/// They are not.
pub fn assert_close(got: &Tensor, want: &Tensor, tolerance: Tolerance, what: &str) {
    assert_eq!((got.dtype(), got.shape()), (want.dtype(), want.shape()), "{what}");
    let most = match want.dtype() {
        DType::F16 => 65504.0,
        DType::BF16 => 3.38e38,
        _ => f64::INFINITY,
    };
    let (got, want) = (got.to_f64().expect("numbers"), want.to_f64().expect("numbers"));
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        let same = got == want || (got.is_nan() && want.is_nan());
        // What does not fit a narrow type may become its greatest number, or infinite.
        let same = same || (got.abs() >= most && want.abs() >= most && got * want > 0.0);
        let close = (got - want).abs() <= tolerance.absolute + tolerance.relative * want.abs();
        assert!(same || close, "{what}: element {i} is {got}, not {want}");
    }
}

/// Inputs that are no constants.
pub fn given<const N: usize>(tensors: [Tensor; N]) -> Vec<Given> {
    given_all(tensors.into())
}

/// As [`given`].
pub fn given_all(tensors: Vec<Tensor>) -> Vec<Given> {
    tensors.into_iter().map(|tensor| Some((tensor, false))).collect()
}

/// Numbers between -3 and 3, others for another seed, as float32.
///
/// # Panics
/// The shape has more elements than memory.
pub fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let numbers: Vec<f32> = (0..Shape::from(shape).elements())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1u64 << 24) as f32) * 6.0 - 3.0
        })
        .collect();
    Tensor::from_vec(shape, numbers).expect("as many numbers as elements")
}

/// As [`random`], of any real type: integers between -10 and 10 (0 and 20 if unsigned), about as many true as false.
///
/// # Panics
/// The type is not real (complex128 is taken too: a number and its opposite).
pub fn random_of(dtype: DType, shape: &[usize], seed: u64) -> Tensor {
    let values = random(shape, seed).to_f64().expect("floats").into_iter();
    let values: Vec<f64> = match dtype {
        DType::Bool => values.map(|x| f64::from(u8::from(x > 0.0))).collect(),
        _ if dtype.is_unsigned_integer() => values.map(|x| (x.abs() * 7.0).floor()).collect(),
        _ if dtype.is_integer() => values.map(|x| (x * 3.5).floor()).collect(),
        DType::Complex128 => {
            let pairs = values.map(|x| [x, -x]).collect();
            return Tensor::from_vec(shape, pairs).expect("as many numbers as elements");
        }
        _ => values.collect(),
    };
    Tensor::from_f64(dtype, shape, &values).expect("a real type")
}

/// Bytes of their whole range, of an 8-bit type; the ends are often among them.
///
/// # Panics
/// The type is no 8-bit integer.
pub fn bytes(dtype: DType, shape: &[usize], seed: u64) -> Tensor {
    let least = if dtype == DType::I8 { -128 } else { 0 };
    let number = |x: f64| ((x * 50.0).floor() as i64 + 128).clamp(0, 255) + least;
    let values: Vec<i64> =
        random(shape, seed + 11).to_f64().expect("floats").into_iter().map(number).collect();
    Tensor::from_i64(dtype, shape, &values).expect("an integer type")
}

/// Windows of one stride, dilation, padding before and padding behind along all axes.
pub fn windows(kernel: &[usize], stride: usize, dilation: usize, [begin, end]: [usize; 2]) -> WindowSpec {
    let all = |n: usize| Extents::from_elem(n, kernel.len());
    WindowSpec {
        kernel: Extents::from_slice(kernel),
        strides: all(stride),
        dilations: all(dilation),
        padding: Padding::Explicit { begin: all(begin), end: all(end) },
        ceil: false,
    }
}

/// A graph of one node, and what to feed it. Each input may be left out, or be a constant; of the outputs nothing is known.
pub fn one_node(op: Arc<dyn Operator>, inputs: &[Given], outputs: usize) -> (Graph, Vec<Tensor>) {
    let mut graph = Graph::new("test");
    let mut feeds = Vec::new();
    let mut ids = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        ids.push(input.as_ref().map(|(tensor, constant)| {
            if *constant {
                return graph.add_constant(format!("c{i}"), tensor.clone());
            }
            feeds.push(tensor.clone());
            graph.add_input(format!("x{i}"), Fact::tensor(tensor.dtype(), tensor.shape()))
        }));
    }
    let results: Vec<_> = (0..outputs).map(|i| graph.add_value(format!("y{i}"), Fact::Unknown)).collect();
    graph.outputs = results.clone();
    let outputs = results.into_iter().map(Some).collect();
    graph.nodes_mut().push(Node { name: "node".into(), op, inputs: ids, outputs });
    (graph, feeds)
}

/// The only node of a graph as a region.
pub fn region(graph: Graph) -> Region {
    Region {
        nodes: vec![NodeId(0)],
        facts: Arc::new(graph.values().iter().map(|value| value.fact.clone()).collect()),
        inputs: graph.inputs.clone(),
        outputs: graph.outputs.clone(),
        graph: Arc::new(graph),
    }
}
