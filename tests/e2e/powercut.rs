//! Power cuts: SIGKILL keeps what the system has not written yet, so it proves nothing about
//! syncing. Here everything that was not synced is gone (`powercut.c`), at many random moments.
//!
//! `POWER_CUTS=100 cargo test --test e2e powercut` is the long form.

use std::{fs, os::unix::fs::MetadataExt, path::Path, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;

use super::{
    crash::{all_counted, reports, vendor},
    harness::{Exporter, binary, eventually},
    preload,
};

/// Rebuilds a directory from what was synced of it.
fn restore(shadow: &Path, inode: u64, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let Ok(names) = fs::read_to_string(shadow.join(format!("d-{inode}"))) else {
        return;
    };
    for line in names.lines() {
        let mut parts = line.splitn(3, ' ');
        let (kind, inode, name) = (parts.next(), parts.next(), parts.next());
        let inode: u64 = inode.unwrap().parse().unwrap();
        let path = to.join(name.unwrap());
        if kind == Some("d") {
            restore(shadow, inode, &path);
        } else {
            let content = fs::read(shadow.join(format!("c-{inode}"))).unwrap_or_default();
            fs::write(path, content).unwrap();
        }
    }
}

/// How many reports were handed out, how many of them may be missing, and how many were counted,
/// after so many cuts.
async fn cut(cuts: usize, lie: bool) -> (usize, usize, usize) {
    let directory = tempfile::tempdir().unwrap();
    let library = preload::library("powercut", directory.path());
    let (data, shadow) = (
        directory.path().join("data"),
        directory.path().join("shadow"),
    );
    fs::create_dir(&data).unwrap();
    let (vendor, server) = vendor().await;
    let config = json!({
        "store": {"url": "sqlite:data/delivery.db", "spool": "data/spool"},
        "collection": {"zero_hold": "0s", "interval": "1s", "timeout": "2s"},
        "providers": [{"name": "mail", "type": "infobip_email", "base_url": server.base_url(),
            "credentials": {"username": "Aladdin", "password": "open sesame"}}],
    });
    fs::write(directory.path().join("config.yaml"), config.to_string()).unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let (mut put, mut may_miss) = (0, 0);
    for _ in 0..cuts {
        fs::create_dir_all(&shadow).unwrap();
        // What is there has been synced: by whoever restored it.
        seed(&data, &shadow);
        let mut command = binary();
        command
            .env("LD_PRELOAD", &library)
            .env("POWERCUT_ROOT", &data)
            .env("POWERCUT_SHADOW", &shadow);
        if lie {
            command.env("POWERCUT_LIE", "1");
        }
        let exporter = Exporter::spawn_command(command, directory.path()).await;
        let end =
            tokio::time::Instant::now() + Duration::from_millis(random.random_range(200..1500));
        while tokio::time::Instant::now() < end {
            vendor.put_reports(reports(put, 5));
            put += 5;
            tokio::time::sleep(Duration::from_millis(random.random_range(5..40))).await;
        }
        exporter.kill();
        may_miss += vendor.answers().last().copied().unwrap_or(0);
        let inode = fs::metadata(&data).unwrap().ino();
        let restored = directory.path().join("restored");
        restore(&shadow, inode, &restored);
        for old in [&data, &shadow] {
            fs::remove_dir_all(old).unwrap();
        }
        fs::rename(restored, &data).unwrap();
    }
    let exporter = Exporter::start(directory.path(), &config.to_string()).await;
    eventually("everything is fetched", async || {
        (vendor.handed_out().len() >= put && vendor.answers().last() == Some(&0)).then_some(())
    })
    .await;
    all_counted(&directory.path().join("data/spool"), "mail").await;
    // A pass shows what it has at its end.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let metrics = exporter.metrics().await;
    let counted = metrics.sum("delivery_sent_total", &[]) as usize;
    assert_eq!(metrics.sum("delivery_reports_total", &[]) as usize, counted);
    (vendor.handed_out().len(), may_miss, counted)
}

/// Notes all that is there as synced.
fn seed(directory: &Path, shadow: &Path) {
    let mut names = String::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        let (kind, inode) = (if metadata.is_dir() { 'd' } else { 'f' }, metadata.ino());
        names.push_str(&format!("{kind} {inode} {}\n", entry.file_name().display()));
        if metadata.is_dir() {
            seed(&entry.path(), shadow);
        } else {
            fs::copy(entry.path(), shadow.join(format!("c-{inode}"))).unwrap();
        }
    }
    let inode = fs::metadata(directory).unwrap().ino();
    fs::write(shadow.join(format!("d-{inode}")), names).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_lose_nothing_that_was_received() {
    let long = std::env::var("POWER_CUTS").ok();
    let cuts = long.and_then(|own| own.parse().ok()).unwrap_or(10);
    let (handed, may_miss, counted) = cut(cuts, false).await;
    println!(
        "{cuts} power cuts: {counted} of {handed} are counted, {may_miss} of last answers might have been missing"
    );
    assert!(
        counted <= handed,
        "{counted} of {handed}: something is counted twice"
    );
    assert!(
        counted + may_miss >= handed,
        "{counted} of {handed}, {may_miss} may be missing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_lies_about_syncing_is_found_out_by_this_test() {
    let (handed, may_miss, counted) = cut(3, true).await;
    assert!(counted + may_miss < handed, "{counted} of {handed}");
}
