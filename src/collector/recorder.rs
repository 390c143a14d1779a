//! The interface for the results of an account's passes.

use std::{sync::Arc, time::Duration};

use delivery_clock::Moment;
use jiff::Timestamp;

use crate::{
    ledger::{LabelLimiter, LedgerDelta},
    model::{AppMetric, Application, Dataset, Message, Snapshot, Source},
    providers::{Failure, Observer},
};

/// Receives the results of one account's collector. [`crate::series`] implements it.
///
/// Results become visible only at [`Recorder::publish`], so that a scrape never sees half an answer.
pub trait Recorder: Observer {
    /// A new state of `message`, valid until `stale_at`. `message` contains the merged data from all sources;
    /// its `id` is the vendor's own (`snapshot.id`).
    fn snapshot(
        &self,
        dataset: Dataset,
        application: &Application,
        message: &Message,
        first_seen: Timestamp,
        snapshot: &Snapshot,
        stale_at: Moment,
    );

    /// The vendor answered, and the state of the message is unchanged.
    fn renewed(&self, dataset: Dataset, application: &Application, id: &str, stale_at: Moment);

    /// All application metrics of a data set, or of one `group` in it (a message's id, or the name of a
    /// part). They replace earlier ones, and are valid until `stale_at`.
    fn figures(
        &self,
        dataset: Dataset,
        application: &Application,
        group: &str,
        figures: Vec<AppMetric>,
        stale_at: Moment,
    );

    /// The message is no longer tracked.
    fn forgotten(&self, application: &Application, id: &str);

    /// Sets the label limiter that gauges share with the counters.
    fn names(&self, names: &Arc<LabelLimiter>);

    /// A change of the ledger.
    fn delta(&self, delta: &LedgerDelta);

    /// All counters are cleared, and will be reported again.
    fn cleared(&self);

    /// This replica no longer holds the account: nothing of it is exposed or kept.
    fn lost(&self);

    /// A query failed after its retries.
    fn failed(&self, dataset: Dataset, application: &Application, failure: &Failure);

    /// A message was set aside or never tracked.
    fn rejected(&self, reason: &str);

    /// The number of tracked messages.
    fn tracked(&self, messages: usize);

    /// When the oldest unanswered query was due or, if there is none, when the next one is due; `None` if
    /// nothing is due.
    fn due(&self, dataset: Dataset, application: &Application, at: Option<Timestamp>);

    /// A source of messages was read: the number of messages that it listed for the first time, and whether
    /// all of it could be read.
    fn discovered(&self, source: Source, new: usize, good: bool, at: Timestamp);

    /// A pass in which something was due has ended.
    fn pass(&self, outcome: &PassOutcome);

    /// Makes everything recorded so far visible, atomically.
    fn publish(&self);
}

/// The outcome of a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct PassOutcome {
    /// When it ended.
    pub at: Timestamp,
    /// Whether at least one answer was good.
    pub up: bool,
    /// The data sets that were queried in it.
    pub datasets: Vec<DatasetOutcome>,
    /// How long each queried data set took.
    pub durations: Vec<(Dataset, Duration)>,
}

/// The outcome of a pass for one data set of one application.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetOutcome {
    /// Which data set.
    pub dataset: Dataset,
    /// Whose.
    pub application: Application,
    /// Whether none of its queries failed.
    pub success: bool,
}
