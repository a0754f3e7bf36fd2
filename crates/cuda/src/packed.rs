//! Constants whose elements are moved before they go to a device.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_tensor::Tensor;

use crate::kernel::{Operand, Packing};

/// A constant input as `elements` elements of its own type: element `i` is the constant's element `from(i)`, or 0. `form` names the order.
pub(crate) fn rearranged(
    input: usize,
    form: String,
    elements: usize,
    from: impl Fn(usize) -> Option<usize> + Send + Sync + 'static,
) -> Operand {
    let pack = move |tensor: &Tensor| {
        let (bytes, size) = (tensor.bytes(), tensor.dtype().size());
        let mut packed = Vec::new();
        let room = elements
            .checked_mul(size)
            .ok_or_else(|| Decline("a constant of more bytes than are counted".into()))?;
        packed.try_reserve_exact(room).map_err(|error| Decline(error.to_string()))?;
        packed.resize(room, 0);
        for (i, element) in packed.chunks_exact_mut(size).enumerate() {
            let Some(at) = from(i) else { continue };
            let source = at.checked_mul(size).and_then(|at| bytes.get(at..at + size));
            element.copy_from_slice(source.ok_or_else(|| Decline("a constant of fewer elements".into()))?);
        }
        Ok(packed)
    };
    Operand::Packed(Packing { input, form, pack: Arc::new(pack) })
}
