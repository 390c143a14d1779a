//! Evaluates conditions of the alerts in `dashboards/alerts`. The exporter cannot query Prometheus, so it
//! evaluates the same conditions on its own series, since it started. A test compares this table with the
//! rules.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::facts::{AccountFacts, Facts};
use crate::catalog;

const MINUTE: i64 = 60;
/// The longest range of a condition.
const LONGEST: i64 = 6 * 3600;

/// An alert whose condition the exporter can evaluate.
#[derive(Debug, PartialEq)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    /// Whether its severity is `page`; otherwise it is a warning.
    pub(super) pages: bool,
    /// How long the condition must hold before the alert fires, in seconds.
    pub(super) wait: i64,
    /// The part of the rule's expression that is evaluated here. A test compares it with the rule, so that
    /// both change together.
    expression: &'static str,
}

const fn rule(name: &'static str, severity: &str, minutes: i64, expression: &'static str) -> Rule {
    Rule {
        name,
        pages: severity.len() == "page".len(),
        wait: minutes * MINUTE,
        expression,
    }
}

static ACCOUNT_FAILING: Rule = rule(
    "DeliveryAccountFailing",
    "page",
    10,
    "(avg_over_time(delivery_up[30m])) < 0.5",
);
static CREDENTIALS_REFUSED: Rule = rule(
    "DeliveryCredentialsRefused",
    "page",
    5,
    "\"unauthorized|forbidden\"}[15m])) > 2",
);
static RATE_LIMITED: Rule = rule(
    "DeliveryRateLimited",
    "warning",
    15,
    "(increase(delivery_exporter_rate_limited_total[30m])) > 10",
);
static DATA_OLD: Rule = rule(
    "DeliveryDataOld",
    "warning",
    5,
    "(delivery_exporter_due_timestamp_seconds > 0) > 900",
);
static DISCOVERY_FAILING: Rule = rule(
    "DeliveryDiscoveryFailing",
    "warning",
    15,
    "(delivery_exporter_discovery_success) == 0",
);
static QUARANTINED: Rule = rule(
    "DeliveryReportsQuarantined",
    "warning",
    0,
    "(increase(delivery_exporter_reports_quarantined_total[1h])) > 0",
);
static SERIES_DROPPED: Rule = rule(
    "DeliverySeriesDropped",
    "warning",
    15,
    "(increase(delivery_exporter_series_dropped_total[1h])) > 0",
);
static COHORTS_MISSED: Rule = rule(
    "DeliveryCohortsMissed",
    "warning",
    15,
    "{reason=\"late\"}[6h])) > 20",
);
static LEDGER_DOWN: Rule = rule(
    "DeliveryLedgerDown",
    "page",
    2,
    "delivery_exporter_store_up == 0",
);
static LEDGER_ERRORS: Rule = rule(
    "DeliveryLedgerErrors",
    "warning",
    5,
    "increase(delivery_exporter_store_errors_total[30m]) > 3",
);
static SPOOL_GROWS: Rule = rule(
    "DeliverySpoolGrows",
    "warning",
    15,
    "delivery_exporter_spool_bytes > 1e8",
);
static OTLP_REJECTED: Rule = rule(
    "DeliveryOtlpRejected",
    "warning",
    15,
    "(increase(delivery_exporter_otlp_points_total{outcome=~\"rejected|failed\"}[15m])) > 0",
);
static SCRAPED_TOO_SELDOM: Rule = rule(
    "DeliveryScrapedTooSeldom",
    "warning",
    15,
    "delivery_exporter_zero_hold_sufficient == 0",
);
static RELOAD_FAILED: Rule = rule(
    "DeliveryReloadFailed",
    "warning",
    5,
    "delivery_exporter_config_last_reload_successful == 0",
);

/// An alert whose condition holds now.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) rule: &'static Rule,
    /// The affected part, such as a data set or a source; empty for the whole account.
    pub(super) about: String,
    /// Since when the condition holds, in Unix time.
    pub(super) since: i64,
}

impl Pending {
    /// When it fires if the condition holds until then, in Unix time.
    pub(super) fn fires_at(&self) -> i64 {
        self.since + self.rule.wait
    }
}

