//! `GatherElements`: elements by index along an axis.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::gather_elements::GatherElements;

use crate::indices::Indices;
use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::strided::{Cursor, Loops, dense_strides};
use crate::threads::Shared;

/// Elements of data of which the loops give the place without the axis.
struct Elements {
    size: usize,
    /// Over the output; operand 0 is the data, which stays where it is along the axis.
    loops: Loops,
    extent: usize,
    /// Elements from one index of the axis to the next.
    stride: usize,
    data_elements: usize,
    elements: usize,
}

const TASK: usize = 1 << 14;

pub(crate) fn lower(op: &GatherElements, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (shape, output) = (lowering.shape(0)?, lowering.output_shape(0)?);
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let size = lowering.dtype(0)?.size();
    if !matches!(size, 1 | 2 | 4 | 8) {
        return Err(Decline(format!("elements of {size} bytes")));
    }
    let mut strides = dense_strides(&shape);
    let stride = std::mem::replace(&mut strides[axis], 0) as usize;
    let loops = Loops::new(&output, &[&strides])?;
    let (data_elements, elements) = (shape.elements(), output.elements());
    Ok(Lowered::new(
        "gather elements",
        Elements { size, loops, extent: shape[axis], stride, data_elements, elements },
    ))
}

impl NodeKernel for Elements {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let indices = Indices::input(&io, 1)?;
        let data = io.view(0).ok_or(OpError::MissingInput { index: 0 })?.bytes;
        let output = io.output_bytes(0)?;
        indices.check(1, self.extent)?;
        if indices.len() != self.elements
            || data.len() != self.data_elements * self.size
            || output.len() != self.elements * self.size
        {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        if self.elements == 0 {
            return Ok(());
        }
        let target = Shared(output.as_mut_ptr());
        let task = if self.elements <= 2 * TASK { self.elements } else { TASK };
        io.threads.par_for(self.elements.div_ceil(task), |index| {
            let (start, end) = (index * task, self.elements.min((index + 1) * task));
            match self.size {
                1 => self.copy::<1>(indices, data, target, start, end),
                2 => self.copy::<2>(indices, data, target, start, end),
                4 => self.copy::<4>(indices, data, target, start, end),
                _ => self.copy::<8>(indices, data, target, start, end),
            }
        });
        Ok(())
    }
}

impl Elements {
    fn copy<const N: usize>(
        &self,
        indices: Indices<'_>,
        data: &[u8],
        target: Shared<u8>,
        start: usize,
        end: usize,
    ) {
        let (data, target) = (data.as_ptr().cast::<[u8; N]>(), target.get().cast::<[u8; N]>());
        let step = self.loops.inner_stride(0);
        let mut cursor = Cursor::new(&self.loops, start);
        let mut position = start;
        while position < end {
            let count = cursor.left().min(end - position);
            let base = cursor.offset(0);
            for i in 0..count {
                let along = indices.position(position + i, self.extent) * self.stride;
                // SAFETY: `run` has checked the sizes and that the index is on the axis; the loops stay within the data's
                // other axes (the indices are nowhere longer). Tasks write elements of their own.
                unsafe { *target.add(position + i) = *data.offset(base + i as isize * step).add(along) };
            }
            position += count;
            cursor.advance(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, fails, random_of};
    use inferrum_tensor::{DType, Shape, Tensor};

    #[test]
    fn elements_of_every_size_along_every_axis() {
        for dtype in [DType::F32, DType::U8, DType::I64, DType::F16] {
            for (shape, axis, part) in [
                (&[9, 5][..], 0, &[4, 5][..]),
                (&[9, 5], 1, &[9, 12]),
                (&[2, 7, 40], -2, &[2, 3, 39]),
                (&[200, 300], 1, &[200, 300]),
                (&[3, 4], 0, &[0, 4]),
            ] {
                let extent = shape[i64::rem_euclid(axis, shape.len() as i64) as usize] as i64;
                let count = Shape::from(part).elements() as i64;
                let values: Vec<i64> = (0..count).map(|i| (i * 7 + 3) % (2 * extent) - extent).collect();
                for index_type in [DType::I64, DType::I32] {
                    let indices = Tensor::from_i64(index_type, part, &values).unwrap();
                    agree(GatherElements { axis }, &[random_of(dtype, shape, 1), indices], Tolerance::EXACT);
                }
            }
        }
    }

    #[test]
    fn indices_out_of_range_are_errors() {
        let inputs = [random_of(DType::F32, &[5], 1), Tensor::vector(vec![0i64, 5])];
        assert!(fails(GatherElements { axis: 0 }, &inputs, &[Shape::from([2])]).contains("out of range"));
    }
}
