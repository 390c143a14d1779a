//! Worked cases.

use super::*;

#[tokio::test]
async fn case_a_one_counter_over_a_crash() {
    let mut bench = Bench::new(PUSH, "", "10:00:00");
    bench.start().await;
    assert_eq!(bench.total(Measure::Delivered), Some(0));
    bench.until("10:00:10").await;
    bench.push("10:00:00", 0, 0).await;
    bench.until("10:01:10").await;
    bench.push("10:00:00", 120, 120).await;
    assert_eq!(bench.total(Measure::Delivered), Some(0));
    assert_eq!(bench.held, 240, "sent and delivered");
    bench.until("10:01:59").await;
    assert_eq!(bench.total(Measure::Delivered), Some(0));
    bench.until("10:02:00").await;
    assert_eq!(
        (bench.total(Measure::Delivered), bench.held),
        (Some(120), 0)
    );
    bench.until("10:02:10").await;
    bench.push("10:00:00", 120, 80).await;
    assert_eq!(
        (bench.total(Measure::Delivered), bench.decreases),
        (Some(120), 1)
    );
    bench.until("10:02:40").await;
    bench.start().await;
    assert_eq!(
        (bench.total(Measure::Delivered), bench.decreases),
        (Some(120), 0)
    );
    bench.until("10:03:10").await;
    bench.push("10:00:00", 120, 130).await;
    assert_eq!(
        (bench.total(Measure::Delivered), bench.held),
        (Some(120), 10)
    );
    bench.until("10:04:39").await;
    assert_eq!(bench.total(Measure::Delivered), Some(120));
    bench.until("10:04:40").await;
    assert_eq!(
        (bench.total(Measure::Delivered), bench.held),
        (Some(130), 0)
    );
    // After the hold each increase is shown at once.
    bench.push("10:00:00", 120, 131).await;
    assert_eq!(bench.total(Measure::Delivered), Some(131));
}

#[tokio::test]
async fn case_b_replicas_take_turns() {
    let mut bench = Bench::new(PUSH, "", "11:00:00");
    let mut sent = 0;
    // When, whose process starts or what is counted, what is shown then, and what is held.
    let delivered = Measure::Delivered;
    bench.config.replica = Arc::from("A");
    bench.start().await;
    bench.push("11:00:00", 100, 100).await;
    bench.until("11:30:00").await;
    assert_eq!(bench.total(delivered), Some(100));
    let steps = [
        ("12:06:30", Some("B"), 0, 0, 0),
        ("12:06:40", None, 10, 0, 20),
        ("12:08:30", None, 0, 10, 0),
        ("12:09:40", None, 4, 14, 0),
        ("12:10:30", Some("A"), 0, 100, 0),
        ("12:10:40", None, 6, 100, 12),
        ("12:11:30", Some("B"), 0, 14, 12),
        ("12:11:40", None, 1, 14, 14),
        ("12:13:30", None, 0, 21, 0),
    ];
    for (time, starts, more, shown, held) in steps {
        bench.until(time).await;
        if let Some(replica) = starts {
            bench.config.replica = Arc::from(replica);
            bench.start().await;
        }
        if more > 0 {
            sent += more;
            bench.push("11:00:00", 100 + sent, 100 + sent).await;
        }
        // Sent grows with delivered, so that twice as much is held.
        assert_eq!(
            (bench.total(delivered), bench.held),
            (Some(shown), held),
            "{time}"
        );
    }
}

#[tokio::test]
async fn case_c_ages_and_what_is_missed() {
    let mut bench = Bench::new(PUSH, "interval: 60s", "09:00:00");
    bench.start().await;
    let sent = "10:00:00";
    for (time, sent_count, delivered) in [("10:02:00", 800, 300), ("10:05:00", 1000, 700)] {
        bench.until(time).await;
        bench.push(sent, sent_count, delivered).await;
    }
    assert_eq!(bench.missed, ["5m still_sending"]);
    bench.until("10:07:00").await;
    bench.push(sent, 1000, 780).await;
    bench.until("10:17:00").await;
    assert_eq!(bench.missed.len(), 1);
    bench.until("10:17:01").await;
    assert_eq!(bench.missed[1..], ["15m late"]);
    for (time, delivered) in [("10:18:00", 880), ("10:30:00", 930), ("11:00:00", 950)] {
        bench.until(time).await;
        bench.push(sent, 1000, delivered).await;
    }
    let parts = CohortPart::ALL.map(|part| bench.cohort(3600, part).unwrap());
    assert_eq!(parts, [1000, 950, 1]);
    bench.until("11:06:00").await;
    bench.push(sent, 1000, 960).await;
    assert_eq!(bench.cohort(3600, CohortPart::Delivered), Some(950));
    assert_eq!(bench.total(Measure::Delivered), Some(960));
    // The same over a start: an age that was counted is not counted again.
    bench.start().await;
    bench.push(sent, 1000, 960).await;
    bench.until("11:10:00").await;
    assert_eq!(bench.cohort(3600, CohortPart::Messages), Some(1));
    assert!(bench.missed.is_empty());
}

