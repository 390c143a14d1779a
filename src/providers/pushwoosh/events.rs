//! What happened once: bounced e-mails (`emails/bouncedEmails`) and the log of events
//! (`getMessageLog`). Rows have no id: each is known by a digest of all that it says. Addresses and
//! devices go into the digest and nowhere else.

use std::{collections::HashSet, sync::Arc};

use delivery_clock::Moment;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;

use super::{Endpoint, Page, Pushwoosh, later};
use crate::{
    model::{Application, Dataset, Happening, HappeningKind},
    providers::{
        Failure, FailureKind, Observation,
        digest::digest,
        json::{Skipped, Text, time},
    },
};

const BOUNCED_EMAILS: Endpoint = ("/api/v2/statistics/emails/bouncedEmails", "Api");
const MESSAGE_LOG: Endpoint = ("/api/v2/statistics/getMessageLog", "Key");
/// The most bounces in a page.
const BOUNCES_PER_PAGE: usize = 5000;
/// Complaints arrive days after their messages.
const BOUNCES_OVERLAP: SignedDuration = SignedDuration::from_hours(72);
/// A longest range of dates is not documented; a day is safe.
pub(super) const BOUNCES_RANGE: SignedDuration = SignedDuration::from_hours(24);
/// The most events in a page: 100000 would be 30 MB.
const LOG_PER_PAGE: usize = 10_000;
/// Phones that were off report late.
pub(super) const LOG_OVERLAP: SignedDuration = SignedDuration::from_hours(2);
/// The log goes back 30 days; a little less is never refused.
const LOG_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24 - 1);
/// A vendor that repeats itself must not be asked for ever.
const MAX_PAGES: usize = 10_000;

/// What is behind the last page is not taken for read: it is asked for again.
fn endless() -> Failure {
    Failure::new(FailureKind::Vendor, "the vendor's pages do not end")
}

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
    fn happening(&self, account: &str, application: &str) -> Happening {
        let text = |text: &Text| text.get().unwrap_or_default().to_owned();
        let (date, reason, kind) = (text(&self.date), text(&self.reason), text(&self.kind));
        let parts = [
            "bounce",
            account,
            application,
            &text(&self.email),
            &date,
            &kind,
            &reason,
        ];
        Happening {
            digest: digest(&parts),
            former: None,
            kind: HappeningKind::BouncedAddress {
                kind: kind_of(&kind),
                reason: reason_of(&reason),
            },
            at: time(&date),
        }
    }
}

fn kind_of(kind: &str) -> &'static str {
    match kind.to_ascii_lowercase().as_str() {
        "hardbounce" => "hard",
        "softbounce" => "soft",
        "complaint" => "complaint",
        _ => "unknown",
    }
}

/// A class of reasons: words anywhere in the text, whole codes, and the beginnings of codes.
type Class = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

/// The reason is the receiving server's free text, often with the address in it: it becomes a class.
const CLASSES: [Class; 5] = [
    (
        "mailbox_full",
        &["quota", "mailbox full", "is full", "over limit"],
        &["4.2.2", "5.2.2", "552"],
        &[],
    ),
    (
        "invalid_recipient",
        &[
            "invalid",
            "unknown user",
            "user unknown",
            "no such",
            "does not exist",
            "not found",
        ],
        &["5.1.1", "5.1.10"],
        &[],
    ),
    (
        "blocked",
        &[
            "block",
            "blacklist",
            "denylist",
            "spamhaus",
            "reputation",
            "spam",
        ],
        &[],
        &[],
    ),
    (
        "policy",
        &["policy", "dmarc", "spf", "dkim", "authentication"],
        &[],
        &["5.7"],
    ),
    (
        "timeout",
        &["timeout", "timed out", "expired", "deferred", "temporarily"],
        &[],
        &["4.4"],
    ),
];

fn reason_of(reason: &str) -> &'static str {
    let text = reason.to_lowercase();
    let codes: Vec<&str> = text
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .map(|code| code.trim_matches('.'))
        .filter(|code| !code.is_empty())
        .collect();
    let begins = |code: &str, with: &str| {
        code.strip_prefix(with)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let fits = |(_, words, whole, beginnings): &&Class| {
        words.iter().any(|word| text.contains(word))
            || codes
                .iter()
                .any(|code| whole.contains(code) || beginnings.iter().any(|own| begins(code, own)))
    };
    CLASSES.iter().find(fits).map_or("other", |class| class.0)
}

