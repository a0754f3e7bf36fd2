//! Where NVIDIA's libraries may stand on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The variable that names folders to look in first: of libraries, of a toolkit, or of a Python environment.
pub(crate) const PATH_VARIABLE: &str = "INFERRUM_CUDA_PATH";

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A folder that is there.
    Folder(PathBuf),
    /// Where the system's loader looks by itself.
    System,
}

/// What the places depend on.
pub(crate) struct Surroundings<'a> {
    /// Environment variables.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The current folder.
    pub(crate) current: PathBuf,
    /// The folder of the program.
    pub(crate) program: Option<PathBuf>,
    /// `/`.
    pub(crate) root: PathBuf,
}

/// The places of this process.
pub(crate) fn of_process() -> Vec<Place> {
    let program = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    let mut places = of(&Surroundings {
        variable: &|name| std::env::var_os(name),
        current: std::env::current_dir().unwrap_or_default(),
        program,
        root: PathBuf::from("/"),
    });
    if cfg!(test) {
        // Where `cargo xtask provision` puts them.
        let mut of_tests = Places::default();
        of_tests.environment(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv"));
        places.extend(of_tests.0);
    }
    places
}

/// The places, those that are meant most first: what the user names, toolkits and folders that the environment names, the
/// system's, the Python environments, the program's folder, the usual folders of toolkits.
pub(crate) fn of(surroundings: &Surroundings<'_>) -> Vec<Place> {
    let variable = |name: &str| (surroundings.variable)(name).filter(|value| !value.is_empty());
    let listed =
        |name: &str| variable(name).map(|list| std::env::split_paths(&list).collect()).unwrap_or_default();
    let one = |name: &str| variable(name).map(PathBuf::from);
    let mut places = Places::default();
    let named: Vec<PathBuf> = listed(PATH_VARIABLE);
    for path in named {
        places.folder(path.clone());
        places.toolkit(&path);
        places.environment(&path);
    }
    for path in ["CUDA_PATH", "CUDA_HOME"].into_iter().filter_map(one) {
        places.toolkit(&path);
    }
    let searched: Vec<PathBuf> = listed(if cfg!(windows) { "PATH" } else { "LD_LIBRARY_PATH" });
    searched.into_iter().for_each(|path| places.folder(path));
    places.0.push(Place::System);
    for path in ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(one) {
        places.environment(&path);
        places.toolkit(&path);
    }
    places.environment(&surroundings.current.join(".venv"));
    // Where `pip install` puts packages outside of any environment.
    let programs: Vec<PathBuf> = listed("PATH");
    for prefix in programs.iter().filter_map(|folder| folder.parent()) {
        places.environment(prefix);
        places.toolkit(prefix);
    }
    if let Some(home) = one("HOME") {
        places.environment(&home.join(".local"));
    }
    if let Some(program) = &surroundings.program {
        places.folder(program.clone());
        places.folder(program.join("lib"));
    }
    for toolkit in installed(&surroundings.root) {
        places.toolkit(&toolkit);
    }
    places.0
}

/// Folders of toolkits where they are installed, the plain name first, then the newest.
fn installed(root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = children(&root.join("usr/local"), "cuda");
    found.sort_by_key(|path| std::cmp::Reverse(numbers(path)));
    found.insert(0, root.join("opt/cuda"));
    found.insert(0, root.join("usr/local/cuda"));
    found
}

/// The numbers in a path's last part: 12 and 4 of `cuda-12.4`.
fn numbers(path: &Path) -> Vec<u32> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// What a folder has whose name begins so.
fn children(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let named =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(named).collect();
    found.sort();
    found
}

#[derive(Default)]
struct Places(Vec<Place>);

impl Places {
    /// A folder, if it is there and not among them yet.
    fn folder(&mut self, path: PathBuf) {
        if path.as_os_str().is_empty() || !path.is_dir() {
            return;
        }
        let place = Place::Folder(path);
        if !self.0.contains(&place) {
            self.0.push(place);
        }
    }

    /// The folders of libraries of a toolkit.
    fn toolkit(&mut self, root: &Path) {
        for folder in ["lib64", "lib", "lib/x64", "bin", "bin/x64"] {
            self.folder(root.join(folder));
        }
        for target in children(&root.join("targets"), "") {
            self.folder(target.join("lib"));
        }
    }

    /// The folders of libraries that pip's packages have in a Python environment.
    fn environment(&mut self, prefix: &Path) {
        let mut libraries = vec![prefix.join("Lib")];
        for folder in ["lib", "lib64"] {
            libraries.extend(children(&prefix.join(folder), "python3"));
        }
        for packages in libraries.iter().flat_map(|it| [it.join("site-packages"), it.join("dist-packages")]) {
            // `nvidia/cu13/lib` of the packages for CUDA 13, `nvidia/cuda_nvrtc/lib` and the like before. The newest stand last
            // in the alphabet only by chance, so that versions are compared where files are chosen.
            for package in children(&packages.join("nvidia"), "") {
                for folder in ["lib", "bin", "bin/x86_64"] {
                    self.folder(package.join(folder));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(root: &Path, folders: &[&str]) {
        for folder in folders {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
    }

    #[test]
    fn places_come_in_order_once_and_only_if_they_are_there() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        made(
            root,
            &[
                "named",
                "toolkit/lib64",
                "searched",
                "env/lib/python3.12/site-packages/nvidia/cu13/lib",
                "here/.venv/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib",
                "program",
                "usr/local/cuda-12.4/lib64",
                "usr/local/cuda-13.0/lib64",
                "usr/local/cuda/targets/x86_64-linux/lib",
                "py/bin",
                "py/lib/python3/dist-packages/nvidia/cublas/lib",
            ],
        );
        let named = std::env::join_paths([root.join("named"), root.join("absent")]).unwrap();
        let searched = std::env::join_paths([root.join("searched"), root.join("named")]).unwrap();
        let variable = |name: &str| match name {
            PATH_VARIABLE => Some(named.clone()),
            "CUDA_PATH" | "CUDA_HOME" => Some(root.join("toolkit").into()),
            "LD_LIBRARY_PATH" => Some(searched.clone()),
            "VIRTUAL_ENV" => Some(root.join("env").into()),
            "CONDA_PREFIX" => Some("".into()),
            "PATH" => Some(root.join("py/bin").into()),
            _ => None,
        };
        let current = root.join("here");
        let program = Some(root.join("program"));
        let found = of(&Surroundings { variable: &variable, current, program, root: root.to_owned() });
        let folder = |path: &str| Place::Folder(root.join(path));
        let expected = [
            folder("named"),
            folder("toolkit/lib64"),
            folder("searched"),
            Place::System,
            folder("env/lib/python3.12/site-packages/nvidia/cu13/lib"),
            folder("env/lib"),
            folder("here/.venv/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib"),
            folder("py/lib/python3/dist-packages/nvidia/cublas/lib"),
            folder("py/lib"),
            folder("py/bin"),
            folder("program"),
            folder("usr/local/cuda/targets/x86_64-linux/lib"),
            folder("usr/local/cuda-13.0/lib64"),
            folder("usr/local/cuda-12.4/lib64"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn without_anything_the_system_is_left() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().to_owned();
        let nothing = Surroundings { variable: &|_| None, current: root.clone(), program: None, root };
        assert_eq!(of(&nothing), [Place::System]);
    }
}
