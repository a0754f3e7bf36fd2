//! The cache of keys and values: how its elements stand for numbers, and which keys it holds.

use inferrum_graph::{NodeDef, OpError};
use inferrum_tensor::{DType, F8E4M3Fn, Shape, Tensor, zeroed};

use crate::sdpa::Sdpa;

/// How the elements of a quantised cache stand for numbers: element times scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheQuantization {
    /// Bits of an element: 8 (int8 or float8e4m3fn), or 4 (two to a uint8, the first in the low half, each 8 more than it
    /// stands for).
    pub bits: u8,
    /// Whether each element of each head has its own scale `[1, N, 1, H]`; else there is one.
    pub per_channel: bool,
}

impl CacheQuantization {
    /// Of the attributes `k_quant_type` or `v_quant_type`, and `kv_cache_bit_width`.
    pub(super) fn parse(def: &mut NodeDef, name: &str) -> Result<Option<CacheQuantization>, OpError> {
        let per_channel = match def.string_or(name, "NONE")?.as_str() {
            "NONE" => return Ok(None),
            "PER_TENSOR" => false,
            "PER_CHANNEL" => true,
            other => return Err(OpError::attribute(name, "`NONE`, `PER_TENSOR` or `PER_CHANNEL`", other)),
        };
        match def.int_or("kv_cache_bit_width", 8)? {
            bits @ (4 | 8) => Ok(Some(CacheQuantization { bits: bits as u8, per_channel })),
            other => Err(OpError::attribute("kv_cache_bit_width", "4 or 8", other)),
        }
    }

    /// Checks the cache's type.
    pub(super) fn check(&self, index: usize, dtype: DType) -> Result<(), OpError> {
        let expected = if self.bits == 4 { &[DType::U8][..] } else { &[DType::I8, DType::F8E4M3Fn] };
        if expected.contains(&dtype) {
            return Ok(());
        }
        let names: Vec<&str> = expected.iter().map(|dtype| dtype.name()).collect();
        Err(OpError::dtype(index, names.join(" or "), dtype))
    }

    /// The element nearest to `x / scale`.
    fn code(&self, x: f64, scale: f64, dtype: DType) -> f64 {
        let scaled = if scale == 0.0 { 0.0 } else { x / scale };
        match (self.bits, dtype) {
            (4, _) => scaled.round_ties_even().clamp(-8.0, 7.0),
            (_, DType::F8E4M3Fn) => F8E4M3Fn::from_f64(scaled).to_f64(),
            _ => scaled.round_ties_even().clamp(-128.0, 127.0),
        }
    }
}

/// Keys or values of one call as the cache holds them, `[batch, kv_heads, len, head]`: numbers, or elements to be scaled.
pub(super) struct Cache<'a> {
    quantization: Option<CacheQuantization>,
    scales: Vec<f64>,
    past: Option<&'a Tensor>,
    dtype: DType,
    heads: usize,
    head: usize,
}

impl<'a> Cache<'a> {
    pub(super) fn new(
        sdpa: &Sdpa,
        quantization: Option<CacheQuantization>,
        scales: Option<&Tensor>,
        past: Option<&'a Tensor>,
        dtype: DType,
    ) -> Result<Cache<'a>, OpError> {
        let scales = scales.map(Tensor::to_f64).transpose()?.unwrap_or_default();
        let dtype = past.filter(|_| quantization.is_some()).map_or(dtype, Tensor::dtype);
        Ok(Cache { quantization, scales, past, dtype, heads: sdpa.kv_heads, head: sdpa.head })
    }

    /// The scale of element `place` of `[.., heads, len, head]`.
    fn scale(&self, place: usize, len: usize) -> f64 {
        let channel = place / (len * self.head) % self.heads * self.head + place % self.head;
        *self.scales.get(if self.scales.len() > 1 { channel } else { 0 }).unwrap_or(&1.0)
    }

    /// The cached elements, `[batch, heads, past, head]`.
    pub(super) fn past(&self) -> Result<Vec<f64>, OpError> {
        let Some(past) = self.past else { return Ok(Vec::new()) };
        let elements = past.to_f64()?;
        if self.quantization.is_none_or(|quantization| quantization.bits == 8) {
            return Ok(elements);
        }
        let mut codes: Vec<f64> = zeroed(elements.len().saturating_mul(2))?;
        for (pair, &byte) in codes.chunks_exact_mut(2).zip(&elements) {
            let byte = byte as u8;
            pair.copy_from_slice(&[f64::from(byte & 15) - 8.0, f64::from(byte >> 4) - 8.0]);
        }
        Ok(codes)
    }

    /// The elements that stand for new numbers `[batch, heads, len, head]`.
    pub(super) fn quantize(&self, numbers: &mut [f64], len: usize) {
        if let Some(quantization) = self.quantization {
            for (place, x) in numbers.iter_mut().enumerate() {
                *x = quantization.code(*x, self.scale(place, len), self.dtype);
            }
        }
    }

    /// The numbers that elements `[batch, heads, len, head]` stand for.
    pub(super) fn dequantize(&self, elements: &mut [f64], len: usize) {
        if self.quantization.is_some() {
            elements.iter_mut().enumerate().for_each(|(place, x)| *x *= self.scale(place, len));
        }
    }

    /// The cache as a tensor, of elements `[batch, heads, len, head]`.
    pub(super) fn tensor(&self, elements: &[f64], [batch, len]: [usize; 2]) -> Result<Tensor, OpError> {
        if self.quantization.is_none_or(|quantization| quantization.bits == 8) {
            return Ok(Tensor::from_f64(self.dtype, [batch, self.heads, len, self.head], elements)?);
        }
        let byte = |pair: &[f64]| (pair[0] as i8 + 8) as u8 | (((pair[1] as i8 + 8) as u8) << 4);
        let bytes: Vec<u8> = elements.chunks_exact(2).map(byte).collect();
        Ok(Tensor::from_vec([batch, self.heads, len, self.head / 2], bytes)?)
    }
}

