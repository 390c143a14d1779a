//! The one promise, over vendors in every mood: the numbers equal the vendor's books, or a failure
//! is visible in the metrics, within two intervals.
//!
//! A seed makes a world of vendors, each in a mood of its own, and a story: hours of traffic, an
//! outage, restarts and kills, a midnight in Beijing, a `collect`, and at the end vendors that are
//! all well. After every step the exporter's metrics are judged against the books and against what
//! the vendors told.
//!
//! - `cargo test --test e2e moods`: a few dozen seeds.
//! - `MOODS=2000 cargo test --test e2e moods -- --nocapture`: the long run.
//! - `MOOD_DUMP=/tmp/x`: every scrape is written to a file whose name begins so.
//! - `MOOD_LOG=delivery_exporter=debug`: what the exporter logs is printed.
//! - `MOOD_SEED=7`: one seed. `MOOD_SET="pushwoosh.order=usual outage=off"` changes its moods and
//!   its story. A seed that fails is shrunk: what is unusual is taken away as long as it still fails.
//!
//! Each processor works through a row of seeds in a process of its own: see `rig`.

mod judge;
mod rig;
mod story;
mod truth;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Mutex,
    time::Instant,
};

use judge::Fault;
use story::Case;

/// The seeds of the suite.
const SUITE: u64 = 24;
/// How many failing seeds of a run are shrunk: each takes a dozen runs or more.
const SHRUNK: usize = 3;

/// What panicked, in whatever thread.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Tells one seed, and gives what is wrong.
fn run(case: &Case) -> Vec<Fault> {
    PANICS.lock().unwrap().clear();
    let told = std::panic::catch_unwind(|| story::tell(case));
    let mut faults = told.unwrap_or_default();
    for text in PANICS.lock().unwrap().drain(..) {
        faults.push(Fault {
            promise: "panic",
            whose: String::new(),
            family: String::new(),
            text,
        });
    }
    faults
}

/// What faults have in common that have one cause, more or less.
fn kinds(faults: &[Fault]) -> BTreeSet<(&'static str, String)> {
    let kind = |own: &Fault| (own.promise, own.whose.clone());
    faults.iter().map(kind).collect()
}

