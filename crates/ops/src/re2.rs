//! Regular expressions in RE2's syntax (<https://github.com/google/re2/wiki/Syntax>), matched in linear time.

use std::fmt;
use std::ops::Range;

use regex_automata::meta::{Config, Regex};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

/// An expression; of all matches that begin leftmost it finds the longest.
#[derive(Clone)]
pub(crate) struct Pattern {
    text: String,
    /// Finds where the leftmost match begins.
    leftmost: Regex,
    /// Finds the longest match that begins at a given place.
    longest: Regex,
}

impl Pattern {
    /// The expression of a text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Pattern, String> {
        let translated = translate(text)?;
        let build = |kind: MatchKind| {
            Regex::builder()
                .configure(Config::new().match_kind(kind))
                .syntax(syntax::Config::new().octal(true))
                .build(&translated)
                .map_err(|error| match error.syntax_error() {
                    Some(error) => error.to_string(),
                    None => error.to_string(),
                })
        };
        Ok(Pattern {
            text: text.to_owned(),
            leftmost: build(MatchKind::LeftmostFirst)?,
            longest: build(MatchKind::All)?,
        })
    }

    /// The first match at `start` or after it.
    pub(crate) fn find(&self, text: &str, start: usize) -> Option<Range<usize>> {
        let input = Input::new(text).range(start..);
        let first = self.leftmost.search(&input)?.start();
        let found = self.longest.search(&input.range(first..).anchored(Anchored::Yes))?;
        Some(found.range())
    }

    /// Whether the whole text matches.
    pub(crate) fn matches_whole(&self, text: &str) -> bool {
        let found = self.longest.search(&Input::new(text).anchored(Anchored::Yes));
        found.is_some_and(|found| found.end() == text.len())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// The expression in the syntax of the engine, which differs: its classes are of Unicode where RE2's are ASCII, and
/// it nests classes and knows operators in them.
fn translate(pattern: &str) -> Result<String, String> {
    let mut rest = pattern;
    let mut out = String::with_capacity(pattern.len() + 16);
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '\\' => escape(rest, &mut out)?,
            '[' => class(rest, &mut out)?,
            '{' if repetition(rest).is_none() => {
                out.push_str("\\{");
                &rest[1..]
            }
            '{' => {
                let length = repetition(rest).unwrap_or(1);
                out.push_str(&rest[..length]);
                &rest[length..]
            }
            _ => {
                out.push(c);
                &rest[c.len_utf8()..]
            }
        };
    }
    Ok(out)
}

/// The length of `{2}`, `{2,}` or `{2,3}` at the start of `text`.
fn repetition(text: &str) -> Option<usize> {
    let length = text.find('}')? + 1;
    let (low, high) = text[1..length - 1].split_once(',').unwrap_or((&text[1..length - 1], ""));
    let digits = |number: &str| number.bytes().all(|b| b.is_ascii_digit());
    (!low.is_empty() && digits(low) && digits(high)).then_some(length)
}

/// Translates the escape at the start of `text`; gives what is after it.
fn escape<'t>(text: &'t str, out: &mut String) -> Result<&'t str, String> {
    let Some(c) = text[1..].chars().next() else { return Err("a pattern must not end in \\".into()) };
    let after = &text[1 + c.len_utf8()..];
    match c {
        'Q' => {
            let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
            quoted.chars().for_each(|c| literal(c, out));
            return Ok(after);
        }
        'C' => return Err("\\C, a single byte, is not supported".into()),
        'b' => out.push_str("(?-u:\\b)"),
        'B' => out.push_str("(?-u:\\B)"),
        _ => return class_escape(text, out),
    }
    Ok(after)
}

/// Translates an escape that may also stand in a class.
fn class_escape<'t>(text: &'t str, out: &mut String) -> Result<&'t str, String> {
    let Some(c) = text[1..].chars().next() else { return Err("a pattern must not end in \\".into()) };
    let after = &text[1 + c.len_utf8()..];
    match c {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        's' => out.push_str("[\\t\\n\\f\\r\\x20]"),
        'S' => out.push_str("[^\\t\\n\\f\\r\\x20]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'p' | 'P' | 'x' if after.starts_with('{') => {
            let end = after.find('}').ok_or_else(|| format!("a }} is missing after \\{c}{{"))? + 1;
            out.push('\\');
            out.push(c);
            out.push_str(&after[..end]);
            return Ok(&after[end..]);
        }
        c if c.is_ascii_punctuation() => literal(c, out),
        c => {
            out.push('\\');
            out.push(c);
        }
    }
    Ok(after)
}

