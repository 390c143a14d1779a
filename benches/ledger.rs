//! How fast the ledger counts durably, beside the raw store that does the same writes: the same
//! rows, keys, indexes and synchronous setting, one transaction for twenty answers, and nothing
//! else. The two take turns in one run, so that the machine's mood is the same for both.
//!
//! ```text
//! cargo bench --bench ledger                                       # a million reports, SQLite
//! cargo bench --bench ledger -- --reports 10000000                 # ten million
//! cargo bench --bench ledger -- --store postgres://user@host/db    # PostgreSQL, an empty database
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark may panic"
)]

use std::{
    fmt::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use delivery_clock::Clock;
use delivery_exporter::{
    config::{self, Config},
    ledger::{AccountLedger, Ledger, MessageObservation, Purpose, StoreObserver, Volume},
    model::{Dataset, Measure, Message, Snapshot, Totals},
    providers::{self, Observer, RequestCode},
};

/// Reports of one answer, as the vendor hands them out.
const ANSWER: usize = 1000;
/// Answers of one transaction.
const SHARED: usize = 20;
/// Rates are told for every so many reports.
const CHUNK: usize = 1_000_000;

#[derive(Parser)]
struct Flags {
    /// How many reports are counted.
    #[arg(long, default_value_t = CHUNK)]
    reports: usize,
    /// How many snapshots of messages are counted.
    #[arg(long, default_value_t = 100_000)]
    snapshots: usize,
    /// `sqlite`, or the URL of an empty PostgreSQL database.
    #[arg(long, default_value = "sqlite")]
    store: String,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

struct Quiet;

impl StoreObserver for Quiet {
    fn up(&self, _: Volume, _: bool) {}
    fn error(&self) {}
    fn size(&self, _: &Arc<str>, _: u64, _: u64) {}
    fn store_size(&self, _: u64) {}
}

impl Observer for Quiet {
    fn request(&self, _: Dataset, _: RequestCode) {}
    fn retry(&self, _: Dataset) {}
    fn rate_limited(&self, _: Dataset) {}
    fn unknown_field(&self, _: Dataset, _: &str) {}
}

/// One answer's body: reports of messages that were never seen before.
fn body(from: usize) -> String {
    let mut body = String::from("{\"results\":[");
    for number in from..from + ANSWER {
        let comma = if number == from { "" } else { "," };
        write!(
            body,
            "{comma}{{\"bulkId\":\"lrzkq6gatdkxouhrkgni\",\"price\":{{\"pricePerMessage\":0.0025,\"currency\":\"EUR\"}},\
             \"status\":{{\"id\":5,\"groupId\":3,\"groupName\":\"DELIVERED\",\"name\":\"DELIVERED_TO_HANDSET\",\"description\":\"Message delivered to handset\"}},\
             \"error\":{{\"id\":0,\"name\":\"NO_ERROR\",\"description\":\"No Error\",\"groupId\":0,\"groupName\":\"OK\",\"permanent\":false}},\
             \"messageId\":\"bbcc6960-1fcb-497c-b7ea-{number:012}\",\"doneAt\":\"2026-09-08T05:27:59.256+0000\",\"messageCount\":1,\
             \"sentAt\":\"2026-09-08T05:27:57.628+0000\",\"to\":\"recipient-{number}@example.com\",\"channel\":\"EMAIL\"}}"
        )
        .unwrap();
    }
    body.push_str("]}");
    body
}

/// The store alone, with the ledger's tables for reports.
enum Raw {
    Sqlite(rusqlite::Connection),
    Postgres(Box<tokio_postgres::Client>),
}

/// The counters that an answer of delivered e-mails moves.
const COUNTERS: usize = 6;
/// The bytes that the ledger remembers of a message with three numbers.
const STATE: [u8; 64] = [7; 64];
/// The index of the messages by age.
const SINCE: &str = "CREATE INDEX raw_messages_since ON raw_messages (account, since);";

impl Raw {
    async fn open(store: &str, directory: &Path) -> Raw {
        let tables = |blob: &str, number: &str, schema: &str| {
            format!(
                "CREATE TABLE {schema}raw_seen_0 (digest {blob} PRIMARY KEY, memory {blob} NOT NULL);
                 CREATE TABLE {schema}raw_counters (account TEXT, key TEXT, total TEXT, pending TEXT, changed_at {number}, PRIMARY KEY (account, key));
                 CREATE TABLE {schema}raw_messages (account TEXT NOT NULL, application TEXT NOT NULL, id TEXT NOT NULL, state {blob} NOT NULL, since {number} NOT NULL, PRIMARY KEY (account, application, id));
                 CREATE TABLE {schema}raw_releases (account TEXT, replica TEXT, key TEXT, shown TEXT, born_at {number}, PRIMARY KEY (account, replica, key));"
            )
        };
        if store == "sqlite" {
            let connection = rusqlite::Connection::open(directory.join("raw.db")).unwrap();
            connection
                .execute_batch(
                    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;
                     PRAGMA wal_autocheckpoint = 8192;",
                )
                .unwrap();
            let tables = tables("BLOB", "INTEGER", "").replace(");", ") WITHOUT ROWID;");
            connection.execute_batch(&tables).unwrap();
            connection.execute_batch(SINCE).unwrap();
            return Raw::Sqlite(connection);
        }
        let (client, connection) = tokio_postgres::connect(store, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
            .batch_execute(&(tables("BYTEA", "BIGINT", "") + SINCE))
            .await
            .unwrap();
        Raw::Postgres(Box::new(client))
    }

    /// A new part, as the ledger makes one when a part is full.
    async fn part(&mut self, part: usize) {
        let table = |blob: &str| {
            format!(
                "CREATE TABLE IF NOT EXISTS raw_seen_{part} (digest {blob} PRIMARY KEY, memory {blob} NOT NULL)"
            )
        };
        match self {
            Raw::Sqlite(connection) => connection
                .execute_batch(&format!("{} WITHOUT ROWID", table("BLOB")))
                .unwrap(),
            Raw::Postgres(client) => client.batch_execute(&table("BYTEA")).await.unwrap(),
        }
    }

    /// Writes what a transaction of the ledger writes.
    async fn write(&mut self, part: usize, digests: &[([u8; 16], [u8; 9])], number: usize) {
        match self {
            Raw::Sqlite(connection) => {
                let transaction = connection.transaction().unwrap();
                {
                    let mut insert = transaction
                        .prepare_cached(&format!(
                            "INSERT OR REPLACE INTO raw_seen_{part} VALUES (?1, ?2)"
                        ))
                        .unwrap();
                    for (digest, memory) in digests {
                        insert.execute((digest, memory)).unwrap();
                    }
                }
                counters_of_sqlite(&transaction, number);
                transaction.commit().unwrap();
            }
            Raw::Postgres(client) => {
                let transaction = client.transaction().await.unwrap();
                let (keys, memories): (Vec<&[u8]>, Vec<&[u8]>) = digests
                    .iter()
                    .map(|(digest, memory)| (&digest[..], &memory[..]))
                    .unzip();
                transaction
                    .execute(
                        &format!(
                            "INSERT INTO raw_seen_{part} SELECT * FROM unnest($1::bytea[], $2::bytea[])
                             ON CONFLICT (digest) DO UPDATE SET memory = excluded.memory"
                        ),
                        &[&keys, &memories],
                    )
                    .await
                    .unwrap();
                counters_of_postgres(&transaction, number).await;
                transaction.commit().await.unwrap();
            }
        }
    }

    /// Writes what the ledger writes for an answer about these messages.
    async fn remember(&mut self, ids: &[Arc<str>], number: usize) {
        match self {
            Raw::Sqlite(connection) => {
                let transaction = connection.transaction().unwrap();
                {
                    let mut insert = transaction
                        .prepare_cached(
                            "INSERT OR REPLACE INTO raw_messages VALUES ('push', 'app', ?1, ?2, 1)",
                        )
                        .unwrap();
                    for id in ids {
                        insert.execute((id, STATE)).unwrap();
                    }
                }
                counters_of_sqlite(&transaction, number);
                transaction.commit().unwrap();
            }
            Raw::Postgres(client) => {
                let transaction = client.transaction().await.unwrap();
                let ids: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
                let states = vec![&STATE[..]; ids.len()];
                let statement = "INSERT INTO raw_messages SELECT 'push', 'app', i, s, 1 FROM unnest($1::text[], $2::bytea[]) AS own (i, s)
                     ON CONFLICT (account, application, id) DO UPDATE SET state = excluded.state";
                transaction
                    .execute(statement, &[&ids, &states])
                    .await
                    .unwrap();
                counters_of_postgres(&transaction, number).await;
                transaction.commit().await.unwrap();
            }
        }
    }
}

fn counters_of_sqlite(transaction: &rusqlite::Transaction<'_>, number: usize) {
    let mut counter = transaction
        .prepare_cached("INSERT OR REPLACE INTO raw_counters VALUES ('mail', ?1, ?2, 'c0', 1)")
        .unwrap();
    let mut release = transaction
        .prepare_cached("INSERT OR REPLACE INTO raw_releases VALUES ('mail', 'r', ?1, ?2, 1)")
        .unwrap();
    for key in 0..COUNTERS {
        let (key, value) = (format!("key-{key}"), format!("c{number}"));
        counter.execute((&key, &value)).unwrap();
        release.execute((&key, &value)).unwrap();
    }
}

async fn counters_of_postgres(transaction: &tokio_postgres::Transaction<'_>, number: usize) {
    let keys: Vec<String> = (0..COUNTERS).map(|key| format!("key-{key}")).collect();
    let values = vec![format!("c{number}"); COUNTERS];
    for statement in [
        "INSERT INTO raw_counters SELECT 'mail', k, v, 'c0', 1 FROM unnest($1::text[], $2::text[]) AS own (k, v)
         ON CONFLICT (account, key) DO UPDATE SET total = excluded.total",
        "INSERT INTO raw_releases SELECT 'mail', 'r', k, v, 1 FROM unnest($1::text[], $2::text[]) AS own (k, v)
         ON CONFLICT (account, replica, key) DO UPDATE SET shown = excluded.shown",
    ] {
        transaction.execute(statement, &[&keys, &values]).await.unwrap();
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

fn configuration(store: &str, directory: &Path) -> Config {
    let url = if store == "sqlite" {
        "sqlite:delivery.db"
    } else {
        store
    };
    let text = format!(
        "store: {{url: '{url}', spool: spool}}
collection: {{zero_hold: 0s, adopt_age: 0s}}
providers:
- {{name: mail, type: infobip_email, credentials: {{api_key: k}}}}
- {{name: push, type: infobip_push, credentials: {{api_key: k}}, applications: [{{id: app}}]}}"
    );
    config::parse(&directory.join("config.yaml"), &text, &|_| None).unwrap()
}

async fn account(ledger: &Ledger, config: &Config, index: usize) -> Arc<AccountLedger> {
    let own = &config.accounts[index];
    let account = ledger.account((config, own)).unwrap();
    ledger.lease(&own.name).acquired().await;
    account
        .open(&own.applications, &own.collect, true)
        .await
        .unwrap();
    account
}

/// Counts reports: spooled bodies are synced, parsed, counted and removed.
async fn reports(flags: &Flags, ledger: &Ledger, config: &Config, raw: &mut Raw) {
    let mail = account(ledger, config, 0).await;
    let own = &config.accounts[0];
    let provider = providers::build(own, Clock::system(), Arc::new(Quiet)).unwrap();
    println!(
        "| reports | counted /s | raw /s | ratio | with spool and JSON /s | resident |\n|---|---|---|---|---|---|"
    );
    let (mut counted, mut chunk) = (0, [Duration::ZERO; 3]);
    let mut first = None;
    let mut last = 0.0;
    while counted < flags.reports {
        let bodies: Vec<String> = (0..SHARED)
            .map(|own| body(counted + own * ANSWER))
            .collect();
        let start = Instant::now();
        let mut read = Vec::with_capacity(SHARED);
        let mut digests = Vec::with_capacity(SHARED * ANSWER);
        for body in &bodies {
            let mut writer = mail.spool().begin().await.unwrap();
            writer.write(body.as_bytes()).await.unwrap();
            let name = writer.finish().await.unwrap();
            read.push((name, provider.read_pushed(body.as_bytes()).reports));
        }
        chunk[2] += start.elapsed();
        for (_, read) in &read {
            digests.extend(read.reports.iter().map(|report| {
                let mut memory = [0; 9];
                memory[1..].copy_from_slice(&report.report[..8]);
                (report.message, memory)
            }));
        }
        let start = Instant::now();
        mail.reports(&own.applications[0], read).await.unwrap();
        chunk[0] += start.elapsed();
        let part = counted / 500_000;
        raw.part(part).await;
        let start = Instant::now();
        raw.write(part, &digests, counted).await;
        chunk[1] += start.elapsed();
        counted += SHARED * ANSWER;
        if counted % 500_000 == 0 {
            ledger.maintain().await;
        }
        if counted % CHUNK == 0 || counted >= flags.reports {
            let count = (counted - 1) % CHUNK + 1;
            chunk[2] += chunk[0];
            let [ours, raw, whole] = chunk.map(|time| count as f64 / time.as_secs_f64());
            println!(
                "| {counted} | {ours:.0} | {raw:.0} | {:.2} | {whole:.0} | {} MiB |",
                ours / raw,
                resident()
            );
            first.get_or_insert(ours);
            last = ours;
            chunk = [Duration::ZERO; 3];
        }
    }
    if let Some(first) = first {
        println!(
            "\nthe last part is {:.2} times as fast as the first\n",
            last / first
        );
    }
}

/// Counts snapshots of messages whose every number has grown, a hundred in an answer.
async fn snapshots(flags: &Flags, ledger: &Ledger, config: &Config, raw: &mut Raw) {
    let push = account(ledger, config, 1).await;
    let application = &config.accounts[1].applications[0];
    let (mut lasted, mut raw_lasted) = (Duration::ZERO, Duration::ZERO);
    let clock = Clock::system();
    for round in 0..(flags.snapshots / 100) as u64 {
        let ids: Vec<Arc<str>> = (0..100_u64)
            .map(|index| format!("message-{}", (round % 10) * 100 + index).into())
            .collect();
        let seen = ids
            .iter()
            .cloned()
            .map(|id| {
                let counts = vec![
                    (Measure::Sent, 1000 + round),
                    (Measure::Delivered, 900 + round),
                    (Measure::Displayed, 100 + round),
                ];
                MessageObservation {
                    message: Message {
                        application: application.id.clone(),
                        id: id.clone(),
                        campaign: None,
                        sent_at: None,
                    },
                    first_seen: clock.now(),
                    asked_at: clock.now(),
                    snapshot: Some(Snapshot {
                        asked: id.clone(),
                        id,
                        campaign: None,
                        sent_at: None,
                        asked_at: clock.now(),
                        totals: vec![Totals {
                            channel: "push",
                            counts,
                            reported_ratio: None,
                        }],
                        breakdown: Vec::new(),
                        types: Vec::new(),
                    }),
                }
            })
            .collect();
        let start = Instant::now();
        push.snapshots(
            application,
            delivery_exporter::providers::dataset("statistics").unwrap(),
            seen,
        )
        .await
        .unwrap();
        lasted += start.elapsed();
        let start = Instant::now();
        raw.remember(&ids, round as usize).await;
        raw_lasted += start.elapsed();
    }
    let [ours, raw] = [lasted, raw_lasted].map(|time| flags.snapshots as f64 / time.as_secs_f64());
    println!(
        "{ours:.0} snapshots a second, {:.2} times the raw store's {raw:.0}; a hundred in an answer, each \
         answer durable by itself",
        ours / raw
    );
}

#[tokio::main]
async fn main() {
    let flags = Flags::parse();
    // On the disk, not in memory: syncing is what is measured.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = configuration(&flags.store, directory.path());
    let ledger = Ledger::open(&config, Clock::system(), Arc::new(Quiet), Purpose::Serve)
        .await
        .unwrap();
    ledger.want(config.accounts.iter().map(|own| own.name.clone()));
    let mut raw = Raw::open(&flags.store, directory.path()).await;
    reports(&flags, &ledger, &config, &mut raw).await;
    snapshots(&flags, &ledger, &config, &mut raw).await;
    ledger.stop().await;
}
