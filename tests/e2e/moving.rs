//! A ledger moves from SQLite to PostgreSQL and back: nothing is lost, nothing counts twice.

use std::{collections::BTreeMap, fs, path::Path};

use delivery_clock::Clock;
use serde_json::{Value, json};

use super::{
    command::run,
    harness::{Exporter, Labels, Metrics, eventually},
    postgres::Postgres,
    world,
};

/// What every counter about deliveries shows.
fn counters(metrics: &Metrics) -> BTreeMap<(String, Labels), f64> {
    let all = metrics.samples.iter().filter(|((name, _), _)| {
        name.starts_with("delivery_")
            && !name.starts_with("delivery_exporter_")
            && (name.ends_with("_total") || name.ends_with("_bucket"))
    });
    all.map(|(key, value)| (key.clone(), *value)).collect()
}

/// What the counters show once they stand still.
async fn at_rest(exporter: &Exporter) -> BTreeMap<(String, Labels), f64> {
    eventually("the counters stand still", async || {
        let first = counters(&exporter.metrics().await);
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let second = counters(&exporter.metrics().await);
        (first == second).then_some(second)
    })
    .await
}

fn on(config: &str, store: &Value) -> String {
    let mut config: Value = serde_json::from_str(config).unwrap();
    config["store"]["url"] = store.clone();
    config.to_string()
}

/// Waits until the counters show at least what they showed before, and says where they are less or more.
async fn differences(exporter: &Exporter, before: &BTreeMap<(String, Labels), f64>) -> Vec<String> {
    let mut last = Vec::new();
    for _ in 0..100 {
        let now = counters(&exporter.metrics().await);
        last = before
            .iter()
            .filter(|(key, value)| now.get(key) != Some(*value))
            .map(|(key, value)| format!("{key:?} was {value}, is {:?}", now.get(key)))
            .collect();
        if last.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    last
}

fn migrate(directory: &Path, from: &str, to: &str) -> (Option<i32>, String, String) {
    let (from, to) = (format!("--from={from}"), format!("--to={to}"));
    run(&["migrate", &from, &to], directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_moves_to_postgresql_and_back_and_counts_on() {
    let directory = tempfile::tempdir().unwrap();
    // Time stands still for the vendors: what they say does not change while the ledger moves.
    let (clock, _hand) = Clock::manual(Clock::system().now());
    let world = world::start(&clock).await;
    let config = world::configuration(&world, directory.path(), &json!({}));
    let path = directory.path().join("delivery.db");
    let sqlite = format!("sqlite:{}", path.display());
    let server = Postgres::start().await;

    let exporter = Exporter::start(directory.path(), &config).await;
    exporter
        .wait_for("numbers of all vendors", |own| {
            own.sum("delivery_sent_total", &[("account", "china")]) > 0.0
                && own.sum("delivery_sent_total", &[("account", "loyalty")]) > 0.0
                && own.sum("delivery_sent_total", &[("account", "news")]) > 0.0
                && own.sum("delivery_sent_total", &[("account", "push")]) > 0.0
                && own.sum("delivery_reports_total", &[]) > 0.0
        })
        .await;
    let (status, _, wrong) = migrate(directory.path(), &sqlite, &server.url());
    assert_eq!(status, Some(1));
    assert!(wrong.contains("stop it first"), "{wrong}");
    let before = at_rest(&exporter).await;
    assert!(before.len() > 100, "{}", before.len());
    assert!(exporter.terminate().success());

    let (status, said, wrong) = migrate(directory.path(), &sqlite, &server.url());
    assert_eq!(status, Some(0), "{wrong}");
    assert!(
        said.contains("counters: ") && said.contains("seen_1: "),
        "{said}"
    );
    let (status, _, wrong) = migrate(directory.path(), &sqlite, &server.url());
    assert_eq!(status, Some(1));
    assert!(wrong.contains("already contains a ledger"), "{wrong}");

    let on_postgres = on(&config, &json!(server.url()));
    let exporter = Exporter::start(directory.path(), &on_postgres).await;
    let different = differences(&exporter, &before).await;
    assert!(different.is_empty(), "{different:#?}");
    // What is new counts on, and nothing else.
    let sent = |own: &Metrics| own.sum("delivery_sent_total", &[("account", "push")]);
    let start = sent(&exporter.metrics().await);
    world.infobip.put_bulk(
        "3813836816344707101",
        json!({"totalSent": 31669, "delivered": 29668, "seen": 25632,
            "errors": {"registration": 1654, "expired": 301, "cloud": 46}, "delivery": {"rate": 93.68}}),
    );
    exporter
        .wait_for("what was sent since", |own| sent(own) > start)
        .await;
    assert_eq!(sent(&exporter.metrics().await) - start, 100.0);
    let (status, _, wrong) = migrate(directory.path(), &server.url(), "sqlite:back.db");
    assert_eq!(status, Some(1));
    assert!(wrong.contains("stop all replicas"), "{wrong}");
    let before = at_rest(&exporter).await;
    assert!(exporter.terminate().success());

    // What a replica that has just lost an account counted for its new holder is not lost either.
    server
        .ask(
            "INSERT INTO delivery_exporter.inbox (account, key, amount)
             SELECT account, key, 'c5' FROM delivery_exporter.counters
             WHERE total LIKE 'c%' AND total <> 'c0' ORDER BY account, key LIMIT 1",
        )
        .await
        .unwrap();
    let (status, _, wrong) = migrate(directory.path(), &server.url(), "sqlite:back.db");
    assert_eq!(status, Some(0), "{wrong}");
    let back = directory.path().join("back.db");
    assert!(back.exists() && !directory.path().join("back.db.unfinished").exists());
    let config = on(&config, &json!(format!("sqlite:{}", back.display())));
    let exporter = Exporter::start(directory.path(), &config).await;
    let added = eventually(
        "the counters are back, with what was on its way",
        async || {
            let now = counters(&exporter.metrics().await);
            let mut added = 0.0;
            for (key, value) in &before {
                added += now.get(key)? - value;
            }
            (added == 5.0).then_some(added)
        },
    )
    .await;
    assert_eq!(added, 5.0);
}

#[test]
fn a_move_needs_two_kinds_of_stores_and_a_ledger() {
    let directory = tempfile::tempdir().unwrap();
    for (from, to, expected) in [
        ("sqlite:a.db", "sqlite:b.db", "backup"),
        (
            "postgres://a@127.0.0.1/a",
            "postgres://a@127.0.0.1/b",
            "pg_dump",
        ),
        ("sqlite:a.db", "postgres://a@127.0.0.1:1/b", "not there"),
        ("mysql://a", "sqlite:b.db", "--from names no store"),
        ("sqlite:a.db", "sqlite:", "--to names no store"),
        (
            "postgres://a:hidden-word-1@127.0.0.1:1/a",
            "sqlite:b.db",
            "PostgreSQL at",
        ),
    ] {
        let (status, _, said) = migrate(directory.path(), from, to);
        assert_eq!(status, Some(1), "{from} {to}");
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("hidden-word-1"), "{said}");
    }
    assert!(!directory.path().join("b.db").exists());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
