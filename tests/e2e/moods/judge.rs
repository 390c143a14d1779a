//! What has to hold of a scrape: nothing is counted twice, nothing falls, nothing is shown that the
//! books do not have, what is missing is explained, and nothing secret is shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use delivery_simulators::{credentials, engagelab};
use jiff::{SignedDuration, Timestamp};

use super::{
    super::harness::{Labels, Metrics},
    rig::INTERVAL,
    truth::{ACCOUNTS, CHINA, Facts, LOYALTY, NEWS, Series},
};

/// Prices are sums of fractions.
const ALIKE: f64 = 1e-6;

/// Gauges that follow the vendor.
const GAUGES: [&str; 5] = [
    "delivery_message_",
    "delivery_app_users_",
    "delivery_canary_devices",
    "delivery_conversion_",
    "delivery_link_",
];
/// Made of two other gauges.
const RATIO: &str = "delivery_message_delivery_ratio";
/// The vendor's own ratio: it is rounded, and moves both ways.
const REPORTED_RATIO: &str = "delivery_message_reported_delivery_ratio";

/// What is wrong, in a line that is the same for the same cause.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Which promise is broken, in a word.
    pub promise: &'static str,
    /// Whose: the account, and the data set where it is known.
    pub whose: String,
    /// Of what.
    pub family: String,
    /// The rest.
    pub text: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Fault {
            promise,
            whose,
            family,
            text,
        } = self;
        write!(f, "{promise}: {whose} {family} {text}")
    }
}

/// How much the exporter may be behind an account's vendor now.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// It has to show at least this.
    pub lower: Series,
    /// Gauges may be away, as the vendor leaves fields out.
    pub absent: bool,
    /// Series that the books do not have may be shown, as the vendor tells of things that are new.
    pub unknown: bool,
    /// Nothing may fail.
    pub calm: bool,
    /// The reasons that failures may have; `None`: any.
    pub reasons: Option<BTreeSet<&'static str>>,
}

/// Scrapes over time, over restarts.
#[derive(Default)]
pub struct Judge {
    /// The scrapes of the last intervals, the newest last.
    scrapes: Vec<(Timestamp, Exporter)>,
    /// The last value of each counter.
    counters: Series,
    /// The newest books, and those before them.
    books: Vec<Facts>,
    /// What is wrong so far.
    pub faults: Vec<Fault>,
}

/// What the exporter says of itself.
#[derive(Clone, Debug, Default)]
struct Exporter {
    /// Account, data set and reason: failures.
    failures: BTreeMap<(String, String, String), f64>,
    /// Account and reason: messages that were refused.
    rejected: BTreeMap<(String, String), f64>,
    /// Account and data set: the last pass failed.
    unsuccessful: BTreeSet<(String, String)>,
    /// Accounts whose list failed.
    undiscovered: BTreeSet<String>,
}

fn label<'l>(labels: &'l Labels, name: &str) -> &'l str {
    labels.get(name).map_or("", String::as_str)
}

impl Exporter {
    fn of(metrics: &Metrics) -> Exporter {
        let mut own = Exporter::default();
        let all =
            |name: &'static str| metrics.find(name, &[]).map(|(labels, v)| (labels.clone(), v));
        for (labels, value) in all("delivery_exporter_collect_failures_total") {
            let get = |name: &str| label(&labels, name).to_owned();
            let key = (get("account"), get("dataset"), get("reason"));
            *own.failures.entry(key).or_default() += value;
        }
        for (labels, value) in all("delivery_exporter_rejected_messages_total") {
            let key = (
                label(&labels, "account").to_owned(),
                label(&labels, "reason").to_owned(),
            );
            own.rejected.insert(key, value);
        }
        for (labels, value) in all("delivery_exporter_collect_success") {
            if value == 0.0 {
                let get = |name: &str| label(&labels, name).to_owned();
                own.unsuccessful.insert((get("account"), get("dataset")));
            }
        }
        for (labels, value) in all("delivery_exporter_discovery_success") {
            if value == 0.0 {
                let account = label(&labels, "account").to_owned();
                own.undiscovered.insert(account);
            }
        }
        own
    }

