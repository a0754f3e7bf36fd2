//! NVIDIA's libraries by the names of their files.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use super::places::Place;

/// A library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// The compiler of CUDA C++.
    Nvrtc,
    /// What NVRTC itself loads by name, where it may not find it.
    NvrtcBuiltins,
    /// Matrix products.
    CublasLt,
    /// Convolutions.
    Cudnn,
}

/// A file that may be the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// A path, or a name for the system's loader.
    pub(crate) path: PathBuf,
    /// The major version that its name tells.
    pub(crate) major: Option<u32>,
}

impl Library {
    /// Its name without what systems put around it.
    fn stem(self) -> &'static str {
        match self {
            Library::Nvrtc => "nvrtc",
            Library::NvrtcBuiltins => "nvrtc-builtins",
            Library::CublasLt => "cublasLt",
            Library::Cudnn => "cudnn",
        }
    }

    /// Major versions that the system's loader is asked for.
    fn majors(self) -> &'static [u32] {
        match self {
            Library::Cudnn => &[9],
            Library::NvrtcBuiltins => &[],
            Library::Nvrtc | Library::CublasLt => &[13, 12],
        }
    }

    /// The name for the system's loader.
    fn file_name(self, major: u32) -> String {
        match self {
            Library::Nvrtc if cfg!(windows) => format!("nvrtc64_{major}0_0.dll"),
            _ if cfg!(windows) => format!("{}64_{major}.dll", self.stem()),
            _ => format!("lib{}.so.{major}", self.stem()),
        }
    }

    /// The version in a file's name, empty if there is none; None if it is no name of the library.
    fn version(self, name: &str) -> Option<Vec<u32>> {
        let stem = self.stem();
        if let Some(rest) = name.strip_prefix("lib").and_then(|rest| rest.strip_prefix(stem)) {
            let rest = rest.strip_prefix(".so")?;
            return match rest.strip_prefix('.') {
                Some(version) => version.split('.').map(|part| part.parse().ok()).collect(),
                None => rest.is_empty().then(Vec::new),
            };
        }
        // nvrtc64_130_0.dll is version 13.0; cudnn64_9.dll is version 9.
        let version = name.strip_prefix(stem)?.strip_prefix("64_")?.strip_suffix(".dll")?;
        let number: u32 = version.split('_').next()?.parse().ok()?;
        Some(if number >= 100 { vec![number / 10, number % 10] } else { vec![number] })
    }

    /// The files of a folder that may be it, the newest of each major version, newest first.
    pub(crate) fn in_folder(self, folder: &Path) -> Vec<Candidate> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut found: Vec<(Vec<u32>, PathBuf)> = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let Some(version) = self.version_at(&path) else { continue };
            found.push((version, path));
        }
        found.sort_by_key(|found| Reverse(found.clone()));
        found.dedup_by_key(|(version, _)| version.first().copied());
        found.into_iter().map(|(version, path)| Candidate { major: version.first().copied(), path }).collect()
    }

    fn version_at(self, path: &Path) -> Option<Vec<u32>> {
        let version = self.version(&path.file_name()?.to_string_lossy())?;
        if !version.is_empty() {
            return Some(version);
        }
        // `libnvrtc.so` is a link to a file that tells its version.
        let target = std::fs::canonicalize(path).ok()?;
        Some(self.version(&target.file_name()?.to_string_lossy()).unwrap_or_default())
    }

    /// The files that may be it, in the order of the places; what is newer than CUDA `most` comes only if `beyond`, and last.
    pub(crate) fn candidates(self, places: &[Place], most: Option<u32>, beyond: bool) -> Vec<Candidate> {
        let of_place = |place: &Place| match place {
            Place::Folder(folder) => self.in_folder(folder),
            Place::System => {
                let named =
                    |&major: &u32| Candidate { path: self.file_name(major).into(), major: Some(major) };
                self.majors().iter().map(named).collect()
            }
        };
        let fits = |it: &Candidate| match (self, it.major, most) {
            // Its version is not that of CUDA.
            (Library::Cudnn, ..) => true,
            (_, Some(major), Some(most)) => major <= most,
            _ => true,
        };
        let (fitting, newer): (Vec<_>, Vec<_>) = places.iter().flat_map(of_place).partition(fits);
        fitting.into_iter().chain(newer.into_iter().filter(|_| beyond)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_versions() {
        assert_eq!(Library::Nvrtc.version("libnvrtc.so.13"), Some(vec![13]));
        assert_eq!(Library::Nvrtc.version("libnvrtc.so.12.4.127"), Some(vec![12, 4, 127]));
        assert_eq!(Library::Nvrtc.version("libnvrtc.so"), Some(vec![]));
        assert_eq!(Library::Nvrtc.version("nvrtc64_130_0.dll"), Some(vec![13, 0]));
        assert_eq!(Library::Cudnn.version("cudnn64_9.dll"), Some(vec![9]));
        assert_eq!(Library::NvrtcBuiltins.version("libnvrtc-builtins.so.13.0"), Some(vec![13, 0]));
        for name in ["libnvrtc.alt.so.13", "libnvrtc-builtins.so.13.0", "libnvrtc.so.x", "libnvrtc_static.a"]
        {
            assert_eq!(Library::Nvrtc.version(name), None, "{name}");
        }
        assert_eq!(Library::Cudnn.version("libcudnn_ops.so.9"), None);
    }

    #[test]
    fn what_the_driver_knows_comes_first() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["libnvrtc.so.14", "libnvrtc.so.13", "libnvrtc.so.13.0.88", "libnvrtc.alt.so.13"] {
            std::fs::write(new.path().join(name), "").unwrap();
        }
        std::fs::write(old.path().join("libnvrtc.so.12"), "").unwrap();
        let places = [new.path(), old.path()].map(|path| Place::Folder(path.to_owned()));
        let names = |most, beyond| -> Vec<String> {
            let found = Library::Nvrtc.candidates(&places, most, beyond).into_iter();
            found.map(|it| it.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(None, false), ["libnvrtc.so.14", "libnvrtc.so.13.0.88", "libnvrtc.so.12"]);
        assert_eq!(names(Some(13), false), ["libnvrtc.so.13.0.88", "libnvrtc.so.12"]);
        assert_eq!(names(Some(12), true), ["libnvrtc.so.12", "libnvrtc.so.14", "libnvrtc.so.13.0.88"]);
    }

    #[test]
    #[cfg(unix)]
    fn a_plain_name_is_the_file_it_links_to() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("libnvrtc.so.12.4.127"), "").unwrap();
        std::os::unix::fs::symlink("libnvrtc.so.12.4.127", folder.path().join("libnvrtc.so")).unwrap();
        let found = Library::Nvrtc.in_folder(folder.path());
        assert_eq!(found.iter().map(|it| it.major).collect::<Vec<_>>(), [Some(12)]);
    }

    #[test]
    fn the_system_is_asked_by_name() {
        let found = Library::Cudnn.candidates(&[Place::System], Some(12), false);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].major, Some(9));
    }
}
