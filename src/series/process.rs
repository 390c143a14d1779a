//! The series of the process itself, exposed in the same way as all others.

mod system;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use delivery_clock::{Clock, Moment};
use jiff::Timestamp;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::{
    chunks::{Chunks, Own},
    segments::{Rows, Segment},
    values::{Number, Value},
};
use crate::{
    catalog::{self, FamilyId, Kind},
    ledger::{StoreObserver, Volume},
};
use system::System;

/// The minimum time between two reads of `/proc`; concurrent scrapers see the same values.
const SYSTEM_INTERVAL: Duration = Duration::from_secs(1);

/// The outcome of a pushed data point: the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointOutcome {
    /// The receiver accepted it.
    Accepted,
    /// The receiver rejected it.
    Rejected,
    /// It could not be delivered.
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

/// What the process counts and measures about itself. Values are set without a lock.
struct Metrics {
    store_up: Gauge,
    store_errors: Counter,
    store_size: Gauge<f64, AtomicU64>,
    spool_size: Gauge<f64, AtomicU64>,
    quarantined: Gauge<f64, AtomicU64>,
    reload_successful: Gauge,
    reload_success_time: Gauge<f64, AtomicU64>,
    zero_hold_sufficient: Gauge,
    /// By outcome, in the order of [`PointOutcome::ALL`].
    otlp_points: [Counter; 3],
}

impl Default for Metrics {
    fn default() -> Metrics {
        let metrics = Metrics {
            store_up: Gauge::default(),
            store_errors: Counter::default(),
            store_size: Gauge::default(),
            spool_size: Gauge::default(),
            quarantined: Gauge::default(),
            reload_successful: Gauge::default(),
            reload_success_time: Gauge::default(),
            zero_hold_sufficient: Gauge::default(),
            otlp_points: Default::default(),
        };
        metrics.store_up.set(1);
        metrics.zero_hold_sufficient.set(1);
        metrics
    }
}

impl Metrics {
    /// Each value with its family and the values of its labels.
    fn visit(&self, each: &mut dyn FnMut(FamilyId, &[&str], Number)) {
        let flag = |gauge: &Gauge| Number::Count(gauge.get().unsigned_abs());
        for (family, gauge) in [
            (catalog::STORE_UP, &self.store_up),
            (catalog::ZERO_HOLD_SUFFICIENT, &self.zero_hold_sufficient),
            (
                catalog::CONFIG_LAST_RELOAD_SUCCESSFUL,
                &self.reload_successful,
            ),
        ] {
            each(family, &[], flag(gauge));
        }
        for (family, gauge) in [
            (catalog::STORE_SIZE_BYTES, &self.store_size),
            (catalog::SPOOL_BYTES, &self.spool_size),
            (catalog::QUARANTINED_BODIES, &self.quarantined),
            (
                catalog::CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS,
                &self.reload_success_time,
            ),
        ] {
            each(family, &[], Number::Float(gauge.get()));
        }
        each(
            catalog::STORE_ERRORS,
            &[],
            Number::Count(self.store_errors.get()),
        );
        for (outcome, points) in PointOutcome::ALL.iter().zip(&self.otlp_points) {
            let points = Number::Count(points.get());
            each(catalog::OTLP_POINTS, &[outcome.as_str()], points);
        }
    }
}

/// The series of the process.
pub struct ProcessSeries {
    clock: Clock,
    start: Timestamp,
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The values as last exposed.
    values: Chunks,
    /// The volumes whose last write failed.
    down: Vec<Volume>,
    /// The size in bytes and the number of quarantined bodies of each account's spool.
    spools: HashMap<Arc<str>, (u64, u64)>,
    system: System,
    /// When `/proc` is read again.
    next: Moment,
    /// The segments as last exposed, in the order of the families; unchanged ones are reused.
    segments: Vec<Arc<Segment>>,
}