#[tokio::test]
async fn an_age_without_numbers_is_missed_for_another_reason_and_one_before_the_first_sight_not_at_all()
 {
    let mut bench = Bench::new(
        PUSH,
        "interval: 60s, cohort_ages: [5m, 15m, 1h]",
        "10:10:00",
    );
    bench.start().await;
    // First known at 10:10: five minutes are past.
    for time in ["10:10:30", "10:15:20", "10:16:20"] {
        bench.until(time).await;
        bench.seen("10:00:00", None).await;
    }
    bench.until("10:18:00").await;
    assert_eq!(bench.missed, ["15m no_data"]);
}

#[tokio::test]
async fn case_d_one_message_with_several_reports() {
    let mut bench = Bench::new(MAIL, "", "08:00:00");
    bench.start().await;
    let reports = |bench: &Bench| bench.sum(|family| family == catalog::REPORTS);
    bench.until("10:00:10").await;
    let price = Some(("0.0025".parse().unwrap(), Arc::from("EUR")));
    let r1 = Report {
        cost: price.clone(),
        ..report("R1", Outcome::Pending)
    };
    bench.pull(r1).await;
    assert_eq!((bench.total(Measure::Sent), reports(&bench)), (Some(1), 0));
    bench.until("10:02:10").await;
    assert_eq!(reports(&bench), 1);
    let cost = |bench: &Bench| bench.sum(|family| family == catalog::REPORT_COST);
    assert_eq!(cost(&bench), 1);
    bench.until("10:05:00").await;
    let r2 = Report {
        cost: price,
        ..report("R2", Outcome::Pending)
    };
    bench.pull(r2).await;
    bench.until("10:07:00").await;
    assert_eq!(reports(&bench), 2);
    bench.until("10:09:00").await;
    let r3 = Report {
        latency: Some(Duration::from_secs(510)),
        ..report("R3", Outcome::Delivered)
    };
    bench.pull(r3.clone()).await;
    assert_eq!(bench.total(Measure::Delivered), Some(1));
    bench.until("10:09:30").await;
    bench.pull(r3).await;
    assert_eq!(bench.duplicates, 1);
    bench.until("10:11:00").await;
    let latency = bench
        .shown
        .iter()
        .find(|(key, _)| key.family == catalog::REPORT_LATENCY);
    let Some((_, Amount::Times(times))) = latency else {
        panic!("no latency");
    };
    assert_eq!((times.micros, times.count()), (510_000_000, 1));
    let below = |bound: f64| {
        let buckets = LATENCY_BOUNDS.iter().zip(&times.buckets);
        buckets
            .take_while(|(own, _)| **own <= bound)
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    assert_eq!((below(300.0), below(600.0)), (0, 1));
    bench.until("10:20:00").await;
    bench
        .pull(report("R4", Outcome::Bounced(BounceKind::Hard)))
        .await;
    bench.until("10:22:00").await;
    assert_eq!(reports(&bench), 4);
    let bounces = bench.total(Measure::Bounces(BounceKind::Hard));
    let errors = catalog::TOTAL.of(Measure::Errors(ErrorReason::Other));
    let errors = |family| family == errors;
    assert_eq!((bounces, bench.sum(errors), cost(&bench)), (Some(0), 0, 1));
}

#[tokio::test]
async fn history_sets_the_baseline_and_counts_nothing() {
    let mut bench = Bench::new(PUSH, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    // More than an hour before the birth.
    bench.push("08:59:59", 500, 400).await;
    assert_eq!(bench.total(Measure::Delivered), Some(0));
    bench.push("08:59:59", 500, 410).await;
    assert_eq!(
        bench.total(Measure::Delivered),
        Some(10),
        "what comes after is news"
    );
    // The birth is where it was.
    bench.until("13:00:00").await;
    bench.start().await;
    bench.push("08:59:59", 500, 411).await;
    assert_eq!(bench.total(Measure::Delivered), Some(11));
}
