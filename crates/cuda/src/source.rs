//! CUDA C++ sources and what they are compiled with.
//!
//! A source in `kernels/` is CUDA C++ as it is; what a kernel is made for (types, sizes that are known, switches) stands before it as
//! macros, in capitals, which no template may name a parameter by. `prelude.cuh` is there for all, and knows no macros.

use std::fmt::Write as _;
use std::sync::Arc;

const PRELUDE: &str = include_str!("../../../kernels/prelude.cuh");

/// A whole source, and which of its functions is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    /// The kernel function, which is `extern "C"`.
    pub(crate) entry: &'static str,
    /// All of the text; the host's compiler gets the same.
    pub(crate) text: Arc<str>,
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
        let mut text = String::new();
        let own = [self.generated.as_str(), self.text];
        for part in [PRELUDE, &self.defined].iter().chain(&self.included).chain(&own) {
            text.push_str(part);
            text.push('\n');
        }
        Source { entry: self.entry, text: text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_stand_before_the_text() {
        let template = Template::new("f", "the text").including("a header").define("X", "float");
        let text = template.switch("LOG", true).with("a function").build().text;
        let end = "#define X float\n#define LOG 1\n\na header\na function\nthe text\n";
        assert!(text.starts_with(PRELUDE) && text.ends_with(end), "{text}");
    }
}
