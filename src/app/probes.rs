//! What bounds probes: the same message is asked for once in a few seconds, and all probes of an account
//! together take no more than a share of its rate limit, so that a flood of them cannot keep the
//! collector from asking.

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

/// The vendor is asked for the same message no more often than this.
pub(super) const PROBE_FLOOR: Duration = Duration::from_secs(5);
/// Probed messages that are remembered.
const MAX_PROBES: usize = 10_000;
/// The part of `requests_per_second` that probes may take.
const RATE_SHARE: f64 = 0.2;
/// The part of `burst` that probes may take: one in so many.
const BURST_SHARE: u32 = 2;

type ProbeKey = (Arc<str>, usize, String);
type LastProbe = Arc<tokio::sync::Mutex<Option<(Moment, Arc<Probed>)>>>;

/// What probes have found lately, so that a storm of scrapes is one request, and how many more may be
/// made.
#[derive(Default)]
pub(super) struct Probes {
    found: Mutex<HashMap<ProbeKey, LastProbe>>,
    /// Per account, with the rate limit that its share is of.
    shares: Mutex<HashMap<Arc<str>, (RateLimit, Limiter)>>,
}

impl Probes {
    pub(super) fn of(&self, key: ProbeKey) -> LastProbe {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() >= MAX_PROBES {
            // Those that nobody waits for.
            found.retain(|_, own| Arc::strong_count(own) > 1);
        }
        found.entry(key).or_default().clone()
    }

    /// Takes one probe out of the account's share.
    ///
    /// # Errors
    ///
    /// Nothing is left of it, for so long.
    pub(super) fn admit(&self, account: &Account, clock: &Clock) -> Result<(), Duration> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let share = shares.entry(account.name.clone());
        let limit = account.rate_limit;
        let new = || (limit, Limiter::new(share_of(limit), clock.clone()));
        let (of, limiter) = share.or_insert_with(new);
        if *of != limit {
            // A reload has changed it.
            (*of, *limiter) = new();
        }
        limiter.try_take()
    }
}

/// What probes may take of a rate limit.
fn share_of(limit: RateLimit) -> RateLimit {
    RateLimit {
        requests_per_second: limit.requests_per_second * RATE_SHARE,
        burst: (limit.burst / BURST_SHARE).max(1),
    }
}