    /// The failures and refusals that came after another scrape; all of them after a restart.
    fn since(&self, before: Option<&Exporter>) -> Exporter {
        let mut own = self.clone();
        let Some(before) = before else {
            return own;
        };
        for (key, value) in &mut own.failures {
            let was = before.failures.get(key).copied().unwrap_or(0.0);
            if was <= *value {
                *value -= was;
            }
        }
        own
    }
}

/// The data set that a family comes from.
fn dataset(account: &str, family: &str) -> &'static str {
    match (account, family) {
        ("push", _) => "statistics",
        ("mail", _) => "reports",
        (NEWS, own) if own.starts_with("delivery_app_users") => "users",
        (NEWS, "delivery_canary_devices") => "lifecycle",
        (LOYALTY, own) if own.starts_with("delivery_conversion") => "intervals",
        (LOYALTY, "delivery_link_clicks") => "links",
        (LOYALTY, "delivery_link_devices") => "link_devices",
        (LOYALTY, "delivery_log_events_total") => "log",
        (LOYALTY, "delivery_bounced_addresses_total") => "bounces",
        _ => "messages",
    }
}

fn is_gauge(family: &str) -> bool {
    GAUGES.iter().any(|own| family.starts_with(own))
}

/// Whether it counts what vendors tell, and never falls.
fn is_counter(family: &str) -> bool {
    !family.starts_with("delivery_exporter_")
        && family.starts_with("delivery_")
        && ["_total", "_count", "_sum", "_bucket"]
            .iter()
            .any(|end| family.ends_with(end))
}

/// Families of counters whose every value is in the facts.
fn is_modelled(family: &str) -> bool {
    is_counter(family)
        && !family.starts_with("delivery_cohort_")
        && !(family.starts_with("delivery_report_latency_seconds_") && !family.ends_with("_count"))
}

impl Judge {
    fn fault(&mut self, promise: &'static str, whose: &str, family: &str, text: String) {
        let fault = Fault {
            promise,
            whose: whose.to_owned(),
            family: family.to_owned(),
            text,
        };
        // One of a kind is enough: a cause shows in many series.
        let known = self
            .faults
            .iter()
            .filter(|own| own.promise == promise && own.whose == whose && own.family == family);
        if known.count() < 2 {
            self.faults.push(fault);
        }
    }

    /// The newest books that are at least so old.
    pub fn books_before(&self, at: Timestamp, length: Duration) -> Option<&Facts> {
        let length = SignedDuration::try_from(length).unwrap_or_default();
        let before = at.checked_sub(length).ok()?;
        self.books.iter().rev().find(|own| own.at <= before)
    }

    /// The exporter starts anew: its own counters begin at 0.
    pub fn restarted(&mut self) {
        self.scrapes.clear();
    }

    /// Judges a scrape against the books of the same moment and what has to be shown of each account.
    pub fn look(
        &mut self,
        metrics: &Metrics,
        upper: Facts,
        expected: &BTreeMap<&'static str, Expectation>,
    ) {
        let now = upper.at;
        let exporter = Exporter::of(metrics);
        self.failures(&exporter, expected, now);
        self.counters(metrics, &upper, expected, now);
        self.gauges(metrics, &upper, expected, now);
        self.missing(metrics, expected, &exporter, now);
        self.secrets(metrics);
        self.books.push(upper);
        self.scrapes.push((now, exporter));
    }

