//! A clock that was not set, or ahead: what it has left behind in the ledger does no harm when it is
//! right again.

use jiff::SignedDuration;

use super::*;

const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

async fn asked_for_the_first_time(bench: &Bench) {
    let application = bench.application();
    let account = bench.account();
    let counted = account.snapshots(
        &application,
        crate::providers::dataset("statistics").unwrap(),
        Vec::new(),
    );
    counted.await.unwrap();
}

#[tokio::test]
async fn an_application_that_was_first_asked_for_in_2036_counts_the_news_of_2026() {
    for restarts in [false, true] {
        let mut bench = Bench::new(PUSH, "zero_hold: 0s", "10:00:00");
        bench.hand.step(YEAR * 10);
        bench.start().await;
        asked_for_the_first_time(&bench).await;
        bench.hand.step(-YEAR * 10);
        bench.until("10:05:00").await;
        if restarts {
            bench.start().await;
        }
        bench.push("10:04:00", 7, 7).await;
        assert_eq!(bench.total(Measure::Sent), Some(7), "{restarts}");
        // From now on it is known when it was first asked for.
        bench.until("13:00:00").await;
        bench.start().await;
        let seen = MessageObservation {
            message: Message {
                id: Arc::from("late"),
                ..bench.message(Some("10:06:00"), None)
            },
            first_seen: bench.clock.now(),
            asked_at: bench.clock.now(),
            snapshot: Some(bench.snapshot(vec![(Measure::Sent, 3)])),
        };
        let (account, application) = (bench.account(), bench.application());
        let before = account.snapshots(
            &application,
            crate::providers::dataset("statistics").unwrap(),
            vec![seen],
        );
        let (delta, _) = before.await.unwrap();
        bench.take(delta);
        assert_eq!(bench.total(Measure::Sent), Some(10), "{restarts}");
    }
}

#[tokio::test]
async fn an_application_that_was_first_asked_for_in_1970_does_not_count_history() {
    let mut bench = Bench::new(PUSH, "zero_hold: 0s", "10:00:00");
    let age = bench.clock.now().duration_since(Timestamp::UNIX_EPOCH);
    bench.hand.step(-age);
    bench.start().await;
    asked_for_the_first_time(&bench).await;
    bench.hand.step(age);
    bench.push("07:00:00", 7, 7).await;
    assert_eq!(bench.total(Measure::Sent), Some(0));
    bench.push("07:00:00", 9, 9).await;
    assert_eq!(bench.total(Measure::Sent), Some(2));
}

#[tokio::test]
async fn what_was_first_seen_in_1970_or_2036_is_seen_when_it_is_met_again() {
    for step in [YEAR * 10, -YEAR * 50] {
        let mut bench = Bench::new(PUSH, "", "10:00:00");
        bench.hand.step(step);
        bench.start().await;
        let message = bench.message(None, None);
        let named = vec![(message, bench.clock.now())];
        bench.account().load_messages(named.clone()).await.unwrap();
        bench.hand.step(-step);
        bench.start().await;
        let named = vec![(named[0].0.clone(), bench.clock.now())];
        let met = bench.account().load_messages(named).await.unwrap();
        assert_eq!(met[0].first_seen, at("10:00:00"));
    }
}

#[tokio::test]
async fn a_clock_that_is_ahead_for_hours_forgets_no_report_that_was_counted() {
    let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    bench
        .pull(report("one", Outcome::Bounced(BounceKind::Soft)))
        .await;
    bench.hand.step(YEAR);
    for _ in 0..3 {
        bench.hand.advance(Duration::from_secs(3600));
        bench.running.as_ref().unwrap().0.maintain().await;
    }
    // Neither does a start while it is ahead.
    bench.start().await;
    bench.hand.step(-YEAR);
    bench.start().await;
    bench
        .pull(report("one", Outcome::Bounced(BounceKind::Soft)))
        .await;
    assert_eq!((bench.total(Measure::Sent), bench.duplicates), (Some(1), 1));
}

/// Hours pass, and the ledger is looked after in each.
async fn hours(bench: &Bench, count: u64) {
    for _ in 0..count {
        bench.hand.advance(Duration::from_secs(3600));
        bench.running.as_ref().unwrap().0.maintain().await;
    }
}

async fn bounced(bench: &mut Bench, id: &str) {
    bench
        .pull(report(id, Outcome::Bounced(BounceKind::Soft)))
        .await;
}

#[tokio::test]
async fn a_process_that_starts_a_year_ahead_forgets_nothing_for_a_day() {
    for restarts in [false, true] {
        let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
        bench.start().await;
        bounced(&mut bench, "one").await;
        if restarts {
            // What is counted by a process whose clock is set ahead says nothing about the time.
            bench.hand.step(YEAR);
            bounced(&mut bench, "two").await;
            bench.start().await;
        } else {
            bench.running = None;
            bench.hand.step(YEAR);
            bench.start().await;
        }
        hours(&bench, 20).await;
        bench.hand.step(-YEAR);
        hours(&bench, 6).await;
        bounced(&mut bench, "one").await;
        let counted = (bench.total(Measure::Sent), bench.duplicates);
        assert_eq!(counted, (Some(1), 1), "{restarts}");
    }
}

#[tokio::test]
async fn a_process_that_was_stopped_for_months_forgets_after_a_day() {
    let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    bounced(&mut bench, "one").await;
    bench.running = None;
    bench.hand.advance(Duration::from_secs(100 * 86_400));
    bench.start().await;
    hours(&bench, 23).await;
    bounced(&mut bench, "one").await;
    assert_eq!((bench.total(Measure::Sent), bench.duplicates), (Some(1), 1));
    bench.running = None;
    bench.hand.advance(Duration::from_secs(100 * 86_400));
    bench.start().await;
    hours(&bench, 25).await;
    bounced(&mut bench, "one").await;
    assert_eq!((bench.total(Measure::Sent), bench.duplicates), (Some(2), 0));
}

#[tokio::test]
async fn rows_of_messages_stay_while_the_clock_is_not_believed() {
    let mut bench = Bench::new(PUSH, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    bench.push("09:59:00", 7, 7).await;
    bench.running = None;
    bench.hand.step(YEAR);
    bench.start().await;
    let old = async |bench: &Bench| {
        let now = bench.clock.now();
        bench.account().old_messages(now).await.unwrap().len()
    };
    assert_eq!(old(&bench).await, 0);
    hours(&bench, 23).await;
    assert_eq!(old(&bench).await, 0);
    hours(&bench, 2).await;
    assert_eq!(old(&bench).await, 1);
}
