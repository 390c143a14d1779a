//! The polling policy: when a message is queried, and all intervals between queries.

use std::time::Duration;

use delivery_clock::Moment;
pub(super) use delivery_clock::{after, before};
use jiff::{SignedDuration, Timestamp};
use rand::RngExt;

use crate::model::DailyPublication;

/// The maximum time over which first queries are spread; it is short because users look at the exporter right
/// after starting it.
const MAX_SPREAD: Duration = Duration::from_secs(2);

/// The age up to which a message is queried every interval.
const FRESH: Duration = Duration::from_secs(3600);

/// The pause before a message of this age is queried again. Counts change more and more slowly, so after the
/// first hour the pause is a tenth of the age, at least `interval` and at most `max_interval`.
fn pause(age: SignedDuration, interval: Duration, max_interval: Duration) -> Duration {
    let age = Duration::try_from(age).unwrap_or_default();
    if age < FRESH {
        return interval;
    }
    (age / 10).min(max_interval).max(interval)
}

/// The moments at which messages are queried together, once per interval, if the vendor supports batches.
/// Otherwise every new message would have its own rhythm and its own requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchWindow {
    /// One of them.
    pub(super) origin: Moment,
    /// The time from one to the next.
    pub(super) interval: Duration,
}

impl BatchWindow {
    /// The first window at or after `at`.
    pub(super) fn from(self, at: Moment) -> Moment {
        let length = self.interval.as_millis().max(1);
        let millisecond = |moment: Moment| moment.since_start().as_millis();
        let late = if at >= self.origin {
            (millisecond(at) - millisecond(self.origin)) % length
        } else {
            let early = (millisecond(self.origin) - millisecond(at)) % length;
            (length - early) % length
        };
        if late == 0 {
            return at;
        }
        at + Duration::from_millis(u64::try_from(length - late).unwrap_or(u64::MAX))
    }

    /// The first window after `at`: no more than an interval later.
    pub(super) fn after(self, at: Moment) -> Moment {
        self.from(at + Duration::from_millis(1))
    }
}

/// When a message that was queried at `asked`, at this age, is queried again, and how much earlier it may be
/// queried to fill a batch. With a window, fresh messages are queried in it.
pub(super) fn next(
    asked: Moment,
    age: SignedDuration,
    interval: Duration,
    max_interval: Duration,
    window: Option<BatchWindow>,
) -> (Moment, Duration) {
    let pause = pause(age, interval, max_interval);
    let next = match window {
        Some(window) if pause == interval => window.after(asked),
        _ => asked + pause,
    };
    (next, early(pause, interval))
}

/// When a message of a vendor that publishes once a day is queried again, where `next` is the time according
/// to its age. After the vendor's midnight, a message whose first counts may have been published is queried
/// every hour until the counts are expected to be complete, and then every hour while the vendor has no
/// counts for that day. Older messages are queried when the day's counts are complete, and then according to
/// their age.
pub(super) fn next_daily(
    asked: Timestamp,
    next: Timestamp,
    is_first_day: bool,
    has_numbers: bool,
    daily: DailyPublication,
) -> Timestamp {
    let hour = after(asked, HOURLY);
    let complete = daily.complete_on_day_of(asked);
    let tomorrow = daily.day_of(after(daily.day_of(asked), LONGEST_DAY));
    let first_of_tomorrow = daily.complete_on_day_of(tomorrow);
    if asked < complete {
        return if is_first_day {
            hour.min(complete)
        } else {
            complete
        };
    }
    if !has_numbers && is_first_day {
        return hour;
    }
    next.max(hour).min(first_of_tomorrow)
}

/// How often to check whether a vendor that publishes once a day has published.
const HOURLY: Duration = Duration::from_secs(3600);
/// Longer than any day (with daylight saving changes), to get from the start of a day into the next one.
const LONGEST_DAY: Duration = Duration::from_secs(25 * 3600);

/// When to query a message that is needed at `at`, but not earlier.
pub(super) fn wanted(at: Moment, window: Option<BatchWindow>) -> Moment {
    window.map_or(at, |window| window.from(at))
}

/// How much before its due time a message may be queried to fill a batch.
fn early(pause: Duration, interval: Duration) -> Duration {
    (pause / 3).min(pause.saturating_sub(interval))
}

/// A random share of the time over which the accounts' first queries are spread.
pub(super) fn spread(interval: Duration) -> Duration {
    MAX_SPREAD
        .min(interval)
        .mul_f64(rand::rng().random_range(0.0..1.0))
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
        // Never sooner than an interval.
        let minute = Duration::from_secs(60);
        assert_eq!(early(minute, minute), Duration::ZERO);
        assert_eq!(early(minute * 6, minute * 5), minute);
        assert_eq!(early(minute * 60, minute), minute * 20);
        // An interval that is longer than all of that.
        let hour = Duration::from_secs(3600);
        assert_eq!(pause(SignedDuration::from_hours(2), hour, hour / 2), hour);
    }

    #[test]
    fn a_daily_vendor_is_asked_every_hour_until_its_numbers_are_complete() {
        let daily = DailyPublication {
            utc_offset: SignedDuration::from_hours(8),
            complete_at: Duration::from_secs(6 * 3600),
        };
        let at = |text: &str| -> Timestamp { format!("2026-11-{text}:00Z").parse().unwrap() };
        let next = |asked: &str, next: &str, first: bool, numbers: bool| {
            let next = next_daily(at(asked), at(next), first, numbers, daily);
            next.strftime("%dT%H:%M").to_string()
        };
        // 16:00 UTC is midnight there, 22:00 UTC six in the morning.
        assert_eq!(next("20T16:00", "20T16:01", true, true), "20T17:00");
        assert_eq!(next("20T21:30", "20T21:31", true, false), "20T22:00");
        assert_eq!(next("20T16:00", "20T16:01", false, true), "20T22:00");
        assert_eq!(next("20T22:00", "20T22:01", true, false), "20T23:00");
        assert_eq!(next("20T22:00", "20T22:01", true, true), "20T23:00");
        assert_eq!(next("20T22:00", "21T04:00", true, true), "21T04:00");
        assert_eq!(next("21T15:00", "21T21:00", true, true), "21T21:00");
        assert_eq!(next("21T15:00", "21T23:00", true, true), "21T22:00");
    }

    #[test]
    fn fresh_messages_fall_into_step() {
        let at = |millisecond| Moment::from_start(Duration::from_millis(millisecond));
        let window = BatchWindow {
            origin: at(7_000),
            interval: Duration::from_secs(10),
        };
        for (asked, next) in [
            (7_000, 17_000),
            (7_003, 17_000),
            (16_999, 17_000),
            (1, 7_000),
        ] {
            assert_eq!(window.after(at(asked)), at(next), "{asked}");
        }
        assert_eq!(window.from(at(17_000)), at(17_000));
        assert_eq!(window.from(at(17_001)), at(27_000));
    }
}
