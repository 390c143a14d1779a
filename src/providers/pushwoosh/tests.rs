//! The provider against a scripted vendor.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::PoisonError,
    time::Duration,
};

use axum::{Router, extract::Request as AxumRequest, response::IntoResponse};
use delivery_clock::{Clock, ManualClock};
use serde_json::json;

use super::*;
use crate::{
    config::Config,
    model::{Application, Happening, HappeningKind, Message},
    providers::{Observer, Refusal, RequestCode},
};

/// Fields that were not known, and how often requests were tried again.
#[derive(Default)]
struct Notes {
    unknown: Mutex<BTreeSet<String>>,
}

impl Observer for Notes {
    fn request(&self, _: Dataset, _: RequestCode) {}
    fn retry(&self, _: Dataset) {}
    fn rate_limited(&self, _: Dataset) {}
    fn unknown_field(&self, _: Dataset, field: &str) {
        self.unknown.lock().unwrap().insert(field.to_owned());
    }
}

type Requests = Arc<Mutex<Vec<Value>>>;

struct Bench {
    provider: Pushwoosh,
    notes: Arc<Notes>,
    /// The bodies of all requests.
    requests: Requests,
    hand: ManualClock,
    clock: Clock,
    application: Application,
}

/// The status of an answer, and its body.
type Scripted = (u16, Value);

impl Bench {
    /// A provider whose vendor answers as `script` says, which knows the last part of the path and
    /// the request's body.
    async fn new(
        now: &str,
        script: impl Fn(&str, &Value) -> Scripted + Send + Sync + 'static,
    ) -> Bench {
        let (requests, script) = (Requests::default(), Arc::new(script));
        let seen = requests.clone();
        let answer = move |request: AxumRequest| {
            let (seen, script) = (seen.clone(), script.clone());
            async move {
                let path = request.uri().path().to_owned();
                let body = axum::body::to_bytes(request.into_body(), 1 << 20)
                    .await
                    .unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                let last = path.rsplit('/').next().unwrap_or_default();
                let (status, answer) = script(last, &body);
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(body);
                let status = http::StatusCode::from_u16(status).unwrap();
                (
                    status,
                    [("content-type", "application/json")],
                    answer.to_string(),
                )
                    .into_response()
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let text = format!(
            "providers: [{{name: a, type: pushwoosh, base_url: 'http://{address}', credentials: {{api_token: t}},
              rate_limit: {{requests_per_second: 1000000, burst: 100000}}, applications: [{{id: app}}], messages: {{static: ['A']}}}}]"
        );
        let config: Config = config::parse(Path::new("config.yaml"), &text, &|_| None).unwrap();
        let (clock, hand) = Clock::manual(now.parse().unwrap());
        let notes = Arc::new(Notes::default());
        let http = Http::new(&config.accounts[0], clock.clone(), notes.clone()).unwrap();
        Bench {
            provider: Pushwoosh::new(http, &config.accounts[0]),
            notes,
            requests,
            hand,
            clock,
            application: config.accounts[0].applications[0].clone(),
        }
    }

    async fn ask(&self, query: Query<'_>) -> (Vec<Observation>, Result<(), Failure>) {
        let mut observed = Vec::new();
        let result = self
            .provider
            .ask(query, &mut |own| observed.push(own))
            .await;
        (observed, result)
    }

    async fn list(&self, since: &str) -> (Vec<Observation>, Result<(), Failure>) {
        let since = since.parse().unwrap();
        self.ask(Query::List {
            dataset: Dataset::Messages,
            application: &self.application,
            oldest: since,
            since,
            deadline: self.clock.monotonic(),
        })
        .await
    }

    async fn named(
        &self,
        dataset: Dataset,
        names: &[&str],
    ) -> (Vec<Observation>, Result<(), Failure>) {
        let messages = messages(names);
        self.ask(Query::Messages {
            dataset,
            application: &self.application,
            messages: &messages,
            deadline: self.clock.monotonic(),
        })
        .await
    }

    async fn whole(
        &self,
        dataset: Dataset,
        names: &[&str],
        since: Option<Timestamp>,
    ) -> (Vec<Observation>, Result<(), Failure>) {
        let messages = messages(names);
        self.ask(Query::Whole {
            dataset,
            application: &self.application,
            messages: &messages,
            since,
            deadline: self.clock.monotonic(),
        })
        .await
    }

    /// Rounds of a data set that is read in slices, as the collector asks for them: the cursor is
    /// kept, and there is another query at once while there is more.
    async fn round(&self, dataset: Dataset, cursor: &mut Option<Timestamp>) -> Round {
        let mut round = Round::default();
        for _ in 0..2000 {
            let (observed, result) = self.whole(dataset, &[], *cursor).await;
            let mut more = false;
            for own in observed {
                match own {
                    Observation::Happened(rows) => {
                        round.most = round.most.max(rows.len());
                        round.happened.extend(rows);
                    }
                    Observation::ReadUntil(until) => {
                        assert!(cursor.is_none_or(|cursor| cursor < until));
                        *cursor = Some(until);
                    }
                    Observation::More => more = true,
                    other => panic!("{other:?}"),
                }
            }
            round.queries += 1;
            round.failure = result.err();
            if round.failure.is_some() || !more {
                return round;
            }
        }
        panic!("the round does not end");
    }

    fn requests(&self) -> Vec<Value> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

