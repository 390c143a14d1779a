//! Answers as the vendor sends them, and as it could.

use super::*;
use crate::model::Measure;

fn object(json: &[u8]) -> Object<'_> {
    serde_json::from_slice(json).unwrap()
}

#[test]
fn days_begin_where_the_vendor_says() {
    let body = br#"{"RequestId":"9998B3CC","AppPushStats":{"AppPushStat":[
            {"Time":"2016-07-25T00:00:00Z","DeletedCount":10,"OpenedCount":30,"SmsSentCount":0,"ReceivedCount":60,"SentCount":100,"AcceptCount":120},
            {"time":"2016-07-25T16:00:00Z","Time":"2016-07-25T16:00:00Z","SentCount":"7"}]}}"#;
    let days = days(&object(body), &mut |field| panic!("{field} is unknown")).unwrap();
    let spans: Vec<_> = days
        .iter()
        .map(|day| format!("{} {}", day.from, day.to))
        .collect();
    assert_eq!(
        spans,
        [
            "2016-07-25T00:00:00Z 2016-07-26T00:00:00Z",
            "2016-07-25T16:00:00Z 2016-07-26T16:00:00Z"
        ]
    );
    assert_eq!(days[0].totals.len(), 2);
    assert_eq!(days[1].totals[0].counts, [(Measure::Sent, 7)]);
    assert!(
        super::days(
            &object(br#"{"AppPushStats":{"AppPushStat":[{"a":1}]}}"#),
            &mut |_| {}
        )
        .is_err()
    );
    assert!(super::days(&object(b"{}"), &mut |_| {}).is_err());
    let none = super::days(&object(br#"{"RequestId":"x"}"#), &mut |_| {});
    assert!(none.unwrap().is_empty());
}

fn read(json: &str) -> Result<Option<Snapshot>, String> {
    let answer = serde_json::from_str(json).map_err(|error| problem(&error))?;
    snapshot(&answer, &Arc::from("510427"), &mut |_| {})
}

/// The push counts of an answer.
fn push(json: &str) -> Counts {
    read(json).unwrap().unwrap().totals[0].counts.clone()
}

#[test]
fn the_vendors_example_is_read_whole() {
    let json = include_str!("../fixtures/messages-example.json");
    let snapshot = read(json).unwrap().unwrap();
    assert_eq!(
        snapshot.totals[0].counts,
        [
            (Measure::Accepted, 120),
            (Measure::Sent, 100),
            (Measure::Delivered, 60),
            (Measure::Opened, 30),
            (Measure::Dismissed, 10)
        ]
    );
    assert_eq!(
        (snapshot.totals[1].channel, snapshot.totals[1].counts.len()),
        ("sms", 5)
    );
}

#[test]
fn text_messages_are_there_only_if_one_number_is() {
    let json = r#"{"PushStats": {"PushStat": [{"MessageId": 510427, "SentCount": "7", "SmsSentCount": null}]}}"#;
    let snapshot = read(json).unwrap().unwrap();
    assert_eq!(snapshot.totals.len(), 1);
    assert_eq!(snapshot.totals[0].counts, [(Measure::Sent, 7)]);
}

#[test]
fn nothing_in_any_form_is_not_yet() {
    for json in [
        r#"{"PushStats": {"PushStat": []}}"#,
        r#"{"PushStats": {"PushStat": {}}}"#,
        r#"{"PushStats": {"PushStat": null}}"#,
        r#"{"PushStats": {}}"#,
        r#"{"PushStats": []}"#,
        r#"{"PushStats": null}"#,
        r#"{"RequestId": "x"}"#,
        r#"{"requestId": "x", "Code": "OK"}"#,
        r#"{"PushStats": {"PushStat": [{"MessageId": "510427", "SentCount": null}]}}"#,
    ] {
        assert_eq!(read(json), Ok(None), "{json}");
    }
}

#[test]
fn one_row_is_read_wherever_it_stands() {
    for json in [
        r#"{"PushStats": {"PushStat": [{"MessageId": "510427", "SentCount": 5}]}}"#,
        r#"{"PushStats": {"PushStat": [{"MessageId": 510427.0, "SentCount": 5.0}]}}"#,
        r#"{"PushStats": {"PushStat": [{"MessageId": "510427.0", "SentCount": "5"}]}}"#,
        r#"{"PushStats": {"PushStat": {"SentCount": 5}}}"#,
        r#"{"PushStats": {"MessageId": "510427", "SentCount": 5}}"#,
        r#"{"PushStats": [{"MessageId": "510427", "SentCount": 5}]}"#,
        r#"{"pushStats": {"pushStat": [{"messageId": "510427", "sentCount": 5}]}}"#,
        r#"{"MsgPushStats": {"PushStat": [{"SentCount": 5}]}}"#,
        r#"{"PushStats": {"PushStat": [{"SentCount": 5}]}, "MsgPushStats": null, "RequestId": 7, "requestId": 8}"#,
        r#"{"PushStats": {"PushStat": [{"MessageId": "1", "SentCount": 9}, {"MessageId": "510427", "SentCount": 5}, {"SentCount": 9}]}}"#,
        r#"{"PushStats": {"PushStat": [{"MessageId": "510427", "SentCount": 5}]},
                "MsgPushStats": {"PushStat": [{"MessageId": 510427, "SentCount": 5.0}]}}"#,
        r#"{"PushStats": {"PushStat": [{"SentCount": 5, "sentCount": 5, "messageId": "510427", "MessageId": "510427"}]}}"#,
    ] {
        assert_eq!(push(json), [(Measure::Sent, 5)], "{json}");
    }
    let two = r#"{"PushStats": {"PushStat": [{"MessageId": "510427", "SentCount": 5}, {"MessageId": "510427", "OpenedCount": 1}]}}"#;
    assert_eq!(push(two), [(Measure::Sent, 5), (Measure::Opened, 1)]);
}

#[test]
fn what_is_no_answer_about_the_message_is_a_failure() {
    for json in [
        "{}",
        "[]",
        r#"{"data": {"PushStats": {}}}"#,
        r#"{"PushStats": 7}"#,
        r#"{"PushStats": "none"}"#,
        r#"{"PushStats": {"PushStat": 7}}"#,
        r#"{"PushStats": {"PushStat": [7]}}"#,
        r#"{"PushStats": {"PushStat": [[5]]}}"#,
        r#"{"PushStats": {"Rows": [{"SentCount": 5}]}}"#,
        r#"{"PushStats": {"PushStat": [{"MessageId": "1", "SentCount": 5}]}}"#,
        r#"{"PushStats": {"PushStat": [{"MessageId": {}, "SentCount": 5}]}}"#,
        r#"{"PushStats": {"PushStat": [{"SentCount": 5}, {"SentCount": 5}]}}"#,
        r#"{"PushStats": {"PushStat": [{"MessageId": "1", "SentCount": 9}, {"SentCount": 5}]}}"#,
        r#"{"PushStats": {"PushStat": [{"MessageId": "510427", "SentCount": 5}, {"MessageId": "510427", "SentCount": 6}]}}"#,
        r#"{"PushStats": {"PushStat": [{"SentCount": -5}]}}"#,
        r#"{"PushStats": {"PushStat": [{"SentCount": [5]}]}}"#,
        r#"{"PushStats": {"PushStat": [{"Sent": 5}]}}"#,
    ] {
        assert!(read(json).is_err(), "{json}");
    }
}

#[test]
fn new_fields_are_noted_without_what_is_in_them() {
    let mut fields = Vec::new();
    let json = br#"{"RequestId": "x", "New": {"secret": 1}, "PushStats": {"PushStat": [{"SentCount": 5, "NewCount": 1, "510427": 2}]}}"#;
    let mut note = |field: &str| fields.push(field.to_owned());
    snapshot(&object(json), &Arc::from("510427"), &mut note).unwrap();
    assert_eq!(
        fields,
        ["New", "PushStats.PushStat.*", "PushStats.PushStat.NewCount"]
    );
}

fn list(json: &str) -> (Result<Records, String>, Vec<String>) {
    let mut fields = Vec::new();
    let answer = serde_json::from_str(json).map_err(|error| problem(&error));
    let records =
        answer.and_then(|answer| records(&answer, &mut |field| fields.push(field.to_owned())));
    (records, fields)
}

#[test]
fn every_row_of_the_list_has_a_status() {
    let (records, fields) = list(
        r#"{"NextToken": "x", "PageSize": 20, "Total": "193", "Page": 2, "PushInfos": {"PushInfo": [
            {"Status": "SENT", "MessageId": "510431", "PushTime": "2021-09-15T02:05:24Z", "Body": "secret"},
            {"Status": "waiting", "MessageId": "510432"}, {"Status": "CANCELED", "MessageId": 510433.0},
            {"Status": "PARTLY_SENT", "MessageId": 510434}, {"Status": "SENT"}, {"status": "SENT", "messageId": "7", "PushTime": "soon"}]}}"#,
    );
    let records = records.unwrap();
    let found: Vec<_> = records
        .rows
        .iter()
        .map(|row| (&*row.id, row.status))
        .collect();
    let expected = [
        ("510431", PushStatus::Sent),
        ("510432", PushStatus::Waiting),
        ("510433", PushStatus::Canceled),
        ("510434", PushStatus::Sent),
        ("", PushStatus::Unreadable),
        ("7", PushStatus::Sent),
    ];
    assert_eq!(found, expected);
    assert_eq!(records.total, Some(193));
    assert_eq!(
        records.rows[0].push_time,
        "2021-09-15T02:05:24Z".parse().ok()
    );
    assert_eq!(
        fields,
        ["PushInfos.PushInfo.Status", "PushInfos.PushInfo.PushTime"]
    );
}

