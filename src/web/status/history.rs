//! What was sent and delivered in the last eight days, by account and vendor channel. The status page
//! computes its rates and the usual rates from it.
//!
//! Counters are converted to increases in buckets of a quarter of an hour. A counter that is observed for the
//! first time counts from zero if it was created after the history began. Otherwise its value is older than
//! the history, and only later increases count.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    catalog::{self, CohortPart, FamilyId},
    model::Measure,
    series::{Labels, Number, Table, Value, Visitor},
};

/// The length of a bucket, in seconds.
pub(super) const BUCKET_SECONDS: i64 = 900;
/// The number of buckets in a day.
pub(super) const DAY_BUCKETS: usize = 96;
/// The number of buckets to keep: a week for the usual rates, and the day that is compared with it.
pub(super) const KEPT_BUCKETS: usize = 8 * DAY_BUCKETS;
/// The maximum number of parts over all accounts, which take up to 15 MB of memory.
const MAX_PARTS: usize = 1000;
/// The maximum number of counters whose last values are kept.
const MAX_COUNTERS: usize = 50_000;

/// The number of the bucket that contains a time.
pub(super) fn bucket_of(at: Timestamp) -> u32 {
    u32::try_from(at.as_second() / BUCKET_SECONDS).unwrap_or(0)
}

/// What was sent and delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) sent: u32,
    pub(super) delivered: u32,
    /// Sends of messages that reached the age at which they are compared.
    pub(super) cohort_sent: u32,
    pub(super) cohort_delivered: u32,
}

/// A part of an account's traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct PartKey {
    pub(super) channel: String,
    /// Empty for the whole channel.
    pub(super) vendor_channel: String,
    pub(super) platform: String,
}

/// The history of one account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct AccountHistory {
    /// When its counters were first observed, in Unix time.
    pub(super) since: i64,
    /// The latest success of any data set, including before restarts, in Unix time; 0 if none is known.
    pub(super) last_success: i64,
    /// The non-empty buckets of each part, oldest first.
    pub(super) parts: BTreeMap<PartKey, Vec<(u32, Counts)>>,
}

/// The history of all accounts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct History {
    /// When the first observation was made, in Unix time.
    pub(super) since: i64,
    pub(super) accounts: BTreeMap<String, AccountHistory>,
    /// The last values of counters, by a digest of name and labels.
    pub(super) last: HashMap<u64, u64>,
}

/// The age at which the messages of each account are compared; `None` if the account has no cohorts.
pub(super) type Ages = HashMap<String, Option<String>>;

impl History {
    /// Adds the increases since the last observation.
    pub(super) fn observe(&mut self, table: &Table, ages: &Ages, now: Timestamp) {
        if self.since == 0 {
            self.since = now.as_second();
        }
        let mut observation = Observation {
            history: self,
            ages,
            bucket: bucket_of(now),
            now: now.as_second(),
            family: None,
            observed: HashMap::new(),
        };
        table.visit(now, &mut observation);
        let observed = observation.observed;
        if self.last.len() + observed.len() > MAX_COUNTERS {
            self.last.clear();
        }
        self.last.extend(observed);
        self.prune(ages, bucket_of(now));
    }

    /// Drops buckets that are too old, or that lie in the future because the clock was set back.
    fn prune(&mut self, ages: &Ages, bucket: u32) {
        let oldest = bucket.saturating_sub(u32::try_from(KEPT_BUCKETS).unwrap_or(u32::MAX) - 1);
        for account in self.accounts.values_mut() {
            for buckets in account.parts.values_mut() {
                buckets.retain(|(own, _)| (oldest..=bucket).contains(own));
            }
            account.parts.retain(|_, buckets| !buckets.is_empty());
        }
        self.accounts
            .retain(|name, account| ages.contains_key(name) || !account.parts.is_empty());
    }
}

/// One observation of all counters.
struct Observation<'h> {
    history: &'h mut History,
    ages: &'h Ages,
    bucket: u32,
    now: i64,
    family: Option<FamilyId>,
    observed: HashMap<u64, u64>,
}

/// What a family of counters counts.
#[derive(Clone, Copy)]
struct Counted {
    is_cohort: bool,
    is_sent: bool,
}

/// What the history keeps of a family of counters; `None` if nothing.
fn counted(family: FamilyId) -> Option<Counted> {
    let totals = [catalog::TOTAL, catalog::TOTAL_BY_CHANNEL].map(|families| {
        let measures = [Measure::Sent, Measure::Delivered];
        (false, measures.map(|measure| families.of(measure)))
    });
    let cohorts = [catalog::COHORT, catalog::COHORT_BY_CHANNEL].map(|families| {
        let parts = [CohortPart::Sent, CohortPart::Delivered];
        (true, parts.map(|part| families.of(part)))
    });
    let mut levels = totals.into_iter().chain(cohorts);
    levels.find_map(|(is_cohort, [sent, delivered])| {
        let is_sent = family == sent;
        (is_sent || family == delivered).then_some(Counted { is_cohort, is_sent })
    })
}

