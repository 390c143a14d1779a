//! The fault matrix: everything that can go wrong around the exporter, each with both stores where it
//! makes a difference, judged by the same promises.
//!
//! - `cargo test --test e2e matrix`: most faults once, in two to three minutes.
//! - `MATRIX=all cargo test --test e2e matrix -- --nocapture`: every row, with more seeds.
//! - `MATRIX=stop cargo test --test e2e matrix -- --nocapture`: the rows whose names contain it.
//! - `MATRIX_ROWS=4`: so many rows at a time.

mod judge;
mod proxy;
mod receiver;
mod rig;
mod store_tls;

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};

use self::{
    judge::{Course, Sample, judge},
    proxy::Mode,
    rig::{INTERVAL, LEASE, PASSWORD, Rig},
};
use crate::{harness::Metrics, postgres::Postgres};

/// How long all is well before a fault, how long it lasts, and how long the row goes on after it.
const BEFORE: Duration = Duration::from_secs(4);
const FAULT: Duration = Duration::from_secs(12);
const AFTER: Duration = Duration::from_secs(11);
/// Threads that the runtime has started for a moment's work end after ten seconds.
const LEFT_OVER: Duration = Duration::from_secs(14);
/// So many rows run at a time: they wait most of the time.
const ROWS: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Sqlite,
    Postgres,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Between the exporter and one customer's vendors.
    Vendor(Mode),
    /// Between the exporter and PostgreSQL.
    Store(Mode),
    /// Between the exporter and the OTLP receiver.
    Otlp(Mode),
    /// The wall clock is set by so many seconds, and set back at the end.
    Clock(i64),
    /// The disk that the store and the spool are on.
    DiskFull,
    /// The process may open nothing more.
    Descriptors,
    /// Vendors answer without end, and the process may not take much more memory.
    Memory,
    /// SIGSTOP, and SIGCONT at the end.
    Stop,
    /// SIGKILL, and a start at the end.
    Kill,
}

impl Fault {
    /// What is wrong with a certificate, as the log has to say it.
    fn refused_as(self) -> Option<&'static str> {
        match self {
            Fault::Vendor(mode) | Fault::Store(mode) => mode.refused_as(),
            _ => None,
        }
    }

    /// Whether it needs TLS.
    fn is_tls(self) -> bool {
        self.refused_as().is_some()
    }
}

struct Row {
    name: String,
    fault: Fault,
    store: Store,
    seed: u64,
    /// Whether it is in the suite.
    short: bool,
}

impl Row {
    /// How long the fault lasts: long enough to be noticed, and for leases to run out where they may.
    fn length(&self) -> Duration {
        let may_lose = matches!(self.fault, Fault::Store(_) | Fault::Stop | Fault::Kill);
        let leased = may_lose && self.store == Store::Postgres;
        FAULT + if leased { LEASE } else { Duration::ZERO }
    }
}

const HOUR: i64 = 3600;

