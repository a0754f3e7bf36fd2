//! `Gather`: rows copied by index.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::gather::Gather;
use inferrum_tensor::Tensor;

use crate::copies::Copies;
use crate::indices::Indices;
use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::threads::Shared;

/// Runs of `run` bytes along an axis of `extent`, under each of `outer` indices.
struct Rows {
    outer: usize,
    extent: usize,
    run: usize,
    indices: usize,
    /// The rows, if they are constant: bytes are copied from a file as they lie there, aligned or not.
    table: Option<Tensor>,
}

/// Bytes that a thread copies at once.
const TASK_BYTES: usize = 1 << 17;

pub(crate) fn lower(op: &Gather, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    let size = lowering.dtype(0)?.size();
    let indices = lowering.shape(1)?.elements();
    if let (1, Some(_)) = (indices, lowering.constant(1)) {
        return Copies::lower(op, lowering);
    }
    let table = lowering.constant(0).cloned();
    let packed: &[usize] = if table.is_some() { &[0] } else { &[] };
    let rows = Rows { outer, extent, run: inner * size, indices, table };
    Ok(Lowered::new("gather rows", rows).packed(packed))
}

impl NodeKernel for Rows {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let indices = Indices::input(&io, 1)?;
        let data = match &self.table {
            Some(table) => table.bytes(),
            None => io.view(0).ok_or(OpError::MissingInput { index: 0 })?.bytes,
        };
        let output = io.output_bytes(0)?;
        indices.check(1, self.extent)?;
        let rows = self.outer * self.indices;
        if output.is_empty() || self.run == 0 {
            return Ok(());
        }
        if indices.len() != self.indices
            || data.len() != self.outer * self.extent * self.run
            || output.len() != rows * self.run
        {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        let task = if output.len() <= 2 * TASK_BYTES { rows } else { (TASK_BYTES / self.run).max(1) };
        let target = Shared(output.as_mut_ptr());
        io.threads.par_for(rows.div_ceil(task), |index| {
            let (start, end) = (index * task, rows.min((index + 1) * task));
            match self.run {
                1 => self.elements::<1>(indices, data, target, start, end),
                2 => self.elements::<2>(indices, data, target, start, end),
                4 => self.elements::<4>(indices, data, target, start, end),
                8 => self.elements::<8>(indices, data, target, start, end),
                16 => self.elements::<16>(indices, data, target, start, end),
                run => self.copy(start, end, indices, |from, to| {
                    // SAFETY: the sizes and indices were checked, and tasks write rows of their own.
                    unsafe {
                        let from = data.as_ptr().add(from * run);
                        std::ptr::copy_nonoverlapping(from, target.get().add(to * run), run);
                    }
                }),
            }
        });
        Ok(())
    }
}

impl Rows {
    fn elements<const N: usize>(
        &self,
        indices: Indices<'_>,
        data: &[u8],
        target: Shared<u8>,
        start: usize,
        end: usize,
    ) {
        let (data, target) = (data.as_ptr().cast::<[u8; N]>(), target.get().cast::<[u8; N]>());
        // SAFETY: as in `run`.
        self.copy(start, end, indices, |from, to| unsafe { *target.add(to) = *data.add(from) });
    }

    /// Calls `f` with the source and target row of each of the rows `start..end`.
    #[inline(always)]
    fn copy(&self, start: usize, end: usize, indices: Indices<'_>, f: impl Fn(usize, usize)) {
        let (mut outer, mut at) = (start / self.indices, start % self.indices);
        for row in start..end {
            f(outer * self.extent + indices.position(at, self.extent), row);
            at += 1;
            if at == self.indices {
                (outer, at) = (outer + 1, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, agree_with, fails, random_of};
    use inferrum_tensor::{DType, Shape, Tensor};

    fn indices(dtype: DType, shape: &[usize], extent: usize) -> Tensor {
        let count = Shape::from(shape).elements() as i64;
        let extent = extent as i64;
        let values: Vec<i64> = (0..count).map(|i| (i * 7 + 3) % (2 * extent) - extent).collect();
        Tensor::from_i64(dtype, shape, &values).unwrap()
    }

    #[test]
    fn a_constant_table_may_lie_anywhere_in_a_file() {
        for dtype in [DType::F32, DType::I64, DType::F16] {
            let table = random_of(dtype, &[9, 5], 1);
            for offset in 0..3 {
                let mut file = vec![0xAB; offset];
                file.extend_from_slice(table.bytes());
                let lying = bytes::Bytes::from(file).slice(offset..);
                let lying = Tensor::from_bytes(dtype, [9, 5], lying).unwrap();
                let inputs = [Some((lying, true)), Some((indices(DType::I64, &[7], 9), false))];
                agree_with(Gather { axis: 0 }, &inputs, 1, Tolerance::EXACT);
            }
        }
    }

    #[test]
    fn rows_of_every_size_along_every_axis() {
        for dtype in [DType::F32, DType::U8, DType::I64, DType::F16] {
            for (shape, axis) in
                [(&[9, 5][..], 0), (&[9, 5], 1), (&[2, 7, 40], -2), (&[300, 700], 0), (&[11], 0)]
            {
                let extent = shape[i64::rem_euclid(axis, shape.len() as i64) as usize];
                for index_shape in [&[][..], &[5], &[2, 3], &[0], &[200]] {
                    for index_type in [DType::I64, DType::I32] {
                        let inputs = [random_of(dtype, shape, 1), indices(index_type, index_shape, extent)];
                        agree(Gather { axis }, &inputs, Tolerance::EXACT);
                    }
                }
            }
        }
    }

    #[test]
    fn a_constant_index_is_a_slice() {
        for index in [0, 4, -1, -5] {
            for shape in [&[][..], &[1], &[1, 1]] {
                let index = Tensor::from_i64(DType::I64, shape, &[index]).unwrap();
                let inputs = [Some((random_of(DType::F32, &[3, 5, 7], 1), false)), Some((index, true))];
                agree_with(Gather { axis: 1 }, &inputs, 1, Tolerance::EXACT);
            }
        }
    }

    #[test]
    fn indices_out_of_range_are_errors() {
        for index in [5, -6, i64::MIN, i64::MAX] {
            let inputs = [random_of(DType::F32, &[5, 3], 1), Tensor::vector(vec![0, index])];
            let shapes = [Shape::from([2, 3])];
            assert!(fails(Gather { axis: 0 }, &inputs, &shapes).contains("out of range"));
        }
    }
}
