//! Scrapes of ready pieces, read by programs that are not ours: curl, Python's zlib, zstd, Chromium.
//! Prometheus reads them in the other tests.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use delivery_clock::Clock;
use serde_json::{Value, json};

use super::{harness::Exporter, world};

/// The lines that do not change from scrape to scrape.
fn stable(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let own = lines.filter(|line| !line.starts_with("process_"));
    own.map(str::to_owned).collect()
}

fn output(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

fn curl(address: &str, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--fail", "--show-error"]);
    output(command.args(arguments).arg(address), b"")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_reads_a_scrape_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let world = world::start(&Clock::system()).await;
    // Nothing is asked for again while the readers read.
    let more = json!({"collection": {"interval": "1h", "stale_after": "3h"}});
    let config = world::configuration(&world, directory.path(), &more);
    let exporter = Exporter::start(directory.path(), &config).await;
    exporter
        .wait_for("every vendor has answered", |metrics| {
            metrics.sum("delivery_up", &[]) == 5.0
        })
        .await;
    let address = format!("{}/metrics", exporter.base);
    let read = move || {
        let plain = String::from_utf8(curl(&address, &[])).unwrap();
        let by_curl = curl(
            &address,
            &["--header", "Accept-Encoding: gzip", "--compressed"],
        );
        let zstd = curl(&address, &["--header", "Accept-Encoding: zstd"]);
        let by_zstd = output(Command::new("zstd").args(["-d", "-c"]), &zstd);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut python = Command::new(root.join("target/python/bin/python"));
        python.arg(root.join("tests/e2e/readers.py")).arg(&address);
        let others: Value = serde_json::from_slice(&output(&mut python, b"")).unwrap();
        (plain, [by_curl, by_zstd], others)
    };
    let (plain, texts, others) = tokio::task::spawn_blocking(read).await.unwrap();
    let wanted = stable(&plain);
    assert!(wanted.len() > 1000);
    for text in texts {
        assert_eq!(stable(std::str::from_utf8(&text).unwrap()), wanted);
    }
    assert_eq!(others["python"]["whole"], true);
    assert_eq!(others["python"]["left"], 0, "a gzip body is one member");
    assert_eq!(stable(others["python"]["text"].as_str().unwrap()), wanted);
    for encoding in ["gzip", "zstd"] {
        let seen = &others["chromium"][encoding];
        assert_eq!(seen["encoding"], encoding);
        assert_eq!(stable(seen["text"].as_str().unwrap()), wanted, "{encoding}");
    }
}
