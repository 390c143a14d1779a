//! The delivery reports of a body: `results` of `GET /email/1/reports`, or of a pushed body.
//!
//! Recipients stay in here: what leaves is digests and the vendor's own words.

use std::{str::FromStr, sync::Arc, time::Duration};

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::{
    model::{BounceKind, ErrorReason},
    providers::{
        Damage, Outcome, Report, ReportsRead,
        digest::digest,
        json::{Count, Text, lenient, time},
        salvage,
    },
};

/// The list of reports in a body.
const LIST: &str = "results";

/// Every whole report of a body.
pub(super) fn read(account: &str, body: &[u8]) -> ReportsRead {
    let (items, broken) = salvage::items(body, LIST);
    let empty = items.is_empty() && broken.is_none();
    let mut reports = Vec::with_capacity(items.len());
    let mut unread = Vec::new();
    let mut problem = None;
    for item in items {
        match wire(&body[item.clone()]) {
            Ok(wire) => reports.push(wire.report(account)),
            Err(what) => {
                problem.get_or_insert_with(|| {
                    (item.start, format!("a report cannot be read: {what}"))
                });
                unread.push(item);
            }
        }
    }
    let end = || broken.as_ref().map(|own| (own.at, own.what.clone()));
    let damage = problem.or_else(end).map(|(at, what)| Damage {
        at,
        what,
        rest: salvage::rest(body, LIST, &unread, broken.as_ref()).into(),
        sample_of: None,
    });
    ReportsRead {
        reports,
        empty,
        damage,
        failure: None,
    }
}

fn wire(item: &[u8]) -> Result<Wire, String> {
    // A list would be taken for the fields in their order.
    if !item.starts_with(b"{") {
        return Err("it is no JSON object".into());
    }
    serde_json::from_slice(item).map_err(|error| super::super::json::problem(&error))
}

/// A report, as the vendor documents it; every field is optional in its current models.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    bulk_id: Text,
    message_id: Text,
    to: Text,
    sent_at: Text,
    done_at: Text,
    message_count: Count,
    /// What `message_count` is called in the pushed form.
    sms_count: Count,
    #[serde(deserialize_with = "lenient")]
    price: Option<Price>,
    #[serde(deserialize_with = "lenient")]
    status: Option<Status>,
    #[serde(deserialize_with = "lenient")]
    error: Option<Error>,
    campaign_reference_id: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Price {
    price_per_message: Text,
    currency: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    group_id: Text,
    group_name: Text,
    id: Text,
    name: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Error {
    group_id: Text,
    group_name: Text,
    id: Text,
    name: Text,
    #[serde(deserialize_with = "lenient")]
    permanent: Option<bool>,
}

/// The vendor's status groups by number, for reports that lack the name.
const STATUS_GROUPS: [&str; 6] = [
    "ACCEPTED",
    "PENDING",
    "UNDELIVERABLE",
    "DELIVERED",
    "EXPIRED",
    "REJECTED",
];

/// Errors of group 2 that are hard where the report does not say whether they are permanent.
const HARD: [&str; 3] = [
    "EC_INVALID_EMAIL_ADDRESS",
    "EC_MAILBOX_UNAVAILABLE",
    "EC_HARD_BOUNCE",
];

/// What an error's group means for e-mail, whatever its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorGroup {
    Ok,
    Dropped,
    Bounced,
    System,
    Unknown,
}

impl Status {
    fn group(&self) -> &str {
        self.group_name.get().unwrap_or_else(|| {
            let id = self.group_id.get().and_then(|id| id.parse::<usize>().ok());
            id.and_then(|id| STATUS_GROUPS.get(id))
                .copied()
                .unwrap_or_default()
        })
    }

    /// Whether nothing else is to come. Everything unknown is final.
    fn is_final(&self) -> bool {
        let handed_on = match self.name.get() {
            Some(name) => name == "DELIVERED_TO_OPERATOR",
            None => self.group() == "DELIVERED" && self.id.get() == Some("2"),
        };
        !handed_on && !matches!(self.group(), "ACCEPTED" | "PENDING")
    }
}

