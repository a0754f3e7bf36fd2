//! How elements stand in a GPU's memory.
//!
//! WGSL has no types of less than 32 bits but for f16, which some adapters have; other narrow elements take a word each. 64-bit
//! integers keep their 8 bytes.

use inferrum_backend::Decline;
use inferrum_tensor::{AlignedBytes, DType, Shape, Tensor, TensorError};

/// How a type stands in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Storage {
    /// As on the host.
    Same,
    /// One `i32` each.
    Signed,
    /// One `u32` each; truth values are 0 and 1.
    Unsigned,
}

/// How a type stands in a GPU's memory, if it can.
pub(crate) fn storage(dtype: DType) -> Option<Storage> {
    Some(match dtype {
        DType::F16 | DType::F32 | DType::I32 | DType::U32 | DType::I64 | DType::U64 => Storage::Same,
        DType::I8 | DType::I16 => Storage::Signed,
        DType::Bool | DType::U8 | DType::U16 => Storage::Unsigned,
        _ => return None,
    })
}

/// The WGSL type of one element's words.
pub(crate) fn words(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F16 => "f16",
        DType::F32 => "f32",
        DType::I8 | DType::I16 | DType::I32 => "i32",
        DType::Bool | DType::U8 | DType::U16 | DType::U32 => "u32",
        DType::I64 | DType::U64 => "vec2<u32>",
        _ => return None,
    })
}

/// Bytes of one element in a GPU's memory; 0 for types that do not go there.
pub(crate) fn element_bytes(dtype: DType) -> usize {
    match storage(dtype) {
        Some(Storage::Same) => dtype.size(),
        Some(Storage::Signed | Storage::Unsigned) => 4,
        None => 0,
    }
}

/// The bytes of a tensor as they go to a GPU, or None if they are the host's.
///
/// # Errors
/// No memory.
pub(crate) fn widened(tensor: &Tensor) -> Result<Option<Vec<u32>>, TensorError> {
    let bytes = tensor.bytes();
    let half = |pair: &[u8]| u16::from_ne_bytes([pair[0], pair[1]]);
    Ok(match tensor.dtype() {
        DType::Bool | DType::U8 => Some(bytes.iter().map(|&x| u32::from(x)).collect()),
        DType::I8 => Some(bytes.iter().map(|&x| i32::from(x as i8) as u32).collect()),
        DType::U16 => Some(bytes.chunks_exact(2).map(|x| u32::from(half(x))).collect()),
        DType::I16 => Some(bytes.chunks_exact(2).map(|x| i32::from(half(x) as i16) as u32).collect()),
        _ => None,
    })
}

/// Bytes as little-endian words; the last one is padded.
pub(crate) fn bytes_as_words(bytes: &[u8]) -> Vec<u32> {
    let word = |chunk: &[u8]| {
        let mut four = [0; 4];
        four[..chunk.len()].copy_from_slice(chunk);
        u32::from_le_bytes(four)
    };
    bytes.chunks(4).map(word).collect()
}

/// Elements of a tensor of floats in another order, as they go to a GPU: at each of `count` places the element that `from` names,
/// or zero.
///
/// # Errors
/// The tensor is not of float16 or float32, or has no such element.
pub(crate) fn packed(
    tensor: &Tensor,
    count: usize,
    from: impl Fn(usize) -> Option<usize>,
) -> Result<Vec<u32>, Decline> {
    let refused = |error: TensorError| Decline(error.to_string());
    let missing = || Decline(format!("a constant of {} elements is packed as another", tensor.len()));
    if tensor.dtype() == DType::F16 {
        let elements = tensor.as_slice::<half::f16>().map_err(refused)?;
        let bits = |at: usize| match from(at).filter(|_| at < count) {
            None => Ok(0),
            Some(place) => elements.get(place).map(|x| u32::from(x.to_bits())).ok_or_else(missing),
        };
        return (0..count.div_ceil(2)).map(|word| Ok(bits(2 * word)? | bits(2 * word + 1)? << 16)).collect();
    }
    let elements = tensor.as_slice::<f32>().map_err(refused)?;
    let bits = |at: usize| match from(at) {
        None => Ok(0),
        Some(place) => elements.get(place).map(|x| x.to_bits()).ok_or_else(missing),
    };
    (0..count).map(bits).collect()
}

/// A tensor of the bytes that come from a GPU.
///
/// # Errors
/// No memory, or not as many bytes as the shape takes.
pub(crate) fn narrowed(dtype: DType, shape: &Shape, bytes: &[u8]) -> Result<Tensor, TensorError> {
    let words = bytes.chunks_exact(4).map(|x| u32::from_ne_bytes([x[0], x[1], x[2], x[3]]));
    let narrow = match dtype {
        DType::Bool => words.map(|x| u8::from(x != 0)).collect(),
        DType::U8 | DType::I8 => words.map(|x| x as u8).collect(),
        DType::U16 | DType::I16 => words.flat_map(|x| (x as u16).to_ne_bytes()).collect(),
        _ => return Tensor::from_aligned(dtype, shape.clone(), AlignedBytes::copy_of(bytes)?),
    };
    let narrow: Vec<u8> = narrow;
    Tensor::from_aligned(dtype, shape.clone(), AlignedBytes::copy_of(&narrow)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stored_type_comes_back() {
        for dtype in
            [DType::Bool, DType::U8, DType::I8, DType::U16, DType::I16, DType::F16, DType::F32, DType::I64]
        {
            let values: Vec<f64> = if dtype == DType::Bool {
                vec![0.0, 1.0, 1.0]
            } else if dtype.is_unsigned_integer() {
                vec![0.0, 1.0, 255.0]
            } else {
                vec![-128.0, -1.0, 127.0]
            };
            let tensor = Tensor::from_f64(dtype, [3], &values).unwrap();
            let wide = widened(&tensor).unwrap();
            let bytes = wide.as_deref().map_or(tensor.bytes(), |words| bytemuck::cast_slice(words));
            assert_eq!(bytes.len(), 3 * element_bytes(dtype), "{dtype}");
            assert_eq!(narrowed(dtype, tensor.shape(), bytes).unwrap(), tensor, "{dtype}");
        }
        assert_eq!(storage(DType::F64), None);
    }
}
