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

pub mod case;
pub mod judge;
pub mod outages;
pub mod rig;
pub mod story;
pub mod truth;

use std::{collections::BTreeSet, time::Instant};

use super::seeds::{self, PANICS, variable};
use case::Case;
use judge::Fault;

/// The seeds of the suite.
const SUITE: u64 = 24;
/// How many failing seeds of a run are shrunk: each takes a dozen runs or more.
const SHRUNK: usize = 3;

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

/// A row of seeds, in a process of its own.
#[test]
#[ignore = "it is started by the other test"]
fn row() {
    let Some(seeds) = seeds::row(variable("MOOD_LOG")) else {
        return;
    };
    let changes = variable("MOOD_SET").unwrap_or_default();
    let mut to_shrink = if variable("MOOD_SHRINK").as_deref() == Some("0") {
        0
    } else {
        SHRUNK
    };
    let mut known = BTreeSet::new();
    for seed in seeds {
        let case = Case::from_seed(seed).changed(&changes).unwrap();
        let faults = seeds::tell(seed, || run(&case), |own| (own.promise, &own.whose));
        for kind in kinds(&faults) {
            if to_shrink > 0 && known.insert(kind.clone()) {
                to_shrink -= 1;
                let small = shrink(&case, &kind);
                println!("SEED shrunk {seed}\t{}\t{}\t{small}", kind.0, kind.1);
            }
        }
    }
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
    let outcome = seeds::run_rows("moods::row", first, last, one.is_some(), &[]);
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