fn literal(c: char, out: &mut String) {
    out.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
}

/// Translates the class at the start of `text`; gives what is after it.
fn class<'t>(text: &'t str, out: &mut String) -> Result<&'t str, String> {
    let missing = || "a ] is missing".to_owned();
    out.push('[');
    let mut rest = &text[1..];
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    loop {
        let c = rest.chars().next().ok_or_else(missing)?;
        if c == ']' && !first {
            out.push(']');
            return Ok(&rest[1..]);
        }
        first = false;
        if c == '['
            && rest[1..].starts_with(':')
            && let Some(end) = rest.find(":]")
        {
            out.push_str(&rest[..end + 2]);
            rest = &rest[end + 2..];
            continue;
        }
        rest = class_item(rest, out)?;
        // A minus before the closing bracket stands for itself.
        if rest.starts_with('-') && !rest.starts_with("-]") {
            out.push('-');
            rest = class_item(&rest[1..], out)?;
        }
    }
}

fn class_item<'t>(text: &'t str, out: &mut String) -> Result<&'t str, String> {
    match text.chars().next() {
        None => Err("a ] is missing".into()),
        Some('\\') => class_escape(text, out),
        Some(c) if c.is_ascii_punctuation() => {
            literal(c, out);
            Ok(&text[1..])
        }
        Some(c) => {
            out.push(c);
            Ok(&text[c.len_utf8()..])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).unwrap().matches_whole(text)
    }

    #[test]
    fn matches_are_leftmost_and_longest() {
        let pattern = Pattern::new("a|ab|b+?").unwrap();
        assert_eq!(pattern.find("xxabbb", 0), Some(2..4));
        assert_eq!(pattern.find("xxabbb", 3), Some(3..6));
        assert_eq!(pattern.find("xxabbb", 6), None);
        assert_eq!(Pattern::new("x*").unwrap().find("é", 0), Some(0..0));
        assert!(whole("a|ab", "ab") && whole("(?:a|ab)(?:c|bcd)", "abcd") && !whole("a|ab", "abc"));
        assert!(whole("", "") && whole("a*?", "aaa") && !whole("a*", "aab"));
    }

    #[test]
    fn classes_are_ascii_and_characters_are_code_points() {
        assert!(whole("\\d", "7") && !whole("\\d", "٣") && whole("\\D", "٣"));
        assert!(whole(".", "é") && whole("[^a]", "é") && !whole("\\w", "é") && whole("\\pL", "é"));
        assert!(whole("\\s[\\s]", " \t") && !whole("\\s", "\u{b}"));
        assert!(whole("[[:alpha:]_]+", "a_Z") && whole("[\\w.]+", "a.b") && whole("[^\\d]", "x"));
        assert_eq!(Pattern::new("\\bb").unwrap().find("éb b", 0), Some(2..3));
        assert!(whole("a\\Bb", "ab"));
    }

    #[test]
    fn what_only_the_engine_knows_is_literal() {
        assert!(whole("[a&&b]+", "a&b") && whole("[a~~b[]+", "~[") && whole("[+--]+", "+,-"));
        assert!(whole("[]a]+", "]a") && whole("[^]a]", "b") && whole("[a-]+", "a-") && whole("[-a]+", "-a"));
        assert!(whole("a{,2}", "a{,2}") && whole("a{x", "a{x") && whole("a{2}b{1,}c{0,1}", "aabb"));
        assert!(whole("\\Qa.b\\E.", "a.bx") && whole("\\<\\-\\]", "<-]") && whole("\\x{e9}\\x41", "éA"));
    }

    #[test]
    fn wrong_patterns_are_errors() {
        for pattern in ["(", "[a", "a\\", "\\C", "*", "\\p{Nothing}", "\\p{", "a{1000}{1000}{1000}"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }
}
