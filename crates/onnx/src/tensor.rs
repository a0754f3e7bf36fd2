//! `TensorProto` and `SparseTensorProto` to tensors, from each of ONNX's storage forms
//! (<https://onnx.ai/onnx/api/classes.html#tensorproto>). `raw_data` and external data are shared, not copied, unless
//! elements are narrower than a byte.

use std::sync::Arc;

use bytes::Bytes;
use inferrum_tensor::{DType, Element, I2, I4, Pages, Shape, Tensor, TensorError, U2, U4, bf16, f16, zeroed};

use crate::error::TensorProtoError;
use crate::external::ExternalFiles;
use crate::proto::tensor_proto::DataLocation;
use crate::proto::{SparseTensorProto, TensorProto};

#[cfg(target_endian = "big")]
compile_error!(
    "ONNX keeps tensors little-endian, and they are used in place: big-endian machines need a conversion here"
);

/// Greatest size in bytes to which a sparse tensor is expanded: its extents alone do not show that it is meant.
const MAX_EXPANDED_BYTES: usize = 1 << 32;

/// The tensor of a message.
///
/// # Errors
/// [`TensorProtoError`].
pub(crate) fn decode(proto: &TensorProto, external: &mut ExternalFiles) -> Result<Tensor, TensorProtoError> {
    let code = proto.data_type.unwrap_or_default();
    let dtype = DType::from_onnx_code(code).ok_or(TensorProtoError::DataType(code))?;
    let shape = shape(&proto.dims)?;
    if proto.data_location == Some(i32::from(DataLocation::External)) {
        let file = external.read(&proto.external_data, file_bytes(dtype, &shape))?;
        let tensor = from_raw(dtype, shape, file.bytes, "external_data")?;
        return Ok(in_pages(tensor, file.pages));
    }
    match &proto.raw_data {
        // Some writers leave an empty `raw_data` beside the field that holds the elements.
        Some(raw) if !raw.is_empty() || !has_typed_data(proto) => {
            Ok(in_pages(from_raw(dtype, shape, raw.clone(), "raw_data")?, external.model.clone()))
        }
        _ => from_fields(dtype, shape, proto),
    }
}

/// A tensor of bytes in `pages`, if those are known.
fn in_pages(tensor: Tensor, pages: Option<Arc<dyn Pages>>) -> Tensor {
    match pages {
        Some(pages) => tensor.with_pages(pages),
        None => tensor,
    }
}

/// The dense form of a sparse tensor: zeros where no value stands.
///
/// # Errors
/// [`TensorProtoError`].
pub(crate) fn decode_sparse(
    proto: &SparseTensorProto,
    external: &mut ExternalFiles,
) -> Result<Tensor, TensorProtoError> {
    let sparse = |reason: String| TensorProtoError::Sparse(reason);
    let (Some(values), Some(indices)) = (&proto.values, &proto.indices) else {
        return Err(sparse("`values` and `indices` must both be there".into()));
    };
    let (values, indices) = (decode(values, external)?, decode(indices, external)?);
    let shape = shape(&proto.dims)?;
    if values.shape().rank() != 1 {
        return Err(sparse(format!("`values` must have shape [NNZ], got [{}]", values.shape())));
    }
    let places = linear_indices(&indices, &shape, values.len())?;
    if values.dtype() == DType::String {
        return expand_strings(&values, &places, shape);
    }
    let size = values.dtype().size();
    let bytes = shape.elements().saturating_mul(size);
    if bytes > MAX_EXPANDED_BYTES {
        return Err(sparse(format!(
            "{bytes} bytes when expanded, more than the {MAX_EXPANDED_BYTES} accepted"
        )));
    }
    let mut dense: Vec<u8> = zeroed(bytes)?;
    for (place, value) in places.into_iter().zip(values.bytes().chunks_exact(size)) {
        let start = place.saturating_mul(size);
        if let Some(slot) = dense.get_mut(start..start.saturating_add(size)) {
            slot.copy_from_slice(value);
        }
    }
    Ok(Tensor::from_bytes(values.dtype(), shape, dense)?)
}

fn expand_strings(values: &Tensor, places: &[usize], shape: Shape) -> Result<Tensor, TensorProtoError> {
    if shape.elements().saturating_mul(size_of::<String>()) > MAX_EXPANDED_BYTES {
        return Err(TensorProtoError::Sparse("too many strings when expanded".into()));
    }
    let mut dense = Tensor::zeros(DType::String, shape.clone())?.as_strings()?.to_vec();
    for (&place, value) in places.iter().zip(values.as_strings()?) {
        if let Some(slot) = dense.get_mut(place) {
            slot.clone_from(value);
        }
    }
    Ok(Tensor::from_strings(shape, dense)?)
}

