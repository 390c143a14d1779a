//! Records answers of the simulated vendors, in many moods, as inputs to begin with:
//! `cargo test --test fuzz record -- --ignored` writes `corpus/TARGET/recorded-*`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use delivery_clock::Clock;
use delivery_exporter::{app::Exporter, config, providers::VENDORS};
use delivery_simulators::{Moods, Options, World, credentials, engagelab};
use serde_json::{Value, json};

use super::{corpus, targets::sample};

/// Longer answers begin no better.
const LONGEST: usize = 12 << 10;
/// So many answers of a data set, of different forms.
const OF_EACH: usize = 10;

/// The target and data set of a request: what the vendors' documentation calls its path.
fn meaning(
    server: usize,
    path_and_query: &str,
    body: &str,
) -> Option<(&'static str, &'static str)> {
    let has = |part: &str| path_and_query.contains(part);
    Some(match server {
        0 if has("/email/1/reports") => ("infobip_email", "reports"),
        0 if has("/email") => ("infobip_email", "list"),
        0 => ("infobip_push", "messages"),
        1 if has("/users") => ("engagelab", "users"),
        1 if has("lifecycle") => ("engagelab", "lifecycle"),
        1 => ("engagelab", "messages"),
        2 if has("messages:list") && body.contains("messages_codes") => ("pushwoosh", "messages"),
        2 if has("messages:list") => ("pushwoosh", "list"),
        2 if has("totalsByIntervals") => ("pushwoosh", "intervals"),
        2 if has("linksInteractionsDevices") => ("pushwoosh", "link_devices"),
        2 if has("linksInteractions") => ("pushwoosh", "links"),
        2 if has("bounce") => ("pushwoosh", "bounces"),
        2 => ("pushwoosh", "log"),
        3 if has("QueryPushRecords") || has("QueryPushList") => ("alibaba_push", "list"),
        3 => ("alibaba_push", "messages"),
        _ => return None,
    })
}

type Recorded = Arc<Mutex<BTreeMap<(&'static str, &'static str), BTreeMap<String, Vec<u8>>>>>;

/// The form of a value: names and types, without the values.
fn form(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items
            .iter()
            .for_each(|own| form(own, &format!("{path}[]"), out)),
        Value::Object(fields) => fields.iter().for_each(|(name, own)| {
            let is_id = name.bytes().any(|byte| byte.is_ascii_digit());
            form(
                own,
                &format!("{path}.{}", if is_id { "N" } else { name }),
                out,
            );
        }),
        other => {
            out.insert(format!(
                "{path}:{}",
                match other {
                    Value::Null => "null",
                    Value::Bool(_) => "truth",
                    Value::Number(_) => "number",
                    _ => "text",
                }
            ));
        }
    }
}

