//! The exporter beside what users do instead: a file for node_exporter's textfile collector,
//! Pushgateway, and the file itself behind nginx. Everything on one machine, one after another.
//!
//! ```text
//! cargo bench --bench scale -- --write
//! ```
//!
//! The series come through a simulated vendor, the provider, the ledger and the table. The peers get
//! what the exporter answers. It needs node_exporter, Pushgateway, nginx and python3, as Debian has
//! them; `--write` puts the tables into `docs/performance.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark may panic"
)]

mod client;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../../tests/e2e/harness.rs"]
mod harness;
mod peers;
mod render;
mod world;

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use clap::Parser;

use client::{Repeated, Target, median, memory, reset_peak};
use world::{Running, Shape};

const ACCOUNTS: usize = 20;
/// Scrapes that begin together.
const TOGETHER: usize = 50;
/// Passes that change a little.
const ROUNDS: u64 = 5;

#[derive(Parser)]
struct Flags {
    /// How many series, about.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1000,10000,100000,1000000"
    )]
    sizes: Vec<usize>,
    /// Puts the tables into docs/performance.md.
    #[arg(long)]
    write: bool,
    /// Without the peers, which take most of the time.
    #[arg(long)]
    alone: bool,
    /// The peaks of memory of each size alone.
    #[arg(long)]
    memory: bool,
    /// The start over a full ledger alone, with so many counters as each size says.
    #[arg(long)]
    start: bool,
    /// Where the worlds are kept, in place of a directory that is removed at the end.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn accounts(series: usize) -> usize {
    (series / 5000).clamp(1, ACCOUNTS)
}

