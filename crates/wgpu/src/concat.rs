//! `Concat`: as many inputs in a dispatch as the adapter binds.

use inferrum_backend::Decline;
use inferrum_graph::Operator;

use crate::copies;
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    copies::lower(op, lowering)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree, random_of, stored};
    use inferrum_ops::concat::Concat;
    use inferrum_tensor::DType;

    #[test]
    fn tensors_of_every_size_along_every_axis() {
        for dtype in stored() {
            for axis in [0i64, 1, 2, -1] {
                let shape = |extent: usize| {
                    let mut shape = [3, 4, 8];
                    shape[axis.rem_euclid(3) as usize] = extent;
                    shape
                };
                let inputs: Vec<_> =
                    [1, 0, 7, 2].iter().map(|&n| random_of(dtype, &shape(n), n as u64)).collect();
                agree(Concat { axis }, &inputs, Tolerance::EXACT);
                agree(Concat { axis }, &inputs[..1], Tolerance::EXACT);
            }
        }
    }

    #[test]
    fn more_inputs_than_bindings() {
        let inputs: Vec<_> = (0..37).map(|i| random_of(DType::F32, &[3, i % 4, 2], i as u64)).collect();
        agree(Concat { axis: 1 }, &inputs, Tolerance::EXACT);
    }
}
