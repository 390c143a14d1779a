//! A vendor hands reports out once: whatever happens to the exporter after that, they are counted,
//! once.

use std::{path::Path, time::Duration};

use delivery_clock::Clock;
use delivery_simulators::{Running, credentials, faults::Fault, infobip};
use serde_json::{Value, json};

use super::harness::{Exporter, Metrics, eventually};

/// Waits until no body is left to count in an account's spool. Its bytes are no sign of that: the
/// end of an answer that was cut in the middle of a report stays behind, in quarantine.
pub async fn all_counted(spool: &Path, account: &str) {
    eventually("the spool is counted", async || {
        let entries = std::fs::read_dir(spool.join(account)).ok()?.flatten();
        let mut bodies = entries.filter(|own| own.path().is_file());
        bodies.next().is_none().then_some(())
    })
    .await;
}

pub async fn vendor() -> (infobip::Infobip, Running) {
    let clock = Clock::system();
    let options = infobip::Options {
        email_every: Duration::ZERO,
        ..infobip::Options::basic(
            credentials::INFOBIP_USERNAME,
            credentials::INFOBIP_PASSWORD,
            credentials::INFOBIP_APPLICATION,
        )
    };
    let vendor = infobip::Infobip::new(
        clock.clone(),
        1,
        clock.now(),
        Duration::from_secs(3600),
        options,
    );
    let server = vendor.start(([127, 0, 0, 1], 0).into()).await.unwrap();
    (vendor, server)
}

pub fn reports(from: usize, count: usize) -> impl Iterator<Item = Value> {
    (from..from + count).map(|number| {
        json!({
            "messageId": format!("message-{number}"), "to": format!("person-{number}@example.com"),
            "sentAt": "2026-11-20T10:00:00.000+0000", "doneAt": "2026-11-20T10:00:07.000+0000", "messageCount": 1,
            "price": {"pricePerMessage": 0.0025, "currency": "EUR"},
            "status": {"groupId": 3, "groupName": "DELIVERED", "id": 5, "name": "DELIVERED_TO_HANDSET"},
            "error": {"groupId": 0, "groupName": "OK", "id": 0, "name": "NO_ERROR", "permanent": false},
        })
    })
}

