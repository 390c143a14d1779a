//! Answers as the vendor sends them, and as it could.

use super::*;

fn read(json: &str) -> (Result<Option<Snapshot>, String>, Vec<String>) {
    let mut fields = Vec::new();
    let mut note = |field: &str| fields.push(field.to_owned());
    let message = WholeMessage::read(json);
    let snapshot = message
        .and_then(|message| snapshot(&message, Arc::from("1"), Timestamp::UNIX_EPOCH, &mut note));
    (snapshot, fields)
}

#[test]
fn every_declared_field_is_read_as_its_measure() {
    for field in super::super::vendor::VENDOR.channels[0].fields {
        let json = format!(r#"{{"{}": 7}}"#, field.name);
        let snapshot = read(&json).0.unwrap().unwrap();
        assert_eq!(snapshot.totals[0].counts, [(field.measure, 7)], "{json}");
    }
}

#[test]
fn every_level_is_read_in_both_spellings_and_never_added_up() {
    let answer = include_str!("../fixtures/messages-every-level.json");
    let answer: Object<'_> = serde_json::from_str(answer).unwrap();
    let (snapshot, fields) = read(answer["1613113584"].get());
    let snapshot = snapshot.unwrap().unwrap();
    assert_eq!(snapshot.campaign.as_deref(), Some("spring-sale"));
    assert_eq!(
        snapshot.totals[0].counts,
        [
            (Measure::Targeted, 11),
            (Measure::Sent, 11),
            (Measure::Delivered, 10),
            (Measure::Displayed, 8),
            (Measure::Opened, 2)
        ]
    );
    let types: Vec<_> = snapshot
        .types
        .iter()
        .map(|own| (&*own.message_type, own.counts[0]))
        .collect();
    assert_eq!(
        types,
        [
            ("notification", (Measure::Targeted, 1600)),
            ("voip", (Measure::Targeted, 41))
        ]
    );
    let rows: Vec<_> = snapshot
        .breakdown
        .iter()
        .map(|row| (&*row.platform, &*row.vendor_channel, row.counts.len()))
        .collect();
    assert_eq!(
        rows,
        [
            ("android", "engagelab_android", 5),
            ("fuchsia", "new", 1),
            ("harmonyos", "engagelab_hmos", 2)
        ]
    );
    assert_eq!(fields, ["sub.voip.target_converted"]);
}

#[test]
fn nothing_yet_is_neither_zeros_nor_a_failure() {
    for json in [
        "{}",
        "null",
        r#"{"sub": {"notification": {}, "message": {}}}"#,
    ] {
        assert_eq!(read(json).0, Ok(None), "{json}");
    }
}

#[test]
fn a_bad_count_or_shape_says_where() {
    assert!(read(r#"{"sent": -1}"#).0.unwrap_err().contains("sent"));
    let deep = r#"{"sub": {"notification": {"sub_ios": {"apns": {"sent": 1.5}}}}}"#;
    assert!(
        read(deep)
            .0
            .unwrap_err()
            .contains("sub.notification.sub_ios.apns.sent")
    );
    assert!(read("[]").0.is_err());
    for odd in ["[]", r#"{"a": 1}"#, "true", r#""x""#] {
        let json = format!(r#"{{"targets": 1, "sent": {odd}}}"#);
        assert!(read(&json).0.unwrap_err().contains("sent"), "{json}");
    }
}

#[test]
fn what_has_another_shape_loses_itself_alone() {
    for (sub, fields) in [
        ("[]", vec!["sub"]),
        ("7", vec!["sub"]),
        (r#""x""#, vec!["sub"]),
        (r#"{"total": 5}"#, vec!["sub.total"]),
        (r#"{"notification": [1]}"#, vec!["sub.notification"]),
        (
            r#"{"notification": {"sub_android": []}}"#,
            vec!["sub.notification.sub_android"],
        ),
        (
            r#"{"notification": {"sub_hmos": {"targets": 5, "sent": 4}}}"#,
            vec![
                "sub.notification.sub_hmos.sent",
                "sub.notification.sub_hmos.targets",
            ],
        ),
        (
            r#"{"notification": {"sub_android": {"fcm": 5, "vivo": null, "oppo": [1]}}}"#,
            vec![
                "sub.notification.sub_android.fcm",
                "sub.notification.sub_android.oppo",
            ],
        ),
        ("null", vec![]),
    ] {
        let json = format!(r#"{{"targets": 11, "sent": 10, "sub": {sub}}}"#);
        let (snapshot, found) = read(&json);
        let snapshot = snapshot.unwrap().unwrap();
        let counts = &snapshot.totals[0].counts;
        assert_eq!(
            counts,
            &[(Measure::Targeted, 11), (Measure::Sent, 10)],
            "{json}"
        );
        assert!(snapshot.types.is_empty() && snapshot.breakdown.is_empty());
        assert_eq!(found, fields, "{json}");
    }
    // What stands beside it is taken.
    let json = r#"{"sub": {"total": 5, "voip": {"sent": 3, "sub_ios": {"apns": {"sent": 2}, "odd": 1},
            "sub_android": {"sent": 3}}}}"#;
    let (snapshot, found) = read(json);
    let snapshot = snapshot.unwrap().unwrap();
    assert_eq!((snapshot.types.len(), snapshot.breakdown.len()), (1, 1));
    assert_eq!(
        found,
        [
            "sub.total",
            "sub.voip.sub_android.sent",
            "sub.voip.sub_ios.odd"
        ]
    );
}

#[test]
fn plan_and_content_may_be_anything() {
    for (plan, content, campaign, fields) in [
        ("7", "[]", Some("7"), vec![]),
        ("\"\"", "7", None, vec![]),
        ("null", "null", None, vec![]),
        ("{\"a\": 1}", "\"x\"", None, vec!["plan_id"]),
    ] {
        let json = format!(r#"{{"plan_id": {plan}, "pushContent": {content}, "sent": 3}}"#);
        let (snapshot, found) = read(&json);
        let snapshot = snapshot.unwrap().unwrap();
        assert_eq!(snapshot.campaign.as_deref(), campaign, "{json}");
        assert_eq!(snapshot.totals[0].counts, [(Measure::Sent, 3)]);
        assert_eq!(found, fields, "{json}");
    }
}

#[test]
fn one_number_in_two_spellings_is_one_number() {
    let json = r#"{"targets": null, "target": 5, "clicks": 3, "click": 2, "sub": {"notification": {"sub_ios":
            {"APNs": {"sent": 7, "delivered": 5}, "apns": {"sent": 7, "clicks": 1}}}}}"#;
    let (snapshot, fields) = read(json);
    let snapshot = snapshot.unwrap().unwrap();
    let counts = &snapshot.totals[0].counts;
    assert_eq!(counts, &[(Measure::Targeted, 5), (Measure::Opened, 3)]);
    let [row] = &snapshot.breakdown[..] else {
        panic!("one row");
    };
    let mut counts = row.counts.clone();
    counts.sort();
    let mut expected = vec![
        (Measure::Sent, 7),
        (Measure::Delivered, 5),
        (Measure::Opened, 1),
    ];
    expected.sort();
    assert_eq!(counts, expected);
    assert_eq!(fields, ["sub.notification.sub_ios.apns"]);
}

#[test]
fn a_message_of_which_nothing_is_known_is_no_message() {
    assert!(read(r#"{"data": {"sent": 5}}"#).0.is_err());
    let (snapshot, fields) = read(r#"{"plan_id": "x", "made 2026": {"sent": 5}, "7": 1}"#);
    assert_eq!((snapshot, fields.len()), (Ok(None), 2));
    // A key that is no name may be content.
    assert_eq!(fields, ["*", "*"]);
}

#[test]
fn an_answer_has_a_shape() {
    let shape = |json: &str| {
        let batch = Batch::parse(json.as_bytes()).unwrap();
        batch.has_shape(["1613113584"].into_iter())
    };
    for good in ["{}", r#"{"1613113584": {}, "7": {}}"#] {
        assert!(shape(good), "{good}");
    }
    for bad in [
        r#"{"data": {"1613113584": {}}}"#,
        r#"{"status": "ok"}"#,
        r#"{"7": {}}"#,
        r#"{"01613113584": {}}"#,
        r#"{"7": {}, "a": 1}"#,
    ] {
        assert!(!shape(bad), "{bad}");
    }
}

#[test]
fn a_message_type_is_one_in_every_spelling() {
    let json = r#"{"sent": 9, "sub": {"Notification": {"sent": 7, "clicks": 1, "sub_ios": {"apns": {"sent": 7}}},
        "notification": {"sent": 8, "sub_ios": {"apns": {"sent": 8}}}, "liveActivity": {"sent": 1},
        "in-app-message": {"sent": 2}, "New-Type": {"sent": 3}}}"#;
    let (snapshot, fields) = read(json);
    let snapshot = snapshot.unwrap().unwrap();
    let mut types: Vec<_> = snapshot
        .types
        .iter()
        .map(|own| (&*own.message_type, &own.counts[..]))
        .collect();
    types.sort();
    let sent = |count| (Measure::Sent, count);
    assert_eq!(
        types,
        [
            ("New-Type", &[sent(3)][..]),
            ("inapp_message", &[sent(2)][..]),
            ("live_activity", &[sent(1)][..]),
            ("notification", &[sent(8), (Measure::Opened, 1)][..]),
        ]
    );
    let rows: Vec<_> = snapshot
        .breakdown
        .iter()
        .map(|row| (&*row.message_type, row.counts[0]))
        .collect();
    assert_eq!(rows, [("notification", sent(8))]);
    assert_eq!(
        fields,
        ["sub.notification", "sub.notification.sub_ios.apns"]
    );
}

/// What each message of an answer is, and what is not known, read at once and part by part.
#[test]
fn an_answer_that_is_read_at_once_says_what_its_parts_say() {
    let good = r#""7": {"sent": 5, "sub": {"voip": {"sent": 3, "x": 1}}}"#;
    for (rest, is_at_once) in [
        (r#""8": {"sent": 1, "sent": 2}, "8": {"sent": 3}"#, true),
        (r#""8": null, "9": {"sub": []}"#, true),
        (r#""status": "ok", "made 2026": {"sent": [1, {}]}"#, true),
        (
            r#""8": {"pushContent": "\u0041"}, "9": {"plan_id": {}, "sent": -1}"#,
            true,
        ),
        (r#""8": [], "9": {"sent": 3}"#, false),
        (r#""8": "x", "9": 7"#, false),
        (r#""8": {"sent": 1e999}, "9": {"sent": 3}"#, false),
        (r#""8": {"\ud800": 1}, "9": {"sent": 3}"#, false),
    ] {
        let json = format!("{{{good}, {rest}}}");
        assert_eq!(
            serde_json::from_str::<Batch<'_>>(&json).is_ok(),
            is_at_once,
            "{json}"
        );
        let parts: Object<'_> = serde_json::from_str(&json).unwrap();
        let mut batch = Batch::parse(json.as_bytes()).unwrap();
        for id in ["7", "8", "9"] {
            let mut fields = Vec::new();
            let mut note = |field: &str| fields.push(field.to_owned());
            let id: Arc<str> = Arc::from(id);
            let whole = batch.take(&id, Timestamp::UNIX_EPOCH, &mut note);
            let part = parts.get(&*id).map(|raw| {
                let (snapshot, fields) = read(raw.get());
                let own = |snapshot| Snapshot {
                    asked: id.clone(),
                    id: id.clone(),
                    ..snapshot
                };
                (snapshot.map(|snapshot| snapshot.map(own)), fields)
            });
            assert_eq!(whole.map(|whole| (whole, fields)), part, "{id} {json}");
            assert!(
                batch
                    .take(&id, Timestamp::UNIX_EPOCH, &mut |_| {})
                    .is_none()
            );
        }
        let others = parts.keys().filter(|name| !is_id(name));
        assert!(batch.others.keys().eq(others), "{json}");
    }
    for none in ["", "[]", "null", "7", "{\"7\": }", "{} x"] {
        assert!(Batch::parse(none.as_bytes()).is_err(), "{none}");
    }
    assert!(Batch::parse(b"{\"7\": {\"pushContent\": \"\xff\"}}").is_err());
}
