//! Bounced e-mails (`emails/bouncedEmails`), a day at a time. Rows have no id: each is known by a
//! digest of what it says. Addresses go into the digest and nowhere else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;

use super::{
    Answer, Endpoint, Pushwoosh,
    identity::{alphanumerics, digests, instant, lower, raw, time_text},
    later,
    list::unreadable,
    reasons::reason_of,
    slices::{Reach, SliceFlaws},
    vendor,
};
use crate::{
    model::{Application, Event, EventKind},
    providers::{
        Digest, Failure, HistoryQuery, Observation, WholeQuery,
        decode::decode,
        digest::digest,
        json::Text,
        paging::{Page, PageRequest, Paging, RowKeys, read_windows_apart},
    },
};

pub(super) const BOUNCED_EMAILS: Endpoint = Endpoint {
    path: "/api/v2/statistics/emails/bouncedEmails",
    word: "Api",
    fields: &["total", "bounced_emails"],
};
const PAGING: Paging = Paging {
    first_page: 0,
    // The vendor's limit.
    per_page: 5000,
    max_pages: 1000,
    keys: RowKeys::Content,
};
const REACH: Reach = Reach {
    first: vendor::BOUNCES_REACH,
    // Complaints arrive days after their messages.
    overlap: SignedDuration::from_hours(72),
    // The ledger remembers rows for 31 days: a row that it has forgotten would count twice.
    kept: SignedDuration::from_hours(29 * 24),
};
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// The canonical spelling of times, as documented.
const TIME: &str = "%Y-%m-%dT%H:%M:%S.000Z";

/// A bounced e-mail.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Bounce {
    email: Text,
    date: Text,
    reason: Text,
    #[serde(rename = "type")]
    kind: Text,
}

impl Bounce {
    fn event(&self, account: &str, application: &str) -> Result<Event, String> {
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

/// A row that was read or cannot be.
type Row = Result<Event, String>;

/// A span of time.
type Span = (Timestamp, Timestamp);

/// The beginning of the day in UTC.
fn day_of(time: Timestamp) -> Timestamp {
    let seconds = DAY.as_secs();
    Timestamp::from_second(time.as_second().div_euclid(seconds) * seconds).unwrap_or(time)
}

impl Pushwoosh {
    /// One day of bounced e-mails, the next one of the round.
    pub(super) async fn bounces(
        &self,
        query: &WholeQuery<'_>,
        observations: &mut Vec<Observation>,
    ) -> Result<(), Failure> {
        let WholeQuery {
            dataset,
            application,
            since,
            patience,
            ..
        } = *query;
        let now = self.http.clock().now();
        let round = self
            .rounds
            .resume(dataset, &application.id, since, (REACH, now));
        let begin = day_of(round.next);
        // The whole day, also if some of it is still to come: should the vendor cut times to days,
        // a range within a day would be empty.
        let end = later(begin, DAY);
        let oldest = round.floor;
        let mut events = Vec::new();
        let day = vec![(begin, end)];
        let read = self.bounced_in(application, day, oldest, patience, &mut events);
        let read = read.await;
        if !events.is_empty() {
            observations.push(Observation::Events(events));
        }
        match read {
            Ok(flaws) => {
                let span = (end, now);
                self.rounds
                    .advance(dataset, &application.id, round, flaws, span, observations)
            }
            Err(failure) => {
                self.rounds.keep(dataset, &application.id, round);
                Err(failure)
            }
        }
    }

    /// The e-mails that bounced from a time to another.
    pub(super) async fn bounced_between(
        &self,
        query: &HistoryQuery<'_>,
        events: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let mut spans = Vec::new();
        let mut begin = day_of(query.from);
        while begin < query.to {
            spans.push((begin, later(begin, DAY)));
            begin = later(begin, DAY);
        }
        let (from, patience) = (query.from, query.patience);
        let read = self.bounced_in(query.application, spans, from, patience, events);
        let read = read.await;
        events.retain(|row| row.at.is_none_or(|at| at <= query.to));
        let flaws = read?;
        flaws.incomplete.or(flaws.unreadable).map_or(Ok(()), Err)
    }

    /// The bounced e-mails of `spans`, without those from before `oldest`.
    async fn bounced_in(
        &self,
        application: &Application,
        spans: Vec<Span>,
        oldest: Timestamp,
        patience: Duration,
        events: &mut Vec<Event>,
    ) -> Result<SliceFlaws, Failure> {
        let fetch = |(from, to): &Span, request: PageRequest| {
            let second = SignedDuration::from_secs(1);
            let form = |time: Timestamp| time.strftime(TIME).to_string();
            // Whether the bounds are inclusive is not documented.
            let body = json!({
                "application": &*application.id,
                "date_from": form(later(*from, -second)), "date_to": form(later(*to, second)),
                "per_page": request.per_page, "page": request.page,
            });
            async move {
                let read = |answer: &Answer<'_>, unknown: &mut dyn FnMut(&str)| {
                    let rows = answer.list("bounced_emails")?;
                    let rows = rows
                        .iter()
                        .map(|raw| self.bounce(application, raw.get(), unknown));
                    Ok((rows.collect::<Vec<_>>(), answer.total()))
                };
                let asked = self.post(vendor::BOUNCES, &BOUNCED_EMAILS, &body, patience, read);
                let ((rows, total), _) = asked.await?;
                Ok(Page { rows, total })
            }
            .boxed()
        };
        let split = |(from, to): &Span| {
            let half = to.duration_since(*from).as_secs() / 2;
            let middle = later(*from, SignedDuration::from_secs(half));
            (half > 0).then_some(((*from, middle), (middle, *to)))
        };
        let broken = Arc::new(AtomicUsize::new(0));
        let count = broken.clone();
        let rows = |rows: Vec<Row>| {
            let all = rows.len();
            let good: Vec<_> = rows.into_iter().flatten().collect();
            count.fetch_add(all - good.len(), Ordering::Relaxed);
            let young = |row: &Event| row.at.is_none_or(|at| at >= oldest);
            events.extend(good.into_iter().filter(young));
        };
        let incomplete = read_windows_apart(spans, PAGING, fetch, split, rows).await?;
        let unreadable = unreadable(broken.load(Ordering::Relaxed), "bounces").err();
        Ok(SliceFlaws {
            incomplete,
            unreadable,
        })
    }

    /// One row; one that cannot be read is known by its text.
    fn bounce(
        &self,
        application: &Application,
        json: &str,
        unknown: &mut dyn FnMut(&str),
    ) -> (Digest, Row) {
        let row = decode::<Bounce>(json.as_bytes(), unknown);
        let row = row.and_then(|row| row.event(&self.account, &application.id));
        let key = row
            .as_ref()
            .map_or_else(|_| digest(&[json]), |row| row.digest);
        (key, row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
