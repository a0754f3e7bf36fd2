//! `ScatterND`, `ScatterElements`: updates written, or combined, at places by index. In order, on one thread, so that places
//! named twice give what the operators say.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::{OpError, Operator};
use inferrum_ops::scatter_elements::{ScatterElements, ScatterReduction};
use inferrum_ops::scatter_nd::ScatterND;
use inferrum_tensor::DType;

use crate::index_tuples::Tuples;
use crate::indices::Indices;
use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::strided::{Cursor, Loops, dense_strides};

struct Scatter {
    places: Places,
    combine: Combine,
    data_bytes: usize,
    update_bytes: usize,
}

/// Where the updates go.
#[allow(clippy::large_enum_variant, reason = "there is one in a kernel")]
enum Places {
    /// Each update is a slice.
    Tuples(Tuples),
    /// Each update is an element; the loops, over the updates, give its place without the axis.
    Elements { loops: Loops, extent: usize, stride: usize, elements: usize },
}

/// What is done with the bytes of an update and those in its place.
type Combine = fn(&mut [u8], &[u8]);

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    let (data, indices, dtype) = (lowering.shape(0)?, lowering.shape(1)?, lowering.dtype(0)?);
    let (places, reduction, updates) = if let Some(op) = any.downcast_ref::<ScatterND>() {
        let tuples = Tuples::new(&data, &indices, 0)
            .ok_or_else(|| Decline("the indices do not fit the data".into()))?;
        let updates = tuples.count * tuples.run;
        (Places::Tuples(tuples), op.reduction, updates)
    } else if let Some(op) = any.downcast_ref::<ScatterElements>() {
        let axis = data.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
        let mut strides = dense_strides(&data);
        let stride = std::mem::replace(&mut strides[axis], 0) as usize;
        let loops = Loops::new(&indices, &[&strides])?;
        let elements = indices.elements();
        (Places::Elements { loops, extent: data[axis], stride, elements }, op.reduction, elements)
    } else {
        return Err(Decline("another operator".into()));
    };
    let combine = combine(reduction, dtype)?;
    let (data_bytes, update_bytes) = (data.elements() * dtype.size(), updates * dtype.size());
    Ok(Lowered::new("scatter", Scatter { places, combine, data_bytes, update_bytes }).in_place(&[0]))
}

impl NodeKernel for Scatter {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let indices = Indices::input(&io, 1)?;
        let (data, updates) = (io.view(0), io.view(2).ok_or(OpError::MissingInput { index: 2 })?.bytes);
        let output = io.output_bytes(0)?;
        let data_fits = data.is_none_or(|data| data.bytes.len() == output.len());
        if !data_fits || output.len() != self.data_bytes || updates.len() != self.update_bytes {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        if let Some(data) = data {
            output.copy_from_slice(data.bytes);
        }
        if updates.is_empty() {
            return Ok(());
        }
        match &self.places {
            Places::Tuples(tuples) => {
                tuples.check(1, indices)?;
                let run = updates.len() / tuples.count;
                for (tuple, update) in updates.chunks_exact(run).enumerate() {
                    let at = tuples.slice(indices, tuple) * run;
                    (self.combine)(&mut output[at..at + run], update);
                }
            }
            Places::Elements { loops, extent, stride, elements } => {
                indices.check(1, *extent)?;
                let size = updates.len() / elements;
                let mut cursor = Cursor::new(loops, 0);
                for (i, update) in updates.chunks_exact(size).enumerate() {
                    let place = cursor.offset(0) as usize + indices.position(i, *extent) * stride;
                    (self.combine)(&mut output[place * size..][..size], update);
                    cursor.advance(1);
                }
            }
        }
        Ok(())
    }
}

/// Combines elements, which may lie unaligned.
macro_rules! elements {
    ($T:ty, |$a:ident, $b:ident| $body:expr) => {
        |to: &mut [u8], from: &[u8]| {
            const SIZE: usize = size_of::<$T>();
            for (to, from) in to.as_chunks_mut::<SIZE>().0.iter_mut().zip(from.as_chunks::<SIZE>().0) {
                let ($a, $b) = (<$T>::from_ne_bytes(*to), <$T>::from_ne_bytes(*from));
                *to = <$T>::to_ne_bytes($body);
            }
        }
    };
}