/// Takes away what is unusual, piece by piece, as long as `kind` still goes wrong.
fn shrink(case: &Case, kind: &(&'static str, String)) -> Case {
    let fails = |case: &Case| kinds(&run(case)).contains(kind);
    let mut case = case.clone();
    for _ in 0..2 {
        let before = case.clone();
        for simpler in case.simpler() {
            // It may have been taken away together with something else.
            if !case.has(&simpler) {
                continue;
            }
            let try_it = case.without(&simpler);
            if fails(&try_it) {
                case = try_it;
            }
        }
        if case == before {
            break;
        }
    }
    case
}

/// A row of seeds, in a process of its own. `MOOD_ROW` is `first last step`.
#[test]
#[ignore = "it is started by the other test"]
fn row() {
    let Some(row) = variable("MOOD_ROW") else {
        return;
    };
    std::panic::set_hook(Box::new(|panic| {
        PANICS.lock().unwrap().push(panic.to_string());
    }));
    if let Some(filter) = variable("MOOD_LOG") {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .init();
    }
    let numbers: Vec<u64> = row.split(' ').map(|own| own.parse().unwrap()).collect();
    let changes = variable("MOOD_SET").unwrap_or_default();
    let mut to_shrink = if variable("MOOD_SHRINK").as_deref() == Some("0") {
        0
    } else {
        SHRUNK
    };
    let mut known = BTreeSet::new();
    for seed in (numbers[0]..=numbers[1]).step_by(numbers[2] as usize) {
        let case = Case::from_seed(seed).changed(&changes).unwrap();
        let began = (Instant::now(), processor_time());
        let faults = run(&case);
        let (took, cost) = (began.0.elapsed(), processor_time() - began.1);
        println!(
            "MOOD seed {seed} {} {cost:.2} {:.2}",
            faults.len(),
            took.as_secs_f64()
        );
        for fault in &faults {
            println!(
                "MOOD fault {seed}\t{}\t{}\t{fault}",
                fault.promise, fault.whose
            );
        }
        for kind in kinds(&faults) {
            if to_shrink > 0 && known.insert(kind.clone()) {
                to_shrink -= 1;
                let small = shrink(&case, &kind);
                println!("MOOD shrunk {seed}\t{}\t{}\t{small}", kind.0, kind.1);
            }
        }
    }
}

/// The processor time of this process so far, in seconds.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: f64 = after[11].parse::<f64>().unwrap() + after[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// What the rows say.
#[derive(Default)]
struct Outcome {
    seeds: usize,
    failed: BTreeSet<u64>,
    cost: f64,
    dearest: f64,
    /// By promise and whose: the seeds, and an example.
    faults: BTreeMap<(String, String), (BTreeSet<u64>, String)>,
    shrunk: Vec<String>,
}

impl Outcome {
    fn take(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("MOOD seed ") {
            let words: Vec<&str> = rest.split(' ').collect();
            self.seeds += 1;
            if words[1] != "0" {
                self.failed.insert(words[0].parse().unwrap());
            }
            let cost: f64 = words[2].parse().unwrap();
            self.cost += cost;
            self.dearest = self.dearest.max(cost);
        } else if let Some(rest) = line.strip_prefix("MOOD fault ") {
            let parts: Vec<&str> = rest.splitn(4, '\t').collect();
            let key = (parts[1].to_owned(), parts[2].to_owned());
            let entry = self.faults.entry(key).or_default();
            entry.0.insert(parts[0].parse().unwrap());
            if entry.1.is_empty() {
                entry.1 = parts[3].to_owned();
            }
        } else if let Some(rest) = line.strip_prefix("MOOD shrunk ") {
            self.shrunk.push(rest.replace('\t', " "));
        }
    }

    fn print(&self) {
        for ((promise, whose), (seeds, example)) in &self.faults {
            let some: Vec<_> = seeds.iter().take(8).collect();
            println!(
                "{promise}: {whose}: {} seeds, such as {some:?}\n    {example}",
                seeds.len()
            );
        }
        for small in &self.shrunk {
            println!("shrunk: {small}");
        }
    }
}

/// Runs the seeds from `first` to `last` in as many processes as there are processors.
fn run_rows(first: u64, last: u64, loud: bool) -> Outcome {
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let rows = processors.min(last - first + 1);
    let outcome = Mutex::new(Outcome::default());
    std::thread::scope(|scope| {
        for row in 0..rows {
            let outcome = &outcome;
            scope.spawn(move || {
                let mut child = Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "moods::row", "--ignored", "--nocapture"])
                    .env("MOOD_ROW", format!("{} {last} {rows}", first + row))
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                let output = BufReader::new(child.stdout.take().unwrap());
                for line in output.lines() {
                    let line = line.unwrap();
                    if loud && line.starts_with("MOOD") {
                        println!("{line}");
                    }
                    outcome.lock().unwrap().take(&line);
                }
                assert!(
                    child.wait().unwrap().success(),
                    "a row of seeds ended early"
                );
            });
        }
    });
    outcome.into_inner().unwrap()
}

#[test]
fn for_every_mood_the_numbers_are_right_or_a_failure_shows() {
    let one = variable("MOOD_SEED").map(|seed| seed.parse::<u64>().unwrap());
    let count = variable("MOODS").map_or(SUITE, |count| count.parse().unwrap());
    let first = variable("MOOD_FIRST").map_or(1, |first| first.parse().unwrap());
    let (first, last) = one.map_or((first, first + count - 1), |seed| (seed, seed));
    if let Some(seed) = one {
        let changes = variable("MOOD_SET").unwrap_or_default();
        println!("{}", Case::from_seed(seed).changed(&changes).unwrap());
    }
    let began = Instant::now();
    let outcome = run_rows(first, last, one.is_some());
    outcome.print();
    println!(
        "{} seeds, {} failed, in {:.0} s; processor time {:.2} s a seed, {:.2} s at most",
        outcome.seeds,
        outcome.failed.len(),
        began.elapsed().as_secs_f64(),
        outcome.cost / outcome.seeds.max(1) as f64,
        outcome.dearest,
    );
    assert_eq!(
        outcome.seeds as u64,
        last - first + 1,
        "every seed was told"
    );
    for seed in outcome.failed.iter().take(8) {
        let case = Case::from_seed(*seed);
        println!("MOOD_SEED={seed} cargo test --test e2e moods -- --nocapture\n    {case}");
    }
    assert!(
        outcome.failed.is_empty(),
        "{} seeds fail",
        outcome.failed.len()
    );
}
