//! Shared libraries that are opened at run time, and stay open.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

/// An open library. It is never closed: what NVIDIA's libraries start on threads of their own outlives any owner.
pub(crate) struct Dynamic {
    library: ManuallyDrop<libloading::Library>,
    /// What it was opened by: a path, or a name that the system knows.
    pub(crate) path: PathBuf,
}

impl Dynamic {
    /// Opens the library at `path`; a name without a folder is looked up as the system does it.
    ///
    /// # Errors
    /// What the system's loader says.
    pub(crate) fn open(path: &Path) -> Result<Dynamic, String> {
        // SAFETY: only files that bear the names of NVIDIA's libraries get here, and what these do when they are loaded (they
        // register their kernels) depends on nothing that we would have to keep.
        let library = unsafe { libloading::Library::new(path) };
        let library = library.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Dynamic { library: ManuallyDrop::new(library), path: path.to_owned() })
    }

    /// A function of the library.
    ///
    /// # Errors
    /// The library has none of that name.
    ///
    /// # Safety
    /// `F` is a function pointer with the signature of that function.
    pub(crate) unsafe fn function<F: Copy>(&self, name: &str) -> Result<F, String> {
        const { assert!(size_of::<F>() == size_of::<fn()>(), "F is no function pointer") };
        // SAFETY: the caller answers for the type; the library is never closed, so the pointer stays good.
        let symbol = unsafe { self.library.get::<F>(name.as_bytes()) };
        symbol.map(|symbol| *symbol).map_err(|_| format!("{} has no function {name}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libnvrtc.so.13");
        let error = Dynamic::open(&path).err().unwrap();
        assert!(error.contains("libnvrtc.so.13"), "{error}");
        std::fs::write(&path, "no library").unwrap();
        assert!(Dynamic::open(&path).is_err());
    }
}
