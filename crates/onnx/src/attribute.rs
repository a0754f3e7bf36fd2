//! `AttributeProto` to attributes.

use inferrum_graph::Attr;

use crate::error::{LoadErrorKind, TensorProtoError};
use crate::external::ExternalFiles;
use crate::proto::AttributeProto;
use crate::proto::attribute_proto::AttributeType;
use crate::{tensor, types};

/// Why an attribute is unfit.
#[derive(Debug)]
pub(crate) enum AttributeError {
    Tensor(TensorProtoError),
    Other(String),
}

impl AttributeError {
    /// The error with its place in the model.
    pub(crate) fn at(self, attribute: &str, node: &str) -> LoadErrorKind {
        let place = format!("attribute `{attribute}` of {node}");
        match self {
            AttributeError::Tensor(source) => LoadErrorKind::Tensor { place, source },
            AttributeError::Other(reason) => LoadErrorKind::Type { place, reason },
        }
    }
}

impl From<TensorProtoError> for AttributeError {
    fn from(error: TensorProtoError) -> AttributeError {
        AttributeError::Tensor(error)
    }
}

/// The value of an attribute that is neither a body nor a reference.
///
/// # Errors
/// [`AttributeError`].
pub(crate) fn decode(proto: &AttributeProto, external: &mut ExternalFiles) -> Result<Attr, AttributeError> {
    let missing = || AttributeError::Other("it states a type, but holds no such value".into());
    Ok(match kind(proto)? {
        // Writers leave out zeros.
        AttributeType::Float => Attr::Float(proto.f()),
        AttributeType::Int => Attr::Int(proto.i()),
        AttributeType::String => Attr::String(proto.s().to_vec()),
        AttributeType::Floats => Attr::Floats(proto.floats.clone()),
        AttributeType::Ints => Attr::Ints(proto.ints.clone()),
        AttributeType::Strings => Attr::Strings(proto.strings.iter().map(|bytes| bytes.to_vec()).collect()),
        AttributeType::Tensor => {
            Attr::Tensor(tensor::decode(proto.t.as_ref().ok_or_else(missing)?, external)?)
        }
        AttributeType::SparseTensor => {
            Attr::Tensor(tensor::decode_sparse(proto.sparse_tensor.as_ref().ok_or_else(missing)?, external)?)
        }
        AttributeType::Tensors => {
            let tensors = proto.tensors.iter().map(|tensor| tensor::decode(tensor, external));
            Attr::Tensors(tensors.collect::<Result<_, _>>()?)
        }
        AttributeType::SparseTensors => {
            let tensors = proto.sparse_tensors.iter().map(|tensor| tensor::decode_sparse(tensor, external));
            Attr::Tensors(tensors.collect::<Result<_, _>>()?)
        }
        AttributeType::TypeProto => {
            Attr::Type(types::of_type(proto.tp.as_ref().ok_or_else(missing)?).map_err(AttributeError::Other)?)
        }
        AttributeType::Graph => return Err(missing()),
        AttributeType::Graphs => Attr::Graphs(Vec::new()),
        other @ (AttributeType::TypeProtos | AttributeType::Undefined) => {
            return Err(AttributeError::Other(format!(
                "attributes of type {} are not supported",
                other.as_str_name()
            )));
        }
    })
}

/// The stated type, or what the value shows in files that are older than stated types.
fn kind(proto: &AttributeProto) -> Result<AttributeType, AttributeError> {
    let code = proto.r#type.unwrap_or_default();
    match AttributeType::try_from(code) {
        Ok(AttributeType::Undefined) => {}
        Ok(kind) => return Ok(kind),
        Err(_) => return Err(AttributeError::Other(format!("attribute type {code} is not known"))),
    }
    let shown = [
        (proto.f.is_some(), AttributeType::Float),
        (proto.i.is_some(), AttributeType::Int),
        (proto.s.is_some(), AttributeType::String),
        (proto.t.is_some(), AttributeType::Tensor),
        (proto.sparse_tensor.is_some(), AttributeType::SparseTensor),
        (proto.tp.is_some(), AttributeType::TypeProto),
        (!proto.floats.is_empty(), AttributeType::Floats),
        (!proto.strings.is_empty(), AttributeType::Strings),
        (!proto.tensors.is_empty(), AttributeType::Tensors),
        (!proto.sparse_tensors.is_empty(), AttributeType::SparseTensors),
    ];
    // What shows nothing is an empty list; lists of any kind may be read from it.
    Ok(shown.into_iter().find(|(there, _)| *there).map_or(AttributeType::Ints, |(_, kind)| kind))
}
