//! What Infobip pushes, in every shape: counted, or kept and counted as such, and never dropped.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use super::{
    command::run,
    crash::{self, reports},
    harness::{Exporter, Metrics, client},
};
use delivery_simulators::{Running, credentials};

fn outcomes(metrics: &Metrics) -> [f64; 4] {
    ["counted", "duplicate", "unsupported", "quarantined"].map(|own| {
        let labels = [("outcome", own)];
        metrics.sum("delivery_exporter_webhook_requests_total", &labels)
    })
}

/// One account, whose webhook takes what is pushed.
fn configuration(server: &Running) -> String {
    json!({
        "store": {"spool": "spool"},
        "collection": {"zero_hold": "0s", "interval": "5m"},
        "providers": [{
            "name": "mail", "type": "infobip_email", "base_url": server.base_url(), "timeout": "2s",
            "webhook_token": "a-token-of-the-hook",
            "credentials": {"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD},
        }],
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_pushed_is_answered_200_and_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let (_vendor, server) = crash::vendor().await;
    let config = configuration(&server);
    let exporter = Exporter::start(directory.path(), &config).await;
    let push = async |body: String| {
        let address = format!("{}/webhooks/infobip/email/mail", exporter.base);
        let request = client().post(address).bearer_auth("a-token-of-the-hook");
        request.body(body).send().await.unwrap().status().as_u16()
    };
    let one = |number: usize| reports(number, 1).next().unwrap();
    let event = |kind: &str, id: &str| json!({"notificationType": kind, "eventId": id});
    let sum = |metrics: &Metrics, name: &str| metrics.sum(name, &[]);
    let bodies: Vec<(Value, [f64; 4])> = vec![
        (one(0), [1.0, 0.0, 0.0, 0.0]),
        (json!([one(1), one(2)]), [2.0, 0.0, 0.0, 0.0]),
        (json!({"report": one(3)}), [3.0, 0.0, 0.0, 0.0]),
        (json!({"results": one(3)}), [3.0, 1.0, 0.0, 0.0]),
        (
            json!([event("COMPLAINED", "a"), event("OPENED", "b"), one(4)]),
            [4.0, 1.0, 0.0, 0.0],
        ),
        (
            json!([event("OPENED", "b"), event("CLICKED", "c")]),
            [4.0, 1.0, 1.0, 0.0],
        ),
        (json!([one(5), {"news": [1]}]), [4.0, 1.0, 1.0, 1.0]),
        (json!({}), [4.0, 1.0, 1.0, 2.0]),
        (json!({"state": "DELIVERED", "id": 7}), [4.0, 1.0, 1.0, 3.0]),
    ];
    for (body, expected) in bodies {
        assert_eq!(push(body.to_string()).await, 200);
        assert_eq!(outcomes(&exporter.metrics().await), expected, "{body}");
    }
    let metrics = exporter.metrics().await;
    assert_eq!(sum(&metrics, "delivery_delivered_total"), 6.0);
    assert_eq!(sum(&metrics, "delivery_complaints_total"), 1.0);
    assert_eq!(sum(&metrics, "delivery_exporter_quarantined_bodies"), 3.0);
    assert_eq!(
        sum(&metrics, "delivery_exporter_reports_quarantined_total"),
        3.0
    );
    exporter.kill();

    // Bodies hold addresses of people: nobody else can read them.
    let rights = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for part in ["spool", "spool/mail", "spool/mail/quarantine"] {
        assert_eq!(rights(&directory.path().join(part)), 0o700, "{part}");
    }
    for entry in fs::read_dir(directory.path().join("spool/mail/quarantine")).unwrap() {
        assert_eq!(rights(&entry.unwrap().path()), 0o600);
    }

    // A person mends what was kept: replay takes reports and events in every shape that it knows.
    let quarantine = directory.path().join("spool/mail/quarantine");
    let mut kept: Vec<_> = fs::read_dir(&quarantine)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    kept.sort();
    assert_eq!(fs::read_to_string(&kept[0]).unwrap(), r#"[{"news":[1]}]"#);
    assert_eq!(fs::read_to_string(&kept[2]).unwrap(), "{}");
    let mended = json!([
        event("COMPLAINED", "a"),
        event("COMPLAINED", "d"),
        one(6),
        one(0)
    ]);
    fs::write(&kept[0], mended.to_string()).unwrap();
    fs::write(&kept[1], one(7).to_string()).unwrap();
    fs::remove_file(&kept[2]).unwrap();
    let place = directory.path().to_owned();
    let replayed = tokio::task::spawn_blocking(move || run(&["replay"], &place));
    let (status, printed, said) = replayed.await.unwrap();
    assert_eq!(status, Some(0), "{printed}{said}");
    assert!(
        printed.contains("3 reports counted; the quarantine is empty"),
        "{printed}"
    );
    let exporter = Exporter::start(directory.path(), &config).await;
    let metrics = exporter.metrics().await;
    assert_eq!(sum(&metrics, "delivery_delivered_total"), 8.0);
    assert_eq!(sum(&metrics, "delivery_complaints_total"), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_names_fill_neither_the_page_nor_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let (_vendor, server) = crash::vendor().await;
    let config = configuration(&server);
    let exporter = Exporter::start(directory.path(), &config).await;
    for number in 0..8 {
        let mut report = reports(number, 1).next().unwrap();
        let name = |what: &str| format!("{what}{}{number}", "ä".repeat(1_000_000));
        report["status"] =
            json!({"groupId": 3, "groupName": "DELIVERED", "id": 5, "name": name("status")});
        report["error"] = json!({"groupId": 0, "groupName": "OK", "id": 0, "name": name("error")});
        report["bulkId"] = json!(name("bulk"));
        report[name("field").as_str()] = json!(1);
        let address = format!("{}/webhooks/infobip/email/mail", exporter.base);
        let request = client().post(address).bearer_auth("a-token-of-the-hook");
        let body = json!({"results": [report]}).to_string();
        assert_eq!(request.body(body).send().await.unwrap().status(), 200);
    }
    let (_, page) = exporter.get("/metrics").await;
    let metrics = Metrics::read(&page);
    assert_eq!(metrics.sum("delivery_delivered_total", &[]), 8.0);
    let longest = page.lines().map(str::len).max().unwrap();
    assert!(longest < 2000, "a line of {longest} bytes");
    let all: Vec<_> = metrics.find("delivery_reports_total", &[]).collect();
    assert_eq!(all.len(), 8, "long names stay apart: {all:?}");
    exporter.terminate();
    let stored: u64 = walk(directory.path());
    assert!(stored < 4 << 20, "{stored} bytes are kept");
    // The counters go on under the same names.
    let exporter = Exporter::start(directory.path(), &config).await;
    let after = exporter.metrics().await;
    let names = |metrics: &Metrics| {
        let all = metrics.find("delivery_reports_total", &[]);
        all.map(|own| format!("{own:?}")).collect::<Vec<_>>()
    };
    assert_eq!(names(&after), names(&metrics));
}

/// The bytes of all files below a directory.
fn walk(directory: &std::path::Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let size = |entry: fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => walk(&entry.path()),
        false => entry.metadata().unwrap().len(),
    };
    entries.map(size).sum()
}
