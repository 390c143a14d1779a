//! The moods of the simulators, asked for over HTTP: calm vendors answer as ever, each dimension
//! does what it says, and what was told is never more than what is true.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod judge;

use std::{collections::BTreeSet, time::Duration};

use delivery_clock::Clock;
use delivery_simulators::{Account, Mood, Moods, Options, World};
use sha2::{Digest, Sha256};

/// A world with four messages of each vendor a day, at eight in the morning in Beijing.
async fn world(options: Options, days: u64) -> (World, Clock, delivery_clock::ManualClock) {
    let (clock, hand) = Clock::manual("2026-11-23T00:00:07Z".parse().unwrap());
    let options = Options {
        history: Duration::from_secs(days * 86_400),
        gap: Duration::from_secs(6 * 3600),
        ..options
    };
    let world = World::start(options, &clock).await.unwrap();
    world
        .infobip
        .change(|options| options.email_every = Duration::from_secs(300));
    (world, clock, hand)
}

#[tokio::test]
async fn calm_vendors_answer_byte_for_byte_as_without_moods() {
    let (world, clock, hand) = world(Options::default(), 4).await;
    let mut hash = Sha256::new();
    let (mut good, mut all) = (0, 0);
    for _ in 0..3 {
        for answer in client::round(&world, &clock, 6).await {
            good += usize::from(answer.status == 200);
            all += 1;
            hash.update(answer.status.to_string());
            for name in [
                "content-type",
                "content-length",
                "date",
                "x-acs-retry-after",
            ] {
                hash.update(answer.headers.get(name).map_or("", String::as_str));
            }
            hash.update(&answer.raw);
        }
        for books in [
            world.infobip.books(),
            world.engagelab.books(),
            world.pushwoosh.books(),
            world.alibaba.books(),
        ] {
            hash.update(books.to_string());
        }
        hand.advance(Duration::from_secs(5 * 3600 + 77));
    }
    // Statistics of messages that are only scheduled, or of days that are not counted, are refused.
    assert!(all > 200 && good > all - 20, "{good} of {all}");
    let hash: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        hash,
        "9dadc1ff7119eebbfa194e4acb092538bf05d602cde644158680e8748a7ed96b"
    );
}

#[test]
fn a_seed_is_a_mood_and_a_thousand_seeds_have_everything() {
    let mut values: BTreeSet<String> = BTreeSet::new();
    let mut calm_ones = vec![0; Mood::KEYS.len()];
    for seed in 0..1000 {
        let mood = Mood::from_seed(seed);
        assert_eq!(mood, Mood::from_seed(seed));
        let text = mood.to_string();
        assert!(!text.contains('\n'));
        for (index, key) in Mood::KEYS.iter().enumerate() {
            let found = text
                .split(' ')
                .find(|part| part.starts_with(&format!("{key}=")));
            match found {
                Some(part) => {
                    values.insert(part.to_owned());
                }
                None => calm_ones[index] += 1,
            }
        }
        // What is printed says the same mood.
        let mut read = Mood::calm();
        for part in text.split(' ') {
            let (key, value) = part.split_once('=').unwrap();
            read.set(key, value).unwrap();
        }
        assert_eq!(read, mood, "{text}");
    }
    for (key, calm) in Mood::KEYS.iter().zip(calm_ones) {
        assert!((400..600).contains(&calm), "{key} is usual {calm} times");
    }
    // Every value that the documentation of the enumerations has.
    for value in [
        "order=newest",
        "order=oldest",
        "order=shuffled",
        "order=reshuffled",
        "bounds=both",
        "bounds=first",
        "bounds=last",
        "bounds=neither",
        "page_cap=100",
        "page_cap=7",
        "repeats=in_page",
        "repeats=over_pages",
        "total=missing",
        "total=text",
        "total=high",
        "total=low",
        "last_token=missing",
        "last_token=same",
        "digits=text",
        "digits=fraction",
        "digits=text_fraction",
        "digits=mixed",
        "error_form=flat",
        "error_form=nested",
        "error_form=message",
        "error_form=html",
        "error_form=xml",
        "error_form=empty",
        "error_status=200",
        "error_status=404",
        "error_status=503",
        "retry_after=seconds",
        "retry_after=date",
        "retry_after=huge",
        "retry_after=negative",
        "retry_after=text",
        "unknown=refused",
        "unknown=left_out",
        "publication=any_hour",
        "publication=two_steps",
        "skew_seconds=-600",
        "skew_seconds=600",
        "content_type=missing",
        "content_type=text_plain",
        "content_type=text_json",
        "spoiled_reports=kept",
        "spoiled_reports=lost",
    ] {
        assert!(values.contains(value), "{value}");
    }
    let moods = Moods::from_seed(7);
    assert_ne!(
        moods.of(Account::InfobipPush),
        moods.of(Account::InfobipEmail)
    );
    assert!(
        Mood::calm()
            .set("colour", "red")
            .unwrap_err()
            .contains("page_cap")
    );
    assert!(Mood::calm().set("order", "best").is_err());
}

/// From eight in the morning: a minute later, midnight, and hours in which a vendor may publish.
const NIGHT: [u64; 5] = [60, 16 * 3600 - 7, 1800, 3 * 3600, 3 * 3600];