/// Identifies a counter across restarts.
fn digest(family: &str, labels: Labels<'_>) -> u64 {
    let mut digest = Sha256::new();
    digest.update(family.as_bytes());
    for (name, value) in labels.pairs() {
        digest.update([0]);
        digest.update(name.as_bytes());
        digest.update([0]);
        digest.update(value.as_bytes());
    }
    let bytes: [u8; 32] = digest.finalize().into();
    u64::from_le_bytes([
        bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
    ])
}

impl Visitor for Observation<'_> {
    fn wants(&self, family: FamilyId) -> bool {
        family == catalog::LAST_SUCCESS || counted(family).is_some()
    }

    fn family(&mut self, family: FamilyId) {
        self.family = Some(family);
    }

    fn sample(&mut self, labels: Labels<'_>, value: &Value) {
        let label = |name: &str| labels.value(name);
        let Some(age) = self.ages.get(label("account")) else {
            return;
        };
        let now = self.now;
        let Some(family) = self.family else { return };
        if family == catalog::LAST_SUCCESS {
            if let Value::Gauge(number) = value {
                #[expect(clippy::cast_possible_truncation, reason = "whole seconds are enough")]
                let at = number.as_f64() as i64;
                let account = self.history.account(label("account"), now);
                account.last_success = account.last_success.max(at);
            }
            return;
        }
        let Value::Counter(Number::Count(count), created_at) = value else {
            return;
        };
        let Some(Counted { is_cohort, is_sent }) = counted(family) else {
            return;
        };
        if is_cohort && age.as_deref() != Some(label("age")) {
            return;
        }
        let key = digest(family.name, labels);
        let last = self.history.last.get(&key).copied();
        self.observed.insert(key, *count);
        let increase = match last {
            Some(last) if *count >= last => count - last,
            // The counter was dropped and started again from 0.
            Some(_) => *count,
            None if created_at.as_second() >= self.history.since => *count,
            None => 0,
        };
        let part = PartKey {
            channel: match label("channel") {
                "" => "push".to_owned(),
                channel => channel.to_owned(),
            },
            vendor_channel: label("vendor_channel").to_owned(),
            platform: label("platform").to_owned(),
        };
        let account = label("account");
        // Counters without an increase create no bucket, but the start of their observation is recorded.
        if increase == 0 {
            self.history.account(account, now);
            return;
        }
        let Some(counts) = self.history.counts(account, part, self.bucket, now) else {
            return;
        };
        let value = match (is_cohort, is_sent) {
            (false, true) => &mut counts.sent,
            (false, false) => &mut counts.delivered,
            (true, true) => &mut counts.cohort_sent,
            (true, false) => &mut counts.cohort_delivered,
        };
        *value = value.saturating_add(u32::try_from(increase).unwrap_or(u32::MAX));
    }
}

impl History {
    fn account(&mut self, name: &str, now: i64) -> &mut AccountHistory {
        if !self.accounts.contains_key(name) {
            let account = AccountHistory {
                since: now,
                ..AccountHistory::default()
            };
            self.accounts.insert(name.to_owned(), account);
        }
        self.accounts.entry(name.to_owned()).or_default()
    }

    /// The current bucket of a part; `None` if there are too many parts.
    fn counts(
        &mut self,
        account: &str,
        part: PartKey,
        bucket: u32,
        now: i64,
    ) -> Option<&mut Counts> {
        let parts: usize = self.accounts.values().map(|own| own.parts.len()).sum();
        let account = self.account(account, now);
        if parts >= MAX_PARTS && !account.parts.contains_key(&part) {
            return None;
        }
        let buckets = account.parts.entry(part).or_default();
        let place = buckets.partition_point(|(own, _)| *own < bucket);
        if buckets.get(place).is_none_or(|(own, _)| *own != bucket) {
            buckets.insert(place, (bucket, Counts::default()));
        }
        buckets.get_mut(place).map(|(_, counts)| counts)
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc, time::Duration};

    use delivery_clock::{Clock, ManualClock};

    use super::*;
    use crate::{
        collector::Recorder,
        config,
        ledger::{
            Amount, CounterKey, Lease, LedgerDelta, ShownCounter,
            samples::{at_age, measured},
        },
        model::{Age, Measure},
        series::{AccountSeries, Unprepared},
    };

    struct Bench {
        table: Table,
        series: Arc<AccountSeries>,
        clock: Clock,
        time: ManualClock,
        history: History,
    }

