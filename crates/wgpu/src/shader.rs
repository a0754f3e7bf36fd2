//! WGSL sources and what they are filled in with.
//!
//! A source in `shaders/` may hold `{{name}}`, which is replaced, and lines `#if name`, `#else`, `#endif`, between which
//! lines are kept where a switch is on. What stands in `prelude.wgsl` is there for all.

use std::fmt::Write as _;
use std::sync::Arc;

const PRELUDE: &str = include_str!("../../../shaders/prelude.wgsl");

/// Functions of floats, for [`Template::including`].
pub(crate) const FUNCTIONS: &str = include_str!("../../../shaders/functions.wgsl");

/// Parameters as numbered words, for [`Template::including`]; `params` is how many vectors of four they fill.
const WORDS: &str = include_str!("../../../shaders/words.wgsl");

/// What an invocation knows of its subgroup.
const SUBGROUPS: &str = include_str!("../../../shaders/subgroups.wgsl");

/// A whole shader, and a name for errors and profiles.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shader {
    pub(crate) name: &'static str,
    /// Shared by the dispatches that it serves.
    pub(crate) source: Arc<str>,
}

/// A source that is being filled in.
pub(crate) struct Template {
    name: &'static str,
    text: &'static str,
    included: Vec<&'static str>,
    values: Vec<(&'static str, String)>,
    switches: Vec<&'static str>,
}

impl Template {
    pub(crate) fn new(name: &'static str, text: &'static str) -> Template {
        Template { name, text, included: Vec::new(), values: Vec::new(), switches: Vec::new() }
    }

    /// Puts another source before this one.
    pub(crate) fn including(mut self, text: &'static str) -> Template {
        self.included.push(text);
        self
    }

    /// Lets the source call `param(i)` for each of `count` words.
    pub(crate) fn params(self, count: usize) -> Template {
        self.including(WORDS).with("params", count.div_ceil(4).max(1))
    }

    /// Turns the switch `subgroups` on if `on`, and the source says where its entry takes the builtins (`{{subgroup}}`) and begins
    /// (`{{enter}}`).
    pub(crate) fn subgroups(self, on: bool) -> Template {
        let on = on && self.text.contains("{{enter}}");
        let (builtins, enter) = if on {
            let builtins = "@builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) subgroups: u32,";
            (builtins, "enter(subgroup, subgroups);")
        } else {
            ("", "")
        };
        let template = if on { self.including(SUBGROUPS) } else { self };
        template.with("subgroup", builtins).with("enter", enter).switch("subgroups", on)
    }

    /// Replaces `{{name}}`.
    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Template {
        self.values.push((name, value.to_string()));
        self
    }

    /// Turns a switch on if `on`.
    pub(crate) fn switch(mut self, name: &'static str, on: bool) -> Template {
        self.switches.extend(on.then_some(name));
        self
    }

    /// The shader.
    pub(crate) fn build(self) -> Shader {
        let mut source = String::new();
        for text in [PRELUDE].iter().chain(&self.included).chain([&self.text]) {
            self.append(text, &mut source);
        }
        if source.contains("f16") {
            source.insert_str(0, "enable f16;\n\n");
        }
        if source.contains("coop_mat") {
            source.insert_str(0, "enable wgpu_cooperative_matrix;\n");
        }
        Shader { name: self.name, source: source.into() }
    }

    fn append(&self, text: &str, source: &mut String) {
        // One entry for each open `#if`: whether its lines are kept.
        let mut kept: Vec<bool> = Vec::new();
        for line in text.lines() {
            let word = line.trim();
            if let Some(name) = word.strip_prefix("#if ") {
                kept.push(self.switches.contains(&name.trim()));
            } else if word == "#else" {
                if let Some(last) = kept.last_mut() {
                    *last = !*last;
                }
            } else if word == "#endif" {
                kept.pop();
            } else if kept.iter().all(|&kept| kept) {
                let mut line = line.to_owned();
                for (name, value) in &self.values {
                    if line.contains("{{") {
                        line = line.replace(&format!("{{{{{name}}}}}"), value);
                    }
                }
                if !line.trim().is_empty() || word.is_empty() {
                    let _ = writeln!(source, "{line}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_switches() {
        let text = "a {{x}}\n#if on\nb\n#else\nc\n#endif\n#if off\nd {{x}}\n#endif";
        let shader = Template::new("test", text).with("x", 3).switch("on", true).switch("off", false).build();
        assert!(shader.source.ends_with("a 3\nb\n"), "{}", shader.source);
    }
}
