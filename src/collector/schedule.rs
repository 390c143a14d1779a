//! The policy: when a message is asked for. Everything about pauses between queries is here.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::RngExt;

/// First queries are spread over at most this long.
const MAX_SPREAD: Duration = Duration::from_secs(5);

/// When a query that was answered in a pass is due again: all that a pass asked for falls due
/// together, so that batches stay full.
pub(super) fn next(pass_began: Timestamp, interval: Duration) -> Timestamp {
    after(pass_began, interval)
}

/// A random share of the time over which the accounts' first queries are spread.
pub(super) fn spread(interval: Duration) -> Duration {
    MAX_SPREAD
        .min(interval)
        .mul_f64(rand::rng().random_range(0.0..1.0))
}

/// `time` plus `length`.
pub(super) fn after(time: Timestamp, length: Duration) -> Timestamp {
    let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
    time.checked_add(length).unwrap_or(Timestamp::MAX)
}

/// `time` less `length`.
pub(super) fn before(time: Timestamp, length: Duration) -> Timestamp {
    let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
    time.checked_sub(length).unwrap_or(Timestamp::MIN)
}
