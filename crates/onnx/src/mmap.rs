//! Maps files into memory: the crate's only unsafe code.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use inferrum_tensor::Pages;
use memmap2::Mmap;

/// A file in memory, or a part of it.
#[derive(Clone)]
pub(crate) struct Mapped {
    pub(crate) bytes: Bytes,
    /// Releases parts of `bytes`; nothing to release in an empty file.
    pub(crate) pages: Option<Arc<dyn Pages>>,
}

struct Map(Mmap);

/// A share in a mapping.
struct Share(Arc<Map>);

/// The bytes of a regular file, mapped read-only. They stay valid while any clone or slice lives.
///
/// # Errors
/// The file cannot be opened or mapped, or is no regular file.
#[allow(unsafe_code)]
pub(crate) fn map(path: &Path) -> io::Result<Mapped> {
    // A pipe or device would block or have no end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Mapped { bytes: Bytes::new(), pages: None });
    }
    // SAFETY: the mapping is private and read-only, and is only ever read as plain bytes. What remains is that another
    // process changes or truncates the file meanwhile: documented at `load` as the caller's duty, as with every
    // engine that maps its weights.
    let map = Arc::new(Map(unsafe { Mmap::map(&file)? }));
    Ok(Mapped { bytes: Bytes::from_owner(Share(Arc::clone(&map))), pages: Some(map) })
}

impl AsRef<[u8]> for Share {
    fn as_ref(&self) -> &[u8] {
        &self.0.0
    }
}

impl Mapped {
    /// The part at `range`, or none if it is not all inside.
    pub(crate) fn slice(&self, range: Range<usize>) -> Option<Mapped> {
        let inside = range.start <= range.end && range.end <= self.bytes.len();
        inside.then(|| Mapped { bytes: self.bytes.slice(range), pages: self.pages.clone() })
    }
}

impl Pages for Map {
    #[cfg(unix)]
    #[allow(unsafe_code)]
    fn release(&self, bytes: &[u8]) {
        /// A multiple of every page size in use on these systems.
        const PAGE: usize = 64 << 10;
        let base = self.0.as_ptr().addr();
        let Some(start) = bytes.as_ptr().addr().checked_sub(base) else { return };
        let end = (start + bytes.len()).min(self.0.len());
        let (start, end) = (start.next_multiple_of(PAGE), end / PAGE * PAGE);
        if start < end {
            // SAFETY: the mapping is private, read-only and never written, so its pages hold what the file holds, and
            // are read from it again after this. A failure leaves them where they are.
            let _ = unsafe {
                self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start)
            };
        }
    }

    #[cfg(not(unix))]
    fn release(&self, _: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_pages_hold_what_they_held() {
        let path = std::env::temp_dir().join(format!("inferrum-pages-{}", std::process::id()));
        let written: Vec<u8> = (0..300_000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        std::fs::write(&path, &written).unwrap();
        let file = map(&path).unwrap();
        let pages = file.pages.clone().unwrap();
        assert_eq!(file.bytes, written);
        pages.release(&file.bytes);
        let part = file.slice(70_001..280_000).unwrap();
        drop(file);
        pages.release(&part.bytes);
        pages.release(&written); // Not of this file.
        assert_eq!(part.bytes, written[70_001..280_000]);
        assert!(part.slice(5..300_000).is_none());
        std::fs::remove_file(&path).unwrap();
    }
}
