//! Element types that programs read and write, each through f32.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use inferrum_tensor::DType;

/// How elements lie in memory. Truth values are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    F32,
    F16,
    BF16,
    Bool,
}

impl Format {
    /// The format of an element type, if programs take it.
    pub(super) fn of(dtype: DType) -> Option<Format> {
        match dtype {
            DType::F32 => Some(Format::F32),
            DType::F16 => Some(Format::F16),
            DType::BF16 => Some(Format::BF16),
            DType::Bool => Some(Format::Bool),
            _ => None,
        }
    }

    /// Bytes of an element.
    pub(super) fn size(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::BF16 => 2,
            Format::Bool => 1,
        }
    }

    /// Element `index` of `source`.
    ///
    /// # Safety
    /// `source` is aligned for the format and readable there.
    #[inline]
    pub(super) unsafe fn read(self, source: *const u8, index: usize) -> f32 {
        // SAFETY: the caller vouches for the element.
        unsafe {
            match self {
                Format::F32 => *source.cast::<f32>().add(index),
                Format::F16 => (*source.cast::<f16>().add(index)).to_f32(),
                Format::BF16 => (*source.cast::<bf16>().add(index)).to_f32(),
                Format::Bool => f32::from(*source.add(index) != 0),
            }
        }
    }

    /// Widens elements `index..index + out.len()` of `source`.
    ///
    /// # Safety
    /// `source` is aligned for the format and readable there; `out` does not overlap it.
    pub(super) unsafe fn widen(self, source: *const u8, index: usize, out: &mut [f32]) {
        let n = out.len();
        // SAFETY: the caller vouches for the elements.
        unsafe {
            match self {
                Format::F32 => {
                    out.copy_from_slice(std::slice::from_raw_parts(source.cast::<f32>().add(index), n))
                }
                Format::F16 => {
                    std::slice::from_raw_parts(source.cast::<f16>().add(index), n).convert_to_f32_slice(out)
                }
                Format::BF16 => {
                    let bits = std::slice::from_raw_parts(source.cast::<u16>().add(index), n);
                    out.iter_mut()
                        .zip(bits)
                        .for_each(|(out, &bits)| *out = f32::from_bits(u32::from(bits) << 16));
                }
                Format::Bool => {
                    let bytes = std::slice::from_raw_parts(source.add(index), n);
                    out.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = f32::from(u8::from(byte != 0)));
                }
            }
        }
    }

    /// Rounds `values` to elements `index..index + values.len()` of `target`.
    ///
    /// # Safety
    /// `target` is aligned for the format and writable there; `values` does not overlap it.
    pub(super) unsafe fn narrow(self, values: &[f32], target: *mut u8, index: usize) {
        let n = values.len();
        // SAFETY: the caller vouches for the elements.
        unsafe {
            match self {
                Format::F32 => {
                    std::slice::from_raw_parts_mut(target.cast::<f32>().add(index), n).copy_from_slice(values)
                }
                Format::F16 => {
                    std::slice::from_raw_parts_mut(target.cast::<f16>().add(index), n)
                        .convert_from_f32_slice(values);
                }
                Format::BF16 => {
                    let out = std::slice::from_raw_parts_mut(target.cast::<u16>().add(index), n);
                    out.iter_mut().zip(values).for_each(|(out, &value)| *out = bf16_bits(value));
                }
                Format::Bool => {
                    let out = std::slice::from_raw_parts_mut(target.add(index), n);
                    out.iter_mut().zip(values).for_each(|(out, &value)| *out = u8::from(value != 0.0));
                }
            }
        }
    }
}

/// The bits of the nearest bfloat16, ties to even; without a branch, so that the compiler makes vectors of it.
#[inline]
pub(crate) fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    (if value.is_nan() { quiet } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bfloat16_rounds_as_the_half_crate() {
        for high in 0..=u16::MAX {
            for low in [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF] {
                let value = f32::from_bits(u32::from(high) << 16 | low);
                assert_eq!(bf16_bits(value), bf16::from_f32(value).to_bits(), "{value:e}");
            }
        }
    }
}