/// Places in the dense tensor, from indices `[NNZ]` (linear) or `[NNZ, rank]`.
fn linear_indices(indices: &Tensor, shape: &Shape, count: usize) -> Result<Vec<usize>, TensorProtoError> {
    let numbers = indices.as_slice::<i64>()?;
    let extents: Vec<usize> = match indices.shape().dims() {
        [n] if *n == count => vec![shape.elements()],
        [n, rank] if *n == count && *rank == shape.rank() => shape.to_vec(),
        _ => {
            return Err(TensorProtoError::Sparse(format!(
                "`indices` must have shape [{count}] or [{count}, {}], got [{}]",
                shape.rank(),
                indices.shape()
            )));
        }
    };
    if extents.is_empty() {
        return Ok(vec![0; count]);
    }
    let place = |row: &[i64]| {
        row.iter().zip(&extents).try_fold(0usize, |place, (&index, &extent)| {
            let index = usize::try_from(index).ok().filter(|index| *index < extent)?;
            place.checked_mul(extent)?.checked_add(index)
        })
    };
    numbers
        .chunks_exact(extents.len())
        .map(|row| {
            place(row)
                .ok_or_else(|| TensorProtoError::Sparse(format!("index {row:?} is outside of shape {shape}")))
        })
        .collect()
}

/// A message's extents as a shape.
fn shape(dims: &[i64]) -> Result<Shape, TensorProtoError> {
    dims.iter().map(|&dim| usize::try_from(dim).map_err(|_| TensorProtoError::Extent(dim))).collect()
}

/// Bytes that a tensor takes in a file, or `None` for strings; saturates.
fn file_bytes(dtype: DType, shape: &Shape) -> Option<usize> {
    match dtype {
        DType::String => None,
        _ if dtype.file_bits() < 8 => Some(shape.elements().div_ceil(8 / dtype.file_bits())),
        _ => Some(shape.elements().saturating_mul(dtype.size())),
    }
}

fn has_typed_data(proto: &TensorProto) -> bool {
    !(proto.float_data.is_empty()
        && proto.int32_data.is_empty()
        && proto.int64_data.is_empty()
        && proto.uint64_data.is_empty()
        && proto.double_data.is_empty()
        && proto.string_data.is_empty())
}

/// A tensor from bytes as they stand in a file.
fn from_raw(dtype: DType, shape: Shape, raw: Bytes, field: &'static str) -> Result<Tensor, TensorProtoError> {
    let Some(expected) = file_bytes(dtype, &shape) else {
        let got = dtype;
        return Err(TensorError::DType { expected: format!("a type that `{field}` can hold"), got }.into());
    };
    if raw.len() != expected {
        let got = raw.len();
        return Err(TensorProtoError::Length { dtype, shape, field, unit: "bytes", expected, got });
    }
    if dtype.file_bits() < 8 {
        return unpack(dtype, shape, &raw);
    }
    Ok(Tensor::from_bytes(dtype, shape, raw)?)
}

/// Elements of 4 or 2 bits, the first in the lowest bits, to one byte each. `packed` holds them all.
fn unpack(dtype: DType, shape: Shape, packed: &[u8]) -> Result<Tensor, TensorProtoError> {
    let bits = dtype.file_bits();
    let per_byte = 8 / bits;
    let mut bytes: Vec<u8> = zeroed(shape.elements())?;
    for (group, &byte) in bytes.chunks_mut(per_byte).zip(packed) {
        for (i, element) in group.iter_mut().enumerate() {
            let code = (byte >> (i * bits)) & (0xFF >> (8 - bits));
            *element = match dtype {
                DType::I4 => I4::wrap(code.into()).get().cast_unsigned(),
                DType::I2 => I2::wrap(code.into()).get().cast_unsigned(),
                DType::U4 => U4::wrap(code.into()).get(),
                DType::U2 => U2::wrap(code.into()).get(),
                _ => code,
            };
        }
    }
    Ok(Tensor::from_bytes(dtype, shape, bytes)?)
}

