//! What a vendor's answer costs from its bytes to observations: the provider's whole way, with answers from
//! memory.
//!
//! ```text
//! cargo bench --bench decode
//! ```
//!
//! Beside it, how long serde_json takes to look at the same bytes once without keeping anything: what a
//! decoder costs at least.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark may panic"
)]

use std::{
    fmt::Write,
    future::ready,
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use delivery_clock::Clock;
use delivery_exporter::{
    config,
    model::{Application, Dataset, Message},
    providers::{
        MessagesQuery, Observation, Observer, Provider, RequestCode, build_on,
        http::{Answers, Http},
    },
};
use futures_util::FutureExt;
use http::Response;
use serde_json::json;

/// How long each is repeated.
const LASTS: Duration = Duration::from_secs(3);
/// The medians of so many parts are shown.
const PARTS: u32 = 15;

struct Silent;

impl Observer for Silent {
    fn request(&self, _: Dataset, _: RequestCode) {}
    fn retry(&self, _: Dataset) {}
    fn rate_limited(&self, _: Dataset) {}
    fn unknown_field(&self, _: Dataset, _: &str) {}
}

/// A vendor that answers everything with one body.
struct Case {
    name: &'static str,
    provider: Arc<dyn Provider>,
    dataset: Dataset,
    application: Application,
    messages: Vec<Message>,
    body: Bytes,
}

impl Case {
    fn new(
        name: &'static str,
        mut entry: serde_json::Value,
        ids: Vec<String>,
        body: String,
    ) -> Case {
        entry["name"] = json!("bench");
        entry["base_url"] = json!("http://127.0.0.1:9");
        entry["rate_limit"] = json!({"requests_per_second": 1e9, "burst": 1_000_000_000});
        let text = json!({"providers": [entry]}).to_string();
        let config = config::parse(Path::new("bench.yaml"), &text, &|_| None).unwrap();
        let account = &config.accounts[0];
        let body = Bytes::from(body);
        let answer = body.clone();
        let answers: Answers = Arc::new(move |_| {
            let response = Response::builder().header("content-type", "application/json");
            ready(Ok(response.body(answer.clone().into()).unwrap())).boxed()
        });
        let http = Http::new(account, Clock::system(), Arc::new(Silent)).unwrap();
        let application = account.applications[0].clone();
        let message = |id: String| Message {
            application: application.id.clone(),
            id: id.into(),
            campaign: None,
            sent_at: None,
        };
        Case {
            name,
            provider: build_on(http.answered_by(answers), account),
            dataset: account.collect[0],
            messages: ids.into_iter().map(message).collect(),
            application,
            body,
        }
    }

    async fn query(&self) {
        let query = MessagesQuery {
            dataset: self.dataset,
            application: &self.application,
            messages: &self.messages,
            patience: Duration::ZERO,
        };
        let answer = self.provider.messages(query).await;
        let is_number = |own: &Observation| matches!(own, Observation::MessageSnapshot(_));
        assert_eq!(answer.result, Ok(()));
        assert!(answer.observations.iter().all(is_number));
        let _ = black_box(answer);
    }

    fn glance(&self) {
        black_box(serde_json::from_slice::<serde::de::IgnoredAny>(&self.body).unwrap());
    }
}

/// The median of the parts' times for one repetition, in microseconds.
fn median(mut repeat: impl FnMut()) -> f64 {
    let mut times = Vec::new();
    for _ in 0..PARTS {
        let (begin, mut count) = (Instant::now(), 0_u32);
        while begin.elapsed() < LASTS / PARTS {
            repeat();
            count += 1;
        }
        times.push(begin.elapsed().as_secs_f64() * 1e6 / f64::from(count));
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A message with five vendor channels on each of two platforms.
fn engagelab() -> Case {
    let ids: Vec<String> = (0..100)
        .map(|number| (1_613_113_000 + number).to_string())
        .collect();
    let numbers = r#""targets":1600,"sent":1440,"delivered":1280,"impressions":1120,"clicks":17"#;
    let mut body = String::from("{");
    for (number, id) in ids.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        write!(body, r#"{comma}"{id}":{{"plan_id":"autumn","pushContent":{{"title":"An offer","text":"for you"}},{numbers},"sub":{{"notification":{{{numbers}"#).unwrap();
        for platform in ["sub_android", "sub_ios"] {
            write!(body, r#","{platform}":{{"#).unwrap();
            for (place, channel) in ["fcm", "huawei", "xiaomi", "oppo", "vivo"]
                .iter()
                .enumerate()
            {
                let comma = if place == 0 { "" } else { "," };
                write!(body, r#"{comma}"{channel}":{{{numbers}}}"#).unwrap();
            }
            body.push('}');
        }
        body.push_str("}}}");
    }
    body.push('}');
    let entry = json!({"type": "engagelab", "credentials": {"app_key": "k", "master_secret": "s"}});
    Case::new("EngageLab, 100 messages", entry, ids, body)
}

fn infobip_push() -> Case {
    let entry = json!({"type": "infobip_push", "credentials": {"api_key": "k"},
        "applications": [{"id": "app"}]});
    let body = include_str!("../src/providers/infobip/fixtures/statistics-example.json");
    let ids = vec!["3813836816344707101".to_owned()];
    Case::new("Infobip push, 1 bulk", entry, ids, body.to_owned())
}

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    println!("| answer | bytes | µs, to observations | µs, one look at the bytes | ratio |");
    println!("|---|---|---|---|---|");
    for case in [engagelab(), infobip_push()] {
        let whole = median(|| runtime.block_on(case.query()));
        let glance = median(|| case.glance());
        let (name, bytes) = (case.name, case.body.len());
        println!(
            "| {name} | {bytes} | {whole:.1} | {glance:.1} | {:.1} |",
            whole / glance
        );
    }
}
