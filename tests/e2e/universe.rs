//! A universe in a process: two or three replicas of the whole exporter, the vendors, the store and the
//! time, and about a month in which replicas are killed, stand still and are cut off, the store fails, and
//! vendors are ill. What Prometheus would add up over all replicas must be what the vendors' books say.
//!
//! - `cargo test --test e2e universe`: as many seeds as fit into two and a half minutes.
//! - `UNIVERSE=2000 cargo test --test e2e universe -- --nocapture`: the long run; `UNIVERSE_FIRST=100` begins
//!   at another seed.
//! - `UNIVERSE_SEED=7`: one seed. `UNIVERSE_SET="only=3,5"` keeps some of its acts, `without=3` leaves some
//!   out, `skews=off` sets the replicas' clocks right. `UNIVERSE_LOG=delivery_exporter=debug` prints what
//!   the replicas log, and `UNIVERSE_DUMP=/tmp/x` writes every scrape to a file whose name begins so.
//! - `UNIVERSE_SABOTAGE=no_fence`: with one of the faults in `sabotage.rs`.

mod acts;
mod contract;
mod gate;
mod increase;
mod network;
mod replicas;
mod rows;
mod sabotage;
mod store;
mod story;
mod telling;

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use super::{
    harness::PATIENCE,
    moods::judge::Fault,
    preload,
    seeds::{self, PANICS, variable},
};
use sabotage::Sabotage;
use story::Case;

/// The seeds of the suite.
const SUITE: u64 = 20;

/// The name of the test that tells a row of seeds.
const ROW: &str = "universe::row";

/// How often a replica has worked until it was quiet.
static MOVES: AtomicUsize = AtomicUsize::new(0);

/// Tells one seed, and gives what is wrong.
fn run(case: &Case, sabotage: Sabotage) -> Vec<Fault> {
    PANICS.lock().unwrap().clear();
    let mut faults = Vec::new();
    let own = case.clone();
    // A thread of its own: chance begins anew with each seed.
    let thread = std::thread::Builder::new().name(format!("s-{}", case.seed));
    let told = thread.spawn(move || telling::tell(&own, sabotage)).unwrap();
    let (mut moves, mut moved_at) = (MOVES.load(Ordering::Relaxed), Instant::now());
    while !told.is_finished() {
        std::thread::sleep(Duration::from_millis(20));
        let now = MOVES.load(Ordering::Relaxed);
        if now != moves {
            (moves, moved_at) = (now, Instant::now());
        } else if moved_at.elapsed() > PATIENCE {
            // The thread goes on until the process ends, which is after this seed.
            return vec![Fault {
                promise: "restless",
                whose: String::new(),
                family: String::new(),
                text: format!("a replica does not become quiet, after {now} moves of the time"),
            }];
        }
    }
    if let Ok(told) = told.join() {
        println!(
            "SEED digest {} {:016x} {}",
            case.seed, told.digest, told.steps
        );
        faults = told.faults;
    }
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

/// A row of seeds, in a process of its own.
#[test]
#[ignore = "it is started by the other tests"]
fn row() {
    let Some(seeds) = seeds::row(variable("UNIVERSE_LOG")) else {
        return;
    };
    let changes = variable("UNIVERSE_SET").unwrap_or_default();
    let sabotage =
        variable("UNIVERSE_SABOTAGE").map_or(Sabotage::None, |own| Sabotage::named(&own));
    for seed in seeds {
        let case = Case::from_seed(seed).changed(&changes);
        seeds::tell(
            seed,
            || run(&case, sabotage),
            |own| (own.promise, &own.whose),
        );
    }
}

/// Runs seeds, with chance that repeats.
fn run_rows(first: u64, last: u64, loud: bool, sabotage: Option<&str>) -> seeds::Outcome {
    let directory = tempfile::tempdir().unwrap();
    let library = preload::library("chance", directory.path());
    // Each start reads the certificates of the system, for nothing.
    let certificates = directory.path().join("certificates");
    fs::create_dir(&certificates).unwrap();
    let certificate = directory.path().join("certificate.pem");
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&certificate, own.cert.pem()).unwrap();
    let mut more = vec![
        ("LD_PRELOAD", library.as_os_str()),
        ("SSL_CERT_FILE", certificate.as_os_str()),
        ("SSL_CERT_DIR", certificates.as_os_str()),
    ];
    more.extend(sabotage.map(|own| ("UNIVERSE_SABOTAGE", OsStr::new(own))));
    seeds::run_each(ROW, first, last, loud, &more)
}

