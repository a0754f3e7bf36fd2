//! `ArgMax`, `ArgMin` along any axis.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::arg_max::ArgReduce;
use inferrum_tensor::DType;

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::simd::{self, Isa, Kernel, Simd};

/// `outer` times `extent` rows of `inner` elements; the best of each column of `extent`.
struct Best<T> {
    extent: usize,
    inner: usize,
    greatest: bool,
    last: bool,
    isa: Isa,
    of: std::marker::PhantomData<fn(T)>,
}

/// Columns that are searched together.
const COLUMNS: usize = 64;
const TASK: usize = 1 << 14;

pub(crate) fn lower(op: &ArgReduce, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (_, extent, inner) = shape.split_at_axis(axis);
    if extent == 0 || i32::try_from(extent).is_err() {
        return Err(Decline(format!("an axis of {extent}")));
    }
    macro_rules! best {
        ($T:ty) => {
            Best::<$T> {
                extent,
                inner,
                greatest: op.greatest,
                last: op.select_last_index,
                isa: lowering.isa,
                of: std::marker::PhantomData,
            }
        };
    }
    Ok(match lowering.dtype(0)? {
        DType::F32 if inner == 1 && !op.select_last_index => Lowered::new("arg max rows", Rows(best!(f32))),
        DType::F32 => Lowered::new("arg max columns", Columns(best!(f32))),
        DType::F64 => Lowered::new("arg max", best!(f64)),
        DType::I64 => Lowered::new("arg max", best!(i64)),
        DType::I32 => Lowered::new("arg max", best!(i32)),
        DType::U8 => Lowered::new("arg max", best!(u8)),
        DType::I8 => Lowered::new("arg max", best!(i8)),
        dtype => return Err(Decline(format!("{dtype}"))),
    })
}

impl<T> Best<T> {
    fn buffers<'a>(&self, io: &mut Io<'a>) -> Result<(&'a [T], &'a mut [i64]), OpError>
    where
        T: bytemuck::Pod,
    {
        let misfit = || OpError::Invalid("a buffer does not fit its shape".into());
        let x = io.view(0).ok_or(OpError::MissingInput { index: 0 })?.bytes;
        let x: &[T] = bytemuck::try_cast_slice(x).map_err(|_| misfit())?;
        let y = io.output::<i64>(0)?;
        if x.len() == y.len() * self.extent { Ok((x, y)) } else { Err(misfit()) }
    }

    /// Whether `new`, which stands behind `best`, takes its place. NaN wins over all numbers.
    #[inline(always)]
    fn wins(&self, new: T, best: T) -> bool
    where
        T: PartialOrd + Copy,
    {
        #[allow(clippy::eq_op, reason = "only NaN differs from itself")]
        let (new_is_nan, best_is_nan) = (new != new, best != best);
        let better = if self.greatest { new > best } else { new < best };
        let equal = new == best || (new_is_nan && best_is_nan);
        better || (new_is_nan && !best_is_nan) || (self.last && equal)
    }
}

impl<T: bytemuck::Pod + PartialOrd + Send + Sync> NodeKernel for Best<T> {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let (x, y) = self.buffers(&mut io)?;
        if y.is_empty() {
            return Ok(());
        }
        let columns = COLUMNS.min(self.inner);
        let blocks = self.inner.div_ceil(columns);
        let rows = (TASK / (self.extent * self.inner)).max(1);
        io.threads.par_chunks_mut(y, rows * self.inner, |index, y| {
            for (i, y) in y.chunks_exact_mut(self.inner).enumerate() {
                let x = &x[(index * rows + i) * self.extent * self.inner..][..self.extent * self.inner];
                for block in 0..blocks {
                    let start = block * columns;
                    self.columns(x, start, &mut y[start..self.inner.min(start + columns)]);
                }
            }
        });
        Ok(())
    }
}

impl<T: bytemuck::Pod + PartialOrd> Best<T> {
    /// Searches the columns from `start` on, as many as `y` is long.
    fn columns(&self, x: &[T], start: usize, y: &mut [i64]) {
        let n = y.len();
        let mut best = [T::zeroed(); COLUMNS];
        best[..n].copy_from_slice(&x[start..start + n]);
        y.fill(0);
        for row in 1..self.extent {
            let x = &x[row * self.inner + start..][..n];
            for ((y, best), &new) in y.iter_mut().zip(&mut best[..n]).zip(x) {
                if self.wins(new, *best) {
                    (*best, *y) = (new, row as i64);
                }
            }
        }
    }
}

/// The first best of rows of f32.
struct Rows(Best<f32>);

impl NodeKernel for Rows {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let (x, y) = self.0.buffers(&mut io)?;
        let rows = (TASK / self.0.extent).max(1);
        io.threads.par_chunks_mut(y, rows, |index, y| {
            for (i, y) in y.iter_mut().enumerate() {
                let row = &x[(index * rows + i) * self.0.extent..][..self.0.extent];
                let best = self.0.isa.dispatch(Extreme { row, greatest: self.0.greatest });
                let is_best = |&x: &f32| x == best || (best.is_nan() && x.is_nan());
                *y = row.iter().position(is_best).unwrap_or(0) as i64;
            }
        });
        Ok(())
    }
}