pub fn configuration(server: &Running) -> String {
    json!({
        "store": {"spool": "spool"},
        "collection": {"zero_hold": "0s"},
        "providers": [{
            "name": "mail", "type": "infobip_email", "base_url": server.base_url(),
            "interval": "1s", "timeout": "2s",
            "credentials": {"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD},
        }],
    })
    .to_string()
}

fn delivered(metrics: &Metrics) -> f64 {
    metrics.sum("delivery_delivered_total", &[])
}

/// Removes what stands in the way of a restart: nothing but the log.
async fn restarted(directory: &Path, config: &str) -> Exporter {
    Exporter::start(directory, config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_survive_sigkill_at_any_moment_and_are_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let (vendor, server) = vendor().await;
    let config = configuration(&server);
    let mut handed = 0;
    for round in 0..6 {
        let exporter = restarted(directory.path(), &config).await;
        let before = server.received().len();
        vendor.put_reports(reports(round * 1000, 1000));
        handed += 1000;
        // The answer has left the vendor when the next request comes, which proves that the
        // exporter has it; how far it has got with counting is left to chance.
        eventually("the reports are fetched", async || {
            (server.received().len() >= before + 2 && vendor.handed_out().len() == handed)
                .then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(7 * round as u64)).await;
        exporter.kill();
    }
    let exporter = restarted(directory.path(), &config).await;
    let metrics = exporter
        .wait_for("everything is counted", |metrics| {
            delivered(metrics) == handed as f64
        })
        .await;
    assert_eq!(metrics.sum("delivery_reports_total", &[]), handed as f64);
    assert_eq!(
        metrics.sum("delivery_exporter_reports_duplicate_total", &[]),
        0.0
    );
    let cost = metrics.sum("delivery_report_cost_total", &[]);
    assert_eq!(cost, 15.0, "summed exactly");
    assert!(
        metrics
            .text
            .lines()
            .any(|line| line.ends_with("currency=\"EUR\"} 15"))
    );
    for text in [&metrics.text, &exporter.log(), &exporter.get("/").await.1] {
        assert!(!text.contains("example.com"), "an address is shown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_gives_its_whole_reports_and_the_rest_is_quarantined() {
    let directory = tempfile::tempdir().unwrap();
    let (vendor, server) = vendor().await;
    let whole = json!({"results": reports(0, 10).collect::<Vec<_>>()}).to_string();
    let one = json!({"results": reports(0, 1).collect::<Vec<_>>()})
        .to_string()
        .len()
        - 2;
    // In the middle of the fifth report.
    let cut = one + 3 * (one - 12) + 50;
    assert!(cut < whole.len());
    vendor.put_reports(reports(0, 10));
    server.faults().add("/email", Fault::Cut(cut), Some(1));
    vendor.put_reports(reports(10, 5));
    let config = configuration(&server);
    let exporter = restarted(directory.path(), &config).await;
    let check = |metrics: &Metrics| {
        delivered(metrics) == 4.0
            && metrics.get("delivery_exporter_quarantined_bodies", &[]) == Some(1.0)
    };
    let metrics = exporter
        .wait_for("the whole reports are counted", check)
        .await;
    assert_eq!(
        metrics.sum("delivery_exporter_reports_quarantined_total", &[]),
        1.0
    );
    let failures = [("account", "mail"), ("reason", "body")];
    assert_eq!(
        metrics.sum("delivery_exporter_collect_failures_total", &failures),
        1.0
    );
    assert_eq!(
        metrics.sum("delivery_exporter_api_retries_total", &[]),
        0.0,
        "a cut answer is not asked for again"
    );
    // XML in spite of the header: kept, counted as quarantined, and the drain goes on.
    let xml = Fault::Answer {
        status: 200,
        headers: Vec::new(),
        body: "<reports/>".into(),
    };
    server.faults().add("/email", xml, Some(1));
    vendor.put_reports(reports(20, 5));
    let both = |metrics: &Metrics| {
        delivered(metrics) == 9.0
            && metrics.get("delivery_exporter_quarantined_bodies", &[]) == Some(2.0)
    };
    exporter.wait_for("the next ones are counted", both).await;
    exporter.kill();
    // After a start: the same, and nothing is quarantined twice.
    let exporter = restarted(directory.path(), &config).await;
    let metrics = exporter.wait_for("all of it is there again", both).await;
    assert_eq!(
        metrics.sum("delivery_exporter_reports_quarantined_total", &[]),
        0.0
    );
    assert_eq!(
        metrics.sum("delivery_exporter_reports_duplicate_total", &[]),
        0.0
    );
    assert!(metrics.get("delivery_exporter_spool_bytes", &[]).unwrap() > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_place_for_them_no_reports_are_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let (vendor, server) = vendor().await;
    let config = configuration(&server);
    let exporter = restarted(directory.path(), &config).await;
    exporter
        .wait_for("it is up", |metrics| {
            metrics.get("delivery_up", &[]) == Some(1.0)
        })
        .await;
    // A file where the account's directory was: nothing can be written there, not even by root.
    let account = directory.path().join("spool/mail");
    std::fs::rename(&account, directory.path().join("away")).unwrap();
    std::fs::write(&account, "").unwrap();
    let failed = |metrics: &Metrics| {
        let store = [("reason", "store")];
        metrics.sum("delivery_exporter_collect_failures_total", &store) >= 2.0
            && metrics.get("delivery_exporter_store_up", &[]) == Some(0.0)
    };
    exporter
        .wait_for("the disk's trouble is told", failed)
        .await;
    let asked = server.received().len();
    vendor.put_reports(reports(0, 3));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        server.received().len(),
        asked,
        "nothing is asked for that cannot be kept"
    );
    assert!(exporter.log().contains("spool"), "{}", exporter.log());
    std::fs::remove_file(&account).unwrap();
    std::fs::rename(directory.path().join("away"), &account).unwrap();
    exporter
        .wait_for("it goes on by itself", |metrics| delivered(metrics) == 3.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_share_a_spool() {
    let directory = tempfile::tempdir().unwrap();
    let (_vendor, server) = vendor().await;
    let config = configuration(&server);
    let _first = restarted(directory.path(), &config).await;
    let mut second = super::harness::binary();
    let file = format!(
        "--config.file={}",
        directory.path().join("config.yaml").display()
    );
    let output = second
        .args([&file, "--web.listen-address=127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("another delivery-exporter uses this spool"),
        "{said}"
    );
}
