//! Limits probes. The same message is queried at most once every few seconds, and all probes of an account
//! together use only a share of its rate limit, so that a flood of probes cannot block the collector.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use delivery_clock::{Clock, Moment};

use crate::{
    config::{Account, RateLimit},
    providers::http::Limiter,
    series::Probed,
};

/// The minimum time between two queries for the same message.
pub(super) const PROBE_FLOOR: Duration = Duration::from_secs(5);
/// The maximum number of probed messages to remember.
const MAX_PROBES: usize = 10_000;
/// The share of `requests_per_second` that probes may use.
const RATE_SHARE: f64 = 0.2;
/// The divisor of `burst` for the share that probes may use.
const BURST_SHARE: u32 = 2;

type ProbeKey = (Arc<str>, usize, String);
type LastProbe = Arc<tokio::sync::Mutex<Option<(Moment, Arc<Probed>)>>>;

/// The recent results of probes, so that many scrapes cause a single request, and the remaining rate of each
/// account.
#[derive(Default)]
pub(super) struct Probes {
    found: Mutex<HashMap<ProbeKey, LastProbe>>,
    /// The limiter of each account, with the rate limit that it was derived from.
    shares: Mutex<HashMap<Arc<str>, (RateLimit, Limiter)>>,
}

impl Probes {
    pub(super) fn of(&self, key: ProbeKey) -> LastProbe {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() >= MAX_PROBES {
            // Keep the entries that somebody is waiting for.
            found.retain(|_, own| Arc::strong_count(own) > 1);
        }
        found.entry(key).or_default().clone()
    }

    /// Takes one probe from the account's share.
    ///
    /// # Errors
    ///
    /// The share is used up; the duration says for how long.
    pub(super) fn admit(&self, account: &Account, clock: &Clock) -> Result<(), Duration> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let share = shares.entry(account.name.clone());
        let limit = account.rate_limit;
        let new = || (limit, Limiter::new(share_of(limit), clock.clone()));
        let (of, limiter) = share.or_insert_with(new);
        if *of != limit {
            // A reload has changed the rate limit.
            (*of, *limiter) = new();
        }
        limiter.try_take()
    }
}

/// The share of a rate limit that probes may use.
fn share_of(limit: RateLimit) -> RateLimit {
    RateLimit {
        requests_per_second: limit.requests_per_second * RATE_SHARE,
        burst: (limit.burst / BURST_SHARE).max(1),
    }
}
