//! `replay`: what lies in quarantine is read again, and counted once.

use std::{fs, path::Path};

use delivery_simulators::{credentials, faults::Fault};
use serde_json::{Value, json};

use super::{
    command::run,
    crash::{configuration, reports, vendor},
    harness::Exporter,
    postgres::Postgres,
};

/// Puts a body into the quarantine of the account `mail`, as a person does who has mended it.
fn put(directory: &Path, body: &str, results: &[Value]) {
    let quarantine = directory.join("spool/mail/quarantine");
    fs::create_dir_all(&quarantine).unwrap();
    let text = json!({"results": results}).to_string();
    fs::write(quarantine.join(body), text).unwrap();
}

/// Replays, and gives the status and everything that was said.
async fn replay(directory: &Path) -> (Option<i32>, String) {
    let directory = directory.to_owned();
    let run = move || run(&["replay"], &directory);
    let (status, printed, said) = tokio::task::spawn_blocking(run).await.unwrap();
    let all = printed + &said;
    assert!(!all.contains("example.com"), "an address is shown: {all}");
    (status, all)
}

fn one(number: usize) -> Value {
    reports(number, 1).next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_counts_what_can_be_read_now_and_leaves_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (vendor, server) = vendor().await;
    let config = configuration(&server);
    let xml = Fault::Answer {
        status: 200,
        headers: Vec::new(),
        body: "<reports/>".into(),
    };
    server.faults().add("/email", xml, Some(1));
    vendor.put_reports(reports(0, 10));
    let exporter = Exporter::start(directory, &config).await;
    let check = |metrics: &super::harness::Metrics| {
        metrics.sum("delivery_reports_total", &[]) == 10.0
            && metrics.get("delivery_exporter_quarantined_bodies", &[]) == Some(1.0)
    };
    exporter.wait_for("the reports are counted", check).await;
    let (status, said) = replay(directory).await;
    assert_eq!(status, Some(1));
    assert!(
        said.contains("another delivery-exporter uses this spool"),
        "{said}"
    );
    exporter.kill();

    let (status, said) = replay(directory).await;
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("the body is no JSON object"), "{said}");
    let quarantine = directory.join("spool/mail/quarantine");
    let bodies = || {
        let entries = fs::read_dir(&quarantine).unwrap();
        let mut bodies: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        bodies.sort();
        bodies
    };
    let [body] = bodies().try_into().unwrap();
    put(directory, &body, &[one(20), json!(7), one(0)]);
    put(directory, "00000000000000000900.body", &[one(21), one(22)]);
    // What the exporter has not put there is left alone.
    put(directory, "9.body", &[one(40)]);
    put(directory, "18446744073709551616.body", &[one(41)]);
    fs::create_dir(quarantine.join("00000000000000000901.body")).unwrap();
    let (status, said) = replay(directory).await;
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains(&format!("mail {body}: 1 reports counted, 1 already counted; a part remains in quarantine: a report cannot be read"))
            && said.contains("mail 00000000000000000900.body: 2 reports counted; everything could be parsed")
            && said.contains("3 reports counted; 1 bodies remain in quarantine"),
        "{said}"
    );
    for other in ["9.body", "18446744073709551616.body"] {
        fs::remove_file(quarantine.join(other)).unwrap();
    }
    fs::remove_dir(quarantine.join("00000000000000000901.body")).unwrap();
    assert_eq!(bodies(), std::slice::from_ref(&body));
    let left = fs::read_to_string(quarantine.join(&body)).unwrap();
    assert_eq!(left, r#"{"results":[7]}"#);
    fs::remove_file(quarantine.join(&body)).unwrap();
    let (status, said) = replay(directory).await;
    assert_eq!(status, Some(0));
    assert!(said.contains("the quarantine is empty"), "{said}");

    let exporter = Exporter::start(directory, &config).await;
    let metrics = exporter.metrics().await;
    assert_eq!(metrics.sum("delivery_reports_total", &[]), 13.0);
    assert_eq!(
        metrics.get("delivery_exporter_quarantined_bodies", &[]),
        Some(0.0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_counts_for_the_replica_that_holds_the_account() {
    let postgres = Postgres::start().await;
    let (vendor, server) = vendor().await;
    vendor.put_reports(reports(0, 10));
    let config = |replica: &str| {
        json!({
            "store": {"url": postgres.url(), "lease": "3s", "spool": "spool", "replica": replica},
            "collection": {"zero_hold": "0s"},
            "providers": [{
                "name": "mail", "type": "infobip_email", "base_url": server.base_url(), "interval": "1s",
                "credentials": {"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD},
            }],
        })
        .to_string()
    };
    let (holder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let exporter = Exporter::start(holder.path(), &config("holder")).await;
    let counted = |count: f64| {
        move |metrics: &super::harness::Metrics| {
            metrics.sum("delivery_delivered_total", &[]) == count
        }
    };
    exporter
        .wait_for("the reports are counted", counted(10.0))
        .await;
    fs::write(other.path().join("config.yaml"), config("other")).unwrap();
    put(
        other.path(),
        "00000000000000000001.body",
        &[one(5), one(30)],
    );
    let (status, said) = replay(other.path()).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("1 reports counted, 1 already counted"),
        "{said}"
    );
    // The holder takes it up within a minute, and whoever holds the account next at once.
    assert!(exporter.terminate().success());
    let exporter = Exporter::start(holder.path(), &config("holder")).await;
    exporter.wait_for("it is shown", counted(11.0)).await;
}