    fn failures(
        &mut self,
        exporter: &Exporter,
        expected: &BTreeMap<&'static str, Expectation>,
        now: Timestamp,
    ) {
        let before = self.scrapes.last().map(|(_, own)| own);
        let new = exporter.since(before);
        for ((account, dataset, reason), count) in new.failures {
            let own = expected.get(account.as_str());
            let (Some(own), true) = (own, count > 0.0) else {
                continue;
            };
            let allowed = own.reasons.as_ref();
            let wrong = own.calm || allowed.is_some_and(|own| !own.contains(reason.as_str()));
            if wrong {
                let whose = format!("{account} {dataset}");
                self.fault(
                    "wrong reason",
                    &whose,
                    "",
                    format!("{count} × {reason} at {now}"),
                );
            }
        }
        for account in ACCOUNTS {
            let Some(own) = expected.get(account).filter(|own| own.calm) else {
                continue;
            };
            let _ = own;
            for (_, dataset) in exporter
                .unsuccessful
                .iter()
                .filter(|(name, _)| name == account)
            {
                let whose = format!("{account} {dataset}");
                self.fault("calm", &whose, "", format!("collect_success 0 at {now}"));
            }
            if exporter.undiscovered.contains(account) {
                self.fault("calm", account, "", format!("discovery_success 0 at {now}"));
            }
        }
    }

    fn counters(
        &mut self,
        metrics: &Metrics,
        upper: &Facts,
        expected: &BTreeMap<&'static str, Expectation>,
        now: Timestamp,
    ) {
        let before = std::mem::take(&mut self.counters);
        let mut after = before.clone();
        for ((family, labels), value) in &metrics.samples {
            if !is_counter(family) {
                continue;
            }
            let key = (family.clone(), labels.clone());
            let account = label(labels, "account").to_owned();
            if let Some(was) = before.get(&key)
                && *was > *value + ALIKE
            {
                let text = format!("{labels:?} fell from {was} to {value} at {now}");
                self.fault("falls", &account, family, text);
            }
            after.insert(key.clone(), *value);
            if !is_modelled(family) {
                continue;
            }
            let true_value = upper.counters.get(&key).copied();
            let unknown = expected
                .get(account.as_str())
                .is_some_and(|own| own.unknown);
            if true_value.is_none() && unknown {
                continue;
            }
            let most = true_value.unwrap_or(0.0);
            if *value > most + ALIKE {
                let text = format!("{labels:?} is {value}, the books say {most} at {now}");
                self.fault("counted too much", &account, family, text);
            }
        }
        for key in before.keys() {
            if metrics.samples.contains_key(key) {
                continue;
            }
            let account = label(&key.1, "account").to_owned();
            let text = format!("{:?} is away at {now}", key.1);
            self.fault("falls", &account, &key.0, text);
        }
        self.counters = after;
    }

    fn gauges(
        &mut self,
        metrics: &Metrics,
        upper: &Facts,
        expected: &BTreeMap<&'static str, Expectation>,
        now: Timestamp,
    ) {
        for ((family, labels), value) in &metrics.samples {
            if !is_gauge(family) {
                continue;
            }
            let account = label(labels, "account").to_owned();
            if family == RATIO {
                self.ratio(metrics, labels, *value, now);
                continue;
            }
            let key = (family.clone(), labels.clone());
            let loose = family.starts_with("delivery_app_users_")
                || family == "delivery_canary_devices"
                || family == REPORTED_RATIO;
            if loose {
                continue;
            }
            let unknown = expected
                .get(account.as_str())
                .is_some_and(|own| own.unknown);
            match upper.gauges.get(&key) {
                None if unknown => {}
                None => {
                    let text = format!("{labels:?} {value} is not in the books at {now}");
                    self.fault("not in the books", &account, family, text);
                }
                Some(most) if *value > most + ALIKE => {
                    let text = format!("{labels:?} is {value}, the books say {most} at {now}");
                    self.fault("too high", &account, family, text);
                }
                Some(_) => {}
            }
        }
    }

    fn ratio(&mut self, metrics: &Metrics, labels: &Labels, value: f64, now: Timestamp) {
        let get = |family: &str| {
            let key = (family.to_owned(), labels.clone());
            metrics.samples.get(&key).copied()
        };
        let parts = (
            get("delivery_message_sent"),
            get("delivery_message_delivered"),
        );
        let right = match parts {
            (Some(sent), Some(delivered)) => {
                sent > 0.0 && (delivered / sent - value).abs() < ALIKE
            }
            _ => false,
        };
        if !right {
            let text = format!("{labels:?} is {value}, of {parts:?} at {now}");
            let account = label(labels, "account").to_owned();
            self.fault("ratio", &account, RATIO, text);
        }
    }

