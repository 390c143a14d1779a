//! The list of pushes.

use serde_json::Value;

use super::*;
use crate::providers::ListQuery;

/// Lists from `since` on, of 30 days: the ids, and how it ended.
async fn list(vendor: &Scripted, since: &str) -> (Vec<String>, Result<(), Failure>) {
    let application = vendor.application();
    let query = ListQuery {
        dataset: vendor::MESSAGES,
        application: &application,
        oldest: at("2026-10-27T10:30:00Z"),
        since: at(since),
        max_messages: usize::MAX,
        with_numbers: true,
        patience: vendor.patience,
    };
    let answer = vendor.provider.list(query).await;
    let result = answer.result;
    let ids = answer
        .observations
        .into_iter()
        .map(|observation| match observation {
            Observation::ListedMessage(message) => message.id.to_string(),
            other => panic!("{other:?}"),
        });
    (ids.collect(), result)
}

/// A page of the list of these rows, with at most `cap` of them.
fn page(rows: &[Value], path: &str, cap: usize) -> Reply {
    let (start, end) = window(path);
    let time = |row: &Value| at(row["PushTime"].as_str().unwrap());
    let rows: Vec<_> = rows
        .iter()
        .filter(|row| (start..=end).contains(&time(row)))
        .collect();
    let number = |name| parameter(path, name).parse::<usize>().unwrap();
    let size = number("PageSize").min(cap);
    let shown: Vec<_> = rows
        .iter()
        .skip((number("Page") - 1) * size)
        .take(size)
        .collect();
    let body = json!({"RequestId": "x", "Total": rows.len(), "PushInfos": {"PushInfo": shown}});
    reply(200, &body.to_string())
}

fn row(id: &str, status: &str, time: &str) -> Value {
    json!({"MessageId": id, "Status": status, "PushTime": time, "Title": "a title"})
}

#[tokio::test]
async fn a_list_is_paged_to_its_end_from_since_on() {
    let rows: Vec<Value> = (0..250)
        .map(|number| {
            let time = at("2026-11-20T00:00:00Z") + Duration::from_secs(number * 60);
            row(&number.to_string(), "SENT", &time.to_string())
        })
        .collect();
    for cap in [100, 7] {
        let rows = rows.clone();
        let vendor = start(move |path, _| page(&rows, path, cap)).await;
        let (ids, result) = list(&vendor, "2026-10-27T10:30:00Z").await;
        assert_eq!((ids.len(), result), (250, Ok(())));
        let requests = vendor.requests.lock().unwrap().clone();
        assert_eq!(window(&requests[0]), (at("2026-10-27T10:30:00Z"), at(NOW)));
        // Later only the new part, and what the vendor's clock may have listed late.
        let (ids, result) = list(&vendor, "2026-11-20T04:00:00Z").await;
        assert_eq!((ids.len(), result), (25, Ok(())));
        let requests = vendor.requests.lock().unwrap().clone();
        assert_eq!(
            window(requests.last().unwrap()).0,
            at("2026-11-20T03:45:00Z")
        );
    }
}

#[tokio::test]
async fn no_window_is_longer_than_the_vendor_allows_or_has_no_length() {
    let vendor = start(|path, _| {
        let (start, end) = window(path);
        if end.duration_since(start).as_hours() > 7 * 24 + 1 {
            return reply(
                400,
                r#"{"Code": "InvalidPeriod.ExceedDays", "Message": "m"}"#,
            );
        }
        page(&[row("1", "SENT", "2026-11-01T00:00:00Z")], path, 100)
    });
    let vendor = vendor.await;
    let (ids, result) = list(&vendor, "2026-10-27T10:30:00Z").await;
    assert_eq!((ids, result), (vec!["1".to_owned()], Ok(())));
    let requests = vendor.requests.lock().unwrap().clone();
    let windows: Vec<_> = requests.iter().map(|path| window(path)).collect();
    assert!(windows.iter().all(|(start, end)| start < end));
    assert!(windows.len() < 20, "{windows:?}");
    // Nothing to list yet.
    let (ids, result) = list(&vendor, "2026-11-26T11:00:00Z").await;
    assert_eq!((ids.len(), result), (0, Ok(())));
    assert_eq!(vendor.requests(), requests.len());
}

