//! A full disk, a read-only one, and a database that somebody else has locked: the exporter says
//! so, asks for nothing that it could lose, keeps serving, and goes on by itself.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::json;

use super::{
    crash::{reports, vendor},
    harness::{Exporter, Metrics, binary},
};

/// A small disk of its own; it is gone when this is dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// `None`: this user may not mount anything.
    fn mount(place: &Path) -> Option<Disk> {
        Disk::mount_sized(place, 14)
    }

    /// The same with so many MiB.
    pub fn mount_sized(place: &Path, size: u32) -> Option<Disk> {
        std::fs::create_dir_all(place).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}m"), "tmpfs"])
            .arg(place)
            .output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("not run: mounting a disk needs more rights");
        }
        mounted.then(|| Disk(place.to_owned()))
    }

    fn read_only(&self) {
        let status = Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(&self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(&self.0).status();
    }
}

fn configuration(url: &str) -> String {
    json!({
        "store": {"url": "sqlite:data/delivery.db", "spool": "data/spool"},
        "collection": {"zero_hold": "0s", "interval": "1s", "timeout": "2s"},
        "providers": [{"name": "mail", "type": "infobip_email", "base_url": url,
            "credentials": {"username": "Aladdin", "password": "open sesame"}}],
    })
    .to_string()
}

fn delivered(metrics: &Metrics) -> f64 {
    metrics.sum("delivery_delivered_total", &[])
}

fn in_trouble(metrics: &Metrics) -> bool {
    let failures = [("reason", "store")];
    metrics.get("delivery_exporter_store_up", &[]) == Some(0.0)
        && metrics.sum("delivery_exporter_store_errors_total", &[]) > 0.0
        && metrics.sum("delivery_exporter_collect_failures_total", &failures) > 1.0
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_is_asked_for_that_could_be_lost() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&directory.path().join("data")) else {
        return;
    };
    let (vendor, server) = vendor().await;
    let config = configuration(&server.base_url());
    let exporter = Exporter::start(directory.path(), &config).await;
    vendor.put_reports(reports(0, 10));
    exporter
        .wait_for("there is room at first", |metrics| {
            delivered(metrics) == 10.0
        })
        .await;
    // More than is left, if the ledger has grown for long enough.
    let filled = std::fs::write(disk.0.join("somebody-elses"), vec![1; 9 << 20]);
    let full = std::io::ErrorKind::StorageFull;
    assert!(filled.map_or_else(|error| error.kind() == full, |()| true));
    exporter.wait_for("the full disk is told", in_trouble).await;
    let asked = server.received().len();
    vendor.put_reports(reports(10, 10));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(server.received().len(), asked, "nothing is asked for");
    assert!(
        exporter.log().contains("make room on the disk"),
        "{}",
        exporter.log()
    );
    assert_eq!(
        delivered(&exporter.metrics().await),
        10.0,
        "it keeps serving"
    );
    std::fs::remove_file(disk.0.join("somebody-elses")).unwrap();
    exporter
        .wait_for("it goes on by itself", |metrics| {
            delivered(metrics) == 20.0
                && metrics.get("delivery_exporter_store_up", &[]) == Some(1.0)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&directory.path().join("data")) else {
        return;
    };
    let (_vendor, server) = vendor().await;
    let config = configuration(&server.base_url());
    let file = directory.path().join("config.yaml");
    std::fs::write(&file, config).unwrap();
    disk.read_only();
    let output = binary()
        .arg(format!("--config.file={}", file.display()))
        .arg("--web.listen-address=127.0.0.1:0")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("Read-only") && said.contains("data/spool"),
        "{said}"
    );
    assert!(server.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_is_waited_for_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let (vendor, server) = vendor().await;
    let config = configuration(&server.base_url());
    let exporter = Exporter::start(directory.path(), &config).await;
    vendor.put_reports(reports(0, 10));
    exporter
        .wait_for("all is well at first", |metrics| delivered(metrics) == 10.0)
        .await;
    let other = rusqlite::Connection::open(directory.path().join("data/delivery.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    vendor.put_reports(reports(10, 10));
    exporter.wait_for("the lock is told", in_trouble).await;
    // One answer is in the spool at most: while it is not counted, no other is asked for.
    let asked = server.received().len();
    vendor.put_reports(reports(20, 10));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(server.received().len(), asked, "nothing more is asked for");
    assert!(
        exporter.log().contains("another program holds it"),
        "{}",
        exporter.log()
    );
    assert_eq!(delivered(&exporter.metrics().await), 10.0);
    other.execute_batch("ROLLBACK").unwrap();
    exporter
        .wait_for("it goes on by itself", |metrics| {
            delivered(metrics) == 30.0
                && metrics.get("delivery_exporter_store_up", &[]) == Some(1.0)
        })
        .await;
}
