//! A real OTLP receiver (rotel) takes every series over both protocols, and the OpenTelemetry
//! project's own translator gives back the names that Prometheus scrapes.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use delivery_clock::Clock;
use delivery_simulators::{World, credentials};
use serde_json::{Value, json};

use super::{
    harness::{Exporter, Labels, Metrics, Process, client, eventually, free_port},
    world,
};

/// The Python with the other side's packages: `tests/run` makes it.
fn python() -> PathBuf {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    assert!(
        made.exists(),
        "{} is not there: run the tests with tests/run, which makes it",
        made.display()
    );
    made
}

/// The sink behind the receiver.
struct Sink {
    _process: Process,
    base: String,
}

impl Sink {
    async fn start(directory: &Path) -> Sink {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/sink.py");
        let mut command = Command::new(python());
        let process = Process::start(command.arg(script), &directory.join("sink.log"));
        let port = eventually("the sink says its port", async || {
            let log = process.log();
            let (port, _) = log.split_once("port=")?.1.split_once(' ')?;
            port.parse::<u16>().ok()
        })
        .await;
        Sink {
            _process: process,
            base: format!("http://127.0.0.1:{port}"),
        }
    }

    async fn get(&self, path: &str) -> String {
        let answer = client()
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .unwrap();
        answer.text().await.unwrap()
    }

