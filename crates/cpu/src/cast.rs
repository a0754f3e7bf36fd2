//! `Cast`, `CastLike`, `BitCast` between numbers, half floats and truth values.

use std::any::Any;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use inferrum_backend::Decline;
use inferrum_graph::{OpError, Operator};
use inferrum_ops::cast::BitCast;
use inferrum_tensor::{DType, Real};

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};

/// Converts elements.
struct Converted {
    convert: Convert,
    from: usize,
    to: usize,
}

type Convert = fn(&[u8], &mut [u8]);

/// Elements that a thread converts at once.
const TASK: usize = 1 << 15;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (from, to) = (lowering.dtype(0)?, lowering.output_dtype(0)?);
    let convert = if from == to {
        return Ok(Lowered::view("view").packed(&[1]));
    } else if (op as &dyn Any).is::<BitCast>() {
        if from.size() != to.size() {
            return Err(Decline(format!("{from} and {to} differ in size")));
        }
        |x: &[u8], y: &mut [u8]| y.copy_from_slice(x)
    } else {
        convert(from, to).ok_or_else(|| Decline(format!("from {from} to {to}")))?
    };
    Ok(Lowered::new("cast", Converted { convert, from: from.size(), to: to.size() }).packed(&[1]))
}

impl NodeKernel for Converted {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let x = io.view(0).ok_or(OpError::MissingInput { index: 0 })?.bytes;
        let y = io.output_bytes(0)?;
        if x.len() / self.from != y.len() / self.to {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        io.threads.par_chunks_mut(y, TASK * self.to, |index, y| {
            let elements = y.len() / self.to;
            (self.convert)(&x[index * TASK * self.from..][..elements * self.from], y);
        });
        Ok(())
    }
}

/// Converts each element by `f`. Buffers are aligned, so nothing is left over.
#[inline(always)]
fn each<T: bytemuck::Pod, U: bytemuck::Pod>(x: &[u8], y: &mut [u8], f: impl Fn(T) -> U) {
    let (Ok(x), Ok(y)) = (bytemuck::try_cast_slice::<u8, T>(x), bytemuck::try_cast_slice_mut::<u8, U>(y))
    else {
        debug_assert!(false, "buffers are aligned");
        return;
    };
    x.iter().zip(y).for_each(|(&x, y)| *y = f(x));
}

/// To a narrow integer: truncated, and then the lowest bits. What does not fit 64 bits is taken as their end.
#[inline(always)]
fn low_bits(x: f64) -> u64 {
    const ENDS: [f64; 2] = [9_223_372_036_854_775_808.0, 18_446_744_073_709_551_616.0];
    // The end of the unsigned ones is a power of two, of which all low bits are 0.
    if x < ENDS[0] || x.is_nan() {
        x as i64 as u64
    } else if x < ENDS[1] {
        x as u64
    } else {
        0
    }
}

/// From an integer, which `as` wraps or rounds as `Cast` does.
macro_rules! from_integer {
    ($T:ty, $to:expr) => {
        match $to {
            DType::F32 => Some(|x, y| each(x, y, |x: $T| x as f32)),
            DType::F64 => Some(|x, y| each(x, y, |x: $T| x as f64)),
            DType::I8 => Some(|x, y| each(x, y, |x: $T| x as i8)),
            DType::U8 => Some(|x, y| each(x, y, |x: $T| x as u8)),
            DType::I16 => Some(|x, y| each(x, y, |x: $T| x as i16)),
            DType::U16 => Some(|x, y| each(x, y, |x: $T| x as u16)),
            DType::I32 => Some(|x, y| each(x, y, |x: $T| x as i32)),
            DType::U32 => Some(|x, y| each(x, y, |x: $T| x as u32)),
            DType::I64 => Some(|x, y| each(x, y, |x: $T| x as i64)),
            DType::U64 => Some(|x, y| each(x, y, |x: $T| x as u64)),
            DType::Bool => Some(|x, y| each(x, y, |x: $T| u8::from(x != 0))),
            DType::F16 => Some(|x, y| each(x, y, |x: $T| <f16 as Real>::from_f64(x as f64))),
            DType::BF16 => Some(|x, y| each(x, y, |x: $T| <bf16 as Real>::from_f64(x as f64))),
            _ => None,
        }
    };
}

