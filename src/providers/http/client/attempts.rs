//! The attempts of one query: what becomes of each, and when there is another one.

use std::time::Duration;

use delivery_clock::{Clock, Moment};
use http::{HeaderMap, header};
use rand::RngExt;

use super::Http;
use crate::{
    model::Dataset,
    providers::{Failure, FailureKind, RequestCode},
};

/// The first pause before another attempt; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause that is our own idea.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How an attempt ended.
pub(super) enum Outcome<T> {
    Done(T),
    Fail(Failure),
    Retry(Failure, Option<Duration>),
}

impl<T> Outcome<T> {
    /// A broken connection: another attempt may do better, except where it would fail alike.
    pub(super) fn again(failure: Failure) -> Outcome<T> {
        match failure.kind {
            FailureKind::Tls
            | FailureKind::TooLarge
            | FailureKind::Request
            | FailureKind::Store => Outcome::Fail(failure),
            _ => Outcome::Retry(failure, None),
        }
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        match self {
            Outcome::Done(_) => None,
            Outcome::Fail(failure) | Outcome::Retry(failure, _) => Some(failure),
        }
    }

    pub(super) fn code(&self, status: u16) -> RequestCode {
        match self {
            Outcome::Fail(failure) | Outcome::Retry(failure, _)
                if failure.kind == FailureKind::Decode =>
            {
                RequestCode::Decode
            }
            _ => RequestCode::Status(status),
        }
    }
}

/// What to do after an attempt.
pub(super) enum Next<T> {
    Done(T),
    Again,
    GiveUp(Failure),
}

/// The attempts of one query.
pub(super) struct Attempts<'h> {
    http: &'h Http,
    dataset: Dataset,
    deadline: Moment,
    pauses: u32,
    refreshed: bool,
}

impl<'h> Attempts<'h> {
    pub(super) fn new(http: &'h Http, dataset: Dataset, patience: Duration) -> Attempts<'h> {
        Attempts {
            http,
            dataset,
            deadline: http.clock.monotonic() + patience,
            pauses: 0,
            refreshed: false,
        }
    }

    pub(super) async fn next<T>(
        &mut self,
        outcome: Outcome<T>,
        refresh: impl Fn() -> bool,
    ) -> Next<T> {
        let (failure, asked) = match outcome {
            Outcome::Done(value) => return Next::Done(value),
            Outcome::Fail(failure) => {
                let refused = failure.kind == FailureKind::Unauthorized;
                if refused && !std::mem::replace(&mut self.refreshed, true) && refresh() {
                    self.http.observer.retry(self.dataset);
                    return Next::Again;
                }
                return Next::GiveUp(failure);
            }
            Outcome::Retry(failure, asked) => (failure, asked),
        };
        let limited = failure.kind == FailureKind::RateLimited;
        if limited {
            self.http.observer.rate_limited(self.dataset);
        }
        let own = LONGEST_PAUSE.min(FIRST_PAUSE * 2u32.saturating_pow(self.pauses));
        // A random part keeps clients that failed together from coming back together.
        let own = own.mul_f64(rand::rng().random_range(0.5..1.0));
        let pause = asked.map_or(own, |asked| asked.max(own));
        let until = self.http.clock.monotonic() + pause;
        if limited && asked.is_some() {
            // The wish holds for all requests of the account, until the interval is over.
            self.http.limiter.pause(until.min(self.deadline));
        }
        if until >= self.deadline {
            return Next::GiveUp(failure);
        }
        tracing::debug!(account = %self.http.account, %failure, ?pause, "a request is tried again");
        self.http.clock.sleep(pause).await;
        self.pauses += 1;
        self.http.observer.retry(self.dataset);
        Next::Again
    }
}

/// `Retry-After`: seconds or a date.
pub(super) fn retry_after(headers: &HeaderMap, clock: &Clock) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Duration::try_from(date.duration_since(clock.now())).ok()
}