/// The account (empty for the process), the alert, and the affected part.
type Key = (String, &'static str, String);

/// Tracks the conditions over time.
#[derive(Default)]
pub(super) struct Watch {
    /// The history of counters and of `delivery_up`: an entry for each change.
    values: HashMap<Key, VecDeque<(i64, f64)>>,
    pending: BTreeMap<Key, Pending>,
}

impl Watch {
    /// Evaluates all conditions.
    pub(super) fn observe(&mut self, facts: &Facts, now: i64) {
        let mut holds = Vec::new();
        for (name, account) in &facts.accounts {
            if account.held != Some(false) {
                self.judge_account(name, account, now, &mut holds);
            }
        }
        self.judge_process(facts, now, &mut holds);
        let keys: HashSet<Key> = holds
            .iter()
            .map(|(account, rule, about)| (account.clone(), rule.name, about.clone()))
            .collect();
        self.pending.retain(|key, _| keys.contains(key));
        for (account, rule, about) in holds {
            let key = (account, rule.name, about.clone());
            self.pending.entry(key).or_insert(Pending {
                rule,
                about,
                since: now,
            });
        }
        let accounts = &facts.accounts;
        self.values
            .retain(|(name, ..), _| name.is_empty() || accounts.contains_key(name));
    }

    /// The alerts of an account (empty for the process) that are pending or firing, pages first.
    pub(super) fn pending(&self, account: &str) -> Vec<Pending> {
        let own = self.pending.iter().filter(|((of, ..), _)| of == account);
        let mut pending: Vec<_> = own.map(|(_, pending)| pending.clone()).collect();
        pending.sort_by_key(|own| (!own.rule.pages, own.since));
        pending
    }

    /// Records a value, and returns its increase and its mean over the last `range` seconds.
    fn over(&mut self, key: Key, value: f64, now: i64, range: i64) -> (f64, f64) {
        let values = self.values.entry(key).or_default();
        if values.back().is_none_or(|(_, last)| *last != value) {
            values.push_back((now, value));
        }
        // The last entry before the range gives the value at its start.
        while values.len() > 1 && values.get(1).is_some_and(|(at, _)| *at <= now - range) {
            values.pop_front();
        }
        let first = values.front().map_or(value, |(_, first)| *first);
        #[expect(clippy::cast_precision_loss, reason = "seconds of some hours")]
        let mean = {
            let ends = values.iter().skip(1).map(|(at, _)| *at).chain([now + 1]);
            let spans = values.iter().zip(ends);
            let from = now - range;
            let (sum, length) = spans.fold((0.0, 0.0), |(sum, length), ((at, value), end)| {
                let span = (end - (*at).max(from)) as f64;
                (sum + value * span, length + span)
            });
            sum / length
        };
        ((value - first).max(0.0), mean)
    }

    fn judge_account(
        &mut self,
        name: &str,
        account: &AccountFacts,
        now: i64,
        holds: &mut Vec<(String, &'static Rule, String)>,
    ) {
        let mut hold = |rule: &'static Rule, about: String| {
            holds.push((name.to_owned(), rule, about));
        };
        let key = |rule: &Rule, about: &str| (name.to_owned(), rule.name, about.to_owned());
        if let Some(up) = account.up {
            let up = f64::from(u8::from(up));
            let (_, mean) = self.over(key(&ACCOUNT_FAILING, ""), up, now, 30 * MINUTE);
            if up == 0.0 && mean < 0.5 {
                hold(&ACCOUNT_FAILING, String::new());
            }
        }
        for (dataset, refused) in &account.refused {
            let about = part(dataset);
            let key = key(&CREDENTIALS_REFUSED, &about);
            let (increase, _) = self.over(key, *refused, now, 15 * MINUTE);
            if increase > 2.0 && account.success.get(dataset) == Some(&false) {
                hold(&CREDENTIALS_REFUSED, about);
            }
        }
        for (dataset, limited) in &account.rate_limited {
            let key = key(&RATE_LIMITED, dataset);
            if self.over(key, *limited, now, 30 * MINUTE).0 > 10.0 {
                hold(&RATE_LIMITED, dataset.clone());
            }
        }
        for (dataset, due) in &account.due {
            #[expect(clippy::cast_precision_loss, reason = "Unix time")]
            let overdue = now as f64 - due;
            if *due > 0.0 && overdue > 900.0 {
                hold(&DATA_OLD, part(dataset));
            }
        }
        for (source, good) in &account.discovery {
            if !good {
                hold(&DISCOVERY_FAILING, source.clone());
            }
        }
        let key_of = key(&QUARANTINED, "");
        if self.over(key_of, account.quarantined, now, 60 * MINUTE).0 > 0.0 {
            hold(&QUARANTINED, String::new());
        }
        for (reason, dropped) in &account.dropped {
            let key = key(&SERIES_DROPPED, reason);
            // The first failure counts too: the series appears with it.
            self.values
                .entry(key.clone())
                .or_insert_with(|| VecDeque::from([(now, 0.0)]));
            if self.over(key, *dropped, now, 60 * MINUTE).0 > 0.0 {
                hold(&SERIES_DROPPED, reason.clone());
            }
        }
        let key_of = key(&COHORTS_MISSED, "");
        if self.over(key_of, account.late, now, LONGEST).0 > 20.0 {
            hold(&COHORTS_MISSED, String::new());
        }
    }

    fn judge_process(
        &mut self,
        facts: &Facts,
        now: i64,
        holds: &mut Vec<(String, &'static Rule, String)>,
    ) {
        let mut hold = |rule: &'static Rule| holds.push((String::new(), rule, String::new()));
        let value = |family| facts.process.get(&family).copied();
        let key = |rule: &Rule| (String::new(), rule.name, String::new());
        for (rule, family) in [
            (&LEDGER_DOWN, catalog::STORE_UP),
            (&SCRAPED_TOO_SELDOM, catalog::ZERO_HOLD_SUFFICIENT),
            (&RELOAD_FAILED, catalog::CONFIG_LAST_RELOAD_SUCCESSFUL),
        ] {
            if value(family) == Some(0.0) {
                hold(rule);
            }
        }
        for (rule, family, range, more_than) in [
            (&LEDGER_ERRORS, catalog::STORE_ERRORS, 30 * MINUTE, 3.0),
            (&OTLP_REJECTED, catalog::OTLP_POINTS, 15 * MINUTE, 0.0),
        ] {
            if let Some(value) = value(family)
                && self.over(key(rule), value, now, range).0 > more_than
            {
                hold(rule);
            }
        }
        if let Some(bytes) = value(catalog::SPOOL_BYTES) {
            let (growth, _) = self.over(key(&SPOOL_GROWS), bytes, now, 30 * MINUTE);
            if bytes > 1e8 && growth > 0.0 {
                hold(&SPOOL_GROWS);
            }
        }
    }
}

/// A data set, with the name of its application if there is one.
fn part((dataset, application): &(String, String)) -> String {
    if application.is_empty() {
        dataset.clone()
    } else {
        format!("{dataset}, {application}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static ALL: [&Rule; 14] = [
        &ACCOUNT_FAILING,
        &CREDENTIALS_REFUSED,
        &RATE_LIMITED,
        &DATA_OLD,
        &DISCOVERY_FAILING,
        &QUARANTINED,
        &SERIES_DROPPED,
        &COHORTS_MISSED,
        &LEDGER_DOWN,
        &LEDGER_ERRORS,
        &SPOOL_GROWS,
        &OTLP_REJECTED,
        &SCRAPED_TOO_SELDOM,
        &RELOAD_FAILED,
    ];

    /// A process cannot see that it is down, nor that nobody holds an account.
    const CANNOT_KNOW: [&str; 2] = ["DeliveryExporterDown", "DeliveryAccountUnheld"];

    #[test]
    fn conditions_are_those_of_the_alert_rules() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/dashboards/alerts/delivery.rules.yml"
        );
        let text = std::fs::read_to_string(path).unwrap();
        let group = text.split("- name: delivery-exporter\n").nth(1).unwrap();
        let group = group.split("\n- name: ").next().unwrap();
        let mut judged: Vec<&str> = Vec::new();
        for own in group.split("  - alert: ").skip(1) {
            let name = own.lines().next().unwrap();
            if CANNOT_KNOW.contains(&name) {
                continue;
            }
            let rule = ALL.iter().find(|rule| rule.name == name);
            let rule = rule.unwrap_or_else(|| panic!("{name} is not judged on the status page"));
            judged.push(name);
            let wait = own.lines().find_map(|line| line.strip_prefix("    for: "));
            let wait = wait.map_or(0, |wait| wait.trim_end_matches('m').parse::<i64>().unwrap());
            assert_eq!(rule.wait, wait * MINUTE, "{name}");
            assert_eq!(rule.pages, own.contains("severity: page"), "{name}");
            let expression = own.replace("\n      ", " ");
            assert!(expression.contains(rule.expression), "{name}: {expression}");
        }
        assert_eq!(judged.len(), ALL.len(), "{judged:?}");
    }

    fn facts(change: impl FnOnce(&mut AccountFacts)) -> Facts {
        let mut account = AccountFacts {
            up: Some(true),
            held: Some(true),
            ..AccountFacts::default()
        };
        change(&mut account);
        Facts {
            accounts: [("shop".to_owned(), account)].into(),
            ..Facts::default()
        }
    }

    #[test]
    fn an_account_that_goes_down_is_pending_after_a_quarter_of_an_hour() {
        let mut watch = Watch::default();
        let mut at = 0;
        let mut run = |up: bool, seconds: i64| {
            for _ in 0..seconds / 20 {
                at += 20;
                watch.observe(&facts(|own| own.up = Some(up)), at);
            }
            watch.pending("shop")
        };
        assert!(run(true, 3600).is_empty());
        assert!(run(false, 14 * 60).is_empty());
        let pending = run(false, 3 * 60);
        assert_eq!(pending[0].rule.name, "DeliveryAccountFailing");
        assert!((pending[0].since - 3600 - 900).abs() <= 40, "{pending:?}");
        assert_eq!(pending[0].fires_at(), pending[0].since + 600);
        assert!(run(true, 20).is_empty());
    }

    #[test]
    fn refused_credentials_old_data_and_lost_sources_are_pending() {
        let key = ("messages".to_owned(), "shop".to_owned());
        let mut watch = Watch::default();
        let refused = |count: f64| {
            facts(|own| {
                own.refused.insert(key.clone(), count);
                own.success.insert(key.clone(), false);
                own.due.insert(key.clone(), 1000.0);
                own.discovery.insert("file".to_owned(), false);
            })
        };
        watch.observe(&refused(0.0), 1000);
        let names = |watch: &Watch| -> Vec<_> {
            let pending = watch.pending("shop");
            pending
                .iter()
                .map(|own| (own.rule.name, own.about.clone()))
                .collect()
        };
        assert_eq!(
            names(&watch),
            [("DeliveryDiscoveryFailing", "file".to_owned())]
        );
        watch.observe(&refused(3.0), 1100);
        assert_eq!(
            names(&watch)[0],
            ("DeliveryCredentialsRefused", "messages, shop".to_owned())
        );
        watch.observe(&refused(3.0), 1901);
        assert!(
            names(&watch)
                .iter()
                .any(|(name, _)| *name == "DeliveryDataOld")
        );
        // A quarter of an hour without another refusal.
        watch.observe(&refused(3.0), 2101);
        assert!(
            names(&watch)
                .iter()
                .all(|(name, _)| *name != "DeliveryCredentialsRefused")
        );
        watch.observe(&facts(|own| own.held = Some(false)), 2200);
        assert!(names(&watch).is_empty());
    }

    #[test]
    fn the_ledger_is_judged_for_the_process() {
        let mut watch = Watch::default();
        let mut facts = Facts::default();
        facts.process.insert(catalog::STORE_UP, 0.0);
        facts
            .process
            .insert(catalog::CONFIG_LAST_RELOAD_SUCCESSFUL, 1.0);
        watch.observe(&facts, 50);
        let pending = watch.pending("");
        assert_eq!(pending.len(), 1);
        assert_eq!(
            (pending[0].rule.name, pending[0].fires_at()),
            ("DeliveryLedgerDown", 170)
        );
    }
}
