//! ONNX models, written field by field (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>).

/// The bytes of a message.
pub(crate) type Message = Vec<u8>;

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field with a number.
pub(crate) fn number(field: u64, value: u64) -> Message {
    [varint(field << 3), varint(value)].concat()
}

/// A field with bytes, a text or a message.
pub(crate) fn bytes(field: u64, content: impl AsRef<[u8]>) -> Message {
    [varint(field << 3 | 2), varint(content.as_ref().len() as u64), content.as_ref().to_vec()].concat()
}

/// A float32 (1), int64 (7) or bool (9) input or output; a text is a symbol.
pub(crate) fn value(name: &str, dtype: u64, dims: &[&str]) -> Message {
    let dim = |dim: &&str| bytes(1, dim.parse().map_or_else(|_| bytes(2, dim), |n| number(1, n)));
    let shape: Message = dims.iter().flat_map(dim).collect();
    let tensor = [number(1, dtype), bytes(2, shape)].concat();
    [bytes(1, name), bytes(2, bytes(1, tensor))].concat()
}

/// A float32 initializer of zeros.
pub(crate) fn zeros(name: &str, dims: &[u64]) -> Message {
    let elements: u64 = dims.iter().product();
    let dims: Message = dims.iter().flat_map(|&dim| number(1, dim)).collect();
    [dims, number(2, 1), bytes(8, name), bytes(9, vec![0; 4 * elements as usize])].concat()
}

/// An attribute that is a graph.
pub(crate) fn graph_attribute(name: &str, graph: &Message) -> Message {
    [bytes(1, name), number(20, 5), bytes(6, graph)].concat()
}

/// A node, named like its operator.
pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Message]) -> Message {
    let texts =
        |field: u64, texts: &[&str]| texts.iter().flat_map(|text| bytes(field, text)).collect::<Message>();
    let attributes: Message = attributes.iter().flat_map(|attribute| bytes(5, attribute)).collect();
    [texts(1, inputs), texts(2, outputs), bytes(3, op), bytes(4, op), attributes].concat()
}

/// A graph.
pub(crate) fn graph(
    nodes: &[Message],
    inputs: &[Message],
    outputs: &[Message],
    initializers: &[Message],
) -> Message {
    let all = |field: u64, messages: &[Message]| {
        messages.iter().flat_map(|message| bytes(field, message)).collect::<Message>()
    };
    [all(1, nodes), bytes(2, "graph"), all(5, initializers), all(11, inputs), all(12, outputs)].concat()
}

/// A model of opset 17.
pub(crate) fn model(graph: &Message) -> Message {
    [number(1, 8), bytes(7, graph), bytes(8, number(2, 17))].concat()
}

/// A model that gives its only input.
pub(crate) fn identity(dtype: u64, dims: &[&str]) -> Message {
    let node = node("Identity", &["x"], &["y"], &[]);
    model(&graph(&[node], &[value("x", dtype, dims)], &[value("y", dtype, dims)], &[]))
}
