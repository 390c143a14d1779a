//! Reads the state of each account, and its newest messages, from the exporter's own series.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    catalog::{self, FamilyId},
    model::Measure,
    series::{Labels, Table, Value, Visitor},
};

/// The maximum number of messages per account on the page.
const NEWEST_MESSAGES: usize = 10;

/// A data set, and its application.
pub(super) type DatasetKey = (String, String);

/// The state of one account according to its series.
#[derive(Clone, Debug, Default)]
pub(super) struct AccountFacts {
    pub(super) up: Option<bool>,
    /// Whether this replica holds the account's lease.
    pub(super) held: Option<bool>,
    /// The latest success of any data set, in Unix time; 0 if there was none.
    pub(super) last_success: f64,
    pub(super) tracked: f64,
    pub(super) success: BTreeMap<DatasetKey, bool>,
    /// When the oldest unanswered query was due.
    pub(super) due: BTreeMap<DatasetKey, f64>,
    /// The number of queries that failed because of the credentials.
    pub(super) refused: BTreeMap<DatasetKey, f64>,
    pub(super) rate_limited: BTreeMap<String, f64>,
    pub(super) discovery: BTreeMap<String, bool>,
    pub(super) quarantined: f64,
    /// Dropped series, by reason.
    pub(super) dropped: BTreeMap<String, f64>,
    /// The number of message ages at which no answer came in time.
    pub(super) late: f64,
}

/// The state of all accounts and of the process.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) accounts: BTreeMap<String, AccountFacts>,
    /// The values of the process's own families.
    pub(super) process: BTreeMap<FamilyId, f64>,
    pub(super) family: Option<FamilyId>,
}

const OF_ACCOUNTS: [FamilyId; 12] = [
    catalog::UP,
    catalog::LEASE_HELD,
    catalog::LAST_SUCCESS,
    catalog::TRACKED_MESSAGES,
    catalog::COLLECT_SUCCESS,
    catalog::DUE,
    catalog::COLLECT_FAILURES,
    catalog::RATE_LIMITED,
    catalog::DISCOVERY_SUCCESS,
    catalog::REPORTS_QUARANTINED,
    catalog::SERIES_DROPPED,
    catalog::COHORT_MISSED,
];
const OF_PROCESS: [FamilyId; 6] = [
    catalog::STORE_UP,
    catalog::STORE_ERRORS,
    catalog::SPOOL_BYTES,
    catalog::ZERO_HOLD_SUFFICIENT,
    catalog::CONFIG_LAST_RELOAD_SUCCESSFUL,
    catalog::OTLP_POINTS,
];

impl Facts {
    /// Reads the state at `now`.
    pub(super) fn read(table: &Table, now: Timestamp) -> Facts {
        let mut facts = Facts::default();
        table.visit(now, &mut facts);
        facts
    }
}

impl Visitor for Facts {
    fn wants(&self, family: FamilyId) -> bool {
        OF_ACCOUNTS.contains(&family) || OF_PROCESS.contains(&family)
    }

    fn family(&mut self, family: FamilyId) {
        self.family = Some(family);
    }

    fn sample(&mut self, labels: Labels<'_>, value: &Value) {
        let label = |name: &str| labels.value(name);
        let number = match value {
            Value::Gauge(number) | Value::Counter(number, _) => number.as_f64(),
            Value::Histogram(..) => return,
        };
        let Some(family) = self.family else { return };
        if OF_PROCESS.contains(&family) {
            // Accepted points are not a problem.
            if family != catalog::OTLP_POINTS || label("outcome") != "accepted" {
                *self.process.entry(family).or_default() += number;
            }
            return;
        }
        let account = self
            .accounts
            .entry(label("account").to_owned())
            .or_default();
        let dataset = || (label("dataset").to_owned(), label("application").to_owned());
        match family {
            catalog::UP => account.up = Some(number > 0.0),
            catalog::LEASE_HELD => account.held = Some(number > 0.0),
            catalog::LAST_SUCCESS => {
                account.last_success = account.last_success.max(number);
            }
            catalog::TRACKED_MESSAGES => account.tracked = number,
            catalog::COLLECT_SUCCESS => {
                account.success.insert(dataset(), number > 0.0);
            }
            catalog::DUE => {
                account.due.insert(dataset(), number);
            }
            catalog::COLLECT_FAILURES
                if ["unauthorized", "forbidden"].contains(&label("reason")) =>
            {
                *account.refused.entry(dataset()).or_default() += number;
            }
            catalog::RATE_LIMITED => {
                let dataset = label("dataset").to_owned();
                *account.rate_limited.entry(dataset).or_default() += number;
            }
            catalog::DISCOVERY_SUCCESS => {
                account
                    .discovery
                    .insert(label("source").to_owned(), number > 0.0);
            }
            catalog::REPORTS_QUARANTINED => account.quarantined += number,
            catalog::SERIES_DROPPED => {
                *account
                    .dropped
                    .entry(label("reason").to_owned())
                    .or_default() += number;
            }
            catalog::COHORT_MISSED if label("reason") == "late" => {
                account.late += number;
            }
            _ => {}
        }
    }
}

/// One of the newest messages.
pub(super) struct NewestMessage {
    pub(super) id: String,
    pub(super) application: String,
    pub(super) campaign: String,
    pub(super) channel: String,
    pub(super) sent: f64,
    pub(super) delivered: Option<f64>,
}

/// The newest messages of the accounts, in the order of the configuration. Reads only the first segments of
/// an account, however many messages it has.
pub(super) fn newest_messages(
    table: &Table,
    now: Timestamp,
) -> BTreeMap<String, Vec<NewestMessage>> {
    let mut all = BTreeMap::new();
    let now = table.moment_of(now);
    let sent = catalog::MESSAGE.of(Measure::Sent);
    let delivered = catalog::MESSAGE.of(Measure::Delivered);
    for account in table.shown().accounts() {
        let mut name = String::new();
        let mut messages: Vec<NewestMessage> = Vec::new();
        let mut walked = 0;
        for segment in account.segments(sent) {
            if messages.len() >= NEWEST_MESSAGES {
                break;
            }
            walked += 1;
            segment.visit(Some(now), &mut |labels, value| {
                let (Value::Gauge(number), true) = (value, messages.len() < NEWEST_MESSAGES) else {
                    return;
                };
                let mut message = NewestMessage {
                    id: String::new(),
                    application: String::new(),
                    campaign: String::new(),
                    channel: String::new(),
                    sent: number.as_f64(),
                    delivered: None,
                };
                for (label, value) in labels.pairs() {
                    match label {
                        "account" if name.is_empty() => value.clone_into(&mut name),
                        "message_id" => value.clone_into(&mut message.id),
                        "application" => value.clone_into(&mut message.application),
                        "campaign" => value.clone_into(&mut message.campaign),
                        "channel" => value.clone_into(&mut message.channel),
                        _ => {}
                    }
                }
                messages.push(message);
            });
        }
        // Both families have the same messages in the same order.
        for segment in account.segments(delivered).iter().take(walked) {
            segment.visit(Some(now), &mut |labels, value| {
                let Value::Gauge(number) = value else { return };
                let label = |name: &str| labels.value(name);
                let (id, application) = (label("message_id"), label("application"));
                let same = messages.iter_mut().find(|own| {
                    own.id == id
                        && own.application == application
                        && own.channel == label("channel")
                });
                if let Some(message) = same {
                    message.delivered = Some(number.as_f64());
                }
            });
        }
        all.insert(name, messages);
    }
    all
}
