//! What providers are asked, and what they answer.

use std::{cmp::Reverse, collections::HashSet, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Failure, Observation, Spool};
use crate::model::{Application, Dataset, Message};

/// The numbers of some messages of one application.
#[derive(Clone, Copy)]
pub struct MessagesQuery<'a> {
    /// Which data set.
    pub dataset: Dataset,
    /// Whose messages.
    pub application: &'a Application,
    /// Which messages; never empty, never more than the data set's batch.
    pub messages: &'a [Message],
    /// How long after its first attempt each request may be repeated; zero: it is made once.
    pub patience: Duration,
}

/// The messages that the vendor lists from `since` on, paged to the end.
#[derive(Clone, Copy)]
pub struct ListQuery<'a> {
    /// Which data set the messages are wanted for.
    pub dataset: Dataset,
    /// Whose messages.
    pub application: &'a Application,
    /// Messages sent before this are not wanted.
    pub oldest: Timestamp,
    /// The list was complete up to here before, with an overlap taken off; at least `oldest`.
    pub since: Timestamp,
    /// Of a list that is longer than twice this, only so many of the newest messages are kept.
    pub max_messages: usize,
    /// Whether the numbers that the list has beside the messages are wanted too.
    pub with_numbers: bool,
    /// How long after its first attempt each request may be repeated.
    pub patience: Duration,
}

/// A data set of one application as a whole, paged to the end.
#[derive(Clone, Copy)]
pub struct WholeQuery<'a> {
    /// Which data set.
    pub dataset: Dataset,
    /// Whose.
    pub application: &'a Application,
    /// The messages that are watched.
    pub messages: &'a [Message],
    /// Until when it was read before ([`Observation::Cursor`]), over restarts.
    pub since: Option<Timestamp>,
    /// How long after its first attempt each request may be repeated.
    pub patience: Duration,
}

/// One request to a queue that hands things out once. Its body is in `spool`, durable, before
/// anything is read from it.
#[derive(Clone, Copy)]
pub struct DrainQuery<'a> {
    /// Which data set.
    pub dataset: Dataset,
    /// Where the bytes go as they arrive.
    pub spool: &'a dyn Spool,
    /// How long after its first attempt each request may be repeated.
    pub patience: Duration,
}

/// The history of a data set, as far as the vendor keeps it.
#[derive(Clone, Copy)]
pub struct HistoryQuery<'a> {
    /// Which data set.
    pub dataset: Dataset,
    /// Whose.
    pub application: &'a Application,
    /// Of which message, where the method is [`HistoryMethod::Message`].
    ///
    /// [`HistoryMethod::Message`]: crate::model::HistoryMethod::Message
    pub message: Option<&'a Message>,
    /// From when on.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// How long after its first attempt each request may be repeated.
    pub patience: Duration,
}

/// What a query brought. An answer is held in memory as a whole, so a provider keeps it bounded: it
/// reads a piece and says that there is more ([`Observation::More`]), or collects a list in a
/// [`Listing`].
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Answer<T = Observation> {
    /// What the vendor said, in its order. It is true whatever the result is.
    pub observations: Vec<T>,
    /// How the query ended, after the retries that its failure allows. What went wrong with a
    /// single message is an [`Observation`] instead.
    pub result: Result<(), Failure>,
    /// How many listed messages are left out, as there were more than `max_messages`.
    pub left_out: usize,
}

impl<T> Answer<T> {
    /// What was learnt, and how the query ended.
    pub fn new(observations: Vec<T>, result: Result<(), Failure>) -> Answer<T> {
        Answer {
            observations,
            result,
            left_out: 0,
        }
    }

    /// Nothing but a failure.
    pub fn failed(failure: Failure) -> Answer<T> {
        Answer::new(Vec::new(), Err(failure))
    }

    /// The vendor cannot be queried in this way.
    pub fn unsupported() -> Answer<T> {
        Answer::failed(Failure::unsupported())
    }
}

impl Answer {
    /// Queries message by message, one after the other. A failure that is not a message's own ends it: the
    /// others would fail alike.
    pub async fn one_by_one<'m, Asked>(
        messages: &'m [Message],
        ask: impl Fn(&'m Message) -> Asked,
    ) -> Answer
    where
        Asked: Future<Output = Result<Observation, Failure>>,
    {
        let mut observations = Vec::new();
        for message in messages {
            match ask(message).await {
                Ok(observation) => observations.push(observation),
                Err(failure) => return Answer::new(observations, Err(failure)),
            }
        }
        Answer::new(observations, Ok(()))
    }
}

/// The observations of a list while it is read: bounded also where a vendor's list does not end.
///
/// ```
/// # use delivery_exporter::{model::Message, providers::{Listing, Observation}};
/// let mut listing = Listing::new(1, true);
/// for second in 0..5 {
///     listing.push(Observation::ListedMessage(Message {
///         application: "app".into(),
///         id: second.to_string().into(),
///         campaign: None,
///         sent_at: jiff::Timestamp::from_second(second).ok(),
///     }));
/// }
/// let answer = listing.into_answer(Ok(()));
/// assert!(answer.observations.len() <= 2 && answer.left_out >= 3);
/// ```
pub struct Listing {
    max_messages: usize,
    with_numbers: bool,
    observations: Vec<Observation>,
    /// How many of them list a message.
    listed: usize,
    left_out: usize,
}

impl Listing {
    /// The listing for a query's `max_messages` and `with_numbers`.
    pub fn new(max_messages: usize, with_numbers: bool) -> Listing {
        Listing {
            max_messages,
            with_numbers,
            observations: Vec::new(),
            listed: 0,
            left_out: 0,
        }
    }

    /// Takes an observation. Of a list that has more than twice as many messages as are wanted,
    /// only the newest stay.
    pub fn push(&mut self, observation: Observation) {
        if !self.with_numbers && matches!(observation, Observation::MessageSnapshot(_)) {
            return;
        }
        self.listed += usize::from(matches!(observation, Observation::ListedMessage(_)));
        self.observations.push(observation);
        if self.listed > self.max_messages.saturating_mul(2) {
            self.keep_newest();
        }
    }

    /// What is left, and how the list ended.
    pub fn into_answer(self, result: Result<(), Failure>) -> Answer {
        Answer {
            observations: self.observations,
            result,
            left_out: self.left_out,
        }
    }

    fn keep_newest(&mut self) {
        let mut listed: Vec<(Reverse<Timestamp>, Arc<str>)> = self
            .observations
            .iter()
            .filter_map(|observation| match observation {
                Observation::ListedMessage(message) => {
                    let sent_at = message.sent_at.unwrap_or(Timestamp::MAX);
                    Some((Reverse(sent_at), message.id.clone()))
                }
                _ => None,
            })
            .collect();
        if self.max_messages < listed.len() {
            listed.select_nth_unstable(self.max_messages);
        }
        listed.truncate(self.max_messages);
        let kept: HashSet<Arc<str>> = listed.into_iter().map(|(_, id)| id).collect();
        self.observations.retain(|observation| match observation {
            Observation::ListedMessage(message) => kept.contains(&message.id),
            Observation::MessageSnapshot(snapshot) => {
                kept.contains(&snapshot.id) || kept.contains(&snapshot.asked)
            }
            Observation::Named { id, .. } => kept.contains(id),
            _ => true,
        });
        let before = self.listed;
        self.listed = self
            .observations
            .iter()
            .filter(|observation| matches!(observation, Observation::ListedMessage(_)))
            .count();
        self.left_out += before - self.listed;
    }
}
