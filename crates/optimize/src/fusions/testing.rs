//! Builds small graphs and holds a rewritten one against the original.

use std::sync::Arc;

use inferrum_graph::{Attr, Fact, Graph, NodeDef, Operator, ValueId, interpret};
use inferrum_tensor::{DType, Shape, Tensor, Value};

/// A graph under construction.
pub(crate) struct Builder(pub(crate) Graph);

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder(Graph::new("test"))
    }

    pub(crate) fn input(&mut self, shape: &[usize]) -> ValueId {
        self.input_of(DType::F32, shape)
    }

    pub(crate) fn input_of(&mut self, dtype: DType, shape: &[usize]) -> ValueId {
        let name = format!("x{}", self.0.inputs.len());
        self.0.add_input(name, Fact::tensor(dtype, Shape::from(shape)))
    }

    pub(crate) fn constant(&mut self, shape: &[usize], seed: u64) -> ValueId {
        self.0.add_constant(format!("c{seed}"), random(shape, seed))
    }

    pub(crate) fn scalar(&mut self, value: f32) -> ValueId {
        self.0.add_constant(format!("s{value}"), Tensor::scalar(value))
    }

    #[allow(dead_code, reason = "fusions of reductions and reshapes want it")]
    pub(crate) fn ints(&mut self, values: &[i64]) -> ValueId {
        self.0.add_constant("ints", Tensor::vector(values.to_vec()))
    }

    pub(crate) fn op(&mut self, op_type: &str, attrs: &[(&str, Attr)], inputs: &[ValueId]) -> ValueId {
        let name = format!("{op_type}{}", self.0.nodes().len());
        let op = parse(op_type, attrs, inputs.len());
        self.0.add_node(name, op, inputs.iter().copied().map(Some).collect()).expect("inputs fit")
    }
}

fn parse(op_type: &str, attrs: &[(&str, Attr)], inputs: usize) -> Arc<dyn Operator> {
    let attrs = attrs.iter().map(|(name, attr)| ((*name).to_owned(), attr.clone())).collect();
    let mut def = NodeDef::new(op_type, 18, attrs);
    def.inputs = vec![true; inputs];
    inferrum_ops::parse("", &mut def).expect("the operator exists").expect("its attributes fit")
}

/// Numbers between 0.5 and 1.5, others for another seed.
pub(crate) fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 + 0.5
    };
    let elements = Shape::from(shape).elements();
    Tensor::from_vec(shape, (0..elements).map(|_| next()).collect()).expect("as many numbers as elements")
}

/// Rewrites the graph with `output` by all but the last passes, checks that it computes the same, and gives the operators
/// that are left.
pub(crate) fn optimized(mut builder: Builder, output: ValueId) -> Vec<String> {
    builder.0.outputs = vec![output];
    let mut rewritten = builder.0.clone();
    crate::settle(&mut rewritten, crate::PASSES, &mut Default::default()).expect("rewrites");
    compared(&builder.0, &rewritten)
}

/// Rewrites the graph with `outputs` by all passes, checks that it gives the same bits, and gives the operators that are
/// left.
pub(crate) fn finished(mut builder: Builder, outputs: &[ValueId]) -> Vec<String> {
    builder.0.outputs = outputs.to_vec();
    let (rewritten, _) = crate::optimize(builder.0.clone()).expect("rewrites");
    identical(&builder.0, &rewritten)
}

/// As [`finished`], by one pass alone: others may round differently, as that which finds `x sigmoid(x)`.
pub(crate) fn finished_by(pass: crate::Pass, mut builder: Builder, outputs: &[ValueId]) -> Vec<String> {
    builder.0.outputs = outputs.to_vec();
    let mut rewritten = builder.0.clone();
    pass(&mut rewritten).expect("rewrites");
    identical(&builder.0, &rewritten)
}

/// Checks that two graphs give the same bits, and gives the operators of the second.
fn identical(graph: &Graph, rewritten: &Graph) -> Vec<String> {
    let inputs = || inputs(graph);
    let want = interpret(graph, inputs()).expect("the original runs");
    let got = interpret(rewritten, inputs()).expect("the rewritten one runs");
    for (got, want) in got.iter().zip(&want) {
        let (got, want) = (got.as_tensor().expect("a tensor"), want.as_tensor().expect("a tensor"));
        assert_eq!((got.dtype(), got.shape()), (want.dtype(), want.shape()));
        assert_eq!(got.bytes(), want.bytes(), "{graph}\n{rewritten}");
    }
    rewritten.nodes().iter().map(|node| node.op.key().op_type.to_owned()).collect()
}

/// Random inputs for a graph.
fn inputs(graph: &Graph) -> Vec<Value> {
    let facts = graph.inputs.iter().map(|&id| graph.fact(id)).enumerate();
    let tensor = |(i, fact): (usize, &Fact)| {
        let shape = fact.concrete_shape().expect("a known shape");
        let values = random(&shape, 100 + i as u64).to_f64().expect("floats");
        Tensor::from_f64(fact.as_tensor().expect("a tensor").dtype, shape, &values)
            .expect("a real type")
            .into()
    };
    facts.map(tensor).collect()
}

fn compared(graph: &Graph, rewritten: &Graph) -> Vec<String> {
    let want = interpret(graph, inputs(graph)).expect("the original runs").remove(0).into_tensor().unwrap();
    let got =
        interpret(rewritten, inputs(graph)).expect("the rewritten one runs").remove(0).into_tensor().unwrap();
    assert_eq!(got.shape(), want.shape());
    for (got, want) in got.to_f64().unwrap().into_iter().zip(want.to_f64().unwrap()) {
        assert!(
            (got - want).abs() <= 1e-5 * want.abs().max(1.0),
            "got {got}, want {want}\n{graph}\n{rewritten}"
        );
    }
    rewritten.nodes().iter().map(|node| node.op.key().op_type.to_owned()).collect()
}
