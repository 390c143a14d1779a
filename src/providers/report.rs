//! Delivery reports, and bodies that vendors push or hand out once.

use std::{sync::Arc, time::Duration};

use super::Failure;
use crate::model::Event;

/// One delivery report, in words that all vendors share. Nothing in it names a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Digest of account, message, recipient and status: a repeat has the same.
    pub report: Digest,
    /// Digest of account, message and recipient; the report's own where no message is named.
    pub message: Digest,
    /// `report` and `message` as version 0.1 made them of the same text, where they differ: a
    /// ledger that knows those has counted the report.
    pub former: Option<(Digest, Digest)>,
    /// The label `channel`.
    pub channel: &'static str,
    /// The campaign that the report names.
    pub campaign: Option<Arc<str>>,
    /// The vendor's status group, the label `status_group`.
    pub status_group: Arc<str>,
    /// The vendor's status, the label `status`.
    pub status: Arc<str>,
    /// The vendor's error group, the label `error_group`.
    pub error_group: Arc<str>,
    /// The vendor's error, the label `error`.
    pub error: Arc<str>,
    /// Whether the vendor calls the error permanent, the label `permanent`; `None`: it does not say.
    pub permanent: Option<bool>,
    /// What the report means for its message.
    pub outcome: Outcome,
    /// `doneAt` minus `sentAt`; `None` if one is missing or the difference is negative.
    pub latency: Option<Duration>,
    /// Price per message times number of messages, and its currency.
    pub cost: Option<(rust_decimal::Decimal, Arc<str>)>,
}

/// What is in a body that a vendor pushed. Everything in it is in one of the three, or in the damage
/// of `reports`: nothing is passed over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pushed {
    /// Delivery reports, and what has to be kept because it cannot be read. The body is kept before
    /// they are counted.
    pub reports: ReportsRead,
    /// Things that happened to messages after their reports.
    pub events: Vec<Event>,
    /// How many things it tells that are known and not counted.
    pub unsupported: usize,
}

/// What a report means for its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something final is still to come.
    Pending,
    /// Final: it arrived.
    Delivered,
    /// Final: it bounced.
    Bounced(crate::model::BounceKind),
    /// Final: it failed without a bounce.
    Failed(crate::model::ErrorReason),
    /// Final, and neither delivered, bounced nor failed.
    Other,
}

/// A digest (the first 128 bits of SHA-256) that stands for something that must not be stored.
pub type Digest = [u8; 16];

/// What was read from a body of delivery reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportsRead {
    /// Every whole report.
    pub reports: Vec<Report>,
    /// The vendor said that it has nothing: `results` is there, whole, and empty.
    pub empty: bool,
    /// What could not be read; `None` if everything was.
    pub damage: Option<Damage>,
    /// The body is no body of reports but an error, a page or nothing: why the query failed.
    pub failure: Option<Failure>,
}

/// The parts of a body that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where the first of them begins.
    pub at: usize,
    /// What is wrong there, without the content.
    pub what: String,
    /// All of them, and no report that was read: a body of the same form, so that a version that
    /// understands more of it can read it.
    pub rest: Arc<[u8]>,
    /// Set where the body holds no report for certain (an error's text, a page): of each kind an
    /// account keeps one copy in quarantine, to be looked at.
    pub sample_of: Option<&'static str>,
}
