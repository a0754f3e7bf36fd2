//! Functions of bytes become tables of their values: whatever a quantised tensor goes through element by element until it is
//! quantised again, and the quantised element-wise operators of `com.microsoft`.
//!
//! A table holds what the references give, so that every device gives the same.

use std::collections::HashMap;
use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, Inputs, Node, NodeId, Operator, ValueId};
use inferrum_ops::concat::Concat;
use inferrum_ops::expression;
use inferrum_ops::fused::table::Table;
use inferrum_ops::qlinear_concat::QLinearConcat;
use inferrum_ops::qlinear_elementwise::{QLinearBinary, QLinearUnary};
use inferrum_ops::quantize::{DequantizeLinear, QuantizeLinear};
use inferrum_tensor::{DType, Tensor, Value};

use super::epilogue::same_shape;
use crate::Index;
use crate::index::operator;

/// Most operators between a result and the byte that it is a function of.
const DEPTH: usize = 64;

/// Tables of two bytes, 64 KiB each, of a graph at most.
const MOST_PAIRS: usize = 1024;

/// `Quantize(f(Dequantize(x)))`, `QLinearSigmoid`, `QLinearLeakyRelu`, `QLinearAdd` and `QLinearMul` become tables, and
/// `QLinearConcat` a `Concat` of what tables give.
///
/// # Errors
/// An operator refuses its inputs.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let index = Index::new(graph);
    let mut functions = Functions { index: &index, sources: HashMap::new() };
    let mut found = Vec::new();
    let is_pair = |node: &&Node| operator::<Table>(node).is_some() && input(node, Table::Y).is_some();
    let mut pairs = graph.nodes().iter().filter(is_pair).count();
    for id in (0..graph.nodes().len()).map(NodeId) {
        let node = &graph.nodes()[id.0];
        let mut table = functions.of_quantize(graph, id).or_else(|| of_unary(graph, node));
        if table.is_none() && pairs < MOST_PAIRS {
            table = of_binary(graph, node);
            pairs += usize::from(table.is_some());
        }
        found.extend(table.map(|table| (id, table)));
    }
    let mut count = found.len();
    for (id, (table, operands)) in found {
        let name = format!("{}.table", graph.nodes()[id.0].name);
        let table = graph.add_constant(name, table);
        let node = &mut graph.nodes_mut()[id.0];
        node.op = Arc::new(Table);
        node.inputs = [table].into_iter().chain(operands).map(Some).collect();
    }
    let concats: Vec<NodeId> = (0..graph.nodes().len()).map(NodeId).collect();
    for id in concats {
        let Some((axis, parts)) = of_concat(graph, &graph.nodes()[id.0]) else { continue };
        join(graph, id, axis, parts)?;
        count += 1;
    }
    if count > 0 {
        graph.sort()?;
    }
    Ok(count)
}

/// A table and its operands.
type Found = (Tensor, Vec<ValueId>);

fn dtype(graph: &Graph, value: ValueId) -> Option<DType> {
    graph.fact(value).as_tensor().map(|tensor| tensor.dtype)
}

fn byte(graph: &Graph, value: ValueId) -> Option<DType> {
    dtype(graph, value).filter(|dtype| matches!(dtype, DType::I8 | DType::U8))
}

fn input(node: &Node, place: usize) -> Option<ValueId> {
    node.inputs.get(place).copied().flatten()
}

/// Whether the inputs from `first` on are constants of one element, or left out.
fn scalars(graph: &Graph, node: &Node, places: impl IntoIterator<Item = usize>) -> bool {
    places.into_iter().all(|place| {
        input(node, place).is_none_or(|value| graph.constant(value).is_some_and(|tensor| tensor.len() == 1))
    })
}

/// Every byte of a type.
fn all(dtype: DType) -> Option<Tensor> {
    Tensor::from_i64(dtype, [Table::ONE], &Table::operands(dtype)).ok()
}

