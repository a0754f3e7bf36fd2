//! `GatherND`: slices copied by index tuples.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::gather_nd::GatherND;

use crate::index_tuples::Tuples;
use crate::indices::Indices;
use crate::kernel::{Io, Lowered, Lowering, NodeKernel};

/// Slices by tuples; `run` bytes each.
struct Slices {
    tuples: Tuples,
    run: usize,
    data_bytes: usize,
}

const TASK_BYTES: usize = 1 << 16;

pub(crate) fn lower(op: &GatherND, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (data, size) = (lowering.shape(0)?, lowering.dtype(0)?.size());
    let tuples = Tuples::new(&data, &lowering.shape(1)?, op.batch_dims)
        .ok_or_else(|| Decline("the indices do not fit the data".into()))?;
    let run = tuples.run * size;
    Ok(Lowered::new("gather slices", Slices { tuples, run, data_bytes: data.elements() * size }))
}

impl NodeKernel for Slices {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let indices = Indices::input(&io, 1)?;
        let data = io.view(0).ok_or(OpError::MissingInput { index: 0 })?.bytes;
        let output = io.output_bytes(0)?;
        if output.is_empty() {
            return Ok(());
        }
        self.tuples.check(1, indices)?;
        if data.len() != self.data_bytes || output.len() != self.tuples.count * self.run {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        let tuples = (TASK_BYTES / self.run).max(1);
        io.threads.par_chunks_mut(output, tuples * self.run, |index, chunk| {
            for (i, slice) in chunk.chunks_exact_mut(self.run).enumerate() {
                let from = self.tuples.slice(indices, index * tuples + i) * self.run;
                slice.copy_from_slice(&data[from..from + self.run]);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, fails, random_of};
    use inferrum_tensor::{DType, Shape, Tensor};

    #[test]
    fn elements_and_slices_with_and_without_batches() {
        for dtype in [DType::F32, DType::U8, DType::I64] {
            for (data, indices, batch_dims) in [
                (&[4, 5][..], &[7, 2][..], 0),
                (&[4, 5], &[7, 1], 0),
                (&[4, 5, 6], &[2, 3, 2], 0),
                (&[3, 4, 5], &[3, 1], 1),
                (&[3, 4, 5], &[3, 6, 2], 1),
                (&[2, 3, 4, 5], &[2, 3, 2, 1], 2),
                (&[4, 5], &[0, 2], 0),
                (&[4, 5], &[3, 0], 0),
                (&[40, 1000], &[300, 1], 0),
            ] {
                let count = Shape::from(indices).elements();
                let depth = indices[indices.len() - 1].max(1);
                let values: Vec<i64> = (0..count)
                    .map(|i| {
                        let extent = data[batch_dims + i % depth] as i64;
                        (i as i64 * 5 + 1) % (2 * extent) - extent
                    })
                    .collect();
                let indices = Tensor::from_i64(DType::I64, indices, &values).unwrap();
                agree(GatherND { batch_dims }, &[random_of(dtype, data, 1), indices], Tolerance::EXACT);
            }
        }
    }

    #[test]
    fn indices_out_of_range_are_errors() {
        let indices = Tensor::from_i64(DType::I64, [2, 2], &[0, 0, 1, 5]).unwrap();
        let inputs = [random_of(DType::F32, &[4, 5], 1), indices];
        assert!(fails(GatherND { batch_dims: 0 }, &inputs, &[Shape::from([2])]).contains("out of range"));
    }
}
