//! What has to hold of a scrape: nothing is counted twice, nothing falls, nothing is shown that the
//! books do not have, what is missing is explained, and nothing secret is shown.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use delivery_simulators::{credentials, engagelab};
use jiff::{SignedDuration, Timestamp};

use super::{
    rig::INTERVAL,
    truth::{ACCOUNTS, Facts, LOYALTY, MAIL, NEWS, PUSH, Series, series},
};

/// Prices are sums of fractions.
pub const ALIKE: f64 = 1e-6;

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

/// A scrape, read by a reader that is not the exporter's.
pub struct Scrape {
    text: String,
    samples: Series,
    /// Series that are there more than once.
    twice: Vec<String>,
}

impl Scrape {
    /// Reads an exposition.
    pub fn read(text: String) -> Scrape {
        let (mut samples, mut twice) = (Series::with_capacity(4096), Vec::new());
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        for line in lines {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let value: f64 = value.parse().expect("a number");
            let (family, labels) = name.split_once('{').unwrap_or((name, "}"));
            // No value of the simulators has a quote in it.
            let pairs = labels.trim_end_matches('}').split("\",");
            let pairs: Vec<(&str, &str)> =
                pairs.filter_map(|pair| pair.split_once("=\"")).collect();
            let pairs: Vec<(&str, &str)> = pairs
                .into_iter()
                .map(|(name, value)| (name, value.trim_end_matches('"')))
                .collect();
            if let Some(value) = samples.insert(series(family, &pairs), value) {
                twice.push(format!("{line} and {value}"));
            }
        }
        Scrape {
            text,
            samples,
            twice,
        }
    }

    /// The values of all series.
    pub fn samples(&self) -> &Series {
        &self.samples
    }

    /// The values of a family.
    pub fn family<'s>(&'s self, family: &'s str) -> impl Iterator<Item = (&'s str, f64)> + 's {
        let all = self.samples.iter();
        all.filter(move |(key, _)| family_of(key) == family)
            .map(|(key, value)| (key.as_str(), *value))
    }
}

/// The family of a series.
pub fn family_of(key: &str) -> &str {
    key.split('{').next().unwrap_or(key)
}

/// What is expected of an account.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// It has to show at least this, of its own series.
    pub lower: Rc<Facts>,
    /// Of gauges too; else of counters alone.
    pub gauges: bool,
    /// Gauges may be away, as the vendor leaves fields out.
    pub absent: bool,
    /// Which campaign something counts for depends on an order that nobody knows.
    pub any_campaign: bool,
    /// The vendor leaves out campaigns of messages, or titles of links: what is shown of these has
    /// none.
    pub no_names: bool,
    /// What a report says besides its message may come in a form that nobody knows, first.
    pub only_sent: bool,
    /// Series that the books do not have may be shown, as the vendor tells of things that are new.
    pub unknown: bool,
    /// Counters that are new may be 0.
    pub born: bool,
    /// Nothing may fail, and nothing may be late.
    pub calm: bool,
    /// Its vendor answers at random that it does not know what it knows.
    pub refuses: bool,
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
    /// The highest that the books ever said: a vendor's clock that is set back takes numbers back.
    highest: Series,
    /// The other names of messages. One that was listed without its code is shown by its id.
    pub aliases: HashMap<String, String>,
    /// What is wrong so far.
    pub faults: Vec<Fault>,
}

/// What the exporter says of itself.
#[derive(Clone, Debug, Default)]
struct Exporter {
    /// Account, data set and reason: failures.
    failures: BTreeMap<(String, String, String), f64>,
    /// Account and data set: the last pass failed.
    unsuccessful: BTreeSet<(String, String)>,
    /// Accounts whose list failed.
    undiscovered: BTreeSet<String>,
    /// Accounts of which messages were set aside.
    rejected: BTreeSet<String>,
}

/// The value of a label in the text of a series.
pub fn label<'l>(key: &'l str, name: &str) -> &'l str {
    let mut rest = key;
    while let Some(at) = rest.find(name) {
        let before = rest[..at].chars().next_back();
        let after = &rest[at + name.len()..];
        if matches!(before, Some('{' | ','))
            && let Some(value) = after.strip_prefix("=\"")
        {
            return value.split('"').next().unwrap_or_default();
        }
        rest = after;
    }
    ""
}

