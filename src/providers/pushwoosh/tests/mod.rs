//! The provider against a scripted vendor.

mod events;
mod figures;
mod messages;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use delivery_clock::{Clock, ManualClock};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::vendor;
use crate::{
    model::{Application, Dataset, Event, Message},
    providers::{
        Failure, FailureKind, ListQuery, MessagesQuery, Observation, Provider, WholeQuery,
        scripted::{Received, Scripted, reply},
    },
};

struct Bench {
    provider: Arc<dyn Provider>,
    vendor: Scripted,
    hand: ManualClock,
    application: Application,
}

/// The status of an answer, and its body.
type Said = (u16, Value);

fn body_of(request: &Received) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

impl Bench {
    /// A provider whose vendor answers as `script` says, which knows the last part of the path and
    /// the request's body.
    async fn new(
        now: &str,
        script: impl Fn(&str, &Value) -> Said + Send + Sync + 'static,
    ) -> Bench {
        let answer = move |request: &Received| {
            let last = request.target.rsplit('/').next().unwrap_or_default();
            let (status, answer) = script(last, &body_of(request));
            reply(status, &answer.to_string()).header("content-type", "application/json")
        };
        let entry = json!({"type": "pushwoosh", "credentials": {"api_token": "t"},
            "applications": [{"id": "app"}], "messages": {"static": ["A"]}});
        let (clock, hand) = Clock::manual(now.parse().unwrap());
        let vendor = Scripted::start_with(entry, clock, answer).await;
        Bench {
            provider: vendor.provider.clone(),
            hand,
            application: vendor.application(),
            vendor,
        }
    }

    /// The fields that were not known.
    fn unknown(&self) -> BTreeSet<String> {
        self.vendor.unknown().into_iter().collect()
    }

    async fn list(&self, since: &str) -> (Vec<Observation>, Result<(), Failure>) {
        let since = since.parse().unwrap();
        let query = ListQuery {
            dataset: vendor::MESSAGES,
            application: &self.application,
            oldest: since,
            since,
            max_messages: usize::MAX,
            with_numbers: true,
            patience: Duration::ZERO,
        };
        let answer = self.provider.list(query).await;
        (answer.observations, answer.result)
    }

    async fn named(
        &self,
        dataset: Dataset,
        names: &[&str],
    ) -> (Vec<Observation>, Result<(), Failure>) {
        let messages = messages(names);
        let query = MessagesQuery {
            dataset,
            application: &self.application,
            messages: &messages,
            patience: Duration::ZERO,
        };
        let answer = self.provider.messages(query).await;
        (answer.observations, answer.result)
    }

    async fn whole(
        &self,
        dataset: Dataset,
        names: &[&str],
        since: Option<Timestamp>,
    ) -> (Vec<Observation>, Result<(), Failure>) {
        let messages = messages(names);
        let query = WholeQuery {
            dataset,
            application: &self.application,
            messages: &messages,
            since,
            patience: Duration::ZERO,
        };
        let answer = self.provider.whole(query).await;
        (answer.observations, answer.result)
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
                    Observation::Events(rows) => {
                        round.most = round.most.max(rows.len());
                        round.happened.extend(rows);
                    }
                    Observation::Cursor(until) => {
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

    /// The bodies of the requests since this was last asked.
    fn requests(&self) -> Vec<Value> {
        let received = std::mem::take(&mut *self.vendor.received.lock().unwrap());
        received.iter().map(body_of).collect()
    }
}

#[derive(Default)]
struct Round {
    happened: Vec<Event>,
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
        Observation::ListedMessage(message) => Some(&*message.id),
        _ => None,
    });
    listed.collect()
}

#[tokio::test]
async fn the_token_is_sent_with_each_request_and_what_is_asked_for_is_json() {
    let bench = Bench::new("2026-11-26T08:00:00Z", |_, _| (200, json!({"items": []}))).await;
    bench.list("2026-11-20T00:00:00Z").await.1.unwrap();
    let received = bench.vendor.received.lock().unwrap();
    for request in received.iter() {
        assert_eq!(request.method, http::Method::POST);
        assert_eq!(request.headers["authorization"], "Api t");
        assert_eq!(request.headers["content-type"], "application/json");
    }
    assert!(!received.is_empty());
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
        let (observed, result) = bench.whole(vendor::BOUNCES, &[], None).await;
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
        let round = bench.round(vendor::BOUNCES, &mut cursor).await;
        assert_eq!((round.failure, round.queries), (None, 2));
        assert_eq!(cursor, "2026-11-26T08:00:00Z".parse().ok());
    }
}
