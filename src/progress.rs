//! Progress of long work, on a terminal: piped, nothing of it is written.

use std::{
    io::{self, Write},
    sync::LazyLock,
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{collector::Progress, redact};

/// All bars. They hide by themselves where standard error is no terminal.
static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// Standard error for one line of the log, without secrets. Lines and the bars do not disturb each
/// other. The line is written when this is dropped, as a secret may come in two parts.
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
            // There is nowhere to tell that the log cannot be written.
            let _ = self.flush();
        }
    }
}

/// Writes to the terminal while no bar is there.
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

/// How many ledgers of accounts are open. It leaves when all are.
pub struct Opening(ProgressBar);

impl Opening {
    /// Of so many accounts.
    pub fn new(accounts: usize) -> Opening {
        let template = "{spinner} opening the ledger {wide_bar} {pos}/{len} accounts {elapsed}";
        Opening(bar(template, accounts as u64))
    }
}

impl Progress for Opening {
    fn opened(&self) {
        // An account that was lost and gained is opened again.
        if self.0.is_finished() {
            return;
        }
        self.0.inc(1);
        if self.0.length() <= Some(self.0.position()) {
            self.0.finish_and_clear();
        }
    }
}

/// How much is done of what is known. It leaves with its last owner.
pub struct Bar(ProgressBar);

impl Bar {
    /// Queries that are answered.
    pub fn asking() -> Bar {
        let template =
            "{spinner} asking the vendors {wide_bar} {pos}/{len} answers {elapsed}, {eta} left";
        Bar(bar(template, 0))
    }

    /// Parts of the history that are had.
    pub fn recalling() -> Bar {
        let template =
            "{spinner} asking for history {wide_bar} {pos}/{len} answers {elapsed}, {eta} left";
        Bar(bar(template, 0))
    }

    /// Rows of a ledger that moves.
    pub fn moving() -> Bar {
        Bar(bar(
            "{spinner} moving the ledger: {human_pos} rows {elapsed}",
            0,
        ))
    }

    /// So many rows more were moved.
    pub fn moved(&self, rows: u64) {
        self.0.inc(rows);
    }

    /// Bodies of reports that are read again.
    pub fn replaying() -> Bar {
        let template =
            "{spinner} reading the quarantine {wide_bar} {pos}/{len} bodies {elapsed}, {eta} left";
        Bar(bar(template, 0))
    }

    /// Writes something that the bars must not disturb.
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