    /// Whether the exporter says that something of a data set failed or was refused in the last two
    /// intervals.
    fn explains(&self, exporter: &Exporter, account: &str, dataset: &str, now: Timestamp) -> bool {
        let own = (account.to_owned(), dataset.to_owned());
        let span = SignedDuration::try_from(2 * INTERVAL).unwrap_or_default();
        let recent = self
            .scrapes
            .iter()
            .rev()
            .take_while(|(at, _)| now.duration_since(*at) <= span + SignedDuration::from_secs(60));
        let oldest = recent.last().map(|(_, own)| own);
        let failed = exporter
            .since(oldest)
            .failures
            .iter()
            .any(|((name, set, _), count)| name == account && set == dataset && *count > 0.0);
        let rejected = exporter
            .rejected
            .iter()
            .any(|((name, _), count)| name == account && *count > 0.0);
        failed
            || rejected
            || exporter.unsuccessful.contains(&own)
            || exporter.undiscovered.contains(account)
    }

    fn missing(
        &mut self,
        metrics: &Metrics,
        expected: &BTreeMap<&'static str, Expectation>,
        exporter: &Exporter,
        now: Timestamp,
    ) {
        for (account, own) in expected {
            for (key, least) in &own.lower {
                let (family, labels) = key;
                let found = metrics.samples.get(key).copied();
                if found.is_some_and(|found| found + ALIKE >= *least) {
                    continue;
                }
                if found.is_none() && (own.absent && is_gauge(family) || *least == 0.0) {
                    continue;
                }
                let set = dataset(account, family);
                if !own.calm && self.explains(exporter, account, set, now) {
                    continue;
                }
                let promise = if own.calm { "missing" } else { "unexplained" };
                let whose = format!("{account} {set}");
                let text = format!("{labels:?} is {found:?}, at least {least} at {now}");
                self.fault(promise, &whose, family, text);
            }
        }
    }

    fn secrets(&mut self, metrics: &Metrics) {
        let secret = [
            credentials::INFOBIP_PASSWORD,
            credentials::ENGAGELAB_MASTER_SECRET,
            credentials::PUSHWOOSH_API_TOKEN,
            credentials::ALIBABA_KEY_SECRET,
            "@example.com",
            "device-",
        ];
        let canaries = engagelab::CANARIES.into_iter().filter(|own| own.len() > 10);
        for word in secret.into_iter().chain(canaries) {
            if metrics.text.contains(word) {
                self.fault("secret", "", "", format!("{word} is shown"));
            }
        }
    }

    /// An account that no trouble has must not wait for anything.
    pub fn due(&mut self, metrics: &Metrics, account: &str, now: Timestamp) {
        let late: Vec<_> = metrics
            .find(
                "delivery_exporter_due_timestamp_seconds",
                &[("account", account)],
            )
            .filter(|(_, due)| *due <= now.as_second() as f64)
            .map(|(labels, due)| format!("{labels:?} {due}"))
            .collect();
        for text in late {
            self.fault("late", account, "delivery_exporter_due_timestamp_seconds", text);
        }
    }

    /// Something else is wrong.
    pub fn broken(&mut self, promise: &'static str, whose: &str, text: String) {
        self.fault(promise, whose, "", text);
    }
}

/// The series of one account.
pub fn of_account(series: &Series, account: &str) -> Series {
    series
        .iter()
        .filter(|((_, labels), _)| label(labels, "account") == account)
        .map(|(key, value)| (key.clone(), *value))
        .collect()
}

/// How much later than asked Alibaba's numbers may be taken.
pub fn slack(account: &str) -> Duration {
    if account == CHINA {
        Duration::from_secs(3600)
    } else {
        Duration::ZERO
    }
}
