//! What a vendor lets us collect: its data sets, its channels with their measures, and when it
//! publishes. Vendors declare it (`providers::Vendor`); every other room reads it here as data.

use std::{cmp::Ordering, fmt, hash, ops::Deref, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::Measure;

/// A data set of a vendor: what `collect` names, and the label `dataset`. A handle to its
/// declaration; two of the same name are equal, whichever vendor declares them.
///
/// ```
/// use delivery_exporter::model::{Dataset, DatasetSpec, QueryMethod};
///
/// const MESSAGES: Dataset = Dataset::new(&DatasetSpec {
///     has_snapshots: true,
///     ..DatasetSpec::new("messages", QueryMethod::Messages { batch: 100 })
/// });
/// assert_eq!(MESSAGES.as_str(), "messages");
/// assert!(MESSAGES.is_default);
/// ```
#[derive(Clone, Copy)]
pub struct Dataset(&'static DatasetSpec);

/// The declaration of a data set.
#[derive(Clone, Copy, Debug)]
pub struct DatasetSpec {
    /// The name in the configuration and in the label `dataset`. It is stored in ledgers.
    pub name: &'static str,
    /// Whether it is collected unless `collect` says otherwise.
    pub is_default: bool,
    /// The pause between two queries unless the configuration says otherwise; `None`: `interval`.
    pub interval: Option<Duration>,
    /// Which method of the provider queries it.
    pub method: QueryMethod,
    /// Whether it brings the numbers of single messages, which are counted and compared at ages.
    pub has_snapshots: bool,
    /// Set where only the vendor's answers about messages tell which messages it is about: what
    /// they tell, such as `which messages are e-mails`. It is queried once they are known.
    pub needs_listed_messages: Option<&'static str>,
    /// Whether it counts bounced addresses: those counters exist from the start.
    pub has_bounced_addresses: bool,
    /// The path at which the vendor pushes it, without the account's name, such as
    /// `/webhooks/vendor/email`; `None`: the vendor does not push.
    pub webhook_path: Option<&'static str>,
    /// How its history is queried; `None`: the vendor's API has none.
    pub history: Option<HistoryMethod>,
    /// A configuration key without which it cannot be collected, and what the key holds.
    pub needs_key: Option<(&'static str, &'static str)>,
    /// The requests of one query that is not by message, for the forecast of `check`.
    pub requests: QueryCost,
    /// The most requests a second that the vendor takes, and of whom; `None`: it does not say.
    pub limit: Option<RequestLimit>,
}

/// What one query of a whole application costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueryCost {
    /// The requests of a query in which there is something new.
    pub each_query: f64,
    /// So many messages are one of them; `None`: they do not depend on messages.
    pub messages_per_request: Option<usize>,
}

/// A limit that the vendor has for all its customers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RequestLimit {
    /// Requests a second.
    pub per_second: f64,
    /// What is counted together: `an AppKey, all its requests`.
    pub counted: &'static str,
}

impl DatasetSpec {
    /// A data set that is collected by default, every `interval`, and has nothing special.
    pub const fn new(name: &'static str, method: QueryMethod) -> DatasetSpec {
        DatasetSpec {
            name,
            is_default: true,
            interval: None,
            method,
            has_snapshots: false,
            needs_listed_messages: None,
            has_bounced_addresses: false,
            webhook_path: None,
            history: None,
            needs_key: None,
            requests: QueryCost {
                each_query: 1.0,
                messages_per_request: None,
            },
            limit: None,
        }
    }
}

/// How a data set is queried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryMethod {
    /// Message by message, at most `batch` messages of one application in a query.
    Messages {
        /// The most messages in one query.
        batch: usize,
    },
    /// All of an application in one query, paged to the end.
    Whole,
    /// The account's queue, which hands everything out once, emptied request by request.
    Drain,
}

/// How the history of a data set is queried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryMethod {
    /// Message by message.
    Message,
    /// All of an application at once. What is older than `reach` when an application is first
    /// queried is not read then.
    Whole {
        /// How far back the first query goes.
        reach: Duration,
    },
}

impl Dataset {
    /// The handle of a declaration.
    pub const fn new(spec: &'static DatasetSpec) -> Dataset {
        Dataset(spec)
    }

    /// The name in the configuration and in the label `dataset`.
    pub fn as_str(self) -> &'static str {
        self.0.name
    }

    /// Whether it has the numbers of single messages, which are counted and compared at ages.
    pub fn has_snapshots(self) -> bool {
        self.0.has_snapshots
    }

    /// Whether it is about messages that only the vendor's answers about messages tell from others.
    pub fn is_about_listed_messages(self) -> bool {
        self.0.needs_listed_messages.is_some()
    }

    /// Whether it is handed out once, as reports that are counted as they come.
    pub fn is_drained(self) -> bool {
        self.0.method == QueryMethod::Drain
    }

    /// Data sets with snapshots come first, as others can depend on their messages.
    fn order(self) -> (bool, &'static str) {
        (!self.0.has_snapshots, self.0.name)
    }
}

impl Deref for Dataset {
    type Target = DatasetSpec;

    fn deref(&self) -> &DatasetSpec {
        self.0
    }
}

impl PartialEq for Dataset {
    fn eq(&self, other: &Dataset) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Dataset {}

impl Ord for Dataset {
    fn cmp(&self, other: &Dataset) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Dataset {
    fn partial_cmp(&self, other: &Dataset) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl hash::Hash for Dataset {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

/// A channel of a vendor with the measures that it can have. The counters of a vendor's first
/// channel exist from the start, those of the others from the channel's first numbers.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// The label `channel`: `push`, `email`, `sms`, or a messenger.
    pub name: &'static str,
    /// The measures, each once.
    pub fields: &'static [Field],
}

/// A measure with the vendor's word for it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The field in the vendor's answers, with its path where it lies deeper (`errors.cloud`);
    /// empty where the exporter counts it itself.
    pub name: &'static str,
    /// What it is in our vocabulary.
    pub measure: Measure,
}

/// The vendor's field `name` is `measure`.
pub const fn field(name: &'static str, measure: Measure) -> Field {
    Field { name, measure }
}

/// How a vendor publishes numbers once a day, so that only ages of a day and more can be told
/// apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DailyPublication {
    /// The vendor's days begin at midnight of this offset from UTC.
    pub utc_offset: SignedDuration,
    /// How long after midnight the numbers of the day before are expected to be complete.
    pub complete_at: Duration,
}

impl DailyPublication {
    /// The begin of the vendor's day in which `at` lies.
    pub fn day_of(self, at: Timestamp) -> Timestamp {
        let offset = self.utc_offset.as_secs();
        let into = (at.as_second() + offset).rem_euclid(SECONDS_OF_A_DAY);
        Timestamp::from_second(at.as_second() - into).unwrap_or(at)
    }

    /// When the numbers are expected to be complete on the vendor's day in which `at` lies.
    pub fn complete_on_day_of(self, at: Timestamp) -> Timestamp {
        delivery_clock::after(self.day_of(at), self.complete_at)
    }
}

const SECONDS_OF_A_DAY: i64 = 86_400;
