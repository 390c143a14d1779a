//! Fuzzing: whatever comes from outside is read without a panic, and in a time that grows with its
//! length alone. docs/testing.md says how to run each part for longer.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod amplify;
mod change;
mod corpus;
mod oracle;
mod record;
mod shake;
mod targets;

use delivery_exporter::providers::VENDORS;

/// One test for each target: what is in its corpus, and changes of that for a few seconds.
/// `FUZZ_SECONDS=600 cargo test --test fuzz -- --nocapture` goes on for longer, with other changes.
macro_rules! fuzz {
    ($($target:ident),* $(,)?) => {
        $(
            #[test]
            fn $target() {
                shake::run(targets::named(stringify!($target)));
            }
        )*

        /// Those of vendors are looked at by `answers_of_every_vendor`.
        #[test]
        fn every_target_has_a_test_and_a_corpus() {
            let named = [$(stringify!($target)),*];
            let all = targets::ALL.iter().map(|own| own.name);
            let is_vendor = |name: &&str| VENDORS.iter().any(|own| own.name == *name);
            let own: Vec<_> = all.filter(|own| !is_vendor(own)).collect();
            assert_eq!(own, named);
            for name in own {
                assert!(corpus::directory(name).is_dir(), "{name}");
            }
        }
    };
}

/// Runs `check` on each vendor's target, all at a time.
fn of_every_vendor(check: impl Fn(&'static targets::Target) + Sync) {
    std::thread::scope(|scope| {
        for vendor in VENDORS {
            let check = &check;
            scope.spawn(|| check(targets::named(vendor.name)));
        }
    });
}

#[test]
fn answers_of_every_vendor() {
    of_every_vendor(shake::run);
}

fuzz!(
    config,
    doors,
    environment,
    events,
    exposition,
    headers,
    negotiation,
    otlp_answers,
    redaction,
    reports,
    stored,
    web_config,
);

/// The guided build is a workspace of its own, with a lock of its own, which `tests/fuzz/guided/run` takes as it is.
#[test]
fn the_lock_of_the_guided_build_has_every_dependency() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let (manifest, lock) = (read("Cargo.toml"), read("tests/fuzz/guided/Cargo.lock"));
    let part = |text: &str, begin: &str, end: &str| {
        let (_, rest) = text.split_once(begin).unwrap();
        rest.split(end).next().unwrap().to_owned()
    };
    let own = part(&lock, "name = \"delivery-exporter\"\n", "[[package]]");
    let mut count = 0;
    for line in part(&manifest, "\n[dependencies]\n", "\n[").lines() {
        let name = line.split([' ', '.', '=']).next().unwrap();
        if name.is_empty() || name.starts_with('#') {
            continue;
        }
        count += 1;
        // With a version behind it where there are several.
        let is_there = [format!("\"{name}\""), format!("\"{name} ")];
        assert!(
            is_there.iter().any(|own_name| own.contains(own_name)),
            "{name} is missing: cargo check --manifest-path tests/fuzz/guided/Cargo.toml adds it"
        );
    }
    assert!(count > 40, "{count}");
}