/// What values are functions of.
struct Functions<'a> {
    index: &'a Index,
    /// Of floats: the byte that they are functions of, if they are, or none where they are constant.
    sources: HashMap<ValueId, Option<Option<ValueId>>>,
}

impl Functions<'_> {
    /// `Quantize` of a function of one byte.
    fn of_quantize(&mut self, graph: &Graph, id: NodeId) -> Option<Found> {
        let node = &graph.nodes()[id.0];
        let x = quantized(graph, node)?;
        let output = node.outputs.first().copied().flatten()?;
        let source = self.source(graph, x, DEPTH)??;
        if !same_shape(graph, source, output) {
            return None;
        }
        let mut known = HashMap::from([(source, Value::Tensor(all(byte(graph, source)?)?))]);
        let table = self.value(graph, output, &mut known)?.as_tensor()?.reshape([Table::ONE]).ok()?;
        Some((table, vec![source]))
    }

    /// The byte that a float is a function of.
    fn source(&mut self, graph: &Graph, value: ValueId, depth: usize) -> Option<Option<ValueId>> {
        if let Some(known) = self.sources.get(&value) {
            return *known;
        }
        let source = self.find(graph, value, depth);
        self.sources.insert(value, source);
        source
    }

    fn find(&mut self, graph: &Graph, value: ValueId, depth: usize) -> Option<Option<ValueId>> {
        let depth = depth.checked_sub(1)?;
        if let Some(constant) = graph.constant(value) {
            return (constant.len() == 1).then_some(None);
        }
        let node = &graph.nodes()[self.index.producer(value)?.0];
        if operator::<DequantizeLinear>(node).is_some() {
            let x = input(node, 0)?;
            byte(graph, x)?;
            return scalars(graph, node, [1, 2]).then(|| Some(self.origin(graph, x, depth)));
        }
        if node.outputs.len() != 1 || expression(&*node.op).is_none() {
            return None;
        }
        let mut common = None;
        for &operand in node.inputs.iter().flatten() {
            match (self.source(graph, operand, depth)?, common) {
                (None, _) => {}
                (Some(source), None) => common = Some(source),
                (Some(source), Some(other)) if source == other => {}
                _ => return None,
            }
        }
        Some(common)
    }

    /// The byte that a byte is a function of: itself if nothing else.
    fn origin(&mut self, graph: &Graph, x: ValueId, depth: usize) -> ValueId {
        let node = self.index.producer(x).map(|id| &graph.nodes()[id.0]);
        let of_table =
            node.filter(|node| operator::<Table>(node).is_some() && input(node, Table::Y).is_none());
        let found = if let Some(before) = of_table.and_then(|node| input(node, Table::X)) {
            depth.checked_sub(1).map(|depth| self.origin(graph, before, depth))
        } else {
            let float = node.and_then(|node| quantized(graph, node));
            float.and_then(|float| self.source(graph, float, depth)).flatten()
        };
        found.filter(|&found| same_shape(graph, found, x)).unwrap_or(x)
    }

    /// What `value` is for all that is known.
    fn value(&self, graph: &Graph, value: ValueId, known: &mut HashMap<ValueId, Value>) -> Option<Value> {
        if let Some(known) = known.get(&value) {
            return Some(known.clone());
        }
        if let Some(constant) = graph.constant(value) {
            return Some(Value::Tensor(constant.clone()));
        }
        let node = &graph.nodes()[self.index.producer(value)?.0];
        let mut operands = Vec::with_capacity(node.inputs.len());
        for operand in &node.inputs {
            operands.push(match operand {
                Some(operand) => Some(self.value(graph, *operand, known)?),
                None => None,
            });
        }
        let operands: Vec<Option<&Value>> = operands.iter().map(Option::as_ref).collect();
        let result = node.op.reference(Inputs(&operands)).ok()?.into_iter().next()?;
        known.insert(value, result.clone());
        Some(result)
    }
}

