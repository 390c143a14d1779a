//! What the counters do not have, and nothing else.

use super::*;
use crate::{
    ledger::{Increase, PreBaseline},
    model::{Event, EventKind, Row},
    providers::HistoryIncrease,
};

/// Two hours of a day, with what came to sent and delivered in between.
fn period(from: &str, to: &str, sent: u64, delivered: u64) -> HistoryIncrease {
    let counts = vec![(Measure::Sent, sent), (Measure::Delivered, delivered)];
    HistoryIncrease {
        from: at(from),
        to: at(to),
        totals: vec![Totals {
            channel: "push",
            counts: counts.clone(),
            reported_ratio: None,
        }],
        breakdown: vec![Row {
            message_type: Arc::from("notification"),
            platform: Arc::from("android"),
            vendor_channel: Arc::from("fcm"),
            counts,
        }],
    }
}

fn hours() -> Vec<HistoryIncrease> {
    vec![
        period("10:00:00", "11:00:00", 0, 31),
        period("07:00:00", "08:00:00", 500, 300),
        period("08:00:00", "09:00:00", 0, 80),
        period("09:00:00", "10:00:00", 0, 20),
        period("11:00:00", "12:00:00", 20, 19),
    ]
}

/// The sums by counter, without the application.
fn sums(increases: &[Increase]) -> HashMap<CounterKey, u64> {
    let mut sums = HashMap::new();
    for own in increases {
        *sums.entry(own.key.clone().of("")).or_default() += own.by;
    }
    sums
}

fn total(measure: Measure) -> CounterKey {
    measured(catalog::TOTAL, measure, &["push"])
}

async fn read_before(bench: &Bench) -> PreBaseline {
    let config = &bench.config;
    let accounts = [(config, &config.accounts[0]).into()];
    let mut all = PreBaseline::read(&config.into(), &accounts, &bench.clock)
        .await
        .unwrap();
    all.remove(0)
}

#[tokio::test]
async fn a_message_whose_first_numbers_counted_nothing_has_a_past_up_to_those() {
    let mut bench = Bench::new(PUSH, "", "10:00:00");
    bench.start().await;
    bench.until("10:20:00").await;
    let counts = vec![(Measure::Sent, 500), (Measure::Delivered, 411)];
    let first = Snapshot {
        breakdown: period("00:00:00", "01:00:00", 490, 405).breakdown,
        ..bench.snapshot(counts)
    };
    let message = bench.message(Some("07:30:00"), Some("spring"));
    bench.answered(message.clone(), Some(first)).await;
    bench.until("11:30:00").await;
    bench.push("07:30:00", 520, 450).await;
    let counted = [Measure::Sent, Measure::Delivered].map(|own| bench.total(own));
    assert_eq!(counted, [Some(20), Some(39)]);
    // Beside the process that has the ledger.
    let before = read_before(&bench).await;
    let (application, dataset) = (
        bench.application(),
        crate::providers::dataset("statistics").unwrap(),
    );
    assert_eq!(before.messages()[0].id, message.id);
    // Whoever asks need not know what the ledger does.
    let asked = bench.message(None, None);
    let increases = before.of_message(&application, dataset, &asked, hours());
    let sums = sums(&increases);
    let of_campaign = |measure| measured(catalog::TOTAL_BY_CAMPAIGN, measure, &["push", "spring"]);
    let labels = ["notification", "android", "fcm"];
    let of_channel = |measure| measured(catalog::TOTAL_BY_CHANNEL, measure, &labels);
    for (counter, expected) in [
        (total(Measure::Sent), 500),
        (total(Measure::Delivered), 411),
        (of_campaign(Measure::Delivered), 411),
        (of_channel(Measure::Sent), 490),
        (of_channel(Measure::Delivered), 405),
    ] {
        assert_eq!(sums.get(&counter), Some(&expected), "{counter:?}");
    }
    // What came between the beginning of the counters and the first numbers stands at the beginning.
    let birth = before.birth(&application, dataset);
    assert_eq!(birth, at("10:00:00"));
    assert!(increases.iter().all(|own| own.at <= birth));
}

#[tokio::test]
async fn what_counts_or_would_count_is_no_history() {
    let mut bench = Bench::new(PUSH, "", "10:00:00");
    let application = bench.application();
    let message = |id: &str, sent_at: Option<&str>| Message {
        id: Arc::from(id),
        ..bench.message(sent_at, None)
    };
    let [recent, old, undated] = [
        message("recent", Some("09:10:00")),
        message("old", Some("07:10:00")),
        message("undated", None),
    ];
    let dataset = crate::providers::dataset("statistics").unwrap();
    let past = |before: &PreBaseline, message: &Message| {
        sums(&before.of_message(&application, dataset, message, hours()))
            .get(&total(Measure::Delivered))
            .copied()
    };
    // Before the first start: as if it were now.
    let before = read_before(&bench).await;
    assert!(before.messages().is_empty());
    assert_eq!(past(&before, &old), Some(400), "what is over by now");
    assert_eq!(
        (past(&before, &recent), past(&before, &undated)),
        (None, None)
    );
    bench.start().await;
    bench.push("09:30:00", 10, 10).await;
    bench.until("11:00:00").await;
    let before = read_before(&bench).await;
    // One that counted whole, and one that is not in the ledger any more, or never was.
    let counted = bench.message(Some("09:30:00"), None);
    assert_eq!(past(&before, &counted), None);
    assert_eq!(past(&before, &old), Some(400));
    assert_eq!(
        (past(&before, &recent), past(&before, &undated)),
        (None, None)
    );
    // Of a whole application: days that were over before the first message that counts was sent.
    let days = vec![
        period("00:00:00", "09:00:00", 7, 7),
        period("00:00:00", "09:00:01", 9, 9),
    ];
    let days = before.of_application(&application, dataset, days);
    assert_eq!(sums(&days)[&total(Measure::Sent)], 7);
    // Of things that happened: those that the counters left out, each once.
    let event = |byte: u8, time: Option<&str>| Event {
        former: None,
        digest: [byte; 16],
        kind: EventKind::BouncedAddress {
            kind: "hard",
            reason: "other",
        },
        at: time.map(at),
    };
    let happened = [
        event(1, Some("08:59:59")),
        event(1, Some("08:59:59")),
        event(2, Some("09:00:00")),
        event(3, None),
    ];
    let mut seen = std::collections::HashSet::new();
    let reach = Duration::from_secs(7200);
    let told = before.of_happenings(&application, dataset, &happened, reach, &mut seen);
    let again = before.of_happenings(&application, dataset, &happened, reach, &mut seen);
    assert_eq!((told.len(), again.len()), (1, 0));
    assert_eq!((told[0].at, told[0].by), (at("08:59:59"), 1));
}

#[tokio::test]
async fn where_everything_counts_only_what_was_never_asked_for_is_history() {
    let mut bench = Bench::new(PUSH, "adopt_age: 0s", "10:00:00");
    bench.start().await;
    let before = read_before(&bench).await;
    let (application, dataset) = (
        bench.application(),
        crate::providers::dataset("statistics").unwrap(),
    );
    let has = |sent_at: &str| {
        let message = Message {
            sent_at: sent_at.parse().ok(),
            ..bench.message(None, None)
        };
        before.has_history(&application, dataset, &message)
    };
    assert!(!has("2026-11-26T07:00:00Z") && !has("2026-10-27T11:00:00Z"));
    assert!(has("2026-10-27T09:00:00Z"), "older than max_age");
}
