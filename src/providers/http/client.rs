//! The client: requests to one account's vendor, one attempt after another.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use delivery_clock::Clock;
use futures_util::StreamExt;
use http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};
use tracing::Instrument;

use super::{HttpAnswer, HttpOptions, Request, Verdict, limiter::Limiter};
use crate::{
    blocking::{LARGE_ANSWER, run_blocking_if_large},
    model::Dataset,
    providers::{Failure, FailureKind, Observer, json::has_too_many_values},
    spans::TRACE_TARGET,
};

mod attempts;
mod broken;
mod connection;
mod drain;
mod memory;
use attempts::{Attempts, Next, Outcome, retry_after};
use broken::Broken;
pub(crate) use broken::chain;
use connection::builder_of;
pub(crate) use connection::with_tls;
pub use drain::Drained;
pub use memory::{Answering, Answers};

/// The client of one account.
pub struct Http {
    account: Arc<str>,
    client: reqwest::Client,
    /// Takes bodies as they were sent: a header that is wrong about them cannot cost a hand-out.
    raw_client: reqwest::Client,
    base: String,
    authority: String,
    timeout: Duration,
    max_bytes: u64,
    limiter: Limiter,
    clock: Clock,
    observer: Arc<dyn Observer>,
    /// Whoever answers in place of the network.
    answers: Option<Answers>,
    /// By how much this clock was ahead of the vendor's at its last answer.
    clock_ahead: Mutex<Option<SignedDuration>>,
}

/// A client that cannot be made: a certificate or proxy that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{account}: {problem}")]
pub struct BuildError {
    /// Whose.
    pub account: Arc<str>,
    /// What is wrong.
    pub problem: String,
}

impl Http {
    /// A client.
    ///
    /// # Errors
    ///
    /// A certificate, key or proxy of the account cannot be used.
    pub fn new(
        options: impl Into<HttpOptions>,
        clock: Clock,
        observer: Arc<dyn Observer>,
    ) -> Result<Http, BuildError> {
        let options: HttpOptions = options.into();
        let build_error = |problem: String| BuildError {
            account: options.account.clone(),
            problem,
        };
        let (builder, raw_builder) = (
            builder_of(&options).map_err(build_error)?,
            builder_of(&options).map_err(build_error)?,
        );
        let client = builder
            .build()
            .map_err(|error| build_error(chain(&error)))?;
        // Shorter than the whole attempt may last: so a connection that was never there is told
        // from an answer that did not come.
        let raw_client = raw_builder
            .no_gzip()
            .connect_timeout(options.timeout.mul_f64(0.9))
            .build()
            .map_err(|error| build_error(chain(&error)))?;
        let host = options.base_url.host_str().unwrap_or_default();
        let authority = match options.base_url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Ok(Http {
            account: options.account.clone(),
            client,
            raw_client,
            base: options.base_url.as_str().trim_end_matches('/').to_owned(),
            authority,
            timeout: options.timeout,
            max_bytes: options.max_response_bytes,
            limiter: Limiter::new(options.rate_limit, clock.clone()),
            clock,
            observer,
            answers: None,
            clock_ahead: Mutex::default(),
        })
    }

