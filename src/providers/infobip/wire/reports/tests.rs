//! Single reports.

use super::*;
use crate::{
    model::{BounceKind, ErrorReason},
    providers::Outcome,
};

const EXAMPLE: &str = r#"{"messageId":"bbcc6960-1fcb-497c-b7ea-83ccba41492e","to":"recipient@infobip.com",
    "sentAt":"2016-08-31T13:25:18.477+0000","doneAt":"2016-08-31T13:25:50.893+0000","messageCount":1,
    "price":{"pricePerMessage":0,"currency":"UNKNOWN"},
    "status":{"groupId":3,"groupName":"DELIVERED","id":5,"name":"DELIVERED_TO_HANDSET","description":"x"},
    "error":{"groupId":0,"groupName":"OK","id":0,"name":"NO_ERROR","description":"No Error","permanent":false},
    "channel":"EMAIL"}"#;

fn one(json: &str) -> Report {
    read("mail", json.as_bytes(), &mut |_| {}).unwrap().unwrap()
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
    let cost = |json: &str| {
        one(&json.replacen('{', r#"{"messageId":"m","#, 1))
            .cost
            .map(|(cost, _)| cost.to_string())
    };
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
fn words_are_read_in_every_spelling_and_by_number() {
    let ok = r#"{"groupId":0,"id":0}"#;
    for (status, expected) in [
        (
            r#"{"groupName":" delivered ","name":"Delivered_To_Handset"}"#,
            Outcome::Delivered,
        ),
        (r#"{"id":5}"#, Outcome::Delivered),
        (r#"{"id":5.0}"#, Outcome::Delivered),
        (r#"{"name":"DELIVERED_TO_HANDSET"}"#, Outcome::Delivered),
        (r#"{"id":2}"#, Outcome::Pending),
        (r#"{"groupName":"DELIVERED","id":"2.0"}"#, Outcome::Pending),
        (r#"{"groupId":"3.0"}"#, Outcome::Delivered),
        (r#"{"id":26}"#, Outcome::Pending),
        (r#"{"id":51}"#, Outcome::Failed(ErrorReason::Rejected)),
        (r#"{"groupId":3}"#, Outcome::Delivered),
    ] {
        assert_eq!(classified(status, ok), expected, "{status}");
    }
    let permanent = |value: &str| {
        let error = format!(r#"{{"groupId":"2","permanent":{value}}}"#);
        classified(r#"{"groupId":2}"#, &error)
    };
    for value in ["true", "\"true\"", "\"TRUE\""] {
        assert_eq!(
            permanent(value),
            Outcome::Bounced(BounceKind::Hard),
            "{value}"
        );
    }
    assert_eq!(permanent("[true]"), Outcome::Bounced(BounceKind::Soft));
}

#[test]
fn a_report_is_one_in_every_spelling_and_known_to_a_ledger_of_version_0_1() {
    let text = r#"{"messageId":17,"to":"a@x.com","status":{"groupId":3,"id":5,"name":"DELIVERED_TO_HANDSET"}}"#;
    let first = one(text);
    assert_eq!(first.former, None);
    for (spelled, id, to, status) in [
        (
            text.replace("a@x", " A@X"),
            "17",
            " A@X.com",
            "DELIVERED_TO_HANDSET",
        ),
        (
            text.replace("a@x.com", r#"\"User\" <A@x.com>"#),
            "17",
            "\"User\" <A@x.com>",
            "DELIVERED_TO_HANDSET",
        ),
        (
            text.replace("a@x.com", "<a@x.com>"),
            "17",
            "<a@x.com>",
            "DELIVERED_TO_HANDSET",
        ),
        (
            text.replace("17", "17.0"),
            "17.0",
            "a@x.com",
            "DELIVERED_TO_HANDSET",
        ),
        (
            text.replace("17", "\" 17 \""),
            " 17 ",
            "a@x.com",
            "DELIVERED_TO_HANDSET",
        ),
        (
            text.replace(r#","name":"DELIVERED_TO_HANDSET""#, ""),
            "17",
            "a@x.com",
            "5",
        ),
        (
            text.replace("DELIVERED_TO", "Delivered_to"),
            "17",
            "a@x.com",
            "Delivered_to_HANDSET",
        ),
    ] {
        let own = one(&spelled);
        assert_eq!(
            (own.report, own.message),
            (first.report, first.message),
            "{spelled}"
        );
        assert_eq!(
            (&own.status, &own.status_group),
            (&first.status, &first.status_group)
        );
        let former = (digest(&["mail", id, to, status]), digest(&["mail", id, to]));
        assert_eq!(own.former, Some(former), "{spelled}");
    }
    // Without a message id the times tell reports apart, as instants.
    let nameless = r#"{"to":"a@x.com","status":{"id":5,"name":"DELIVERED_TO_HANDSET"},"sentAt":"2024-07-16T17:26:54.966-0300"}"#;
    let first = one(nameless);
    let sent = "2024-07-16T17:26:54.966-0300";
    let former = digest(&["mail", "", "a@x.com", "DELIVERED_TO_HANDSET", sent, "", ""]);
    assert_eq!(first.former, Some((former, former)));
    let again = one(&nameless.replace(sent, "2024-07-16T20:26:54.966Z"));
    assert_eq!((again.report, again.message), (first.report, first.message));
    let other = one(&nameless.replace("54.966", "54.967"));
    assert_ne!(other.message, first.message);
}

#[test]
fn what_says_nothing_about_a_message_is_no_report() {
    let read = |json: &str| read("mail", json.as_bytes(), &mut |_| {});
    for json in [
        "{}",
        "[]",
        "7",
        r#"{"status":{"id":5}}"#,
        r#"{"messageId":"m","status":"DELIVERED"}"#,
        r#"{"messageId":"m","status":[3,"DELIVERED",5,"DELIVERED_TO_HANDSET"]}"#,
    ] {
        assert!(read(json).is_err(), "{json}");
    }
    // Without a status it was reported on, and nothing is known of its fate.
    for json in [
        r#"{"messageId":"m"}"#,
        r#"{"to":"x","status":null,"error":{"groupId":0}}"#,
        r#"{"messageId":"m","error":[2,"USER_ERRORS"]}"#,
    ] {
        assert_eq!(
            read(json).unwrap().unwrap().outcome,
            Outcome::Pending,
            "{json}"
        );
    }
}

#[test]
fn fields_of_every_version_are_known_and_others_are_told() {
    let fields = |json: &str| {
        let mut fields = Vec::new();
        read("mail", json.as_bytes(), &mut |field| {
            fields.push(field.to_owned())
        })
        .unwrap();
        fields
    };
    assert_eq!(fields(EXAMPLE), [""; 0]);
    let today = r#"{"messageId":"m","to":"x","sender":"s","bulkId":"b","callbackData":"c","smsCount":1,
        "attemptCount":1,"timeToFirstAttempt":843,"browserLink":"","sendingIp":"1","campaignReferenceId":"s",
        "platform":{"entityId":"e","applicationId":"a"},"entityId":"e","applicationId":"a",
        "price":{"pricePerMessage":0.1,"currency":"EUR"},"status":{"id":5,"action":"x"}}"#;
    assert_eq!(fields(today), [""; 0]);
    let new = r#"{"messageId":"m","newField":{"a":1},"status":{"id":5,"more":1},"error":{"id":0,"x":[1]}}"#;
    assert_eq!(fields(new), ["newField", "status.more", "error.x"]);
}
