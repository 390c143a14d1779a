//! The families of the process itself, carried by prometheus-client, and shown through the same
//! door as all others.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    fs::{self, File},
    io::Read,
    sync::{Arc, Mutex, OnceLock, PoisonError, atomic::AtomicU64},
};

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family as ClientFamily,
        gauge::{ConstGauge, Gauge},
    },
    registry::{Metric, Registry},
};

use super::{
    chunks::{Chunk, Own},
    families::{FamilyId, Kind, families},
    pieces::{Piece, Rows},
    values::{Number, Value},
};
use crate::ledger::{Place, StoreNotes};

type FloatGauge = Gauge<f64, AtomicU64>;

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
    const ALL: [PointOutcome; 3] = [
        PointOutcome::Accepted,
        PointOutcome::Rejected,
        PointOutcome::Failed,
    ];

    fn as_str(self) -> &'static str {
        match self {
            PointOutcome::Accepted => "accepted",
            PointOutcome::Rejected => "rejected",
            PointOutcome::Failed => "failed",
        }
    }
}

/// The series of the process: set by whoever knows, read at each scrape.
pub struct ProcessSeries {
    registry: Registry,
    start: Timestamp,
    store_up: Gauge,
    /// What could not be written to when it was last tried.
    down: Mutex<Vec<Place>>,
    store_errors: Counter,
    store_size: FloatGauge,
    zero_hold_sufficient: Gauge,
    spool_bytes: FloatGauge,
    quarantined_bodies: FloatGauge,
    spools: Mutex<HashMap<Arc<str>, (u64, u64)>>,
    reload_successful: Gauge,
    reload_success: FloatGauge,
    otlp_points: ClientFamily<[(&'static str, &'static str); 1], Counter>,
}

impl ProcessSeries {
    /// All of them, at the start of the process.
    pub(super) fn new(start: Timestamp) -> ProcessSeries {
        let mut series = ProcessSeries {
            registry: Registry::default(),
            start,
            store_up: Gauge::default(),
            down: Mutex::default(),
            store_errors: Counter::default(),
            store_size: FloatGauge::default(),
            zero_hold_sufficient: Gauge::default(),
            spool_bytes: FloatGauge::default(),
            quarantined_bodies: FloatGauge::default(),
            spools: Mutex::default(),
            reload_successful: Gauge::default(),
            reload_success: FloatGauge::default(),
            otlp_points: ClientFamily::default(),
        };
        let build = ClientFamily::<[(&str, &str); 3], Gauge>::default();
        build
            .get_or_create(&[
                ("version", env!("CARGO_PKG_VERSION")),
                ("revision", env!("DELIVERY_EXPORTER_REVISION")),
                ("rustc", env!("DELIVERY_EXPORTER_RUSTC")),
            ])
            .set(1);
        for outcome in PointOutcome::ALL {
            drop(
                series
                    .otlp_points
                    .get_or_create(&[("outcome", outcome.as_str())]),
            );
        }
        series.store_up.set(1);
        series.register("delivery_exporter_build_info", build);
        series.register("delivery_exporter_store_up", series.store_up.clone());
        series.register(
            "delivery_exporter_store_errors_total",
            series.store_errors.clone(),
        );
        series.register(
            "delivery_exporter_store_size_bytes",
            series.store_size.clone(),
        );
        series.zero_hold_sufficient.set(1);
        series.register(
            "delivery_exporter_zero_hold_sufficient",
            series.zero_hold_sufficient.clone(),
        );
        series.register("delivery_exporter_spool_bytes", series.spool_bytes.clone());
        series.register(
            "delivery_exporter_quarantined_bodies",
            series.quarantined_bodies.clone(),
        );
        series.register(
            "delivery_exporter_config_last_reload_successful",
            series.reload_successful.clone(),
        );
        series.register(
            "delivery_exporter_config_last_reload_success_timestamp_seconds",
            series.reload_success.clone(),
        );
        series.register(
            "delivery_exporter_otlp_points_total",
            series.otlp_points.clone(),
        );
        series.registry.register_collector(Box::new(System));
        series
    }

    fn register(&mut self, name: &str, metric: impl Metric) {
        if let Some(family) = families().iter().find(|family| family.name == name) {
            self.registry
                .register(family.base_name(), family.help.clone(), metric);
        }
    }

    /// The configuration was read: taken or not.
    pub fn reloaded(&self, taken: bool, at: Timestamp) {
        self.reload_successful.set(taken.into());
        if taken {
            self.reload_success.set(at.as_duration().as_secs_f64());
        }
    }

    /// Whether every scraper comes often enough to see that a counter was 0.
    pub fn zero_hold_sufficient(&self, sufficient: bool) {
        self.zero_hold_sufficient.set(sufficient.into());
    }

    /// Points were pushed by OTLP.
    pub fn otlp_points(&self, outcome: PointOutcome, points: u64) {
        self.otlp_points
            .get_or_create(&[("outcome", outcome.as_str())])
            .inc_by(points);
    }

