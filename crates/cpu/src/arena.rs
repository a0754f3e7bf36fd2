//! Memory that is used again: by the next run, and by the next output.

use std::sync::{Arc, Mutex, Weak};

use inferrum_tensor::{AlignedBytes, TensorError};

/// Free blocks of memory.
#[derive(Default, Debug)]
pub(crate) struct Pool {
    free: Mutex<Vec<AlignedBytes>>,
}

/// A block that goes back to its pool when dropped.
pub(crate) struct Block {
    bytes: Option<AlignedBytes>,
    len: usize,
    pool: Weak<Pool>,
}

impl Pool {
    /// Blocks kept free at most; enough for the arena and outputs of a few concurrent runs.
    const MOST: usize = 16;

    /// A block of `len` bytes with any content.
    pub(crate) fn take(self: &Arc<Pool>, len: usize) -> Result<Block, TensorError> {
        let mut free = self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // The smallest that fits, unless most of it would lie idle.
        let fitting = free.iter().enumerate().filter(|(_, block)| {
            let size = block.as_ref().len();
            size >= len && size / 2 <= len
        });
        let best = fitting.min_by_key(|(_, block)| block.as_ref().len()).map(|(index, _)| index);
        let bytes = best.map(|index| free.swap_remove(index));
        drop(free);
        #[cfg_attr(not(debug_assertions), allow(unused_mut))]
        let mut bytes = match bytes {
            Some(bytes) => bytes,
            None => AlignedBytes::zeroed(len)?,
        };
        // A kernel that leaves an element unwritten shows as NaN in tests.
        #[cfg(debug_assertions)]
        bytes.as_mut().fill(0xFF);
        Ok(Block { bytes: Some(bytes), len, pool: Arc::downgrade(self) })
    }

    fn give(&self, bytes: AlignedBytes) {
        let mut free = self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if free.len() >= Pool::MOST {
            free.remove(0);
        }
        free.push(bytes);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let (Some(bytes), Some(pool)) = (self.bytes.take(), self.pool.upgrade()) {
            pool.give(bytes);
        }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref().map_or(&[], |bytes| &bytes.as_ref()[..self.len])
    }
}

impl AsMut<[u8]> for Block {
    fn as_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        self.bytes.as_mut().map_or(&mut [], |bytes| &mut bytes.as_mut()[..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_block_is_used_again() {
        let pool = Arc::new(Pool::default());
        let address = pool.take(1000).unwrap().as_ref().as_ptr().addr();
        assert_eq!(pool.take(900).unwrap().as_ref().as_ptr().addr(), address);
        let small = pool.take(10).unwrap();
        assert_ne!(small.as_ref().as_ptr().addr(), address, "most of the block would lie idle");
        assert_eq!(small.as_ref().len(), 10);
    }
}
