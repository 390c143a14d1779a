//! Bounces and the log, round by round.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use super::*;
use crate::{
    model::EventKind,
    providers::{HistoryQuery, HistoryRecord, Scope},
};

/// A bounce per hour of November 2026.
fn bounces() -> Vec<Value> {
    let row = |hour: usize| {
        json!({"email": format!("p{hour}@example.com"), "type": "Hardbounce", "reason": "",
            "date": format!("2026-11-{:02}T{:02}:00:00.000Z", 1 + hour / 24, hour % 24)})
    };
    (0..24 * 30).map(row).collect()
}

fn between(rows: &[Value], field: &str, from: &Value, to: &Value) -> Vec<Value> {
    let time = |value: &Value| -> Timestamp {
        crate::providers::json::time(value.as_str().unwrap()).unwrap()
    };
    let within = |row: &&Value| time(&row[field]) > time(from) && time(&row[field]) < time(to);
    rows.iter().filter(within).cloned().collect()
}

#[tokio::test]
async fn bounces_are_read_a_day_at_a_time_and_go_on_after_a_failure() {
    let failing = Arc::new(Mutex::new(false));
    let fails = failing.clone();
    let script = move |_: &str, request: &Value| {
        let from = request["date_from"].as_str().unwrap();
        if *fails.lock().unwrap() && from.starts_with("2026-11-10") {
            return (400, json!({"error": "not today"}));
        }
        let rows = between(
            &bounces(),
            "date",
            &request["date_from"],
            &request["date_to"],
        );
        (
            200,
            json!({"total": rows.len(), "bounced_emails": page(request, &rows, 7)}),
        )
    };
    let bench = Bench::new("2026-11-26T08:30:00Z", script).await;
    let mut cursor = "2026-11-05T00:00:00Z".parse().ok();
    *failing.lock().unwrap() = true;
    let round = bench.round(vendor::BOUNCES, &mut cursor).await;
    assert!(round.failure.is_some());
    assert_eq!(cursor, "2026-11-11T00:00:00Z".parse().ok());
    // No answer holds more than a day, with the hour at either end.
    assert!(round.most <= 26, "{}", round.most);
    *failing.lock().unwrap() = false;
    bench.requests();
    let rest = bench.round(vendor::BOUNCES, &mut cursor).await;
    assert_eq!(rest.failure, None);
    // It went on where it stopped.
    let first = bench.requests()[0]["date_from"].clone();
    assert_eq!(first, "2026-11-10T23:59:59.000Z");
    assert_eq!(cursor, "2026-11-26T08:30:00Z".parse().ok());
    let all = Round {
        happened: round.happened.into_iter().chain(rest.happened).collect(),
        ..Round::default()
    };
    // From three days before the cursor to the end of today.
    assert_eq!(all.distinct(), 24 * 25 + 1);
    // The next round reads three days again.
    bench.hand.advance(Duration::from_secs(300));
    let next = bench.round(vendor::BOUNCES, &mut cursor).await;
    assert_eq!(next.queries, 4);
}

#[tokio::test]
async fn the_first_bounces_are_those_of_a_day() {
    let script = |_: &str, request: &Value| {
        let rows = between(
            &bounces(),
            "date",
            &request["date_from"],
            &request["date_to"],
        );
        (
            200,
            json!({"total": rows.len(), "bounced_emails": page(request, &rows, 1000)}),
        )
    };
    let bench = Bench::new("2026-11-26T08:30:00Z", script).await;
    let round = bench.round(vendor::BOUNCES, &mut None).await;
    let oldest = round.happened.iter().filter_map(|own| own.at).min();
    assert_eq!(oldest, "2026-11-25T09:00:00Z".parse().ok());
    // What the ledger may have forgotten is never handed over again.
    let bench = Bench::new("2026-11-30T23:30:00Z", |_: &str, request: &Value| {
        (
            200,
            json!({"bounced_emails": page(request, &bounces(), 1000)}),
        )
    })
    .await;
    let mut cursor = "2026-11-01T00:00:00Z".parse().ok();
    let round = bench.round(vendor::BOUNCES, &mut cursor).await;
    let oldest = round.happened.iter().filter_map(|own| own.at).min();
    assert_eq!(oldest, "2026-11-02T00:00:00Z".parse().ok());
}

