//! Libraries that are used where they are: cuBLASLt and cuDNN. Own kernels stand behind them.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::dynamic::Dynamic;
use super::libraries::Library;
use super::places;

/// An open library.
pub(crate) struct Optional {
    pub(crate) library: Dynamic,
    /// Such as `13.1.0`.
    pub(crate) version: String,
}

/// cuBLASLt for a driver that knows this major version of CUDA; looked for once.
pub(crate) fn cublas_lt(most: u32) -> Option<&'static Optional> {
    static FOUND: OnceLock<Option<Optional>> = OnceLock::new();
    FOUND.get_or_init(|| find(Library::CublasLt, most)).as_ref()
}

/// cuDNN for a driver that knows this major version of CUDA; looked for once.
pub(crate) fn cudnn(most: u32) -> Option<&'static Optional> {
    static FOUND: OnceLock<Option<Optional>> = OnceLock::new();
    FOUND.get_or_init(|| find(Library::Cudnn, most)).as_ref()
}

fn find(library: Library, most: u32) -> Option<Optional> {
    let candidates = library.candidates(&places::of_process(), Some(most), false);
    candidates.into_iter().find_map(|candidate| {
        let opened = open(library, candidate.path, most);
        opened.inspect_err(|error| log::debug!("{library:?}: {error}")).ok()
    })
}

fn open(kind: Library, path: PathBuf, most: u32) -> Result<Optional, String> {
    let library = Dynamic::open(&path)?;
    let name = if kind == Library::Cudnn { "cudnnGetVersion" } else { "cublasLtGetVersion" };
    // SAFETY: both have this signature in cudnn.h and cublasLt.h.
    let number = unsafe { library.function::<unsafe extern "C" fn() -> usize>(name)?() };
    if kind == Library::Cudnn {
        // SAFETY: `size_t cudnnGetCudartVersion(void)` in cudnn.h: the version of CUDA that it was built with.
        let cuda = unsafe { library.function::<unsafe extern "C" fn() -> usize>("cudnnGetCudartVersion")?() };
        if cuda / 1000 > most as usize {
            return Err(format!("{} is for CUDA {}", path.display(), cuda / 1000));
        }
    }
    Ok(Optional { library, version: version(number) })
}

/// The version behind the number of a library: 92100 is 9.21.0 (of cuDNN), 130100 is 13.1.0 (of cuBLASLt).
fn version(number: usize) -> String {
    format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_versions() {
        assert_eq!(version(92_100), "9.21.0");
        assert_eq!(version(130_100), "13.1.0");
    }
}
