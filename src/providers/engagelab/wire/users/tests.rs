//! Answers about users, and the queries for them.

use super::*;

fn answer(body: &[u8]) -> Object<'_> {
    serde_json::from_slice(body).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn the_newest_complete_period_is_asked_for() {
    let now = at("2026-11-26T10:30:00Z");
    let queries = Unit::ALL.map(|unit| unit.query(now).unwrap());
    assert_eq!(
        queries,
        [
            "time_unit=HOUR&start=2026-11-26%2000&duration=10",
            "time_unit=DAY&start=2026-11-23&duration=3",
            "time_unit=MONTH&start=2026-10&duration=1",
        ]
    );
    assert_eq!(Unit::Hour.query(at("2026-11-26T00:30:00Z")), None);
    assert_eq!(
        Unit::Month.query(at("2026-01-31T00:30:00Z")).unwrap(),
        "time_unit=MONTH&start=2025-12&duration=1"
    );
}

#[test]
fn the_days_of_a_time_are_those_before_it_that_are_over_and_kept() {
    let now = at("2026-11-26T10:30:00Z");
    let query = |from: &str, to: &str| days_query(at(from), at(to), now);
    let days =
        |start: &str, days: u32| Some(format!("time_unit=DAY&start={start}&duration={days}"));
    let (from, to) = ("2026-11-20T00:00:00Z", "2026-11-23T00:00:00Z");
    assert_eq!(query(from, to), days("2026-11-19", 4));
    assert_eq!(
        query("2026-11-25T08:00:00Z", "2026-12-01T00:00:00Z"),
        days("2026-11-24", 2)
    );
    assert_eq!(
        query("2026-01-01T00:00:00Z", "2026-10-01T00:00:00Z"),
        days("2026-09-28", 3)
    );
    assert_eq!(query("2026-01-01T00:00:00Z", "2026-09-01T00:00:00Z"), None);
    let body = br#"{"items":[{"time":"2026-11-24","ios":{"new":4}},{"time":"2026-11-20"}]}"#;
    let days = super::days(&answer(body), &mut |_| {}).unwrap();
    let sizes: Vec<_> = days
        .iter()
        .map(|(day, figures)| (day.to_string(), figures.len()))
        .collect();
    let expected = [
        ("2026-11-20T00:00:00Z".to_owned(), 0),
        ("2026-11-24T00:00:00Z".to_owned(), 1),
    ];
    assert_eq!(sizes, expected);
    assert!(super::days(&answer(br#"{"items":[{"time":"2026-11"}]}"#), &mut |_| {}).is_err());
}

#[test]
fn items_are_sparse_and_the_current_one_is_left_out() {
    let body = br#"{"TimeUnit":"DAY","items":[
            {"time":"2026-11-26","android":{"new":99,"active":99,"online":99}},
            {"time":"2026-11-24","ios":{"new":"4","active":60,"online":null,"odd":1},"hmos":{"new":0}},
            {"time":"2026-11-23","android":{"new":1}}]}"#;
    let mut unknown = Vec::new();
    let now = at("2026-11-26T10:30:00Z");
    let figures = figures(&answer(body), Unit::Day, now, &mut |field| {
        unknown.push(field.to_owned())
    });
    let (ios, harmonyos): (Arc<str>, Arc<str>) = (Arc::from("ios"), Arc::from("harmonyos"));
    let time_unit = "day";
    let mut found = figures.unwrap();
    found.sort_by(|left, right| left.kind.cmp(&right.kind));
    let expected = [
        (
            AppMetricKind::UsersNew {
                platform: harmonyos,
                time_unit,
            },
            0.0,
        ),
        (
            AppMetricKind::UsersNew {
                platform: ios.clone(),
                time_unit,
            },
            4.0,
        ),
        (
            AppMetricKind::UsersActive {
                platform: ios,
                time_unit,
            },
            60.0,
        ),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(kind, value)| AppMetric { kind, value })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(unknown, ["items.ios.odd"]);
    for none in [&br#"{"TimeUnit":"HOUR"}"#[..], br#"{"items":[]}"#] {
        let none = super::figures(&answer(none), Unit::Hour, now, &mut |_| {}).unwrap();
        assert!(none.is_empty());
    }
    let bad = br#"{"items":[{"time":"2026-11-24","ios":{"new":-1}}]}"#;
    assert!(super::figures(&answer(bad), Unit::Day, now, &mut |_| {}).is_err());
}

/// The newest complete day's new Android users, and the fields that are not known.
fn newest(body: &str) -> (Result<Vec<f64>, String>, Vec<String>) {
    let mut unknown = Vec::new();
    let now = at("2026-11-26T10:30:00Z");
    let answer = serde_json::from_str(body).map_err(|error| problem(&error));
    let figures = answer.and_then(|answer| {
        let note = &mut |field: &str| unknown.push(field.to_owned());
        figures(&answer, Unit::Day, now, note)
    });
    let values = figures.map(|figures| figures.iter().map(|own| own.value).collect());
    (values, unknown)
}

#[test]
fn items_of_another_shape_are_taken_if_they_are_clear() {
    for (items, value, fields) in [
        (
            r#"[{"time":"2026-11-24","android":{"new":1},"total":5}]"#,
            Some(1.0),
            vec!["items.total"],
        ),
        (
            r#"[{"time":"2026-11-24","android":{"new":1},"ios":[],"hmos":null}]"#,
            Some(1.0),
            vec!["items.ios"],
        ),
        (
            r#"{"time":"2026-11-24","android":{"new":1}}"#,
            Some(1.0),
            vec![],
        ),
        (
            r#"{"2026-11-23":{"android":{"new":9}},"2026-11-24":{"android":{"new":1}}}"#,
            Some(1.0),
            vec![],
        ),
        (
            r#"[7,{"android":{"new":3}},{"time":"2026-11-24","android":{"new":1}}]"#,
            Some(1.0),
            vec!["items", "items.time"],
        ),
        (
            r#"[{"time":"2026-11-24","android":{"new":1},"Android":{"new":1}}]"#,
            Some(1.0),
            vec![],
        ),
        (r#"[{"android":{"new":3}}]"#, None, vec!["items.time"]),
        (r#"{"android":{"new":3}}"#, None, vec!["items.time"]),
        ("7", None, vec![]),
    ] {
        let (values, found) = newest(&format!(r#"{{"time_unit":"DAY","items":{items}}}"#));
        assert_eq!(values.ok(), value.map(|value| vec![value]), "{items}");
        assert_eq!(found, fields, "{items}");
    }
}

#[test]
fn periods_are_compared_as_times() {
    // Compared as texts, the third is the greatest, and the 4th comes after the 24th.
    for times in [
        ["2026-11-04", "2026-11-24", "2026-11-3"],
        ["2026-11-4 00:00:00", "2026-11-24T00:00:00", "2026-11-3"],
        ["20261104", "20261124", "1793664000"],
        [
            "2026/11/4",
            "2026-11-24 00:00:00+08:00",
            "2026-11-26 00:00:00",
        ],
    ] {
        let item = |(time, new)| format!(r#"{{"time":"{time}","android":{{"new":{new}}}}}"#);
        let items: Vec<String> = times.iter().zip(1..).map(item).collect();
        let (values, _) = newest(&format!(r#"{{"items":[{}]}}"#, items.join(",")));
        assert_eq!(values, Ok(vec![2.0]), "{times:?}");
    }
    let hour = |text| Unit::Hour.parse(text).map(|time| time.to_string());
    let nine = Some("2026-11-02T09:00:00".to_owned());
    assert_eq!(hour("2026-11-02 09"), nine);
    assert_eq!(hour("2026-11-2 9:00:00"), nine);
    assert_eq!(hour("2026110209"), nine);
    assert_eq!(hour("2026-11-02"), None);
    let month = |text| Unit::Month.parse(text).map(|time| time.to_string());
    for text in ["2026-11", "2026-11-01", "202611", "2026-11-17 03:00"] {
        assert_eq!(
            month(text).as_deref(),
            Some("2026-11-01T00:00:00"),
            "{text}"
        );
    }
    for text in ["", "soon", "11", "2026-13-01", "99999-01-01", "2026-02-30"] {
        assert_eq!(Unit::Day.parse(text), None, "{text}");
    }
}

#[test]
fn an_answer_about_something_else_is_none() {
    for body in [
        "{}",
        r#"{"data":{"items":[]}}"#,
        "[]",
        r#"{"TimeUnit":"month","items":[]}"#,
    ] {
        assert!(newest(body).0.is_err(), "{body}");
    }
    for body in [
        r#"{"TimeUnit":"day","time_unit":"DAY","items":[]}"#,
        r#"{"TimeUnit":"DAY","items":null}"#,
        r#"{"time_unit":"days","items":[]}"#,
    ] {
        assert_eq!(newest(body).0, Ok(vec![]), "{body}");
    }
}