/// An event of the log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    timestamp: Text,
    application_code: Skipped,
    message_id: Text,
    message_code: Text,
    campaign_code: Skipped,
    hwid: Text,
    user_id: Skipped,
    platform: Text,
    action: Text,
    /// Only of `sent`.
    status: Text,
    push_alerts_enabled: Skipped,
}

impl Event {
    fn happening(&self, account: &str, application: &str) -> Happening {
        let text = |text: &Text| text.get().unwrap_or_default().to_owned();
        let action = match text(&self.action).to_lowercase() {
            // The filter calls it otherwise than the answer.
            own if own == "inbox_delete" => "inbox_deleted".to_owned(),
            own => own,
        };
        let message = match text(&self.message_code) {
            own if own.is_empty() => text(&self.message_id),
            own => own,
        };
        let (at, device) = (text(&self.timestamp), text(&self.hwid));
        let (platform, status) = (text(&self.platform), text(&self.status));
        let parts = [
            "log",
            account,
            application,
            &message,
            &device,
            &action,
            &platform,
            &status,
            &at,
        ];
        Happening {
            digest: digest(&parts),
            former: None,
            kind: HappeningKind::Log {
                action: Arc::from(action),
                platform: Arc::from(platform_of(&platform)),
                status: Arc::from(status),
            },
            at: time(&at),
        }
    }
}

/// A platform, which is a name here and a number everywhere else.
fn platform_of(name: &str) -> &'static str {
    match name.to_ascii_lowercase().as_str() {
        "" => "",
        "ios" => "ios",
        "android" | "huawei android" | "huawei" | "xiaomi" => "android",
        "osx" | "macos" => "macos",
        "windows" => "windows",
        "amazon" => "amazon",
        "safari" | "chrome" | "firefox" | "ie" | "edge" => "web",
        _ => "other",
    }
}

impl Pushwoosh {
    /// Bounced e-mails, a day and a page at a time.
    pub(super) async fn bounces(
        &self,
        application: &Application,
        since: Option<Timestamp>,
        deadline: Moment,
        take: &mut (dyn FnMut(Observation) + Send),
    ) -> Result<(), Failure> {
        let now = self.http.clock().now();
        // Without a past, what is older counts nothing.
        let overlap = since.map_or(BOUNCES_RANGE, |_| BOUNCES_OVERLAP);
        let from = later(since.unwrap_or(now), -overlap);
        let happened = &mut |happened| take(Observation::Happened(happened));
        self.bounced_between(application, from, now, &|| deadline, happened)
            .await?;
        take(Observation::ReadUntil(now));
        Ok(())
    }

    /// The e-mails that bounced from a time to another.
    pub(super) async fn bounced_between(
        &self,
        application: &Application,
        mut from: Timestamp,
        end: Timestamp,
        deadline: &(dyn Fn() -> Moment + Sync),
        take: &mut (dyn FnMut(Vec<Happening>) + Send),
    ) -> Result<(), Failure> {
        let form = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string();
        while from < end {
            let to = later(from, BOUNCES_RANGE).min(later(end, SignedDuration::from_secs(1)));
            for page in 0..MAX_PAGES {
                let body = json!({
                    "application": &*application.id, "date_from": form(from), "date_to": form(to),
                    "per_page": BOUNCES_PER_PAGE, "page": page,
                });
                let rows: Vec<Bounce> = self
                    .rows(Dataset::Bounces, BOUNCED_EMAILS, &body, deadline())
                    .await?;
                let happening = |row: &Bounce| row.happening(&self.account, &application.id);
                take(rows.iter().map(happening).collect());
                if rows.len() < BOUNCES_PER_PAGE {
                    break;
                }
                if page + 1 == MAX_PAGES {
                    return Err(endless());
                }
            }
            from = to;
        }
        Ok(())
    }

