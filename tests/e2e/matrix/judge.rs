//! What every row is judged by: one function, the same promises for each fault.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    Fault, Row,
    proxy::Mode,
    rig::{INTERVAL, LEASE, TIMEOUT},
};
use crate::harness::Metrics;

/// What a busy machine may take besides. Unoptimised builds take several times as long.
const SLACK: Duration = Duration::from_millis(if cfg!(debug_assertions) { 2500 } else { 1000 });
/// A scrape is answered within this time, whatever goes on: a second, and the same for unoptimised builds on
/// a machine that runs a dozen rows at once.
const SCRAPED: Duration = Duration::from_secs(if cfg!(debug_assertions) { 3 } else { 1 });
/// What may stay open or running after a fault: connections that are in use at the moment of looking.
const LEFT_DESCRIPTORS: usize = 6;
const LEFT_THREADS: u64 = 4;
/// What a fault may leave behind in memory, in KiB: what the allocator keeps for the next time.
const LEFT_MEMORY: u64 = 48 << 10;

/// What one account says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Health {
    pub up: Option<f64>,
    /// The least of its data sets.
    pub success: Option<f64>,
    /// The newest of its data sets.
    pub last_success: Option<f64>,
    /// Requests so far, whatever came of them.
    pub requests: f64,
    pub delivered: f64,
}

impl Health {
    fn is_green(&self) -> bool {
        self.up == Some(1.0) && self.success == Some(1.0)
    }
}

/// One look at the exporter.
#[derive(Clone, Debug)]
pub struct Sample {
    pub at: Instant,
    /// What every account says; `None`: the scrape was not answered.
    pub accounts: Option<BTreeMap<String, Health>>,
    pub took: Duration,
    /// The status of `/-/ready`.
    pub ready: Option<u16>,
    pub descriptors: usize,
    pub threads: u64,
    /// In KiB.
    pub memory: u64,
}

impl Sample {
    /// Reads what the judge needs from a scrape.
    pub fn read(metrics: &Metrics, names: &[String]) -> BTreeMap<String, Health> {
        let health = |name: &String| {
            let own = [("account", name.as_str())];
            let values = |family| metrics.find(family, &own).map(|(_, value)| value);
            Health {
                up: metrics.get("delivery_up", &own),
                success: values("delivery_exporter_collect_success").reduce(f64::min),
                last_success: values("delivery_exporter_last_success_timestamp_seconds")
                    .reduce(f64::max),
                requests: metrics.sum("delivery_exporter_api_requests_total", &own),
                delivered: metrics.sum("delivery_delivered_total", &own),
            }
        };
        names
            .iter()
            .map(|name| (name.clone(), health(name)))
            .collect()
    }
}

/// Everything that was seen in a row.
pub struct Course {
    pub samples: Vec<Sample>,
    pub begun: Instant,
    pub ended: Instant,
    /// When the traffic had stopped and the books had to be met.
    pub quiet: Instant,
    /// The books, and what the last scrape and the last push said.
    pub books: Vec<(String, f64, f64)>,
    pub shown: BTreeMap<String, f64>,
    pub pushed: BTreeMap<String, f64>,
    /// Whether one process lived all the time.
    pub same_process: bool,
}

/// Figures for people.
#[derive(Debug, Default)]
pub struct Figures {
    pub slowest: Duration,
    pub recovered: Option<Duration>,
    pub peak_memory: u64,
}

impl Course {
    fn answered(&self) -> impl Iterator<Item = (&Sample, &BTreeMap<String, Health>)> {
        let samples = self.samples.iter();
        samples.filter_map(|own| Some((own, own.accounts.as_ref()?)))
    }

    fn health(&self, account: &str) -> impl Iterator<Item = (&Sample, Health)> {
        let own = account.to_owned();
        self.answered()
            .filter_map(move |(sample, all)| Some((sample, *all.get(&own)?)))
    }

    /// The longest time without a change of `value`, between two moments.
    fn longest_pause<T: PartialEq>(
        &self,
        account: &str,
        (from, to): (Instant, Instant),
        value: impl Fn(&Health) -> T,
    ) -> Duration {
        let mut last: Option<(T, Instant)> = None;
        let mut longest = Duration::ZERO;
        for (sample, health) in self.health(account) {
            if sample.at < from || sample.at > to {
                continue;
            }
            let now = value(&health);
            match &last {
                Some((before, since)) if *before == now => {
                    longest = longest.max(sample.at - *since);
                }
                _ => last = Some((now, sample.at)),
            }
        }
        longest
    }
}

