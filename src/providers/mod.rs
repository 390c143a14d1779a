//! The vendors: how each is asked, and what its answers mean.
//!
//! The door of this room is [`Provider`]: a query goes in, an [`Answer`] of [`Observation`]s comes
//! out. There is one method per way of querying; a vendor has those that its data sets name. A vendor
//! is one folder here, which declares a [`Vendor`], and one line in [`VENDORS`]. Providers know
//! neither the store nor a metric's name; what they measure about themselves goes to an
//! [`Observer`].

mod alibaba_push;
#[cfg(test)]
mod apart;
mod bisect;
mod decode;
pub(crate) mod digest;
mod door;
mod encode;
mod engagelab;
pub mod help;
mod history;
pub mod http;
mod infobip;
mod json;
mod options;
mod paging;
mod pushwoosh;
mod salvage;
#[cfg(test)]
mod scripted;
mod secrets;
pub mod vendor;
mod verdict;

use std::{fmt, future::ready, sync::Arc, time::Duration};

use delivery_clock::Clock;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::{
    model::{Dataset, Figure, Happening, Message, Snapshot},
    redact::ShownText,
};
pub use door::{Answer, DrainQuery, HistoryQuery, ListQuery, Listing, MessagesQuery, WholeQuery};
pub use history::{HistoryIncrease, HistoryRecord};
use http::{BuildError, Http, HttpOptions};
pub use options::{Credentials, ProviderOptions, VendorKeys};
pub use vendor::{ProviderParts, Vendor};

/// Every vendor, in the order of the documentation. A new one is one line here.
pub static VENDORS: Vendors = &[
    &infobip::vendor::PUSH,
    &infobip::vendor::EMAIL,
    &engagelab::vendor::VENDOR,
    &pushwoosh::vendor::VENDOR,
    &alibaba_push::vendor::VENDOR,
];

/// The data set of that name, of the first of [`VENDORS`] that has one.
pub fn dataset(name: &str) -> Option<Dataset> {
    VENDORS.iter().find_map(|vendor| vendor.dataset(name))
}

/// A list of vendors. Programs that use this one as a library, and tests, can add their own to
/// [`VENDORS`] and read a configuration with them (`config::parse_with`).
pub type Vendors = &'static [&'static Vendor];

/// A vendor's statistics API, with the credentials of one account.
pub trait Provider: Send + Sync {
    /// Whether the vendor's list of messages has their numbers too, so that a message that is due
    /// can wait for a list that is on its way.
    fn list_has_numbers(&self) -> bool {
        false
    }

    /// Whether `id` may be another name of a message than the one that it is known by: then the
    /// ledger is asked for that one before anything of it is counted.
    fn may_be_another_name(&self, id: &str) -> bool {
        let _ = id;
        false
    }

    /// The first moment at which the vendor can have numbers of `message`; `None`: at once.
    fn first_numbers(&self, message: &Message) -> Option<Timestamp> {
        let _ = message;
        None
    }

    /// Queries the numbers of some messages: data sets of [`QueryMethod::Messages`].
    ///
    /// [`QueryMethod::Messages`]: crate::model::QueryMethod::Messages
    fn messages<'a>(&'a self, query: MessagesQuery<'a>) -> BoxFuture<'a, Answer> {
        let _ = query;
        Box::pin(ready(Answer::unsupported()))
    }

    /// Queries the vendor's own list of messages: vendors that can list.
    fn list<'a>(&'a self, query: ListQuery<'a>) -> BoxFuture<'a, Answer> {
        let _ = query;
        Box::pin(ready(Answer::unsupported()))
    }

    /// Queries a data set of an application: those of [`QueryMethod::Whole`].
    ///
    /// [`QueryMethod::Whole`]: crate::model::QueryMethod::Whole
    fn whole<'a>(&'a self, query: WholeQuery<'a>) -> BoxFuture<'a, Answer> {
        let _ = query;
        Box::pin(ready(Answer::unsupported()))
    }

    /// Takes what is in a queue: data sets of [`QueryMethod::Drain`].
    ///
    /// [`QueryMethod::Drain`]: crate::model::QueryMethod::Drain
    fn drain<'a>(&'a self, query: DrainQuery<'a>) -> BoxFuture<'a, Answer> {
        let _ = query;
        Box::pin(ready(Answer::unsupported()))
    }

    /// Queries the history of a data set that has one.
    fn history<'a>(&'a self, query: HistoryQuery<'a>) -> BoxFuture<'a, Answer<HistoryRecord>> {
        let _ = query;
        Box::pin(ready(Answer::unsupported()))
    }

