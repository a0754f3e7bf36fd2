//! NVRTC, NVIDIA's compiler of CUDA C++ as a library: <https://docs.nvidia.com/cuda/nvrtc/>.
//!
//! Its functions are taken from the library that the search found. (`cudarc` would take whichever the system names first, and
//! panics where there is none.)

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::sync::OnceLock;

use inferrum_backend::Unusable;

use super::architecture::Architecture;
use super::dynamic::Dynamic;
use super::libraries::Library;
use super::places;
use crate::source::Source;

type Program = *mut c_void;
type SizeOf = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type BytesOf = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;

/// `NVRTC_ERROR_COMPILATION`: the source is at fault, and the log says how.
const COMPILATION: c_int = 6;

/// Lines of the compiler's log that an error shows.
const LINES: usize = 8;

/// The compiler. Its functions may be called from any thread.
pub(crate) struct Nvrtc {
    create: Create,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    log: (SizeOf, BytesOf),
    cubin: (SizeOf, BytesOf),
    ptx: (SizeOf, BytesOf),
    error: unsafe extern "C" fn(c_int) -> *const c_char,
    /// Compute capabilities that it makes code for, ascending.
    pub(crate) capabilities: Vec<u32>,
    /// Major and minor version.
    pub(crate) version: (u32, u32),
    library: Dynamic,
    /// Held open for `library`, which asks for it by name.
    _builtins: Option<Dynamic>,
}

impl Nvrtc {
    /// The compiler of this machine; `most` is the major version of CUDA that the driver knows, if there is a driver. It is
    /// looked for once.
    ///
    /// # Errors
    /// There is none, and how to get it.
    pub(crate) fn find(most: Option<u32>) -> Result<&'static Nvrtc, Unusable> {
        static FOUND: OnceLock<Result<Nvrtc, Unusable>> = OnceLock::new();
        FOUND.get_or_init(|| Nvrtc::search(most)).as_ref().map_err(Clone::clone)
    }

    fn search(most: Option<u32>) -> Result<Nvrtc, Unusable> {
        let mut failures = Vec::new();
        for candidate in Library::Nvrtc.candidates(&places::of_process(), most, true) {
            match Nvrtc::open(&candidate.path) {
                Ok(found) => {
                    log::debug!(
                        "NVRTC {}.{} is {}",
                        found.version.0,
                        found.version.1,
                        found.path().display()
                    );
                    return Ok(found);
                }
                // A name that the system does not know is no finding.
                Err(_) if candidate.path.parent().is_none_or(|it| it.as_os_str().is_empty()) => {}
                Err(error) => failures.push(error),
            }
        }
        let found = failures.first().map(|failure| format!(" ({failure})")).unwrap_or_default();
        let package = match most {
            Some(12) => "nvidia-cuda-nvrtc-cu12",
            _ => "'nvidia-cuda-nvrtc==13.*'",
        };
        Err(Unusable {
            reason: format!("NVRTC, which compiles the kernels, is not found{found}"),
            remedy: format!("`pip install {package}`, or name its folder in {}", places::PATH_VARIABLE),
        })
    }

    /// Opens the library at `path`.
    ///
    /// # Errors
    /// It is none, or too old.
    pub(crate) fn open(path: &Path) -> Result<Nvrtc, String> {
        // NVRTC opens its built-in headers by name, and packages of pip do not tell the system's loader where they are. A library
        // that is open already under that name is taken.
        let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let builtins = beside.and_then(|folder| {
            let file = Library::NvrtcBuiltins.in_folder(folder).into_iter().next()?;
            Dynamic::open(&file.path).ok()
        });
        let library = Dynamic::open(path)?;
        // SAFETY: the signatures are those of nvrtc.h, which have been the same since CUDA 11.1.
        unsafe {
            let pair = |size: &str, bytes: &str| -> Result<(SizeOf, BytesOf), String> {
                Ok((library.function(size)?, library.function(bytes)?))
            };
            let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int =
                library.function("nvrtcVersion")?;
            let count: unsafe extern "C" fn(*mut c_int) -> c_int =
                library.function("nvrtcGetNumSupportedArchs")?;
            let list: unsafe extern "C" fn(*mut c_int) -> c_int =
                library.function("nvrtcGetSupportedArchs")?;
            let (mut major, mut minor) = (0, 0);
            if version(&raw mut major, &raw mut minor) != 0 {
                return Err(format!("{} does not tell its version", path.display()));
            }
            Ok(Nvrtc {
                create: library.function("nvrtcCreateProgram")?,
                destroy: library.function("nvrtcDestroyProgram")?,
                compile: library.function("nvrtcCompileProgram")?,
                log: pair("nvrtcGetProgramLogSize", "nvrtcGetProgramLog")?,
                cubin: pair("nvrtcGetCUBINSize", "nvrtcGetCUBIN")?,
                ptx: pair("nvrtcGetPTXSize", "nvrtcGetPTX")?,
                error: library.function("nvrtcGetErrorString")?,
                capabilities: capabilities(count, list),
                version: (major.unsigned_abs(), minor.unsigned_abs()),
                library,
                _builtins: builtins,
            })
        }
    }

    /// What it was opened by.
    pub(crate) fn path(&self) -> &Path {
        &self.library.path
    }

    /// The options for an architecture, and whether the result is PTX: for an architecture that this compiler does not know, PTX
    /// of the newest before it, which the driver compiles.
    ///
    /// # Errors
    /// The architecture is older than all that it knows.
    pub(crate) fn options(&self, architecture: Architecture) -> Result<(Vec<String>, bool), String> {
        let known = self.capabilities.contains(&architecture.capability);
        let target = if known {
            architecture.to_string()
        } else {
            let older = self.capabilities.iter().filter(|&&it| it < architecture.capability).max();
            let older = older.ok_or_else(|| {
                let (major, minor) = self.version;
                format!("NVRTC {major}.{minor} makes no code for {architecture}: install an older one")
            })?;
            format!("compute_{older}")
        };
        // Products are fused with sums as elsewhere in the engine; it is the default, but results depend on it.
        let options = [format!("--gpu-architecture={target}"), "--std=c++17".into(), "--fmad=true".into()];
        Ok((options.to_vec(), !known))
    }

    /// Compiles a source: to machine code (CUBIN), or to PTX, which ends in a zero byte.
    ///
    /// # Errors
    /// The compiler refuses the source; the first of what it says.
    pub(crate) fn compile(&self, source: &Source, architecture: Architecture) -> Result<Vec<u8>, String> {
        let (options, ptx) = self.options(architecture)?;
        let c_string = |text: String| CString::new(text).map_err(|_| "the source has a zero byte".to_owned());
        let options = options.into_iter().map(c_string).collect::<Result<Vec<_>, _>>()?;
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let text = c_string(source.text.to_string())?;
        let name = c_string(format!("{}.cu", source.entry))?;
        let mut program: Program = std::ptr::null_mut();
        // SAFETY: both strings outlive the call, which copies them; there are no headers.
        let code = unsafe {
            let none = std::ptr::null();
            (self.create)(&raw mut program, text.as_ptr(), name.as_ptr(), 0, none, none)
        };
        self.checked("create a program", code)?;
        let program = Owned { nvrtc: self, program };
        // SAFETY: the program is alive, and there are as many options as are told.
        let code = unsafe { (self.compile)(program.program, options.len() as c_int, options.as_ptr()) };
        let log = program.bytes(self.log).map(|log| text_of(&log)).unwrap_or_default();
        if code == COMPILATION {
            return Err(format!(
                "kernel `{}` for {architecture} does not compile:\n{}",
                source.entry,
                first_lines(&log)
            ));
        }
        self.checked("compile", code).map_err(|error| format!("{error}\n{}", first_lines(&log)))?;
        if !log.trim().is_empty() {
            log::debug!("kernel `{}` for {architecture}: {log}", source.entry);
        }
        let mut image = program.bytes(if ptx { self.ptx } else { self.cubin })?;
        if image.is_empty() {
            return Err(format!("the compiler gave nothing for kernel `{}`", source.entry));
        }
        if ptx && image.last() != Some(&0) {
            image.push(0);
        }
        Ok(image)
    }

    fn checked(&self, what: &str, code: c_int) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: it gives a string that stays for any number; NULL is looked for all the same.
        let text = unsafe {
            let text = (self.error)(code);
            if text.is_null() { None } else { Some(CStr::from_ptr(text).to_string_lossy().into_owned()) }
        };
        Err(format!(
            "NVRTC ({}) cannot {what}: {}",
            self.path().display(),
            text.unwrap_or_else(|| code.to_string())
        ))
    }
}

