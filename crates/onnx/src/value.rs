//! Values as ONNX's test cases keep them (`TensorProto`, `SequenceProto`, `OptionalProto`, `MapProto`).

use bytes::Bytes;
use inferrum_graph::Fact;
use inferrum_tensor::{DType, MapKeys, Tensor, TensorError, Value};
use prost::Message;

use crate::error::{LoadErrorKind, TensorProtoError};
use crate::external::ExternalFiles;
use crate::proto::{MapProto, OptionalProto, SequenceProto, TensorProto, optional_proto, sequence_proto};
use crate::tensor;

/// The value in the bytes of a message. Which message it is follows from `fact`; a tensor where nothing is known.
///
/// # Errors
/// The bytes are no such message, or hold unfit tensors.
pub fn decode(bytes: impl Into<Bytes>, fact: &Fact) -> Result<Value, LoadErrorKind> {
    let bytes = bytes.into();
    let value = match fact {
        // Nothing is a message whose fields are not set, but no tensor: its type is one of them.
        Fact::Tensor(_) | Fact::Unknown if bytes.is_empty() => {
            let reason = "there are no bytes".into();
            return Err(LoadErrorKind::Protobuf { message: "TensorProto", reason });
        }
        Fact::Tensor(_) | Fact::Unknown => tensor_value(&message::<TensorProto>(bytes, "TensorProto")?),
        Fact::Sequence(_) => sequence_value(&message(bytes, "SequenceProto")?),
        Fact::Optional(_) => optional_value(&message(bytes, "OptionalProto")?),
        Fact::Map { .. } => map_value(&message(bytes, "MapProto")?),
    };
    let typed = value.and_then(|value| Ok(with_value_type(value, fact)?));
    typed.map_err(|source| LoadErrorKind::Tensor { place: "the value".into(), source })
}

/// The value with the values of dictionaries in the type that `fact` states: those of test cases come from Python,
/// where every float is a float64.
fn with_value_type(value: Value, fact: &Fact) -> Result<Value, TensorError> {
    Ok(match (value, fact) {
        (Value::Map { keys, values }, Fact::Map { value: dtype, .. })
            if values.dtype() != *dtype && values.dtype().is_float() && dtype.is_float() =>
        {
            let values = Tensor::from_f64(*dtype, values.shape().clone(), &values.to_f64()?)?;
            Value::Map { keys, values }
        }
        (Value::Sequence(items), Fact::Sequence(item)) => Value::Sequence(
            items.into_iter().map(|value| with_value_type(value, item)).collect::<Result<_, _>>()?,
        ),
        (value, _) => value,
    })
}

/// The name that a stored tensor or sequence carries; empty where it carries none.
///
/// # Errors
/// The bytes are no such message.
pub fn name(bytes: impl Into<Bytes>, fact: &Fact) -> Result<String, LoadErrorKind> {
    let bytes = bytes.into();
    Ok(match fact {
        Fact::Tensor(_) | Fact::Unknown => message::<TensorProto>(bytes, "TensorProto")?.name().to_owned(),
        Fact::Sequence(_) => message::<SequenceProto>(bytes, "SequenceProto")?.name().to_owned(),
        Fact::Optional(_) => message::<OptionalProto>(bytes, "OptionalProto")?.name().to_owned(),
        Fact::Map { .. } => message::<MapProto>(bytes, "MapProto")?.name().to_owned(),
    })
}

/// The bytes of a value's message: `TensorProto` for a tensor, and so on.
///
/// # Errors
/// [`TensorError::OutOfMemory`].
pub fn encode(value: &Value, name: &str) -> Result<Vec<u8>, TensorError> {
    Ok(match value {
        Value::Tensor(tensor) => tensor::encode(tensor, name)?.encode_to_vec(),
        Value::Sequence(items) => sequence_proto(items, name)?.encode_to_vec(),
        Value::Optional(inner) => optional_proto(inner.as_deref(), name)?.encode_to_vec(),
        Value::Map { keys, values } => map_proto(keys, values, name)?.encode_to_vec(),
    })
}

