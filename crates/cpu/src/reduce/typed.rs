//! Reductions of other types, element by element.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::reduce::Reduction;
use inferrum_tensor::{DType, Element};

use super::Geometry;
use crate::kernel::{Io, Lowered, NodeKernel};
use crate::strided::Cursor;

struct Reduced<T> {
    geometry: Geometry,
    start: T,
    join: fn(T, T) -> T,
    finish: fn(T, usize) -> T,
}

const TASK: usize = 1 << 14;

pub(super) fn lower(reduction: Reduction, geometry: Geometry, dtype: DType) -> Result<Lowered, Decline> {
    macro_rules! integer {
        ($T:ty) => {{
            // The sum of a mean may not fit the type.
            let (start, join): ($T, fn($T, $T) -> $T) = match reduction {
                Reduction::Max => (<$T>::MIN, Ord::max),
                Reduction::Min => (<$T>::MAX, Ord::min),
                Reduction::Sum => (0, <$T>::wrapping_add),
                Reduction::Prod => (1, <$T>::wrapping_mul),
                _ => return Err(Decline(format!("{reduction:?} of {dtype}"))),
            };
            Reduced { geometry, start, join, finish: |total, _| total }.lowered()
        }};
    }
    Ok(match dtype {
        DType::F64 => {
            let (start, join): (f64, fn(f64, f64) -> f64) = match reduction {
                Reduction::Max => (f64::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b }),
                Reduction::Min => (f64::INFINITY, |a, b| if a.is_nan() || a < b { a } else { b }),
                Reduction::Sum | Reduction::Mean => (0.0, |a, b| a + b),
                Reduction::Prod => (1.0, |a, b| a * b),
                _ => return Err(Decline(format!("{reduction:?} of {dtype}"))),
            };
            let finish: fn(f64, usize) -> f64 = match reduction {
                Reduction::Mean => |total, count| total / count as f64,
                _ => |total, _| total,
            };
            Reduced { geometry, start, join, finish }.lowered()
        }
        DType::I64 if reduction == Reduction::Mean => means::<i64>(geometry),
        DType::I32 if reduction == Reduction::Mean => means::<i32>(geometry),
        DType::I64 => integer!(i64),
        DType::I32 => integer!(i32),
        DType::U8 => integer!(u8),
        DType::I8 => integer!(i8),
        DType::Bool => match reduction {
            Reduction::Max => {
                Reduced { geometry, start: 0u8, join: |a, b| a | b, finish: |total, _| total }.lowered()
            }
            Reduction::Min => {
                Reduced { geometry, start: 1u8, join: |a, b| a & b, finish: |total, _| total }.lowered()
            }
            _ => return Err(Decline(format!("{reduction:?} of bool"))),
        },
        _ => return Err(Decline(format!("{reduction:?} of {dtype}"))),
    })
}

impl<T: bytemuck::Pod + Send + Sync> Reduced<T> {
    fn lowered(self) -> Lowered {
        Lowered::new("reduce typed", self)
    }
}

impl<T: bytemuck::Pod + Send + Sync> NodeKernel for Reduced<T> {
    fn run(&self, io: Io<'_>) -> Result<(), OpError> {
        run(&self.geometry, io, self.start, self.join, self.finish)
    }
}

/// Truncated means of integers, whose sums are wide.
struct Means<T> {
    geometry: Geometry,
    of: std::marker::PhantomData<T>,
}

fn means<T: Element + bytemuck::Pod + Into<i64>>(geometry: Geometry) -> Lowered
where
    Means<T>: NodeKernel,
{
    Lowered::new("reduce typed", Means::<T> { geometry, of: std::marker::PhantomData })
}

impl NodeKernel for Means<i64> {
    fn run(&self, io: Io<'_>) -> Result<(), OpError> {
        let mean = |total: i128, count: usize| (total / count as i128) as i64;
        run(&self.geometry, io, 0i128, |total, x: i64| total + i128::from(x), mean)
    }
}

impl NodeKernel for Means<i32> {
    fn run(&self, io: Io<'_>) -> Result<(), OpError> {
        let mean = |total: i128, count: usize| (total / count as i128) as i32;
        run(&self.geometry, io, 0i128, |total, x: i32| total + i128::from(x), mean)
    }
}

fn run<T: bytemuck::Pod + Send + Sync, A: Copy + Send + Sync>(
    geometry: &Geometry,
    mut io: Io<'_>,
    start: A,
    join: impl Fn(A, T) -> A + Sync,
    finish: impl Fn(A, usize) -> T + Sync,
) -> Result<(), OpError> {
    let misfit = || OpError::Invalid("a buffer does not fit its shape".into());
    let x = io.view(0).ok_or(OpError::MissingInput { index: 0 })?.bytes;
    let x: &[T] = bytemuck::try_cast_slice(x).map_err(|_| misfit())?;
    let y: &mut [T] = bytemuck::try_cast_slice_mut(io.output_bytes(0)?).map_err(|_| misfit())?;
    let Geometry { kept, reduced, reduces_last, last } = geometry;
    if x.len() != geometry.outputs() * geometry.count() || y.len() != geometry.outputs() {
        return Err(misfit());
    }
    let outputs = (TASK / geometry.count()).max(1);
    io.threads.par_chunks_mut(y, outputs, |index, y| {
        for (i, y) in y.iter_mut().enumerate() {
            let output = index * outputs + i;
            let (row, column) = if *reduces_last { (output, 0) } else { (output / last, output % last) };
            let base = Cursor::new(kept, row).offset(0) as usize + column;
            let mut cursor = Cursor::new(reduced, 0);
            let mut total = start;
            for _ in 0..reduced.elements() {
                let start = base + cursor.offset(0) as usize;
                let run = if *reduces_last { *last } else { 1 };
                total = x[start..start + run].iter().fold(total, |total, &x| join(total, x));
                cursor.advance(1);
            }
            *y = finish(total, geometry.count());
        }
    });
    Ok(())
}