    impl Bench {
        fn new() -> Bench {
            let text = "providers: [{name: shop, type: pushwoosh, credentials: {api_token: t}, applications: [{id: app}]}]";
            let config = config::parse(Path::new("test"), text, &|_| None).unwrap();
            let (clock, time) = Clock::manual("2026-11-26T10:00:00Z".parse().unwrap());
            let table = Table::new(clock.clone(), Arc::new(Unprepared));
            let series = table.configure(&config, &|_| Lease::always(clock.clone()));
            Bench {
                series: series[0].0.clone(),
                table,
                clock,
                time,
                history: History::default(),
            }
        }

        fn show(&self, counter: CounterKey, count: u64, created_at: Timestamp) {
            let key = counter.of("app");
            let shown = ShownCounter {
                key,
                amount: Amount::Count(count),
                born_at: created_at,
            };
            self.series.delta(&LedgerDelta {
                shown: vec![shown],
                ..LedgerDelta::default()
            });
            self.series.publish();
        }

        fn observe(&mut self) {
            let ages = [("shop".to_owned(), Some("15m".to_owned()))].into();
            self.history.observe(&self.table, &ages, self.clock.now());
        }

        fn sum(&self, vendor_channel: &str) -> Counts {
            let account = &self.history.accounts["shop"];
            let parts = account
                .parts
                .iter()
                .filter(|(key, _)| key.vendor_channel == vendor_channel);
            parts
                .flat_map(|(_, buckets)| buckets)
                .fold(Counts::default(), |sum, (_, own)| Counts {
                    sent: sum.sent + own.sent,
                    delivered: sum.delivered + own.delivered,
                    cohort_sent: sum.cohort_sent + own.cohort_sent,
                    cohort_delivered: sum.cohort_delivered + own.cohort_delivered,
                })
        }
    }

    fn total(measure: Measure) -> CounterKey {
        measured(catalog::TOTAL, measure, &["push"])
    }

    fn cohort(age: u32, part: CohortPart) -> CounterKey {
        let age = Age::Seconds(age);
        at_age(catalog::COHORT_BY_CHANNEL, part, &["android", "fcm"], age)
    }

    #[test]
    fn increases_count_and_what_was_there_before_does_not() {
        let mut bench = Bench::new();
        let before = bench.clock.now();
        bench.time.advance(Duration::from_secs(60));
        // Counted by a version that kept no history.
        bench.show(total(Measure::Sent), 50_000, before);
        bench.observe();
        assert_eq!(bench.sum("").sent, 0);
        bench.show(total(Measure::Sent), 50_007, before);
        // New since: all of it counts. Only one age is compared.
        let now = bench.clock.now();
        bench.show(cohort(900, CohortPart::Sent), 10, now);
        bench.show(cohort(900, CohortPart::Delivered), 8, now);
        bench.show(cohort(3600, CohortPart::Sent), 99, now);
        bench.observe();
        bench.observe();
        assert_eq!(bench.sum("").sent, 7);
        assert_eq!(
            (
                bench.sum("fcm").cohort_sent,
                bench.sum("fcm").cohort_delivered
            ),
            (10, 8)
        );
        // A counter that was forgotten begins again.
        bench.show(total(Measure::Sent), 5, now);
        bench.observe();
        assert_eq!(bench.sum("").sent, 12);
    }

    #[test]
    fn a_restart_counts_what_came_meanwhile_once() {
        let mut bench = Bench::new();
        bench.observe();
        let created = bench.clock.now();
        bench.show(total(Measure::Sent), 100, created);
        bench.observe();
        let kept = bench.history.clone();
        bench.time.advance(Duration::from_secs(1800));
        bench.show(total(Measure::Sent), 130, created);
        bench.history = kept;
        bench.observe();
        let buckets = bench.history.accounts["shop"]
            .parts
            .values()
            .next()
            .unwrap();
        assert_eq!(
            buckets.iter().map(|(_, own)| own.sent).collect::<Vec<_>>(),
            [100, 30]
        );
    }

    #[test]
    fn the_past_is_bounded_and_a_clock_that_was_set_back_does_no_harm() {
        let mut bench = Bench::new();
        bench.observe();
        let created = bench.clock.now();
        let account = bench.history.accounts.get_mut("shop").unwrap();
        let bucket = bucket_of(created);
        let counts = Counts {
            sent: 1,
            ..Counts::default()
        };
        let key = |name: String| PartKey {
            channel: "push".to_owned(),
            vendor_channel: name,
            platform: String::new(),
        };
        let kept = u32::try_from(KEPT_BUCKETS).unwrap();
        let buckets =
            [bucket - kept, bucket - kept + 1, bucket, bucket + 4].map(|own| (own, counts));
        account
            .parts
            .insert(key("fcm".to_owned()), buckets.to_vec());
        bench.observe();
        assert_eq!(bench.sum("fcm").sent, 2);
        for number in 0..2 * MAX_PARTS {
            bench
                .history
                .counts("shop", key(number.to_string()), bucket, 0);
        }
        assert_eq!(bench.history.accounts["shop"].parts.len(), MAX_PARTS);
    }
}
