//! Progress of long operations on a terminal; nothing is written to a pipe or file.

use std::{
    io::{self, Write},
    sync::LazyLock,
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{collector::Progress, redact};

/// All progress bars. They are hidden automatically if standard error is not a terminal.
static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// Writes one line of the log to standard error, without secrets and without garbling the progress bars. The
/// line is written on drop, because a secret may arrive in two parts.
#[derive(Default)]
pub struct ProgressAwareWriter(Vec<u8>);

impl Write for ProgressAwareWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.0);
        let line = String::from_utf8_lossy(&line);
        let (text, end) = match line.strip_suffix('\n') {
            Some(text) => (text, "\n"),
            None => (&*line, ""),
        };
        let masked = redact::masked(text);
        BARS.suspend(|| io::stderr().write_all(format!("{masked}{end}").as_bytes()))
    }
}

impl Drop for ProgressAwareWriter {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            // A failure to write the log cannot be reported anywhere.
            let _ = self.flush();
        }
    }
}

/// Writes to the terminal while the bars are hidden.
pub fn suspend_bars(write: impl FnOnce()) {
    BARS.suspend(write);
}

fn bar(template: &str, length: u64) -> ProgressBar {
    let bar = BARS.add(ProgressBar::new(length));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.tick();
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// The number of opened account ledgers. The bar disappears when all are open.
pub struct Opening(ProgressBar);

impl Opening {
    /// A bar for this number of accounts.
    pub fn new(accounts: usize) -> Opening {
        let template = "{spinner} opening the ledger {wide_bar} {pos}/{len} accounts {elapsed}";
        Opening(bar(template, accounts as u64))
    }
}

impl Progress for Opening {
    fn opened(&self) {
        // An account that was lost and acquired again is opened twice.
        if self.0.is_finished() {
            return;
        }
        self.0.inc(1);
        if self.0.length() <= Some(self.0.position()) {
            self.0.finish_and_clear();
        }
    }
}

/// A progress bar for a growing amount of work. It disappears with its last owner.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar for answered queries.
    pub fn asking() -> Bar {
        let template =
            "{spinner} querying the vendors {wide_bar} {pos}/{len} answers {elapsed}, {eta} left";
        Bar(bar(template, 0))
    }

    /// A bar for fetched parts of the history.
    pub fn recalling() -> Bar {
        let template =
            "{spinner} fetching history {wide_bar} {pos}/{len} answers {elapsed}, {eta} left";
        Bar(bar(template, 0))
    }

    /// A bar for moved rows of a ledger.
    pub fn moving() -> Bar {
        Bar(bar(
            "{spinner} moving the ledger: {human_pos} rows {elapsed}",
            0,
        ))
    }

    /// More rows were moved.
    pub fn moved(&self, rows: u64) {
        self.0.inc(rows);
    }

    /// A bar for replayed bodies.
    pub fn replaying() -> Bar {
        let template =
            "{spinner} reading the quarantine {wide_bar} {pos}/{len} bodies {elapsed}, {eta} left";
        Bar(bar(template, 0))
    }

    /// Writes something while the bars are hidden.
    pub fn suspend_bars(&self, write: impl FnOnce()) {
        BARS.suspend(write);
    }
}

impl Progress for Bar {
    fn planned(&self, queries: usize) {
        self.0.inc_length(queries as u64);
    }

    fn answered(&self, queries: usize) {
        self.0.inc(queries as u64);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