fn message<M: Message + Default>(bytes: Bytes, message: &'static str) -> Result<M, LoadErrorKind> {
    M::decode(bytes).map_err(|error| LoadErrorKind::Protobuf { message, reason: error.to_string() })
}

fn tensor_value(proto: &TensorProto) -> Result<Value, TensorProtoError> {
    tensor::decode(proto, &mut ExternalFiles::default()).map(Value::Tensor)
}

fn sequence_value(proto: &SequenceProto) -> Result<Value, TensorProtoError> {
    let mut items = Vec::new();
    for tensor in &proto.tensor_values {
        items.push(tensor_value(tensor)?);
    }
    for sparse in &proto.sparse_tensor_values {
        items.push(Value::Tensor(tensor::decode_sparse(sparse, &mut ExternalFiles::default())?));
    }
    for sequence in &proto.sequence_values {
        items.push(sequence_value(sequence)?);
    }
    for map in &proto.map_values {
        items.push(map_value(map)?);
    }
    for optional in &proto.optional_values {
        items.push(optional_value(optional)?);
    }
    Ok(Value::Sequence(items))
}

fn optional_value(proto: &OptionalProto) -> Result<Value, TensorProtoError> {
    let inner = if let Some(tensor) = &proto.tensor_value {
        Some(tensor_value(tensor)?)
    } else if let Some(sparse) = &proto.sparse_tensor_value {
        Some(Value::Tensor(tensor::decode_sparse(sparse, &mut ExternalFiles::default())?))
    } else if let Some(sequence) = &proto.sequence_value {
        Some(sequence_value(sequence)?)
    } else if let Some(map) = &proto.map_value {
        Some(map_value(map)?)
    } else if let Some(optional) = &proto.optional_value {
        Some(optional_value(optional)?)
    } else {
        None
    };
    Ok(Value::Optional(inner.map(Box::new)))
}

fn map_value(proto: &MapProto) -> Result<Value, TensorProtoError> {
    let keys = if proto.key_type() == DType::String.onnx_code() {
        let text = |(i, bytes): (usize, &Bytes)| {
            String::from_utf8(bytes.to_vec()).map_err(|_| TensorProtoError::Utf8(i))
        };
        MapKeys::String(proto.string_keys.iter().enumerate().map(text).collect::<Result<_, _>>()?)
    } else {
        MapKeys::Int(proto.keys.clone())
    };
    let stored = proto.values.as_ref().map_or(&[][..], |values| &values.tensor_values);
    let values = stored
        .iter()
        .map(|value| tensor::decode(value, &mut ExternalFiles::default()))
        .collect::<Result<Vec<_>, _>>()?;
    // Either one tensor of all values, or one tensor of one element for each key.
    let values = match &values[..] {
        [all] if all.len() == keys.len() => all.reshape([keys.len()])?,
        _ => join(&values)?,
    };
    if values.len() != keys.len() {
        return Err(TensorProtoError::Length {
            dtype: values.dtype(),
            shape: [keys.len()].into(),
            field: "values",
            unit: "elements",
            expected: keys.len(),
            got: values.len(),
        });
    }
    Ok(Value::Map { keys, values })
}

/// One vector of the elements of `parts`; float32 where there are none.
fn join(parts: &[Tensor]) -> Result<Tensor, TensorProtoError> {
    let dtype = parts.first().map_or(DType::F32, Tensor::dtype);
    if let Some(other) = parts.iter().find(|part| part.dtype() != dtype) {
        return Err(TensorError::DType { expected: dtype.to_string(), got: other.dtype() }.into());
    }
    if dtype == DType::String {
        let mut strings = Vec::new();
        for part in parts {
            strings.extend_from_slice(part.as_strings()?);
        }
        return Ok(Tensor::from_strings([strings.len()], strings)?);
    }
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.bytes()).copied().collect();
    let elements = parts.iter().map(Tensor::len).sum::<usize>();
    Ok(Tensor::from_bytes(dtype, [elements], bytes)?)
}