/// Asks everything over one day and a night, at so many moments of it, in a history of so many days.
async fn a_day(moods: Moods, moments: &[u64], days: u64, pages: usize) -> World {
    let options = Options {
        moods,
        record: true,
        slow_by: Duration::from_millis(1),
        ..Options::default()
    };
    let (world, clock, hand) = world(options, days).await;
    let mut answers = client::round(&world, &clock, pages).await;
    for seconds in moments {
        hand.advance(Duration::from_secs(*seconds));
        answers.extend(client::round(&world, &clock, pages).await);
    }
    drop(answers);
    world
}

#[tokio::test]
async fn every_dimension_acts_when_it_is_set_alone() {
    use Account::{Alibaba, Engagelab, InfobipEmail, InfobipPush, Pushwoosh};
    let all = &Account::ALL[..];
    let lists = &[Pushwoosh, Alibaba][..];
    let rows = &[InfobipEmail, Engagelab, Pushwoosh, Alibaba][..];
    let messages = &[InfobipPush, Engagelab, Pushwoosh, Alibaba][..];
    let email = &[InfobipEmail][..];
    let cases: &[(&str, &[&str], &[Account])] = &[
        (
            "order",
            &["newest", "oldest", "shuffled", "reshuffled"],
            rows,
        ),
        ("bounds", &["neither", "first"], lists),
        ("page_cap", &["7"], &[InfobipEmail, Pushwoosh, Alibaba]),
        ("moving_rows", &["true"], lists),
        ("new_between_pages", &["true"], lists),
        ("repeats", &["in_page", "over_pages"], rows),
        ("total", &["missing", "text", "high", "low"], lists),
        (
            "last_token",
            &["missing", "null", "empty", "same"],
            &[Pushwoosh],
        ),
        (
            "digits",
            &["text", "fraction", "text_fraction", "mixed"],
            all,
        ),
        (
            "nulls",
            &["true"],
            &[InfobipEmail, Engagelab, Pushwoosh, Alibaba],
        ),
        ("absent_fields", &["true"], all),
        ("new_fields", &["true"], all),
        ("new_values", &["true"], all),
        ("odd_shapes", &["true"], all),
        ("single_rows", &["true"], rows),
        ("errors", &["700"], all),
        ("error_form", &["nested"], all),
        ("error_status", &["200"], all),
        ("throttled", &["700"], all),
        ("retry_after", &["date", "huge"], all),
        ("unknown", &["refused", "left_out"], messages),
        ("unknown_seconds", &["100000"], messages),
        ("publication", &["any_hour", "two_steps"], &[Alibaba]),
        ("skew_seconds", &["-600", "600"], all),
        ("slow", &["true"], all),
        ("close", &["true"], all),
        ("gzip", &["true"], all),
        ("chunked", &["true"], all),
        ("byte_order_mark", &["true"], all),
        ("whitespace", &["true"], all),
        ("content_type", &["missing", "text_plain", "text_json"], all),
        ("respelled", &["true"], rows),
        ("refused_ids", &["true"], messages),
        ("repeated_reports", &["true"], email),
        ("unnamed_status", &["true"], email),
        ("spoiled_reports", &["kept", "lost"], email),
    ];
    let named: Vec<&str> = cases.iter().map(|case| case.0).collect();
    assert_eq!(named, Mood::KEYS);
    let mut missing = Vec::new();
    for (key, values, accounts) in cases {
        for value in *values {
            let mut mood = Mood {
                seed: 3,
                ..Mood::calm()
            };
            mood.set(key, value).unwrap();
            // What only says how another one is done needs the other one.
            match *key {
                "error_form" | "error_status" => mood.errors = 700,
                "retry_after" => mood.throttled = 500,
                "unknown" => mood.unknown_seconds = 100_000,
                "unknown_seconds" => mood.set("unknown", "refused").unwrap(),
                _ => {}
            }
            let moments = if *key == "publication" {
                &NIGHT[..]
            } else {
                &NIGHT[1..2]
            };
            let world = a_day(Moods::all(mood), moments, 2, 3).await;
            for account in *accounts {
                let acted = world.acted(*account);
                if acted.get(key).is_none_or(|times| *times == 0) {
                    missing.push(format!("{key}={value} of {}: {acted:?}", account.name()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[tokio::test]
async fn what_is_told_is_never_more_than_what_is_true() {
    for seed in 0..20 {
        let moods = Moods::from_seed(seed);
        let world = a_day(moods, &NIGHT[..4], 2, 3).await;
        judge::told_is_true(&world, &format!("seed {seed}: {moods}"));
    }
}

#[tokio::test]
async fn a_calm_vendor_tells_all_that_is_true() {
    let options = Options {
        record: true,
        ..Options::default()
    };
    let (world, clock, _hand) = world(options, 4).await;
    client::round(&world, &clock, 20).await;
    judge::told_is_all(&world);
}

#[tokio::test]
async fn one_seed_is_one_run() {
    let run = async |seed| {
        let options = Options {
            moods: Moods::from_seed(seed),
            ..Options::default()
        };
        let (world, clock, hand) = world(options, 4).await;
        let mut all = Vec::new();
        for _ in 0..2 {
            for answer in client::round(&world, &clock, 3).await {
                all.push((answer.status, answer.headers, answer.raw));
            }
            hand.advance(Duration::from_secs(600));
        }
        (all, Account::ALL.map(|account| world.told(account)))
    };
    for seed in [5, 6] {
        assert!(run(seed).await == run(seed).await, "seed {seed}");
    }
}
