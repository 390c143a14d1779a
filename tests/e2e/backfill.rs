//! `backfill`: the vendors' history as promtool takes it, and no number in it that a living counter
//! has too.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use delivery_clock::Clock;
use delivery_simulators::World;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    command::run,
    harness::{Exporter, Metrics, eventually},
    world,
};

const OUTPUT: &str = "history.om";

/// A file with samples of many times.
struct History {
    text: String,
    /// The samples of each series in order.
    series: BTreeMap<String, Vec<(f64, f64)>>,
}

impl History {
    fn read(path: &Path) -> History {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.ends_with("# EOF\n"));
        let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        let mut before = "";
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (rest, at) = line.rsplit_once(' ').unwrap();
            let (name, value) = rest.rsplit_once(' ').unwrap();
            let samples = series.entry(name.to_owned()).or_default();
            assert_eq!(
                samples.is_empty(),
                name != before,
                "{name} is in two places"
            );
            before = name;
            let (at, value): (f64, f64) = (at.parse().unwrap(), value.parse().unwrap());
            if let Some((last, of_last)) = samples.last() {
                assert!(*last < at, "{line}");
                assert!(*of_last <= value || !name.contains("_total{"), "{line}");
            } else {
                assert!(value == 0.0 || !name.contains("_total{"), "{line}");
            }
            samples.push((at, value));
        }
        History { text, series }
    }

    /// What each series holds in the end.
    fn last(&self) -> Metrics {
        let last = self.series.iter().map(|(name, samples)| {
            let (_, value) = samples.last().unwrap();
            format!("{name} {value}\n")
        });
        Metrics::read(&last.collect::<String>())
    }
}

struct Rig {
    world: World,
    directory: tempfile::TempDir,
    config: String,
}

impl Rig {
    async fn new() -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let world = world::start(&Clock::system()).await;
        let config = world::configuration(&world, directory.path(), &json!({}));
        let mut config: Value = serde_json::from_str(&config).unwrap();
        config["collection"]["adopt_age"] = json!("1h");
        config["providers"][3]["collect"] = json!(["messages", "bounces", "log"]);
        config["providers"][3]["interval"] = json!("1s");
        // The days of an application have every message, so each has to have its time.
        config["providers"][4]["messages"] = json!({"list": true});
        config["providers"][3]["dataset_intervals"] = json!({"bounces": "1s", "log": "1s"});
        Rig {
            world,
            config: config.to_string(),
            directory,
        }
    }

    async fn backfill(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let directory = self.directory.path().to_owned();
        fs::write(directory.join("config.yaml"), &self.config).unwrap();
        let mut all = vec!["backfill".to_owned()];
        all.extend(arguments.iter().map(|own| (*own).to_owned()));
        let run = move || {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            run(&all, &directory)
        };
        let (status, printed, said) = tokio::task::spawn_blocking(run).await.unwrap();
        (status, printed + &said)
    }

    fn output(&self) -> PathBuf {
        self.directory.path().join(OUTPUT)
    }
}

