//! Maps files into memory: the crate's only unsafe code.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;

/// The bytes of a regular file, mapped read-only. They stay valid while any clone or slice lives.
///
/// # Errors
/// The file cannot be opened or mapped, or is no regular file.
#[allow(unsafe_code)]
pub(crate) fn map(path: &Path) -> io::Result<Bytes> {
    // A pipe or device would block or have no end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is private and read-only, and is only ever read as plain bytes. What remains is that another
    // process changes or truncates the file meanwhile: documented at `load` as the caller's duty, as with every
    // engine that maps its weights.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Bytes::from_owner(map))
}