#[tokio::test]
async fn a_day_that_is_not_complete_keeps_the_cursor_and_costs_no_other_day() {
    let script = |_: &str, request: &Value| {
        let rows = between(
            &bounces(),
            "date",
            &request["date_from"],
            &request["date_to"],
        );
        let more = usize::from(
            request["date_from"]
                .as_str()
                .unwrap()
                .starts_with("2026-11-23"),
        );
        (
            200,
            json!({"total": rows.len() + more, "bounced_emails": page(request, &rows, 1000)}),
        )
    };
    let bench = Bench::new("2026-11-26T08:30:00Z", script).await;
    let mut cursor = "2026-11-23T06:00:00Z".parse().ok();
    let round = bench.round(vendor::BOUNCES, &mut cursor).await;
    assert_eq!(round.failure.unwrap().kind, FailureKind::Vendor);
    assert_eq!(cursor, "2026-11-24T00:00:00Z".parse().ok());
    let newest = round.happened.iter().filter_map(|own| own.at).max();
    assert_eq!(newest, "2026-11-27T00:00:00Z".parse().ok());
}

#[tokio::test]
async fn a_broken_row_costs_no_other_and_is_a_failure() {
    let script = |_: &str, request: &Value| {
        let mut rows = between(
            &bounces(),
            "date",
            &request["date_from"],
            &request["date_to"],
        );
        rows.insert(3, json!({"e-mail": "x"}));
        rows.insert(5, json!([1, 2]));
        // The same bounce twice: they cannot be told apart.
        rows.push(rows[0].clone());
        (
            200,
            json!({"total": rows.len(), "bounced_emails": page(request, &rows, 1000)}),
        )
    };
    let bench = Bench::new("2026-11-26T08:30:00Z", script).await;
    let mut cursor = None;
    let round = bench.round(vendor::BOUNCES, &mut cursor).await;
    let failure = round.failure.as_ref().unwrap();
    assert_eq!(
        (failure.kind, &*failure.text),
        (FailureKind::Decode, "2 of the bounces cannot be read")
    );
    // From nine o'clock yesterday to the midnight that ends today.
    assert_eq!(round.distinct(), 15 + 24 + 1);
    // Reading them again would not help.
    assert_eq!(cursor, "2026-11-26T08:30:00Z".parse().ok());
    assert!(bench.unknown().contains("e-mail"));
}

/// An event per minute, told in pages of 5 along tokens.
fn log_script(until: &'static str) -> impl Fn(&str, &Value) -> Said {
    let end: Timestamp = until.parse().unwrap();
    move |_, request| {
        let time =
            |name: &str| crate::providers::json::time(request[name].as_str().unwrap()).unwrap();
        let (from, to) = (
            time("date_from").as_second(),
            time("date_to").min(end).as_second(),
        );
        let minutes = (from.div_euclid(60) + 1)..=to.div_euclid(60);
        let token = request["pagination_token"].as_str().unwrap_or("0");
        let skip: usize = token.parse().unwrap();
        let row = |minute: i64| {
            json!({"timestamp": Timestamp::from_second(minute * 60).unwrap().to_string(),
                "message_code": "A", "hwid": "d", "platform": "email", "action": "sent", "status": "success"})
        };
        let rows: Vec<Value> = minutes.skip(skip).take(5).map(row).collect();
        let next = if rows.is_empty() {
            Value::Null
        } else {
            json!((skip + 5).to_string())
        };
        (200, json!({"data": rows, "pagination_token": next}))
    }
}

#[tokio::test]
async fn a_long_gap_of_the_log_is_read_in_windows_that_fit() {
    let bench = Bench::new("2026-11-26T08:00:30Z", log_script("2026-11-26T08:05:30Z")).await;
    let mut cursor = "2026-11-25T08:00:00Z".parse().ok();
    let round = bench.round(vendor::LOG, &mut cursor).await;
    assert_eq!(round.failure, None);
    assert_eq!(cursor, "2026-11-26T08:00:30Z".parse().ok());
    // 26 hours, and the five minutes that the vendor's clock is ahead.
    assert_eq!(round.distinct(), 26 * 60 + 6);
    let label = EventKind::Log {
        action: Arc::from("sent"),
        platform: Arc::from("email"),
        status: Arc::from("success"),
    };
    assert!(round.happened.iter().all(|own| own.kind == label));
    // 20 pages of 5 at most in memory.
    assert!(round.queries > 16, "{}", round.queries);
}

