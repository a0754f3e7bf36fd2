//! Which instruction sets the processor has, and entry into kernels compiled for one of them.

use super::portable::Portable;
use super::vector::Simd;
use std::fmt;
use std::sync::OnceLock;

#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};

/// Code to be compiled once per instruction set.
///
/// Implementors mark `run` `#[inline(always)]`; see the module documentation.
pub trait Kernel {
    /// What the kernel returns.
    type Output;
    /// The kernel's body.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// An instruction set that is known to be present.
#[derive(Clone, Copy)]
pub struct Isa(Token);

#[derive(Clone, Copy)]
enum Token {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    Portable(Portable),
}

impl Isa {
    /// The best instruction set of this processor, detected once.
    ///
    /// The environment variable `INFERRUM_ISA` (`avx512`, `avx2`, `neon`, `portable`) lowers the choice; a name that
    /// the processor does not have, or that is unknown, is ignored with a warning in the log.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let available = Isa::available();
            let wanted = std::env::var("INFERRUM_ISA").ok();
            let chosen = wanted.as_deref().and_then(|name| {
                let found = available.iter().find(|isa| isa.name() == name);
                if found.is_none() {
                    log::warn!("INFERRUM_ISA={name}: not one of {available:?}, ignored");
                }
                found
            });
            *chosen.unwrap_or(&available[0])
        })
    }

    /// All instruction sets of this processor, best first. Never empty: the portable one is always there.
    pub fn available() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx512::detect().map(|t| Isa(Token::Avx512(t))));
            all.extend(Avx2::detect().map(|t| Isa(Token::Avx2(t))));
        }
        #[cfg(target_arch = "aarch64")]
        all.extend(Neon::detect().map(|t| Isa(Token::Neon(t))));
        all.push(Isa(Token::Portable(Portable::new())));
        all
    }

    /// Name as in `INFERRUM_ISA`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Token::Neon(_) => "neon",
            Token::Portable(_) => "portable",
        }
    }

    /// Floats per vector.
    pub fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => Avx2::LANES,
            #[cfg(target_arch = "aarch64")]
            Token::Neon(_) => Neon::LANES,
            Token::Portable(_) => Portable::LANES,
        }
    }

    /// Runs `kernel` compiled for this instruction set.
    #[inline]
    pub fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(s) => s.call(kernel),
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(s) => s.call(kernel),
            #[cfg(target_arch = "aarch64")]
            Token::Neon(s) => s.call(kernel),
            Token::Portable(s) => s.call(kernel),
        }
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Isa {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Isa {}
