//! The receiver of the increases of a message's snapshot.

use std::{collections::BTreeMap, sync::Arc};

use crate::model::{Age, Measure};

/// Why an age of a message was not counted: the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Missed {
    /// No answer came in the window.
    Late,
    /// Answers came, but without counts.
    NoData,
    /// The message was still being sent.
    StillSending,
    /// The send time of the message is unknown.
    AgeUnknown,
}

impl Missed {
    /// All reasons for missing an age.
    pub const OF_AN_AGE: [Missed; 3] = [Missed::Late, Missed::NoData, Missed::StillSending];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Missed::Late => "late",
            Missed::NoData => "no_data",
            Missed::StillSending => "still_sending",
            Missed::AgeUnknown => "age_unknown",
        }
    }
}

/// A message's state at an age.
pub(super) struct CohortSample<'a> {
    pub(super) age: Age,
    /// Sent and delivered per channel.
    pub(super) channels: Vec<(&'a str, u64, u64)>,
    /// The same per platform and vendor channel.
    pub(super) rows: BTreeMap<(Arc<str>, Arc<str>), (u64, u64)>,
}

/// Receives the increases of a snapshot.
pub(super) trait CounterSink {
    /// A total of the message has increased.
    fn total(&mut self, channel: &str, measure: Measure, by: u64);
    /// A total of the message's campaign has increased.
    fn campaign(&mut self, channel: &str, campaign: &Arc<str>, measure: Measure, by: u64);
    /// A row of the breakdown has increased.
    fn row(&mut self, place: [&Arc<str>; 3], measure: Measure, by: u64);
    /// The message has counts on this channel.
    fn channel(&mut self, channel: &str);
    /// The number of values that are lower than before.
    fn decreases(&mut self, count: u64);
    /// The message has reached an age.
    fn cohort(&mut self, taken: CohortSample<'_>);
    /// An age was not counted.
    fn missed(&mut self, age: Option<Age>, reason: Missed);
}
