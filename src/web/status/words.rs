//! Formats numbers, times and texts for people.

use jiff::Timestamp;

use crate::redact;

/// A time. The page's script shows it in the reader's time zone, and keeps UTC in the title.
pub(super) struct Stamp {
    /// The machine-readable form (ISO 8601).
    pub(super) iso: String,
    /// The full date and time in UTC.
    pub(super) utc: String,
    /// The text of the page without a script.
    pub(super) text: String,
}

impl Stamp {
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Stamp {
        let day = |at: Timestamp| at.strftime("%F").to_string();
        let form = if day(at) == day(now) {
            "%H:%M UTC"
        } else {
            "%-d %b %H:%M UTC"
        };
        Stamp {
            iso: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            utc: at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            text: at.strftime(form).to_string(),
        }
    }

    /// The stamp of a Unix time in seconds.
    pub(super) fn of_unix(at: i64, now: Timestamp) -> Stamp {
        Stamp::new(Timestamp::from_second(at).unwrap_or_default(), now)
    }
}

/// A duration in its two largest units.
pub(super) fn length(seconds: i64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let mut left = seconds.max(0);
    let mut parts = Vec::new();
    for (unit, size) in units {
        if left >= size {
            parts.push(format!("{} {unit}", left / size));
            left %= size;
        }
    }
    parts.truncate(2);
    if parts.is_empty() {
        "0 s".to_owned()
    } else {
        parts.join(" ")
    }
}

/// A duration in one unit, for narrow columns.
pub(super) fn short_length(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A number with thousands separators.
pub(super) fn count(count: f64) -> String {
    let digits = format!("{count:.0}");
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            // A narrow no-break space.
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A ratio as a percentage, with one digit after the point.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.1}\u{202f}%", 100.0 * ratio)
}

/// A ratio as a whole percentage.
pub(super) fn whole_percent(ratio: f64) -> String {
    format!("{:.0}\u{202f}%", 100.0 * ratio)
}

/// A text without anything that looks like a person's address, because a vendor's error may quote one.
pub(super) fn redact(text: &str) -> String {
    redact::without_addresses(&redact::masked(text)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_written_for_people() {
        assert_eq!(count(1_234_567.0), "1\u{202f}234\u{202f}567");
        assert_eq!(count(120.0), "120");
        assert_eq!(percent(0.9366), "93.7\u{202f}%");
        assert_eq!(
            [0, 59, 60, 3661, 90_000].map(length),
            ["0 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h"]
        );
        assert_eq!(
            [59, 3661, 90_000, 400_000].map(short_length),
            ["59 s", "61 min", "25 h", "4 d"]
        );
        let now: Timestamp = "2026-11-30T10:00:00Z".parse().unwrap();
        let today = Stamp::new("2026-11-30T02:41:07Z".parse().unwrap(), now);
        assert_eq!(
            [today.text, today.utc],
            ["02:41 UTC", "2026-11-30 02:41:07 UTC"]
        );
        let before = Stamp::new("2026-11-29T02:41:07Z".parse().unwrap(), now);
        assert_eq!(before.text, "29 Nov 02:41 UTC");
    }

    #[test]
    fn addresses_of_people_do_not_get_onto_the_page() {
        for (text, redacted) in [
            ("no address here", "no address here"),
            (
                "unknown recipient <a.b+c@example.com>, sorry",
                "unknown recipient <(address)>, sorry",
            ),
            ("x@y", "(address)"),
            (
                "via http://me:p$w!d@host/a?b=c; retried",
                "via (address); retried",
            ),
            (
                "store postgres://user:secret@host/db: down",
                "store (address) down",
            ),
            ("at @ 10:00 @all", "at @ 10:00 @all"),
            ("ünï@exämple.com.", "(address)"),
        ] {
            assert_eq!(super::redact(text), redacted);
        }
    }
}
