//! The progress bar: on standard error, when that is a terminal.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redraws per second.
const DRAWS_PER_SECOND: u8 = 10;
/// How often the times move on when no task ends.
const TICK: Duration = Duration::from_millis(200);

const WITH_TOTAL: &str =
    "{bar:30} {human_pos}/{human_len} tasks  {per_sec}  {elapsed} so far, {eta} left{msg}";
const WITHOUT_TOTAL: &str = "{spinner} {human_pos} tasks  {per_sec}  {elapsed} so far{msg}";

/// How far the job is, if somebody looks.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// A bar that shows nothing.
    pub(crate) fn hidden() -> Self {
        Self(None)
    }

    /// A bar for so many tasks, or for tasks that nobody has counted.
    pub(crate) fn new(total: Option<u64>) -> Self {
        if !io::stderr().is_terminal() {
            return Self::hidden();
        }
        let template = if total.is_some() {
            WITH_TOTAL
        } else {
            WITHOUT_TOTAL
        };
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key("per_sec", rate)
            .progress_chars("█▉▊▋▌▍▎▏ ");
        let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
        let bar = ProgressBar::with_draw_target(total, target).with_style(style);
        bar.enable_steady_tick(TICK);
        Self(Some(bar))
    }

    /// Whether somebody looks.
    pub(crate) fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// One more task has ended.
    pub(crate) fn ended(&self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }

    /// So many of so many have ended.
    pub(crate) fn is_at(&self, ended: u64, total: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(total);
            bar.set_position(ended);
        }
    }

    /// So many have failed.
    pub(crate) fn failed(&self, failed: u64) {
        if let Some(bar) = &self.0 {
            bar.set_message(format!(", {failed} failed"));
        }
    }

    /// Prints with the bar out of the way.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn rate(state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write) {
    let rate = state.per_sec();
    // The bar shows what there is; it cannot fail for the job.
    let _ = if rate >= 10.0 {
        write!(out, "{rate:.0}/s")
    } else {
        write!(out, "{rate:.2}/s")
    };
}
