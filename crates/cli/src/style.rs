//! Colours. `anstream` drops them where the output is no terminal, or `NO_COLOR` is set.

use anstyle::{AnsiColor, Style};

/// Headings of tables.
pub(crate) const HEADING: Style = Style::new().bold();
/// What matters least.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// Success.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Failure.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
