//! `QuantizeLinear`, `DequantizeLinear`, `DynamicQuantizeLinear` between f32 and integers of 8 and 16 bits (32 to
//! dequantise).

mod blocks;

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::{OpError, Operator};
use inferrum_ops::dynamic_quantize::DynamicQuantizeLinear;
use inferrum_ops::quantize::{DequantizeLinear, Granularity, QuantizeLinear};
use inferrum_tensor::{DType, Shape};

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::simd::{self, Isa, Kernel, Simd};
use crate::threads::Threads;

/// Rows of `inner` elements that share a scale; the scales start over after `scales` rows.
#[derive(Clone, Copy)]
struct Rows {
    scales: usize,
    inner: usize,
    elements: usize,
}

/// Integers as they lie in memory.
#[derive(Clone, Copy, PartialEq)]
enum Integer {
    U8,
    I8,
    U16,
    I16,
    I32,
}

impl Integer {
    /// Bytes of an element.
    fn size(self) -> usize {
        match self {
            Integer::U8 | Integer::I8 => 1,
            Integer::U16 | Integer::I16 => 2,
            Integer::I32 => 4,
        }
    }

    /// The least and the greatest.
    fn bounds(self) -> (f32, f32) {
        match self {
            Integer::U8 => (0.0, 255.0),
            Integer::I8 => (-128.0, 127.0),
            Integer::U16 => (0.0, 65535.0),
            Integer::I16 => (-32768.0, 32767.0),
            Integer::I32 => (i32::MIN as f32, i32::MAX as f32),
        }
    }

    /// Element `index` of `bytes`; 0 behind the end.
    fn read(self, bytes: &[u8], index: usize) -> i32 {
        let pair = || bytes.as_chunks::<2>().0.get(index).copied().unwrap_or_default();
        match self {
            Integer::U8 => i32::from(bytes.get(index).copied().unwrap_or(0)),
            Integer::I8 => i32::from(bytes.get(index).copied().unwrap_or(0) as i8),
            Integer::U16 => i32::from(u16::from_ne_bytes(pair())),
            Integer::I16 => i32::from(i16::from_ne_bytes(pair())),
            Integer::I32 => bytes.as_chunks::<4>().0.get(index).map_or(0, |bytes| i32::from_ne_bytes(*bytes)),
        }
    }
}

const TASK: usize = 1 << 14;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    if any.is::<DynamicQuantizeLinear>() {
        return Ok(Lowered::new("dynamic quantize", Dynamic { isa: lowering.isa }));
    }
    if let Some(op) = any.downcast_ref::<QuantizeLinear>() {
        let precision = op.precision(lowering.dtype(0)?, lowering.dtype(1)?);
        let integer = integer(lowering.output_dtype(0)?)?;
        if lowering.dtype(0)? != DType::F32 || lowering.dtype(1)? != DType::F32 || precision != DType::F32 {
            return Err(Decline("another type than f32".into()));
        }
        if integer == Integer::I32 {
            return Err(Decline("to int32".into()));
        }
        if let Some(blocks) = blocks::of(op.axis, op.block_size, lowering)? {
            return Ok(blocks::quantize(blocks, integer, lowering.isa));
        }
        let rows = rows(op.axis, op.block_size, lowering)?;
        return Ok(Lowered::new("quantize", Quantize { rows, integer, isa: lowering.isa }));
    }
    if let Some(op) = any.downcast_ref::<DequantizeLinear>() {
        let integer = integer(lowering.dtype(0)?)?;
        if lowering.dtype(1)? != DType::F32 || lowering.output_dtype(0)? != DType::F32 {
            return Err(Decline("another type than f32".into()));
        }
        if let Some(blocks) = blocks::of(op.axis, op.block_size, lowering)? {
            return Ok(blocks::dequantize(blocks, integer, lowering.isa));
        }
        let rows = rows(op.axis, op.block_size, lowering)?;
        return Ok(Lowered::new("dequantize", Dequantize { rows, integer, isa: lowering.isa }));
    }
    Err(Decline("another operator".into()))
}

fn integer(dtype: DType) -> Result<Integer, Decline> {
    match dtype {
        DType::U8 => Ok(Integer::U8),
        DType::I8 => Ok(Integer::I8),
        DType::U16 => Ok(Integer::U16),
        DType::I16 => Ok(Integer::I16),
        DType::I32 => Ok(Integer::I32),
        dtype => Err(Decline(format!("{dtype}"))),
    }
}