    /// The host of the requests, with the port where it is not the scheme's own: what is sent as
    /// `Host`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The time that requests are made at.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// By how much this machine's clock was ahead of the `Date` of the vendor's last answer, which is a whole
    /// second; `None`: no answer had one.
    pub fn clock_ahead(&self) -> Option<SignedDuration> {
        *self
            .clock_ahead
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The longest body that is taken, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Whom to tell about the answers.
    pub fn observer(&self) -> &dyn Observer {
        self.observer.as_ref()
    }

    /// Asks until there is an answer that `judge` takes, or no use in asking again before
    /// `patience` is over. `refresh` reads the secrets again and says whether there may be new ones. With
    /// the answer comes the start of the request that brought it.
    ///
    /// # Errors
    ///
    /// The last attempt's failure.
    pub async fn call<T>(
        &self,
        dataset: Dataset,
        patience: Duration,
        build: impl Fn() -> Request,
        judge: impl Fn(&HttpAnswer) -> Verdict<T>,
        refresh: impl Fn() -> bool,
    ) -> Result<(T, Timestamp), Failure> {
        let mut attempts = Attempts::new(self, dataset, patience);
        loop {
            self.limiter.take().await;
            let asked_at = self.clock.now();
            let request = build();
            let span = self.span(dataset, &request);
            let attempt = async {
                let answer = tokio::time::timeout(self.timeout, self.whole(request)).await;
                answer.unwrap_or_else(|_| Err(self.timed_out()))
            };
            let (code, outcome) = match attempt.instrument(span.clone()).await {
                Err(broken) => (broken.code, Outcome::again(broken.failure)),
                Ok(answer) => {
                    let long = answer.body.len() > LARGE_ANSWER;
                    let outcome = run_blocking_if_large(long, || self.outcome(&answer, &judge));
                    (outcome.code(answer.status.as_u16()), outcome)
                }
            };
            span.record("code", code.to_string());
            self.observer.request(dataset, code);
            match attempts.next(outcome, &refresh).await {
                Next::Done(value) => return Ok((value, asked_at)),
                Next::Again => {}
                Next::GiveUp(failure) => return Err(failure),
            }
        }
    }

    fn span(&self, dataset: Dataset, request: &Request) -> tracing::Span {
        let path = request.path_and_query.split('?').next().unwrap_or_default();
        tracing::info_span!(
            target: TRACE_TARGET,
            "vendor request",
            otel.kind = "client",
            account = %self.account,
            dataset = dataset.as_str(),
            method = %request.method,
            path,
            code = tracing::field::Empty,
        )
    }

    /// Sends a request and waits for the head of the answer.
    async fn send(
        &self,
        client: &reqwest::Client,
        request: Request,
    ) -> Result<reqwest::Response, Broken> {
        if let Some(answers) = &self.answers {
            let answered = answers(request).await;
            return answered
                .map(Into::into)
                .map_err(|error| memory::broken(&error));
        }
        let url = format!("{}{}", self.base, request.path_and_query);
        let sent = client
            .request(request.method, url)
            .headers(request.headers)
            .body(request.body)
            .send()
            .await;
        sent.map_err(|error| self.broken(&error))
    }

    /// Sends a request and reads the whole answer.
    async fn whole(&self, request: Request) -> Result<HttpAnswer, Broken> {
        let _waits = self.clock.waits_outside();
        let response = self.send(&self.client, request).await?;
        self.read(response).await
    }

    /// Reads an answer's body, up to the size limit.
    async fn read(&self, response: reqwest::Response) -> Result<HttpAnswer, Broken> {
        let status = response.status();
        let headers = response.headers().clone();
        if let Some(theirs) = date(&headers) {
            let ahead = self.clock.now().duration_since(theirs);
            let mut own = self
                .clock_ahead
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *own = Some(ahead);
        }
        if response
            .content_length()
            .is_some_and(|length| length > self.max_bytes)
        {
            return Err(self.too_large());
        }
        let mut body = BytesMut::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(|error| self.broken(&error))?);
            if body.len() as u64 > self.max_bytes {
                return Err(self.too_large());
            }
        }
        let body = body.freeze();
        let long = body.len() > LARGE_ANSWER;
        if run_blocking_if_large(long, || has_too_many_values(&body)) {
            return Err(self.too_many_values());
        }
        Ok(HttpAnswer {
            status,
            headers,
            body: without_byte_order_mark(body),
        })
    }

    /// What an answer means; a redirect means the same for every vendor.
    fn outcome<T>(
        &self,
        answer: &HttpAnswer,
        judge: impl Fn(&HttpAnswer) -> Verdict<T>,
    ) -> Outcome<T> {
        if answer.status.is_redirection() {
            let failure = Failure::new(
                FailureKind::Redirect,
                "the answer is a redirect, which is not followed with credentials",
            );
            let failure = Failure {
                status: Some(answer.status.as_u16()),
                ..failure
            };
            return Outcome::Fail(failure.advise("check base_url"));
        }
        match judge(answer) {
            // An error in XML is known by its code; anything else that is no JSON is no answer.
            Verdict::Done(_)
                if answer.status.is_success()
                    && let Some(what) = not_json(&answer.headers) =>
            {
                let failure = Failure {
                    status: Some(answer.status.as_u16()),
                    ..Failure::new(FailureKind::Decode, what)
                };
                let advice = "it is a page, not JSON: is base_url right, is a proxy in between?";
                Outcome::Fail(failure.advise(advice))
            }
            Verdict::Done(value) => Outcome::Done(value),
            Verdict::Fail(failure) => Outcome::Fail(failure),
            Verdict::Retry(failure, pause) => {
                let asked = retry_after(&answer.headers, &self.clock);
                Outcome::Retry(failure, pause.max(asked))
            }
        }
    }
}

/// What the answer says that it is, if that is a page or XML. A type that is missing, or one that
/// servers send when they were not told another (`text/plain`), says nothing: the body decides.
fn not_json(headers: &HeaderMap) -> Option<&'static str> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = kind.split(';').next()?.trim().to_ascii_lowercase();
    match kind.as_str() {
        "text/html" | "application/xhtml+xml" => Some("the answer is an HTML page"),
        "text/xml" | "application/xml" => Some("the answer is XML"),
        _ => None,
    }
}

/// JSON without the mark that some servers put before it.
fn without_byte_order_mark(body: Bytes) -> Bytes {
    match body.strip_prefix(b"\xef\xbb\xbf") {
        Some(_) => body.slice(3..),
        None => body,
    }
}

/// `Date`: the vendor's clock.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let value = headers.get(header::DATE)?.to_str().ok()?;
    Some(jiff::fmt::rfc2822::parse(value).ok()?.timestamp())
}