fn rows() -> Vec<Row> {
    use Mode::{
        BlackHole, Cut, Garbage, Hang, Refuse, Reset, TlsExpired, TlsUnknownAuthority,
        TlsWrongName, Trickle, TrickleBody,
    };
    let modes = [Refuse, Reset, Hang, BlackHole, Trickle, Cut, Garbage];
    let mut faults: Vec<(Fault, &[Store], Store)> = Vec::new();
    // With the vendor or the receiver away, the store is the same: the suite takes turns.
    let both: &[Store] = &[Store::Sqlite, Store::Postgres];
    let turn = |index: usize| both[index % 2];
    for (index, mode) in modes.into_iter().enumerate() {
        faults.push((Fault::Vendor(mode), both, turn(index)));
        faults.push((Fault::Store(mode), &[Store::Postgres], Store::Postgres));
        faults.push((Fault::Otlp(mode), both, turn(index + 1)));
    }
    for mode in [TrickleBody, TlsWrongName, TlsExpired, TlsUnknownAuthority] {
        faults.push((Fault::Vendor(mode), both, Store::Sqlite));
    }
    for mode in [TlsWrongName, TlsExpired, TlsUnknownAuthority] {
        faults.push((Fault::Store(mode), &[Store::Postgres], Store::Postgres));
    }
    for (index, length) in [HOUR, 24 * HOUR, 365 * 24 * HOUR].into_iter().enumerate() {
        faults.push((Fault::Clock(length), both, turn(index)));
        faults.push((Fault::Clock(-length), both, turn(index + 1)));
    }
    for (index, fault) in [Fault::DiskFull, Fault::Descriptors, Fault::Memory]
        .into_iter()
        .enumerate()
    {
        faults.push((fault, both, turn(index)));
    }
    let mut rows = Vec::new();
    for (fault, stores, first) in faults {
        for store in stores {
            rows.push((fault, *store, *store == first));
        }
    }
    // Both stores in the suite too: a lease is lost in one of them only.
    for fault in [Fault::Stop, Fault::Kill] {
        rows.extend(both.iter().map(|store| (fault, *store, true)));
    }
    // What the rows of the suite leave out is much like what they have.
    let left_out = |fault: Fault| {
        matches!(
            fault,
            Fault::Store(Refuse | Hang | Cut | Garbage | TlsExpired | TlsUnknownAuthority)
                | Fault::Otlp(Reset | BlackHole | Trickle | Cut | Garbage)
                | Fault::Vendor(TlsExpired | TlsUnknownAuthority)
                | Fault::Clock(HOUR)
        )
    };
    let name = |fault, store| format!("{fault:?} {store:?}").to_lowercase();
    let rows = rows.into_iter().enumerate();
    rows.map(|(index, (fault, store, short))| Row {
        name: name(fault, store),
        fault,
        store,
        seed: 20_261_130 + index as u64,
        short: short && !left_out(fault),
    })
    .collect()
}

/// A number of `/proc/<id>/status`, in its own unit.
pub fn status(id: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or(0)
}

/// How many descriptors a process has.
pub fn descriptors(id: u32) -> usize {
    fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count)
}

/// How many descriptors a process may have at the most, by its hard limit.
fn most_descriptors(id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    hard.expect("it has a limit")
}

