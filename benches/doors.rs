//! What the exporter as a process bears: registrations a second, alone and beside passes, and the
//! pass of an account that tracks a hundred thousand messages.
//!
//! ```text
//! cargo bench --bench doors
//! ```
//!
//! The clients and the simulated vendor run on the same machine and take their share of it. The
//! raw baseline is the same rows in the same table of a database with the same synchronous setting.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark may panic"
)]

#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/e2e/harness.rs"]
mod harness;

use std::{
    fmt::Write,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use delivery_clock::Clock;
use delivery_simulators::{Options, World, credentials, faults::Fault};
use jiff::Timestamp;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use harness::Exporter;

const TOKEN: &str = "a-token-of-the-bench";
/// What the vendor needs for an answer.
const LATENCY: Duration = Duration::from_millis(100);
/// Ids in one request to EngageLab.
const BATCH: usize = 100;
const CONCURRENCY: usize = 8;

#[derive(Parser)]
struct Flags {
    /// How long registrations are sent, in seconds, for each kind.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How many messages the large account tracks.
    #[arg(long, default_value_t = 100_000)]
    messages: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Entries of one account, as the API takes them.
fn entries(account: &str, from: u64, count: u64, sent_at: Timestamp) -> String {
    let mut text = String::from("[");
    for number in from..from + count {
        let comma = if number == from { "" } else { "," };
        write!(
            text,
            r#"{comma}{{"account":"{account}","id":"{}","campaign":"autumn","sent_at":"{sent_at}"}}"#,
            1_000_000_000 + number
        )
        .unwrap();
    }
    text.push(']');
    text
}

/// Posts one body on an open connection.
async fn post(stream: &mut TcpStream, body: &str) {
    let request = format!(
        "POST /api/v1/messages HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::with_capacity(512);
    // The answer is one JSON object.
    while !answer.ends_with(b"}") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

/// Registers from several connections for a while; entries a second.
async fn register(
    address: SocketAddr,
    next: &Arc<AtomicU64>,
    connections: usize,
    list: u64,
    length: Duration,
) -> f64 {
    let sent_at = Timestamp::now();
    let start = Instant::now();
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let next = next.clone();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut count = 0;
                while start.elapsed() < length {
                    let from = next.fetch_add(list, Ordering::Relaxed);
                    post(&mut stream, &entries("registered", from, list, sent_at)).await;
                    count += list;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await.unwrap();
    }
    count as f64 / start.elapsed().as_secs_f64()
}

/// The same rows into the raw store, `list` in a transaction; rows a second.
fn raw(directory: &Path, list: u64, length: Duration) -> f64 {
    let mut connection =
        rusqlite::Connection::open(directory.join(format!("raw-{list}.db"))).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE registered (
                 sequence INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL,
                 application TEXT NOT NULL, id TEXT NOT NULL, campaign TEXT,
                 sent_at INTEGER NOT NULL, UNIQUE (account, application, id));
             CREATE INDEX registered_account ON registered (account, sequence);",
        )
        .unwrap();
    let start = Instant::now();
    let mut number = 0_u64;
    while start.elapsed() < length {
        let transaction = connection.transaction().unwrap();
        let mut insert = transaction
            .prepare_cached(
                "INSERT INTO registered (account, application, id, campaign, sent_at)
                 VALUES ('registered', 'app', ?1, 'autumn', 1)",
            )
            .unwrap();
        for _ in 0..list {
            number += 1;
            insert.execute([number.to_string()]).unwrap();
        }
        drop(insert);
        transaction.commit().unwrap();
    }
    number as f64 / start.elapsed().as_secs_f64()
}

/// The passes of the small account while something else goes on: how long one is, in seconds.
async fn passes(exporter: &Exporter, other: impl Future) -> f64 {
    let so_far = async || {
        let metrics = exporter.metrics().await;
        ["sum", "count"].map(|part| {
            let name = format!("delivery_exporter_collect_duration_seconds_{part}");
            metrics.sum(&name, &[("account", "small")])
        })
    };
    let [sum, count] = so_far().await;
    other.await;
    let [sum_after, count_after] = so_far().await;
    (sum_after - sum) / (count_after - count)
}

fn configuration(world: &World, directory: &Path) -> String {
    let account = |name: &str, interval: &str| {
        json!({
            "name": name, "type": "engagelab", "base_url": world.servers[1].base_url(),
            "interval": interval, "max_concurrency": CONCURRENCY,
            "rate_limit": {"requests_per_second": 10_000, "burst": 10_000},
            "credentials": {"app_key": credentials::ENGAGELAB_APP_KEY, "master_secret": credentials::ENGAGELAB_MASTER_SECRET},
            "per_message": {"max_messages": 100}, "stale_after": "3h", "messages": {"max_age": "29d"},
        })
    };
    let mut small = account("small", "1s");
    small["messages"]["static"] = (0..20)
        .map(|number| json!({"id": (900_000_000 + number).to_string(), "sent_at": Timestamp::now().to_string()}))
        .collect();
    json!({
        "server": {"api_token": TOKEN},
        "store": {"url": format!("sqlite:{}", directory.join("delivery.db").display()), "spool": directory.join("spool")},
        // What is registered for the throughput is not asked for meanwhile; the large account is.
        "providers": [small, account("registered", "1h"), account("large", "1m")],
    })
    .to_string()
}

#[tokio::main]
async fn main() {
    let flags = Flags::parse();
    let length = Duration::from_secs(flags.seconds);
    // On the disk, not in memory: syncing is what is measured.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let clock = Clock::system();
    let world = World::start(Options::default(), &clock).await.unwrap();
    let numbers =
        json!({"targets": 1000, "sent": 990, "delivered": 900, "impressions": 100, "clicks": 10});
    for number in 0..20 {
        world
            .engagelab
            .put_message(&(900_000_000 + number).to_string(), numbers.clone());
    }
    for number in 0..flags.messages {
        let id = (1_000_000_000 + number).to_string();
        world.engagelab.put_message(&id, numbers.clone());
    }
    let vendor = &world.servers[1];
    vendor.faults().add("", Fault::Delay(LATENCY), None);
    let config = configuration(&world, directory.path());
    let exporter = Exporter::start(directory.path(), &config).await;
    let address: SocketAddr = exporter.base.trim_start_matches("http://").parse().unwrap();
    let next = Arc::new(AtomicU64::new(100_000_000));

    println!(
        "| registration | entries /s | raw, as many in a transaction | a pass beside it |\n|---|---|---|---|"
    );
    let quiet = passes(&exporter, tokio::time::sleep(length)).await;
    println!("| none | | | {quiet:.2} s |");
    for (name, connections, list) in [
        ("lists of 100, 4 connections", 4, 100),
        ("single, 64 connections", 64, 1),
    ] {
        let mut rate = 0.0;
        let pass = passes(&exporter, async {
            rate = register(address, &next, connections, list, length).await;
        })
        .await;
        // Whoever waits shares a transaction.
        let raw = raw(directory.path(), list * connections as u64, length / 2);
        println!(
            "| {name} | {rate:.0} | {raw:.0} ({:.2}) | {pass:.2} s |",
            rate / raw
        );
    }

    let before = vendor.received().len();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let days_ago = Timestamp::now() - Duration::from_secs(2 * 86_400);
    for from in (0..flags.messages as u64).step_by(10_000) {
        let count = (flags.messages as u64 - from).min(10_000);
        post(&mut stream, &entries("large", from, count, days_ago)).await;
    }
    // The first pass over all of them: each is asked for once, then not for hours.
    let wanted = flags.messages.div_ceil(BATCH);
    let large = || {
        let received = vendor.received();
        let mut times: Vec<_> = received[before..]
            .iter()
            .filter(|request| request.uri.to_string().len() > 60 * 11)
            .map(|request| request.at)
            .collect();
        times.sort();
        times
    };
    let start = Instant::now();
    while large().len() < wanted && start.elapsed() < Duration::from_secs(120) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let times = large();
    let lasted = times[times.len() - 1]
        .duration_since(times[0])
        .as_secs_f64()
        + LATENCY.as_secs_f64();
    let allowed = wanted as f64 * LATENCY.as_secs_f64() / CONCURRENCY as f64;
    println!(
        "\n{} messages in {} requests of {BATCH} ids, {CONCURRENCY} at once over a vendor that needs \
         {} ms: {lasted:.1} s, {:.2} times what the limit allows",
        flags.messages,
        times.len(),
        LATENCY.as_millis(),
        lasted / allowed
    );
    exporter.terminate();
}