/// What a node quantises to bytes, if scale and zero point are one and constant.
fn quantized(graph: &Graph, node: &Node) -> Option<ValueId> {
    operator::<QuantizeLinear>(node)?;
    byte(graph, node.outputs.first().copied().flatten()?)?;
    scalars(graph, node, [1, 2]).then(|| input(node, 0)).flatten()
}

/// The values of a node's reference for these operands, given by place.
fn values(graph: &Graph, node: &Node, operands: &[(usize, Tensor)]) -> Option<Tensor> {
    let inputs: Option<Vec<Option<Value>>> = (0..node.inputs.len())
        .map(|place| match (operands.iter().find(|(at, _)| *at == place), input(node, place)) {
            (Some((_, operand)), _) => Some(Some(Value::Tensor(operand.clone()))),
            (None, None) => Some(None),
            (None, Some(value)) => graph.constant(value).map(|tensor| Some(Value::Tensor(tensor.clone()))),
        })
        .collect();
    let inputs = inputs?;
    let inputs: Vec<Option<&Value>> = inputs.iter().map(Option::as_ref).collect();
    node.op.reference(Inputs(&inputs)).ok()?.into_iter().next()?.into_tensor()
}

/// `QLinearSigmoid` and its like.
fn of_unary(graph: &Graph, node: &Node) -> Option<Found> {
    operator::<QLinearUnary>(node)?;
    let x = input(node, 0)?;
    let table = scalars(graph, node, 1..5).then(|| values(graph, node, &[(0, all(byte(graph, x)?)?)]))??;
    Some((table, vec![x]))
}

/// `QLinearAdd` and `QLinearMul`.
fn of_binary(graph: &Graph, node: &Node) -> Option<Found> {
    operator::<QLinearBinary>(node)?;
    let (a, b) = (input(node, 0)?, input(node, 3)?);
    if !scalars(graph, node, [1, 2, 4, 5, 6, 7]) {
        return None;
    }
    let column = all(byte(graph, a)?)?.reshape([256, 1]).ok()?;
    let table = values(graph, node, &[(0, column), (3, all(byte(graph, b)?)?)])?;
    Some((table.reshape([Table::TWO]).ok()?, vec![a, b]))
}

/// The axis and the parts of a `QLinearConcat`, each with the table of its requantisation.
fn of_concat(graph: &Graph, node: &Node) -> Option<(i64, Vec<(ValueId, Tensor)>)> {
    let op = operator::<QLinearConcat>(node)?;
    let mut parts = Vec::new();
    for place in (2..node.inputs.len()).step_by(3) {
        let x = input(node, place)?;
        if !scalars(graph, node, [0, 1, place + 1, place + 2]) {
            return None;
        }
        // The operator on this part alone.
        let alone = Node {
            name: String::new(),
            op: Arc::new(QLinearConcat { axis: 0 }),
            inputs: vec![
                input(node, 0),
                input(node, 1),
                Some(x),
                input(node, place + 1),
                input(node, place + 2),
            ],
            outputs: Vec::new(),
        };
        parts.push((x, values(graph, &alone, &[(2, all(byte(graph, x)?)?)])?));
    }
    (!parts.is_empty()).then_some((op.axis, parts))
}

