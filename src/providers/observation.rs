//! What vendors say, one thing at a time.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Failure, ReportsRead, SpooledBody};
use crate::model::{AppMetric, Event, Message, Snapshot};

/// What a vendor said about one thing.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// The state of a message.
    MessageSnapshot(Box<Snapshot>),
    /// The vendor has no numbers of this message yet: neither a failure nor zeros.
    NotYetAvailable {
        /// The id that was asked for.
        asked: Arc<str>,
        /// The start of the request.
        asked_at: Timestamp,
    },
    /// The vendor refuses this message: the refusal is the message's, not the data set's.
    MessageRejected {
        /// The id that was asked for.
        asked: Arc<str>,
        /// The vendor's code, or `not_found`: the label `reason`.
        reason: Arc<str>,
        /// Whether it may just be too new.
        then: Refusal,
    },
    /// The answer's part about this message could not be taken; the others' parts were.
    MessageFailed {
        /// The id that was asked for.
        asked: Arc<str>,
        /// Why.
        failure: Failure,
    },
    /// All figures of a data set (or of one part or message of it): they replace those before.
    Figures {
        /// The message that was asked for; `None`: they are the application's.
        asked: Option<Arc<str>>,
        /// The part of the data set, where its parts are queried one by one and one can fail
        /// without the others; empty: there are no parts.
        part: &'static str,
        /// The figures.
        figures: Vec<AppMetric>,
    },
    /// Things that happened, some of which may have been told before.
    Events(Vec<Event>),
    /// The data set was read until this time: the next query begins there, less what the vendor
    /// tells late. Only after everything before it was handed over.
    Cursor(Timestamp),
    /// The query stopped in the middle to keep the memory bounded: the rest is to be queried at
    /// once, in turn with other queries.
    More,
    /// There was nothing to query: no message of the kind that the data set is about is known yet.
    /// No request was made.
    NothingToQuery,
    /// A message has two names: the one that may be known as `alias` is `id`. It comes before the
    /// [`Observation::ListedMessage`] or [`Observation::MessageSnapshot`] of `id`, so that a message that was
    /// known by its other name is renamed instead of being counted a second time.
    Named {
        /// The other name, such as a number.
        alias: Arc<str>,
        /// The name that the message is known by from now on, such as a code.
        id: Arc<str>,
    },
    /// A message that the vendor lists. Its numbers, where the list has them, come as a
    /// [`Observation::MessageSnapshot`] after it.
    ListedMessage(Message),
    /// A body from a queue that hands things out once is in the spool, and this is in it.
    DrainedBody {
        /// The spooled body's name.
        body: SpooledBody,
        /// What could be read.
        read: ReportsRead,
        /// The body was cut off, by the connection or by the size limit, or came under an error's
        /// status.
        cut: Option<Failure>,
    },
}

/// When a message that a vendor refuses is set aside: from then on it is queried once a day, by
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// At once: more time will not mend it.
    AtOnce,
    /// Once it is five minutes old: until then it may not be known everywhere at the vendor, and
    /// is queried alone every interval.
    UnlessNew,
}