fn sequence_proto(items: &[Value], name: &str) -> Result<SequenceProto, TensorError> {
    use sequence_proto::DataType as Kind;
    let mut proto = SequenceProto { name: Some(name.to_owned()), ..SequenceProto::default() };
    let mut kind = Kind::Undefined;
    for item in items {
        match item {
            Value::Tensor(tensor) => {
                kind = Kind::Tensor;
                proto.tensor_values.push(tensor::encode(tensor, "")?);
            }
            Value::Sequence(items) => {
                kind = Kind::Sequence;
                proto.sequence_values.push(sequence_proto(items, "")?);
            }
            Value::Optional(inner) => {
                kind = Kind::Optional;
                proto.optional_values.push(optional_proto(inner.as_deref(), "")?);
            }
            Value::Map { keys, values } => {
                kind = Kind::Map;
                proto.map_values.push(map_proto(keys, values, "")?);
            }
        }
    }
    proto.elem_type = Some(kind.into());
    Ok(proto)
}

fn optional_proto(inner: Option<&Value>, name: &str) -> Result<OptionalProto, TensorError> {
    use optional_proto::DataType as Kind;
    let mut proto = OptionalProto { name: Some(name.to_owned()), ..OptionalProto::default() };
    let kind = match inner {
        None => Kind::Undefined,
        Some(Value::Tensor(tensor)) => {
            proto.tensor_value = Some(tensor::encode(tensor, "")?);
            Kind::Tensor
        }
        Some(Value::Sequence(items)) => {
            proto.sequence_value = Some(sequence_proto(items, "")?);
            Kind::Sequence
        }
        Some(Value::Map { keys, values }) => {
            proto.map_value = Some(map_proto(keys, values, "")?);
            Kind::Map
        }
        Some(Value::Optional(inner)) => {
            proto.optional_value = Some(Box::new(optional_proto(inner.as_deref(), "")?));
            Kind::Optional
        }
    };
    proto.elem_type = Some(kind.into());
    Ok(proto)
}

fn map_proto(keys: &MapKeys, values: &Tensor, name: &str) -> Result<MapProto, TensorError> {
    let (numbers, strings) = match keys {
        MapKeys::Int(keys) => (keys.clone(), Vec::new()),
        MapKeys::String(keys) => (Vec::new(), keys.iter().map(|key| Bytes::from(key.clone())).collect()),
    };
    Ok(MapProto {
        name: Some(name.to_owned()),
        key_type: Some(keys.dtype().onnx_code()),
        keys: numbers,
        string_keys: strings,
        values: Some(sequence_proto(&[Value::Tensor(values.clone())], "")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_dictionaries_take_the_stated_type() {
        let map = Value::Map { keys: MapKeys::Int(vec![7]), values: Tensor::vector(vec![0.5f64]) };
        let bytes = encode(&Value::Sequence(vec![map]), "").unwrap();
        let read = |value: DType| {
            let fact = Fact::Sequence(Box::new(Fact::Map { key: DType::I64, value }));
            match decode(bytes.clone(), &fact).unwrap() {
                Value::Sequence(items) => match &items[0] {
                    Value::Map { values, .. } => values.clone(),
                    other => panic!("{}", other.describe()),
                },
                other => panic!("{}", other.describe()),
            }
        };
        assert_eq!(read(DType::F32), Tensor::vector(vec![0.5f32]));
        assert_eq!(read(DType::F64), Tensor::vector(vec![0.5f64]));
        // A stated type that is no float is a contradiction, which the comparison reports.
        assert_eq!(read(DType::I64).dtype(), DType::F64);
    }
}