    /// What is in a body that the vendor pushed, or handed out once: every whole report and event,
    /// and what was left over. Pure, so that spooled bodies can be read again at a start.
    fn read_pushed(&self, body: &[u8]) -> Pushed {
        let reports = ReportsRead {
            damage: Some(Damage {
                at: 0,
                what: "no reports are known for this vendor".into(),
                rest: body.into(),
                sample_of: None,
            }),
            empty: body.is_empty(),
            ..ReportsRead::default()
        };
        Pushed {
            reports,
            ..Pushed::default()
        }
    }
}

/// The provider of an account.
///
/// # Errors
///
/// A certificate or proxy of the account cannot be used.
pub fn build(
    account: impl Into<HttpOptions> + Into<ProviderOptions> + Copy,
    clock: Clock,
    observer: Arc<dyn Observer>,
) -> Result<Arc<dyn Provider>, BuildError> {
    Ok(build_on(Http::new(account, clock, observer)?, account))
}

/// The provider of an account, on a client that is already there.
pub fn build_on(http: Http, account: impl Into<ProviderOptions>) -> Arc<dyn Provider> {
    let options: ProviderOptions = account.into();
    (options.vendor.build)(ProviderParts { http, options })
}

/// What a vendor said about one thing.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// The state of a message.
    Snapshot(Box<Snapshot>),
    /// The vendor has no numbers of this message yet: neither a failure nor zeros.
    NotYet {
        /// The id that was asked for.
        asked: Arc<str>,
        /// The start of the request.
        asked_at: Timestamp,
    },
    /// The vendor refuses this message: the refusal is the message's, not the data set's.
    Refused {
        /// The id that was asked for.
        asked: Arc<str>,
        /// The vendor's code, or `not_found`: the label `reason`.
        reason: Arc<str>,
        /// Whether it may just be too new.
        then: Refusal,
    },
    /// The answer's part about this message could not be taken; the others' parts were.
    Failed {
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
        figures: Vec<Figure>,
    },
    /// Things that happened, some of which may have been told before.
    Happened(Vec<Happening>),
    /// The data set was read until this time: the next query begins there, less what the vendor
    /// tells late. Only after everything before it was handed over.
    ReadUntil(Timestamp),
    /// The query stopped in the middle to keep the memory bounded: the rest is to be queried at
    /// once, in turn with other queries.
    More,
    /// There was nothing to query: no message of the kind that the data set is about is known yet.
    /// No request was made.
    NothingToQuery,
    /// A message has two names: the one that may be known as `alias` is `id`. It comes before the
    /// [`Observation::Listed`] or [`Observation::Snapshot`] of `id`, so that a message that was
    /// known by its other name is renamed instead of being counted a second time.
    Named {
        /// The other name, such as a number.
        alias: Arc<str>,
        /// The name that the message is known by from now on, such as a code.
        id: Arc<str>,
    },
    /// A message that the vendor lists. Its numbers, where the list has them, come as a
    /// [`Observation::Snapshot`] after it.
    Listed(Message),
    /// A body from a queue that hands things out once is in the spool, and this is in it.
    Drained {
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

/// One delivery report, in the vocabulary of contract 4.3. Nothing in it names a person.
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
    pub events: Vec<Happening>,
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

/// Where bodies are kept that will not come again.
pub trait Spool: Send + Sync {
    /// A new body, on disk from its first byte.
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn SpoolWriter>, SpoolError>>;

    /// Returns once no further request shall be made: what is arriving is still taken.
    fn closed(&self) -> BoxFuture<'_, ()>;
}

/// A body that is being written to the spool.
pub trait SpoolWriter: Send {
    /// Appends to the body.
    fn write<'a>(&'a mut self, chunk: &'a [u8]) -> BoxFuture<'a, Result<(), SpoolError>>;

    /// Makes the body durable. Nothing in it may be used before this has returned.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<SpooledBody, SpoolError>>;

    /// Throws the body away: only for bodies that hold nothing (an answer that is an error, not a
    /// hand-out; exactly no reports).
    fn discard(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// The name of a body in the spool.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpooledBody(pub Arc<str>);

/// The spool could not take a body. The text says which file, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SpoolError(pub String);

/// Why a query failed: the label `reason`, and what a person can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The class, the label `reason` of `delivery_exporter_collect_failures_total`.
    pub kind: FailureKind,
    /// Whom it concerns.
    pub scope: Scope,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The vendor's own code, if it gave one.
    pub code: Option<Arc<str>>,
    /// What happened.
    pub text: ShownText,
    /// What to do about it.
    pub advice: Option<&'static str>,
}

impl Failure {
    /// A failure of the query, known by its kind and text alone.
    pub fn new(kind: FailureKind, text: &str) -> Failure {
        Failure {
            kind,
            scope: Scope::Query,
            status: None,
            code: None,
            text: ShownText::new(text),
            advice: None,
        }
    }

    /// A message whose numbers cannot be counted.
    pub(crate) fn bad_count(problem: &str) -> Failure {
        Failure::new(FailureKind::Decode, problem)
    }

    /// A query that this vendor's plan does not have.
    pub(crate) fn unsupported() -> Failure {
        Failure::new(FailureKind::Vendor, "the vendor cannot be asked for this")
    }

    /// The same with advice.
    #[must_use]
    pub fn advise(self, advice: &'static str) -> Failure {
        Failure {
            advice: Some(advice),
            ..self
        }
    }

    /// The same for whom it concerns.
    #[must_use]
    pub fn of(self, scope: Scope) -> Failure {
        Failure { scope, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)?;
        match self.advice {
            Some(advice) => write!(f, " ({advice})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// Whom a failure concerns: the rest of the pass is spared requests that would fail alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Only what was asked for.
    Query,
    /// All of this application's data set.
    Application,
    /// All of the account.
    Account,
}

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// The credentials were refused.
    Unauthorized,
    /// The credentials lack a permission.
    Forbidden,
    /// The vendor does not know what was asked for.
    NotFound,
    /// Too many requests, also after the retries.
    RateLimited,
    /// No answer in time.
    Timeout,
    /// The host name did not resolve.
    Dns,
    /// The connection failed or was cut before an answer.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The answer was cut off.
    Body,
    /// The answer is larger than `max_response_bytes`.
    TooLarge,
    /// The answer redirects elsewhere, and redirects are not followed.
    Redirect,
    /// The request could not be built of what was asked for.
    Request,
    /// The answer could not be understood.
    Decode,
    /// The vendor answered with an error of its own.
    Vendor,
    /// The exporter's own disk failed.
    Store,
}

impl FailureKind {
    /// Every kind, for the counters that exist from the start.
    pub const ALL: [FailureKind; 15] = [
        FailureKind::Unauthorized,
        FailureKind::Forbidden,
        FailureKind::NotFound,
        FailureKind::RateLimited,
        FailureKind::Timeout,
        FailureKind::Dns,
        FailureKind::Connect,
        FailureKind::Tls,
        FailureKind::Body,
        FailureKind::TooLarge,
        FailureKind::Redirect,
        FailureKind::Request,
        FailureKind::Decode,
        FailureKind::Vendor,
        FailureKind::Store,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::Unauthorized => "unauthorized",
            FailureKind::Forbidden => "forbidden",
            FailureKind::NotFound => "not_found",
            FailureKind::RateLimited => "rate_limited",
            FailureKind::Timeout => "timeout",
            FailureKind::Dns => "dns",
            FailureKind::Connect => "connect",
            FailureKind::Tls => "tls",
            FailureKind::Body => "body",
            FailureKind::TooLarge => "too_large",
            FailureKind::Redirect => "redirect",
            FailureKind::Request => "request",
            FailureKind::Decode => "decode",
            FailureKind::Vendor => "vendor",
            FailureKind::Store => "store",
        }
    }
}

/// How one request ended: the label `code` of `delivery_exporter_api_requests_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestCode {
    /// An answer with this HTTP status.
    Status(u16),
    /// No answer in time.
    Timeout,
    /// The host name did not resolve.
    Dns,
    /// The connection failed.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The answer was cut off, or larger than allowed.
    Body,
    /// The answer could not be understood.
    Decode,
    /// The request could not be built, and was not sent.
    Request,
}

impl fmt::Display for RequestCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestCode::Status(status) => write!(f, "{status}"),
            RequestCode::Timeout => f.write_str("timeout"),
            RequestCode::Dns => f.write_str("dns"),
            RequestCode::Connect => f.write_str("connect"),
            RequestCode::Tls => f.write_str("tls"),
            RequestCode::Body => f.write_str("body"),
            RequestCode::Decode => f.write_str("decode"),
            RequestCode::Request => f.write_str("request"),
        }
    }
}

/// What a provider measures about its own requests, for one account.
pub trait Observer: Send + Sync {
    /// A request has ended.
    fn request(&self, dataset: Dataset, code: RequestCode);
    /// A request is about to be tried again.
    fn retry(&self, dataset: Dataset);
    /// The vendor said "too many requests".
    fn rate_limited(&self, dataset: Dataset);
    /// The answer had a field that this version does not know: a path such as `sub.new_field`.
    fn unknown_field(&self, dataset: Dataset, field: &str);
}