fn combine(reduction: ScatterReduction, dtype: DType) -> Result<Combine, Decline> {
    Ok(match (reduction, dtype) {
        (ScatterReduction::None, _) => |to, from| to.copy_from_slice(from),
        (ScatterReduction::Add, DType::F32) => elements!(f32, |a, b| a + b),
        (ScatterReduction::Mul, DType::F32) => elements!(f32, |a, b| a * b),
        (ScatterReduction::Max, DType::F32) => elements!(f32, |a, b| if a.is_nan() || a > b { a } else { b }),
        (ScatterReduction::Min, DType::F32) => elements!(f32, |a, b| if a.is_nan() || a < b { a } else { b }),
        (ScatterReduction::Add, DType::I64) => elements!(i64, |a, b| a.wrapping_add(b)),
        (ScatterReduction::Mul, DType::I64) => elements!(i64, |a, b| a.wrapping_mul(b)),
        (ScatterReduction::Max, DType::I64) => elements!(i64, |a, b| a.max(b)),
        (ScatterReduction::Min, DType::I64) => elements!(i64, |a, b| a.min(b)),
        (ScatterReduction::Add, DType::I32) => elements!(i32, |a, b| a.wrapping_add(b)),
        (ScatterReduction::Mul, DType::I32) => elements!(i32, |a, b| a.wrapping_mul(b)),
        (ScatterReduction::Max, DType::I32) => elements!(i32, |a, b| a.max(b)),
        (ScatterReduction::Min, DType::I32) => elements!(i32, |a, b| a.min(b)),
        _ => return Err(Decline(format!("{reduction:?} of {dtype}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, fails, random, random_of};
    use ScatterReduction::{Add, Max, Min, Mul, None};
    use inferrum_tensor::{Shape, Tensor};

    const CLOSE: Tolerance = Tolerance { relative: 1e-5, absolute: 1e-5 };

    fn indices(shape: &[usize], extents: &[usize]) -> Tensor {
        let count = Shape::from(shape).elements();
        let value = |i: usize| {
            let extent = extents[i % extents.len()] as i64;
            (i as i64 * 5 + 1) % (2 * extent) - extent
        };
        Tensor::from_i64(DType::I64, shape, &(0..count).map(value).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn slices_and_elements_by_tuples() {
        for (data, index_shape, updates) in [
            (&[4, 5][..], &[7, 2][..], &[7][..]),
            (&[4, 5], &[3, 1], &[3, 5]),
            (&[4, 5, 6], &[2, 3, 2], &[2, 3, 6]),
            (&[4, 5], &[0, 2], &[0]),
        ] {
            let indices = indices(index_shape, &data[..index_shape[index_shape.len() - 1]]);
            for reduction in [None, Add, Mul, Max, Min] {
                let inputs = [random(data, 1), indices.clone(), random(updates, 2)];
                agree(ScatterND { reduction }, &inputs, CLOSE);
                for dtype in [DType::I64, DType::I32] {
                    let inputs = [random_of(dtype, data, 1), indices.clone(), random_of(dtype, updates, 2)];
                    agree(ScatterND { reduction }, &inputs, Tolerance::EXACT);
                }
            }
            let inputs = [random_of(DType::U8, data, 1), indices, random_of(DType::U8, updates, 2)];
            agree(ScatterND { reduction: None }, &inputs, Tolerance::EXACT);
        }
    }

    #[test]
    fn elements_along_an_axis() {
        for (data, axis, part) in [
            (&[9, 5][..], 0, &[4, 5][..]),
            (&[9, 5], 1, &[9, 12]),
            (&[2, 7, 40], -2, &[2, 3, 39]),
            (&[3, 4], 0, &[0, 4]),
        ] {
            let extent = data[i64::rem_euclid(axis, data.len() as i64) as usize];
            for reduction in [None, Add, Max] {
                let inputs = [random(data, 1), indices(part, &[extent]), random(part, 2)];
                agree(ScatterElements { axis, reduction }, &inputs, CLOSE);
            }
            let inputs =
                [random_of(DType::F16, data, 1), indices(part, &[extent]), random_of(DType::F16, part, 2)];
            agree(ScatterElements { axis, reduction: None }, &inputs, Tolerance::EXACT);
        }
    }

    #[test]
    fn indices_out_of_range_are_errors() {
        let inputs = [random(&[4], 1), Tensor::vector(vec![1i64, -5]), random(&[2], 1)];
        let op = ScatterElements { axis: 0, reduction: None };
        assert!(fails(op, &inputs, &[Shape::from([4])]).contains("out of range"));
        let inputs = [random(&[4], 1), Tensor::from_i64(DType::I64, [1, 1], &[4]).unwrap(), random(&[1], 1)];
        assert!(fails(ScatterND { reduction: None }, &inputs, &[Shape::from([4])]).contains("out of range"));
    }
}
