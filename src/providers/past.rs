//! What a vendor still tells of the past.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Application, Dataset, Figure, Happening, Message, Row, Totals};

/// What is asked of the past.
#[derive(Clone, Copy)]
pub struct PastQuery<'a> {
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
    /// No retry of a request starts so long after it.
    pub patience: Duration,
}

/// A part of the past.
#[derive(Clone, Debug, PartialEq)]
pub enum Past {
    /// What came to the numbers of the message, or of all the application's.
    Grown(Grown),
    /// Things that happened, some of which may have been told before.
    Happened(Vec<Happening>),
    /// Figures that were the newest for a time.
    Newest {
        /// From when on.
        from: Timestamp,
        /// Until when.
        to: Timestamp,
        /// The figures.
        figures: Vec<Figure>,
    },
}

/// What came to numbers within a period.
#[derive(Clone, Debug, PartialEq)]
pub struct Grown {
    /// The period's beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// By channel.
    pub totals: Vec<Totals>,
    /// By message type, platform and vendor channel.
    pub breakdown: Vec<Row>,
}