impl Error {
    fn group(&self) -> ErrorGroup {
        match self.group_id.get() {
            Some("0") => return ErrorGroup::Ok,
            Some("1") => return ErrorGroup::Dropped,
            Some("2") => return ErrorGroup::Bounced,
            Some("3") => return ErrorGroup::System,
            _ => {}
        }
        match self.group_name.get() {
            Some("OK") => ErrorGroup::Ok,
            Some("HANDSET_ERRORS") => ErrorGroup::Dropped,
            Some("USER_ERRORS") => ErrorGroup::Bounced,
            Some("OPERATOR_ERRORS" | "SYSTEM_ERRORS") => ErrorGroup::System,
            _ => ErrorGroup::Unknown,
        }
    }

    /// Hard if permanent; where the report does not say, by the names that are known to be hard.
    fn bounce(&self) -> Outcome {
        let name = self.name.get().unwrap_or_default();
        let hard = self.permanent.unwrap_or_else(|| HARD.contains(&name));
        Outcome::Bounced(if hard {
            BounceKind::Hard
        } else {
            BounceKind::Soft
        })
    }
}

/// What a report means for its message. Never by `error.id`: the vendor has renumbered them.
fn outcome(status: &Status, error: &Error) -> Outcome {
    if !status.is_final() {
        return Outcome::Pending;
    }
    let group = status.group();
    if group == "DELIVERED" {
        return Outcome::Delivered;
    }
    let expired_or_rejected = matches!(group, "EXPIRED" | "REJECTED");
    let no_error = error.id.get() == Some("0") || error.group_name.get() == Some("OK");
    if no_error && !expired_or_rejected {
        return Outcome::Other;
    }
    let name = error.name.get().unwrap_or_default();
    match error.group() {
        ErrorGroup::Bounced => error.bounce(),
        ErrorGroup::Dropped
            if name.contains("SUPPRESSED") || name == "EC_BOUNCED_EMAIL_ADDRESS" =>
        {
            Outcome::Failed(ErrorReason::Suppressed)
        }
        ErrorGroup::Dropped => Outcome::Failed(ErrorReason::Dropped),
        ErrorGroup::System => Outcome::Failed(ErrorReason::System),
        ErrorGroup::Ok | ErrorGroup::Unknown => match group {
            "EXPIRED" => Outcome::Failed(ErrorReason::Expired),
            "REJECTED" => Outcome::Failed(ErrorReason::Rejected),
            _ if name.contains("BOUNCE") => error.bounce(),
            _ => Outcome::Failed(ErrorReason::Other),
        },
    }
}

impl Wire {
    fn report(self, account: &str) -> Report {
        let status = self.status.as_ref();
        let none = (Status::default(), Error::default());
        let (status, error) = (
            status.unwrap_or(&none.0),
            self.error.as_ref().unwrap_or(&none.1),
        );
        let to = self.to.get().unwrap_or_default();
        let status_name = status.name.get().or(status.id.get()).unwrap_or_default();
        let (report, message) = match self.message_id.get() {
            Some(id) => (
                digest(&[account, id, to, status_name]),
                digest(&[account, id, to]),
            ),
            None => {
                // A message of its own: whatever tells it from others to the same address.
                let times = [&self.sent_at, &self.done_at, &self.bulk_id];
                let times = times.map(|text| text.get().unwrap_or_default());
                let own = digest(&[account, "", to, status_name, times[0], times[1], times[2]]);
                (own, own)
            }
        };
        let group = status
            .group_name
            .get()
            .or(status.group_id.get())
            .unwrap_or_default();
        let error_group = error
            .group_name
            .get()
            .or(error.group_id.get())
            .unwrap_or_default();
        Report {
            report,
            message,
            former: None,
            channel: "email",
            campaign: self.campaign_reference_id.get().map(Arc::from),
            status_group: Arc::from(group),
            status: Arc::from(status_name),
            error_group: Arc::from(error_group),
            error: Arc::from(error.name.get().or(error.id.get()).unwrap_or_default()),
            permanent: error.permanent,
            outcome: outcome(status, error),
            latency: self.latency(),
            cost: self.cost(),
        }
    }

    fn latency(&self) -> Option<Duration> {
        let (sent, done) = (time(self.sent_at.get()?)?, time(self.done_at.get()?)?);
        Duration::try_from(done.duration_since(sent)).ok()
    }