/// What a fault may do to the exporter, at the worst.
struct Allowed {
    /// The accounts that are cut off from their vendor.
    cut_off: Vec<&'static str>,
    /// The accounts that must not notice anything.
    untouched: Vec<&'static str>,
    /// Nothing is answered while it lasts.
    silent: bool,
    /// What recovery needs besides two intervals.
    recovery: Duration,
}

const FAULTY: [&str; 3] = ["push", "mail", "news"];
const WELL: [&str; 3] = ["well-push", "well-mail", "well-news"];

fn allowed(row: &Row) -> Allowed {
    let all = || [FAULTY, WELL].concat();
    let (cut_off, untouched) = match row.fault {
        Fault::Vendor(_) => (FAULTY.to_vec(), WELL.to_vec()),
        Fault::Memory => (FAULTY.to_vec(), WELL.to_vec()),
        Fault::Otlp(_) | Fault::Clock(_) => (Vec::new(), all()),
        Fault::Store(_) | Fault::DiskFull => (Vec::new(), Vec::new()),
        Fault::Descriptors | Fault::Stop | Fault::Kill => (Vec::new(), Vec::new()),
    };
    let shared = matches!(row.store, super::Store::Postgres);
    let loses_lease = matches!(row.fault, Fault::Store(_) | Fault::Stop | Fault::Kill);
    Allowed {
        cut_off,
        untouched,
        silent: matches!(row.fault, Fault::Stop | Fault::Kill),
        // The dead process's lease has to run out, or the lost one to be taken again.
        recovery: if shared && loses_lease {
            LEASE
        } else {
            Duration::ZERO
        },
    }
}

