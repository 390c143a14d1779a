//! Requests to a queue that hands things out once: what arrives is kept, and what may be lost shows.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::Instant;
use tracing::Instrument;

use super::{
    Http, HttpAnswer, Request, Verdict,
    attempts::{Attempts, Next, Outcome},
    broken::{Broken, store_failure},
};
use crate::{
    model::Dataset,
    providers::{
        Failure, FailureKind, RequestCode, Spool, SpoolWriter, SpooledBody, http::unpacked,
        json::has_too_many_values,
    },
};

/// An answer brings at least so many bytes in [`SLOWEST_TIMEOUTS`] timeouts, until it ends. A byte now and
/// then would otherwise keep the account waiting for as long as the vendor likes.
const MIN_PROGRESS_BYTES: usize = 1024;
const SLOWEST_TIMEOUTS: u32 = 3;

/// What came of a request to a queue that hands things out once.
pub struct Drained {
    /// The body's name in the spool.
    pub body: SpooledBody,
    /// The body.
    pub bytes: Bytes,
    /// Why the body is not whole, or why the status says that it is none; `None`: it is whole.
    pub cut: Option<Failure>,
    /// An earlier attempt may have emptied the queue, and brought nothing: why. The query has failed.
    pub lost: Option<Failure>,
}

/// What an attempt brought. The body is in the spool too.
struct Handed {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Bytes,
    cut: Option<Broken>,
}

impl Http {
    /// One request to a queue that hands things out once. The body goes to `spool` as it arrives,
    /// as it was sent; a cut one is returned with what came of it, and so are reports under an
    /// error's status. Attempts that got no hand-out are repeated within `patience`; `judge` says
    /// which of the vendor's errors allow it.
    ///
    /// # Errors
    ///
    /// No body was handed out, or the spool cannot take one.
    pub async fn drain(
        &self,
        dataset: Dataset,
        patience: Duration,
        build: impl Fn() -> Request,
        judge: impl Fn(&HttpAnswer) -> Verdict<()>,
        refresh: impl Fn() -> bool,
        spool: &dyn Spool,
    ) -> Result<Drained, Failure> {
        let mut attempts = Attempts::new(self, dataset, patience);
        let mut lost = None;
        loop {
            tokio::select! {
                biased;
                () = spool.closed() => return Err(stopping()),
                () = self.limiter.take() => {}
            }
            // Before anything is asked for, there is a place for it.
            let mut writer = spool
                .begin()
                .await
                .map_err(|error| store_failure(&error.0))?;
            let mut request = build();
            // A compressed body that is cut off would lose more than the bytes that are missing.
            request.headers.insert(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            );
            // An answer that nobody waits for would be lost.
            if spool.closed().now_or_never().is_some() {
                writer.discard().await;
                return Err(stopping());
            }
            let span = self.span(dataset, &request);
            let attempt = async {
                let _waits = self.clock.waits_outside();
                let sent = self.send(&self.raw_client, request);
                let sent = tokio::time::timeout(self.timeout, sent).await;
                let response = sent.unwrap_or_else(|_| Err(self.timed_out()))?;
                let (status, headers) = (response.status(), response.headers().clone());
                let (bytes, cut) = self.stream(response, writer.as_mut()).await;
                Ok::<_, Broken>(Handed {
                    status,
                    headers,
                    bytes,
                    cut,
                })
            };
            let note = |code: RequestCode| {
                span.record("code", code.to_string());
                self.observer.request(dataset, code);
            };
            let (may_be_lost, outcome) = match attempt.instrument(span.clone()).await {
                Err(broken) => {
                    note(broken.code);
                    (broken.is_sent, Outcome::again(broken.failure))
                }
                Ok::<_, Broken>(Handed {
                    status, bytes, cut, ..
                }) if status.is_success() => {
                    let code = cut.as_ref().map(|cut| cut.code);
                    note(code.unwrap_or(RequestCode::Status(status.as_u16())));
                    let cut = cut.map(|broken| broken.failure);
                    return finish(writer, bytes, cut, lost).await;
                }
                Ok(handed) => {
                    let body = unpacked(&handed.bytes, self.max_bytes).map(Bytes::from);
                    let answer = HttpAnswer {
                        status: handed.status,
                        headers: handed.headers,
                        body: body.unwrap_or_else(|| handed.bytes.clone()),
                    };
                    // Reading it would take too much memory: it is kept, as it may hold reports.
                    let has_too_many = has_too_many_values(&answer.body);
                    let has_reports = has_too_many || holds_reports(&answer.body);
                    let outcome = match handed.cut {
                        _ if has_too_many => {
                            let broken = self.too_many_values();
                            note(broken.code);
                            Outcome::again(broken.failure)
                        }
                        Some(broken) if !has_reports => {
                            note(broken.code);
                            Outcome::again(broken.failure)
                        }
                        _ => {
                            let outcome = self.outcome(&answer, &judge);
                            note(outcome.code(answer.status.as_u16()));
                            outcome
                        }
                    };
                    if has_reports {
                        let failure = outcome.failure().cloned();
                        let failure = failure.unwrap_or_else(says_nothing);
                        if failure.kind == FailureKind::RateLimited {
                            self.observer.rate_limited(dataset);
                        }
                        return finish(writer, handed.bytes, Some(failure), lost).await;
                    }
                    (answer.status.is_server_error(), outcome)
                }
            };
            writer.discard().await;
            if let Some(failure) = outcome.failure().filter(|_| may_be_lost) {
                lost.get_or_insert_with(|| Failure {
                    text: format!("reports may be lost: {}", failure.text).into(),
                    ..failure.clone()
                });
            }
            let next = tokio::select! {
                biased;
                () = spool.closed() => return Err(stopping()),
                next = attempts.next(outcome, &refresh) => next,
            };
            match next {
                // `judge` took an error for a good answer: there is nothing to be had.
                Next::Done(()) => return Err(says_nothing()),
                Next::Again => {}
                Next::GiveUp(failure) => return Err(failure),
            }
        }
    }

