//! The collector's door on the right: what a pass of one account finds out.

use std::{sync::Arc, time::Duration};

use delivery_clock::Moment;
use jiff::Timestamp;

use crate::{
    ledger::{LabelLimiter, LedgerDelta},
    model::{AppMetric, Application, Dataset, Message, Snapshot, Source},
    providers::{Failure, Observer},
};

/// Takes what the collector of one account finds out. [`crate::series`] implements it.
///
/// Nothing of it is visible before [`Recorder::publish`]: a scrape sees the state between two
/// answers, never half an answer.
pub trait Recorder: Observer {
    /// A new state of `message`, which is true until `stale_at`. `message` is what is known of it
    /// over all sources; its `id` is the vendor's own (`snapshot.id`).
    fn snapshot(
        &self,
        dataset: Dataset,
        application: &Application,
        message: &Message,
        first_seen: Timestamp,
        snapshot: &Snapshot,
        stale_at: Moment,
    );

    /// The vendor answered, and the state of the message is what it was.
    fn renewed(&self, dataset: Dataset, application: &Application, id: &str, stale_at: Moment);

    /// All figures of a data set, or of one `group` of it (a message's id, or the name of a part):
    /// they replace those before, and are true until `stale_at`.
    fn figures(
        &self,
        dataset: Dataset,
        application: &Application,
        group: &str,
        figures: Vec<AppMetric>,
        stale_at: Moment,
    );

    /// The message is no longer watched.
    fn forgotten(&self, application: &Application, id: &str);

    /// The label values that keep their names, shared with the counters.
    fn names(&self, names: &Arc<LabelLimiter>);

    /// What the ledger says.
    fn delta(&self, delta: &LedgerDelta);

    /// All counters will be told anew.
    fn cleared(&self);

    /// The account is no longer this replica's: nothing of it is shown, or remembered for later.
    fn lost(&self);

    /// A query failed, after its retries.
    fn failed(&self, dataset: Dataset, application: &Application, failure: &Failure);

    /// A message was set aside, or refused to begin with.
    fn rejected(&self, reason: &str);

    /// How many messages are watched now.
    fn tracked(&self, messages: usize);

    /// When the oldest unanswered query was due, or when the next will be; `None`: nothing is.
    fn due(&self, dataset: Dataset, application: &Application, at: Option<Timestamp>);

    /// A source of messages was read: how many messages it named for the first time, and whether all
    /// of it could be read.
    fn discovered(&self, source: Source, new: usize, good: bool, at: Timestamp);

    /// A pass in which something was due has ended.
    fn pass(&self, outcome: &PassOutcome);

    /// Makes everything until now visible, at once.
    fn publish(&self);
}

/// How a pass went.
#[derive(Clone, Debug, PartialEq)]
pub struct PassOutcome {
    /// When it ended.
    pub at: Timestamp,
    /// At least one answer was good.
    pub up: bool,
    /// What was asked for in it.
    pub datasets: Vec<DatasetOutcome>,
    /// How long each data set that was asked for took.
    pub durations: Vec<(Dataset, Duration)>,
}

/// How the pass went for one data set of one application.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetOutcome {
    /// Which data set.
    pub dataset: Dataset,
    /// Whose.
    pub application: Application,
    /// Nothing of it failed.
    pub success: bool,
}