    /// The price is a decimal at the vendor, and stays one: doubles would not add up.
    fn cost(&self) -> Option<(Decimal, Arc<str>)> {
        let price = self.price.as_ref()?;
        let text = price.price_per_message.get()?;
        let each = Decimal::from_str(text)
            .or_else(|_| Decimal::from_scientific(text))
            .ok()?;
        let count = match (&self.message_count, &self.sms_count) {
            (Count::Value(count), _) | (_, Count::Value(count)) => *count,
            _ => 1,
        };
        let cost = each.checked_mul(Decimal::from(count))?;
        (!cost.is_sign_negative()).then(|| (cost, price.currency.shared()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"{"messageId":"bbcc6960-1fcb-497c-b7ea-83ccba41492e","to":"recipient@infobip.com",
        "sentAt":"2016-08-31T13:25:18.477+0000","doneAt":"2016-08-31T13:25:50.893+0000","messageCount":1,
        "price":{"pricePerMessage":0,"currency":"UNKNOWN"},
        "status":{"groupId":3,"groupName":"DELIVERED","id":5,"name":"DELIVERED_TO_HANDSET","description":"x"},
        "error":{"groupId":0,"groupName":"OK","id":0,"name":"NO_ERROR","description":"No Error","permanent":false},
        "channel":"EMAIL"}"#;

    fn one(json: &str) -> Report {
        let mut read = read("mail", format!(r#"{{"results":[{json}]}}"#).as_bytes());
        assert_eq!((read.reports.len(), &read.damage), (1, &None));
        read.reports.remove(0)
    }

    #[test]
    fn the_vendors_example_is_read_whole() {
        let report = one(EXAMPLE);
        assert_eq!(report.outcome, Outcome::Delivered);
        assert_eq!(report.latency, Some(Duration::from_millis(32_416)));
        assert_eq!(report.cost, Some((Decimal::ZERO, Arc::from("UNKNOWN"))));
        assert_eq!(
            (&*report.status_group, &*report.status),
            ("DELIVERED", "DELIVERED_TO_HANDSET")
        );
        assert_eq!((&*report.error_group, &*report.error), ("OK", "NO_ERROR"));
        assert_eq!(report.permanent, Some(false));
    }

    #[test]
    fn a_repeat_has_the_same_identity_and_another_status_has_not() {
        let first = one(EXAMPLE);
        let moved = one(&EXAMPLE.replace("50.893", "59.000"));
        assert_eq!((first.report, first.message), (moved.report, moved.message));
        let pending = one(&EXAMPLE.replace("DELIVERED_TO_HANDSET", "PENDING_ENROUTE"));
        assert_ne!(first.report, pending.report);
        assert_eq!(first.message, pending.message);
        let nameless = EXAMPLE.replace("\"messageId\"", "\"other\"");
        assert_ne!(
            one(&nameless).message,
            one(&nameless.replace("50.893", "59.000")).message
        );
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }

    fn classified(status: &str, error: &str) -> Outcome {
        one(&format!(
            r#"{{"messageId":"m","status":{status},"error":{error}}}"#
        ))
        .outcome
    }

    #[test]
    fn reports_are_classified_as_the_vendor_facts_say() {
        let undeliverable = r#"{"groupId":2,"groupName":"UNDELIVERABLE","id":4,"name":"UNDELIVERABLE_REJECTED_OPERATOR"}"#;
        let expired = r#"{"groupName":"EXPIRED","name":"EXPIRED_EXPIRED"}"#;
        let rejected = r#"{"groupId":5,"name":"REJECTED_NETWORK"}"#;
        let ok = r#"{"groupId":0,"groupName":"OK","id":0,"name":"NO_ERROR"}"#;
        let hard = Outcome::Bounced(BounceKind::Hard);
        let soft = Outcome::Bounced(BounceKind::Soft);
        for (status, error, expected) in [
            (
                r#"{"groupId":1,"groupName":"PENDING","name":"PENDING_ENROUTE"}"#,
                ok,
                Outcome::Pending,
            ),
            (
                r#"{"groupId":3,"groupName":"DELIVERED","id":2,"name":"DELIVERED_TO_OPERATOR"}"#,
                ok,
                Outcome::Pending,
            ),
            (r#"{"groupId":3,"id":5}"#, ok, Outcome::Delivered),
            (undeliverable, ok, Outcome::Other),
            (expired, ok, Outcome::Failed(ErrorReason::Expired)),
            (rejected, ok, Outcome::Failed(ErrorReason::Rejected)),
            (
                undeliverable,
                r#"{"groupId":2,"id":6009,"name":"EC_MAILBOX_UNAVAILABLE","permanent":true}"#,
                hard,
            ),
            (
                undeliverable,
                r#"{"groupId":2,"id":6009,"name":"EC_MAILBOX_UNAVAILABLE","permanent":false}"#,
                soft,
            ),
            (
                undeliverable,
                r#"{"groupName":"USER_ERRORS","name":"EC_HARD_BOUNCE"}"#,
                hard,
            ),
            (
                undeliverable,
                r#"{"groupName":"USER_ERRORS","name":"EC_STORAGE_LIMIT_EXCEEDED"}"#,
                soft,
            ),
            (
                undeliverable,
                r#"{"groupId":1,"id":6034,"name":"EC_SUPPRESSED_BOUNCE","permanent":true}"#,
                Outcome::Failed(ErrorReason::Suppressed),
            ),
            (
                undeliverable,
                r#"{"groupId":1,"name":"EC_BOUNCED_EMAIL_ADDRESS"}"#,
                Outcome::Failed(ErrorReason::Suppressed),
            ),
            (
                undeliverable,
                r#"{"groupId":1,"id":6012,"name":"EC_SENDER_ADDRESS_INVALID","permanent":true}"#,
                Outcome::Failed(ErrorReason::Dropped),
            ),
            (
                expired,
                r#"{"groupName":"SYSTEM_ERRORS","name":"X"}"#,
                Outcome::Failed(ErrorReason::System),
            ),
            (
                undeliverable,
                r#"{"groupId":9,"groupName":"NEW","name":"EC_NEW_BOUNCE","permanent":true}"#,
                hard,
            ),
            (
                undeliverable,
                r#"{"groupId":9,"groupName":"NEW","name":"EC_NEW"}"#,
                Outcome::Failed(ErrorReason::Other),
            ),
        ] {
            assert_eq!(classified(status, error), expected, "{status} {error}");
        }
    }

    #[test]
    fn prices_stay_exact_in_both_forms_of_a_report() {
        let cost = |json: &str| one(json).cost.map(|(cost, _)| cost.to_string());
        let price = r#""price":{"pricePerMessage":0.0025,"currency":"EUR"}"#;
        assert_eq!(
            cost(&format!(r#"{{{price},"messageCount":3}}"#)).as_deref(),
            Some("0.0075")
        );
        assert_eq!(
            cost(&format!(r#"{{{price},"smsCount":2}}"#)).as_deref(),
            Some("0.0050")
        );
        assert_eq!(
            cost(r#"{"price":{"pricePerMessage":-1,"currency":"EUR"}}"#),
            None
        );
        assert_eq!(cost(r#"{"price":null}"#), None);
    }

    #[test]
    fn a_bad_report_costs_no_other_one() {
        let body = format!(r#"{{"results":[{EXAMPLE},7,{EXAMPLE}]}}"#);
        let read = read("mail", body.as_bytes());
        assert_eq!(read.reports.len(), 2);
        let rest = |read: &ReportsRead| {
            let damage = read.damage.clone().unwrap();
            String::from_utf8(damage.rest.to_vec()).unwrap()
        };
        assert_eq!(rest(&read), r#"{"results":[7]}"#);
        // What was read is in no rest, wherever the body breaks off; and a rest's rest is itself.
        let end = format!(r#", {EXAMPLE}"#);
        for body in [
            format!(r#"{{"results":[{EXAMPLE}, 7 ,{EXAMPLE},[8]{}"#, &end[..60]),
            format!(r#"{{"results":[{EXAMPLE}{}"#, &end[..60]),
            format!(r#"{{"a":1,"results":[{EXAMPLE}], x"#),
            format!(r#"{{"results":[{}"#, &EXAMPLE[..60]),
            "<html>".into(),
        ] {
            let first = super::read("mail", body.as_bytes());
            assert_eq!(first.reports.len(), body.matches("NO_ERROR").count());
            let left = rest(&first);
            assert!(!left.contains("NO_ERROR"), "{left}");
            let again = super::read("mail", left.as_bytes());
            assert_eq!((again.reports.len(), rest(&again)), (0, left));
        }
        assert!(super::read("mail", br#"{"results":[]}"#).empty);
        assert!(!super::read("mail", br#"{"results":null}"#).empty);
    }
}
