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
/// The maximum number of results to keep, over all accounts. Probes are a share of a rate limit, so there are few.
const MAX_RESULTS: usize = 100;
/// The maximum memory for all of them, in bytes. A vendor decides how large a result is.
const MAX_RESULT_BYTES: usize = 4 << 20;
/// The share of `requests_per_second` that probes may use.
const RATE_SHARE: f64 = 0.2;
/// The divisor of `burst` for the share that probes may use.
const BURST_SHARE: u32 = 2;

type ProbeKey = (Arc<str>, usize, String);
type LastProbe = Arc<tokio::sync::Mutex<Option<(Moment, Arc<Probed>)>>>;
type Results = Mutex<HashMap<ProbeKey, LastProbe>>;

/// The recent results of probes, so that many scrapes cause a single request, and the remaining rate of each
/// account.
#[derive(Default)]
pub(super) struct Probes {
    found: Arc<Results>,
    /// The limiter of each account, with the rate limit that it was derived from.
    shares: Mutex<HashMap<Arc<str>, (RateLimit, Limiter)>>,
}

impl Probes {
    /// The last result for a message, if it is recent.
    pub(super) fn of(&self, key: ProbeKey, now: Moment) -> LastProbe {
        sweep(&self.found, now);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.entry(key).or_default().clone()
    }

    /// Drops the results that are over or too many, now that a probe has ended; and again once its result is over.
    pub(super) fn ended(&self, clock: &Clock) {
        sweep(&self.found, clock.monotonic());
        let (found, clock) = (self.found.clone(), clock.clone());
        tokio::spawn(async move {
            clock.sleep(PROBE_FLOOR).await;
            sweep(&found, clock.monotonic());
        });
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

/// Drops the results that are over, and the oldest of those that are too many or too large. Those that a probe is
/// waiting for stay.
fn sweep(found: &Results, now: Moment) {
    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
    let mut results = Vec::new();
    found.retain(|key, own| {
        let is_waited_for = Arc::strong_count(own) > 1;
        let Ok(mut last) = own.try_lock() else {
            return true;
        };
        last.take_if(|(at, _)| now.since(*at) >= PROBE_FLOOR);
        if let Some((at, probed)) = &*last {
            results.push((*at, probed.size(), key.clone()));
        }
        is_waited_for || last.is_some()
    });
    results.sort_unstable_by_key(|(at, ..)| std::cmp::Reverse(*at));
    let (mut count, mut bytes) = (0, 0);
    for (_, size, key) in results {
        if count < MAX_RESULTS && bytes + size <= MAX_RESULT_BYTES {
            count += 1;
            bytes += size;
        } else {
            found.remove(&key);
        }
    }
}

/// The share of a rate limit that probes may use.
fn share_of(limit: RateLimit) -> RateLimit {
    RateLimit {
        requests_per_second: limit.requests_per_second * RATE_SHARE,
        burst: (limit.burst / BURST_SHARE).max(1),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::{Application, Message, Row, Snapshot};

    fn key(number: usize) -> ProbeKey {
        (Arc::from("push"), 0, number.to_string())
    }

    /// What a vendor said that named so many channels.
    fn probed(channels: usize) -> Arc<Probed> {
        let text: Arc<str> = Arc::from("");
        let row = |number: usize| Row {
            message_type: text.clone(),
            platform: text.clone(),
            vendor_channel: Arc::from(format!("{number:0200}")),
            counts: Vec::new(),
        };
        Arc::new(Probed {
            application: Application {
                id: text.clone(),
                name: text.clone(),
            },
            message: Message {
                application: text.clone(),
                id: text.clone(),
                campaign: None,
                sent_at: None,
            },
            snapshot: Some(Snapshot {
                asked: text.clone(),
                id: text.clone(),
                campaign: None,
                sent_at: None,
                asked_at: Timestamp::UNIX_EPOCH,
                totals: Vec::new(),
                breakdown: (0..channels).map(row).collect(),
                types: Vec::new(),
            }),
            lasted: Duration::ZERO,
        })
    }

    /// Lets other tasks run.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// How many results are kept, and how large they are.
    fn kept(probes: &Probes) -> (usize, usize) {
        let found = probes.found.lock().unwrap();
        let size = |own: &LastProbe| {
            let last = own.try_lock().unwrap();
            last.as_ref().map_or(0, |(_, probed)| probed.size())
        };
        (found.len(), found.values().map(size).sum())
    }

    #[tokio::test]
    async fn results_leave_after_their_time_without_another_probe() {
        let probes = Probes::default();
        let (clock, manual) = Clock::manual(Timestamp::UNIX_EPOCH);
        let probe = async |number, probed| {
            manual.advance(Duration::from_millis(1));
            let last = probes.of(key(number), clock.monotonic());
            *last.lock().await = Some((clock.monotonic(), probed));
            drop(last);
            probes.ended(&clock);
            settle().await;
        };
        for number in 0..2 * MAX_RESULTS {
            probe(number, probed(1)).await;
            assert!(kept(&probes).0 <= MAX_RESULTS);
        }
        assert_eq!(kept(&probes).0, MAX_RESULTS);
        let last = probes.of(key(2 * MAX_RESULTS - 1), clock.monotonic());
        assert!(last.lock().await.is_some(), "the latest is kept");
        drop(last);
        // Of large results fewer are kept, and of a huge one nothing.
        for number in 0..10 {
            probe(number, probed(5_000)).await;
            assert!(kept(&probes).1 <= MAX_RESULT_BYTES);
        }
        assert!(kept(&probes).1 > MAX_RESULT_BYTES / 2);
        let before = kept(&probes);
        probe(1000, probed(100_000)).await;
        assert_eq!(kept(&probes), before);
        manual.advance(PROBE_FLOOR);
        settle().await;
        assert_eq!(kept(&probes), (0, 0));
        // A client that does not wait for its answer leaves nothing either.
        drop(probes.of(key(1), clock.monotonic()));
        probe(2, probed(1)).await;
        assert_eq!(kept(&probes).0, 1);
        manual.advance(PROBE_FLOOR - Duration::from_millis(1));
        settle().await;
        assert_eq!(kept(&probes).0, 1);
        manual.advance(Duration::from_millis(1));
        settle().await;
        assert_eq!(kept(&probes), (0, 0));
    }
}
