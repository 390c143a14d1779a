//! libFuzzer on the targets of `tests/fuzz`: `FUZZ_TARGET` names one. Changes are made half by
//! libFuzzer, in bytes, and half as the suite makes them, in JSON.

#![no_main]

#[path = "../../change.rs"]
mod change;
#[path = "../../oracle.rs"]
mod oracle;
#[path = "../../targets.rs"]
mod targets;

use std::{env, fs, path::Path, process::exit, sync::LazyLock, time::Duration};

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use oracle::{Limits, judge};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use targets::{ALL, Target, named};

/// An optimised build with every check on.
const LIMITS: Limits = Limits {
    at_once: Duration::from_millis(100),
    per_byte: Duration::from_micros(4),
};

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = env::var("FUZZ_TARGET");
    let name = name.expect("FUZZ_TARGET names a target of tests/fuzz/targets.rs");
    // For `run all`.
    if name == "names" {
        let names: Vec<&str> = ALL.iter().map(|own| own.name).collect();
        println!("{}", names.join("\n"));
        exit(0);
    }
    named(&name)
});

/// The committed inputs: parts of them are put into others.
static DONORS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    let entries = fs::read_dir(corpus.join(TARGET.name));
    let files = entries.into_iter().flatten().flatten();
    files.filter_map(|own| fs::read(own.path()).ok()).collect()
});

fuzz_target!(|input: &[u8]| {
    if let Err(problem) = judge(*TARGET, input, LIMITS) {
        panic!("{problem}");
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut rng = StdRng::seed_from_u64(seed.into());
    if rng.random() {
        return fuzzer_mutate(data, size, max_size);
    }
    let donor = DONORS.choose(&mut rng).map_or(&[][..], |own| own);
    let changed = change::change(&data[..size], donor, &mut rng);
    let length = changed.len().min(max_size);
    data[..length].copy_from_slice(&changed[..length]);
    length
});