#[tokio::test]
async fn an_error_of_the_list_is_a_failure() {
    for (status, body, kind) in [
        (
            400,
            r#"{"Code": "Invalid.Parameter", "Message": "m"}"#,
            FailureKind::Vendor,
        ),
        (
            400,
            r#"{"Code": "InvalidStartTime.Format", "Message": "m"}"#,
            FailureKind::Vendor,
        ),
        (
            400,
            r#"{"Code": "InvalidMessageId.Format", "Message": "m"}"#,
            FailureKind::Vendor,
        ),
        (
            400,
            r#"{"Code": "TaskWaiting", "Message": "m"}"#,
            FailureKind::Vendor,
        ),
        (
            400,
            r#"{"Code": "InvalidPeriod.ExceedDays", "Message": "m"}"#,
            FailureKind::Vendor,
        ),
        (
            200,
            r#"{"Code": "Invalid.Parameter", "Message": "m"}"#,
            FailureKind::Vendor,
        ),
        (
            200,
            r#"{"Code": "Throttling", "Message": "m", "Detail": "m"}"#,
            FailureKind::RateLimited,
        ),
        (200, r#"{"RequestId": "x"}"#, FailureKind::Decode),
        (200, r#"{"PushInfos": 5}"#, FailureKind::Decode),
        (
            200,
            r#"{"Total": 5, "PushInfos": {"PushInfo": []}}"#,
            FailureKind::Vendor,
        ),
        (
            200,
            r#"{"Total": 1, "PushInfos": {"PushInfo": [{"Status": "SENT"}]}}"#,
            FailureKind::Decode,
        ),
    ] {
        let vendor = start(move |_, _| reply(status, body)).await;
        let (ids, result) = list(&vendor, "2026-11-20T00:00:00Z").await;
        assert_eq!(result.map_err(|failure| failure.kind), Err(kind), "{body}");
        assert!(ids.is_empty() && vendor.requests() < 40, "{body}");
    }
}

#[tokio::test]
async fn a_window_of_too_many_pages_is_split() {
    let rows: Vec<Value> = (1..=25)
        .map(|day| {
            let time = format!("2026-11-{day:02}T00:00:00Z");
            row(&day.to_string(), "SENT", &time)
        })
        .collect();
    let vendor = start(move |path, _| {
        let (start, end) = window(path);
        let seconds = end.duration_since(start).as_secs();
        if seconds < 1_000_000 {
            return page(&rows, path, 100);
        }
        // A push in every second.
        let shown: Vec<_> = (0..100)
            .map(|number| row(&format!("9{number}"), "SENT", "2026-11-20T00:00:00Z"))
            .collect();
        let body = json!({"Total": seconds, "PushInfos": {"PushInfo": shown}});
        reply(200, &body.to_string())
    });
    let vendor = vendor.await;
    let (ids, result) = list(&vendor, "2026-10-27T10:30:00Z").await;
    assert_eq!(result, Ok(()));
    // All of the short windows' beside those of the long ones.
    assert_eq!(ids.len(), 125);
    assert!(vendor.requests() < 20, "{}", vendor.requests());
    // A total that is not the window's does not split it for ever.
    let vendor = start(|_, _| {
        let shown: Vec<_> = (0..100)
            .map(|number| row(&number.to_string(), "SENT", "2026-11-20T00:00:00Z"))
            .collect();
        let body = json!({"Total": 3_000_000, "PushInfos": {"PushInfo": shown}});
        reply(200, &body.to_string())
    });
    let vendor = vendor.await;
    let (ids, result) = list(&vendor, "2026-10-27T10:30:00Z").await;
    assert_eq!(
        result.map_err(|failure| failure.kind),
        Err(FailureKind::Vendor)
    );
    assert!(
        ids.len() == 100 && vendor.requests() < 100,
        "{}",
        vendor.requests()
    );
}

#[tokio::test]
async fn a_push_that_was_scheduled_is_found_when_it_is_sent() {
    // Listed by the time at which it was scheduled, which is not in the answer.
    let vendor = start(|path, number| {
        let (start, _) = window(path);
        let status = if number < 3 { "WAITING" } else { "SENT" };
        let rows = match start <= at("2026-11-20T00:00:00Z") {
            true => vec![row("7", status, "2026-11-28T00:00:00Z")],
            false => Vec::new(),
        };
        reply(200, &json!({"PushInfos": {"PushInfo": rows}}).to_string())
    });
    let vendor = vendor.await;
    let mut listed = Vec::new();
    for since in [
        "2026-11-01T00:00:00Z",
        "2026-11-26T10:00:00Z",
        "2026-11-26T10:00:00Z",
    ] {
        let (ids, result) = list(&vendor, since).await;
        result.unwrap();
        listed.push(ids.len());
    }
    assert_eq!(listed.iter().sum::<usize>(), 1, "{listed:?}");
    // Then only the new part is listed again.
    list(&vendor, "2026-11-26T10:00:00Z").await.1.unwrap();
    let requests = vendor.requests.lock().unwrap();
    assert_eq!(
        window(requests.last().unwrap()).0,
        at("2026-11-26T09:45:00Z")
    );
}

#[tokio::test]
async fn a_push_that_never_was_sent_is_not_listed_for_ever() {
    let rows = [
        row("1", "WAITING", "2026-11-02T00:00:00Z"),
        row("2", "WAITING", "2026-11-26T08:00:00Z"),
        row("3", "CANCELED", "2026-11-26T08:00:00Z"),
        row("4", "SENT", "2026-11-26T08:00:00Z"),
    ];
    let vendor = start(move |path, _| page(&rows, path, 100)).await;
    let (ids, result) = list(&vendor, "2026-10-27T10:30:00Z").await;
    assert_eq!((ids, result), (vec!["4".to_owned()], Ok(())));
    list(&vendor, "2026-11-26T10:00:00Z").await.1.unwrap();
    // It is late by two hours and may still be sent; the other is late by weeks.
    let requests = vendor.requests.lock().unwrap();
    assert_eq!(
        window(requests.last().unwrap()).0,
        at("2026-11-26T07:45:00Z")
    );
}