/// What one size comes to.
#[derive(Default)]
struct Measured {
    series: usize,
    /// The gzip body, the text.
    bytes: [usize; 2],
    /// First and repeated, gzip and identity; then the CPU of the repeated ones.
    scrapes: [f64; 6],
    /// A gzip scrape by itself: the exporter's after a pass that changed 1 %, nginx's.
    changed: [f64; 2],
    /// nginx's times for the same bytes.
    nginx: [f64; 2],
    /// Those of a bare handler.
    bare: [f64; 2],
    /// Repeated scrapes by curl, gzip and identity: the exporter's, nginx's, the bare handler's.
    curl: [[f64; 2]; 3],
    /// node_exporter's and Pushgateway's: time, CPU and peak memory of a gzip scrape.
    others: [[f64; 3]; 2],
    nginx_memory: f64,
    /// The exporter's peak: gzip alone is read, then with identity and OTLP.
    peak: [f64; 2],
    /// A pass that changes nothing, 1 %, all: time and CPU.
    passes: [[f64; 2]; 3],
    restart: f64,
    costs: Option<render::Costs>,
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn repeat(target: &Target, encoding: &'static str) -> Repeated {
    let target = target.clone();
    blocking(move || target.repeat(encoding)).await
}

/// A gzip scrape as a scraper's is: by itself, after a rest.
async fn rested(target: &Target) -> f64 {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let target = target.clone();
    blocking(move || target.scrape("gzip", None).lasted.as_secs_f64()).await
}

/// The medians of a target's scrapes, gzip and identity.
async fn both(target: &Target) -> [f64; 2] {
    [
        repeat(target, "gzip").await.median,
        repeat(target, "identity").await.median,
    ]
}

/// The same by curl.
async fn curl(target: &Target) -> [f64; 2] {
    let target = target.clone();
    blocking(move || ["gzip", "identity"].map(|encoding| target.repeat_curl(encoding))).await
}

async fn first(target: &Target, encoding: &'static str) -> (f64, Vec<u8>) {
    let target = target.clone();
    blocking(move || {
        let first = target.scrape(encoding, None).lasted.as_secs_f64();
        let mut body = Vec::new();
        target.scrape(encoding, Some(&mut body));
        (first, body)
    })
    .await
}

/// A peer's scrape, with `mark` of how it went.
async fn other(peer: peers::Peer) -> [f64; 3] {
    let Repeated { median, cpu, .. } = repeat(&peer.target, "gzip").await;
    let peak = memory(peer.target.pid, "VmHWM");
    drop(peer);
    [median, cpu, peak]
}

/// Restarts the exporter with a push and scrapes of both kinds going on, `whole` being the lengths of
/// its bodies: how soon all of it was there, and its peak of memory afterwards.
async fn with_both(running: Running, whole: [usize; 2]) -> (Running, f64, f64) {
    let (running, _, start) = running.restart(true).await;
    let target = running.target();
    while blocking({
        let target = target.clone();
        move || target.scrape("gzip", None).body
    })
    .await
        < whole[0] / 2
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let lasted = start.elapsed().as_secs_f64();
    reset_peak(target.pid);
    let pushed = running.pushed.clone();
    while pushed.load(Ordering::Relaxed) < 2 * whole[0] as u64 / 3 {
        for encoding in ["gzip", "identity"] {
            let target = target.clone();
            blocking(move || target.scrape(encoding, None)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let peak = memory(target.pid, "VmHWM");
    (running, lasted, peak)
}

/// The peaks of memory alone: while gzip is read, and with both forms and a push.
async fn peaks(directory: &Path, series: usize) -> [f64; 2] {
    let shape = of_gauges(series);
    eprintln!("{series} series: filling");
    let running = Running::start(directory, shape).await;
    let target = running.target();
    let (_, gzip) = first(&target, "gzip").await;
    running.change(1, shape.messages);
    running.pass().await;
    blocking({
        let target = target.clone();
        move || target.scrape("gzip", None)
    })
    .await;
    let alone = memory(target.pid, "VmHWM");
    let (_, text) = first(&target, "identity").await;
    let (running, _, both) = with_both(running, [gzip.len(), text.len()]).await;
    let ended = memory(running.target().pid, "VmRSS");
    eprintln!("resident at the end: {ended:.0} MB");
    running.exporter.terminate();
    [alone, both]
}

/// So many series, most of them gauges of messages.
fn of_gauges(series: usize) -> Shape {
    let accounts = accounts(series);
    Shape {
        accounts,
        messages: (series / accounts / render::SERIES_OF_A_MESSAGE).max(1),
        gauges: true,
        interval: Duration::from_secs(if series > 300_000 { 30 } else { 10 }),
    }
}

async fn measure(directory: &Path, series: usize, alone: bool) -> Measured {
    let shape = of_gauges(series);
    let mut found = Measured::default();
    eprintln!("{series} series: filling");
    let outer = Running::start(directory, shape).await;
    let running = &outer;
    let target = running.target();
    found.scrapes[0] = first(&target, "gzip").await.0;
    for (index, share) in [0.0, 0.01, 1.0].into_iter().enumerate() {
        let changed = (shape.messages as f64 * share).ceil() as usize;
        running.change(index as u64 + 1, changed);
        // This reads gzip, so that the pass makes it.
        let before = running.passes().await;
        let cpu = running.pass().await;
        found.passes[index] = [running.mean_since(before).await, cpu];
    }
    eprintln!("{series} series: scrapes");
    let mut gzip = Vec::new();
    target.scrape("gzip", Some(&mut gzip));
    let own = repeat(&target, "gzip").await;
    (found.scrapes[1], found.scrapes[2]) = (own.median, own.cpu);
    let mut after = Vec::new();
    for round in 10..10 + ROUNDS {
        running.change(round, shape.messages.div_ceil(100));
        running.pass().await;
        after.push(rested(&target).await);
    }
    found.changed[0] = median(&mut after);
    found.peak[0] = memory(target.pid, "VmHWM");
    let (time, text) = first(&target, "identity").await;
    found.scrapes[3] = time;
    let own = repeat(&target, "identity").await;
    (found.scrapes[4], found.scrapes[5]) = (own.median, own.cpu);
    // Between two passes, as the others above are.
    running.pass().await;
    found.curl[0] = curl(&target).await;
    found.bytes = [gzip.len(), text.len()];
    let lines = text.split(|byte| *byte == b'\n');
    found.series = lines.filter(|line| line.starts_with(b"delivery_")).count();
    let whole = [gzip.len(), text.len()];
    let running;
    (running, found.restart, found.peak[1]) = with_both(outer, whole).await;
    running.exporter.terminate();

    eprintln!("{series} series: nginx and the others");
    let nginx = peers::nginx(directory, &text, &gzip);
    found.nginx = both(&nginx.target).await;
    let mut after = Vec::new();
    for _ in 0..ROUNDS {
        after.push(rested(&nginx.target).await);
    }
    found.changed[1] = median(&mut after);
    found.curl[1] = curl(&nginx.target).await;
    let bare = peers::bare(text.clone(), gzip).await;
    found.bare = both(&bare).await;
    found.curl[2] = curl(&bare).await;
    found.nginx_memory = memory(nginx.target.pid, "VmHWM");
    drop(nginx);
    if !alone {
        // They have families of their own with the process's names.
        let delivery: Vec<u8> = text
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| line.windows(9).take(8).any(|part| part == b"delivery_"))
            .flatten()
            .copied()
            .collect();
        found.others = [
            other(peers::node_exporter(directory, &delivery)).await,
            other(peers::pushgateway(directory, &delivery)).await,
        ];
    }
    found.costs = Some(render::costs(series).await);
    found
}

/// How soon the counters of a full ledger are there: the time, and how many there are.
async fn cold_start(directory: &Path, counters: usize) -> (f64, usize) {
    // Five counters of each campaign.
    let shape = Shape {
        accounts: accounts(counters),
        messages: counters / 5 / accounts(counters),
        gauges: false,
        interval: Duration::from_secs(if counters > 300_000 { 60 } else { 10 }),
    };
    eprintln!("{counters} counters: filling");
    let running = Running::start(directory, shape).await;
    let full = {
        let target = running.target();
        blocking(move || target.scrape("identity", None).body).await
    };
    let (running, stopped, start) = running.restart(false).await;
    eprintln!(
        "the stop took {stopped:?}, and listening {:?}",
        start.elapsed()
    );
    let target = running.target();
    // The text is as long as before once all are there, but for what the collectors say of themselves.
    let (seconds, text) = blocking(move || {
        while target.scrape("identity", None).body < full / 100 * 99 {
            std::thread::sleep(Duration::from_millis(50));
        }
        let seconds = start.elapsed().as_secs_f64();
        let mut text = Vec::new();
        target.scrape("identity", Some(&mut text));
        (seconds, text)
    })
    .await;
    let lines = text.split(|byte| *byte == b'\n');
    let count = lines
        .filter(|line| line.starts_with(b"delivery_campaign_"))
        .count();
    assert_eq!(count, shape.accounts * shape.messages * 5);
    running.exporter.terminate();
    (seconds, count)
}

/// Many scrapes that begin together, once a second; how long each took.
fn many(target: &Target, length: Duration) -> Vec<f64> {
    let start = Instant::now();
    let mut times = Vec::new();
    while start.elapsed() < length {
        let second = Instant::now();
        let threads: Vec<_> = (0..TOGETHER)
            .map(|_| {
                let target = target.clone();
                std::thread::spawn(move || target.scrape("gzip", None).lasted.as_secs_f64())
            })
            .collect();
        times.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
        std::thread::sleep(Duration::from_secs(1).saturating_sub(second.elapsed()));
    }
    times
}

/// What scrapes and passes do to each other.
struct Together {
    /// How long an account's pass takes, without scrapes and with them.
    passes: [f64; 2],
    /// The median and the 99th percentile of scrapes, without passes and with them.
    scrapes: [[f64; 2]; 2],
}

async fn together(directory: &Path, series: usize) -> Together {
    let accounts = accounts(series);
    let shape = Shape {
        accounts,
        messages: series / accounts / render::SERIES_OF_A_MESSAGE,
        gauges: true,
        interval: Duration::from_secs(5),
    };
    eprintln!("{TOGETHER} scrapes at once: filling");
    let running = Running::start(directory, shape).await;
    let target = running.target();
    let rounds = async |from: u64| {
        let before = running.passes().await;
        for round in from..from + ROUNDS {
            running.change(round, shape.messages.div_ceil(100));
            running.asked().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        running.mean_since(before).await
    };
    target.scrape("gzip", None);
    let quiet = rounds(10).await;
    let scraping = {
        let target = target.clone();
        tokio::task::spawn_blocking(move || many(&target, Duration::from_secs(28)))
    };
    let busy = rounds(20).await;
    let mut with = scraping.await.unwrap();
    // Between two passes of ten seconds nothing is asked for.
    running.asked().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut without = blocking(move || many(&target, Duration::from_secs(3))).await;
    let figures = |times: &mut [f64]| {
        let middle = median(times);
        [middle, times[times.len() * 99 / 100]]
    };
    Together {
        passes: [quiet, busy],
        scrapes: [figures(&mut without), figures(&mut with)],
    }
}

/// A time, as people read it.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.2} ms", s * 1e3),
        s if s < 0.1 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

/// A line of a table: what it is, its value, and how that is shown.
type Line<'a> = (&'a str, &'a dyn Fn(&Measured) -> f64, fn(f64) -> String);

/// A table whose columns are sizes, with the exponent of each row between the second and the last.
fn table(all: &[Measured], rows: &[Line<'_>]) -> String {
    let mut text = String::from("| |");
    for own in all {
        write!(text, " {} series |", own.series).unwrap();
    }
    text.push_str(" exponent |\n|---|");
    text.push_str(&"---|".repeat(all.len() + 1));
    text.push('\n');
    for (name, value, shown) in rows {
        write!(text, "| {name} |").unwrap();
        for own in all {
            write!(text, " {} |", shown(value(own))).unwrap();
        }
        let ends = all.iter().find(|own| own.series >= 8000).zip(all.last());
        match ends.filter(|(small, large)| small.series < large.series) {
            Some((small, large)) => {
                let (from, to) = (value(small), value(large));
                let growth = (to / from).ln() / (large.series as f64 / small.series as f64).ln();
                // CPU is counted in hundredths of a second: what takes less has no growth.
                let shown = format!("{growth:.2}");
                let shown = shown.replace("-0.00", "0.00");
                let shown = if growth.is_finite() { &shown } else { "–" };
                writeln!(text, " {shown} |").unwrap();
            }
            None => text.push_str(" |\n"),
        }
    }
    text
}

/// What a scraper gets.
fn scrapes(all: &[Measured], alone: bool) -> String {
    fn megabytes(value: f64) -> String {
        format!("{value:.0} MB")
    }
    let mut text = table(
        all,
        &[
            ("**exporter**: gzip, first", &|own| own.scrapes[0], time),
            ("gzip, repeated", &|own| own.scrapes[1], time),
            ("gzip, repeated, CPU", &|own| own.scrapes[2], time),
            (
                "gzip, by itself, after 1 % has changed",
                &|own| own.changed[0],
                time,
            ),
            ("identity, first", &|own| own.scrapes[3], time),
            ("identity, repeated", &|own| own.scrapes[4], time),
            ("identity, repeated, CPU", &|own| own.scrapes[5], time),
            ("peak memory, gzip is read", &|own| own.peak[0], megabytes),
            (
                "peak memory, both are read, and OTLP",
                &|own| own.peak[1],
                megabytes,
            ),
            ("**nginx**, the same bytes: gzip", &|own| own.nginx[0], time),
            ("gzip, by itself", &|own| own.changed[1], time),
            ("identity", &|own| own.nginx[1], time),
            ("peak memory", &|own| own.nginx_memory, megabytes),
            (
                "**bare axum handler**, one buffer: gzip",
                &|own| own.bare[0],
                time,
            ),
            ("identity", &|own| own.bare[1], time),
            ("**by curl**: gzip, exporter", &|own| own.curl[0][0], time),
            ("gzip, nginx", &|own| own.curl[1][0], time),
            ("gzip, bare handler", &|own| own.curl[2][0], time),
            ("identity, exporter", &|own| own.curl[0][1], time),
            ("identity, nginx", &|own| own.curl[1][1], time),
            ("identity, bare handler", &|own| own.curl[2][1], time),
        ],
    );
    if !alone {
        let more = table(
            all,
            &[
                (
                    "**node_exporter**, textfile: gzip",
                    &|own| own.others[0][0],
                    time,
                ),
                ("CPU", &|own| own.others[0][1], time),
                ("peak memory", &|own| own.others[0][2], megabytes),
                ("**Pushgateway**: gzip", &|own| own.others[1][0], time),
                ("CPU", &|own| own.others[1][1], time),
                ("peak memory", &|own| own.others[1][2], megabytes),
            ],
        );
        text.extend(more.lines().skip(2).map(|line| format!("{line}\n")));
    }
    text
}

/// What a pass costs.
fn passes(all: &[Measured]) -> String {
    let of_costs = |index: usize| {
        move |own: &Measured| {
            own.costs
                .as_ref()
                .map_or(f64::NAN, |costs| costs.passes[index])
        }
    };
    let zlib = |own: &Measured| own.costs.as_ref().map_or(f64::NAN, |costs| costs.zlib);
    table(
        all,
        &[
            (
                "nothing changes: an account's pass",
                &|own| own.passes[0][0],
                time,
            ),
            ("whole process, CPU", &|own| own.passes[0][1], time),
            (
                "1 % changes: an account's pass",
                &|own| own.passes[1][0],
                time,
            ),
            ("whole process, CPU", &|own| own.passes[1][1], time),
            (
                "all changes: an account's pass",
                &|own| own.passes[2][0],
                time,
            ),
            ("whole process, CPU", &|own| own.passes[2][1], time),
            ("writing and compressing nothing, CPU", &of_costs(0), time),
            ("writing and compressing 1 %, CPU", &of_costs(1), time),
            ("writing and compressing all, CPU", &of_costs(2), time),
            ("`zlib -1` of the whole body, CPU", &zlib, time),
        ],
    )
}

fn report(all: &[Measured], cold: &[(f64, usize)], together: &Together, alone: bool) -> String {
    let mut text = scrapes(all, alone);
    text.push('\n');
    text.push_str(&passes(all));
    if let Some(last) = all.last() {
        let of = |value: f64, whole: f64| value / whole;
        writeln!(
            text,
            "\nWith {} series ({:.0} MB of text, {:.1} MB gzipped; {:.0} and {:.1} bytes a series):\n",
            last.series,
            last.bytes[1] as f64 / 1e6,
            last.bytes[0] as f64 / 1e6,
            last.bytes[1] as f64 / last.series as f64,
            last.bytes[0] as f64 / last.series as f64,
        )
        .unwrap();
        let mut line = |name: &str, value: f64, goal: &str| {
            writeln!(text, "- {name}: {value:.3} (goal: {goal})").unwrap();
        };
        line(
            "gzip scrape, of nginx's time",
            of(last.scrapes[1], last.nginx[0]),
            "at most 1.5",
        );
        line(
            "gzip scrape by itself, after 1 % has changed, of nginx's time",
            of(last.changed[0], last.changed[1]),
            "at most 1.5",
        );
        line(
            "identity scrape, of nginx's time",
            of(last.scrapes[4], last.nginx[1]),
            "at most 1.2",
        );
        line(
            "gzip scrape by curl, of nginx's time",
            of(last.curl[0][0], last.curl[1][0]),
            "at most 1.5",
        );
        line(
            "identity scrape by curl, of nginx's time",
            of(last.curl[0][1], last.curl[1][1]),
            "at most 1.2",
        );
        line(
            "gzip scrape, of the bare handler's",
            of(last.scrapes[1], last.bare[0]),
            "none",
        );
        line(
            "identity scrape, of the bare handler's",
            of(last.scrapes[4], last.bare[1]),
            "none",
        );
        if !alone {
            line(
                "times faster than node_exporter",
                of(last.others[0][0], last.scrapes[1]),
                "2,000",
            );
            line(
                "times faster than Pushgateway",
                of(last.others[1][0], last.scrapes[1]),
                "500",
            );
        }
        if let Some(costs) = &last.costs {
            line(
                "a pass of 1 %, of `zlib -1` of the body",
                of(costs.passes[1], costs.zlib),
                "at most 0.03",
            );
            line(
                "a pass of all, of the same",
                of(costs.passes[2], costs.zlib),
                "at most 2.5",
            );
        }
    }
    let Together { passes, scrapes } = together;
    writeln!(
        text,
        "- {TOGETHER} gzip scrapes at once, every second: an account's pass takes {} with them and {} \
         without ({:.2} times; goal: at most 1.1); the scrapes' 99th percentile is {} with passes ({:.1} \
         times their median; goal: at most 5), and {} between them ({:.1})",
        time(passes[1]),
        time(passes[0]),
        passes[1] / passes[0],
        time(scrapes[1][1]),
        scrapes[1][1] / scrapes[1][0],
        time(scrapes[0][1]),
        scrapes[0][1] / scrapes[0][0],
    )
    .unwrap();
    for (seconds, counters) in cold {
        writeln!(
            text,
            "- from the start of the process over a ledger with {counters} counters until all of them are \
             on `/metrics`: {}",
            time(*seconds)
        )
        .unwrap();
    }
    text
}

#[tokio::main]
async fn main() {
    let flags = Flags::parse();
    // On a disk, as the ledger is in earnest.
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let directory = flags.keep.as_deref().unwrap_or(scratch.path());
    if flags.start {
        for counters in &flags.sizes {
            let (seconds, counters) =
                cold_start(&directory.join(format!("cold-{counters}")), *counters).await;
            println!("{counters} counters: all are served {seconds:.2} s after the start");
        }
        return;
    }
    if flags.memory {
        for series in &flags.sizes {
            let [gzip, both] = peaks(&directory.join(series.to_string()), *series).await;
            println!(
                "{series} series: {gzip:.0} MB while gzip is read, {both:.0} MB with both forms and OTLP"
            );
        }
        return;
    }
    let mut all = Vec::new();
    let largest = flags.sizes.iter().copied().max().unwrap_or(1000);
    for series in &flags.sizes {
        all.push(measure(&directory.join(series.to_string()), *series, flags.alone).await);
    }
    let mut cold = Vec::new();
    for counters in [largest / 10, largest] {
        cold.push(cold_start(&directory.join(format!("cold-{counters}")), counters).await);
    }
    let together = together(&directory.join("together"), (largest / 10).max(10_000)).await;
    let text = report(&all, &cold, &together, flags.alone);
    println!("{text}");
    if flags.write {
        const MARKS: [&str; 2] = [
            "<!-- scale: written by the benchmark -->\n",
            "<!-- end of scale -->",
        ];
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
        let old = fs::read_to_string(&file).unwrap();
        let (head, rest) = old.split_once(MARKS[0]).expect("the first mark is there");
        let (_, tail) = rest.split_once(MARKS[1]).expect("the second mark is there");
        fs::write(
            &file,
            format!("{head}{}\n{text}\n{}{tail}", MARKS[0], MARKS[1]),
        )
        .unwrap();
    }
}