/// A tensor from the typed fields of a message.
fn from_fields(dtype: DType, shape: Shape, proto: &TensorProto) -> Result<Tensor, TensorProtoError> {
    use DType::*;
    match dtype {
        F32 => whole(shape, "float_data", proto.float_data.clone()),
        Complex64 => complex(shape, "float_data", &proto.float_data),
        F64 => whole(shape, "double_data", proto.double_data.clone()),
        Complex128 => complex(shape, "double_data", &proto.double_data),
        I64 => whole(shape, "int64_data", proto.int64_data.clone()),
        U64 => whole(shape, "uint64_data", proto.uint64_data.clone()),
        U32 => {
            let fit = |&value: &u64| {
                u32::try_from(value).map_err(|_| TensorProtoError::Range {
                    value: i64::try_from(value).unwrap_or(i64::MAX),
                    field: "uint64_data",
                    dtype,
                })
            };
            whole(shape, "uint64_data", proto.uint64_data.iter().map(fit).collect::<Result<Vec<u32>, _>>()?)
        }
        I32 => whole(shape, "int32_data", proto.int32_data.clone()),
        I16 => whole(shape, "int32_data", narrow(dtype, &proto.int32_data, |v| i16::try_from(v).ok())?),
        U16 => whole(shape, "int32_data", narrow(dtype, &proto.int32_data, |v| u16::try_from(v).ok())?),
        F16 => {
            whole(shape, "int32_data", narrow(dtype, &proto.int32_data, |v| bits16(v).map(f16::from_bits))?)
        }
        BF16 => {
            whole(shape, "int32_data", narrow(dtype, &proto.int32_data, |v| bits16(v).map(bf16::from_bits))?)
        }
        Bool => whole(shape, "int32_data", proto.int32_data.iter().map(|&v| v != 0).collect::<Vec<bool>>()),
        I8 | U8 | F8E4M3Fn | F8E4M3Fnuz | F8E5M2 | F8E5M2Fnuz | F8E8M0 | U4 | I4 | F4E2M1 | U2 | I2 => {
            let bytes = narrow(dtype, &proto.int32_data, bits8)?;
            from_raw(dtype, shape, bytes.into(), "int32_data")
        }
        String => {
            let strings = proto.string_data.iter().enumerate().map(|(i, bytes)| {
                std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| TensorProtoError::Utf8(i))
            });
            let strings = strings.collect::<Result<Vec<_>, _>>()?;
            check_count(dtype, &shape, "string_data", strings.len())?;
            Ok(Tensor::from_strings(shape, strings)?)
        }
    }
}

fn whole<T: Element>(shape: Shape, field: &'static str, values: Vec<T>) -> Result<Tensor, TensorProtoError> {
    check_count(T::DTYPE, &shape, field, values.len())?;
    Ok(Tensor::from_vec(shape, values)?)
}

fn check_count(dtype: DType, shape: &Shape, field: &'static str, got: usize) -> Result<(), TensorProtoError> {
    let expected = shape.elements();
    if got == expected {
        return Ok(());
    }
    Err(TensorProtoError::Length { dtype, shape: shape.clone(), field, unit: "elements", expected, got })
}

/// Complex numbers: two numbers each, of which none may be over.
fn complex<T: Copy>(shape: Shape, field: &'static str, numbers: &[T]) -> Result<Tensor, TensorProtoError>
where
    [T; 2]: Element,
{
    let (pairs, rest) = numbers.as_chunks::<2>();
    if pairs.len() != shape.elements() || !rest.is_empty() {
        let (expected, got) = (shape.elements().saturating_mul(2), numbers.len());
        let dtype = <[T; 2]>::DTYPE;
        return Err(TensorProtoError::Length { dtype, shape, field, unit: "numbers", expected, got });
    }
    whole(shape, field, pairs.to_vec())
}

fn narrow<T>(dtype: DType, values: &[i32], f: impl Fn(i32) -> Option<T>) -> Result<Vec<T>, TensorProtoError> {
    let range = |value: i32| TensorProtoError::Range { value: value.into(), field: "int32_data", dtype };
    values.iter().map(|&value| f(value).ok_or_else(|| range(value))).collect()
}

/// The 16 bits that an `int32` stands for; some writers extend the sign.
fn bits16(value: i32) -> Option<u16> {
    u16::try_from(value).ok().or_else(|| i16::try_from(value).ok().map(i16::cast_unsigned))
}

/// The 8 bits that an `int32` stands for.
fn bits8(value: i32) -> Option<u8> {
    u8::try_from(value).ok().or_else(|| i8::try_from(value).ok().map(i8::cast_unsigned))
}

/// The message of a tensor; elements stand in `raw_data`, packed where they are narrower than a byte.
///
/// # Errors
/// [`TensorError::OutOfMemory`].
pub(crate) fn encode(tensor: &Tensor, name: &str) -> Result<TensorProto, TensorError> {
    let mut proto = TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(tensor.dtype().onnx_code()),
        dims: tensor.shape().iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect(),
        ..TensorProto::default()
    };
    if tensor.dtype() == DType::String {
        proto.string_data = tensor.as_strings()?.iter().map(|text| Bytes::from(text.clone())).collect();
    } else if tensor.dtype().file_bits() < 8 {
        proto.raw_data = Some(pack(tensor)?.into());
    } else {
        proto.raw_data = Some(Bytes::copy_from_slice(tensor.bytes()));
    }
    Ok(proto)
}

fn pack(tensor: &Tensor) -> Result<Vec<u8>, TensorError> {
    let bits = tensor.dtype().file_bits();
    let per_byte = 8 / bits;
    let mut packed: Vec<u8> = zeroed(tensor.len().div_ceil(per_byte))?;
    for (byte, group) in packed.iter_mut().zip(tensor.bytes().chunks(per_byte)) {
        for (i, element) in group.iter().enumerate() {
            *byte |= (element & (0xFF >> (8 - bits))) << (i * bits);
        }
    }
    Ok(packed)
}
