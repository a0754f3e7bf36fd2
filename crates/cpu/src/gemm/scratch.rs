//! Working memory that each thread keeps between calls.

use super::buffer::Buffer;
use std::cell::RefCell;

/// Bytes that a thread keeps; above it buffers are given back after use.
const KEEP_BYTES: usize = 64 << 20;

thread_local!(static KEPT: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) });

/// Calls `f` with `len` floats of arbitrary contents, starting at a cache line. Nested calls get buffers of their own.
pub(crate) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = take(len).unwrap_or_else(|| Buffer::zeroed(len));
    let result = f(&mut buffer[..len]);
    keep(buffer);
    result
}

/// The smallest kept buffer that is large enough.
fn take(len: usize) -> Option<Buffer> {
    KEPT.with_borrow_mut(|kept| {
        let fitting = kept.iter().enumerate().filter(|(_, buffer)| buffer.len() >= len);
        let (i, _) = fitting.min_by_key(|(_, buffer)| buffer.len())?;
        Some(kept.swap_remove(i))
    })
}

/// Keeps a buffer, instead of smaller ones where there are many or not enough room.
fn keep(buffer: Buffer) {
    const MOST: usize = 3;
    KEPT.with_borrow_mut(|kept| {
        kept.push(buffer);
        kept.sort_by_key(|buffer| std::cmp::Reverse(buffer.len()));
        kept.truncate(MOST);
        let mut room = KEEP_BYTES;
        kept.retain(|buffer| {
            let bytes = size_of_val::<[f32]>(buffer);
            let fits = bytes <= room;
            room -= if fits { bytes } else { 0 };
            fits
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_buffers_are_distinct_and_kept() {
        let sizes = || KEPT.with_borrow(|kept| kept.iter().map(|buffer| buffer.len()).collect::<Vec<_>>());
        with_scratch(10, |a| {
            a.fill(1.0);
            with_scratch(5, |b| b.fill(2.0));
            assert!(a.iter().all(|&x| x == 1.0));
        });
        assert_eq!(sizes(), [10, 5]);
        with_scratch(1000, |a| assert_eq!(a.len(), 1000));
        with_scratch(3, |a| assert_eq!(a.len(), 3));
        assert_eq!(sizes(), [1000, 10, 5]);
        // Too big to be kept.
        with_scratch(KEEP_BYTES / 4 + 1, |_| ());
        assert_eq!(sizes(), [1000, 10]);
    }
}
