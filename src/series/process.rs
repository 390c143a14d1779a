//! The families of the process itself, shown through the same door as all others.

mod system;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use delivery_clock::{Clock, Moment};
use jiff::Timestamp;

use super::{
    chunks::{Chunks, Own},
    pieces::{Piece, Rows},
    values::{Number, Value},
};
use crate::{
    catalog::{self, FamilyId, Kind},
    ledger::{Place, StoreNotes},
};
use system::System;

/// The operating system is asked at most so often: two scrapers at a time see the same.
const SYSTEM_INTERVAL: Duration = Duration::from_secs(1);

/// How a pushed point ended: the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointOutcome {
    /// The receiver took it.
    Accepted,
    /// The receiver refused it.
    Rejected,
    /// It did not arrive.
    Failed,
}

impl PointOutcome {
    pub(super) const ALL: [PointOutcome; 3] = [
        PointOutcome::Accepted,
        PointOutcome::Rejected,
        PointOutcome::Failed,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            PointOutcome::Accepted => "accepted",
            PointOutcome::Rejected => "rejected",
            PointOutcome::Failed => "failed",
        }
    }
}

/// The series of the process.
pub struct ProcessSeries {
    clock: Clock,
    start: Timestamp,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    values: Chunks,
    /// What could not be written to when it was last tried.
    down: Vec<Place>,
    /// Bytes and quarantined bodies of each account's spool.
    spools: HashMap<Arc<str>, (u64, u64)>,
    system: System,
    /// When the operating system is asked again.
    next: Moment,
    /// What was shown last, in the order of the families: what has not changed is shown again.
    pieces: Vec<Arc<Piece>>,
}

impl ProcessSeries {
    /// All of them, at the start of the process.
    pub(super) fn new(clock: Clock) -> ProcessSeries {
        let series = ProcessSeries {
            start: clock.now(),
            clock,
            state: Mutex::default(),
        };
        let build = [
            env!("CARGO_PKG_VERSION"),
            env!("DELIVERY_EXPORTER_REVISION"),
            env!("DELIVERY_EXPORTER_RUSTC"),
        ];
        let mut state = series.lock();
        state.set(catalog::BUILD_INFO, &build, Number::Count(1));
        for family in [catalog::STORE_UP, catalog::ZERO_HOLD_SUFFICIENT] {
            state.set(family, &[], Number::Count(1));
        }
        state.set(
            catalog::CONFIG_LAST_RELOAD_SUCCESSFUL,
            &[],
            Number::Count(0),
        );
        for family in [
            catalog::STORE_SIZE_BYTES,
            catalog::SPOOL_BYTES,
            catalog::QUARANTINED_BODIES,
            catalog::CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS,
        ] {
            state.set(family, &[], Number::Float(0.0));
        }
        state.count(catalog::STORE_ERRORS, &[], 0, series.start);
        for outcome in PointOutcome::ALL {
            state.count(catalog::OTLP_POINTS, &[outcome.as_str()], 0, series.start);
        }
        drop(state);
        series
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration was read: taken or not.
    pub fn reloaded(&self, taken: bool, at: Timestamp) {
        let mut state = self.lock();
        let successful = Number::Count(taken.into());
        state.set(catalog::CONFIG_LAST_RELOAD_SUCCESSFUL, &[], successful);
        if taken {
            let at = Number::Float(at.as_duration().as_secs_f64());
            let family = catalog::CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS;
            state.set(family, &[], at);
        }
    }

    /// Whether every scraper comes often enough to see that a counter was 0.
    pub fn zero_hold_sufficient(&self, sufficient: bool) {
        let sufficient = Number::Count(sufficient.into());
        self.lock()
            .set(catalog::ZERO_HOLD_SUFFICIENT, &[], sufficient);
    }

    /// Points were pushed by OTLP.
    pub fn otlp_points(&self, outcome: PointOutcome, points: u64) {
        let labels = [outcome.as_str()];
        self.lock()
            .count(catalog::OTLP_POINTS, &labels, points, self.start);
    }

    /// The process's series, in the order of the families.
    pub(super) fn collect(&self) -> Vec<Arc<Piece>> {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        if now >= state.next {
            state.next = now + SYSTEM_INTERVAL;
            state.ask_system(self.start);
        }
        state.show()
    }
}

impl State {
    fn set(&mut self, family: FamilyId, labels: &[&str], number: Number) {
        self.values
            .insert(family, own(labels), Value::Gauge(number));
    }

    fn count(&mut self, family: FamilyId, labels: &[&str], by: u64, start: Timestamp) {
        let zero = || Value::Counter(Number::Count(0), start);
        self.values.change(family, own(labels), zero, |value| {
            if let Value::Counter(Number::Count(count), _) = value {
                *count = count.saturating_add(by);
            }
        });
    }

