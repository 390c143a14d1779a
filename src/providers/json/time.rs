//! Times in the forms of the vendors.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// 2000-01-01 in Unix seconds: none of the vendors is that old.
const FIRST_SECOND: i64 = 946_684_800;

/// A time in any of the forms that the vendors use; what has no zone is UTC, and a bare number is
/// Unix seconds, with or without a fraction. A time before 2000 is none: a vendor's program writes
/// its language's zero (`0`, `1970-01-01`, `0001-01-01`) where it has no time.
pub(in crate::providers) fn time(text: &str) -> Option<Timestamp> {
    any_time(text).filter(is_time)
}

/// Whether a time is not just a program's zero.
pub(in crate::providers) fn is_time(time: &Timestamp) -> bool {
    time.as_second() >= FIRST_SECOND
}

/// As [`time`], and zeros too: for what is compared, not reckoned with.
pub(in crate::providers) fn any_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_second(seconds).ok();
    }
    if let Ok(seconds) = text.parse::<rust_decimal::Decimal>() {
        let milliseconds = seconds.checked_mul(1000.into())?.trunc();
        return Timestamp::from_millisecond(milliseconds.try_into().ok()?).ok();
    }
    // Java's form has a zone without a colon, and some have one after a blank.
    if let Ok(zoned) = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text)
        && let Ok(time) = zoned.to_timestamp()
    {
        return Some(time);
    }
    let civil: DateTime = text.parse().ok()?;
    TimeZone::UTC.to_timestamp(civil).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zero_of_a_program_is_no_time() {
        for zero in [
            "0",
            "0.0",
            "0001-01-01 00:00:00",
            "0001-01-01T00:00:00Z",
            "1970-01-01 00:00:00",
            "1970-01-01T00:00:00.000+0000",
            "-62135596800",
            "1999-12-31T23:59:59Z",
        ] {
            assert_eq!(time(zero), None, "{zero}");
        }
        assert!(time("2000-01-01 00:00:00").is_some());
    }

    #[test]
    fn times_are_read_in_every_form_of_the_vendors() {
        let milliseconds = |text| time(text).map(Timestamp::as_millisecond);
        assert_eq!(
            milliseconds("2016-08-31T13:25:18.477+0000"),
            Some(1_472_649_918_477)
        );
        assert_eq!(
            milliseconds("2024-07-16T17:26:54.966-0300"),
            Some(1_721_161_614_966)
        );
        assert_eq!(
            milliseconds("2022-05-05T17:32:28.777+01:00"),
            Some(1_651_768_348_777)
        );
        assert_eq!(
            milliseconds("2022-05-05T17:32:28.777Z"),
            Some(1_651_771_948_777)
        );
        assert_eq!(milliseconds("2016-09-14 17:19:42"), Some(1_473_873_582_000));
        assert_eq!(milliseconds("2000-01-25T11:18:47Z"), Some(948_799_127_000));
        assert_eq!(milliseconds("1750000000"), Some(1_750_000_000_000));
        assert_eq!(milliseconds("1750000000.0"), Some(1_750_000_000_000));
        assert_eq!(milliseconds("1750000000.25"), Some(1_750_000_000_250));
        assert_eq!(time("99999999999999999999999999.5"), None);
        assert_eq!(time("string"), None);
        assert_eq!(time(""), None);
    }
}
