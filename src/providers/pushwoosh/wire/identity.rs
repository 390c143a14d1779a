//! What identifies a row that happened once: parsed and normalised values, for two back ends of the
//! vendor can write one time, number or name in two ways. Each value has one canonical spelling, the
//! documented one; the digest of version 0.1, of the texts as they came, goes beside it.

use jiff::Timestamp;

use crate::providers::{
    Digest,
    digest::digest,
    json::{Text, any_time, is_time},
};

/// The time that a text stands for; a number of 12 digits or more is milliseconds. A program's zero
/// is none.
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    any_instant(text).filter(is_time)
}

/// As [`instant`], and zeros too: a row that has one is the same row in every spelling of it.
fn any_instant(text: &str) -> Option<Timestamp> {
    any_time(text).or_else(|| {
        let milliseconds = text.trim().parse::<i64>().ok()?;
        Timestamp::from_millisecond(milliseconds).ok()
    })
}

/// A time in the canonical spelling `format`, cut to seconds, for not every spelling has more; what
/// is no time stays a text.
pub(super) fn time_text(text: &str, format: &str) -> String {
    match any_instant(text) {
        Some(time) => time.strftime(format).to_string(),
        None => lower(text),
    }
}

/// A text without what differs between spellings of addresses and devices.
pub(super) fn lower(text: &str) -> String {
    text.trim().to_lowercase()
}

/// A text's letters and digits alone, in lower case.
pub(super) fn alphanumerics(text: &str) -> String {
    let letters = text.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// A text as it came; empty if there is none.
pub(super) fn raw(text: &Text) -> &str {
    text.get().unwrap_or_default()
}

/// The digest of canonical values, and that of version 0.1, of the texts as they came, if it is
/// another one.
pub(super) fn digests(canonical: &[&str], raw: &[&str]) -> (Digest, Option<Digest>) {
    let (own, former) = (digest(canonical), digest(raw));
    (own, (own != former).then_some(former))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_has_one_text() {
        for text in [
            "2024-07-20T00:00:00.000Z",
            "2024-07-20T00:00:00Z",
            "2024-07-20 00:00:00",
            "2024-07-20T02:00:00+02:00",
            "2024-07-20",
            " 2024-07-20T00:00:00.000+0000 ",
            "1721433600",
            "1721433600000",
        ] {
            let canonical = time_text(text, "%Y-%m-%dT%H:%M:%SZ");
            assert_eq!(canonical, "2024-07-20T00:00:00Z", "{text}");
        }
        assert_eq!(time_text(" Yesterday ", "%Y"), "yesterday");
        for zero in ["0", "1970-01-01 00:00:00", "1970-01-01T00:00:00Z"] {
            assert_eq!((instant(zero), &*time_text(zero, "%Y")), (None, "1970"));
        }
        assert_eq!(instant("86400"), None);
        assert_eq!(
            alphanumerics("550 5.1.1 <A@b.c>: Ünknown"),
            "550511abcünknown"
        );
    }
}
