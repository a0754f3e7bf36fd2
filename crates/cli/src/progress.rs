//! A progress bar on a terminal; nothing where the output goes elsewhere.

use std::io::{IsTerminal, stderr, stdout};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that is gone when dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar of `length` steps.
    pub(crate) fn new(length: u64, what: &str) -> Progress {
        let shown = stdout().is_terminal() && stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(length), target).with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{msg:.bold} [{bar:30}] {percent:>3} % {prefix}") {
            bar.set_style(style.progress_chars("=> "));
        }
        if shown {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Progress(bar)
    }

    /// So many steps are done.
    pub(crate) fn at(&self, position: u64) {
        self.0.set_position(position);
    }

    /// What is being done now.
    pub(crate) fn say(&self, what: &str) {
        self.0.set_prefix(what.to_owned());
    }

    /// Prints while the bar is away.
    pub(crate) fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.0.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
