//! Answers as the vendor could send them, through the real client.

use delivery_clock::Clock;
use serde_json::json;

use crate::providers::engagelab::vendor;
use crate::providers::{
    FailureKind, Observation, Refusal, Scope, WholeQuery,
    scripted::{Reply, Scripted, reply},
};

async fn start(script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Scripted {
    let clock = Clock::manual("2026-11-26T10:30:00Z".parse().unwrap()).0;
    start_at(clock, script).await
}

async fn start_at(
    clock: Clock,
    script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
) -> Scripted {
    let provider = json!({
        "type": "engagelab",
        "credentials": {"app_key": "key", "master_secret": "secret-of-the-account"},
        "collect": ["messages", "users", "lifecycle"],
        "canaries": ["1507bfd3a7c568d4761"],
    });
    Scripted::start(provider, clock, script).await
}

/// What became of each message, in short.
fn short(taken: &[Observation]) -> Vec<String> {
    let of = |observation: &Observation| match observation {
        Observation::MessageSnapshot(snapshot) => format!("{} numbers", snapshot.id),
        Observation::NotYetAvailable { asked, .. } => format!("{asked} not yet"),
        Observation::MessageRejected {
            asked,
            reason,
            then,
        } => format!("{asked} {reason} {then:?}"),
        Observation::MessageFailed { asked, failure } => {
            format!("{asked} {}", failure.kind.as_str())
        }
        Observation::Figures { part, figures, .. } => format!("{part} {}", figures.len()),
        other => format!("{other:?}"),
    };
    let mut lines: Vec<_> = taken.iter().map(of).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn an_error_is_a_failure_whatever_the_status() {
    for (status, body, kind) in [
        (
            200,
            r#"{"code": 23001, "message": "Basic authentication failed"}"#,
            FailureKind::Unauthorized,
        ),
        (
            200,
            r#"{"code": "21038", "message": "no plan"}"#,
            FailureKind::Forbidden,
        ),
        (
            200,
            r#"{"error": {"code": 23100, "message": "trouble"}}"#,
            FailureKind::Vendor,
        ),
        (200, r#"{"error": "trouble"}"#, FailureKind::Vendor),
        (
            200,
            r#"{"code": 23008, "message": "slow down"}"#,
            FailureKind::RateLimited,
        ),
        (
            400,
            r#"{"code": 23008, "message": "slow down"}"#,
            FailureKind::RateLimited,
        ),
        (200, "<html>sign in</html>", FailureKind::Decode),
        (200, "", FailureKind::Decode),
        (200, " ", FailureKind::Decode),
        (200, "[]", FailureKind::Decode),
        (200, r#"[{"1613113584": {"sent": 5}}]"#, FailureKind::Decode),
        (200, "null", FailureKind::Decode),
        (
            200,
            r#"{"data": {"1613113584": {"sent": 5}}}"#,
            FailureKind::Decode,
        ),
        (200, r#"{"status": "ok"}"#, FailureKind::Decode),
        (204, "", FailureKind::Decode),
        (401, "", FailureKind::Unauthorized),
        (404, r#"{"code": 21001}"#, FailureKind::NotFound),
    ] {
        let vendor = start(move |_, _| reply(status, body)).await;
        let (taken, result) = vendor.messages(vendor::MESSAGES, &["1613113584"]).await;
        assert_eq!(
            result.map_err(|failure| failure.kind),
            Err(kind),
            "{status} {body}"
        );
        assert!(taken.is_empty(), "{body}");
        let (taken, result) = vendor.messages(vendor::LIFECYCLE, &["1613113584"]).await;
        // An answer that is JSON and no error is the message's.
        assert!(
            result.is_err() || short(&taken) == ["1613113584 decode"],
            "{status} {body} {taken:?}"
        );
    }
}

#[tokio::test]
async fn a_limit_under_200_is_tried_again() {
    let vendor = start_at(Clock::system(), |_, number| match number {
        0 => reply(200, r#"{"code": 23008, "message": "slow down"}"#),
        1 => reply(200, r#"{"code": 21030, "message": "timeout"}"#),
        _ => reply(200, r#"{"1613113584": {"sent": 5}}"#),
    });
    let mut vendor = vendor.await;
    vendor.patience = std::time::Duration::from_secs(60);
    let (taken, result) = vendor.messages(vendor::MESSAGES, &["1613113584"]).await;
    assert_eq!(
        (short(&taken), result),
        (vec!["1613113584 numbers".to_owned()], Ok(()))
    );
    assert_eq!(vendor.requests(), 3);
}

#[tokio::test]
async fn what_is_missing_is_not_yet_and_what_is_bad_fails_alone() {
    let body = r#"{"1": {"sent": 5}, "2": {"sent": -5}, "3": null, "9": {"sent": 7}, "note": 1, "4": [],
        "5": {"sent": 1.5}, "6": {"sent": "many"}, "7": {"sent": 9007199254740992}, "8": 12}"#;
    // What is left out is queried once more, in a request of its own.
    let vendor = start(move |path, number| match number {
        0 => reply(200, body),
        _ => reply(200, if path.ends_with("=99") { "{}" } else { "" }),
    });
    let vendor = vendor.await;
    let ids = ["1", "2", "3", "4", "5", "6", "7", "8", "99"];
    let (taken, result) = vendor.messages(vendor::MESSAGES, &ids).await;
    assert_eq!(result, Ok(()));
    let expected = [
        "1 numbers",
        "2 decode",
        "3 not yet",
        "4 decode",
        "5 decode",
        "6 decode",
        "7 decode",
        "8 decode",
        "99 not yet",
    ];
    assert_eq!(short(&taken), expected);
    assert_eq!(
        (vendor.unknown(), vendor.requests()),
        (vec!["note".to_owned()], 2)
    );
    let vendor = start(|_, _| reply(200, "{}")).await;
    let (taken, result) = vendor.messages(vendor::MESSAGES, &["1", "2"]).await;
    assert_eq!((short(&taken).len(), result), (2, Ok(())));
}

#[tokio::test]
async fn a_batch_that_is_answered_in_part_is_completed() {
    // At most 40 ids at once; number 7 is left out, number 70 is refused, alone or not.
    let vendor = start(|path, number| {
        let ids: Vec<&str> = path.split_once('=').unwrap().1.split(',').collect();
        if number > 0 && ids.contains(&"70") {
            return reply(400, r#"{"error":{"code":27201}}"#);
        }
        let known = ids.iter().take(40).filter(|id| **id != "7");
        let of: Vec<_> = known
            .map(|id| format!(r#""{id}": {{"sent": 1}}"#))
            .collect();
        reply(200, &format!("{{{}}}", of.join(",")))
    });
    let vendor = vendor.await;
    let ids: Vec<String> = (0..100).map(|id| id.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let (taken, result) = vendor.messages(vendor::MESSAGES, &ids).await;
    assert_eq!((taken.len(), result), (100, Ok(())));
    let others: Vec<_> = short(&taken)
        .into_iter()
        .filter(|line| !line.ends_with("numbers"))
        .collect();
    assert_eq!(others, ["7 not yet", "70 27201 UnlessNew"]);
    assert!(vendor.requests() < 20, "{}", vendor.requests());
}

#[tokio::test]
async fn an_answer_about_other_messages_is_a_failure() {
    for body in [r#"{"77": {"sent": 5}}"#, r#"{"01613113584": {"sent": 5}}"#] {
        let vendor = start(move |_, _| reply(200, body)).await;
        let (taken, result) = vendor.messages(vendor::MESSAGES, &["1613113584"]).await;
        let kind = result.map_err(|failure| failure.kind);
        assert_eq!((taken, kind), (vec![], Err(FailureKind::Decode)), "{body}");
    }
}

#[tokio::test]
async fn a_batch_is_halved_for_any_refusal_of_a_message() {
    for (status, code, reason, then) in [
        (400, "27201", "27201", Refusal::UnlessNew),
        (200, "27201", "27201", Refusal::UnlessNew),
        (404, "\"27201\"", "27201", Refusal::UnlessNew),
        (400, "23007", "23007", Refusal::AtOnce),
        (200, "21003", "21003", Refusal::AtOnce),
        (400, "1003", "1003", Refusal::UnlessNew),
        (400, "23006", "23006", Refusal::UnlessNew),
        (404, "null", "not_found", Refusal::UnlessNew),
    ] {
        let vendor = start(move |path, _| {
            if path.contains("777777") {
                let text = "message_id 777777 does not exist";
                return reply(
                    status,
                    &format!(r#"{{"error":{{"code":{code},"message":"{text}"}}}}"#),
                );
            }
            let ids = path.split_once('=').unwrap().1.split(',');
            let of: Vec<_> = ids.map(|id| format!(r#""{id}": {{"sent": 1}}"#)).collect();
            reply(200, &format!("{{{}}}", of.join(",")))
        });
        let vendor = vendor.await;
        let ids: Vec<String> = (777_700..777_800).map(|id| id.to_string()).collect();
        let ids: Vec<&str> = ids
            .iter()
            .map(|id| if *id == "777750" { "777777" } else { id })
            .collect();
        let ids: Vec<&str> = ids.into_iter().take(60).collect();
        let (taken, result) = vendor.messages(vendor::MESSAGES, &ids).await;
        assert_eq!(result, Ok(()), "{status} {code}");
        let refused: Vec<_> = taken
            .iter()
            .filter_map(|observation| match observation {
                Observation::MessageRejected {
                    asked,
                    reason,
                    then,
                } => Some((&**asked, &**reason, *then)),
                _ => None,
            })
            .collect();
        assert_eq!(refused, [("777777", reason, then)], "{status} {code}");
        assert_eq!(taken.len(), ids.len());
        assert!(vendor.requests() < 20);
    }
    // Everything refused: each id is found once, in at most two requests for each.
    let vendor = start(|_, _| reply(400, r#"{"error":{"code":27201}}"#)).await;
    let ids: Vec<String> = (0..100).map(|id| id.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let (taken, result) = vendor.messages(vendor::MESSAGES, &ids).await;
    assert_eq!((taken.len(), result), (100, Ok(())));
    assert!(vendor.requests() < 200);
}

#[tokio::test]
async fn batches_are_bounded_by_the_length_of_the_url() {
    let vendor = start(|_, _| reply(200, "{}")).await;
    let ids: Vec<String> = (0..100)
        .map(|id| format!("{}{id:03}", "7".repeat(500)))
        .collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let (taken, result) = vendor.messages(vendor::MESSAGES, &ids).await;
    assert_eq!((taken.len(), result), (100, Ok(())));
    let requests = vendor.requests.lock().unwrap();
    assert!(
        requests.len() > 5 && requests.len() < 12,
        "{}",
        requests.len()
    );
    assert!(requests.iter().all(|path| path.len() < 8100));
}

#[tokio::test]
async fn a_refusal_is_no_failure_of_the_lifecycle() {
    for (status, code, expected) in [
        (400, 27201, "1613113584 not yet"),
        (200, 23007, "1613113584 not yet"),
        // A device id can be wrong: nothing else would show it.
        (400, 21003, "1613113584 vendor"),
    ] {
        let body = format!(r#"{{"code": {code}, "message": "m"}}"#);
        let vendor = start(move |_, _| reply(status, &body)).await;
        let (taken, result) = vendor
            .messages(vendor::LIFECYCLE, &["1613113584", "x"])
            .await;
        assert_eq!(result, Ok(()), "{code}");
        assert_eq!(short(&taken), [expected, "x invalid_id AtOnce"]);
    }
}

/// What the users of each unit are, and the failure.
async fn users(
    hour: Reply,
    day: Reply,
    month: Reply,
) -> (Vec<String>, Option<(FailureKind, Scope)>) {
    let vendor = start(move |path, _| {
        let of = |unit| path.contains(unit);
        match (of("HOUR"), of("DAY")) {
            (true, _) => hour.clone(),
            (_, true) => day.clone(),
            _ => month.clone(),
        }
    });
    let vendor = vendor.await;
    let application = vendor.application();
    let query = WholeQuery {
        dataset: vendor::USERS,
        application: &application,
        messages: &[],
        since: None,
        patience: vendor.patience,
    };
    let answer = vendor.provider.whole(query).await;
    (
        short(&answer.observations),
        answer
            .result
            .err()
            .map(|failure| (failure.kind, failure.scope)),
    )
}

#[tokio::test]
async fn each_unit_of_time_fails_alone() {
    let items = |time: &str| {
        let items = format!(r#"{{"items": [{{"time": "{time}", "android": {{"new": 1}}}}]}}"#);
        reply(200, &items)
    };
    let (hour, day, month) = (
        items("2026-11-26 09"),
        items("2026-11-25"),
        items("2026-10"),
    );
    let error =
        |status, code: u32| reply(status, &format!(r#"{{"code": {code}, "message": "m"}}"#));
    let all = users(hour.clone(), day.clone(), month.clone()).await;
    assert_eq!(
        all,
        (
            vec!["day 1".into(), "hour 1".into(), "month 1".into()],
            None
        )
    );
    // No such data is an answer: the figures before it leave.
    for code in [21003, 1003, 23004] {
        for status in [200, 400] {
            let of = users(error(status, code), day.clone(), error(status, code)).await;
            assert_eq!(
                of,
                (
                    vec!["day 1".into(), "hour 0".into(), "month 0".into()],
                    None
                )
            );
        }
    }
    let of = users(hour.clone(), error(400, 21003), month.clone()).await;
    let failure = Some((FailureKind::Vendor, Scope::Query));
    assert_eq!(of, (vec!["hour 1".into(), "month 1".into()], failure));
    // Anything else is a failure, after what was answered.
    for (wrong, kind) in [
        (error(200, 23100), FailureKind::Vendor),
        (error(200, 23001), FailureKind::Unauthorized),
        (error(200, 21038), FailureKind::Forbidden),
        (reply(200, "{}"), FailureKind::Decode),
        (reply(200, "<html>"), FailureKind::Decode),
        (items("soon"), FailureKind::Decode),
        (reply(502, ""), FailureKind::Vendor),
    ] {
        let failure = Some((kind, Scope::Query));
        let of = users(wrong.clone(), day.clone(), month.clone()).await;
        assert_eq!(of, (vec!["day 1".into(), "month 1".into()], failure));
        let of = users(hour.clone(), wrong.clone(), month.clone()).await;
        assert_eq!(of, (vec!["hour 1".into(), "month 1".into()], failure));
        let of = users(hour.clone(), day.clone(), wrong.clone()).await;
        assert_eq!(of, (vec!["day 1".into(), "hour 1".into()], failure));
    }
    // Nor is a unit that has no figures, or is not asked for in the first hour of a day, an answer beside
    // refusals: the account is down.
    for hour in [error(401, 23001), error(400, 21003)] {
        let of = users(hour, error(401, 23001), error(401, 23001)).await;
        assert_eq!(
            of,
            (vec![], Some((FailureKind::Unauthorized, Scope::Account)))
        );
    }
}