#[derive(Default)]
struct Round {
    happened: Vec<Happening>,
    queries: usize,
    most: usize,
    failure: Option<Failure>,
}

impl Round {
    /// How many different things happened.
    fn distinct(&self) -> usize {
        let digests = self.happened.iter().map(|own| own.digest);
        digests.collect::<BTreeSet<_>>().len()
    }
}

fn messages(names: &[&str]) -> Vec<Message> {
    let message = |name: &&str| Message {
        application: Arc::from("app"),
        id: Arc::from(*name),
        campaign: None,
        sent_at: None,
    };
    names.iter().map(message).collect()
}

/// A page of `rows` as a request wants it, at most `cap` long.
fn page(request: &Value, rows: &[Value], cap: usize) -> Vec<Value> {
    let number = |name: &str| usize::try_from(request[name].as_u64().unwrap()).unwrap();
    let length = number("per_page").min(cap);
    let rows = rows.iter().skip(number("page") * length);
    rows.take(length).cloned().collect()
}

fn item(index: usize, date: &str) -> Value {
    json!({"id": 1000 + index, "code": format!("C-{index}"), "send_date": date, "status": "DONE",
        "push_info": {"metrics": [{"sends": index + 1, "platform": 3}]}})
}

/// The names of the messages that were listed, in their order.
fn listed(observed: &[Observation]) -> Vec<&str> {
    let listed = observed.iter().filter_map(|own| match own {
        Observation::Listed(message) => Some(&*message.id),
        _ => None,
    });
    listed.collect()
}

#[tokio::test]
async fn the_list_finds_every_message_whatever_the_order_and_the_length_of_pages() {
    for (cap, newest_first, total) in [
        (1000, true, json!(250)),
        (7, true, json!("250")),
        (100, false, json!(250.0)),
        (100, false, Value::Null),
    ] {
        let mut rows: Vec<Value> = (0..250)
            .map(|index| item(index, &format!("2026-11-{:02} 10:00:00", 1 + index / 10)))
            .collect();
        if newest_first {
            rows.reverse();
        }
        let script = move |path: &str, request: &Value| {
            assert_eq!(path, "messages:list");
            let range = &request["filters"]["date_range"];
            let (from, to) = (
                range["date_from"].as_str().unwrap(),
                range["date_to"].as_str().unwrap(),
            );
            // Neither bound is inclusive.
            let within = |row: &&Value| {
                let day = &row["send_date"].as_str().unwrap()[..10];
                day > from && day < to
            };
            let rows: Vec<Value> = rows.iter().filter(within).cloned().collect();
            let total = if total.is_null() || rows.len() == 250 {
                total.clone()
            } else {
                json!(rows.len())
            };
            (
                200,
                json!({"total": total, "items": page(request, &rows, cap)}),
            )
        };
        let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
        let (observed, result) = bench.list("2026-10-27T08:00:00Z").await;
        result.unwrap();
        let found: BTreeSet<&str> = listed(&observed).into_iter().collect();
        assert_eq!((listed(&observed).len(), found.len()), (250, 250), "{cap}");
        let snapshots = observed
            .iter()
            .filter(|own| matches!(own, Observation::Snapshot(_)));
        assert_eq!(snapshots.count(), 250);
        assert_eq!(
            observed[0],
            Observation::Named {
                alias: Arc::from(observed_id(&observed)),
                id: Arc::from(listed(&observed)[0])
            }
        );
    }
}

