//! `Constant` nodes (<https://onnx.ai/onnx/operators/onnx__Constant.html>): they become constants of the graph.

use inferrum_tensor::Tensor;

use crate::attribute;
use crate::error::{LoadErrorKind, TensorProtoError};
use crate::external::ExternalFiles;
use crate::proto::NodeProto;
use crate::scope::{Context, domain};
use inferrum_graph::Attr;

/// Whether a node is a `Constant` of ONNX's own domain.
pub(crate) fn is_constant(node: &NodeProto) -> bool {
    is_constant_type(domain(node.domain()), node.op_type())
}

/// Whether a domain and type are those of `Constant`.
pub(crate) fn is_constant_type(domain: &str, op_type: &str) -> bool {
    domain.is_empty() && op_type == "Constant"
}

/// The tensor of a `Constant` node.
///
/// # Errors
/// There is not exactly one attribute that holds the value, or it is unfit.
pub(crate) fn decode<'p>(
    node: &'p NodeProto,
    context: &Context<'p>,
    external: &mut ExternalFiles,
) -> Result<Tensor, LoadErrorKind> {
    let name = match node.name() {
        "" => node.output.first().map_or("", String::as_str),
        name => name,
    };
    let unfit = |reason: String| LoadErrorKind::Node { node: name.into(), op: "Constant".into(), reason };
    let attrs: Vec<_> =
        node.attribute.iter().filter_map(|attr| Some((attr.name(), context.resolve(attr)?))).collect();
    let [(kind, attr)] = attrs[..] else {
        return Err(unfit(format!("exactly one attribute must hold the value, got {}", attrs.len())));
    };
    let place = format!("node `{name}` (Constant)");
    let value = attribute::decode(attr, external).map_err(|error| error.at(kind, &place))?;
    let text = |bytes: Vec<u8>, i| String::from_utf8(bytes).map_err(|_| TensorProtoError::Utf8(i));
    let strings = |texts: Vec<Vec<u8>>| -> Result<Vec<String>, TensorProtoError> {
        texts.into_iter().enumerate().map(|(i, bytes)| text(bytes, i)).collect()
    };
    let tensor = match (kind, value) {
        ("value" | "sparse_value", Attr::Tensor(tensor)) => Ok(tensor),
        ("value_int", Attr::Int(value)) => Ok(Tensor::scalar(value)),
        ("value_ints", Attr::Ints(values)) => Ok(Tensor::vector(values)),
        ("value_float", Attr::Float(value)) => Ok(Tensor::scalar(value)),
        ("value_floats", Attr::Floats(values)) => Ok(Tensor::vector(values)),
        ("value_string", Attr::String(value)) => {
            text(value, 0).and_then(|text| Ok(Tensor::from_strings([], vec![text])?))
        }
        ("value_strings", Attr::Strings(values)) => {
            strings(values).and_then(|texts| Ok(Tensor::from_strings([texts.len()], texts)?))
        }
        (kind, _) => return Err(unfit(format!("attribute `{kind}` cannot hold the value"))),
    };
    tensor.map_err(|source| LoadErrorKind::Tensor { place: format!("attribute `{kind}` of {place}"), source })
}
