//! The exporter is killed at many random moments while once-only reports flow: every answer but the
//! last one before a kill is counted exactly, counter by counter, and nothing twice.
//!
//! `CRASH_KILLS=300 cargo test --test e2e kills` is the long form, for each store.

use std::{path::Path, time::Duration};

use delivery_simulators::credentials;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    crash,
    harness::{Exporter, Metrics, eventually},
    postgres::Postgres,
};

/// The reports of a batch, in their order: status group, what follows from it, seconds to its end.
const BATCH: [(&str, Meaning, Option<u64>); 7] = [
    ("DELIVERED", Meaning::Delivered, Some(7)),
    ("PENDING", Meaning::Nothing, None),
    ("UNDELIVERABLE", Meaning::Hard, Some(70)),
    ("DELIVERED", Meaning::Delivered, Some(700)),
    ("EXPIRED", Meaning::Expired, Some(7000)),
    ("UNDELIVERABLE", Meaning::Soft, Some(2)),
    ("DELIVERED", Meaning::Delivered, None),
];
const BULK: &str = "3813836816344707101";

#[derive(Clone, Copy, PartialEq)]
enum Meaning {
    Delivered,
    Nothing,
    Hard,
    Soft,
    Expired,
}

/// The reports of one batch, which all have a status of their own.
fn batch(number: usize) -> Vec<Value> {
    let report = |(index, (group, meaning, seconds)): (usize, &(&str, Meaning, Option<u64>))| {
        let bounced = matches!(meaning, Meaning::Hard | Meaning::Soft);
        let mut report = json!({
            "messageId": format!("message-{number}-{index}"), "to": "person@example.com", "messageCount": 1,
            "price": {"pricePerMessage": 0.0025, "currency": "EUR"},
            "status": {"groupName": group, "id": 90, "name": format!("BATCH_{number}")},
            "error": {"groupId": if bounced { 2 } else { 0 }, "id": if bounced { 6009 } else { 0 },
                "name": if bounced { "EC_MAILBOX_UNAVAILABLE" } else { "NO_ERROR" }, "permanent": *meaning == Meaning::Hard},
            "sentAt": "2026-11-20T10:00:00.000+0000",
        });
        if let Some(seconds) = seconds {
            let done =
                jiff::Timestamp::from_second(1_795_168_800 + i64::try_from(*seconds).unwrap())
                    .unwrap();
            report["sentAt"] = json!("2026-11-20T10:00:00.000+0000");
            report["doneAt"] = json!(done.strftime("%Y-%m-%dT%H:%M:%S.000+0000").to_string());
        }
        report
    };
    BATCH.iter().enumerate().map(report).collect()
}

/// How many reports of each batch a scrape shows.
fn per_batch(metrics: &Metrics, batches: usize) -> Vec<usize> {
    (0..batches)
        .map(|number| {
            let status = format!("BATCH_{number}");
            metrics.sum("delivery_reports_total", &[("status", &status)]) as usize
        })
        .collect()
}

/// Every counter of a scrape that has to survive.
fn counters(metrics: &Metrics) -> Vec<(&(String, super::harness::Labels), f64)> {
    let lasting = |name: &str| {
        name.starts_with("delivery_")
            && !name.starts_with("delivery_exporter_")
            && (name.ends_with("_total") || name.ends_with("_count") || name.ends_with("_bucket"))
    };
    let samples = metrics.samples.iter();
    samples
        .filter(|((name, _), _)| lasting(name))
        .map(|(key, value)| (key, *value))
        .collect()
}