/// The keys of one batch entry in one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lengths {
    /// How many there are after the call, evicted ones included.
    pub(super) keys: usize,
    /// How many there were before.
    pub(super) past: usize,
    /// How many of those the cache still holds.
    pub(super) held: usize,
    /// How many the cache holds after the call.
    pub(super) kept: usize,
}

/// How many of `keys` keys a cache of `capacity` places still holds when it evicts what lies outside a window.
///
/// It evicts as many at a time as keeps the window whole, so what it holds depends on `keys` alone.
pub(super) fn held_in_window(keys: usize, capacity: usize, window: usize) -> usize {
    let at_a_time = capacity.saturating_sub(window) + 1;
    keys - at_a_time * keys.saturating_sub(capacity).div_ceil(at_a_time)
}

/// For each batch entry and head the held rows of `past`, then all rows of `new`; `[batch, heads, len, head]` with zeros
/// where there are fewer than `len`.
pub(super) fn attended(
    sdpa: &Sdpa,
    lengths: &[Lengths],
    (past, past_len): (&[f64], usize),
    new: &[f64],
) -> Result<Vec<f64>, OpError> {
    let Sdpa { batch, kv_heads, q_len, kv_len, head, .. } = *sdpa;
    let mut all: Vec<f64> = zeroed(Shape::from([batch, kv_heads, kv_len, head]).elements())?;
    if all.is_empty() {
        return Ok(all);
    }
    for (row, all) in all.chunks_exact_mut(kv_len * head).enumerate() {
        let held = lengths[row / kv_heads].held * head;
        all[..held].copy_from_slice(&past[row * past_len * head..][..held]);
        all[held..][..q_len * head].copy_from_slice(&new[row * q_len * head..][..q_len * head]);
    }
    Ok(all)
}

/// Of the rows that [`attended`] gave, those that are kept, in a cache of `capacity` places; the rest is zero.
pub(super) fn kept(
    sdpa: &Sdpa,
    lengths: &[Lengths],
    all: &[f64],
    capacity: usize,
) -> Result<Vec<f64>, OpError> {
    let Sdpa { batch, kv_heads, q_len, kv_len, head, .. } = *sdpa;
    let mut cache: Vec<f64> = zeroed(Shape::from([batch, kv_heads, capacity, head]).elements())?;
    if cache.is_empty() || kv_len == 0 {
        return Ok(cache);
    }
    for (row, cache) in cache.chunks_exact_mut(capacity * head).enumerate() {
        let Lengths { held, kept, .. } = lengths[row / kv_heads];
        let last = held + q_len;
        let rows = &all[(row * kv_len + last - kept) * head..][..kept * head];
        cache[..rows.len()].copy_from_slice(rows);
    }
    Ok(cache)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eviction_keeps_the_window_whole() {
        for (capacity, window) in [(4, 4), (6, 4), (9, 1)] {
            for keys in 0..40 {
                let held = held_in_window(keys, capacity, window);
                assert!(held >= keys.min(window) && held <= keys.min(capacity), "{capacity} {window} {keys}");
            }
        }
        assert_eq!([4, 6, 7, 9, 10].map(|keys| held_in_window(keys, 6, 4)), [4, 6, 4, 6, 4]);
    }
}
