//! Memory of tensors that stay on the device; when a tensor is gone, another one gets it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use inferrum_backend::BackendError;

use crate::gpu::Gpu;

/// Bytes that wait for another use at most.
const MOST_IDLE: u64 = 256 << 20;

/// The least piece of memory.
const LEAST: u64 = 256;

/// Memory of a tensor.
pub(crate) struct Memory {
    piece: Piece,
    gpu: Arc<Gpu>,
}

/// A buffer; its number is its own for ever.
#[derive(Clone)]
struct Piece {
    number: u64,
    buffer: wgpu::Buffer,
}

/// Memory without a use, the one that waits longest first.
#[derive(Default)]
pub(crate) struct Recycled {
    idle: Mutex<VecDeque<Piece>>,
}

impl Memory {
    /// Memory for `bytes`, whose content is of no meaning.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn take(gpu: &Arc<Gpu>, bytes: usize) -> Result<Memory, BackendError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let size = size_class(bytes as u64).min(gpu.limits.max_buffer_size).max(bytes as u64);
        let piece = match gpu.recycled.take(size) {
            Some(piece) => piece,
            None => {
                let usage =
                    wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
                let buffer = gpu.buffer("a tensor that stays on the device", size as usize, usage).await?;
                Piece { number: NUMBER.fetch_add(1, Ordering::Relaxed), buffer }
            }
        };
        Ok(Memory { piece, gpu: Arc::clone(gpu) })
    }

    pub(crate) fn buffer(&self) -> &wgpu::Buffer {
        &self.piece.buffer
    }

    /// No other buffer has this number.
    pub(crate) fn number(&self) -> u64 {
        self.piece.number
    }
}

impl Drop for Memory {
    /// What was submitted before may still use it; what is submitted later comes after that.
    fn drop(&mut self) {
        self.gpu.recycled.give(self.piece.clone());
    }
}

impl Recycled {
    fn take(&self, size: u64) -> Option<Piece> {
        let mut idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let place = idle.iter().position(|piece| piece.buffer.size() == size.next_multiple_of(8))?;
        idle.remove(place)
    }

    fn give(&self, piece: Piece) {
        let mut idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        idle.push_back(piece);
        let mut bytes: u64 = idle.iter().map(|piece| piece.buffer.size()).sum();
        while bytes > MOST_IDLE {
            bytes -= idle.pop_front().map_or(bytes, |piece| piece.buffer.size());
        }
    }
}

/// A size from `bytes` on of which there are eight between two powers of two, so that what grows step by step finds memory of its
/// size again.
fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(LEAST);
    bytes.checked_next_power_of_two().map_or(bytes, |power| bytes.next_multiple_of((power / 16).max(LEAST)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge;
    use crate::testing;

    #[test]
    fn sizes_have_an_eighth_to_spare_at_most() {
        for bytes in (1..5000).chain([1 << 20, (1 << 20) + 1, 123_456_789]) {
            let size = size_class(bytes);
            assert!(size >= bytes && size.is_multiple_of(LEAST), "{bytes}: {size}");
            assert!(size - bytes <= (bytes / 8).max(LEAST), "{bytes}: {size}");
        }
    }

    #[test]
    fn memory_is_used_again_but_never_by_two() {
        let Some(gpu) = testing::gpu() else { return };
        let take = |bytes| edge::wait(Memory::take(&gpu, bytes)).expect("memory");
        // A size that no other test of this process takes.
        let (one, other) = (take(77_777), take(77_777));
        assert_ne!(one.number(), other.number());
        let number = one.number();
        drop(one);
        assert_eq!(take(77_700).number(), number);
        assert_ne!(take(7_777_777).number(), number);
    }
}
