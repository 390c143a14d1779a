//! Dashboards and alert rules with the real Prometheus and Alertmanager. The rules are
//! generated at a sixtieth of their durations, so that an hour is a minute.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, routing::post};
use delivery_clock::Clock;
use delivery_simulators::{World, credentials, faults::Fault};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    crash,
    harness::{Exporter, Metrics, Process, client, eventually_within, free_port},
    prometheus::Prometheus,
    rules::{SCALE, alerts, panels, python, root, succeeds},
    world,
};

const TOKEN: &str = "a-token-of-the-api";
/// The rules need some of their time.
const RULES_TAKE: Duration = Duration::from_secs(240);
const ACCOUNTS: [&str; 2] = ["news", "loyalty"];

/// Messages that are sent all the time, at both vendors that tell their channels.
struct Traffic {
    world: Arc<World>,
    /// FCM delivers next to nothing.
    outage: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An EngageLab message whose vendor channels have these deliveries of a hundred.
fn engagelab_message(fcm: u32, apns: u32) -> Value {
    let leaf = |delivered: u32| json!({"targets": 100, "sent": 100, "delivered": delivered, "impressions": delivered / 2, "clicks": 3});
    json!({
        "targets": 200, "sent": 200, "delivered": fcm + apns, "impressions": 60, "clicks": 6,
        "sub": {"notification": {
            "target": 200, "sent": 200, "delivered": fcm + apns, "impressions": 60, "click": 6,
            "sub_android": {"fcm": leaf(fcm)}, "sub_ios": {"apns": leaf(apns)},
        }},
    })
}

fn pushwoosh_message(number: u64, fcm: u32, apns: u32) -> Value {
    let row = |platform: u32, delivered: u32| json!({"sends": 100, "opens": 3, "deliveries": delivered, "inbox_opens": 1, "unshowable_sends": 2, "errors": 1, "platform": platform});
    json!({
        "id": 20_000_000_000_u64 + number, "code": format!("C{number:03}-AAABBBCC-00112233"), "status": "DONE",
        "send_date": Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string(),
        "push_info": {"metrics": [row(3, fcm), row(1, apns)]},
    })
}

impl Traffic {
    fn start(world: Arc<World>, exporter: &Exporter) -> Traffic {
        let outage = Arc::new(AtomicBool::new(false));
        let (vendors, down) = (world.clone(), outage.clone());
        let url = format!("{}/api/v1/messages", exporter.base);
        let task = tokio::spawn(async move {
            let client = client();
            for number in 0.. {
                let fcm = if down.load(Ordering::SeqCst) { 4 } else { 90 };
                let id = (2_000_000_000_u64 + number).to_string();
                vendors
                    .engagelab
                    .put_message(&id, engagelab_message(fcm, 80));
                let application = credentials::PUSHWOOSH_APPLICATIONS[0];
                vendors
                    .pushwoosh
                    .put_message(application, pushwoosh_message(number, fcm, 80));
                let code = format!("C{number:03}-AAABBBCC-00112233");
                let mut entries = vec![
                    json!({"account": "news", "id": id, "campaign": "autumn"}),
                    json!({"account": "loyalty", "application": application, "id": code, "campaign": "autumn"}),
                ];
                let sent = 31_569 + 10 * number;
                let errors = json!({"registration": 1654 + number, "expired": 301, "cloud": 46});
                let bulk = json!({"totalSent": sent, "delivered": sent - 2000 - number, "seen": 25_632, "errors": errors});
                vendors.infobip.put_bulk("3813836816344707101", bulk);
                if number % 10 == 0 {
                    // Messages that come of a later age.
                    let id = (3_000_000_000_u64 + number).to_string();
                    vendors
                        .engagelab
                        .put_message(&id, engagelab_message(90, 80));
                    let sent_at = Timestamp::now() - SignedDuration::from_secs(2 * 3600 - 8);
                    entries
                        .push(json!({"account": "news", "id": id, "sent_at": sent_at.to_string()}));
                }
                let request = client
                    .post(&url)
                    .bearer_auth(TOKEN)
                    .body(json!(entries).to_string());
                // The exporter may be stopping.
                let _ = request.send().await;
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
        });
        Traffic {
            world,
            outage,
            task,
        }
    }
}

/// A customer of all vendors, with short ages.
async fn exporter(directory: &Path, world: &World) -> Exporter {
    let more = json!({
        "server": {"api_token": TOKEN},
        "collection": {"zero_hold": "3s", "adopt_age": "0s", "interval": "1s", "max_interval": "1s",
            "cohort_ages": ["5s", "15s", "1m", "2h", "24h"]},
        // Fewer than there are: something is overflowed into "other".
        "limits": {"max_campaigns_per_account": 3},
    });
    let mut config: Value =
        serde_json::from_str(&world::configuration(world, directory, &more)).unwrap();
    for account in config["providers"].as_array_mut().unwrap() {
        if account["name"] == "loyalty" {
            account["messages"]["static"] = json!([{"id": "B555-AAABBBCC-00112234", "campaign": "spring",
                "application": credentials::PUSHWOOSH_APPLICATIONS[0]}]);
            account["collect"] = json!([
                "messages",
                "bounces",
                "intervals",
                "log",
                "links",
                "link_devices"
            ]);
            account["dataset_intervals"] = json!({"bounces": "5s", "intervals": "5s", "log": "5s", "links": "5s", "link_devices": "5s"});
        }
        if account["name"] == "china" {
            account["messages"]["static"] = json!([{"id": "510427", "campaign": "autumn"}]);
        }
        if account["name"] == "mail" {
            account["webhook_token"] = json!("a-token-of-the-hook");
        }
    }
    Exporter::start(directory, &config.to_string()).await
}

/// Waits until messages of both vendors have come of an age.
async fn come_of_age(exporter: &Exporter, age: &str) {
    exporter
        .wait_for("messages have come of age", |metrics| {
            ACCOUNTS.iter().all(|account| {
                let labels = [
                    ("account", *account),
                    ("age", age),
                    ("vendor_channel", "fcm"),
                ];
                metrics.sum("delivery_cohort_channel_sent_total", &labels) > 0.0
            })
        })
        .await;
}

fn without(labels: &BTreeMap<String, String>, name: &str) -> BTreeMap<String, String> {
    let mut labels = labels.clone();
    labels.remove(name);
    labels
}

/// Five hours of what the rules have recorded (at their scale twelve days), for the series that
/// the exporter shows, as blocks of Prometheus.
fn history(directory: &Path, metrics: &Metrics, instance: &str) {
    let now = Timestamp::now().as_second();
    let mut text = String::new();
    let mut write = |name: &str,
                     labels: &BTreeMap<String, String>,
                     more: &[(&str, &str)],
                     value: &dyn Fn(i64) -> f64| {
        let mut all: BTreeMap<&str, &str> = labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        all.extend(more.iter().copied());
        let labels: Vec<String> = all
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        let labels = labels.join(",");
        for minute in (1..300).rev() {
            writeln!(
                text,
                "{name}{{{labels}}} {} {}",
                value(minute),
                now - 60 * minute
            )
            .unwrap();
        }
    };
    for ((name, labels), value) in &metrics.samples {
        let own = [("job", "delivery")];
        let channels = [("job", "delivery"), ("channel", "push")];
        match name.as_str() {
            "delivery_cohort_channel_sent_total" | "delivery_cohort_channel_delivered_total" => {
                let rate = if labels["vendor_channel"] == "apns" {
                    80.0
                } else {
                    90.0
                };
                let (record, value) = if name.contains("sent") {
                    ("sent", 100.0)
                } else {
                    ("delivered", rate)
                };
                write(
                    &format!("delivery:cohort_{record}:hourly"),
                    labels,
                    &channels,
                    &|_| value,
                );
            }
            "delivery_sent_total" => {
                write("delivery:sent:hourly", labels, &own, &|_| 1000.0);
                let scraped = [("job", "delivery"), ("instance", instance)];
                write("delivery:sent:increase1h", labels, &own, &|_| 1000.0);
                write("delivery:sent:increase15m", labels, &own, &|_| 250.0);
                write(name, labels, &scraped, &|minute| {
                    value * (300 - minute) as f64 / 300.0
                });
            }
            "delivery_errors_total" => {
                write("delivery:errors:hourly", labels, &own, &|_| 3.0);
                write("delivery:errors_share:hourly", labels, &own, &|_| 0.003);
            }
            "delivery_cohort_sent_total" if labels["age"] == "first" => {
                write("delivery:cohort_sent:hourly", labels, &own, &|_| 1000.0);
                write(
                    "delivery:daily_sent:increase25h",
                    &without(labels, "age"),
                    &own,
                    &|_| 1000.0,
                );
            }
            "delivery_report_latency_seconds_count" => {
                write("delivery:report_slow:hourly", labels, &own, &|_| 0.01)
            }
            _ => {}
        }
    }
    text.push_str("# EOF\n");
    let file = directory.join("history.om");
    fs::write(&file, text).unwrap();
    succeeds(
        Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .arg(file)
            .arg(directory.join("tsdb")),
    );
}

/// The repository's files for Prometheus and Alertmanager, with other addresses and times.
fn stack(name: &str, changes: &[(&str, &str)]) -> String {
    let mut text = fs::read_to_string(root().join("dashboards/stack").join(name)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{name} has no {from}");
        text = text.replace(from, to);
    }
    text
}

/// Prometheus with the history, the rules at their scale, and an Alertmanager at this address.
async fn prometheus(directory: &Path, exporter: &Exporter, alertmanager: &str) -> Prometheus {
    let instance = exporter.base.trim_start_matches("http://");
    history(directory, &exporter.metrics().await, instance);
    let rules = directory.join("delivery.rules.yml");
    let scale = SCALE.to_string();
    succeeds(&mut python(&[
        "-m",
        "source",
        "--scale",
        &scale,
        "--rules",
        &rules.display().to_string(),
    ]));
    let config = stack(
        "prometheus.yml",
        &[
            ("scrape_interval: 5s", "scrape_interval: 1s"),
            ("evaluation_interval: 1m", "evaluation_interval: 1s"),
            (
                "/etc/prometheus/rules/*.rules.yml",
                &rules.display().to_string(),
            ),
            ("alertmanager:9093", alertmanager),
            ("delivery-exporter:9847", instance),
        ],
    );
    Prometheus::start_with(directory, &config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_and_every_alert_finds_its_series() {
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(world::start(&Clock::system()).await);
    // A vendor whose answers have changed shape.
    let changed = Fault::Edit(Arc::new(|answer: &mut Value| {
        answer["something_new"] = json!(1)
    }));
    world.servers[0].faults().add("/push", changed, None);
    let exporter = exporter(directory.path(), &world).await;
    let traffic = Traffic::start(world, &exporter);
    let old = json!({"account": "news", "id": "1", "sent_at": "2020-01-01T00:00:00Z"});
    let request = client().post(format!("{}/api/v1/messages", exporter.base));
    let answer = request
        .bearer_auth(TOKEN)
        .body(old.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);
    traffic.world.infobip.put_reports(crash::reports(0, 100));
    come_of_age(&exporter, "5s").await;
    let prometheus = prometheus(directory.path(), &exporter, "127.0.0.1:9").await;
    let mut wanted = panels();
    for alert in alerts().into_iter().filter(|own| !own.optional) {
        let name = &alert.name;
        wanted.extend(
            alert
                .operands
                .into_iter()
                .map(|query| (name.clone(), query)),
        );
    }
    let end = tokio::time::Instant::now() + Duration::from_secs(150);
    let mut number = 1000;
    loop {
        traffic
            .world
            .infobip
            .put_reports(crash::reports(number, 100));
        number += 100;
        let mut silent = Vec::new();
        for (whose, query) in std::mem::take(&mut wanted) {
            if prometheus.is_silent(&query).await {
                silent.push((whose, query));
            }
        }
        // EngageLab has figures of an hour for the current day alone: none in its first hour.
        if jiff::Timestamp::now().as_second() % 86_400 < 3600 {
            silent.retain(|(_, query)| !query.contains("time_unit=\"hour\""));
        }
        if silent.is_empty() {
            break;
        }
        let list: Vec<String> = silent
            .iter()
            .map(|(whose, query)| format!("{whose}: {query}"))
            .collect();
        assert!(
            tokio::time::Instant::now() < end,
            "{} silent:\n{}",
            list.len(),
            list.join("\n")
        );
        wanted = silent;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(prometheus.complaints(), Vec::<String>::new());
}

/// What came by the webhook: path and body.
type Notes = Arc<Mutex<Vec<(String, Value)>>>;

async fn receiver() -> (String, Notes) {
    let notes = Notes::default();
    let take = |path: &'static str| {
        post(
            move |State(notes): State<Notes>, Json(body): Json<Value>| async move {
                notes.lock().unwrap().push((path.to_owned(), body));
            },
        )
    };
    let router = Router::new()
        .route("/page", take("page"))
        .route("/warning", take("warning"))
        .with_state(notes.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, notes)
}

fn alertmanager(directory: &Path, receiver: &str) -> (Process, String) {
    let config = stack(
        "alertmanager.yml",
        &[
            ("receiver:8080", receiver),
            ("group_wait: 30s", "group_wait: 1s"),
            ("group_interval: 5m", "group_interval: 2s"),
        ],
    );
    let file: PathBuf = directory.join("alertmanager.yml");
    fs::write(&file, config).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("prometheus-alertmanager");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.path={}",
            directory.join("alertmanager").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .arg("--cluster.listen-address=");
    let process = Process::start(&mut command, &directory.join("alertmanager.log"));
    (process, address)
}

/// The alert of this name and status in what was received.
fn received(notes: &Notes, name: &str, status: &str) -> Option<(String, Value)> {
    let notes = notes.lock().unwrap();
    notes.iter().find_map(|(path, body)| {
        let alerts = body["alerts"].as_array()?;
        let own = alerts
            .iter()
            .find(|alert| alert["labels"]["alertname"] == name && alert["status"] == status)?;
        Some((path.clone(), own.clone()))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_fcm_reaches_whoever_is_on_call() {
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(world::start(&Clock::system()).await);
    let exporter = exporter(directory.path(), &world).await;
    let traffic = Traffic::start(world, &exporter);
    come_of_age(&exporter, "15s").await;
    let (receiver, notes) = receiver().await;
    let (_alertmanager, address) = alertmanager(directory.path(), &receiver);
    let prometheus = prometheus(directory.path(), &exporter, &address).await;
    // All is well for as long as the windows of a rule are.
    tokio::time::sleep(Duration::from_secs(40)).await;
    let ratio = "min(delivery:part_delivery:ratio1h{vendor_channel=\"fcm\"})";
    let well = prometheus.query(ratio).await;
    assert!(well[0].1 > 0.95, "{well:?}");
    for alert in [
        "DeliveryVendorChannelOutage",
        "DeliveryRateDropped",
        "DeliveryVendorDropped",
    ] {
        assert_eq!(received(&notes, alert, "firing"), None);
    }
    traffic.outage.store(true, Ordering::SeqCst);
    let outage = "DeliveryVendorChannelOutage";
    let (path, alert) = eventually_within(RULES_TAKE, "the page comes", async || {
        received(&notes, outage, "firing")
    })
    .await;
    assert_eq!(path, "page");
    let labels = &alert["labels"];
    assert_eq!(labels["vendor_channel"], "fcm", "{alert}");
    assert_eq!(labels["platform"], "android", "{alert}");
    assert_eq!(labels["severity"], "page", "{alert}");
    let annotations = &alert["annotations"];
    let link = annotations["runbook_url"].as_str().unwrap();
    assert!(
        link.ends_with("/runbooks/DeliveryVendorChannelOutage"),
        "{link}"
    );
    let summary = annotations["summary"].as_str().unwrap();
    assert!(
        summary.starts_with("fcm (android) is down at several vendors: "),
        "{summary}"
    );
    assert!(summary.contains('%'), "{summary}");
    // Not the other channel.
    let notes_now = notes.lock().unwrap().clone();
    assert!(
        !notes_now
            .iter()
            .any(|(_, body)| body.to_string().contains("\"vendor_channel\":\"apns\""))
    );
    traffic.outage.store(false, Ordering::SeqCst);
    eventually_within(RULES_TAKE, "it is resolved", async || {
        received(&notes, outage, "resolved")
    })
    .await;
}