    /// The process's series, in the order of the families. prometheus-client has one way out, its text; what it wrote
    /// is taken apart again, so that the outputs see no difference.
    pub(super) fn collect(&self) -> Vec<Arc<Piece>> {
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            // Writing to a string does not fail.
            return Vec::new();
        }
        let mut found = BTreeMap::<FamilyId, Chunk>::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let Some(id) = super::families::by_name(name) else {
                continue;
            };
            let values: Own = labels
                .split('"')
                .skip(1)
                .step_by(2)
                .map(Arc::from)
                .collect();
            let number = match value.parse() {
                Ok(count) => Number::Count(count),
                Err(_) => Number::Float(value.parse().unwrap_or(f64::NAN)),
            };
            let value = match id.family().kind {
                Kind::Counter => Value::Counter(number, self.start),
                _ => Value::Gauge(number),
            };
            found.entry(id).or_default().push((values, value));
        }
        // The client's own order differs from scrape to scrape.
        let pieces = found.into_iter().map(|(family, mut series)| {
            series.sort_by(|(left, _), (right, _)| left.cmp(right));
            Arc::new(Piece::new(family, None, Rows::Chunk(Arc::new(series))))
        });
        pieces.collect()
    }
}

impl StoreNotes for ProcessSeries {
    fn up(&self, place: Place, up: bool) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.retain(|own| *own != place);
        if !up {
            down.push(place);
        }
        self.store_up.set(down.is_empty().into());
    }

    fn error(&self) {
        self.store_errors.inc();
    }

    #[expect(clippy::cast_precision_loss, reason = "sizes of disks are below 2^53")]
    fn store_size(&self, bytes: u64) {
        self.store_size.set(bytes as f64);
    }

    #[expect(clippy::cast_precision_loss, reason = "sizes of disks are below 2^53")]
    fn size(&self, account: &Arc<str>, bytes: u64, quarantined: u64) {
        let mut spools = self.spools.lock().unwrap_or_else(PoisonError::into_inner);
        spools.insert(account.clone(), (bytes, quarantined));
        self.spool_bytes
            .set(spools.values().map(|(bytes, _)| bytes).sum::<u64>() as f64);
        self.quarantined_bodies
            .set(spools.values().map(|(_, bodies)| bodies).sum::<u64>() as f64);
    }
}

/// The operating system's view of this process, read from `/proc` at each scrape.
#[derive(Debug)]
struct System;

/// The kernel's unit of CPU time for programs, fixed on Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// The page size of every platform that the exporter is built for.
const PAGE_BYTES: f64 = 4096.0;

impl Collector for System {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut write = |name: &str, value: Option<f64>| {
            let family = families().iter().find(|family| family.name == name);
            let (Some(family), Some(value)) = (family, value) else {
                return Ok(());
            };
            let mut write_as = |metric: &dyn EncodeAny| {
                metric.encode_into(&mut encoder, family.base_name(), &family.help)
            };
            match family.kind {
                Kind::Counter => write_as(&ConstCounter::new(value)),
                _ => write_as(&ConstGauge::new(value)),
            }
        };
        let stat = proc("/proc/self/stat").unwrap_or_default();
        // The command's name, in parentheses, can hold blanks: fields are counted after it.
        let fields: Vec<f64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| {
                rest.split_whitespace()
                    .map(|f| f.parse().unwrap_or(0.0))
                    .collect()
            })
            .unwrap_or_default();
        let field = |number: usize| fields.get(number - 3).copied();
        let cpu = field(14)
            .zip(field(15))
            .map(|(user, system)| (user + system) / TICKS_PER_SECOND);
        write("process_cpu_seconds_total", cpu)?;
        write("process_threads", field(20))?;
        let start = boot_time()
            .zip(field(22))
            .map(|(boot, ticks)| boot + ticks / TICKS_PER_SECOND);
        write("process_start_time_seconds", start)?;
        write("process_virtual_memory_bytes", field(23))?;
        write(
            "process_resident_memory_bytes",
            field(24).map(|pages| pages * PAGE_BYTES),
        )?;
        #[expect(clippy::cast_precision_loss, reason = "a process has few descriptors")]
        let open = fs::read_dir("/proc/self/fd")
            .ok()
            .map(|entries| entries.count() as f64);
        write("process_open_fds", open)?;
        write("process_max_fds", max_fds())?;
        let (received, sent) = network().unzip();
        write("process_network_receive_bytes_total", received)?;
        write("process_network_transmit_bytes_total", sent)
    }
}

/// A metric that can be written under a family's name.
trait EncodeAny {
    fn encode_into(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
    ) -> Result<(), std::fmt::Error>;
}

impl<M: EncodeMetric> EncodeAny for M {
    fn encode_into(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
    ) -> Result<(), std::fmt::Error> {
        self.encode(encoder.encode_descriptor(name, help, None, self.metric_type())?)
    }
}

/// A file of `/proc`, read at once: the kernel writes it anew for each read of a small part.
fn proc(path: &str) -> Option<String> {
    let mut text = String::with_capacity(4096);
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    Some(text)
}

/// When the machine was started. The kernel's answer moves when its clock is set, but a process has
/// one start.
fn boot_time() -> Option<f64> {
    static BOOT: OnceLock<f64> = OnceLock::new();
    if let Some(known) = BOOT.get() {
        return Some(*known);
    }
    let stat = proc("/proc/stat")?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    let read = line.trim().parse().ok()?;
    Some(*BOOT.get_or_init(|| read))
}

fn max_fds() -> Option<f64> {
    let limits = proc("/proc/self/limits")?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn network() -> Option<(f64, f64)> {
    let devices = proc("/proc/self/net/dev")?;
    let mut sums = (0.0, 0.0);
    for line in devices.lines().skip(2) {
        let fields: Vec<f64> = line
            .split_once(':')?
            .1
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0.0))
            .collect();
        sums.0 += fields.first()?;
        sums.1 += fields.get(8)?;
    }
    Some(sums)
}