    fn ask_system(&mut self, start: Timestamp) {
        let values = &mut self.values;
        self.system.read(&mut |family, value| {
            let number = Number::Float(value);
            let value = match family.kind {
                Kind::Counter => Value::Counter(number, start),
                _ => Value::Gauge(number),
            };
            values.insert(family, Own::default(), value);
        });
    }

    fn show(&mut self) -> Vec<Arc<Piece>> {
        let mut before = std::mem::take(&mut self.pieces).into_iter().peekable();
        for (family, chunk) in self.values.chunks() {
            while before.next_if(|old| old.family() < family).is_some() {}
            let old = before.next_if(|old| old.family() == family);
            let same =
                old.filter(|old| matches!(&old.rows, Rows::Chunk(own) if Arc::ptr_eq(own, chunk)));
            let piece = same
                .unwrap_or_else(|| Arc::new(Piece::new(family, None, Rows::Chunk(chunk.clone()))));
            self.pieces.push(piece);
        }
        self.pieces.clone()
    }
}

fn own(labels: &[&str]) -> Own {
    labels.iter().map(|label| Arc::from(*label)).collect()
}

impl StoreNotes for ProcessSeries {
    fn up(&self, place: Place, up: bool) {
        let mut state = self.lock();
        state.down.retain(|own| *own != place);
        if !up {
            state.down.push(place);
        }
        let all_up = Number::Count(state.down.is_empty().into());
        state.set(catalog::STORE_UP, &[], all_up);
    }

    fn error(&self) {
        self.lock().count(catalog::STORE_ERRORS, &[], 1, self.start);
    }

    #[expect(clippy::cast_precision_loss, reason = "sizes of disks are below 2^53")]
    fn store_size(&self, bytes: u64) {
        let size = Number::Float(bytes as f64);
        self.lock().set(catalog::STORE_SIZE_BYTES, &[], size);
    }

    #[expect(clippy::cast_precision_loss, reason = "sizes of disks are below 2^53")]
    fn size(&self, account: &Arc<str>, bytes: u64, quarantined: u64) {
        let mut state = self.lock();
        state.spools.insert(account.clone(), (bytes, quarantined));
        let sum = |of: fn(&(u64, u64)) -> u64| state.spools.values().map(of).sum::<u64>() as f64;
        let (bytes, bodies) = (sum(|own| own.0), sum(|own| own.1));
        state.set(catalog::SPOOL_BYTES, &[], Number::Float(bytes));
        state.set(catalog::QUARANTINED_BODIES, &[], Number::Float(bodies));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(pieces: &[Arc<Piece>], family: FamilyId) -> f64 {
        let mut numbers = Vec::new();
        for piece in pieces.iter().filter(|piece| piece.family() == family) {
            piece.visit(None, &mut |_, value| match value {
                Value::Gauge(number) | Value::Counter(number, _) => numbers.push(number.as_f64()),
                Value::Histogram(..) => {}
            });
        }
        assert_eq!(numbers.len(), 1, "{}", family.name);
        numbers[0]
    }

    #[test]
    fn what_has_not_changed_is_the_same_piece_and_what_has_is_another() {
        let (clock, manual) = Clock::manual("2026-11-26T10:00:00Z".parse().unwrap());
        let series = ProcessSeries::new(clock);
        let first = series.collect();
        let second = series.collect();
        assert!(first.iter().zip(&second).all(|(a, b)| Arc::ptr_eq(a, b)));
        series.error();
        let third = series.collect();
        let kept = third.iter().zip(&first).filter(|(a, b)| Arc::ptr_eq(a, b));
        assert_eq!(kept.count(), first.len() - 1);
        assert_eq!(number(&third, catalog::STORE_ERRORS), 1.0);
        assert_eq!(number(&first, catalog::STORE_ERRORS), 0.0);
        // A file more is open, which is seen a second later.
        let before = number(&third, catalog::PROCESS_OPEN_FDS);
        let files: Vec<_> = (0..64)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        assert_eq!(number(&series.collect(), catalog::PROCESS_OPEN_FDS), before);
        manual.advance(Duration::from_secs(1));
        assert!(number(&series.collect(), catalog::PROCESS_OPEN_FDS) > before + 32.0);
        drop(files);
    }

    #[test]
    fn families_are_shown_in_their_order() {
        let (clock, _) = Clock::manual("2026-11-26T10:00:00Z".parse().unwrap());
        let pieces = ProcessSeries::new(clock).collect();
        assert!(
            pieces
                .windows(2)
                .all(|pair| pair[0].family() < pair[1].family())
        );
        let shown: Vec<_> = pieces.iter().map(|piece| piece.family()).collect();
        let of_process = catalog::families().filter(|family| !family.of_account());
        let probe = [catalog::PROBE_SUCCESS, catalog::PROBE_DURATION];
        let all: Vec<_> = of_process.filter(|own| !probe.contains(own)).collect();
        assert_eq!(shown, all);
    }
}
