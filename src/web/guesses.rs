//! Limits wrong passwords per address: checking a password takes a tenth of a second of CPU time.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The number of checks that an address may request at once.
const BURST: f64 = 10.0;
/// The time after which an address gets one more check.
const REFILL: Duration = Duration::from_secs(6);
/// The maximum number of tracked addresses; each takes a few bytes.
const MAX_ADDRESSES: usize = 10_000;

/// The remaining checks of each address.
#[derive(Default)]
pub(super) struct Guesses(Mutex<HashMap<Option<IpAddr>, Left>>);

struct Left {
    checks: f64,
    at: Instant,
}

/// A client with one IPv6 address usually has 2^64 of them, so the /64 network counts.
fn whose(address: Option<IpAddr>) -> Option<IpAddr> {
    match address {
        Some(IpAddr::V6(address)) => {
            let bits = u128::from(address) >> 64 << 64;
            Some(IpAddr::V6(Ipv6Addr::from(bits)))
        }
        other => other,
    }
}

impl Guesses {
    fn lock(&self) -> MutexGuard<'_, HashMap<Option<IpAddr>, Left>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a password from this address is checked now.
    pub(super) fn allow(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let mut all = self.lock();
        let refilled = |own: &Left| {
            let passed = now.saturating_duration_since(own.at);
            own.checks + passed.as_secs_f64() / REFILL.as_secs_f64()
        };
        let address = whose(address);
        if all.len() >= MAX_ADDRESSES && !all.contains_key(&address) {
            all.retain(|_, own| refilled(own) < BURST);
            if all.len() >= MAX_ADDRESSES {
                // More than the maximum number of addresses are guessing at the same time.
                return false;
            }
        }
        let left = all.entry(address).or_insert(Left {
            checks: BURST,
            at: now,
        });
        left.checks = refilled(left).min(BURST);
        left.at = now;
        if left.checks < 1.0 {
            return false;
        }
        left.checks -= 1.0;
        true
    }

    /// Returns the check to an address that knew the password.
    pub(super) fn right(&self, address: Option<IpAddr>) {
        self.lock().remove(&whose(address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_guesses_ten_times_and_then_once_in_six_seconds() {
        let guesses = Guesses::default();
        let now = Instant::now();
        let own = Some(IpAddr::from([10, 0, 0, 1]));
        for _ in 0..10 {
            assert!(guesses.allow(own, now));
        }
        assert!(!guesses.allow(own, now));
        assert!(guesses.allow(Some(IpAddr::from([10, 0, 0, 2])), now));
        let later = now + REFILL;
        assert!(guesses.allow(own, later) && !guesses.allow(own, later));
        guesses.right(own);
        assert!(guesses.allow(own, later));
    }

    #[test]
    fn the_addresses_of_one_network_of_ipv6_are_one_and_memory_is_bounded() {
        let guesses = Guesses::default();
        let now = Instant::now();
        let of = |network: u16, host: u16| {
            Some(IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, host]))
        };
        assert_eq!(
            (0..100)
                .filter(|host| guesses.allow(of(1, *host), now))
                .count(),
            10
        );
        for network in 0..20_000 {
            guesses.allow(of(network, 1), now);
        }
        assert!(guesses.lock().len() <= MAX_ADDRESSES);
        // An hour later there is room again.
        assert!(guesses.allow(of(20_001, 1), now + Duration::from_secs(3600)));
    }
}
