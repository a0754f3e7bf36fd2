//! Packed weights: made once, shared by every plan of a session.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use inferrum_tensor::{DType, Shape, Tensor};

/// Packed forms of constants, by constant and form.
#[derive(Default)]
pub struct Weights {
    packed: Mutex<HashMap<Key, (Tensor, Packed)>>,
    bytes: AtomicUsize,
}

type Packed = Arc<dyn Any + Send + Sync>;

/// A constant is known by its place in memory; the entry keeps it alive, so the place is not used again.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    address: usize,
    dtype: DType,
    shape: Shape,
    form: String,
}

impl Weights {
    /// The form `form` of `constant`, packed by `pack` (which also gives its size in bytes) if it is not there yet. The
    /// constant itself is then not needed in memory.
    ///
    /// # Errors
    /// Those of `pack`.
    pub fn get<T: Any + Send + Sync, E>(
        &self,
        constant: &Tensor,
        form: &str,
        pack: impl FnOnce(&Tensor) -> Result<(T, usize), E>,
    ) -> Result<Arc<T>, E> {
        let key = Key {
            address: constant.bytes().as_ptr().addr(),
            dtype: constant.dtype(),
            shape: constant.shape().clone(),
            form: format!("{form} {}", std::any::type_name::<T>()),
        };
        let lock = || self.packed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, found)) = lock().get(&key)
            && let Ok(found) = Arc::clone(found).downcast::<T>()
        {
            return Ok(found);
        }
        // Packed outside the lock: two threads may pack the same weight at once, and the first result stays.
        let (packed, bytes) = pack(constant)?;
        constant.release();
        let packed = Arc::new(packed);
        let mut table = lock();
        let entry = table.entry(key).or_insert_with(|| {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            (constant.clone(), packed.clone())
        });
        Ok(Arc::clone(&entry.1).downcast::<T>().unwrap_or(packed))
    }

    /// Bytes of all packed weights.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The elements of an f32 constant, which a file may hold unaligned.
pub(crate) fn floats(constant: &Tensor) -> Cow<'_, [f32]> {
    bytemuck::try_cast_slice(constant.bytes())
        .map_or_else(|_| Cow::Owned(bytemuck::pod_collect_to_vec(constant.bytes())), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_packed_once() {
        let weights = Weights::default();
        let tensor = Tensor::vector(vec![1f32, 2.0]);
        let pack = |t: &Tensor| Ok::<_, ()>((t.to_f64().unwrap(), 16));
        let first = weights.get(&tensor, "f64", pack).unwrap();
        let again =
            weights.get(&tensor.clone(), "f64", |_| -> Result<(Vec<f64>, usize), ()> { Err(()) }).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        weights.get(&tensor, "other", pack).unwrap();
        assert_eq!(weights.bytes(), 32);
    }
}
