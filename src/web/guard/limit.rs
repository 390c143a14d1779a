//! `rate_limit`: a token bucket that all requests share, as in the exporter-toolkit.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::config::WebRateLimit;

/// The token bucket.
pub(super) struct Limit {
    rate: WebRateLimit,
    left: Mutex<Left>,
}

struct Left {
    /// The number of requests that may pass now.
    requests: f64,
    at: Instant,
}

impl Limit {
    /// A full bucket.
    pub(super) fn new(rate: WebRateLimit, now: Instant) -> Limit {
        let left = Left {
            requests: f64::from(rate.burst),
            at: now,
        };
        Limit {
            rate,
            left: Mutex::new(left),
        }
    }

    /// Whether one more request may pass now.
    pub(super) fn allow(&self, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(left.at).as_secs_f64();
        let refilled = left.requests + passed / self.rate.interval.as_secs_f64();
        left.requests = refilled.min(f64::from(self.rate.burst));
        left.at = left.at.max(now);
        if left.requests < 1.0 {
            return false;
        }
        left.requests -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_an_interval() {
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let rate = |burst| WebRateLimit {
            interval: Duration::from_secs(1),
            burst,
        };
        let limit = Limit::new(rate(2), begin);
        let passed = [0, 0, 0, 999, 1001, 1002, 9000, 9000, 9000].map(|time| limit.allow(at(time)));
        let expected = [true, true, false, false, true, false, true, true, false];
        assert_eq!(passed, expected);
        // The toolkit's own file has this, and expects a refusal.
        assert!(!Limit::new(rate(0), begin).allow(at(60_000)));
    }
}
