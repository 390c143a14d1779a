//! The policy: when a message is asked for. Everything about pauses between queries is here.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::RngExt;

/// First queries are spread over at most this long.
const MAX_SPREAD: Duration = Duration::from_secs(5);

/// A message is fresh for so long: it is asked for every interval.
const FRESH: Duration = Duration::from_secs(3600);

/// The pause before a message of this age is asked for again: its numbers move ever more slowly.
/// After the first hour it is a tenth of the age, no less than `interval` and no more than
/// `max_interval`.
pub(super) fn pause(age: SignedDuration, interval: Duration, max_interval: Duration) -> Duration {
    let age = Duration::try_from(age).unwrap_or_default();
    if age < FRESH {
        return interval;
    }
    (age / 10).min(max_interval).max(interval)
}

/// A message may be asked for so much before it is due, if that fills a batch.
pub(super) fn early(pause: Duration, interval: Duration) -> Duration {
    if pause > interval {
        pause / 3
    } else {
        Duration::ZERO
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_the_age_within_their_limits() {
        let minutes = |age: i64| {
            let minute = Duration::from_secs(60);
            let age = SignedDuration::from_mins(age);
            pause(age, minute, minute * 360).as_secs_f64() / 60.0
        };
        let ages = [-5, 0, 59, 60, 100, 600, 3600, 5000, 43_200];
        assert_eq!(
            ages.map(minutes),
            [1.0, 1.0, 1.0, 6.0, 10.0, 60.0, 360.0, 360.0, 360.0]
        );
        // An interval that is longer than all of that.
        let hour = Duration::from_secs(3600);
        assert_eq!(pause(SignedDuration::from_hours(2), hour, hour / 2), hour);
    }
}