fn observed_id(observed: &[Observation]) -> String {
    let index: usize = listed(observed)[0]
        .trim_start_matches("C-")
        .parse()
        .unwrap();
    (1000 + index).to_string()
}

#[tokio::test]
async fn a_list_shorter_than_its_total_fails_after_all_its_messages() {
    let script = |_: &str, request: &Value| {
        let rows: Vec<Value> = (0..25)
            .map(|index| item(index, "2026-11-25 10:00:00"))
            .collect();
        (200, json!({"total": 27, "items": page(request, &rows, 10)}))
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let (observed, result) = bench.list("2026-11-25T08:00:00Z").await;
    assert_eq!(listed(&observed).len(), 25);
    let failure = result.unwrap_err();
    assert_eq!(
        (failure.kind, &*failure.text),
        (FailureKind::Vendor, "the list holds 25 of 27 rows")
    );
}

#[tokio::test]
async fn old_messages_are_passed_over_and_one_named_in_two_ways_is_one() {
    let script = |_: &str, request: &Value| {
        let mut by_id = item(1, "2026-11-25 10:00:00");
        by_id.as_object_mut().unwrap().remove("code");
        let rows = [
            by_id,
            item(1, "2026-11-25 10:00:00"),
            item(2, "2026-11-20 10:00:00"),
            json!({"code": "C-3", "created_date": "2026-11-25 12:00:00"}),
        ];
        (200, json!({"items": page(request, &rows, 1)}))
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let (observed, result) = bench.list("2026-11-25T08:00:00Z").await;
    result.unwrap();
    assert_eq!(listed(&observed), ["1001", "C-3"]);
    let created = observed.iter().find_map(|own| match own {
        Observation::Listed(message) if &*message.id == "C-3" => message.sent_at,
        _ => None,
    });
    assert_eq!(created, "2026-11-25T12:00:00Z".parse().ok());
}

#[tokio::test]
async fn a_row_without_a_name_costs_no_other_and_is_a_failure() {
    let script = |_: &str, request: &Value| {
        let rows = [
            json!([1]),
            item(1, "2026-11-25 10:00:00"),
            json!({"code": "B", "push_info": 7}),
        ];
        (
            200,
            json!({"total": 3, "items": page(request, &rows, 100), "took": 3}),
        )
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let (observed, result) = bench.list("2026-11-25T08:00:00Z").await;
    assert_eq!(listed(&observed), ["C-1", "B"]);
    assert!(matches!(observed.last(), Some(Observation::Failed { .. })));
    assert_eq!(result.unwrap_err().kind, FailureKind::Decode);
    assert!(bench.notes.unknown.lock().unwrap().contains("took"));
}

#[tokio::test]
async fn a_refused_name_is_found_by_halving_and_costs_no_other() {
    for (status, answer, reason) in [
        (404, json!({"code": 5, "message": "no such message"}), "5"),
        (400, json!({"error": "no such message"}), "http_400"),
        (200, json!({"code": 3, "message": "no such message"}), "3"),
        (404, json!({"error": "no such message"}), "not_found"),
    ] {
        let script = move |_: &str, request: &Value| {
            let codes = request["filters"]["messages_codes"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            if codes.iter().any(|code| code == "C-5") {
                return (status, answer.clone());
            }
            let rows: Vec<Value> = (0..8)
                .map(|index| item(index, "2026-11-25 10:00:00"))
                .collect();
            let wanted = rows
                .into_iter()
                .filter(|row| codes.contains(&row["code"]) && row["code"] != "C-6");
            let rows: Vec<Value> = wanted.collect();
            (
                200,
                json!({"total": rows.len(), "items": page(request, &rows, 2)}),
            )
        };
        let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
        let names: Vec<String> = (0..8).map(|index| format!("C-{index}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (observed, result) = bench.named(Dataset::Messages, &names).await;
        result.unwrap();
        let snapshots = observed
            .iter()
            .filter(|own| matches!(own, Observation::Snapshot(_)));
        assert_eq!(snapshots.count(), 6);
        let not_yet = observed
            .iter()
            .filter(|own| matches!(own, Observation::NotYet { asked, .. } if &**asked == "C-6"));
        assert_eq!(not_yet.count(), 1);
        let refused = Observation::Refused {
            asked: Arc::from("C-5"),
            reason: Arc::from(reason),
            then: Refusal::UnlessNew,
        };
        assert_eq!(observed.iter().filter(|own| **own == refused).count(), 1);
    }
}

#[tokio::test]
async fn an_application_that_is_refused_costs_no_message_its_place() {
    let script = |_: &str, _: &Value| (400, json!({"code": 3, "message": "application not found"}));
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let (observed, result) = bench.named(Dataset::Messages, &["A", "B", "7"]).await;
    assert_eq!(observed, []);
    assert_eq!(result.unwrap_err().scope, Scope::Application);
    assert_eq!(bench.requests().len(), 2);
}

#[tokio::test]
async fn names_are_matched_by_their_normalised_form_and_asked_for_in_short_requests() {
    let script = |_: &str, request: &Value| {
        let ids = request["filters"]["messages_ids"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let rows: Vec<Value> = ids
            .iter()
            .map(|id| json!({"id": format!("{id}.0"), "code": format!("M{id}"), "push_info": {"metrics": {"sends": 1}}}))
            .map(|mut row| {
                row["id"] = serde_json::from_str(row["id"].as_str().unwrap()).unwrap();
                row
            })
            .collect();
        (200, json!({"items": page(request, &rows, 10)}))
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let (observed, result) = bench.named(Dataset::Messages, &["12345678900"]).await;
    result.unwrap();
    let Some(Observation::Snapshot(snapshot)) = observed.last() else {
        panic!("{observed:?}");
    };
    assert_eq!(
        (&*snapshot.asked, &*snapshot.id),
        ("12345678900", "M12345678900")
    );
    bench.requests();
    let long: Vec<String> = (0..100).map(|index| format!("{index:0>500}x")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    bench.named(Dataset::Messages, &long).await.1.unwrap();
    let longest = bench
        .requests()
        .iter()
        .map(|body| body.to_string().len())
        .max();
    assert!(longest.unwrap() < 10_000, "{longest:?}");
}

#[tokio::test]
async fn what_is_no_answer_is_a_failure_of_the_right_kind() {
    use FailureKind::{Decode, Forbidden, RateLimited, Unauthorized, Vendor};
    for (status, answer, kind) in [
        (200, json!({"message": "invalid auth token"}), Unauthorized),
        (200, json!({"message": "something"}), Vendor),
        (200, json!({"code": 7}), Forbidden),
        (
            200,
            json!({"error": {"code": "PERMISSION_DENIED"}}),
            Forbidden,
        ),
        (200, json!({"error": "too many requests"}), RateLimited),
        (200, json!({"status": "error"}), Vendor),
        (
            200,
            json!({"status_code": 210, "status_message": "Argument error"}),
            Vendor,
        ),
        (200, json!({"unheard": "of"}), Decode),
        (200, json!({"bounced_emails": {}}), Decode),
        (200, json!({"bounced_emails": 5}), Decode),
        (200, json!([]), Decode),
        (200, Value::Null, Decode),
        (403, json!({"message": "no"}), Forbidden),
        (403, json!({"error": {"message": "no"}}), Forbidden),
        (429, json!({"status": {"message": "slow"}}), RateLimited),
        (400, json!({"code": 16}), Unauthorized),
        (500, json!({}), Vendor),
    ] {
        let text = answer.to_string();
        let bench = Bench::new("2026-11-26T08:00:00Z", move |_: &str, _: &Value| {
            (status, answer.clone())
        })
        .await;
        let (observed, result) = bench.whole(Dataset::Bounces, &[], None).await;
        assert_eq!(result.unwrap_err().kind, kind, "{text}");
        assert_eq!(observed, [], "{text}");
    }
    for answer in [
        json!({}),
        json!({"total": 0}),
        json!({"bounced_emails": null, "status": "ok"}),
    ] {
        let bench = Bench::new("2026-11-26T08:00:00Z", move |_: &str, _: &Value| {
            (200, answer.clone())
        })
        .await;
        let mut cursor = None;
        let round = bench.round(Dataset::Bounces, &mut cursor).await;
        assert_eq!((round.failure, round.queries), (None, 2));
        assert_eq!(cursor, "2026-11-26T08:00:00Z".parse().ok());
    }
}

/// A bounce per hour of November 2026.
fn bounces() -> Vec<Value> {
    let row = |hour: usize| {
        json!({"email": format!("p{hour}@example.com"), "type": "Hardbounce", "reason": "",
            "date": format!("2026-11-{:02}T{:02}:00:00.000Z", 1 + hour / 24, hour % 24)})
    };
    (0..24 * 30).map(row).collect()
}

fn between(rows: &[Value], field: &str, from: &Value, to: &Value) -> Vec<Value> {
    let time =
        |value: &Value| -> Timestamp { super::identity::instant(value.as_str().unwrap()).unwrap() };
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
    let round = bench.round(Dataset::Bounces, &mut cursor).await;
    assert!(round.failure.is_some());
    assert_eq!(cursor, "2026-11-11T00:00:00Z".parse().ok());
    assert!(round.most <= 7);
    *failing.lock().unwrap() = false;
    bench.requests();
    let rest = bench.round(Dataset::Bounces, &mut cursor).await;
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
    let next = bench.round(Dataset::Bounces, &mut cursor).await;
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
    let round = bench.round(Dataset::Bounces, &mut None).await;
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
    let round = bench.round(Dataset::Bounces, &mut cursor).await;
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
    let round = bench.round(Dataset::Bounces, &mut cursor).await;
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
    let round = bench.round(Dataset::Bounces, &mut cursor).await;
    let failure = round.failure.as_ref().unwrap();
    assert_eq!(
        (failure.kind, &*failure.text),
        (FailureKind::Decode, "2 of the bounces cannot be read")
    );
    // From nine o'clock yesterday to the midnight that ends today.
    assert_eq!(round.distinct(), 15 + 24 + 1);
    // Reading them again would not help.
    assert_eq!(cursor, "2026-11-26T08:30:00Z".parse().ok());
    assert!(bench.notes.unknown.lock().unwrap().contains("e-mail"));
}

/// An event per minute, told in pages of 5 along tokens.
fn log_script(until: &'static str) -> impl Fn(&str, &Value) -> Scripted {
    let end: Timestamp = until.parse().unwrap();
    move |_, request| {
        let time = |name: &str| super::identity::instant(request[name].as_str().unwrap()).unwrap();
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
    let round = bench.round(Dataset::Log, &mut cursor).await;
    assert_eq!(round.failure, None);
    assert_eq!(cursor, "2026-11-26T08:00:30Z".parse().ok());
    // 26 hours, and the five minutes that the vendor's clock is ahead.
    assert_eq!(round.distinct(), 26 * 60 + 6);
    let label = HappeningKind::Log {
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
    let first = bench.round(Dataset::Log, &mut cursor).await;
    let failure = first.failure.as_ref().unwrap();
    assert_eq!(
        (failure.kind, failure.scope),
        (FailureKind::Forbidden, Scope::Application)
    );
    *failing.lock().unwrap() = false;
    let rest = bench.round(Dataset::Log, &mut cursor).await;
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
    bench.round(Dataset::Log, &mut cursor).await;
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
        let round = bench.round(Dataset::Log, &mut cursor).await;
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
        if request["date_to"].as_str().unwrap() > "2026-11-26 08:00:00" {
            return (400, json!({"error": "date_to is in the future"}));
        }
        good(path, request)
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let mut cursor = "2026-11-26T07:55:00Z".parse().ok();
    let round = bench.round(Dataset::Log, &mut cursor).await;
    assert_eq!(round.failure, None);
    assert!(round.distinct() > 120);
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
    let round = bench.round(Dataset::Log, &mut cursor).await;
    assert_eq!(round.distinct(), 2);
    assert_eq!(
        &*round.failure.unwrap().text,
        "2 of the events of the log cannot be read"
    );
    assert_eq!(cursor, "2026-11-26T08:00:00Z".parse().ok());
    assert!(bench.notes.unknown.lock().unwrap().contains("next"));
}

#[tokio::test]
async fn links_wait_for_an_email_and_count_what_can_be_read() {
    let script = |path: &str, request: &Value| match path {
        "messages:list" => {
            let mail = json!({"id": 9, "code": "M", "email_info": {"metrics": [{"sends": 1}]}});
            (
                200,
                json!({"items": page(request, &[mail, item(1, "2026-11-25 10:00:00")], 10)}),
            )
        }
        "linksInteractions" => {
            assert_eq!(request["filters"]["messages_codes"], json!(["M"]));
            let range = json!({"date_from": "2026-10-26", "date_to": "2026-11-27"});
            assert_eq!(request["filters"]["date_range"], range);
            (
                200,
                json!({"items": [{"link": "https://a.example/x?1", "clicks": "3"}, 5, {"link": "https://a.example/x", "clicks": 4.0},
                {"link": "https://a.example/y", "clicks": 4}, {"link": "https://a.example/y", "clicks": -4}]}),
            )
        }
        _ => {
            let click = |second: u32, device: &str| json!({"timestamp": format!("2026-11-25 10:00:{second:02}"), "link": "https://a.example/x?1", "hwid": device});
            let mut rows: Vec<Value> = (0..25)
                .map(|second| click(second, &format!("d{}", second % 4)))
                .collect();
            // Two clicks that cannot be told apart, and one that cannot be read.
            rows.push(click(0, "D0"));
            rows.push(json!({"link": "https://a.example/x"}));
            (
                200,
                json!({"total": rows.len(), "items": page(request, &rows, 7)}),
            )
        }
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    for dataset in [Dataset::Links, Dataset::LinkDevices] {
        assert!(bench.provider.needs_messages(dataset));
        let (observed, result) = bench.whole(dataset, &["M", "C-1"], None).await;
        assert_eq!(
            (observed, result),
            (vec![Observation::NothingToQuery], Ok(()))
        );
    }
    bench.list("2026-11-25T08:00:00Z").await.1.unwrap();
    let values = |observed: &[Observation]| -> Vec<f64> {
        let [Observation::Figures { figures, .. }] = observed else {
            panic!("{observed:?}");
        };
        figures.iter().map(|figure| figure.value).collect()
    };
    let (observed, result) = bench.whole(Dataset::Links, &["M", "C-1"], None).await;
    assert_eq!(values(&observed), [7.0]);
    assert_eq!(&*result.unwrap_err().text, "2 of the links cannot be read");
    let (observed, result) = bench.whole(Dataset::LinkDevices, &["M", "C-1"], None).await;
    assert_eq!(values(&observed), [4.0]);
    assert_eq!(&*result.unwrap_err().text, "1 of the clicks cannot be read");
}

#[tokio::test]
async fn a_message_without_conversions_is_not_yet_and_a_refused_one_is_its_own() {
    for (status, answer, refused) in [
        (404, json!({"code": 5, "message": "no such message"}), false),
        (400, json!({"code": 3, "message": "bad code"}), true),
        (200, json!({"code": 9, "message": "bad code"}), true),
    ] {
        let bench = Bench::new("2026-11-26T08:00:00Z", move |_: &str, _: &Value| {
            (status, answer.clone())
        })
        .await;
        let (observed, result) = bench.named(Dataset::Intervals, &["A"]).await;
        result.unwrap();
        assert_eq!(
            matches!(observed[0], Observation::Refused { .. }),
            refused,
            "{observed:?}"
        );
        assert_eq!(matches!(observed[0], Observation::NotYet { .. }), !refused);
    }
    let script = |_: &str, _: &Value| {
        (
            200,
            json!({"metrics": [], "conversion": {"events": {"x": {"hits": "7", "new": 1}}}}),
        )
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let (observed, result) = bench.named(Dataset::Intervals, &["A"]).await;
    result.unwrap();
    assert!(matches!(&observed[0], Observation::Figures { figures, .. } if figures.len() == 1));
    assert!(
        bench
            .notes
            .unknown
            .lock()
            .unwrap()
            .contains("conversion.events.new")
    );
}
