//! CUDA C++ sources and what they are compiled with.
//!
//! A source in `kernels/` is CUDA C++ as it is; what a kernel is made for (types, sizes that are known, switches) stands before it as
//! macros. `prelude.cuh` is there for all.

use std::fmt::Write as _;

const PRELUDE: &str = include_str!("../../../kernels/prelude.cuh");

/// A whole source, and which of its functions is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    /// The kernel function, which is `extern "C"`.
    pub(crate) entry: &'static str,
    /// All of the text; the host's compiler gets the same.
    pub(crate) text: String,
}

/// A source that is being put together.
pub(crate) struct Template {
    entry: &'static str,
    text: &'static str,
    included: Vec<&'static str>,
    defined: String,
    generated: String,
}

impl Template {
    /// `entry` of the file whose text this is.
    pub(crate) fn new(entry: &'static str, text: &'static str) -> Template {
        Template { entry, text, included: Vec::new(), defined: String::new(), generated: String::new() }
    }

    /// Puts another file before this one.
    pub(crate) fn including(mut self, text: &'static str) -> Template {
        self.included.push(text);
        self
    }

    /// Defines a macro.
    pub(crate) fn define(mut self, name: &str, value: impl std::fmt::Display) -> Template {
        let _ = writeln!(self.defined, "#define {name} {value}");
        self
    }

    /// Defines a macro as 1 if `on`, else as 0.
    pub(crate) fn switch(self, name: &str, on: bool) -> Template {
        self.define(name, u8::from(on))
    }

    /// Puts generated code before the file, after what it includes.
    pub(crate) fn with(mut self, code: &str) -> Template {
        self.generated.push_str(code);
        self
    }

    /// The source.
    pub(crate) fn build(self) -> Source {
        let mut text = self.defined;
        for part in [PRELUDE].iter().chain(&self.included).chain([&self.generated.as_str(), &self.text]) {
            text.push_str(part);
            text.push('\n');
        }
        Source { entry: self.entry, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_stand_before_the_text() {
        let source = Template::new("f", "the text").define("X", "float").switch("LOG", true).build();
        assert!(source.text.starts_with("#define X float\n#define LOG 1\n"), "{}", source.text);
        assert!(source.text.ends_with("the text\n"), "{}", source.text);
    }
}