/// Puts a concatenation of tables' results in the place of a node.
fn join(graph: &mut Graph, id: NodeId, axis: i64, parts: Vec<(ValueId, Tensor)>) -> Result<(), GraphError> {
    let name = graph.nodes()[id.0].name.clone();
    let mut joined = Vec::new();
    for (i, (x, table)) in parts.into_iter().enumerate() {
        let same = dtype(graph, x) == Some(table.dtype())
            && table.to_i64().is_ok_and(|values| values == Table::operands(table.dtype()));
        joined.push(Some(if same {
            x
        } else {
            let table = graph.add_constant(format!("{name}.table{i}"), table);
            let op: Arc<dyn Operator> = Arc::new(Table);
            graph.add_node(format!("{name}.part{i}"), op, vec![Some(table), Some(x)])?
        }));
    }
    let node = &mut graph.nodes_mut()[id.0];
    node.op = Arc::new(Concat { axis });
    node.inputs = joined;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Builder, finished_by};
    use super::*;
    use inferrum_graph::{Fact, interpret};

    fn quantize(b: &mut Builder, x: ValueId, scale: f32, zero: i8) -> ValueId {
        let (scale, zero) = (b.scalar(scale), b.0.add_constant("zero", Tensor::scalar(zero)));
        b.op("QuantizeLinear", &[], &[x, scale, zero])
    }

    fn dequantize(b: &mut Builder, x: ValueId, scale: f32, zero: i8) -> ValueId {
        let (scale, zero) = (b.scalar(scale), b.0.add_constant("zero", Tensor::scalar(zero)));
        b.op("DequantizeLinear", &[], &[x, scale, zero])
    }

    /// The operators that the pass leaves in use, once it is clear that they give the same bits.
    fn left(b: Builder, y: ValueId) -> Vec<String> {
        let mut ops = finished_by(
            |graph| {
                let count = run(graph)?;
                crate::passes::dead_code::run(graph);
                Ok(count)
            },
            b,
            &[y],
        );
        ops.sort();
        ops
    }

    #[test]
    fn what_a_byte_goes_through_is_a_table() {
        let mut b = Builder::new();
        let x = b.input_of(DType::I8, &[3, 17]);
        let float = dequantize(&mut b, x, 0.05, 3);
        let gate = b.op("Sigmoid", &[], &[float]);
        let gate = quantize(&mut b, gate, 0.004, -128);
        let gate = dequantize(&mut b, gate, 0.004, -128);
        let two = b.scalar(2.0);
        let float = b.op("Mul", &[], &[float, two]);
        let y = b.op("Mul", &[], &[float, gate]);
        let y = quantize(&mut b, y, 0.03, -5);
        assert_eq!(left(b, y), ["Table"]);
    }

    #[test]
    fn tables_of_tables_are_tables() {
        let mut b = Builder::new();
        let x = b.input_of(DType::I8, &[17]);
        let mut y = x;
        for (scale, zero) in [(0.05, 3), (0.02, -7), (0.011, 9)] {
            let float = dequantize(&mut b, y, scale, zero);
            let float = b.op("Tanh", &[], &[float]);
            y = quantize(&mut b, float, scale / 2.0, zero);
            // The next one sees a table already.
            run(&mut b.0).unwrap();
        }
        assert_eq!(left(b, y), ["Table"]);
    }

    #[test]
    fn other_functions_stay() {
        // Of two bytes.
        let mut b = Builder::new();
        let (x, z) = (b.input_of(DType::I8, &[17]), b.input_of(DType::I8, &[17]));
        let (x, z) = (dequantize(&mut b, x, 0.05, 3), dequantize(&mut b, z, 0.05, 3));
        let y = b.op("Mul", &[], &[x, z]);
        let y = quantize(&mut b, y, 0.03, -5);
        assert_eq!(left(b, y).len(), 4);
        // Of a byte and its place.
        let mut b = Builder::new();
        let x = b.input_of(DType::I8, &[17]);
        let (x, slope) = (dequantize(&mut b, x, 0.05, 3), b.constant(&[17], 1));
        let y = b.op("Mul", &[], &[x, slope]);
        let y = quantize(&mut b, y, 0.03, -5);
        assert_eq!(left(b, y).len(), 3);
        // Of more elements than there are bytes.
        let mut b = Builder::new();
        let x = b.input_of(DType::I8, &[17]);
        let x = dequantize(&mut b, x, 0.05, 3);
        let one = b.0.add_constant("one", Tensor::from_vec([1, 1], vec![1f32]).unwrap());
        let y = b.op("Mul", &[], &[x, one]);
        let y = quantize(&mut b, y, 0.03, -5);
        assert_eq!(left(b, y).len(), 3);
        // Of an input.
        let mut b = Builder::new();
        let x = b.input(&[17]);
        let y = b.op("Tanh", &[], &[x]);
        let y = quantize(&mut b, y, 0.03, -5);
        assert_eq!(left(b, y).len(), 2);
    }

    /// The rewritten graph of one node gives the same; the operators that are left.
    fn check(
        op: impl Operator,
        x: [&Tensor; 2],
        places: [usize; 2],
        constants: &[(usize, Tensor)],
    ) -> Vec<String> {
        let mut graph = Graph::new("test");
        let mut inputs = vec![None; 8];
        for (x, place) in x.into_iter().zip(places) {
            if inputs[place].is_some() {
                continue;
            }
            inputs[place] = Some(graph.add_input(format!("x{place}"), Fact::tensor(x.dtype(), x.shape())));
        }
        for (place, tensor) in constants {
            inputs[*place] = Some(graph.add_constant(format!("c{place}"), tensor.clone()));
        }
        while inputs.last().is_some_and(Option::is_none) {
            inputs.pop();
        }
        let y = graph.add_node("node", Arc::new(op), inputs).unwrap();
        graph.outputs = vec![y];
        let used = graph.inputs.len();
        let feeds = || x.iter().take(used).map(|&x| Value::Tensor(x.clone())).collect::<Vec<_>>();
        let want = interpret(&graph, feeds()).unwrap();
        assert!(run(&mut graph).unwrap() > 0);
        let got = interpret(&graph, feeds()).unwrap();
        assert_eq!(got[0].as_tensor(), want[0].as_tensor());
        graph.nodes().iter().map(|node| node.op.key().op_type.to_owned()).collect()
    }

    fn scale(place: usize, scale: f32) -> (usize, Tensor) {
        (place, Tensor::scalar(scale))
    }

    fn zero(place: usize, zero: u8) -> (usize, Tensor) {
        (place, Tensor::scalar(zero))
    }

    #[test]
    fn quantised_operators_of_bytes() {
        let numbers = |shape: &[usize], step: i64| {
            let count = shape.iter().product::<usize>() as i64;
            Tensor::from_i64(DType::U8, shape, &(0..count).map(|i| i * step % 256).collect::<Vec<_>>())
                .unwrap()
        };
        let (x, y) = (numbers(&[2, 40, 5], 53), numbers(&[40, 1], 31));
        for op in [QLinearBinary::Add, QLinearBinary::Mul] {
            let constants =
                [scale(1, 0.05), zero(2, 130), scale(4, 0.02), zero(5, 7), scale(6, 0.06), zero(7, 90)];
            assert_eq!(check(op, [&x, &y], [0, 3], &constants), ["Table"]);
        }
        let constants = [scale(1, 0.05), zero(2, 130), scale(3, 0.011), zero(4, 7)];
        for op in [QLinearUnary::Sigmoid, QLinearUnary::LeakyRelu { alpha: 0.1 }] {
            assert_eq!(check(op, [&x, &x], [0, 0], &constants), ["Table"]);
        }
        let second = numbers(&[2, 3, 5], 29);
        let constants =
            [scale(0, 0.05), zero(1, 130), scale(3, 0.05), zero(4, 130), scale(6, 0.02), zero(7, 7)];
        let ops = check(QLinearConcat { axis: 1 }, [&x, &second], [2, 5], &constants);
        assert_eq!(ops, ["Table", "Concat"]);
    }

    #[test]
    fn chains_without_end_are_left() {
        let mut b = Builder::new();
        let x = b.input_of(DType::I8, &[3]);
        let mut y = dequantize(&mut b, x, 0.05, 3);
        for _ in 0..5000 {
            y = b.op("Neg", &[], &[y]);
        }
        let y = quantize(&mut b, y, 0.05, 3);
        assert!(left(b, y).len() > 5000);
    }
}