#[test]
fn a_list_is_read_in_every_form() {
    for (json, rows, total) in [
        (r#"{"Total": 0}"#, 0, Some(0)),
        (r#"{"Total": 0, "PushInfos": {}}"#, 0, Some(0)),
        (r#"{"PushInfos": []}"#, 0, None),
        (
            r#"{"PushInfos": {"PushInfo": {"MessageId": "7"}}}"#,
            1,
            None,
        ),
        (
            r#"{"PushInfos": [{"MessageId": "7"}], "Total": null}"#,
            1,
            None,
        ),
        (
            r#"{"pushInfos": {"pushInfo": [{"messageId": "7"}]}, "total": 1}"#,
            1,
            Some(1),
        ),
        (
            r#"{"PushInfos": {"PushInfo": [{"MessageId": "7"}]}, "Total": -1}"#,
            1,
            None,
        ),
    ] {
        let (records, _) = list(json);
        let records = records.unwrap();
        assert_eq!((records.rows.len(), records.total), (rows, total), "{json}");
    }
    for json in [
        "{}",
        r#"{"RequestId": "x"}"#,
        "[]",
        r#"{"PushInfos": 7}"#,
        r#"{"PushInfos": {"PushInfo": [7]}}"#,
    ] {
        assert!(list(json).0.is_err(), "{json}");
    }
}