fn rows(axis: i64, block_size: usize, lowering: &Lowering<'_>) -> Result<Rows, Decline> {
    let (data, scale): (Shape, Shape) = (lowering.shape(0)?, lowering.shape(1)?);
    let granularity =
        Granularity::of(axis, block_size, &data, &scale).map_err(|error| Decline(error.to_string()))?;
    let elements = data.elements();
    match granularity {
        Granularity::Tensor => Ok(Rows { scales: 1, inner: elements, elements }),
        Granularity::Axis(axis) => {
            let (_, extent, inner) = data.split_at_axis(axis);
            Ok(Rows { scales: extent, inner, elements })
        }
        Granularity::Blocks { .. } => Err(Decline("scales by block".into())),
    }
}

impl Rows {
    /// Calls `f(element, length, scale)` for each part of a row, in tasks.
    fn each(&self, threads: &Threads, f: impl Fn(usize, usize, usize) + Sync) {
        if self.elements == 0 {
            return;
        }
        threads.par_for(self.elements.div_ceil(TASK), |index| {
            let (mut at, end) = (index * TASK, self.elements.min((index + 1) * TASK));
            while at < end {
                let row = at / self.inner;
                let length = ((row + 1) * self.inner).min(end) - at;
                f(at, length, row % self.scales);
                at += length;
            }
        });
    }
}

/// Scales and zero points of a run, of which there must be `count`.
fn parameters<'a>(
    io: &Io<'a>,
    count: usize,
    integer: Integer,
) -> Result<(&'a [f32], Option<&'a [u8]>), OpError> {
    let (scale, zero) = (io.input::<f32>(1)?, io.view(2));
    if scale.len() < count || zero.is_some_and(|zero| zero.bytes.len() < count * integer.size()) {
        return Err(OpError::Invalid("a buffer does not fit its shape".into()));
    }
    Ok((scale, zero.map(|zero| zero.bytes)))
}

/// Zero point `index`.
fn zero_point(zero: Option<&[u8]>, integer: Integer, index: usize) -> i32 {
    zero.map_or(0, |zero| integer.read(zero, index))
}

struct Quantize {
    rows: Rows,
    integer: Integer,
    isa: Isa,
}

impl NodeKernel for Quantize {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let x: &[f32] = io.input(0)?;
        let (scale, zero) = parameters(&io, self.rows.scales, self.integer)?;
        let y = io.output_bytes(0)?;
        let size = self.integer.size();
        if x.len() != self.rows.elements || y.len() != x.len() * size {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        let target = crate::threads::Shared(y.as_mut_ptr());
        self.rows.each(io.threads, |at, length, index| {
            // SAFETY: the parts lie within the output and do not overlap.
            let y = unsafe { std::slice::from_raw_parts_mut(target.get().add(at * size), length * size) };
            let zero = zero_point(zero, self.integer, index) as f32;
            let row =
                QuantizeRow { x: &x[at..at + length], y, scale: scale[index], zero, integer: self.integer };
            self.isa.dispatch(row);
        });
        Ok(())
    }
}

/// `saturate(round(x / scale) + zero)`.
struct QuantizeRow<'a> {
    x: &'a [f32],
    y: &'a mut [u8],
    scale: f32,
    zero: f32,
    integer: Integer,
}

impl Kernel for QuantizeRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (low, high) = self.integer.bounds();
        if self.integer.size() == 2 {
            // In vectors too: the compiler makes them of this loop.
            for (&x, y) in self.x.iter().zip(self.y.as_chunks_mut::<2>().0) {
                let steps = (x / self.scale).round_ties_even() + self.zero;
                // NaN becomes 0; the lower 16 bits are those of either type.
                let bounded = if steps.is_nan() { 0.0 } else { steps.max(low).min(high) };
                *y = (bounded as i32 as u16).to_ne_bytes();
            }
            return;
        }
        let (scale, zero) = (s.splat(self.scale), s.splat(self.zero));
        for (x, y) in self.x.chunks(S::LANES).zip(self.y.chunks_mut(S::LANES)) {
            let x = if x.len() == S::LANES { s.load(x) } else { s.load_partial(x) };
            let steps = s.add(s.round_ties_even(s.div(x, scale)), zero);
            let bounded = s.min(s.splat(high), s.max(s.splat(low), steps));
            // NaN has become 0.
            let known = s.select(s.is_nan(steps), s.zero(), bounded);
            s.store_bytes(y, s.to_i32_trunc(known));
        }
    }
}

struct Dequantize {
    rows: Rows,
    integer: Integer,
    isa: Isa,
}