/// The best of columns of f32.
struct Columns(Best<f32>);

/// Columns that are searched together by vectors.
const TOGETHER: usize = 256;

impl NodeKernel for Columns {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let (x, y) = self.0.buffers(&mut io)?;
        if y.is_empty() {
            return Ok(());
        }
        let (inner, columns) = (self.0.inner, TOGETHER.min(self.0.inner));
        let blocks = inner.div_ceil(columns);
        let (tasks, y) = (y.len() / inner * blocks, crate::threads::Shared(y.as_mut_ptr()));
        let group = (TASK / (self.0.extent * columns)).max(1);
        io.threads.par_for(tasks.div_ceil(group), |index| {
            for task in index * group..tasks.min((index + 1) * group) {
                let (row, start) = (task / blocks, task % blocks * columns);
                let n = columns.min(inner - start);
                // SAFETY: within the output, as `row * inner + start + n` is at most its length; each task has its own.
                let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(row * inner + start), n) };
                let x = &x[row * self.0.extent * inner + start..];
                self.0.isa.dispatch(Block { of: &self.0, x, y });
            }
        });
        Ok(())
    }
}

/// Neighbouring columns, of which the first begins with the first element of `x`.
struct Block<'a> {
    of: &'a Best<f32>,
    x: &'a [f32],
    y: &'a mut [i64],
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Block { of, x, y } = self;
        let (mut best, mut index) = ([0f32; TOGETHER], [0i32; TOGETHER]);
        let n = y.len();
        best[..n].copy_from_slice(&x[..n]);
        for row in 1..of.extent {
            let x = &x[row * of.inner..][..n];
            let row = s.splat_i32(row as i32);
            for start in (0..n).step_by(S::LANES) {
                let new = s.load_partial(&x[start..n.min(start + S::LANES)]);
                let old = s.load(&best[start..]);
                let better = if of.greatest { s.gt(new, old) } else { s.lt(new, old) };
                let equal = if of.last {
                    s.or(s.eq(new, old), s.is_nan(new))
                } else {
                    s.and(s.is_nan(new), s.not(s.is_nan(old)))
                };
                let wins = s.or(better, equal);
                s.store(&mut best[start..], s.select(wins, new, old));
                let place = s.load_i32(&index[start..]);
                s.store_i32(&mut index[start..], s.select_i32(wins, row, place));
            }
        }
        y.iter_mut().zip(&index).for_each(|(y, &index)| *y = i64::from(index));
    }
}

/// The greatest or least element of a row, NaN if there is one.
struct Extreme<'a> {
    row: &'a [f32],
    greatest: bool,
}

impl Kernel for Extreme<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let found = if self.greatest {
            simd::fold(
                s,
                self.row,
                f32::NEG_INFINITY,
                #[inline(always)]
                |a, b| s.select(s.is_nan(a), a, s.max(a, b)),
            )
        } else {
            simd::fold(
                s,
                self.row,
                f32::INFINITY,
                #[inline(always)]
                |a, b| s.select(s.is_nan(a), a, s.min(a, b)),
            )
        };
        if s.any(s.is_nan(found)) {
            f32::NAN
        } else if self.greatest {
            s.max_lane(found)
        } else {
            s.min_lane(found)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random_of};
    use inferrum_tensor::Tensor;

    #[test]
    fn every_type_along_every_axis() {
        for dtype in [DType::F32, DType::F64, DType::I64, DType::I32, DType::U8, DType::I8] {
            for (shape, axis) in [
                (&[17][..], 0),
                (&[5, 1], 1),
                (&[3, 500], -1),
                (&[7, 90], 0),
                (&[2, 5, 200], 1),
                (&[1, 40000], 1),
                (&[0, 3], 1),
            ] {
                for greatest in [true, false] {
                    for select_last_index in [true, false] {
                        for keep_dims in [true, false] {
                            let op = ArgReduce { greatest, axis, keep_dims, select_last_index };
                            agree(op, &[random_of(dtype, shape, 4)], Tolerance::EXACT);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn nan_and_equals() {
        for values in [
            vec![1.0, f32::NAN, 3.0, f32::NAN],
            vec![f32::NEG_INFINITY; 3],
            vec![0.0, -0.0, 0.0],
            vec![f32::INFINITY, f32::NAN],
        ] {
            for greatest in [true, false] {
                for select_last_index in [true, false] {
                    for (shape, axis) in [([1, values.len()], 1), ([values.len(), 1], 0)] {
                        let op = ArgReduce { greatest, axis, keep_dims: true, select_last_index };
                        agree(op, &[Tensor::from_vec(shape, values.clone()).unwrap()], Tolerance::EXACT);
                    }
                }
            }
        }
    }
}
