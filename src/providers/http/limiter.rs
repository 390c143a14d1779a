//! The account's rate limit: a bucket of tokens that every attempt takes one from.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use delivery_clock::{Clock, Moment};

use super::RateLimit;

/// A bucket of tokens.
pub(crate) struct Limiter {
    clock: Clock,
    /// The time in which one token comes.
    gap: Duration,
    /// The time in which a whole burst comes.
    depth: Duration,
    state: Mutex<State>,
}

struct State {
    /// When the bucket will be full again if nothing is taken. A token is a step of `gap` ahead.
    full_at: Moment,
    /// Nothing is taken before: the vendor asked for a pause.
    not_before: Moment,
}

impl Limiter {
    pub(crate) fn new(limit: RateLimit, clock: Clock) -> Limiter {
        let gap = Duration::from_secs_f64(1.0 / limit.requests_per_second);
        let now = clock.monotonic();
        Limiter {
            depth: gap * limit.burst.saturating_sub(1),
            gap,
            clock,
            state: Mutex::new(State {
                full_at: now,
                not_before: now,
            }),
        }
    }

    /// Waits for a token. Tokens are given in the order of the calls.
    pub(super) async fn take(&self) {
        let at = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.clock.monotonic();
            let full_at = state.full_at.max(now);
            // The request may go once no more than a burst is owed.
            let owed = full_at.since(now).saturating_sub(self.depth);
            state.full_at = full_at + self.gap;
            (now + owed).max(state.not_before)
        };
        if at > self.clock.monotonic() {
            self.clock.sleep_until(at).await;
        }
    }

    /// Takes a token if there is one.
    ///
    /// # Errors
    ///
    /// There is none, for so long.
    pub(crate) fn try_take(&self) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        let full_at = state.full_at.max(now);
        let owed = full_at.since(now).saturating_sub(self.depth);
        let wait = owed.max(state.not_before.since(now));
        if wait > Duration::ZERO {
            return Err(wait);
        }
        state.full_at = full_at + self.gap;
        Ok(())
    }

    /// Lets nothing through before `moment`.
    pub(super) fn pause(&self, moment: Moment) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.not_before = state.not_before.max(moment);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_then_one_each_gap() {
        let (clock, hand) = Clock::manual(Timestamp::UNIX_EPOCH);
        let limit = RateLimit {
            requests_per_second: 5.0,
            burst: 3,
        };
        let limiter = Limiter::new(limit, clock);
        for _ in 0..3 {
            assert!(limiter.take().now_or_never().is_some());
        }
        let mut fourth = Box::pin(limiter.take());
        assert!((&mut fourth).now_or_never().is_none());
        hand.advance(Duration::from_millis(199));
        assert!((&mut fourth).now_or_never().is_none());
        hand.advance(Duration::from_millis(1));
        assert!((&mut fourth).now_or_never().is_some());
        hand.advance(Duration::from_secs(60));
        for _ in 0..3 {
            assert!(limiter.take().now_or_never().is_some());
        }
        assert!(
            limiter.take().now_or_never().is_none(),
            "a pause gives no more than a burst"
        );
    }

    #[test]
    fn a_token_that_is_not_there_is_not_waited_for_and_costs_nothing() {
        let (clock, hand) = Clock::manual(Timestamp::UNIX_EPOCH);
        let limit = RateLimit {
            requests_per_second: 1.0,
            burst: 2,
        };
        let limiter = Limiter::new(limit, clock);
        assert!(limiter.try_take().is_ok() && limiter.try_take().is_ok());
        for _ in 0..100 {
            assert_eq!(limiter.try_take(), Err(Duration::from_secs(1)));
        }
        hand.advance(Duration::from_secs(1));
        assert!(limiter.try_take().is_ok() && limiter.try_take().is_err());
    }

    #[test]
    fn a_pause_holds_everything() {
        let (clock, hand) = Clock::manual(Timestamp::UNIX_EPOCH);
        let limit = RateLimit {
            requests_per_second: 5.0,
            burst: 3,
        };
        let limiter = Limiter::new(limit, clock.clone());
        limiter.pause(clock.monotonic() + Duration::from_secs(7));
        let mut first = Box::pin(limiter.take());
        assert!((&mut first).now_or_never().is_none());
        hand.advance(Duration::from_secs(7));
        assert!(first.now_or_never().is_some());
    }
}