    /// Every data point that came.
    async fn points(&self) -> Vec<Value> {
        let text = self.get("/points").await;
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// rotel, which receives both protocols and forwards to the sink.
async fn rotel(directory: &Path, sink: &Sink) -> (Process, u16, u16) {
    let (grpc, http) = (free_port(), free_port());
    let find = "import rotel, pathlib; print(pathlib.Path(rotel.__file__).parent / 'rotel-agent')";
    let found = Command::new(python()).args(["-c", find]).output().unwrap();
    let agent = String::from_utf8(found.stdout).unwrap();
    let mut command = Command::new(agent.trim());
    command
        .arg("start")
        .arg(format!(
            "--pid-file={}",
            directory.join("rotel.pid").display()
        ))
        .arg(format!("--otlp-grpc-endpoint=127.0.0.1:{grpc}"))
        .arg(format!("--otlp-http-endpoint=127.0.0.1:{http}"))
        .args([
            "--exporter=otlp",
            "--otlp-exporter-protocol=http",
            "--metrics-batch-timeout=200ms",
        ])
        .arg(format!("--otlp-exporter-endpoint={}", sink.base))
        .current_dir(directory);
    let process = Process::start(&mut command, &directory.join("rotel.log"));
    for port in [grpc, http] {
        eventually("rotel listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .ok()
        })
        .await;
    }
    (process, grpc, http)
}

/// Names and labels of all series.
fn series(metrics: &Metrics) -> BTreeSet<(String, Labels)> {
    metrics.samples.keys().cloned().collect()
}

/// A world whose series stand still: an account of each vendor that has gauges, with enough
/// messages for `messages` x 81 series.
fn configuration(world: &World, directory: &Path, messages: usize, otlp: &Value) -> String {
    let examples: Value = serde_json::from_str(world::ENGAGELAB_EXAMPLE).unwrap();
    let ids: Vec<_> = (0..messages)
        .map(|number| (5_000_000 + number).to_string())
        .collect();
    for id in &ids {
        world
            .engagelab
            .put_message(id, examples["1613113584"].clone());
    }
    let [infobip, engagelab, _, alibaba] = &world.servers;
    let password = json!({
        "username": credentials::INFOBIP_USERNAME,
        "password": credentials::INFOBIP_PASSWORD,
    });
    json!({
        "store": world::store(directory),
        "collection": {"zero_hold": "0s"},
        "otlp": otlp,
        "provider_defaults": {
            "per_message": {"max_messages": 10_000},
            "rate_limit": {"requests_per_second": 10_000, "burst": 10_000},
        },
        "providers": [
            {"name": "push", "type": "infobip_push", "base_url": infobip.base_url(), "credentials": password,
             "labels": {"team": "crm", "odd": "a \"quoted\" \\ label\nwith two lines"},
             "applications": [{"id": credentials::INFOBIP_APPLICATION, "name": "shop"}],
             "messages": {"static": ["3813836816344707101"]}},
            {"name": "mail", "type": "infobip_email", "base_url": infobip.base_url(), "credentials": password},
            {"name": "news", "type": "engagelab", "base_url": engagelab.base_url(),
             "credentials": {"app_key": credentials::ENGAGELAB_APP_KEY, "master_secret": credentials::ENGAGELAB_MASTER_SECRET},
             "messages": {"static": ids}},
            {"name": "china", "type": "alibaba_push", "base_url": alibaba.base_url(),
             "credentials": {"access_key_id": credentials::ALIBABA_KEY_ID, "access_key_secret": credentials::ALIBABA_KEY_SECRET},
             "applications": [{"id": credentials::ALIBABA_APP_KEY, "name": "cn"}],
             "messages": {"static": ["510427"]}},
        ],
    })
    .to_string()
}

async fn every_series_arrives(protocol: &str, messages: usize) {
    let directory = tempfile::tempdir().unwrap();
    let sink = Sink::start(directory.path()).await;
    let (_rotel, grpc, http) = rotel(directory.path(), &sink).await;
    let port = if protocol == "grpc" { grpc } else { http };
    let otlp = json!({
        "endpoint": format!("http://127.0.0.1:{port}"),
        "protocol": protocol,
        "interval": "2s",
    });
    let world = world::start(&Clock::system()).await;
    // E-mail goes on by itself; these series have to stand still.
    world
        .infobip
        .change(|options| options.email_every = std::time::Duration::ZERO);
    world.infobip.put_reports([json!({
        "messageId": "m1", "to": "recipient@infobip.com",
        "sentAt": "2016-08-31T13:25:18.477+0000", "doneAt": "2016-08-31T13:25:50.893+0000", "messageCount": 1,
        "price": {"pricePerMessage": 0.0025, "currency": "EUR"}, "campaignReferenceId": "summersale",
        "status": {"groupId": 3, "groupName": "DELIVERED", "id": 5, "name": "DELIVERED_TO_HANDSET"},
        "error": {"groupId": 0, "groupName": "OK", "id": 0, "name": "NO_ERROR", "permanent": false},
    })]);
    let config = configuration(&world, directory.path(), messages, &otlp);
    let exporter = Exporter::start(directory.path(), &config).await;
    let metrics = exporter
        .wait_for("all is collected", |metrics| {
            metrics.sum("delivery_up", &[]) == 4.0
                && metrics.sum("delivery_reports_total", &[]) == 1.0
                && metrics.find("delivery_message_targeted", &[]).count() == messages
        })
        .await;
    let scraped = series(&metrics);
    let translated = eventually("the newest push has every series", async || {
        let translated = Metrics::read(&sink.get("/translated").await);
        (series(&translated) == scraped).then_some(translated)
    });
    let translated =
        match tokio::time::timeout(std::time::Duration::from_secs(50), translated).await {
            Ok(translated) => translated,
            Err(_) => {
                let last = series(&Metrics::read(&sink.get("/translated").await));
                let missing: Vec<_> = scraped.difference(&last).take(5).collect();
                let more: Vec<_> = last.difference(&scraped).take(5).collect();
                panic!(
                    "{} of {}: missing {missing:?}, too many {more:?}\n{}",
                    last.len(),
                    scraped.len(),
                    exporter.log()
                );
            }
        };
    for (key, value) in metrics.samples.iter().filter(|((name, _), _)| {
        name.starts_with("delivery_message_") || name.starts_with("delivery_report")
    }) {
        assert_eq!(translated.samples.get(key), Some(value), "{key:?}");
    }
    let points = sink.points().await;
    for point in &points {
        let counter = point["kind"] != "gauge";
        assert_eq!(
            point["start"].as_u64().unwrap() > 0,
            counter && point["no_value"] == false,
            "{point}"
        );
        if counter {
            assert_eq!(point["cumulative"], true, "{point}");
        }
        // rotel forgets the resource of what it splits; where it is there, it is ours.
        let resource = point["resource"].as_object().unwrap();
        if !resource.is_empty() {
            assert_eq!(resource["service.name"], "delivery-exporter");
            assert_eq!(resource["service.instance.id"], "replica-1");
            assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
        }
    }
    assert!(points.iter().any(|point| {
        point["resource"]
            .as_object()
            .is_some_and(|own| !own.is_empty())
    }));
    let after = exporter.metrics().await;
    let accepted = after.get(
        "delivery_exporter_otlp_points_total",
        &[("outcome", "accepted")],
    );
    assert!(accepted.unwrap() > 0.0);
    for outcome in ["rejected", "failed"] {
        let lost = after.get(
            "delivery_exporter_otlp_points_total",
            &[("outcome", outcome)],
        );
        assert_eq!(lost, Some(0.0), "{outcome}\n{}", exporter.log());
    }
    let before = points.len();
    assert!(exporter.terminate().success());
    eventually("the last push arrives", async || {
        (sink.points().await.len() > before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_receiver_gets_25000_series_by_http() {
    every_series_arrives("http/protobuf", 310).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_receiver_gets_25000_series_by_grpc() {
    every_series_arrives("grpc", 310).await;
}