impl Exporter {
    fn of(scrape: &Scrape) -> Exporter {
        let mut own = Exporter::default();
        let get = |key: &str, name: &str| label(key, name).to_owned();
        for (key, value) in &scrape.samples {
            let account = get(key, "account");
            match family_of(key) {
                "delivery_exporter_collect_failures_total" => {
                    let key = (account, get(key, "dataset"), get(key, "reason"));
                    *own.failures.entry(key).or_default() += value;
                }
                "delivery_exporter_collect_success" if *value == 0.0 => {
                    own.unsuccessful.insert((account, get(key, "dataset")));
                }
                "delivery_exporter_rejected_messages_total" if *value > 0.0 => {
                    own.rejected.insert(account);
                }
                "delivery_exporter_discovery_success"
                    if *value == 0.0 && label(key, "source") == "list" =>
                {
                    own.undiscovered.insert(account);
                }
                _ => {}
            }
        }
        own
    }

    /// The failures that came after another scrape; all of them after a restart.
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
        (PUSH, _) => "statistics",
        (MAIL, _) => "reports",
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

/// Whether a family of gauges follows the vendor.
pub fn is_gauge(family: &str) -> bool {
    GAUGES.iter().any(|own| family.starts_with(own))
}

/// Whether it counts what vendors tell, and never falls.
pub fn is_counter(family: &str) -> bool {
    !family.starts_with("delivery_exporter_")
        && family.starts_with("delivery_")
        && ["_total", "_count", "_sum", "_bucket"]
            .iter()
            .any(|end| family.ends_with(end))
}

/// Sums over Pushwoosh's platforms: a platform that is in no book is in them.
fn is_push_total(key: &str) -> bool {
    label(key, "account") == LOYALTY && label(key, "channel") == "push"
}

/// Labels whose values vendors leave out now and then.
const LEFT_OUT: [&str; 3] = ["campaign", "template", "title"];

/// A series without the values of these labels.
fn less(key: &str) -> String {
    let without = |key: String, name: &&str| {
        let own = format!("{name}=\"{}\"", label(&key, name));
        key.replace(&own, &format!("{name}=\"\""))
    };
    LEFT_OUT.iter().fold(key.to_owned(), without)
}

/// Families of counters whose every value is in the facts.
fn is_modelled(family: &str) -> bool {
    let sums = family.starts_with("delivery_report_latency_seconds_");
    is_counter(family)
        && !family.starts_with("delivery_cohort_")
        && (!sums || family.ends_with("_count"))
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

    /// The exporter starts anew: its own counters begin at 0.
    pub fn restarted(&mut self) {
        self.scrapes.clear();
    }

    /// Judges a scrape against the books of the same moment and what is expected of each account.
    pub fn look(
        &mut self,
        scrape: &Scrape,
        upper: &Facts,
        expected: &BTreeMap<&'static str, Expectation>,
    ) {
        let now = upper.at;
        for line in &scrape.twice {
            self.fault("twice", "", "", line.clone());
        }
        if let Ok(path) = std::env::var("MOOD_DUMP") {
            let known = self.faults.len();
            let _ = std::fs::write(format!("{path}-{now}-{known}.txt"), &scrape.text);
        }
        let exporter = Exporter::of(scrape);
        self.failures(&exporter, expected, now);
        self.counters(scrape, upper, expected, now);
        self.gauges(scrape, upper, expected, now);
        self.missing(scrape, expected, &exporter, now);
        self.secrets(scrape);
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
        scrape: &Scrape,
        upper: &Facts,
        expected: &BTreeMap<&'static str, Expectation>,
        now: Timestamp,
    ) {
        for (key, value) in &upper.counters {
            let highest = self.highest.entry(key.clone()).or_default();
            *highest = highest.max(*value);
        }
        let mut known = std::mem::take(&mut self.counters);
        for (key, was) in &known {
            let value = scrape.samples.get(key).copied();
            if value.is_none_or(|value| value + ALIKE < *was) {
                let text = format!("{key} goes from {was} to {value:?} at {now}");
                self.fault("falls", label(key, "account"), family_of(key), text);
            }
        }
        for (key, value) in &scrape.samples {
            let family = family_of(key);
            if !is_counter(family) {
                continue;
            }
            match known.get_mut(key) {
                Some(known) => *known = known.max(*value),
                None => {
                    known.insert(key.clone(), *value);
                }
            }
            if !is_modelled(family) {
                continue;
            }
            let account = label(key, "account");
            let of_any = expected.get(account).is_some_and(|own| own.any_campaign);
            if of_any && family.starts_with("delivery_campaign_") {
                continue;
            }
            let odd = expected.get(account).is_some_and(|own| own.only_sent);
            if odd && !["delivery_sent_total", "delivery_delivered_total"].contains(&family) {
                continue;
            }
            let most = self.highest.get(key).copied();
            let unknown = expected.get(account).is_some_and(|own| own.unknown);
            if unknown && (most.is_none() || is_push_total(key)) {
                continue;
            }
            let most = most.unwrap_or(0.0);
            if *value > most + ALIKE {
                let text = format!("{key} is {value}, the books say {most} at {now}");
                self.fault("counted too much", account, family, text);
            }
        }
        self.counters = known;
    }

    fn gauges(
        &mut self,
        scrape: &Scrape,
        upper: &Facts,
        expected: &BTreeMap<&'static str, Expectation>,
        now: Timestamp,
    ) {
        // What a vendor leaves out is an empty label.
        let leaves_out = |key: &str| {
            let own = expected.get(label(key, "account"));
            own.is_some_and(|own| own.no_names)
        };
        let with_less: Series = upper
            .gauges
            .iter()
            .filter(|(key, _)| leaves_out(key))
            .map(|(key, value)| (less(key), *value))
            .collect();
        for (key, value) in &scrape.samples {
            let family = family_of(key);
            if !is_gauge(family) {
                continue;
            }
            let account = label(key, "account");
            if family == RATIO {
                self.ratio(scrape, key, *value, now);
                continue;
            }
            let loose = family.starts_with("delivery_app_users_")
                || family == "delivery_canary_devices"
                || family == REPORTED_RATIO;
            if loose {
                continue;
            }
            let code = self.aliases.get(label(key, "message_id"));
            let by_code = code.map(|code| {
                let id = format!("message_id=\"{}\"", label(key, "message_id"));
                key.replace(&id, &format!("message_id=\"{code}\""))
            });
            let key_in_books = by_code.as_ref().unwrap_or(key);
            let in_books = upper.gauges.get(key_in_books);
            let in_books = in_books.or_else(|| {
                let mut names = LEFT_OUT.iter();
                let is_less = names.any(|name| key.contains(&format!("{name}=\"\"")));
                let found = with_less.get(&less(key_in_books));
                found.filter(|_| is_less)
            });
            match in_books {
                None if expected.get(account).is_some_and(|own| own.unknown) => {}
                Some(_)
                    if expected.get(account).is_some_and(|own| own.unknown)
                        && is_push_total(key) => {}
                None => {
                    let text = format!("{key} {value} is not in the books at {now}");
                    self.fault("not in the books", account, family, text);
                }
                Some(most) if *value > most + ALIKE => {
                    let text = format!("{key} is {value}, the books say {most} at {now}");
                    self.fault("too high", account, family, text);
                }
                Some(_) => {}
            }
        }
    }

    /// A ratio is made of the two numbers beside it.
    fn ratio(&mut self, scrape: &Scrape, key: &str, value: f64, now: Timestamp) {
        let part = |family: &str| scrape.samples.get(&key.replace(RATIO, family)).copied();
        let parts = (
            part("delivery_message_sent"),
            part("delivery_message_delivered"),
        );
        let right = match parts {
            (Some(sent), Some(delivered)) => sent > 0.0 && (delivered / sent - value).abs() < ALIKE,
            _ => false,
        };
        if !right {
            let text = format!("{key} is {value}, of {parts:?} at {now}");
            self.fault("ratio", label(key, "account"), RATIO, text);
        }
    }

    /// Whether the exporter says that something of a data set failed in the last two intervals; in
    /// the last four, of a vendor that leaves out what it has told before: what came in an answer that
    /// failed then does not come again. That a message was refused explains nothing: the vendor has told no number of it that could be
    /// missing.
    fn explains(
        &self,
        exporter: &Exporter,
        (account, leaves_out): (&str, bool),
        dataset: &str,
        now: Timestamp,
    ) -> bool {
        let own = (account.to_owned(), dataset.to_owned());
        let intervals = if leaves_out { 4 } else { 2 };
        let span = SignedDuration::try_from(intervals * INTERVAL).unwrap_or_default();
        let recent =
            self.scrapes.iter().rev().take_while(|(at, _)| {
                now.duration_since(*at) <= span + SignedDuration::from_secs(60)
            });
        let oldest = recent.last().map(|(_, own)| own);
        let failed = exporter
            .since(oldest)
            .failures
            .iter()
            .any(|((name, set, _), count)| name == account && set == dataset && *count > 0.0);
        failed || exporter.unsuccessful.contains(&own) || exporter.undiscovered.contains(account)
    }

    fn missing(
        &mut self,
        scrape: &Scrape,
        expected: &BTreeMap<&'static str, Expectation>,
        exporter: &Exporter,
        now: Timestamp,
    ) {
        let mut sources: Vec<&Rc<Facts>> = Vec::new();
        for own in expected.values() {
            if !sources.iter().any(|known| Rc::ptr_eq(known, &own.lower)) {
                sources.push(&own.lower);
            }
        }
        for source in sources {
            let all = source.counters.iter().map(|own| (own, false));
            let gauges = source.gauges.iter().map(|own| (own, true));
            let loose = source.loose.iter().map(|own| (own, true));
            for ((key, least), gauge) in all.chain(gauges).chain(loose) {
                let account = label(key, "account");
                let Some(own) = expected.get(account) else {
                    continue;
                };
                if !Rc::ptr_eq(source, &own.lower) || gauge && !own.gauges {
                    continue;
                }
                // `collect` prints a counter that no run has printed as 0 first.
                if own.born && !gauge && scrape.samples.get(key) == Some(&0.0) {
                    continue;
                }
                if own.only_sent && !gauge && family_of(key) != "delivery_sent_total" {
                    continue;
                }
                if own.any_campaign && key.starts_with("delivery_campaign_") {
                    continue;
                }
                // A message that was told by its id alone is shown by its id.
                let by_id = || {
                    let code = label(key, "message_id");
                    let own = self.aliases.iter().find(|(_, name)| *name == code);
                    let (id, _) = own.filter(|_| gauge)?;
                    let by_code = format!("message_id=\"{code}\"");
                    let by_id = key.replace(&by_code, &format!("message_id=\"{id}\""));
                    scrape.samples.get(&by_id).copied()
                };
                let found = scrape.samples.get(key).copied().or_else(by_id);
                if found.is_some_and(|found| found + ALIKE >= *least) {
                    continue;
                }
                if found.is_none() && (gauge && own.absent || *least == 0.0) {
                    continue;
                }
                let set = dataset(account, family_of(key));
                if !own.calm && self.explains(exporter, (account, own.absent), set, now) {
                    continue;
                }
                // A vendor in trouble may refuse a message that it has told before: that shows too.
                if own.refuses && gauge && exporter.rejected.contains(account) {
                    continue;
                }
                let promise = if own.calm { "missing" } else { "unexplained" };
                let whose = format!("{account} {set}");
                let text = format!("{key} is {found:?}, at least {least} at {now}");
                self.fault(promise, &whose, family_of(key), text);
            }
        }
    }

    fn secrets(&mut self, metrics: &Scrape) {
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
    pub fn due(&mut self, scrape: &Scrape, account: &str, now: Timestamp) {
        let family = "delivery_exporter_due_timestamp_seconds";
        for (key, due) in scrape.family(family) {
            if label(key, "account") == account && due <= now.as_second() as f64 {
                let text = format!("{key} {due} at {now}");
                self.fault("late", account, family, text);
            }
        }
    }

    /// Something else is wrong.
    pub fn broken(&mut self, promise: &'static str, whose: &str, text: String) {
        self.fault(promise, whose, "", text);
    }
}
