//! What kernels are compiled for.

use std::fmt;

/// An architecture: a compute capability, and whether code may use what only this very one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Architecture {
    /// Compute capability: 90 is 9.0.
    pub(crate) capability: u32,
    /// Whether it is `sm_90a` in place of `sm_90`: code that runs on no other architecture (`wgmma`).
    pub(crate) own: bool,
}

impl Architecture {
    /// What kernels for a device of this compute capability are compiled for. Code is made for the very device, so that on
    /// Hopper nothing speaks against what only Hopper has.
    pub(crate) fn of_device(capability: u32) -> Architecture {
        Architecture { capability, own: capability == 90 }
    }

    /// The architecture without what only it has.
    #[cfg(test)]
    pub(crate) fn plain(capability: u32) -> Architecture {
        Architecture { capability, own: false }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}{}", self.capability, if self.own { "a" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_compiler() {
        assert_eq!(Architecture::of_device(75).to_string(), "sm_75");
        assert_eq!(Architecture::of_device(90).to_string(), "sm_90a");
        assert_eq!(Architecture::plain(90).to_string(), "sm_90");
    }
}