    /// The log, page by page along its tokens.
    pub(super) async fn log(
        &self,
        application: &Application,
        since: Option<Timestamp>,
        deadline: Moment,
        take: &mut (dyn FnMut(Observation) + Send),
    ) -> Result<(), Failure> {
        let now = self.http.clock().now();
        let from = later(since.unwrap_or(now), -LOG_OVERLAP);
        let happened = &mut |happened| take(Observation::Happened(happened));
        self.logged_between(application, from, now, &|| deadline, happened)
            .await?;
        take(Observation::ReadUntil(now));
        Ok(())
    }

    /// The events of the log from a time to another, as far as it goes back.
    pub(super) async fn logged_between(
        &self,
        application: &Application,
        from: Timestamp,
        to: Timestamp,
        deadline: &(dyn Fn() -> Moment + Sync),
        take: &mut (dyn FnMut(Vec<Happening>) + Send),
    ) -> Result<(), Failure> {
        let from = from.max(later(self.http.clock().now(), -LOG_KEPT));
        if from >= to {
            return Ok(());
        }
        let form = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let mut body = json!({
            "application_code": &*application.id, "date_from": form(from), "date_to": form(to),
            "limit": LOG_PER_PAGE,
        });
        let mut tokens = HashSet::new();
        for page in 0..MAX_PAGES {
            if page + 1 == MAX_PAGES {
                return Err(endless());
            }
            let read = |page: &Page<'_>, unknown: &mut dyn FnMut(&str)| {
                Ok((page.read::<Event>(unknown)?, page.next()))
            };
            let ((rows, token), _) = self
                .post(Dataset::Log, MESSAGE_LOG, &body, deadline(), read)
                .await?;
            // How the end looks is not documented; a short page is not it.
            if rows.is_empty() {
                break;
            }
            let happening = |row: &Event| row.happening(&self.account, &application.id);
            take(rows.iter().map(happening).collect());
            match token {
                Some(token) if tokens.insert(token.clone()) => {
                    body["pagination_token"] = json!(token)
                }
                _ => break,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_become_classes() {
        for (reason, class) in [
            ("Invalid recipient address", "invalid_recipient"),
            ("552 5.2.2 <a@example.com> over quota", "mailbox_full"),
            ("550 5.1.1 The email account", "invalid_recipient"),
            ("smtp; 550 5.7.26 unauthenticated mail", "policy"),
            ("IP on Spamhaus", "blocked"),
            ("421 4.4.2 connection dropped", "timeout"),
            ("15.7 nothing", "other"),
            ("45.71.1 nothing", "other"),
            ("", "other"),
        ] {
            assert_eq!(reason_of(reason), class, "{reason}");
        }
    }

    #[test]
    fn rows_are_known_by_all_that_they_say() {
        let bounce = |json: &str| {
            serde_json::from_str::<Bounce>(json)
                .unwrap()
                .happening("a", "app")
        };
        let one = bounce(
            r#"{"email":"example@example.com","date":"2024-07-20T00:00:00.000Z","reason":"Invalid recipient address","type":"Hardbounce"}"#,
        );
        let other = bounce(
            r#"{"email":"other@example.com","date":"2024-07-20T00:00:00.000Z","reason":"Invalid recipient address","type":"HARDBOUNCE"}"#,
        );
        assert_eq!(one.kind, other.kind);
        assert_ne!(one.digest, other.digest);
        assert_eq!(one.at, time("2024-07-20T00:00:00Z"));
        let event = |json: &str| {
            serde_json::from_str::<Event>(json)
                .unwrap()
                .happening("a", "app")
        };
        let sent = event(
            r#"{"timestamp":"2000-01-25T11:18:47Z","message_id":12345678900,"message_code":"A444-AAABBBCC-00112233",
            "hwid":"aaazzzqqqqxxx","user_id":"user_123","platform":"huawei android","action":"sent","status":"success","push_alerts_enabled":"true"}"#,
        );
        let kind = HappeningKind::Log {
            action: Arc::from("sent"),
            platform: Arc::from("android"),
            status: Arc::from("success"),
        };
        assert_eq!(sent.kind, kind);
        let deleted = event(r#"{"action":"inbox_delete","platform":"email"}"#);
        let kind = HappeningKind::Log {
            action: Arc::from("inbox_deleted"),
            platform: Arc::from("other"),
            status: Arc::from(""),
        };
        assert_eq!((deleted.kind, deleted.at), (kind, None));
    }
}