/// From a float, of which `$wide` gives an f32 or f64.
macro_rules! from_float {
    ($T:ty, $wide:expr, $to:expr) => {
        match $to {
            DType::F32 => Some(|x, y| each(x, y, |x: $T| $wide(x) as f32)),
            DType::F64 => Some(|x, y| each(x, y, |x: $T| $wide(x) as f64)),
            DType::I8 => Some(|x, y| each(x, y, |x: $T| low_bits($wide(x) as f64) as i8)),
            DType::U8 => Some(|x, y| each(x, y, |x: $T| low_bits($wide(x) as f64) as u8)),
            DType::I16 => Some(|x, y| each(x, y, |x: $T| low_bits($wide(x) as f64) as i16)),
            DType::U16 => Some(|x, y| each(x, y, |x: $T| low_bits($wide(x) as f64) as u16)),
            DType::I32 => Some(|x, y| each(x, y, |x: $T| $wide(x) as i32)),
            DType::U32 => Some(|x, y| each(x, y, |x: $T| low_bits($wide(x) as f64) as u32)),
            DType::I64 => Some(|x, y| each(x, y, |x: $T| $wide(x) as i64)),
            DType::U64 => Some(|x, y| each(x, y, |x: $T| low_bits($wide(x) as f64))),
            DType::Bool => Some(|x, y| each(x, y, |x: $T| u8::from($wide(x) != 0.0))),
            DType::F16 => Some(|x, y| each(x, y, |x: $T| <f16 as Real>::from_f64($wide(x) as f64))),
            DType::BF16 => Some(|x, y| each(x, y, |x: $T| <bf16 as Real>::from_f64($wide(x) as f64))),
            _ => None,
        }
    };
}

fn convert(from: DType, to: DType) -> Option<Convert> {
    match (from, to) {
        (DType::F16, DType::F32) => Some(halves::<f16>),
        (DType::BF16, DType::F32) => Some(|x, y| each(x, y, |x: u16| f32::from_bits(u32::from(x) << 16))),
        (DType::F32, DType::F16) => Some(to_halves),
        (DType::F32, DType::BF16) => Some(|x, y| each(x, y, crate::elementwise::bf16_bits)),
        (DType::F32, _) => from_float!(f32, |x: f32| x, to),
        (DType::F64, _) => from_float!(f64, |x: f64| x, to),
        (DType::F16, _) => from_float!(f16, f16::to_f32, to),
        (DType::BF16, _) => from_float!(bf16, bf16::to_f32, to),
        (DType::I8, _) => from_integer!(i8, to),
        // A truth value is a byte of 0 or 1.
        (DType::U8 | DType::Bool, _) => from_integer!(u8, to),
        (DType::I16, _) => from_integer!(i16, to),
        (DType::U16, _) => from_integer!(u16, to),
        (DType::I32, _) => from_integer!(i32, to),
        (DType::U32, _) => from_integer!(u32, to),
        (DType::I64, _) => from_integer!(i64, to),
        (DType::U64, _) => from_integer!(u64, to),
        _ => None,
    }
}

/// By the processor's own instructions, where it has them.
fn halves<T: bytemuck::Pod>(x: &[u8], y: &mut [u8])
where
    [T]: HalfFloatSliceExt,
{
    if let (Ok(x), Ok(y)) = (bytemuck::try_cast_slice::<u8, T>(x), bytemuck::try_cast_slice_mut(y)) {
        x.convert_to_f32_slice(y);
    }
}

fn to_halves(x: &[u8], y: &mut [u8]) {
    if let (Ok(x), Ok(y)) = (bytemuck::try_cast_slice(x), bytemuck::try_cast_slice_mut::<u8, f16>(y)) {
        y.convert_from_f32_slice(x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree};
    use inferrum_ops::cast::{Cast, Conversion};
    use inferrum_tensor::{Shape, Tensor};

    const TYPES: [DType; 13] = [
        DType::F32,
        DType::F64,
        DType::F16,
        DType::BF16,
        DType::I8,
        DType::U8,
        DType::I16,
        DType::U16,
        DType::I32,
        DType::U32,
        DType::I64,
        DType::U64,
        DType::Bool,
    ];

    #[test]
    fn every_pair_of_types() {
        let values = [
            0.0, -0.0, 1.0, -1.0, 0.5, -0.7, 1.5, 127.9, 200.0, -129.0, 300.25, 65504.0, 70000.0, -40000.0,
            3e9, -3e9,
        ];
        let more =
            [1e10, 1e19, -1e19, 1e30, 2049.0, 1.0009765625, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let values: Vec<f64> = values.into_iter().chain(more).cycle().take(100).collect();
        for from in TYPES {
            let x = Tensor::from_f64(from, [4, 25], &values).unwrap();
            for to in TYPES {
                agree(
                    Cast { to, conversion: Conversion::default() },
                    std::slice::from_ref(&x),
                    Tolerance::EXACT,
                );
            }
        }
    }

    #[test]
    fn sizes_and_bits() {
        for length in [0, 1, 3, 17, 40000] {
            let x = crate::testing::random(&[length], 1);
            for to in [DType::F16, DType::I64, DType::U8] {
                agree(
                    Cast { to, conversion: Conversion::default() },
                    std::slice::from_ref(&x),
                    Tolerance::EXACT,
                );
            }
            agree(BitCast { to: DType::I32 }, std::slice::from_ref(&x), Tolerance::EXACT);
        }
        assert!(convert(DType::F32, DType::F8E5M2).is_none());
        assert_eq!(Shape::from([4, 25]).elements(), 100);
    }
}
