//! The vendors' own public clients against the simulators: what they decode, and what the exporter
//! decodes of the same answers, is equal.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use delivery_clock::Clock;
use delivery_simulators::{World, credentials};
use serde_json::{Value, json};

use super::{
    harness::{Exporter, Metrics},
    world,
};

/// A message that is not in the simulator's list.
const UNLISTED: &str = "510427";

/// The counts of a message: the vendor's name, and the exporter's family and labels.
const COUNTS: [(&str, &str, &str, &str); 10] = [
    ("AcceptCount", "accepted", "push", ""),
    ("SentCount", "sent", "push", ""),
    ("ReceivedCount", "delivered", "push", ""),
    ("OpenedCount", "opened", "push", ""),
    ("DeletedCount", "dismissed", "push", ""),
    ("SmsSentCount", "sent", "sms", ""),
    ("SmsReceiveSuccessCount", "delivered", "sms", ""),
    ("SmsSkipCount", "skipped", "sms", ""),
    ("SmsFailedCount", "errors", "sms", "send_failed"),
    ("SmsReceiveFailedCount", "errors", "sms", "undelivered"),
];

/// A count of a message: its id, the vendor's name of the count, and the count.
type Counts = BTreeMap<(String, &'static str), f64>;

/// What the vendor's client decodes: the list and the numbers of each message.
fn by_their_client(world: &World, signature: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let [.., alibaba] = &world.servers;
    let base = alibaba.base_url();
    let mut python = Command::new(root.join("target/python/bin/python"));
    python
        .arg(root.join("tests/e2e/vendor_clients.py"))
        .arg(base.trim_start_matches("http://"))
        .args([credentials::ALIBABA_KEY_ID, credentials::ALIBABA_KEY_SECRET])
        .args([credentials::ALIBABA_APP_KEY, signature, UNLISTED])
        .env("NO_PROXY", "127.0.0.1");
    let output = python.output().expect("tests/run says what to install");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The counts in the rows that their client decoded; `null` and what is missing are none.
fn theirs(decoded: &Value) -> Counts {
    let mut counts = Counts::new();
    for (id, row) in decoded["messages"].as_object().unwrap() {
        for (name, ..) in COUNTS {
            if let Some(count) = row[name].as_f64() {
                counts.insert((id.clone(), name), count);
            }
        }
    }
    counts
}

/// The counts that the exporter shows.
fn ours(metrics: &Metrics) -> Counts {
    let mut counts = Counts::new();
    for (name, measure, channel, reason) in COUNTS {
        let family = format!("delivery_message_{measure}");
        let labels = [("account", "china"), ("channel", channel)];
        for (labels, value) in metrics.find(&family, &labels) {
            if labels.get("reason").is_none_or(|own| own == reason) {
                counts.insert((labels["message_id"].clone(), name), value);
            }
        }
    }
    counts
}

fn configuration(world: &World, directory: &Path, signature: &str) -> String {
    let [.., alibaba] = &world.servers;
    json!({
        "store": world::store(directory),
        "collection": {"zero_hold": "0s", "adopt_age": "0s"},
        "providers": [{
            "name": "china", "type": "alibaba_push", "base_url": alibaba.base_url(),
            "credentials": {
                "access_key_id": credentials::ALIBABA_KEY_ID,
                "access_key_secret": credentials::ALIBABA_KEY_SECRET,
                "signature": signature,
            },
            "applications": [{"id": credentials::ALIBABA_APP_KEY, "name": "cn"}],
            "messages": {"static": [UNLISTED]},
            "per_message": {"max_messages": 10_000},
            "rate_limit": {"requests_per_second": 40, "burst": 8},
        }],
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alibabas_own_client_decodes_the_same_numbers() {
    // Each signature in the vendor's name and in ours, with ids as texts and as numbers.
    for (their_signature, our_signature, ids_as_numbers) in
        [("v3", "v3", false), ("v2", "v1", true)]
    {
        let directory = tempfile::tempdir().unwrap();
        let world = world::start(&Clock::system()).await;
        world
            .alibaba
            .change(|options| options.ids_as_numbers = ids_as_numbers);
        // At midnight in Beijing the numbers change: then once more.
        loop {
            let before = world.alibaba.books();
            let decoded = tokio::task::block_in_place(|| by_their_client(&world, their_signature));
            let counts = theirs(&decoded);
            let with_numbers: BTreeSet<&str> = counts.keys().map(|(id, _)| id.as_str()).collect();
            assert!(with_numbers.len() > 10, "{with_numbers:?}");
            assert!(decoded["pages"].as_u64().unwrap() > 2);
            let config = configuration(&world, directory.path(), our_signature);
            let exporter = Exporter::start(directory.path(), &config).await;
            let metrics = exporter
                .wait_for("every message with numbers is there", |metrics| {
                    let sent = [("account", "china"), ("channel", "push")];
                    let found = metrics.find("delivery_message_sent", &sent).count();
                    found >= with_numbers.len()
                })
                .await;
            exporter.terminate();
            if world.alibaba.books() != before {
                continue;
            }
            assert_eq!(ours(&metrics), counts);
            // The messages that were sent, by both lists, and the one that is in none.
            let records = decoded["records"].as_array().unwrap();
            let sent: BTreeSet<&str> = records
                .iter()
                .filter(|row| row["Status"] == "SENT")
                .map(|row| row["MessageId"].as_str().unwrap())
                .collect();
            assert!(sent.len() < records.len(), "some were not sent");
            let tracked = metrics.sum("delivery_exporter_tracked_messages", &[]);
            assert_eq!(tracked, sent.len() as f64 + 1.0);
            break;
        }
    }
}
