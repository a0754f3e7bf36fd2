//! Working memory that each thread keeps between calls.

use super::buffer::Buffer;
use std::cell::Cell;

/// Bytes above which a buffer is given back after use.
const KEEP_BYTES: usize = 64 << 20;

/// Calls `f` with `len` floats of arbitrary contents, starting at a cache line. Nested calls get buffers of their own.
pub(crate) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local!(static KEPT: Cell<Option<Buffer>> = const { Cell::new(None) });
    let kept = KEPT.take().filter(|buffer| buffer.len() >= len);
    let mut buffer = kept.unwrap_or_else(|| Buffer::zeroed(len));
    let result = f(&mut buffer[..len]);
    if size_of_val::<[f32]>(&buffer) <= KEEP_BYTES {
        KEPT.set(Some(buffer));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_buffers_are_distinct() {
        with_scratch(10, |a| {
            a.fill(1.0);
            with_scratch(5, |b| b.fill(2.0));
            assert!(a.iter().all(|&x| x == 1.0));
        });
        with_scratch(1000, |a| assert_eq!(a.len(), 1000));
        with_scratch(3, |a| assert_eq!(a.len(), 3));
    }
}