async fn survive(store: Value, directory: &Path, kills: usize, zero_hold: &str, settle: Duration) {
    let seed = 20_261_126;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (vendor, server) = crash::vendor().await;
    let credentials = json!({"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD});
    let config = json!({
        "store": store,
        "collection": {"zero_hold": zero_hold, "interval": "1s", "timeout": "2s", "adopt_age": "0s"},
        "limits": {"max_label_values": 100_000, "max_series_per_account": 1_000_000},
        "providers": [
            {"name": "mail", "type": "infobip_email", "base_url": server.base_url(), "credentials": credentials},
            {"name": "push", "type": "infobip_push", "base_url": server.base_url(), "credentials": credentials,
             "applications": [{"id": credentials::INFOBIP_APPLICATION}], "messages": {"static": [BULK]}},
        ],
    })
    .to_string();
    let (mut batches, mut delivered) = (0, 0);
    let mut again: Vec<usize> = Vec::new();
    let mut last_answers = Vec::new();
    let mut shown: Option<Metrics> = None;
    for _ in 0..kills {
        let exporter = Exporter::start(directory, &config).await;
        let life = settle + Duration::from_millis(random.random_range(300..1600));
        let end = tokio::time::Instant::now() + life;
        while tokio::time::Instant::now() < end {
            vendor.put_reports(batch(batches));
            batches += 1;
            if batches % 10 == 0 {
                // The vendor repeats itself.
                let old = random.random_range(0..batches);
                again.push(old);
                vendor.put_reports(batch(old));
            }
            delivered += 3;
            vendor.put_bulk(
                BULK,
                json!({"totalSent": 1_000_000, "delivered": delivered}),
            );
            // Each batch has a status of its own: in the long form fewer of them a second, so that the
            // hundredfold counters are not what is measured.
            let pause = random.random_range(5..60) * (1 + kills as u64 / 60);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        // What was shown is never less after the next start.
        let metrics = exporter.metrics().await;
        if let Some(before) = shown.take_if(|_| !counters(&metrics).is_empty()) {
            for (key, value) in counters(&before) {
                // An account whose ledger is not open yet shows nothing.
                let account = [("account", key.1["account"].as_str())];
                if metrics
                    .find("delivery_sent_total", &account)
                    .next()
                    .is_none()
                {
                    continue;
                }
                let now = metrics.samples.get(key).copied();
                assert!(now >= Some(value), "{key:?} was {value} and is {now:?}");
            }
        }
        if !counters(&metrics).is_empty() {
            shown = Some(metrics);
        }
        exporter.kill();
        last_answers.push(vendor.answers().len().saturating_sub(1));
    }
    let exporter = Exporter::start(directory, &config).await;
    eventually("everything is fetched", async || {
        let all = vendor.handed_out().len() >= batches * BATCH.len();
        (all && vendor.answers().last() == Some(&0)).then_some(())
    })
    .await;
    crash::all_counted(&directory.join("data/spool"), "mail").await;
    // What is shown from here on was read after that.
    let metrics = exporter
        .wait_for("everything is counted and released", |metrics| {
            let fetched =
                metrics.get("delivery_message_delivered", &[]) == Some(f64::from(delivered));
            let held = metrics.sum("delivery_exporter_held_increments", &[]);
            // The ledger is open: it has shown what was counted before.
            let open = metrics.sum("delivery_sent_total", &[("account", "mail")]) > 0.0;
            fetched && open && held == 0.0
        })
        .await;
    drop(metrics);
    // Passes show what they have at their end.
    tokio::time::sleep(settle + Duration::from_secs(2)).await;
    let metrics = exporter.metrics().await;
    let found = per_batch(&metrics, batches);
    // Which batches were in an answer that may be missing, in the order of that answer.
    let handed = vendor.handed_out();
    let mut from = 0;
    let mut missing = 0;
    let mut safe = vec![false; batches];
    for (index, length) in vendor.answers().into_iter().enumerate() {
        let answer = &handed[from..from + length];
        from += length;
        let number = |report: &Value| -> usize {
            let name = report["status"]["name"].as_str().unwrap();
            name.trim_start_matches("BATCH_").parse().unwrap()
        };
        if !last_answers.contains(&index) {
            answer.iter().for_each(|report| safe[number(report)] = true);
            continue;
        }
        // From some report on, all of it may be missing, but nothing before.
        let mut ended = false;
        for reports in answer.chunk_by(|left, right| number(left) == number(right)) {
            let own = number(&reports[0]);
            if again.contains(&own) {
                continue;
            }
            let counted = found[own];
            assert!(
                !ended || counted == 0,
                "a hole in the answer {index}, at batch {own}"
            );
            ended |= counted < BATCH.len();
            missing += BATCH.len() - counted;
        }
    }
    for (number, safe) in safe.iter().enumerate() {
        let counted = found[number];
        assert!(
            counted <= BATCH.len(),
            "batch {number} is counted twice: {counted}"
        );
        assert!(
            !safe || counted == BATCH.len(),
            "batch {number} was received: {counted}"
        );
    }
    // All other counters follow from which reports were counted: they are taken in order.
    let sum = |of: &dyn Fn(Meaning) -> bool| -> f64 {
        let of_batch = |counted: &usize| BATCH[..*counted].iter().filter(|own| of(own.1)).count();
        found.iter().map(of_batch).sum::<usize>() as f64
    };
    let mail = |name: &str, labels: &[(&str, &str)]| {
        metrics.sum(name, &[&[("account", "mail")], labels].concat())
    };
    assert_eq!(mail("delivery_sent_total", &[]), sum(&|_| true));
    assert_eq!(
        mail("delivery_delivered_total", &[]),
        sum(&|own| own == Meaning::Delivered)
    );
    assert_eq!(
        mail("delivery_bounces_total", &[("kind", "hard")]),
        sum(&|own| own == Meaning::Hard)
    );
    assert_eq!(
        mail("delivery_bounces_total", &[("kind", "soft")]),
        sum(&|own| own == Meaning::Soft)
    );
    assert_eq!(
        mail("delivery_errors_total", &[("reason", "expired")]),
        sum(&|own| own == Meaning::Expired)
    );
    let times = |counted: &usize| BATCH[..*counted].iter().filter_map(|own| own.2);
    let observed: Vec<u64> = found.iter().flat_map(times).collect();
    assert_eq!(
        mail("delivery_report_latency_seconds_count", &[]),
        observed.len() as f64
    );
    assert_eq!(
        mail("delivery_report_latency_seconds_sum", &[]),
        observed.iter().sum::<u64>() as f64
    );
    let cost = mail("delivery_report_cost_total", &[]);
    assert!((cost - 0.0025 * sum(&|_| true)).abs() < 1e-9, "{cost}");
    let push = [("account", "push")];
    assert_eq!(
        metrics.sum("delivery_delivered_total", &push),
        f64::from(delivered)
    );
    println!("{kills} kills, {batches} batches, {missing} reports of last answers are missing");
}

fn kills(short: usize) -> usize {
    let long = std::env::var("CRASH_KILLS").ok();
    long.and_then(|own| own.parse().ok()).unwrap_or(short)
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_that_was_received_with_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let store = json!({"url": "sqlite:data/delivery.db", "spool": "data/spool"});
    survive(store, directory.path(), kills(24), "0s", Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_that_was_received_with_postgresql() {
    let postgres = Postgres::start().await;
    let directory = tempfile::tempdir().unwrap();
    // The lease of the process that was killed has to run out first.
    let store =
        json!({"url": postgres.url(), "spool": "data/spool", "lease": "3s", "replica": "a"});
    survive(
        store,
        directory.path(),
        kills(6),
        "1s",
        Duration::from_secs(3),
    )
    .await;
}
