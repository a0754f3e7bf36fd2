//! Kernels from their sources, compiled once per architecture and kept on the disk.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use inferrum_backend::Cache;

use super::architecture::Architecture;
use super::nvrtc::Nvrtc;
use crate::source::Source;

/// Stack of a thread that compiles, in bytes: compilers recurse, and threads of ours have less than a program's first one.
const STACK: usize = 16 << 20;

/// The compiler together with what it compiled before.
pub(crate) struct Compiler {
    nvrtc: &'static Nvrtc,
    cache: Cache,
}

impl Compiler {
    /// A compiler that keeps in `cache` what it makes.
    pub(crate) fn new(nvrtc: &'static Nvrtc, cache: Cache) -> Compiler {
        Compiler { nvrtc, cache }
    }

    /// The machine code of a source (or PTX, if the compiler is older than the architecture). No device is needed.
    ///
    /// # Errors
    /// The compiler refuses it; the first of what it says.
    pub(crate) fn compile_for(&self, source: &Source, architecture: Architecture) -> Result<Vec<u8>, String> {
        let (options, _) = self.nvrtc.options(architecture)?;
        let (major, minor) = self.nvrtc.version;
        // All that the code depends on; the whole source, so that no two of them are ever taken for one another.
        let key = format!("nvrtc {major}.{minor}\n{}\n{}\n{}", options.join(" "), source.entry, source.text);
        let name = format!("cuda-{}-{architecture}-{:016x}", source.entry, hash(key.as_bytes()));
        if let Some(kept) = self.cache.get(&name, &key) {
            return Ok(kept);
        }
        let image = self.nvrtc.compile(source, architecture)?;
        self.cache.put(&name, &key, &image);
        Ok(image)
    }

    /// As [`Compiler::compile_for`], of many at once.
    pub(crate) fn compile_all(
        &self,
        sources: &[&Source],
        architecture: Architecture,
    ) -> Vec<Result<Vec<u8>, String>> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<Option<Result<Vec<u8>, String>>>> = Mutex::new(vec![None; sources.len()]);
        let work = || {
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(source) = sources.get(place) else { break };
                let result = self.compile_for(source, architecture);
                let mut results = results.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if let Some(slot) = results.get_mut(place) {
                    *slot = Some(result);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..cores.min(sources.len()) {
                let builder = std::thread::Builder::new().name("nvrtc".into()).stack_size(STACK);
                if let Err(error) = builder.spawn_scoped(scope, work) {
                    log::debug!("a thread less to compile: {error}");
                }
            }
        });
        // What no thread took, because none could be started.
        work();
        let results = results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        results
            .into_iter()
            .map(|it| it.unwrap_or_else(|| Err("the compiler's thread has died".into())))
            .collect()
    }
}

/// FNV-1a, of 64 bits: <http://www.isthe.com/chongo/tech/comp/fnv/>. It is the same in all processes, and only names files.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Template;

    const SCALE: &str = "extern \"C\" __global__ void scale(float* y, const float* x, float by, u32 n) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = expf(x[i]) * by + __shfl_xor_sync(FULL, x[i], 1);
}";

    fn nvrtc() -> Option<&'static Nvrtc> {
        match Nvrtc::find(None) {
            Ok(nvrtc) => Some(nvrtc),
            Err(missing) => {
                println!("skipped: no NVRTC ({missing})");
                None
            }
        }
    }

    #[test]
    fn hashes_are_those_of_the_definition() {
        assert_eq!((hash(b""), hash(b"foobar")), (0xcbf2_9ce4_8422_2325, 0x8594_4171_f739_67e8));
    }

    #[test]
    fn a_kernel_becomes_machine_code_for_each_architecture() {
        let Some(nvrtc) = nvrtc() else { return };
        let compiler = Compiler::new(nvrtc, Cache::default());
        let source = Template::new("scale", SCALE).build();
        for architecture in
            [75, 80, 90].map(Architecture::plain).into_iter().chain([Architecture::of_device(90)])
        {
            let image = compiler.compile_for(&source, architecture).unwrap();
            assert!(image.starts_with(b"\x7fELF"), "{architecture}");
            let entry = b".text.scale";
            assert!(image.windows(entry.len()).any(|it| it == entry), "{architecture}");
        }
        let newer = compiler.compile_for(&source, Architecture::of_device(9990)).unwrap();
        assert!(newer.ends_with(b"\0") && String::from_utf8_lossy(&newer).contains(".entry scale("));
        let error = compiler.compile_for(&source, Architecture::of_device(10)).unwrap_err();
        assert!(error.contains("sm_10"), "{error}");
    }

    #[test]
    fn what_does_not_compile_is_told_with_its_place() {
        let Some(nvrtc) = nvrtc() else { return };
        let compiler = Compiler::new(nvrtc, Cache::default());
        let broken =
            Template::new("broken", "extern \"C\" __global__ void broken(float* y) { y[0] = absent; }")
                .build();
        let error = compiler.compile_for(&broken, Architecture::plain(80)).unwrap_err();
        assert!(
            error.contains("`broken`") && error.contains("absent") && error.contains("broken.cu("),
            "{error}"
        );
        assert!(error.lines().count() <= LINES_OF_ERROR, "{error}");
        let zero = Source { entry: "zero", text: "\0".into() };
        assert!(compiler.compile_for(&zero, Architecture::plain(80)).is_err());
    }

    const LINES_OF_ERROR: usize = 9;

    #[test]
    fn the_disk_keeps_what_was_compiled() {
        let Some(nvrtc) = nvrtc() else { return };
        let folder = tempfile::tempdir().unwrap();
        let compiler = Compiler::new(nvrtc, Cache::at(folder.path()));
        let source = Template::new("scale", SCALE).build();
        let architecture = Architecture::plain(80);
        let first = compiler.compile_for(&source, architecture).unwrap();
        let files = || -> Vec<_> { std::fs::read_dir(folder.path()).unwrap().flatten().collect() };
        assert_eq!(files().len(), 1);
        // What is kept is taken as it is: an entry that says something else comes back so.
        let (options, _) = nvrtc.options(architecture).unwrap();
        let (major, minor) = nvrtc.version;
        let key = format!("nvrtc {major}.{minor}\n{}\nscale\n{}", options.join(" "), source.text);
        Cache::at(folder.path()).put(&files()[0].file_name().to_string_lossy(), &key, b"kept");
        assert_eq!(compiler.compile_for(&source, architecture).unwrap(), b"kept");
        assert_ne!(first, b"kept");
        compiler.compile_for(&source, Architecture::plain(75)).unwrap();
        assert_eq!(files().len(), 2, "another architecture is another entry");
    }

    #[test]
    fn many_are_compiled_at_once_each_with_its_result() {
        let Some(nvrtc) = nvrtc() else { return };
        let compiler = Compiler::new(nvrtc, Cache::default());
        let good = Template::new("scale", SCALE).build();
        let bad = Template::new("bad", "int").build();
        let results = compiler.compile_all(&[&good, &bad, &good], Architecture::plain(80));
        assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert!(compiler.compile_all(&[], Architecture::plain(80)).is_empty());
    }
}
