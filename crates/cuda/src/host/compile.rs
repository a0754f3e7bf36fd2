//! Kernels to shared objects by g++ (`$CXX`), kept in the user's cache.

use std::any::Any;
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, LazyLock, Mutex, OnceLock};

use inferrum_backend::{BackendError, Cache};
use libloading::Library;

use super::runner::Module;
use crate::driver::Function;
use crate::source::Source;

/// What stands before a kernel's source, in this order.
const BEFORE: [&str; 4] = [
    include_str!("../../../../kernels/host/shared.h"),
    include_str!("../../../../kernels/host/vectors.h"),
    include_str!("../../../../kernels/host/cuda.h"),
    include_str!("../../../../kernels/host/functions.h"),
];
/// What stands after it.
const AFTER: &str = include_str!("../../../../kernels/host/entry.h");
const RUNNER: &str = include_str!("../../../../kernels/host/runner.cpp");
/// What the runner includes, what includes others first.
const RUNNER_HEADERS: [(&str, &str); 3] = [
    ("threads.h", include_str!("../../../../kernels/host/threads.h")),
    ("switch.h", include_str!("../../../../kernels/host/switch.h")),
    ("shared.h", BEFORE[0]),
];

const FLAGS: &[&str] = &[
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-shared",
    "-fno-exceptions",
    "-fno-rtti",
    "-fvisibility=hidden",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
];
/// A kernel has no libraries but these two, and its .bss is its shared memory only.
const KERNEL_FLAGS: &[&str] = &[
    "-w",
    "-nostartfiles",
    "-nodefaultlibs",
    "-fno-threadsafe-statics",
    // Large local variables meet the page before the stack.
    "-fstack-clash-protection",
    "-fsanitize=bounds,alignment,shift",
    "-fno-sanitize-recover=all",
];

/// Flags for instructions that this processor has; without them 16-bit floats are slow.
fn machine() -> &'static [&'static str] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe")
    {
        return &["-march=x86-64-v3"];
    }
    &[]
}

/// A kernel that is open.
pub(super) struct Kernel {
    /// The table that it exports.
    pub(super) module: *const Module,
    /// Its statics are one launch's at a time.
    pub(super) running: Mutex<()>,
    /// Its source, whose lines reports name.
    text: String,
    _library: Library,
}

// SAFETY: the table is a constant of the library, which is open as long as this is; what it points to is only touched under `running`.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

impl Kernel {
    /// A line of the source, counted from 1.
    pub(super) fn line(&self, line: u32) -> Option<&str> {
        self.text.lines().nth((line as usize).checked_sub(1)?).map(str::trim)
    }
}

/// Compiles and opens kernels, several at once.
pub(super) fn load(sources: &[&Source]) -> Vec<Result<Function, BackendError>> {
    let mut results: Vec<Option<Result<Arc<Kernel>, String>>> = vec![None; sources.len()];
    std::thread::scope(|scope| {
        let chunk = sources.len().div_ceil(cores()).max(1);
        for (sources, results) in sources.chunks(chunk).zip(results.chunks_mut(chunk)) {
            scope.spawn(move || {
                for (source, result) in sources.iter().zip(results) {
                    *result = Some(kernel(source));
                }
            });
        }
    });
    let function = |(source, result): (&&Source, Option<Result<Arc<Kernel>, String>>)| {
        let kernel = result.unwrap_or_else(|| Err("it was not compiled".into())).map_err(|reason| {
            BackendError::Device(format!("{} refuses the kernel `{}`: {reason}", super::DEVICE, source.entry))
        })?;
        Ok(Function { module: kernel as Arc<dyn Any + Send + Sync>, name: source.entry })
    };
    sources.iter().zip(results).map(function).collect()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

type Slot = Arc<OnceLock<Result<Arc<Kernel>, String>>>;

/// A source's kernel; each is opened once in a process.
fn kernel(source: &Source) -> Result<Arc<Kernel>, String> {
    static OPEN: LazyLock<Mutex<HashMap<Source, Slot>>> = LazyLock::new(Mutex::default);
    let slot = Arc::clone(
        OPEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).entry(source.clone()).or_default(),
    );
    slot.get_or_init(|| open(source).map(Arc::new)).clone()
}

fn open(source: &Source) -> Result<Kernel, String> {
    let mut text = String::new();
    for part in BEFORE {
        text.push_str(part);
    }
    // Lines are those of the source alone.
    text.push_str("#line 1 \"kernel.cu\"\n");
    text.push_str(&source.text);
    text.push_str("\n#line 1 \"entry.h\"\n");
    text.push_str(AFTER);
    text.push_str(&format!("HOST_ENTRY({})\n", source.entry));
    let text = text.replace("#pragma once\n", "\n");
    let path = compiled(source.entry, &text, KERNEL_FLAGS)?;
    let failed = |error: libloading::Error| format!("{}: {error}", path.display());
    // SAFETY: our own code, which has no initialisers.
    let library = unsafe { Library::new(&path) }.map_err(failed)?;
    // SAFETY: entry.h exports the table by this name, whose address is what the symbol is.
    let module = unsafe { *library.get::<*const Module>(b"inferrum_kernel").map_err(failed)? };
    Ok(Kernel { module, running: Mutex::new(()), text: source.text.to_string(), _library: library })
}

