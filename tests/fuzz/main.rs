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

        #[test]
        fn every_target_has_a_test() {
            let named = [$(stringify!($target)),*];
            let all: Vec<_> = targets::ALL.iter().map(|own| own.name).collect();
            assert_eq!(all, named);
        }
    };
}

fuzz!(
    alibaba_push,
    config,
    doors,
    engagelab,
    environment,
    events,
    exposition,
    headers,
    infobip_email,
    infobip_push,
    negotiation,
    otlp_answers,
    pushwoosh,
    redaction,
    reports,
    stored,
    web_config,
);
