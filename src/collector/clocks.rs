//! Tests with a wall clock that is set while a collector works: nothing waits for the length of the jump, and
//! the exposed state is correct an interval later.

use jiff::{SignedDuration, Timestamp};

use super::bench::{Bench, START};

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;
/// The interval of these collectors, in seconds.
const INTERVAL: u64 = 10;

fn due(bench: &Bench) -> Timestamp {
    bench.record.due.lock().unwrap().unwrap()
}

#[tokio::test]
async fn fresh_messages_are_asked_for_every_interval_whatever_becomes_of_the_wall_clock() {
    let steps = [-1, 1, -HOUR, HOUR, -24 * HOUR, 24 * HOUR, -YEAR, YEAR];
    for step in steps {
        let more = "interval: 10s, messages: {list: true, static: ['1']}";
        let mut bench = Bench::new("messages", more, |vendor| {
            vendor.listed = vec!["2".into()];
        })
        .await;
        let handle = bench.start();
        bench.seconds(2 * INTERVAL + 5).await;
        bench.vendor.names();
        bench.hand.step(SignedDuration::from_secs(step));
        bench.seconds(INTERVAL + 5).await;
        let now = Timestamp::from_second(START + 40 + step).unwrap();
        let ahead = due(&bench).duration_since(now).as_secs();
        assert!((-5..=10).contains(&ahead), "{step}: due in {ahead} s");
        bench.seconds(3 * INTERVAL).await;
        let queries = bench.vendor.names();
        for name in ["list", "1,2"] {
            let asked = queries.iter().filter(|own| *own == name).count();
            assert!((4..=5).contains(&asked), "{step}, {name}: {queries:?}");
        }
        assert_eq!(bench.tracked(), 2, "{step}: nothing is forgotten");
        handle.stop().await;
    }
}

#[tokio::test]
async fn an_old_message_that_is_a_fresh_one_by_the_corrected_clock_is_asked_for_at_once() {
    // According to a clock that is a day ahead, it is a day old, and the next query is hours away.
    let more = "interval: 10s, messages: {list: false, static: [{id: '1', sent_at: '2023-11-13T22:12:00Z'}]}";
    let mut bench = Bench::new("messages", more, |_| {}).await;
    let handle = bench.start();
    bench.seconds(10 * INTERVAL).await;
    assert_eq!(bench.vendor.names(), ["1"]);
    bench.hand.step(SignedDuration::from_hours(-24));
    bench.seconds(2 * INTERVAL).await;
    assert!(bench.vendor.count("1") >= 1);
    bench.seconds(5 * INTERVAL).await;
    assert!(bench.vendor.count("1") >= 5);
    handle.stop().await;
}

#[tokio::test]
async fn a_boot_in_1970_forgets_nothing_when_the_clock_is_set() {
    let more = "interval: 10s, messages: {list: true, static: ['1', {id: '2', sent_at: '2023-11-14T22:00:00Z'}]}";
    let mut bench = Bench::at(5, "messages", more, |vendor| {
        vendor.listed = vec!["3".into()];
    })
    .await;
    let handle = bench.start();
    bench.seconds(3 * INTERVAL).await;
    assert_eq!(bench.tracked(), 3);
    bench.hand.step(SignedDuration::from_secs(START));
    bench.seconds(INTERVAL + 5).await;
    bench.vendor.names();
    bench.seconds(3 * INTERVAL).await;
    assert_eq!(bench.tracked(), 3);
    let queries = bench.vendor.names();
    for id in ["1", "2", "3"] {
        let asked = queries
            .iter()
            .filter(|own| own.split(',').any(|own| own == id));
        assert!(asked.count() >= 2, "{id}: {queries:?}");
    }
    let ahead = due(&bench).as_second() - START;
    assert!((0..=400).contains(&ahead), "{ahead}");
    handle.stop().await;
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_took_for_too_old_is_watched_when_it_is_set() {
    let more = "interval: 10s, messages: {list: false, static: [{id: '1', sent_at: '2023-11-14T22:00:00Z'}]}";
    let mut bench = Bench::at(START + 12 * YEAR, "messages", more, |_| {}).await;
    let handle = bench.start();
    bench.seconds(3 * INTERVAL).await;
    assert_eq!(bench.tracked(), 0);
    bench.hand.step(SignedDuration::from_secs(-12 * YEAR));
    bench.seconds(2 * INTERVAL).await;
    assert_eq!(bench.tracked(), 1);
    assert!(bench.vendor.count("1") >= 1);
    handle.stop().await;
}