/// The runner's shared object.
pub(super) fn runner() -> Result<PathBuf, String> {
    let mut text = RUNNER.to_string();
    for (name, header) in RUNNER_HEADERS {
        text = text.replace(&format!("#include \"{name}\"\n"), header);
    }
    let text = text.replace("#pragma once\n", "\n");
    compiled("runner", &text, &[])
}

/// The file of the shared object of a text: from the cache, else compiled.
fn compiled(name: &str, text: &str, flags: &[&str]) -> Result<PathBuf, String> {
    let compiler = compiler().as_ref().map_err(String::clone)?;
    let key = {
        let mut key = Fingerprint::new();
        for part in [compiler.version.as_str(), text].iter().chain(FLAGS).chain(machine()).chain(flags) {
            key.add(part.as_bytes());
        }
        key.text()
    };
    let folder = folder()?;
    let target = folder.join(format!("{name}-{key}.so"));
    if target.exists() {
        return Ok(target);
    }
    let failed = |error: std::io::Error| format!("{}: {error}", target.display());
    // Other processes wait here while this one compiles.
    let lock = File::create(target.with_extension("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    if !target.exists() {
        let _turn = Turn::take();
        let source = target.with_extension("cpp");
        let partial = target.with_extension("part");
        fs::write(&source, text).map_err(failed)?;
        run(compiler, flags, &source, &partial)?;
        fs::rename(&partial, &target).map_err(failed)?;
        // Only what does not compile is left to be looked at.
        let _ = fs::remove_file(&source);
    }
    Ok(target)
}

fn run(compiler: &Compiler, flags: &[&str], source: &Path, target: &Path) -> Result<(), String> {
    let mut command = Command::new(&compiler.program);
    command.args(FLAGS).args(machine()).args(flags).arg("-o").arg(target).arg(source).args(["-lm", "-lc"]);
    let output = command.output().map_err(|error| format!("{}: {error}", compiler.program))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().take(40).collect();
    Err(format!("{} does not compile {}:\n{}", compiler.program, source.display(), said.join("\n")))
}

struct Compiler {
    program: String,
    version: String,
}

fn compiler() -> &'static Result<Compiler, String> {
    static COMPILER: OnceLock<Result<Compiler, String>> = OnceLock::new();
    COMPILER.get_or_init(|| {
        let program =
            std::env::var("CXX").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "g++".into());
        let output = Command::new(&program).arg("--version").output();
        let output = output.map_err(|error| {
            format!(
                "{} needs a C++ compiler, and `{program}` does not start: {error}; install g++ or set CXX",
                super::DEVICE
            )
        })?;
        Ok(Compiler { program, version: String::from_utf8_lossy(&output.stdout).into_owned() })
    })
}

/// Where shared objects are kept: the user's cache, else a folder of this process.
fn folder() -> Result<PathBuf, String> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = FOLDER.get_or_init(|| {
        let cached = Cache::of_user().folder().map(|folder| folder.join("cuda-host"));
        if let Some(folder) = cached.filter(|folder| fs::create_dir_all(folder).is_ok()) {
            return Ok(folder);
        }
        let folder = tempfile::Builder::new().prefix("inferrum-cuda-host-").tempdir();
        folder
            .map(tempfile::TempDir::keep)
            .map_err(|error| format!("no folder for compiled kernels: {error}"))
    });
    made.clone()
}

/// One of as many compilers as there are cores.
struct Turn;

static RUNNING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Turn {
    fn take() -> Turn {
        let running = RUNNING.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut running = RUNNING
            .1
            .wait_while(running, |running| *running >= cores())
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        *running += 1;
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) -= 1;
        RUNNING.1.notify_one();
    }
}

/// 128 bits of FNV-1a, the same in all processes (<http://www.isthe.com/chongo/tech/comp/fnv/>).
struct Fingerprint(u128);

impl Fingerprint {
    fn new() -> Fingerprint {
        Fingerprint(0x6c62272e07bb014262b821756295c58d)
    }

    /// Adds a part; where it ends counts too.
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes.iter().chain(&(bytes.len() as u64).to_le_bytes()) {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(0x0000000001000000000000000000013B);
        }
    }

    fn text(&self) -> String {
        format!("{:032x}", self.0)
    }
}
