//! What a vendor still tells of the past.

use jiff::Timestamp;

use crate::model::{AppMetric, Event, Row, Totals};

/// A part of the past.
#[derive(Clone, Debug, PartialEq)]
pub enum HistoryRecord {
    /// What came to the numbers of the message, or of all the application's.
    Increase(HistoryIncrease),
    /// Things that happened, some of which may have been told before.
    Events(Vec<Event>),
    /// Figures that were the newest for a time.
    Newest {
        /// From when on.
        from: Timestamp,
        /// Until when.
        to: Timestamp,
        /// The figures.
        figures: Vec<AppMetric>,
    },
}

/// What came to numbers within a period.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryIncrease {
    /// The period's beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// By channel.
    pub totals: Vec<Totals>,
    /// By message type, platform and vendor channel.
    pub breakdown: Vec<Row>,
}
