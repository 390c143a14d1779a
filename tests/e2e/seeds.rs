//! Seeds that are told in rows: each processor works through a row of them in a process of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Mutex,
    time::Instant,
};

/// Names a row to its process: `first last step`.
const ROW: &str = "SEED_ROW";

/// What panicked, in whatever thread.
pub static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A variable of the environment that is not empty.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The row of seeds that this process shall tell, if it is one that does. What panics is noted in
/// [`PANICS`] from now on, and what the exporter logs is printed as `log` says.
pub fn row(log: Option<String>) -> Option<impl Iterator<Item = u64>> {
    let row = variable(ROW)?;
    std::panic::set_hook(Box::new(|panic| {
        PANICS
            .lock()
            .unwrap()
            .push(panic.to_string().replace('\n', " "));
    }));
    if let Some(filter) = log {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .init();
    }
    let numbers: Vec<u64> = row.split(' ').map(|own| own.parse().unwrap()).collect();
    Some((numbers[0]..=numbers[1]).step_by(numbers[2] as usize))
}

/// Tells a seed, prints what it cost and what is wrong, and returns it.
pub fn tell<F: std::fmt::Display>(
    seed: u64,
    run: impl FnOnce() -> Vec<F>,
    promise_and_whose: impl Fn(&F) -> (&str, &str),
) -> Vec<F> {
    let began = (Instant::now(), processor_time());
    let faults = run();
    let (took, cost) = (began.0.elapsed(), processor_time() - began.1);
    println!(
        "SEED seed {seed} {} {cost:.2} {:.2}",
        faults.len(),
        took.as_secs_f64()
    );
    for fault in &faults {
        let (promise, whose) = promise_and_whose(fault);
        println!("SEED fault {seed}\t{promise}\t{whose}\t{fault}");
    }
    faults
}

/// The processor time of this process so far, in seconds.
pub fn processor_time() -> f64 {
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
pub struct Outcome {
    /// How many seeds were told.
    pub seeds: usize,
    /// Those that failed.
    pub failed: BTreeSet<u64>,
    /// Processor time in seconds, of all.
    pub cost: f64,
    /// Of the dearest one.
    pub dearest: f64,
    /// What a seed says of all that happened in it: the same text, the same happened.
    pub digests: BTreeMap<u64, String>,
    /// By promise and whose: the seeds, and an example.
    faults: BTreeMap<(String, String), (BTreeSet<u64>, String)>,
    shrunk: Vec<String>,
}

impl Outcome {
    fn take(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("SEED seed ") {
            let words: Vec<&str> = rest.split(' ').collect();
            self.seeds += 1;
            if words[1] != "0" {
                self.failed.insert(words[0].parse().unwrap());
            }
            let cost: f64 = words[2].parse().unwrap();
            self.cost += cost;
            self.dearest = self.dearest.max(cost);
        } else if let Some(rest) = line.strip_prefix("SEED digest ") {
            let (seed, digest) = rest.split_once(' ').unwrap();
            self.digests
                .insert(seed.parse().unwrap(), digest.to_owned());
        } else if let Some(rest) = line.strip_prefix("SEED fault ") {
            let parts: Vec<&str> = rest.splitn(4, '\t').collect();
            let key = (parts[1].to_owned(), parts[2].to_owned());
            let entry = self.faults.entry(key).or_default();
            entry.0.insert(parts[0].parse().unwrap());
            if entry.1.is_empty() {
                entry.1 = parts[3].to_owned();
            }
        } else if let Some(rest) = line.strip_prefix("SEED shrunk ") {
            self.shrunk.push(rest.replace('\t', " "));
        }
    }

    /// Prints what failed.
    pub fn print(&self) {
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

/// Runs the seeds from `first` to `last` in as many processes as there are processors. `test` tells a row of
/// them (see [`row`]), with `more` in its environment.
pub fn run_rows(test: &str, first: u64, last: u64, loud: bool, more: &[(&str, &OsStr)]) -> Outcome {
    let rows = processors().min(last - first + 1);
    run(
        (0..rows).map(|row| (first + row, last, rows)),
        test,
        loud,
        more,
    )
}

/// As [`run_rows`], with a process for each seed: what one leaves behind in a process is nothing to the next.
pub fn run_each(test: &str, first: u64, last: u64, loud: bool, more: &[(&str, &OsStr)]) -> Outcome {
    run((first..=last).map(|seed| (seed, seed, 1)), test, loud, more)
}

fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, usize::from) as u64
}

/// Runs rows of seeds (the first, the last, the step), each in a process, as many at a time as there are
/// processors. With `SEEDS_UNTIL_FAILURE` in the environment, none begins after one that fails.
fn run(
    rows: impl Iterator<Item = (u64, u64, u64)> + Send,
    test: &str,
    loud: bool,
    more: &[(&str, &OsStr)],
) -> Outcome {
    let outcome = Mutex::new(Outcome::default());
    let rows = Mutex::new(rows);
    let ends = variable("SEEDS_UNTIL_FAILURE").is_some();
    let next = || {
        let over = ends && !outcome.lock().unwrap().failed.is_empty();
        rows.lock().unwrap().next().filter(|_| !over)
    };
    std::thread::scope(|scope| {
        for _ in 0..processors() {
            scope.spawn(|| {
                while let Some((first, last, step)) = next() {
                    let mut child = Command::new(std::env::current_exe().unwrap())
                        .args(["--exact", test, "--ignored", "--nocapture"])
                        .env(ROW, format!("{first} {last} {step}"))
                        .envs(more.iter().copied())
                        .stdout(Stdio::piped())
                        .spawn()
                        .unwrap();
                    let output = BufReader::new(child.stdout.take().unwrap());
                    for line in output.lines() {
                        let line = line.unwrap();
                        if loud && line.starts_with("SEED") {
                            println!("{line}");
                        }
                        outcome.lock().unwrap().take(&line);
                    }
                    assert!(
                        child.wait().unwrap().success(),
                        "a row of seeds ended early"
                    );
                }
            });
        }
    });
    outcome.into_inner().unwrap()
}