impl ProcessSeries {
    /// Creates all series at the start of the process.
    pub(super) fn new(clock: Clock) -> ProcessSeries {
        let series = ProcessSeries {
            start: clock.now(),
            clock,
            metrics: Metrics::default(),
            state: Mutex::default(),
        };
        let build = [
            env!("CARGO_PKG_VERSION"),
            env!("DELIVERY_EXPORTER_REVISION"),
            env!("DELIVERY_EXPORTER_RUSTC"),
        ];
        let one = Value::Gauge(Number::Count(1));
        series
            .lock()
            .values
            .insert(catalog::BUILD_INFO, own(&build), one);
        series
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records whether a reload of the configuration succeeded.
    pub fn reloaded(&self, taken: bool, at: Timestamp) {
        self.metrics.reload_successful.set(taken.into());
        if taken {
            let at = at.as_duration().as_secs_f64();
            self.metrics.reload_success_time.set(at);
        }
    }

    /// Sets whether every scraper scrapes often enough to see a counter's initial 0.
    pub fn zero_hold_sufficient(&self, sufficient: bool) {
        self.metrics.zero_hold_sufficient.set(sufficient.into());
    }

    /// Counts data points that were pushed over OTLP.
    pub fn otlp_points(&self, outcome: PointOutcome, points: u64) {
        let of_outcome = PointOutcome::ALL.iter().zip(&self.metrics.otlp_points);
        for (_, counter) in of_outcome.filter(|own| *own.0 == outcome) {
            counter.inc_by(points);
        }
    }

    /// The process's series, in the order of the families.
    pub(super) fn collect(&self) -> Vec<Arc<Segment>> {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        if now >= state.next {
            state.next = now + SYSTEM_INTERVAL;
            state.ask_system(self.start);
        }
        let values = &mut state.values;
        self.metrics.visit(&mut |family, labels, number| {
            values.insert(family, own(labels), value_of(family, number, self.start));
        });
        state.show()
    }
}

fn value_of(family: FamilyId, number: Number, start: Timestamp) -> Value {
    match family.kind {
        Kind::Counter => Value::Counter(number, start),
        _ => Value::Gauge(number),
    }
}

impl State {
    fn ask_system(&mut self, start: Timestamp) {
        let values = &mut self.values;
        self.system.read(&mut |family, value| {
            let value = value_of(family, Number::Float(value), start);
            values.insert(family, Own::default(), value);
        });
    }

    fn show(&mut self) -> Vec<Arc<Segment>> {
        let mut before = std::mem::take(&mut self.segments).into_iter().peekable();
        for (family, chunk) in self.values.chunks() {
            while before.next_if(|old| old.family() < family).is_some() {}
            let old = before.next_if(|old| old.family() == family);
            let same =
                old.filter(|old| matches!(&old.rows, Rows::Chunk(own) if Arc::ptr_eq(own, chunk)));
            let segment = same.unwrap_or_else(|| {
                Arc::new(Segment::new(family, None, Rows::Chunk(chunk.clone())))
            });
            self.segments.push(segment);
        }
        self.segments.clone()
    }
}

fn own(labels: &[&str]) -> Own {
    labels.iter().map(|label| Arc::from(*label)).collect()
}

impl StoreObserver for ProcessSeries {
    fn up(&self, place: Volume, up: bool) {
        let mut state = self.lock();
        state.down.retain(|own| *own != place);
        if !up {
            state.down.push(place);
        }
        self.metrics.store_up.set(state.down.is_empty().into());
    }

    fn error(&self) {
        self.metrics.store_errors.inc();
    }

    #[expect(clippy::cast_precision_loss, reason = "sizes of disks are below 2^53")]
    fn store_size(&self, bytes: u64) {
        self.metrics.store_size.set(bytes as f64);
    }

    #[expect(clippy::cast_precision_loss, reason = "sizes of disks are below 2^53")]
    fn size(&self, account: &Arc<str>, bytes: u64, quarantined: u64) {
        let mut state = self.lock();
        state.spools.insert(account.clone(), (bytes, quarantined));
        let sum = |of: fn(&(u64, u64)) -> u64| state.spools.values().map(of).sum::<u64>() as f64;
        self.metrics.spool_size.set(sum(|own| own.0));
        self.metrics.quarantined.set(sum(|own| own.1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(segments: &[Arc<Segment>], family: FamilyId) -> f64 {
        let mut numbers = Vec::new();
        for segment in segments.iter().filter(|segment| segment.family() == family) {
            segment.visit(None, &mut |_, value| match value {
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
        let segments = ProcessSeries::new(clock).collect();
        assert!(
            segments
                .windows(2)
                .all(|pair| pair[0].family() < pair[1].family())
        );
        let shown: Vec<_> = segments.iter().map(|segment| segment.family()).collect();
        let of_process = catalog::families().filter(|family| !family.of_account());
        let probe = [catalog::PROBE_SUCCESS, catalog::PROBE_DURATION];
        let all: Vec<_> = of_process.filter(|own| !probe.contains(own)).collect();
        assert_eq!(shown, all);
    }
}