impl NodeKernel for Dequantize {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let x = io.view(0).ok_or(OpError::MissingInput { index: 0 })?.bytes;
        let (scale, zero) = parameters(&io, self.rows.scales, self.integer)?;
        let y: &mut [f32] = io.output(0)?;
        let size = self.integer.size();
        if y.len() != self.rows.elements || x.len() != y.len() * size {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        let target = crate::threads::Shared(y.as_mut_ptr());
        self.rows.each(io.threads, |at, length, index| {
            // SAFETY: the parts lie within the output and do not overlap.
            let y = unsafe { std::slice::from_raw_parts_mut(target.get().add(at), length) };
            let x = &x[at * size..(at + length) * size];
            let zero = zero_point(zero, self.integer, index);
            self.isa.dispatch(DequantizeRow { x, y, scale: scale[index], zero, integer: self.integer });
        });
        Ok(())
    }
}

/// `(x - zero) scale`.
struct DequantizeRow<'a> {
    x: &'a [u8],
    y: &'a mut [f32],
    scale: f32,
    zero: i32,
    integer: Integer,
}

impl Kernel for DequantizeRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let DequantizeRow { x, y, scale, zero, integer } = self;
        if integer == Integer::I32 {
            // The difference may take 33 bits.
            for (&x, y) in x.as_chunks::<4>().0.iter().zip(y) {
                let steps = i64::from(i32::from_ne_bytes(x)) - i64::from(zero);
                *y = (steps as f64 * f64::from(scale)) as f32;
            }
            return;
        }
        if integer.size() == 2 {
            for (&x, y) in x.as_chunks::<2>().0.iter().zip(y) {
                let bits = u16::from_ne_bytes(x);
                let x = if integer == Integer::U16 { i32::from(bits) } else { i32::from(bits as i16) };
                *y = (x - zero) as f32 * scale;
            }
            return;
        }
        let (scale, zero) = (s.splat(scale), s.splat_i32(zero));
        for (x, y) in x.chunks(S::LANES).zip(y.chunks_mut(S::LANES)) {
            let x = if integer == Integer::U8 { s.load_u8(x) } else { s.load_i8(x) };
            let value = s.mul(s.to_f32(s.sub_i32(x, zero)), scale);
            if y.len() == S::LANES { s.store(y, value) } else { s.store_partial(y, value) }
        }
    }
}

struct Dynamic {
    isa: Isa,
}

/// Parts of which least and greatest are found at once.
const PARTS: usize = 64;

impl NodeKernel for Dynamic {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let x: &[f32] = io.input(0)?;
        let part = x.len().div_ceil(PARTS).max(TASK);
        let mut ranges = [(0f32, 0f32); PARTS];
        let count = x.len().div_ceil(part);
        io.threads.par_chunks_mut(&mut ranges[..count], 1, |index, range| {
            range[0] = self.isa.dispatch(Range(&x[index * part..x.len().min((index + 1) * part)]));
        });
        let (least, greatest) =
            ranges.iter().fold((0f32, 0f32), |(least, greatest), &(a, b)| (least.min(a), greatest.max(b)));
        let (scale, zero) = DynamicQuantizeLinear::parameters(least, greatest);
        if let Some([out]) = io.optional_output::<f32>(1)? {
            *out = scale;
        }
        if let Some([out]) = io.optional_output::<u8>(2)? {
            *out = zero;
        }
        let Some(y) = io.optional_output::<u8>(0)? else { return Ok(()) };
        if y.len() != x.len() {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        io.threads.par_chunks_mut(y, TASK, |index, y| {
            let x = &x[index * TASK..][..y.len()];
            self.isa.dispatch(QuantizeRow { x, y, scale, zero: f32::from(zero), integer: Integer::U8 });
        });
        Ok(())
    }
}

/// The least and the greatest element, and 0; NaN is passed over.
struct Range<'a>(&'a [f32]);