/// Looks at the exporter again and again, over a connection that is kept, as Prometheus does.
async fn watch(rig: Arc<Rig>, names: Vec<String>, samples: Arc<Mutex<Vec<Sample>>>) {
    let client = crate::harness::client();
    let get = async |path: &str| {
        let request = client
            .get(format!("{}{path}", rig.base))
            .timeout(Duration::from_secs(20));
        let request = request.header("accept", "application/openmetrics-text; version=1.0.0");
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    };
    loop {
        let at = Instant::now();
        let scrape = get("/metrics").await.filter(|(status, _)| *status == 200);
        let took = at.elapsed();
        let ready = get("/-/ready").await.map(|(status, _)| status);
        let id = rig.id().unwrap_or(0);
        let accounts = scrape.map(|(_, text)| Sample::read(&Metrics::read(&text), &names));
        samples.lock().unwrap().push(Sample {
            at,
            accounts,
            took,
            ready,
            descriptors: descriptors(id),
            threads: status(id, "Threads:"),
            memory: status(id, "VmRSS:"),
        });
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// Runs a row; what it has broken. `None`: it cannot be run by this user.
async fn run(row: &Row, number: usize, postgres: &Postgres) -> Option<Vec<String>> {
    let rig = Arc::new(Rig::start(row, number, postgres).await?);
    let names: Vec<String> = rig.books().into_iter().map(|own| own.0).collect();
    let samples = Arc::new(Mutex::new(Vec::new()));
    let is_well = || {
        let samples = samples.lock().unwrap();
        let last: Option<&Sample> = samples.last();
        let all = last.and_then(|own| own.accounts.as_ref());
        all.is_some_and(|all| all.values().all(|own| own.up == Some(1.0)))
    };
    let watching = tokio::spawn(watch(rig.clone(), names.clone(), samples.clone()));
    crate::harness::eventually("all accounts are up", async || is_well().then_some(())).await;
    samples.lock().unwrap().clear();
    tokio::time::sleep(BEFORE).await;
    let process = rig.id();
    let begun = Instant::now();
    rig.begin(row.fault);
    tokio::time::sleep(row.length()).await;
    rig.end(row.fault).await;
    let ended = Instant::now();
    tokio::time::sleep(AFTER).await;
    rig.quiet();
    let quiet = Instant::now();
    // The last reports are asked for, counted and pushed.
    let end = quiet + 4 * INTERVAL;
    let (mut books, mut shown, mut pushed);
    loop {
        tokio::time::sleep(INTERVAL / 4).await;
        books = rig.books();
        let last = samples.lock().unwrap().last().cloned();
        let accounts = last
            .and_then(|own: Sample| own.accounts)
            .unwrap_or_default();
        shown = accounts
            .iter()
            .map(|(name, own)| (name.clone(), own.delivered))
            .collect::<BTreeMap<_, _>>();
        let sum = |name: &String| (name.clone(), rig.receiver.sum("delivery.delivered", name));
        pushed = names.iter().map(sum).collect::<BTreeMap<_, _>>();
        let meets = |values: &BTreeMap<String, f64>| {
            books.iter().all(|(name, least, most)| {
                values
                    .get(name)
                    .is_some_and(|own| (*least..=*most).contains(own))
            })
        };
        if quiet.elapsed() > INTERVAL + INTERVAL / 2 && meets(&shown) && meets(&pushed)
            || Instant::now() > end
        {
            break;
        }
    }
    let course = |samples: Vec<Sample>, same_process| Course {
        samples,
        begun,
        ended,
        quiet,
        books: books.clone(),
        shown: shown.clone(),
        pushed: pushed.clone(),
        same_process,
    };
    let same = rig.id() == process && process.is_some_and(|id| status(id, "Threads:") > 0);
    let mut judged = judge(row, &course(samples.lock().unwrap().clone(), same));
    let end = Instant::now() + LEFT_OVER;
    while judged.0.iter().any(|own| own.starts_with("leaks")) && Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(1)).await;
        judged = judge(row, &course(samples.lock().unwrap().clone(), same));
    }
    watching.abort();
    let _ = watching.await;
    let (mut broken, figures) = judged;
    let log = rig.log();
    let is_said = |text: &str| log.contains(text);
    if !row.fault.refused_as().is_none_or(is_said) {
        broken.push("honest: the log does not say what is wrong with the certificate".to_owned());
    }
    if is_said(PASSWORD) {
        broken.push("secret: the database's password is in the log".to_owned());
    }
    println!(
        "{:<36} slowest scrape {:>4} ms, well after {:>5} ms, peak {:>3} MiB{}",
        row.name,
        figures.slowest.as_millis(),
        figures
            .recovered
            .map_or_else(|| "never".to_owned(), |own| own.as_millis().to_string()),
        figures.peak_memory,
        if broken.is_empty() { "" } else { "  BROKEN" },
    );
    if !broken.is_empty() {
        let mut log: Vec<String> = log.lines().rev().take(60).map(str::to_owned).collect();
        log.reverse();
        println!("  {}\n{}", broken.join("\n  "), log.join("\n"));
    }
    Some(broken)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_stops_blinds_or_bloats() {
    let wanted = std::env::var("MATRIX").unwrap_or_default();
    let rows_at_once = std::env::var("MATRIX_ROWS")
        .ok()
        .and_then(|own| own.parse().ok());
    let rows: Vec<Row> = rows()
        .into_iter()
        .filter(|row| match wanted.as_str() {
            "" => row.short,
            "all" => true,
            part => row.name.contains(part),
        })
        .collect();
    assert!(!rows.is_empty(), "no row is called so");
    let postgres = Postgres::start().await;
    let results: Vec<(String, Option<Vec<String>>)> = stream::iter(rows.iter().enumerate())
        .map(|(number, row)| {
            let postgres = &postgres;
            async move { (row.name.clone(), run(row, number, postgres).await) }
        })
        .buffer_unordered(rows_at_once.unwrap_or(ROWS))
        .collect()
        .await;
    let run = results
        .iter()
        .filter(|(_, broken)| broken.is_some())
        .count();
    println!("{run} of {} rows run", results.len());
    let broken: Vec<_> = results
        .iter()
        .filter_map(|(name, broken)| Some((name, broken.as_ref()?)))
        .filter(|(_, broken)| !broken.is_empty())
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}
