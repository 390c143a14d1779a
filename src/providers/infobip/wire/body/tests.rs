//! Whole bodies.

use super::*;
use crate::{
    model::{EventKind, Measure},
    providers::ReportsRead,
};

const EXAMPLE: &str = r#"{"messageId":"m-1","to":"recipient@infobip.com",
    "sentAt":"2016-08-31T13:25:18.477+0000","doneAt":"2016-08-31T13:25:50.893+0000","messageCount":1,
    "status":{"groupId":3,"groupName":"DELIVERED","id":5,"name":"DELIVERED_TO_HANDSET"},
    "error":{"groupId":0,"groupName":"OK","id":0,"name":"NO_ERROR","permanent":false}}"#;
const EVENT: &str = r#"{"notificationType":"COMPLAINED","eventId":"e1","messageId":"m-1"}"#;
const OPENED: &str = r#"{"notificationType":"OPENED","eventId":"e2","messageId":"m-1"}"#;

fn pushed(body: &str) -> Pushed {
    read("mail", body.as_bytes(), &mut |_| {})
}

fn drained(body: &str) -> ReportsRead {
    pushed(body).reports
}

fn rest(read: &ReportsRead) -> String {
    let damage = read.damage.clone().unwrap();
    String::from_utf8(damage.rest.to_vec()).unwrap()
}

/// Reports, events, things not counted, and what is kept.
fn summary(body: &str) -> (usize, usize, usize, Option<String>) {
    let own = pushed(body);
    let kept = own.reports.damage.as_ref().map(|_| rest(&own.reports));
    (
        own.reports.reports.len(),
        own.events.len(),
        own.unsupported,
        kept,
    )
}