fn hours_ago(hours: i64) -> String {
    let at = Timestamp::now() - SignedDuration::from_hours(hours);
    at.strftime("%Y-%m-%dT%H:00:00Z").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_takes_what_the_vendors_still_tell() {
    let rig = Rig::new().await;
    let (from, to) = (hours_ago(24 * 7), hours_ago(4));
    let arguments = [
        "--from",
        &from,
        "--to",
        &to,
        "--output",
        OUTPUT,
        "--label",
        "job=delivery",
        "--label=instance=one:9847",
    ];
    let (status, said) = rig.backfill(&arguments).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(!said.contains("three hours"), "{said}");
    let blocks = rig.directory.path().join("blocks");
    let promtool = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&rig.output(), &blocks])
        .output()
        .expect("promtool starts; tests/run says what to install");
    let said = String::from_utf8_lossy(&promtool.stderr);
    assert!(promtool.status.success(), "{said}");
    assert!(fs::read_dir(&blocks).unwrap().count() > 1);
    let history = History::read(&rig.output());
    let last = history.last();
    let push = [
        ("channel", "push"),
        ("job", "delivery"),
        ("instance", "one:9847"),
    ];
    for account in ["loyalty", "china"] {
        let of = [&push[..], &[("account", account)]].concat();
        assert!(last.sum("delivery_sent_total", &of) > 1000.0, "{account}");
        assert!(
            last.sum("delivery_delivered_total", &of) > 500.0,
            "{account}"
        );
    }
    let fcm = [("account", "loyalty"), ("vendor_channel", "fcm")];
    assert!(last.sum("delivery_channel_delivered_total", &fcm) > 100.0);
    assert!(
        last.sum(
            "delivery_bounced_addresses_total",
            &[("account", "loyalty")]
        ) > 0.0
    );
    assert!(last.sum("delivery_log_events_total", &[("account", "loyalty")]) > 0.0);
    // A day's users are shown on the day after it, every hour.
    let users =
        |name: &str| name.starts_with("delivery_app_users_active{") && name.contains("android");
    let (_, samples) = history.series.iter().find(|(name, _)| users(name)).unwrap();
    assert!(samples.len() >= 24 && samples.iter().all(|(at, _)| at % 3600.0 == 0.0));
    assert!(!history.text.contains("example.com"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_number_is_in_the_history_or_in_a_living_counter() {
    let rig = Rig::new().await;
    let exporter = Exporter::start(rig.directory.path(), &rig.config).await;
    let loyalty = ("account", "loyalty");
    exporter
        .wait_for("the messages have numbers", |metrics| {
            let counted = metrics.sum("delivery_sent_total", &[loyalty, ("channel", "push")]);
            let bounced = [loyalty, ("dataset", "bounces")];
            counted > 0.0 && metrics.sum("delivery_exporter_collect_success", &bounced) == 2.0
        })
        .await;
    // While the exporter runs.
    let from = hours_ago(24 * 20);
    let to = hours_ago(-1);
    eventually(
        "the history and the counters are all there is",
        async || {
            let (status, said) = rig
                .backfill(&["--from", &from, "--to", &to, "--output", OUTPUT])
                .await;
            assert_eq!(status, Some(0), "{said}");
            assert!(said.contains("three hours"), "{said}");
            let history = History::read(&rig.output()).last();
            let now = exporter.metrics().await;
            let mut all = true;
            for measure in ["sent", "delivered", "opened", "inbox_opened", "unshowable"] {
                for application in ["loyalty", "partner"] {
                    let push = [loyalty, ("application", application), ("channel", "push")];
                    let counted = format!("delivery_{measure}_total");
                    let shown = now.sum(&format!("delivery_message_{measure}"), &push);
                    let (old, new) = (history.sum(&counted, &push), now.sum(&counted, &push));
                    assert!(old > 0.0, "{measure} of {application}");
                    all &= old + new == shown;
                }
                let sms = [loyalty, ("channel", "sms")];
                let shown = now.sum(&format!("delivery_message_{measure}"), &sms);
                let counted = format!("delivery_{measure}_total");
                all &= history.sum(&counted, &sms) + now.sum(&counted, &sms) == shown;
                let fcm = [loyalty, ("vendor_channel", "fcm")];
                let counted = format!("delivery_channel_{measure}_total");
                let shown = now.sum(&format!("delivery_message_channel_{measure}"), &fcm);
                all &= history.sum(&counted, &fcm) + now.sum(&counted, &fcm) == shown;
            }
            let books = rig.world.pushwoosh.books();
            for (name, kind) in [
                ("delivery_bounced_addresses_total", "bounces"),
                ("delivery_log_events_total", "log"),
            ] {
                let rows = books[kind].as_object().unwrap().values();
                let told: usize = rows.map(|rows| rows.as_array().unwrap().len()).sum();
                let counted = history.sum(name, &[loyalty]) + now.sum(name, &[loyalty]);
                all &= counted == told as f64;
            }
            all.then_some(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_does_not_answer_costs_no_other_its_history() {
    let mut rig = Rig::new().await;
    // Wherever days begin, a whole one lies in it.
    let (from, to) = (hours_ago(72), hours_ago(4));
    let arguments = ["--from", &from, "--to", &to, "--output", OUTPUT];
    for (more, problem) in [
        (&["--label", "account=x"][..], "--label account"),
        (&["--label", "team=x"], "--label team"),
        (&["--label", "job=x", "--label", "job=y"], "--label job"),
        (&["--from", "2999-01-01"], "--from must be before --to"),
    ] {
        let all: Vec<&str> = arguments.iter().chain(more).copied().collect();
        let all = if more[0] == "--from" {
            [&all[2..6], more].concat()
        } else {
            all
        };
        let (status, said) = rig.backfill(&all).await;
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(problem) && !rig.output().exists(), "{said}");
    }
    let mut config: Value = serde_json::from_str(&rig.config).unwrap();
    config["providers"][3]["credentials"]["api_token"] = json!("a-wrong-token");
    rig.config = config.to_string();
    let (status, said) = rig.backfill(&arguments).await;
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("loyalty, messages of partner: ") && !said.contains("a-wrong-token"),
        "{said}"
    );
    let last = History::read(&rig.output()).last();
    assert!(last.sum("delivery_sent_total", &[("account", "china")]) > 0.0);
    assert_eq!(
        last.sum("delivery_sent_total", &[("account", "loyalty")]),
        0.0
    );
}
