//! Why queries and requests fail.

use std::{fmt, sync::Arc};

use crate::{model::Dataset, redact::ShownText};

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
