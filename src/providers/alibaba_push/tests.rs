//! Answers as the vendor could send them, through the real client.

use std::time::Duration;

use delivery_clock::Clock;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::providers::alibaba_push::vendor;
use crate::{
    model::Message,
    providers::{
        Failure, FailureKind, HistoryQuery, HistoryRecord, ListQuery, Observation, Refusal, Scope,
        scripted::{Reply, Scripted, reply},
    },
};

const NOW: &str = "2026-11-26T10:30:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

async fn start_at(
    clock: Clock,
    script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
) -> Scripted {
    let provider = json!({
        "type": "alibaba_push",
        "credentials": {"access_key_id": "testid", "access_key_secret": "secret-of-the-key"},
        "applications": [{"id": "23267207"}],
    });
    Scripted::start(provider, clock, script).await
}

async fn start(script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Scripted {
    start_at(Clock::manual(at(NOW)).0, script).await
}

/// What became of the message 510427 with this answer.
async fn one(status: u16, body: &str) -> Result<String, Failure> {
    let body = body.to_owned();
    let vendor = start(move |_, _| reply(status, &body)).await;
    let (taken, result) = vendor.messages(vendor::MESSAGES, &["510427"]).await;
    result?;
    let [observation] = &taken[..] else {
        panic!("one observation: {taken:?}");
    };
    Ok(match observation {
        Observation::MessageSnapshot(snapshot) => format!("{:?}", snapshot.totals[0].counts),
        Observation::NotYetAvailable { .. } => "not yet".to_owned(),
        Observation::MessageRejected { reason, then, .. } => format!("{reason} {then:?}"),
        Observation::MessageFailed { failure, .. } => format!("failed {}", failure.kind.as_str()),
        other => format!("{other:?}"),
    })
}

#[tokio::test]
async fn an_answer_about_one_message_is_an_answer_or_a_failure() {
    for (status, body, expected) in [
        (
            200,
            r#"{"RequestId": "x", "PushStats": {"PushStat": []}}"#,
            "not yet",
        ),
        (400, r#"{"Code": "TaskWaiting", "Message": "m"}"#, "not yet"),
        (
            200,
            r#"{"Code": "TaskWaiting", "Message": "m", "Description": "m"}"#,
            "not yet",
        ),
        (
            400,
            r#"{"Code": "InvalidMessageId.Format", "Message": "m"}"#,
            "InvalidMessageId.Format AtOnce",
        ),
        (
            404,
            r#"{"Code": "MessageId.NotFound", "Message": "m"}"#,
            "MessageId.NotFound UnlessNew",
        ),
        (
            200,
            r#"{"Code": "Invalid.Parameter"}"#,
            "Invalid.Parameter UnlessNew",
        ),
        (
            404,
            r#"{"Message": "510427 does not exist"}"#,
            "not_found UnlessNew",
        ),
        (
            200,
            r#"{"PushStats": {"PushStat": [{"MessageId": "2", "SentCount": 5}]}}"#,
            "failed decode",
        ),
        (
            200,
            r#"{"PushStats": {"PushStat": [{"SentCount": 1.5}]}}"#,
            "failed decode",
        ),
        (200, "{}", "failed decode"),
    ] {
        assert_eq!(
            one(status, body).await.as_deref(),
            Ok(expected),
            "{status} {body}"
        );
    }
    for (status, body, kind, scope) in [
        (
            200,
            r#"{"RequestId": "x", "Code": "SignatureDoesNotMatch"}"#,
            FailureKind::Unauthorized,
            Scope::Account,
        ),
        (
            200,
            r#"{"Code": "Throttling", "Message": "m", "Description": "m"}"#,
            FailureKind::RateLimited,
            Scope::Query,
        ),
        (
            200,
            r#"{"RequestId": "x", "Message": "trouble"}"#,
            FailureKind::Vendor,
            Scope::Query,
        ),
        (
            400,
            r#"{"Code": "InvalidAppKey.NotFound"}"#,
            FailureKind::Vendor,
            Scope::Application,
        ),
        (
            403,
            "<Error><Code>Forbidden.RAM</Code><Message>m</Message></Error>",
            FailureKind::Forbidden,
            Scope::Account,
        ),
        (
            200,
            "<Error><Code>Throttling.User</Code><Message>m</Message></Error>",
            FailureKind::RateLimited,
            Scope::Query,
        ),
        (200, "<html></html>", FailureKind::Decode, Scope::Query),
        (200, "", FailureKind::Decode, Scope::Query),
        (200, "[]", FailureKind::Decode, Scope::Query),
        (200, "[[], []]", FailureKind::Decode, Scope::Query),
        (404, "<html></html>", FailureKind::NotFound, Scope::Query),
    ] {
        let failure = one(status, body).await.unwrap_err();
        assert_eq!(
            (failure.kind, failure.scope),
            (kind, scope),
            "{status} {body}"
        );
    }
}

#[tokio::test]
async fn an_error_that_says_that_it_is_xml_is_known_by_its_code() {
    let vendor = start(|_, _| {
        let body = "<Error><Code>SignatureDoesNotMatch</Code><Message>m</Message></Error>";
        reply(200, body).header("content-type", "text/xml")
    });
    let (_, result) = vendor.await.messages(vendor::MESSAGES, &["510427"]).await;
    assert_eq!(result.unwrap_err().kind, FailureKind::Unauthorized);
    let vendor =
        start(|_, _| reply(200, r#"{"RequestId": "x"}"#).header("content-type", "text/xml"));
    let (_, result) = vendor.await.messages(vendor::MESSAGES, &["510427"]).await;
    assert_eq!(result.unwrap_err().kind, FailureKind::Decode);
}

#[tokio::test]
async fn throttling_is_tried_again_whatever_its_spelling_and_its_wish() {
    for wish in ["1", "0", "-7", "1000000000000000000000000000000", "soon"] {
        let vendor = start_at(Clock::system(), move |_, number| match number {
            0 => {
                let body =
                    r#"{"Code": "Throttling.User", "Message": "slow", "Description": "slow"}"#;
                reply(400, body).header("x-acs-retry-after", wish)
            }
            _ => reply(200, r#"{"PushStats": {"PushStat": [{"SentCount": 5}]}}"#),
        });
        let mut vendor = vendor.await;
        vendor.patience = Duration::from_secs(60);
        let (taken, result) = vendor.messages(vendor::MESSAGES, &["510427"]).await;
        assert_eq!((taken.len(), result), (1, Ok(())), "{wish}");
        assert_eq!(*vendor.measured.retries.lock().unwrap(), 1, "{wish}");
    }
    // What is longer than the query may take ends it, at once.
    let vendor = start_at(Clock::system(), |_, _| {
        let wish = u64::MAX.to_string();
        reply(400, r#"{"Code": "Throttling"}"#).header("x-acs-retry-after", &wish)
    });
    let mut vendor = vendor.await;
    vendor.patience = Duration::from_secs(60);
    let asked = vendor.messages(vendor::MESSAGES, &["510427"]);
    let (_, result) = tokio::time::timeout(Duration::from_secs(10), asked)
        .await
        .unwrap();
    assert_eq!(result.unwrap_err().kind, FailureKind::RateLimited);
}

#[tokio::test]
async fn the_first_numbers_are_those_of_the_vendors_next_day() {
    let vendor = start(|_, _| reply(200, "{}")).await;
    let first = |sent: Option<&str>| {
        let message = Message {
            application: "23267207".into(),
            id: "510427".into(),
            campaign: None,
            sent_at: sent.map(at),
        };
        vendor.provider.first_numbers(&message)
    };
    for (sent, numbers) in [
        ("2026-11-23T15:59:59Z", "2026-11-23T16:00:00Z"),
        ("2026-11-23T16:00:00Z", "2026-11-24T16:00:00Z"),
        ("2026-11-23T00:00:00Z", "2026-11-23T16:00:00Z"),
    ] {
        assert_eq!(first(Some(sent)), Some(at(numbers)));
    }
    assert_eq!(first(None), None);
}

/// A parameter of a request.
fn parameter(path: &str, name: &str) -> String {
    let pairs = path.split_once('?').unwrap().1.split('&');
    let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
    let value = pairs.find(|(own, _)| *own == name).unwrap().1;
    value.replace("%3A", ":")
}

/// Start and end of a request's window.
fn window(path: &str) -> (Timestamp, Timestamp) {
    let time = |name| at(&parameter(path, name));
    (time("StartTime"), time("EndTime"))
}

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

#[tokio::test]
async fn history_is_read_day_by_day_or_fails() {
    let past = async |status: u16, body: &'static str| {
        let vendor = start(move |_, _| reply(status, body)).await;
        let application = vendor.application();
        let query = HistoryQuery {
            dataset: vendor::MESSAGES,
            application: &application,
            message: None,
            from: at("2026-11-20T10:00:00Z"),
            to: at("2026-11-22T00:00:00Z"),
            patience: Duration::ZERO,
        };
        let answer = vendor.provider.history(query).await;
        let records = answer.observations.into_iter();
        let days: Vec<_> = records
            .map(|record| match record {
                HistoryRecord::Increase(day) => day.from.to_string(),
                other => panic!("{other:?}"),
            })
            .collect();
        let result = answer.result;
        let path = vendor.requests.lock().unwrap()[0].clone();
        (days, result.map_err(|failure| failure.kind), window(&path))
    };
    let body =
        r#"{"AppPushStats": {"AppPushStat": {"Time": "2026-11-20T16:00:00Z", "SentCount": 5}}}"#;
    let (days, result, window) = past(200, body).await;
    assert_eq!(
        (days, result),
        (vec!["2026-11-20T16:00:00Z".to_owned()], Ok(()))
    );
    assert_eq!(window.0, at("2026-11-19T16:00:00Z"));
    for (status, body, kind) in [
        (400, r#"{"Code": "TaskWaiting"}"#, FailureKind::Vendor),
        (200, r#"{"Code": "Invalid.Parameter"}"#, FailureKind::Vendor),
        (200, "{}", FailureKind::Decode),
    ] {
        assert_eq!(past(status, body).await.1, Err(kind), "{body}");
    }
}

#[tokio::test]
async fn an_id_that_is_none_costs_no_request() {
    let vendor = start(|_, _| reply(200, "{}")).await;
    let (taken, result) = vendor.messages(vendor::MESSAGES, &["x"]).await;
    let expected = Observation::MessageRejected {
        asked: "x".into(),
        reason: "invalid_id".into(),
        then: Refusal::AtOnce,
    };
    assert_eq!((taken, result), (vec![expected], Ok(())));
    assert_eq!(vendor.requests(), 0);
}