/// What a row has broken, in words; and what was seen.
pub fn judge(row: &Row, course: &Course) -> (Vec<String>, Figures) {
    let mut broken = Vec::new();
    let mut figures = Figures::default();
    let allowed = allowed(row);
    let during = (course.begun, course.ended);
    let blind_after = 2 * INTERVAL + TIMEOUT + SLACK;

    // A scrape is answered at any time.
    for sample in &course.samples {
        let in_fault = sample.at + sample.took >= course.begun && sample.at <= course.ended;
        if allowed.silent && in_fault {
            continue;
        }
        figures.slowest = figures.slowest.max(sample.took);
        if sample.accounts.is_none() || sample.took > SCRAPED {
            let since = sample.at.saturating_duration_since(course.begun);
            let what = if sample.accounts.is_none() {
                "fails"
            } else {
                "answers"
            };
            broken.push(format!(
                "/metrics: a scrape {what} after {:?}, {since:?} after the begin",
                sample.took
            ));
        }
    }

    // Others are fresh.
    for account in &allowed.untouched {
        let span = (course.begun, course.quiet);
        let pause = course.longest_pause(account, span, |own| own.last_success);
        if pause > INTERVAL + TIMEOUT + SLACK {
            broken.push(format!("others: {account} has no success for {pause:?}"));
        }
        let red = course.health(account).find(|(sample, own)| {
            sample.at >= course.begun && sample.at <= course.quiet && own.up != Some(1.0)
        });
        if red.is_some() {
            broken.push(format!("others: {account} is not up all the time"));
        }
    }

    // Who is cut off is asked again and again, and says so.
    for account in &allowed.cut_off {
        let pause = course.longest_pause(account, during, |own| own.requests);
        let limit = 2 * INTERVAL + TIMEOUT + SLACK;
        if pause > limit {
            broken.push(format!(
                "asking: no request of {account} ends for {pause:?}"
            ));
        }
        let settled = course.begun + TIMEOUT + SLACK;
        let success =
            course.longest_pause(account, (settled, course.ended), |own| own.last_success);
        let whole = course.ended.saturating_duration_since(settled);
        if success + SLACK < whole {
            broken.push(format!("honest: {account} has a success behind the fault"));
        }
    }

    // Nobody is green who has had no success for two intervals. What a frozen or dead process would
    // have said is seen by nobody.
    for account in FAULTY.iter().chain(&WELL) {
        let mut last: Option<(Option<f64>, Instant)> = None;
        let mut longest = Duration::ZERO;
        for (sample, own) in course.health(account) {
            if last.is_none_or(|(before, _)| before != own.last_success) {
                last = Some((own.last_success, sample.at));
            }
            let since = last.map_or(sample.at, |own| own.1);
            if own.is_green() && own.last_success.is_some() {
                longest = longest.max(sample.at - since);
            }
        }
        // An answer that is handed out once is given three timeouts for its first kilobyte, after one
        // for its head: at intervals as short as these that is more than two of them.
        let arrives = if matches!(row.fault, Fault::Vendor(Mode::TrickleBody)) {
            INTERVAL + 4 * TIMEOUT + SLACK
        } else {
            Duration::ZERO
        };
        let limit = blind_after.max(arrives)
            + if allowed.silent {
                course.ended - course.begun
            } else {
                Duration::ZERO
            };
        if longest > limit {
            broken.push(format!(
                "honest: {account} is green without a success for {longest:?}"
            ));
        }
    }
    let is_lost = matches!(row.fault, Fault::Store(mode) if mode != Mode::Pass);
    if is_lost {
        let late = course.begun + LEASE + blind_after;
        let green = course
            .samples
            .iter()
            .find(|own| own.at > late && own.at < course.ended && own.ready == Some(200));
        if let Some(sample) = green {
            broken.push(format!(
                "honest: ready without a store, {:?} after the begin",
                sample.at - course.begun
            ));
        }
    }

    // It recovers.
    let before: BTreeMap<&str, Option<f64>> = FAULTY
        .iter()
        .chain(&WELL)
        .map(|account| {
            let told = course
                .health(account)
                .take_while(|(sample, _)| sample.at <= course.ended);
            (*account, told.last().and_then(|(_, own)| own.last_success))
        })
        .collect();
    let well = course.answered().find(|(sample, all)| {
        sample.at > course.ended
            && sample.ready == Some(200)
            && before.iter().all(|(account, success)| {
                all.get(*account)
                    .is_some_and(|own| own.is_green() && own.last_success != *success)
            })
    });
    figures.recovered = well.map(|(sample, _)| sample.at - course.ended);
    let limit = 2 * INTERVAL + TIMEOUT + SLACK + allowed.recovery;
    match figures.recovered {
        None => broken.push("recovery: never".to_owned()),
        Some(took) if took > limit => broken.push(format!("recovery: after {took:?}")),
        Some(_) => {}
    }

    // The books.
    for (account, least, most) in &course.books {
        for (where_, values) in [("/metrics", &course.shown), ("OTLP", &course.pushed)] {
            let value = values.get(account).copied().unwrap_or(f64::NAN);
            if !(*least..=*most).contains(&value) {
                broken.push(format!(
                    "exact: {account} has {value} on {where_}, and {least} to {most} in the books"
                ));
            }
        }
    }

    // Nothing is left behind.
    figures.peak_memory = course
        .samples
        .iter()
        .map(|own| own.memory)
        .max()
        .unwrap_or(0)
        >> 10;
    if course.same_process {
        let rest = course.samples.iter().filter(|own| own.at < course.begun);
        let most = |value: fn(&Sample) -> u64| rest.clone().map(value).max().unwrap_or(0);
        let descriptors = usize::try_from(most(|own| own.descriptors as u64)).unwrap_or(0);
        let (threads, memory) = (most(|own| own.threads), most(|own| own.memory));
        if let Some(last) = course.samples.last() {
            if last.descriptors > descriptors + LEFT_DESCRIPTORS {
                broken.push(format!(
                    "leaks: {} descriptors, {descriptors} before",
                    last.descriptors
                ));
            }
            if last.threads > threads + LEFT_THREADS {
                broken.push(format!("leaks: {} threads, {threads} before", last.threads));
            }
            if last.memory > memory + LEFT_MEMORY {
                broken.push(format!("leaks: {} KiB, {memory} before", last.memory));
            }
        }
    } else if row.fault != Fault::Kill {
        broken.push("the process ended".to_owned());
    }
    (broken, figures)
}