/// What a compiler makes code for.
///
/// # Safety
/// The functions are NVRTC's of those names: the second writes as many numbers as the first tells.
unsafe fn capabilities(
    count: unsafe extern "C" fn(*mut c_int) -> c_int,
    list: unsafe extern "C" fn(*mut c_int) -> c_int,
) -> Vec<u32> {
    let mut number = 0;
    // SAFETY: as the caller says.
    if unsafe { count(&raw mut number) } != 0 {
        return Vec::new();
    }
    let mut found: Vec<c_int> = vec![0; usize::try_from(number).unwrap_or(0)];
    // SAFETY: there is room for as many as it told.
    if found.is_empty() || unsafe { list(found.as_mut_ptr()) } != 0 {
        return Vec::new();
    }
    let mut found: Vec<u32> = found.into_iter().filter_map(|it| it.try_into().ok()).collect();
    found.sort_unstable();
    found
}

/// A program that is destroyed at its end.
struct Owned<'a> {
    nvrtc: &'a Nvrtc,
    program: Program,
}

impl Owned<'_> {
    /// What a pair of functions gives, the first of which tells how long it is.
    fn bytes(&self, (size_of, bytes_of): (SizeOf, BytesOf)) -> Result<Vec<u8>, String> {
        let mut size = 0;
        // SAFETY: the program is alive.
        self.nvrtc.checked("tell a size", unsafe { size_of(self.program, &raw mut size) })?;
        let mut bytes = vec![0_u8; size];
        if size > 0 {
            // SAFETY: there is room for as much as it told.
            let code = unsafe { bytes_of(self.program, bytes.as_mut_ptr().cast()) };
            self.nvrtc.checked("give a result", code)?;
        }
        Ok(bytes)
    }
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        // SAFETY: it was created, and nothing uses it any more.
        unsafe { (self.nvrtc.destroy)(&raw mut self.program) };
    }
}

fn text_of(log: &[u8]) -> String {
    String::from_utf8_lossy(log.strip_suffix(&[0]).unwrap_or(log)).into_owned()
}

/// The first lines from the first error on.
fn first_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let start = lines.iter().position(|line| line.contains("error")).unwrap_or(0);
    lines[start..].iter().take(LINES).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_shown_first() {
        let log = "f.cu(1): warning: x\n\nf.cu(2): error: y\n  here\n";
        assert_eq!(first_lines(log), "f.cu(2): error: y\n  here");
        assert_eq!(first_lines(""), "");
        assert_eq!(text_of(b"log\0"), "log");
    }
}
