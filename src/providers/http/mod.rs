//! One HTTP client for all vendors: time limits, retries with backoff and `Retry-After`, the
//! account's rate limit, the size limit, no redirects, and what all of it measures about itself.
//!
//! It knows no vendor: how a request is built and signed, and what an answer means, come from the
//! provider, which is asked again for each attempt.

mod client;
mod limiter;
mod packed;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::Url;
use serde_json::Value;

pub use client::{Answering, Answers, BuildError, Drained, Http};
pub(crate) use client::{chain, with_tls};
pub(crate) use limiter::Limiter;
pub(crate) use packed::{is_packed, unpacked};

use super::Failure;
use crate::secret::Secret;

/// What a client needs of its account's configuration.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The label `account`.
    pub account: Arc<str>,
    /// The vendor's address.
    pub base_url: Url,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// The most bytes of one answer.
    pub max_response_bytes: u64,
    /// The most requests a second, and how many may come at once.
    pub rate_limit: RateLimit,
    /// The most requests in flight.
    pub max_concurrency: usize,
    /// TLS to the vendor.
    pub tls: Tls,
    /// A proxy, instead of the environment's. It can hold a password.
    pub proxy_url: Option<Secret>,
}

/// `rate_limit`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Requests a second in the long run.
    pub requests_per_second: f64,
    /// How many may come at once after a pause.
    pub burst: u32,
}

/// `tls` of a connection to elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities to trust instead of the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// The client's certificate (PEM).
    pub cert_file: Option<PathBuf>,
    /// The client's key (PEM).
    pub key_file: Option<PathBuf>,
}

/// One attempt's request. Built anew for each attempt, so that signatures and nonces are fresh.
///
/// ```
/// use delivery_exporter::providers::http::Request;
/// use http::{HeaderName, Method};
///
/// let request = Request::json("/v1/stats?id=7".to_owned(), "Bearer key")
///     .with_header(HeaderName::from_static("x-region"), "eu");
/// assert_eq!(request.method, Method::GET);
/// assert_eq!(request.headers["x-region"], "eu");
///
/// let body = serde_json::json!({"ids": ["7"]});
/// let request = Request::json("/v1/stats".to_owned(), "Bearer key").posting(&body);
/// assert_eq!(request.method, Method::POST);
/// assert_eq!(request.headers["content-type"], "application/json");
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// What comes after the base URL, with a leading slash, percent-encoded as it shall be sent:
    /// it is not encoded again.
    pub path_and_query: String,
    /// The headers, `Authorization` (marked sensitive) among them.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// A `GET` for JSON with this `Authorization`. A secret with a line end in it cannot be sent;
    /// the vendor will refuse its absence.
    pub fn json(path_and_query: String, authorization: &str) -> Request {
        let mut headers = HeaderMap::new();
        if let Ok(mut value) = HeaderValue::from_str(authorization) {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        Request {
            method: Method::GET,
            path_and_query,
            headers,
            body: Bytes::new(),
        }
    }

    /// The same with a header, in place of one of that name. A value that no header can have (with
    /// a line end in it) is left out: the vendor will say what it lacks. Call `set_sensitive` on
    /// the value of a header that holds a secret; `Authorization` is marked already.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Request {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The same as a `POST` of this JSON.
    #[must_use]
    pub fn posting(self, body: &Value) -> Request {
        let request = self.with_header(header::CONTENT_TYPE, "application/json");
        Request {
            method: Method::POST,
            body: Bytes::from(body.to_string()),
            ..request
        }
    }
}

/// A vendor's whole answer.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most `max_response_bytes` long.
    pub body: Bytes,
}

/// What a provider makes of an answer.
#[derive(Debug)]
pub enum Verdict<T> {
    /// It is good.
    Done(T),
    /// It is an error that trying again will not mend. With [`super::FailureKind::Unauthorized`]
    /// the secrets are read again from their files, once, and the request repeated, once.
    Fail(Failure),
    /// It is an error that may go away: try again, no sooner than after the vendor's own wish
    /// (`Retry-After` is read by the client; a vendor's other header is given here).
    Retry(Failure, Option<Duration>),
}
