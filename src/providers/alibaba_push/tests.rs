//! Answers as the vendor could send them, through the real client.

mod list;

use std::time::Duration;

use delivery_clock::Clock;
use jiff::Timestamp;
use serde_json::json;

use crate::providers::alibaba_push::vendor;
use crate::{
    model::Message,
    providers::{
        Failure, FailureKind, HistoryQuery, HistoryRecord, Observation, Refusal, Scope,
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
