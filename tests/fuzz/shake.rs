//! Each target with its corpus, and with changes of that for a while.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{
    change::change,
    corpus,
    oracle::{Limits, judge},
    targets::Target,
};

/// A debug build on a busy machine; what is quadratic takes many times as long.
pub const LIMITS: Limits = Limits {
    at_once: Duration::from_millis(400),
    per_byte: Duration::from_micros(20),
};

/// Says that a target is alone in its process.
const IS_ALONE: &str = "FUZZ_ALONE";

fn seconds() -> f64 {
    let wanted = std::env::var("FUZZ_SECONDS").ok();
    wanted.map_or(2.0, |own| own.parse().expect("FUZZ_SECONDS is a number"))
}

/// Targets whose time depends on the secrets that the process knows. Other targets of the same process read
/// thousands of configurations, whose passwords would be among them.
const ALONE: [&str; 2] = ["exposition", "redaction"];

/// The corpus, and then changes of it until the time is over.
pub fn run(target: &Target) {
    if ALONE.contains(&target.name) && std::env::var_os(IS_ALONE).is_none() {
        let own = std::env::current_exe().unwrap();
        let arguments = ["--exact", target.name, "--nocapture"];
        let status = Command::new(own)
            .args(arguments)
            .env(IS_ALONE, "1")
            .status();
        assert!(
            status.unwrap().success(),
            "{} failed in its own process",
            target.name
        );
        return;
    }
    let corpus = corpus::of(target.name);
    for (name, input) in &corpus {
        if let Err(problem) = judge(target, input, LIMITS) {
            panic!("{}/{name}: {problem}", target.name);
        }
    }
    let seed = std::env::var("FUZZ_SEED")
        .ok()
        .and_then(|own| own.parse().ok())
        .unwrap_or(1);
    let mut rng = StdRng::seed_from_u64(seed);
    let end = Instant::now() + Duration::from_secs_f64(seconds());
    let mut count = 0;
    while Instant::now() < end {
        let (_, input) = corpus.choose(&mut rng).unwrap();
        let (_, other) = corpus.choose(&mut rng).unwrap();
        let input = change(input, other, &mut rng);
        if let Err(problem) = judge(target, &input, LIMITS) {
            let path = corpus::keep(target.name, &input);
            panic!(
                "{problem}\nthe input is kept as {}: put it into tests/fuzz/corpus/{}",
                path.display(),
                target.name
            );
        }
        count += 1;
    }
    println!(
        "{}: {} known inputs and {count} changes, seed {seed}",
        target.name,
        corpus.len()
    );
}