impl Kernel for Range<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f32) {
        // What stands second is kept where the first is NaN.
        let least = simd::fold(
            s,
            self.0,
            0.0,
            #[inline(always)]
            |a, b| s.min(b, a),
        );
        let greatest = simd::fold(
            s,
            self.0,
            0.0,
            #[inline(always)]
            |a, b| s.max(b, a),
        );
        (s.min_lane(least), s.max_lane(greatest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, agree_with, random, random_of};
    use inferrum_tensor::Tensor;

    fn quantize(axis: i64) -> QuantizeLinear {
        QuantizeLinear { axis, block_size: 0, output_dtype: None, precision: None, saturate: true }
    }

    fn scales(count: usize) -> Tensor {
        Tensor::vector((0..count).map(|i| 0.01 + 0.003 * i as f32).collect())
    }

    #[test]
    fn one_scale_for_all_and_one_for_each() {
        for dtype in [DType::U8, DType::I8, DType::U16, DType::I16] {
            for shape in [&[17][..], &[3, 5, 40], &[2, 7, 9, 11], &[0, 3], &[200, 300]] {
                let x = random(shape, 1);
                let zero = random_of(dtype, &[], 2);
                for zero in [Some(zero), None] {
                    if zero.is_none() && dtype != DType::U8 {
                        continue;
                    }
                    let inputs = [
                        Some((x.clone(), false)),
                        Some((Tensor::scalar(0.02f32), false)),
                        zero.map(|zero| (zero, true)),
                    ];
                    agree_with(quantize(1), &inputs, 1, Tolerance::EXACT);
                }
                for axis in (0..shape.len() as i64).filter(|_| shape.len() > 1) {
                    let count = shape[axis as usize];
                    let zero = random_of(dtype, &[count], 4);
                    agree(quantize(axis), &[x.clone(), scales(count), zero.clone()], Tolerance::EXACT);
                    let op = DequantizeLinear { axis, block_size: 0, output_dtype: None };
                    let q = random_of(dtype, shape, 5);
                    agree(op, &[q, scales(count), zero], Tolerance { relative: 1e-7, absolute: 0.0 });
                }
            }
        }
    }

    #[test]
    fn ends_of_the_range() {
        let x = Tensor::vector(vec![
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            1e30,
            -1e30,
            2.5,
            3.5,
            -0.5,
            127.5,
        ]);
        for dtype in [DType::U8, DType::I8, DType::U16, DType::I16] {
            let zero = Tensor::from_f64(dtype, [], &[3.0]).unwrap();
            agree(quantize(1), &[x.clone(), Tensor::scalar(1f32), zero], Tolerance::EXACT);
        }
    }

    #[test]
    fn int32_is_dequantized() {
        let x = Tensor::vector(vec![i32::MIN, i32::MAX, 0, 16_777_217, -5]);
        let op = DequantizeLinear { axis: 0, block_size: 0, output_dtype: None };
        agree(op, &[x.clone(), Tensor::scalar(0.5f32)], Tolerance { relative: 1e-7, absolute: 0.0 });
        let zero = Tensor::scalar(7i32);
        agree(op, &[x, Tensor::scalar(0.5f32), zero], Tolerance { relative: 1e-7, absolute: 0.0 });
    }

    #[test]
    fn dynamic_scales() {
        for length in [1, 3, 17, 1000, 100_000] {
            let inputs = [Some((random(&[length], 3), false))];
            agree_with(DynamicQuantizeLinear, &inputs, 3, Tolerance::EXACT);
        }
        for values in [vec![0f32; 5], vec![1.0, 2.0], vec![-4.0, -1.0], vec![f32::NAN, 1.0, -1.0]] {
            let inputs = [Some((Tensor::vector(values), false))];
            agree_with(DynamicQuantizeLinear, &inputs, 3, Tolerance::EXACT);
        }
    }

    #[test]
    fn a_scale_for_each_block() {
        for dtype in [DType::U8, DType::I8, DType::I16, DType::U16] {
            for (shape, axis, block_size) in [
                (&[3usize, 40][..], 1i64, 16),
                (&[3, 5, 7], 1, 2),
                (&[64, 17], 0, 32),
                (&[2, 3, 100], -1, 32),
                (&[0, 4], 1, 2),
            ] {
                let op = QuantizeLinear { block_size, ..quantize(axis) };
                let at = if axis < 0 { shape.len() - 1 } else { axis as usize };
                let mut blocks = shape.to_vec();
                blocks[at] = blocks[at].div_ceil(block_size);
                let count: usize = blocks.iter().product();
                let scale = scales(count).reshape(&blocks[..]).unwrap();
                let zero = random_of(dtype, &blocks, 4);
                agree(op, &[random(shape, 1), scale.clone(), zero.clone()], Tolerance::EXACT);
                let op = DequantizeLinear { axis, block_size, output_dtype: None };
                let exact = Tolerance { relative: 1e-7, absolute: 0.0 };
                agree(op, &[random_of(dtype, shape, 5), scale.clone(), zero], exact);
                agree(op, &[random_of(DType::I32, shape, 5), scale], exact);
            }
        }
    }
}
