//! `TypeProto` to facts.

use inferrum_graph::{Fact, ShapeFact, SymDim};
use inferrum_tensor::DType;

use crate::error::LoadErrorKind;
use crate::proto::tensor_shape_proto::dimension;
use crate::proto::type_proto::Value as Kind;
use crate::proto::{TensorShapeProto, TypeProto, ValueInfoProto};

/// What a declaration says of a value; [`Fact::Unknown`] if it says nothing.
///
/// # Errors
/// [`LoadErrorKind::Type`], which names `what` (`input`, `output`) and the value.
pub(crate) fn of_value(what: &str, info: &ValueInfoProto) -> Result<Fact, LoadErrorKind> {
    let unfit = |reason| LoadErrorKind::Type { place: format!("{what} `{}`", info.name()), reason };
    info.r#type.as_ref().map_or(Ok(Fact::Unknown), of_type).map_err(unfit)
}

/// What a type says.
///
/// # Errors
/// What was expected and got.
pub(crate) fn of_type(proto: &TypeProto) -> Result<Fact, String> {
    let inner = |elem: &Option<Box<TypeProto>>| elem.as_deref().map_or(Ok(Fact::Unknown), of_type);
    match &proto.value {
        None => Ok(Fact::Unknown),
        Some(Kind::TensorType(t)) => tensor(t.elem_type(), t.shape.as_ref()),
        // Sparse tensors are expanded on import.
        Some(Kind::SparseTensorType(t)) => tensor(t.elem_type(), t.shape.as_ref()),
        Some(Kind::SequenceType(s)) => Ok(Fact::Sequence(Box::new(inner(&s.elem_type)?))),
        Some(Kind::OptionalType(o)) => Ok(Fact::Optional(Box::new(inner(&o.elem_type)?))),
        Some(Kind::MapType(m)) => match (dtype(m.key_type())?, inner(&m.value_type)?) {
            (key, _) if key != DType::I64 && key != DType::String => {
                Err(format!("keys of maps must be int64 or string, got {key}"))
            }
            (key, Fact::Tensor(value)) => Ok(Fact::Map { key, value: value.dtype }),
            (_, other) => Err(format!("maps to tensors are supported, got a map to {other}")),
        },
        Some(Kind::OpaqueType(o)) => {
            Err(format!("opaque types are not supported, got `{}.{}`", o.domain(), o.name()))
        }
    }
}

fn tensor(elem_type: i32, shape: Option<&TensorShapeProto>) -> Result<Fact, String> {
    if elem_type == 0 {
        return Ok(Fact::Unknown);
    }
    let shape = match shape {
        None => ShapeFact::unknown(),
        Some(shape) => shape.dim.iter().map(|dim| extent(dim.value.as_ref())).collect::<Result<_, _>>()?,
    };
    Ok(Fact::tensor(dtype(elem_type)?, shape))
}

fn extent(value: Option<&dimension::Value>) -> Result<SymDim, String> {
    match value {
        // Exporters of old write -1 for what is not known.
        None | Some(dimension::Value::DimValue(-1)) => Ok(SymDim::Unknown),
        Some(dimension::Value::DimParam(name)) if name.is_empty() => Ok(SymDim::Unknown),
        Some(dimension::Value::DimParam(name)) => Ok(SymDim::Symbol(name.as_str().into())),
        Some(dimension::Value::DimValue(n)) => {
            usize::try_from(*n).map(SymDim::Known).map_err(|_| format!("extents must be 0 or more, got {n}"))
        }
    }
}

/// The element type of a number.
fn dtype(code: i32) -> Result<DType, String> {
    DType::from_onnx_code(code).ok_or_else(|| format!("element type {code} of TensorProto is not supported"))
}
