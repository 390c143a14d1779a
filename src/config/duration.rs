//! Durations as the Prometheus ecosystem writes them: `30s`, `5m`, `1h30m`, `7d`.

use std::time::Duration;

/// The units, the largest first, with their milliseconds.
const UNITS: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a duration; `None` if it is none.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let letters = rest[digits..].find(|c: char| !c.is_ascii_lowercase());
        let end = letters.map_or(rest.len(), |letters| digits + letters);
        let unit = &rest[digits..end];
        // Each unit once, and none after a smaller one.
        let (_, milliseconds) = units.by_ref().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(*milliseconds)?)?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// Writes a duration in the fewest units.
pub fn show(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, milliseconds) in UNITS.iter().skip(1) {
        if rest >= *milliseconds {
            text.push_str(&format!("{}{name}", rest / milliseconds));
            rest %= milliseconds;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_forms_are_read_and_written() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h30m", 5400), ("7d", 604_800)] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)));
            assert_eq!(show(Duration::from_secs(seconds)), text);
        }
        assert_eq!(parse("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(parse("0s"), Some(Duration::ZERO));
        for bad in [
            "",
            "30",
            "s",
            "1m1h",
            "1s1s",
            "-1s",
            "1.5h",
            "1 h",
            "99999999999999999999d",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