/// A server in front of a vendor, which notes what the vendor answers.
async fn recording(server: usize, vendor: String, recorded: Recorded) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    let forward = move |request: Request| {
        let (client, vendor, recorded) = (client.clone(), vendor.clone(), recorded.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let target = parts.uri.path_and_query().unwrap().to_string();
            let sent = client.request(parts.method, format!("{vendor}{target}"));
            let asked = String::from_utf8_lossy(&body).into_owned();
            let Ok(answer) = sent.headers(parts.headers).body(body).send().await else {
                return http::StatusCode::BAD_GATEWAY.into_response();
            };
            let (status, headers) = (answer.status(), answer.headers().clone());
            let body = answer.bytes().await.unwrap_or_default();
            if let Some((target, dataset)) = meaning(server, &target, &asked)
                && body.len() <= LONGEST
            {
                let mut own = BTreeSet::new();
                let value = serde_json::from_slice(body.trim_ascii()).unwrap_or(Value::Null);
                form(&value, status.as_str(), &mut own);
                let own: Vec<_> = own.into_iter().collect();
                let input = [format!("{dataset} {}\n", status.as_u16()).as_bytes(), &body].concat();
                let mut recorded = recorded.lock().unwrap();
                let known = recorded.entry((target, dataset)).or_default();
                if known.len() < OF_EACH {
                    known.entry(own.join(" ")).or_insert(input);
                }
            }
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status;
            if let Some(kind) = headers.get("content-type") {
                response.headers_mut().insert("content-type", kind.clone());
            }
            response
        }
    };
    let router = Router::new().fallback(forward);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn one(moods: Moods, recorded: &Recorded) {
    let clock = Clock::system();
    let options = Options {
        history: Duration::from_secs(6 * 3600),
        gap: Duration::from_secs(3600),
        moods,
        ..Options::default()
    };
    let world = World::start(options, &clock).await.unwrap();
    let mut bases = Vec::new();
    for (server, running) in world.servers.iter().enumerate() {
        bases.push(recording(server, running.base_url(), recorded.clone()).await);
    }
    let password = json!({"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD});
    let of = |kind: &'static str, server: usize, more: Value| {
        let vendor = VENDORS.iter().find(|own| own.name == kind).unwrap();
        let mut keys = sample::everything(vendor, "t");
        let more = more.as_object().unwrap().clone();
        keys.retain(|(key, _)| !more.contains_key(*key));
        keys.push(("base_url", json!(bases[server])));
        let more: Vec<_> = more.into_iter().collect();
        keys.extend(
            more.iter()
                .map(|(key, value)| (key.as_str(), value.clone())),
        );
        sample::account(vendor, kind, &keys)
    };
    let named = |all: Vec<delivery_simulators::Known>| -> Value {
        all.iter()
            .take(12)
            .map(|own| json!({"id": own.id}))
            .collect()
    };
    let directory = tempfile::tempdir().unwrap();
    let providers = [
        of(
            "infobip_push",
            0,
            json!({"credentials": password,
                "applications": [{"id": credentials::INFOBIP_APPLICATION, "name": "shop"}],
                "messages": {"static": named(world.infobip.messages())}}),
        ),
        of("infobip_email", 0, json!({"credentials": password})),
        of(
            "engagelab",
            1,
            json!({
                "credentials": {"app_key": credentials::ENGAGELAB_APP_KEY, "master_secret": credentials::ENGAGELAB_MASTER_SECRET},
                "canaries": engagelab::CANARIES, "messages": {"static": named(world.engagelab.messages())}}),
        ),
        of(
            "pushwoosh",
            2,
            json!({"credentials": {"api_token": credentials::PUSHWOOSH_API_TOKEN},
                "applications": credentials::PUSHWOOSH_APPLICATIONS.map(|id| json!({"id": id}))}),
        ),
        of(
            "alibaba_push",
            3,
            json!({
                "credentials": {"access_key_id": credentials::ALIBABA_KEY_ID, "access_key_secret": credentials::ALIBABA_KEY_SECRET},
                "applications": [{"id": credentials::ALIBABA_APP_KEY, "name": "cn"}]}),
        ),
    ];
    let store = json!({"url": format!("sqlite:{}", directory.path().join("ledger.db").display()),
        "spool": directory.path().join("spool")});
    let text = format!(
        "store: {store}\ncollection: {{timeout: 5s, interval: 10s}}\nproviders:\n{}",
        providers.concat()
    );
    let config = config::parse(Path::new("record.yaml"), &text, &|_| None).unwrap();
    let (exporter, _) = Exporter::once(&config, clock).await.unwrap();
    exporter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it writes the corpus"]
async fn record() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let recorded = Recorded::default();
    one(Moods::calm(), &recorded).await;
    for seed in 1..=12 {
        one(Moods::from_seed(seed), &recorded).await;
    }
    for ((target, dataset), inputs) in recorded.lock().unwrap().iter() {
        for (number, input) in inputs.values().enumerate() {
            let directory = corpus::directory(target);
            fs::create_dir_all(&directory).unwrap();
            fs::write(
                directory.join(format!("recorded-{dataset}-{number}")),
                input,
            )
            .unwrap();
            if *dataset == "reports" {
                let body = input.splitn(2, |byte| *byte == b'\n').nth(1).unwrap();
                let directory = corpus::directory("reports");
                fs::create_dir_all(&directory).unwrap();
                fs::write(directory.join(format!("recorded-{number}")), body).unwrap();
            }
        }
        println!("{target} {dataset}: {}", inputs.len());
    }
}