#[test]
fn what_all_replicas_count_is_what_the_books_say_whatever_happens() {
    let one = variable("UNIVERSE_SEED").map(|seed| seed.parse::<u64>().unwrap());
    let count = variable("UNIVERSE").map_or(SUITE, |count| count.parse().unwrap());
    let first = variable("UNIVERSE_FIRST").map_or(1, |first| first.parse().unwrap());
    let (first, last) = one.map_or((first, first + count - 1), |seed| (seed, seed));
    if let Some(seed) = one {
        let changes = variable("UNIVERSE_SET").unwrap_or_default();
        println!("{}", Case::from_seed(seed).changed(&changes));
    }
    let began = Instant::now();
    let outcome = run_rows(first, last, one.is_some(), None);
    outcome.print();
    println!(
        "{} seeds, {} failed, in {:.0} s; processor time {:.2} s a seed, {:.2} s at most",
        outcome.seeds,
        outcome.failed.len(),
        began.elapsed().as_secs_f64(),
        outcome.cost / outcome.seeds.max(1) as f64,
        outcome.dearest,
    );
    for seed in outcome.failed.iter().take(8) {
        let case = Case::from_seed(*seed);
        println!("UNIVERSE_SEED={seed} cargo test --test e2e universe -- --nocapture\n{case}");
    }
    assert!(
        outcome.failed.is_empty(),
        "{} seeds fail",
        outcome.failed.len()
    );
    assert_eq!(
        outcome.seeds as u64,
        last - first + 1,
        "every seed was told"
    );
}

/// A seed, and one with a fault in it, are told twice each: alone, and beside threads that keep every processor
/// busy.
#[test]
fn a_seed_is_the_same_in_each_run() {
    let mut digests = HashSet::new();
    for (seed, sabotage) in [(1, None), (7, Some("early_watermark"))] {
        let tell = || {
            let outcome = run_rows(seed, seed, false, sabotage);
            (outcome.digests[&seed].clone(), outcome.failed)
        };
        let alone = tell();
        let over = AtomicBool::new(false);
        let beside = std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let began = Instant::now();
                    while !over.load(Ordering::Relaxed) && began.elapsed() < PATIENCE {
                        std::hint::spin_loop();
                    }
                });
            }
            let told = tell();
            over.store(true, Ordering::Relaxed);
            told
        });
        assert_eq!(alone, beside, "seed {seed} with {sabotage:?}");
        assert!(digests.insert(alone.0), "two seeds have one digest");
    }
}

/// So many seeds may miss a fault, one after the other, before the test fails: a change of the exporter changes what
/// happens in a seed.
const TRIES: u64 = 4;

/// For each kind of sabotage, a seed that found it.
const FOUND_BY: [(&str, u64); 7] = [
    ("lost_commit", 3),
    ("no_fence", 25),
    ("stolen_lease", 1),
    ("double_release", 1),
    ("forgotten_inbox", 1),
    ("early_watermark", 7),
    ("unsynced_spool", 1),
];

#[test]
fn faults_that_are_put_in_on_purpose_are_found() {
    assert_eq!(
        FOUND_BY.map(|(name, _)| name),
        Sabotage::ALL.map(|(name, _)| name)
    );
    for (name, first) in FOUND_BY {
        let finds = |seed: &u64| {
            let outcome = run_rows(*seed, *seed, false, Some(name));
            outcome.print();
            !outcome.failed.is_empty()
        };
        let found = (first..first + TRIES).find(finds);
        println!("{name}: found by {found:?}");
        assert!(
            found.is_some(),
            "{name} is not found by {TRIES} seeds from {first} on"
        );
    }
}
