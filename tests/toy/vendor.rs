//! A vendor that is made of the public door alone, as one in a folder of `src/providers` is.
//!
//! Its API: `GET /list?app=A` answers with `[{"id": "1", "at": 1795000000}]`; `GET /numbers?ids=1,2`
//! with `{"1": {"out": 10, "in": 8}}`, at most two ids at once; `GET /people?app=A` with
//! `{"active": 7}`. The key is a bearer token.

use std::{sync::Arc, time::Duration};

use delivery_exporter::{
    model::{
        AppMetric, AppMetricKind, Channel, Dataset, DatasetSpec, Measure, Message, QueryMethod,
        Snapshot, Totals, field,
    },
    providers::{
        Answer, Failure, FailureKind, ListQuery, Listing, MessagesQuery, Observation, Provider,
        Refusal, Scope, WholeQuery,
        http::{Http, HttpAnswer, Request, Verdict},
        vendor::{
            Applications, BaseUrl, ConfigKey, DEFAULT_MAX_AGE, KeyKind, ProviderParts, Publication,
            Remedies, Vendor,
        },
    },
    secret::SecretSource,
};
use futures_util::{FutureExt, future::BoxFuture};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

/// The numbers of single messages.
pub const NUMBERS: Dataset = Dataset::new(&DatasetSpec {
    has_snapshots: true,
    ..DatasetSpec::new("numbers", QueryMethod::Messages { batch: 2 })
});

/// How many people use an application.
pub const PEOPLE: Dataset = Dataset::new(&DatasetSpec {
    interval: Some(Duration::from_secs(3600)),
    ..DatasetSpec::new("people", QueryMethod::Whole)
});

/// The declaration.
pub static TOY: Vendor = Vendor {
    name: "toy",
    title: "Toy Messages",
    short_title: "Toy",
    product: "Toy Messages",
    summary: "what goes out and what comes in",
    documentation: "https://example.com/toy",
    sample: include_str!("sample.yaml"),
    base_url: BaseUrl::Required("a toy has no address of its own"),
    max_age: DEFAULT_MAX_AGE,
    max_age_reason: "",
    credentials: &[&[ConfigKey::secret("toy_key", "the key on the box.")]],
    optional_credentials: &[],
    applications: Applications::Several {
        id: "toy's number",
        check: None,
    },
    keys: &[ConfigKey {
        name: "toy_shelf",
        kind: KeyKind::Count,
        default: "3",
        help: "which shelf it stands on.",
        lack: Some("stands on no shelf"),
    }],
    datasets: &[NUMBERS, PEOPLE],
    channels: &[Channel {
        name: "push",
        fields: &[field("out", Measure::Sent), field("in", Measure::Delivered)],
    }],
    publication: Publication::Continuous,
    can_list: true,
    list_cost: None,
    family_fields: &[("delivery_app_users_active", "active")],
    measure_notes: &[],
    remedies: Remedies::NONE,
    build: |parts| Arc::new(Toy::new(parts)),
};

/// The toy's API, with the key of one account.
struct Toy {
    http: Http,
    key: Option<SecretSource>,
}

impl Toy {
    fn new(parts: ProviderParts) -> Toy {
        Toy {
            http: parts.http,
            key: parts.options.credentials.secrets().into_iter().next(),
        }
    }

    /// Asks until there is JSON, or an error that stays; with the start of the request.
    async fn get(
        &self,
        dataset: Dataset,
        path: &str,
        patience: Duration,
    ) -> Result<(Value, Timestamp), Failure> {
        let build = || {
            let key = self.key.as_ref().map_or("", |key| key.value.expose());
            Request::json(path.to_owned(), &format!("Bearer {key}"))
        };
        let judge = |answer: &HttpAnswer| match answer.status {
            StatusCode::UNAUTHORIZED => {
                let failure = Failure::new(FailureKind::Unauthorized, "the key is refused");
                Verdict::Fail(failure.of(Scope::Account))
            }
            StatusCode::OK => match serde_json::from_slice(&answer.body) {
                Ok(value) => Verdict::Done(value),
                Err(_) => Verdict::Fail(Failure::new(FailureKind::Decode, "no JSON")),
            },
            _ => Verdict::Retry(Failure::new(FailureKind::Vendor, "the toy is broken"), None),
        };
        self.http
            .call(dataset, patience, build, judge, || false)
            .await
    }

    async fn read_list(&self, query: &ListQuery<'_>, listing: &mut Listing) -> Result<(), Failure> {
        let path = format!("/list?app={}", query.application.id);
        let (rows, _) = self.get(query.dataset, &path, query.patience).await?;
        for row in rows.as_array().into_iter().flatten() {
            let sent_at = row["at"].as_i64();
            listing.push(Observation::ListedMessage(Message {
                application: query.application.id.clone(),
                id: row["id"].as_str().unwrap_or_default().into(),
                campaign: None,
                sent_at: sent_at.and_then(|second| Timestamp::from_second(second).ok()),
            }));
        }
        Ok(())
    }
}

/// What the toy says about one message.
fn numbers(id: &Arc<str>, row: &Value, asked_at: Timestamp) -> Observation {
    let fields = TOY.channels[0].fields.iter();
    let counts = fields.filter_map(|field| Some((field.measure, row[field.name].as_u64()?)));
    Observation::MessageSnapshot(Box::new(Snapshot {
        asked: id.clone(),
        id: id.clone(),
        campaign: None,
        sent_at: None,
        asked_at,
        totals: vec![Totals {
            channel: TOY.channels[0].name,
            counts: counts.collect(),
            reported_ratio: None,
        }],
        breakdown: Vec::new(),
        types: Vec::new(),
    }))
}

impl Provider for Toy {
    fn messages<'a>(&'a self, query: MessagesQuery<'a>) -> BoxFuture<'a, Answer> {
        async move {
            let ids: Vec<&str> = query.messages.iter().map(|own| &*own.id).collect();
            let path = format!("/numbers?ids={}", ids.join(","));
            let (rows, asked_at) = match self.get(query.dataset, &path, query.patience).await {
                Ok(answer) => answer,
                Err(failure) => return Answer::failed(failure),
            };
            let observations = query
                .messages
                .iter()
                .map(|message| match &rows[&*message.id] {
                    Value::Null => Observation::MessageRejected {
                        asked: message.id.clone(),
                        reason: "not_found".into(),
                        then: Refusal::UnlessNew,
                    },
                    row => numbers(&message.id, row, asked_at),
                });
            Answer::new(observations.collect(), Ok(()))
        }
        .boxed()
    }

    fn list<'a>(&'a self, query: ListQuery<'a>) -> BoxFuture<'a, Answer> {
        async move {
            let mut listing = Listing::new(query.max_messages, query.with_numbers);
            let result = self.read_list(&query, &mut listing).await;
            listing.into_answer(result)
        }
        .boxed()
    }

    fn whole<'a>(&'a self, query: WholeQuery<'a>) -> BoxFuture<'a, Answer> {
        async move {
            let path = format!("/people?app={}", query.application.id);
            match self.get(query.dataset, &path, query.patience).await {
                Ok((people, _)) => {
                    let figure = people["active"].as_f64().map(|value| AppMetric {
                        kind: AppMetricKind::UsersActive {
                            platform: "all".into(),
                            time_unit: "day",
                        },
                        value,
                    });
                    let figures = Observation::Figures {
                        asked: None,
                        part: "",
                        figures: figure.into_iter().collect(),
                    };
                    Answer::new(vec![figures], Ok(()))
                }
                Err(failure) => Answer::failed(failure),
            }
        }
        .boxed()
    }
}