    /// Streams an answer's body to the spool, until it ends, breaks, falls silent or nearly so, or is
    /// too long.
    async fn stream(
        &self,
        response: reqwest::Response,
        writer: &mut dyn SpoolWriter,
    ) -> (Bytes, Option<Broken>) {
        let mut bytes = BytesMut::new();
        let mut chunks = response.bytes_stream();
        let slowest = self.timeout * SLOWEST_TIMEOUTS;
        let (mut counted, mut slow_at) = (0, Instant::now() + slowest);
        loop {
            if bytes.len() >= counted + MIN_PROGRESS_BYTES {
                (counted, slow_at) = (bytes.len(), Instant::now() + slowest);
            }
            let silent_at = slow_at.min(Instant::now() + self.timeout);
            let chunk = match tokio::time::timeout_at(silent_at, chunks.next()).await {
                Err(_) => return (bytes.freeze(), Some(self.timed_out())),
                Ok(None) => return (bytes.freeze(), None),
                Ok(Some(Err(error))) => return (bytes.freeze(), Some(self.broken(&error))),
                Ok(Some(Ok(chunk))) => chunk,
            };
            let room = self.max_bytes.saturating_sub(bytes.len() as u64);
            let fits = usize::try_from(room).map_or(chunk.len(), |room| room.min(chunk.len()));
            if let Err(error) = writer.write(&chunk[..fits]).await {
                // What did not reach the disk must not be counted as if it had.
                let broken = Broken {
                    code: RequestCode::Body,
                    is_sent: true,
                    failure: store_failure(&error.0),
                };
                return (bytes.freeze(), Some(broken));
            }
            bytes.extend_from_slice(&chunk[..fits]);
            if fits < chunk.len() {
                return (bytes.freeze(), Some(self.too_large()));
            }
        }
    }
}

/// Whether a body under an error's status is a hand-out all the same: it has a list of reports, and
/// not an empty one.
fn holds_reports(body: &[u8]) -> bool {
    const LIST: &[u8] = b"\"results\"";
    let places = body.windows(LIST.len()).enumerate();
    let mut ends = places.filter(|(_, own)| *own == LIST);
    ends.any(|(at, _)| {
        let after = body[at + LIST.len()..].trim_ascii_start();
        let Some(value) = after.strip_prefix(b":").map(<[u8]>::trim_ascii_start) else {
            return false;
        };
        let inside = value.strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
        let is_empty = inside.is_some_and(|own| own.starts_with(b"]"));
        !is_empty && !value.starts_with(b"null")
    })
}

async fn finish(
    writer: Box<dyn SpoolWriter>,
    bytes: Bytes,
    cut: Option<Failure>,
    lost: Option<Failure>,
) -> Result<Drained, Failure> {
    match (bytes.is_empty(), cut) {
        (true, Some(failure)) => {
            writer.discard().await;
            Err(failure)
        }
        (_, cut) => {
            let body = writer
                .finish()
                .await
                .map_err(|error| store_failure(&error.0))?;
            Ok(Drained {
                body,
                bytes,
                cut,
                lost,
            })
        }
    }
}

fn says_nothing() -> Failure {
    Failure::new(FailureKind::Vendor, "an error that says nothing")
}

fn stopping() -> Failure {
    Failure::new(
        FailureKind::Connect,
        "the exporter stops, and asks for nothing more",
    )
}