#[test]
fn a_bad_report_costs_no_other_one() {
    let read = drained(&format!(r#"{{"results":[{EXAMPLE},7,{EXAMPLE}]}}"#));
    assert_eq!((read.reports.len(), read.failure.is_none()), (2, true));
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
        let first = drained(&body);
        assert_eq!(first.reports.len(), body.matches("NO_ERROR").count());
        assert_eq!(first.failure.is_some(), first.reports.is_empty(), "{body}");
        let left = rest(&first);
        assert!(!left.contains("NO_ERROR"), "{left}");
        let again = drained(&left);
        assert_eq!((again.reports.len(), rest(&again)), (0, left));
    }
}

#[test]
fn an_empty_list_is_empty_and_so_is_none() {
    for body in [
        r#"{"results":[]}"#,
        "\u{feff} \r\n{ \"results\" : [ ] }\n",
        r#"{"results":null}"#,
        r#"{"results":[],"emailResults":[]}"#,
    ] {
        let read = drained(body);
        assert!(
            read.empty && read.damage.is_none() && read.failure.is_none(),
            "{body}"
        );
    }
    let marked = format!("\u{feff}\n {{\"results\":[{EXAMPLE}]}} \n");
    let read = drained(&marked);
    assert_eq!(
        (read.reports.len(), read.damage, read.failure),
        (1, None, None)
    );
}

#[test]
fn errors_pages_and_nothing_are_failures_and_no_bodies_of_reports() {
    let old = |code: &str, text: &str| {
        format!(
            r#"{{"requestError":{{"serviceException":{{"messageId":"{code}","text":"{text}"}}}}}}"#
        )
    };
    let xml = "<?xml version=\"1.0\"?><requestError><serviceException><messageId>UNAUTHORIZED</messageId><text>Invalid login details</text></serviceException></requestError>";
    for (body, kind, sample) in [
        (
            old("UNAUTHORIZED", "Invalid login details"),
            FailureKind::Unauthorized,
            Some("error"),
        ),
        (
            old("UNAUTHORIZED", "Unauthorized access"),
            FailureKind::Forbidden,
            Some("error"),
        ),
        (
            old("TOO_MANY_REQUESTS", "Too many requests"),
            FailureKind::RateLimited,
            Some("error"),
        ),
        (
            old("GENERAL_ERROR", "x"),
            FailureKind::Vendor,
            Some("error"),
        ),
        (
            r#"{"errorCode":"E429","description":"x","violations":[]}"#.into(),
            FailureKind::RateLimited,
            Some("error"),
        ),
        (
            r#"{"code":401,"message":"no"}"#.into(),
            FailureKind::Unauthorized,
            Some("error"),
        ),
        (
            r#"{"message":"Forbidden"}"#.into(),
            FailureKind::Forbidden,
            None,
        ),
        (
            r#"{"results":[],"requestError":{}}"#.into(),
            FailureKind::Vendor,
            Some("error"),
        ),
        (
            r#"{"results":null,"errorCode":"E500"}"#.into(),
            FailureKind::Vendor,
            Some("error"),
        ),
        (xml.into(), FailureKind::Unauthorized, Some("error")),
        (
            "<!DOCTYPE html><html><title>Login</title></html>".into(),
            FailureKind::Decode,
            Some("page"),
        ),
        (
            "<ReportsResponse><results/></ReportsResponse>".into(),
            FailureKind::Decode,
            Some("xml"),
        ),
        (
            "<status><id>7</id></status>".into(),
            FailureKind::Decode,
            Some("xml"),
        ),
        ("{}".into(), FailureKind::Decode, Some("nothing")),
        ("[]".into(), FailureKind::Decode, Some("nothing")),
        ("null".into(), FailureKind::Decode, None),
        ("Bad gateway".into(), FailureKind::Decode, None),
    ] {
        let read = drained(&body);
        assert!(read.reports.is_empty() && !read.empty, "{body}");
        assert_eq!(
            read.failure.as_ref().map(|own| own.kind),
            Some(kind),
            "{body}"
        );
        assert_eq!(read.damage.unwrap().sample_of, sample, "{body}");
    }
    for body in ["", " \n", "\u{feff}"] {
        let read = drained(body);
        assert_eq!((read.damage, read.empty), (None, false));
        assert_eq!(read.failure.unwrap().kind, FailureKind::Decode);
    }
}

#[test]
fn what_may_hold_reports_is_kept_every_time_and_the_query_has_failed() {
    let inside =
        format!(r#"{{"requestError":{{"text":"x"}},"data":[{EXAMPLE}],"more":{{"a":[1]}}}}"#);
    for body in [
        "<ReportsResponse><results><result><messageId>m</messageId></result></results></ReportsResponse>",
        "<?xml version=\"1.0\"?><r:reports xmlns:r=\"x\"><r:messageId>m</r:messageId></r:reports>",
        "<html><body><result>1</result></body></html>",
        "<ReportsResponse><r:result>1</r:result></ReportsResponse>",
        "<dlr><to>a@x.com</to></dlr>",
        "<ReportsResponse><resul",
        r#"{"reports":[{"id":"m","state":"DELIVERED"}]}"#,
        r#"{"results":{"id":"m"}}"#,
        r#"{"results":"none"}"#,
        r#"["{\"results\":[]}"]"#,
        r#""{\"results\":[]}""#,
        r#"{"results":[{}]}"#,
        r#"{"results":[{"a":1}]}"#,
        r#"{"res"#,
        &inside,
        // Texts may be reports in another encoding, and an error's fields may tell of a message.
        "hello",
        "results=%7B%22messageId%22%3A%22m%22%7D",
        "eyJyZXN1bHRzIjpbXX0=",
        "messageId,status\nm,DELIVERED",
        r#"{"message":"bounced","messageId":"q1","reason":"x"}"#,
        r#"{"code":5,"message":"bounced","to":"a@x.com"}"#,
        r#"{"code":5,"message":"bounced","error":{"id":"q1"}}"#,
        r#"{"status":"bounced","text":"x"}"#,
        r#"{"errorCode":"E1","description":"x","reports":[{"id":"q1"}]}"#,
        r#"{"results":[],"errorCode":"E1","reports":[{"id":"q1"}]}"#,
    ] {
        let read = drained(body);
        assert!(read.reports.is_empty() && !read.empty, "{body}");
        assert!(read.failure.is_some(), "{body}");
        assert_eq!(read.damage.as_ref().unwrap().sample_of, None, "{body}");
        assert_eq!(rest(&read), body);
    }
}

#[test]
fn what_is_no_text_may_be_anything() {
    let utf_16: Vec<u8> = EXAMPLE.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for body in [&b"\x1f\x8b\x08 compressed"[..], &utf_16, b"\xff\xfe"] {
        let read = read("mail", body, &mut |_| {}).reports;
        assert_eq!(read.damage.as_ref().unwrap().sample_of, None);
        assert_eq!(&*read.damage.unwrap().rest, body);
        assert!(read.failure.is_some());
    }
}

#[test]
fn reports_are_found_alone_in_lists_and_in_one_more_object() {
    let first = drained(&format!(r#"{{"results":[{EXAMPLE}]}}"#))
        .reports
        .remove(0);
    for body in [
        EXAMPLE.to_owned(),
        format!("[{EXAMPLE}]"),
        format!(r#"{{"results":{EXAMPLE}}}"#),
        format!(r#"{{"report":{EXAMPLE}}}"#),
        format!(r#"{{"id":7,"data":{{"results":[{EXAMPLE}]}}}}"#),
        format!(r#"[{{"results":[{EXAMPLE}]}}]"#),
        format!(r#"{{"results":{{"result":[{EXAMPLE}]}}}}"#),
    ] {
        let read = drained(&body);
        assert_eq!(read.reports, std::slice::from_ref(&first), "{body}");
        assert_eq!((read.damage, read.failure), (None, None), "{body}");
    }
    // Version 4 has its reports twice in a body.
    let twice = format!(r#"{{"results":[{EXAMPLE}],"emailResults":[{EXAMPLE}]}}"#);
    assert_eq!(drained(&twice).reports.len(), 1);
}

#[test]
fn nothing_pushed_is_passed_over() {
    for (body, expected) in [
        (EVENT.to_owned(), (0, 1, 0, None)),
        (OPENED.to_owned(), (0, 0, 1, None)),
        (format!("[{EVENT},{OPENED},{EXAMPLE}]"), (1, 1, 1, None)),
        (format!(r#"{{"events":[{EVENT}]}}"#), (0, 1, 0, None)),
        (
            format!(r#"{{"results":[{OPENED},{EVENT}]}}"#),
            (0, 1, 1, None),
        ),
        (
            r#"{"notificationType":"LATE_BOUNCE","results":[]}"#.into(),
            (0, 1, 0, None),
        ),
        (
            format!(r#"[{EXAMPLE},{{"x":1}},7,{EVENT}]"#),
            (1, 1, 0, Some(r#"[{"x":1},7]"#.into())),
        ),
        (
            format!(r#"{{"results":[{EXAMPLE},{{"x":1}}]}}"#),
            (1, 0, 0, Some(r#"{"results":[{"x":1}]}"#.into())),
        ),
        ("{}".into(), (0, 0, 0, Some("{}".into()))),
        ("7".into(), (0, 0, 0, Some("7".into()))),
        ("[1,2]".into(), (0, 0, 0, Some("[1,2]".into()))),
        (
            r#"{"type":"OPENED"}"#.into(),
            (0, 0, 0, Some(r#"{"type":"OPENED"}"#.into())),
        ),
    ] {
        assert_eq!(summary(&body), expected, "{body}");
    }
    let own = pushed(EVENT).events.remove(0);
    assert_eq!(own, pushed(&format!("[{EVENT}]")).events.remove(0));
    let tracked = matches!(
        own.kind,
        EventKind::Tracked {
            measure: Measure::Complaints,
            ..
        }
    );
    assert!(tracked);
}

#[test]
fn new_fields_are_told_once_a_body_and_without_values() {
    let item = EXAMPLE.replacen('{', r#"{"brandNew":"secret","#, 1);
    let body = format!(r#"{{"nextPage":"secret","results":[{item},{item}]}}"#);
    let mut fields = Vec::new();
    read("mail", body.as_bytes(), &mut |field| {
        fields.push(field.to_owned())
    });
    assert_eq!(fields, ["brandNew", "nextPage"]);
}
