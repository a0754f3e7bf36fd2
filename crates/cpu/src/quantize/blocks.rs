//! Quantising with a scale for each block of an axis.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::quantize::Granularity;

use super::{DequantizeRow, Integer, QuantizeRow, TASK, parameters, zero_point};
use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::simd::Isa;
use crate::threads::{Shared, Threads};

/// Data `[outer, extent, inner]` with scales `[outer, ceil(extent / size), inner]`.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    extent: usize,
    size: usize,
    inner: usize,
    elements: usize,
}

/// The blocks of a node, if it has a scale for each.
pub(super) fn of(axis: i64, block_size: usize, lowering: &Lowering<'_>) -> Result<Option<Blocks>, Decline> {
    let (data, scale) = (lowering.shape(0)?, lowering.shape(1)?);
    let granularity = Granularity::of(axis, block_size, &data, &scale);
    match granularity.map_err(|error| Decline(error.to_string()))? {
        Granularity::Blocks { axis, size } => {
            let (_, extent, inner) = data.split_at_axis(axis);
            Ok(Some(Blocks { extent, size, inner, elements: data.elements() }))
        }
        Granularity::Tensor | Granularity::Axis(_) => Ok(None),
    }
}

pub(super) fn quantize(blocks: Blocks, integer: Integer, isa: Isa) -> Lowered {
    Lowered::new("quantize blocks", Quantize { blocks, integer, isa })
}

pub(super) fn dequantize(blocks: Blocks, integer: Integer, isa: Isa) -> Lowered {
    Lowered::new("dequantize blocks", Dequantize { blocks, integer, isa })
}

impl Blocks {
    /// Number of scales.
    fn scales(&self) -> usize {
        let row = (self.extent * self.inner).max(1);
        self.elements / row * self.extent.div_ceil(self.size) * self.inner
    }

    /// Calls `f(element, length, scale, step)` for runs of elements; the first has scale number `scale`, each next one the
    /// scale `step` after.
    fn each(&self, threads: &Threads, f: impl Fn(usize, usize, usize, usize) + Sync) {
        let row = self.extent * self.inner;
        if self.elements == 0 || row == 0 {
            return;
        }
        let (outer, per_row) = (self.elements / row, self.extent.div_ceil(self.size));
        let rows = (TASK / row).max(1);
        threads.par_for(outer.div_ceil(rows), |index| {
            for outer in index * rows..outer.min((index + 1) * rows) {
                for block in 0..per_row {
                    let first = (outer * per_row + block) * self.inner;
                    let along = block * self.size..self.extent.min((block + 1) * self.size);
                    let at = outer * row + along.start * self.inner;
                    if self.inner == 1 {
                        f(at, along.len(), first, 0);
                    } else {
                        (0..along.len()).for_each(|i| f(at + i * self.inner, self.inner, first, 1));
                    }
                }
            }
        });
    }
}

struct Quantize {
    blocks: Blocks,
    integer: Integer,
    isa: Isa,
}

impl NodeKernel for Quantize {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let (x, size): (&[f32], usize) = (io.input(0)?, self.integer.size());
        let (scale, zero) = parameters(&io, self.blocks.scales(), self.integer)?;
        let y = io.output_bytes(0)?;
        if x.len() != self.blocks.elements || y.len() != x.len() * size {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        let target = Shared(y.as_mut_ptr());
        self.blocks.each(io.threads, |at, length, first, step| {
            // SAFETY: the runs lie within the output and do not overlap.
            let y = unsafe { std::slice::from_raw_parts_mut(target.get().add(at * size), length * size) };
            let run = |x, y, index| {
                let zero = zero_point(zero, self.integer, index) as f32;
                self.isa.dispatch(QuantizeRow { x, y, scale: scale[index], zero, integer: self.integer });
            };
            if step == 0 {
                return run(&x[at..at + length], y, first);
            }
            for (i, y) in y.chunks_exact_mut(size).enumerate() {
                run(&x[at + i..=at + i], y, first + i);
            }
        });
        Ok(())
    }
}

struct Dequantize {
    blocks: Blocks,
    integer: Integer,
    isa: Isa,
}

impl NodeKernel for Dequantize {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let x = io.view(0).ok_or(OpError::MissingInput { index: 0 })?.bytes;
        let (scale, zero) = parameters(&io, self.blocks.scales(), self.integer)?;
        let y: &mut [f32] = io.output(0)?;
        let (integer, size) = (self.integer, self.integer.size());
        if y.len() != self.blocks.elements || x.len() != y.len() * size {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        let target = Shared(y.as_mut_ptr());
        self.blocks.each(io.threads, |at, length, first, step| {
            // SAFETY: the runs lie within the output and do not overlap.
            let y = unsafe { std::slice::from_raw_parts_mut(target.get().add(at), length) };
            if step == 0 {
                let (x, zero) = (&x[at * size..(at + length) * size], zero_point(zero, integer, first));
                return self.isa.dispatch(DequantizeRow { x, y, scale: scale[first], zero, integer });
            }
            for (i, y) in y.iter_mut().enumerate() {
                let steps =
                    i64::from(integer.read(x, at + i)) - i64::from(zero_point(zero, integer, first + i));
                *y = (steps as f64 * f64::from(scale[first + i])) as f32;
            }
        });
        Ok(())
    }
}
