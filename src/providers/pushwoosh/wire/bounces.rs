//! Bounced e-mails. Rows have no id: each is known by a digest of what it says. Addresses go into
//! the digest and nowhere else.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{
    identity::{alphanumerics, digests, instant, lower, raw, time_text},
    reasons::reason_of,
};
use crate::{
    model::{Event, EventKind},
    providers::json::Text,
};

pub(in crate::providers::pushwoosh) const DAY: SignedDuration = SignedDuration::from_hours(24);
/// The canonical spelling of times, as documented.
pub(in crate::providers::pushwoosh) const TIME: &str = "%Y-%m-%dT%H:%M:%S.000Z";

/// A bounced e-mail.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::providers::pushwoosh) struct Bounce {
    email: Text,
    date: Text,
    reason: Text,
    #[serde(rename = "type")]
    kind: Text,
}

impl Bounce {
    pub(in crate::providers::pushwoosh) fn event(
        &self,
        account: &str,
        application: &str,
    ) -> Result<Event, String> {
        let (email, date) = (raw(&self.email), raw(&self.date));
        let (kind, reason) = (raw(&self.kind), raw(&self.reason));
        if email.trim().is_empty() {
            return Err("a bounce without an address".to_owned());
        }
        let (label, canonical_kind) = kind_of(kind);
        let start = ["bounce", account, application];
        let at = instant(date);
        // A row can lose its reason, or a part of it. It tells rows apart only where the vendor
        // rounds times to days.
        let canonical_reason = match at {
            Some(at) if at.as_second() == day_of(at).as_second() => alphanumerics(reason),
            _ => String::new(),
        };
        let own = [
            &address(email),
            &time_text(date, TIME),
            &canonical_kind,
            &canonical_reason,
        ];
        let canonical: Vec<&str> = start.into_iter().chain(own.map(|text| &**text)).collect();
        let former: Vec<&str> = start
            .into_iter()
            .chain([email, date, kind, reason])
            .collect();
        let (digest, former) = digests(&canonical, &former);
        Ok(Event {
            digest,
            former,
            kind: EventKind::BouncedAddress {
                kind: label,
                reason: reason_of(reason),
            },
            at,
        })
    }
}

/// An address in lower case, without the name and the angle brackets around it that it can have.
fn address(text: &str) -> String {
    let text = lower(text);
    let inner = text.rsplit_once('<').map(|(_, inner)| inner);
    let inner = inner.and_then(|inner| inner.split('>').next());
    match inner.map(str::trim).filter(|inner| !inner.is_empty()) {
        Some(inner) => inner.to_owned(),
        None => text,
    }
}

/// The label of a type of bounce, and the type's canonical spelling.
fn kind_of(kind: &str) -> (&'static str, String) {
    let folded = alphanumerics(kind);
    let (label, canonical) = match folded.as_str() {
        "hardbounce" | "hard" => ("hard", "Hardbounce"),
        "softbounce" | "soft" => ("soft", "Softbounce"),
        "complaint" | "spamcomplaint" => ("complaint", "Complaint"),
        _ => return ("unknown", folded),
    };
    (label, canonical.to_owned())
}

/// The beginning of the day in UTC.
pub(in crate::providers::pushwoosh) fn day_of(time: Timestamp) -> Timestamp {
    let seconds = DAY.as_secs();
    Timestamp::from_second(time.as_second().div_euclid(seconds) * seconds).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::digest::digest;

    fn bounce(json: &str) -> Event {
        let bounce: Bounce = serde_json::from_str(json).unwrap();
        bounce.event("a", "app").unwrap()
    }

    #[test]
    fn a_bounce_is_one_however_it_is_spelled() {
        let one = bounce(
            r#"{"email":"example@example.com","date":"2024-07-20T00:00:00.000Z","reason":"Invalid recipient address","type":"Hardbounce"}"#,
        );
        for other in [
            r#"{"email":"Example@Example.com ","date":"2024-07-20 00:00:00","reason":"invalid  recipient address.","type":"HARD_BOUNCE"}"#,
            r#"{"email":"example@example.com","date":1721433600,"reason":"Invalid recipient address","type":"hardbounce","x":1}"#,
        ] {
            let other = bounce(other);
            assert_eq!(
                (other.digest, &other.kind, other.at),
                (one.digest, &one.kind, one.at)
            );
        }
        for other in [
            r#"{"email":"other@example.com","date":"2024-07-20T00:00:00.000Z","reason":"Invalid recipient address","type":"Hardbounce"}"#,
            r#"{"email":"example@example.com","date":"2024-07-21T00:00:00.000Z","reason":"Invalid recipient address","type":"Hardbounce"}"#,
            r#"{"email":"example@example.com","date":"2024-07-20T00:00:00.000Z","reason":"Invalid recipient address","type":"Softbounce"}"#,
            r#"{"email":"example@example.com","date":"2024-07-20T00:00:00.000Z","reason":"full","type":"Hardbounce"}"#,
        ] {
            assert_ne!(bounce(other).digest, one.digest);
        }
        let parts = [
            "bounce",
            "a",
            "app",
            "example@example.com",
            "2024-07-20T00:00:00.000Z",
            "Hardbounce",
            "Invalid recipient address",
        ];
        assert_eq!(one.former, Some(digest(&parts)));
        // As documented, and without a reason: the same digest as in version 0.1.
        let same = bounce(
            r#"{"email":"example@example.com","date":"2024-07-20T00:00:00.000Z","reason":"","type":"Complaint"}"#,
        );
        let parts = [
            "bounce",
            "a",
            "app",
            "example@example.com",
            "2024-07-20T00:00:00.000Z",
            "Complaint",
            "",
        ];
        assert_eq!((same.digest, same.former), (digest(&parts), None));
    }

    #[test]
    fn a_reason_tells_rows_of_a_midnight_apart_and_no_others() {
        let at = |date: &str, email: &str, reason: &str| {
            let json = format!(
                r#"{{"email":"{email}","date":"{date}","reason":{reason},"type":"Hardbounce"}}"#
            );
            bounce(&json).digest
        };
        let (day, second) = ("2024-07-20T00:00:00.000Z", "2024-07-20T00:00:01.000Z");
        let (full, gone) = (r#""mailbox full""#, r#""gone""#);
        assert_ne!(at(day, "a@x.org", full), at(day, "a@x.org", gone));
        let one = at(second, "a@x.org", full);
        for reason in [gone, r#""mailbox f""#, "null"] {
            assert_eq!(at(second, "a@x.org", reason), one, "{reason}");
        }
        for email in ["<A@x.org>", "Ann A <a@x.org>", " a@x.org "] {
            assert_eq!(at(second, email, full), one, "{email}");
        }
        assert_ne!(at(second, "<b@x.org>", full), one);
        assert_ne!(at("2024-07-20T00:00:02.000Z", "a@x.org", full), one);
    }

    #[test]
    fn a_row_without_an_address_is_none() {
        for json in [
            "{}",
            r#"{"address": "x@example.com"}"#,
            r#"{"email": {"a": 1}, "type": "Hardbounce"}"#,
        ] {
            let bounce: Bounce = serde_json::from_str(json).unwrap();
            assert!(bounce.event("a", "app").is_err(), "{json}");
        }
    }
}
