//! What later processes take up again: compiled kernels, measured choices.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The variable that names the folder of the cache; empty, nothing is kept.
pub const CACHE_VARIABLE: &str = "INFERRUM_CACHE";

/// Bytes of the largest entry; what is longer is not kept.
const MOST_BYTES: u64 = 256 << 20;

/// A folder of entries. An entry that cannot be read or written is as if it were not there: a cache never fails a run.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// The user's cache: the folder that [`CACHE_VARIABLE`] names, else `inferrum` where the system keeps such files
    /// (`$XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches`, `%LOCALAPPDATA%`).
    pub fn of_user() -> Cache {
        let folder = match std::env::var_os(CACHE_VARIABLE) {
            Some(folder) => (!folder.is_empty()).then(|| PathBuf::from(folder)),
            None => dirs::cache_dir().map(|folder| folder.join("inferrum")),
        };
        Cache { folder }
    }

    /// A cache in a folder, which is made when something is kept.
    pub fn at(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: Some(folder.into()) }
    }

    /// The folder; None if nothing is kept.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The entry `name` if it was kept under this very `key` (what it depends on: versions, devices, sources) and is whole.
    pub fn get(&self, name: &str, key: &str) -> Option<Vec<u8>> {
        let path = self.path(name)?;
        std::fs::metadata(&path).ok().filter(|found| found.len() <= MOST_BYTES)?;
        let bytes = std::fs::read(&path).ok()?;
        let entry = bytes.strip_prefix(&*header(key))?;
        let (sum, content) = entry.split_first_chunk::<4>()?;
        (u32::from_le_bytes(*sum) == crc32fast::hash(content)).then(|| content.to_vec())
    }

    /// Keeps an entry; another process sees the old one or the new one, whole.
    pub fn put(&self, name: &str, key: &str, content: &[u8]) {
        let Some(path) = self.path(name) else { return };
        if content.len() as u64 > MOST_BYTES / 2 {
            return;
        }
        if let Err(error) = write(&path, key, content) {
            log::debug!("{} is not kept: {error}", path.display());
        }
    }

    /// Where an entry stands; its name becomes one that every system takes.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        Some(self.folder.as_ref()?.join(name.chars().map(plain).collect::<String>()))
    }
}

fn header(key: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    format!("inferrum {version}\n{}\n{key}\n", key.len()).into_bytes()
}

fn write(path: &Path, key: &str, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&header(key))?;
    file.write_all(&crc32fast::hash(content).to_le_bytes())?;
    file.write_all(content)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_under_its_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("deep"));
        assert_eq!(cache.get("a", "key"), None);
        cache.put("a b/..", "key", b"content");
        assert_eq!(cache.get("a b/..", "key").as_deref(), Some(&b"content"[..]));
        assert_eq!(cache.get("a b/..", "other"), None);
        cache.put("a b/..", "key", b"");
        assert_eq!(cache.get("a b/..", "key").as_deref(), Some(&b""[..]));
        let files: Vec<_> = std::fs::read_dir(folder.path().join("deep")).unwrap().collect();
        assert_eq!(files.len(), 1, "no temporary file is left");
    }

    #[test]
    fn a_damaged_entry_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        cache.put("entry", "key", b"some content");
        let path = folder.path().join("entry");
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(cache.get("entry", "key"), None, "{length} bytes");
        }
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        std::fs::write(&path, flipped).unwrap();
        assert_eq!(cache.get("entry", "key"), None);
    }

    #[test]
    fn without_a_folder_nothing_is_kept() {
        let cache = Cache::default();
        cache.put("entry", "key", b"content");
        assert_eq!(cache.get("entry", "key"), None);
    }
}