#[tokio::test]
async fn the_log_goes_on_where_it_failed_and_no_further_back_than_the_vendor_keeps() {
    let failing = Arc::new(Mutex::new(true));
    let (fails, good) = (failing.clone(), log_script("2026-11-26T08:00:00Z"));
    let script = move |path: &str, request: &Value| {
        let from = request["date_from"].as_str().unwrap();
        if *fails.lock().unwrap() && from > "2026-11-26 02:00:00" {
            return (403, json!({"code": 7, "message": "no such plan"}));
        }
        good(path, request)
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let mut cursor = "2026-11-26T00:00:00Z".parse().ok();
    let first = bench.round(vendor::LOG, &mut cursor).await;
    let failure = first.failure.as_ref().unwrap();
    assert_eq!(
        (failure.kind, failure.scope),
        (FailureKind::Forbidden, Scope::Application)
    );
    *failing.lock().unwrap() = false;
    let rest = bench.round(vendor::LOG, &mut cursor).await;
    assert_eq!(rest.failure, None);
    assert!(rest.distinct() < 10 * 60);
    let all = Round {
        happened: first.happened.into_iter().chain(rest.happened).collect(),
        ..Round::default()
    };
    assert_eq!(all.distinct(), 10 * 60 + 1);
    bench.requests();
    // 40 days are not asked for.
    let mut cursor = "2026-10-17T00:00:00Z".parse().ok();
    let bench = Bench::new("2026-11-26T08:00:00Z", |_: &str, _: &Value| {
        (200, json!({}))
    })
    .await;
    bench.round(vendor::LOG, &mut cursor).await;
    assert_eq!(bench.requests()[0]["date_from"], "2026-10-27 08:59:59");
}

#[tokio::test]
async fn the_log_ends_in_every_way_that_it_can() {
    let row = |minute: u32| json!({"timestamp": format!("2026-11-26 07:{minute:02}:00"), "action": "sent", "hwid": "d"});
    // Pages by their token, each with the token of the next.
    let page = move |minutes: &[u32], next: Value| json!({"data": minutes.iter().map(|minute| row(*minute)).collect::<Vec<_>>(), "pagination_token": next});
    let scripts: [BTreeMap<&str, Value>; 6] = [
        [
            ("", page(&[1, 2], json!("a"))),
            ("a", page(&[3], json!("a"))),
        ]
        .into(),
        [
            ("", page(&[1, 2], json!("a"))),
            ("a", page(&[3], Value::Null)),
        ]
        .into(),
        [
            ("", page(&[1, 2], json!("a"))),
            ("a", page(&[3], json!(""))),
        ]
        .into(),
        [
            ("", page(&[1, 2], json!("a"))),
            ("a", page(&[], json!("b"))),
            ("b", page(&[3], json!("c"))),
            ("c", json!({})),
        ]
        .into(),
        [
            ("", page(&[1], json!("a"))),
            ("a", page(&[1], json!("b"))),
            ("b", page(&[2, 3], Value::Null)),
        ]
        .into(),
        [
            ("", page(&[1, 2, 3], json!("a"))),
            ("a", page(&[], json!("b"))),
            ("b", page(&[], json!("c"))),
            ("c", page(&[], json!("d"))),
            ("d", page(&[], json!("e"))),
        ]
        .into(),
    ];
    for script in scripts {
        let answer = move |_: &str, request: &Value| {
            (
                200,
                script[request["pagination_token"].as_str().unwrap_or_default()].clone(),
            )
        };
        let bench = Bench::new("2026-11-26T08:00:00Z", answer).await;
        let mut cursor = None;
        let round = bench.round(vendor::LOG, &mut cursor).await;
        assert_eq!(
            (round.distinct(), round.failure, round.queries),
            (3, None, 1)
        );
    }
}

#[tokio::test]
async fn a_vendor_that_knows_no_future_is_asked_until_now() {
    let good = log_script("2026-11-26T08:00:00Z");
    let script = move |path: &str, request: &Value| {
        if request["date_to"].as_str().unwrap() > "2026-11-26 07:50:00" {
            return (400, json!({"error": "date_to is in the future"}));
        }
        good(path, request)
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let mut cursor = "2026-11-26T07:55:00Z".parse().ok();
    let round = bench.round(vendor::LOG, &mut cursor).await;
    assert_eq!(round.failure, None);
    assert!(round.distinct() > 100);
}

#[tokio::test]
async fn a_broken_event_costs_no_other() {
    let script = |_: &str, _: &Value| {
        let rows = [
            json!({"action": "sent", "hwid": "d"}),
            json!("x"),
            json!({"event": "sent"}),
            json!({"action": "opened", "hwid": "d"}),
        ];
        (200, json!({"data": rows, "next": 1}))
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let mut cursor = None;
    let round = bench.round(vendor::LOG, &mut cursor).await;
    assert_eq!(round.distinct(), 2);
    assert_eq!(
        &*round.failure.unwrap().text,
        "2 of the events of the log cannot be read"
    );
    assert_eq!(cursor, "2026-11-26T08:00:00Z".parse().ok());
    assert!(bench.unknown().contains("next"));
}

#[tokio::test]
async fn history_is_read_to_the_end_of_its_pages_and_no_further_than_asked_for() {
    let log = log_script("2026-11-26T08:00:00Z");
    let script = move |path: &str, request: &Value| {
        if path == "getMessageLog" {
            return log(path, request);
        }
        let rows = between(
            &bounces(),
            "date",
            &request["date_from"],
            &request["date_to"],
        );
        (
            200,
            json!({"total": rows.len(), "bounced_emails": page(request, &rows, 7)}),
        )
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    for (dataset, count) in [(vendor::BOUNCES, 36 + 1), (vendor::LOG, 36 * 60 + 1)] {
        let query = HistoryQuery {
            dataset,
            application: &bench.application,
            message: None,
            from: "2026-11-20T10:00:00Z".parse().unwrap(),
            to: "2026-11-21T22:00:00Z".parse().unwrap(),
            patience: Duration::from_secs(1),
        };
        let mut round = Round::default();
        let answer = bench.provider.history(query).await;
        answer.result.unwrap();
        for record in answer.observations {
            match record {
                HistoryRecord::Events(rows) => round.happened.extend(rows),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(round.distinct(), count, "{dataset:?}");
    }
}

#[tokio::test]
async fn a_vendor_that_ignores_tokens_with_full_pages_is_a_failure() {
    let script = |_: &str, request: &Value| {
        let rows: Vec<Value> = (0..request["limit"].as_u64().unwrap())
            .map(|index| json!({"action": "sent", "hwid": index.to_string(), "timestamp": "2026-11-26 07:30:00"}))
            .collect();
        (200, json!({"data": rows, "pagination_token": "x"}))
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let mut cursor = None;
    let round = bench.round(vendor::LOG, &mut cursor).await;
    assert_eq!((round.distinct(), cursor), (10_000, None));
    assert_eq!(
        &*round.failure.unwrap().text,
        "the vendor's pages do not end"
    );
}

#[tokio::test]
async fn events_from_before_the_window_end_no_window() {
    // Pages of events that are not wanted, the oldest first, as of a vendor that cuts times to days.
    let script = |_: &str, request: &Value| {
        let skip: usize = request["pagination_token"]
            .as_str()
            .unwrap_or("0")
            .parse()
            .unwrap();
        let rows: Vec<Value> = (skip..(skip + 5).min(60))
            .map(|minute| json!({"action": "sent", "hwid": "d", "timestamp": format!("2026-11-26 0{}:{:02}:00", if minute < 50 { 1 } else { 7 }, minute)}))
            .collect();
        (
            200,
            json!({"data": rows, "pagination_token": (skip + 5).to_string()}),
        )
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let mut cursor = None;
    let round = bench.round(vendor::LOG, &mut cursor).await;
    assert_eq!((round.distinct(), round.failure), (10, None));
}
