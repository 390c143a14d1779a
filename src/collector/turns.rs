//! Tests of the order of queries: nothing slow or refused may delay the rest.

use std::time::Duration;

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};

use super::{
    bench::{Bench, START, Telling, settle},
    *,
};

#[tokio::test]
async fn one_pass_ends_and_queries_each_thing_once_however_slow_the_vendor_is() {
    let ids: Vec<String> = (0..10).map(|id| format!("'{id}'")).collect();
    let more = format!("interval: 3s, messages: {{static: [{}]}}", ids.join(", "));
    let mut bench = Bench::new("messages, links, log, bounces", &more, |vendor| {
        vendor.query_takes = Duration::from_secs(4);
        vendor.list_takes = Duration::from_secs(5);
        vendor.listed = vec!["7".into(), "new".into()];
        vendor.slices = Mutex::new(2);
    })
    .await;
    let once = tokio::spawn(run_once(bench.parts.take().unwrap()));
    for _ in 0..200 {
        if once.is_finished() {
            break;
        }
        bench.seconds(1).await;
    }
    assert!(once.is_finished(), "{:?}", bench.vendor.names());
    once.await.unwrap().unwrap_err();
    let mut names = bench.vendor.names();
    let links = names.iter().position(|own| own == "links");
    let list = names.iter().position(|own| own == "list");
    assert!(links > list, "{names:?}");
    names.sort();
    let expected = [
        "0,1", "2,3", "4,5", "6,7", "8,9", "bounces", "links", "list", "log", "log", "log", "new",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_list_that_takes_longer_than_the_interval_starves_nothing() {
    for list_has_numbers in [false, true] {
        let mut bench = Bench::new(
            "messages",
            "interval: 3s, messages: {static: ['1', '2', '3']}",
            |vendor| {
                vendor.list_takes = Duration::from_secs(20);
                vendor.list_has_numbers = list_has_numbers;
            },
        )
        .await;
        let handle = bench.start();
        bench.seconds(70).await;
        let (lists, queries) = (bench.vendor.count("list"), bench.vendor.count("1,2"));
        // A list every 23 seconds, and the messages every 3, or with a pause while a list may
        // bring their numbers.
        assert!(
            (3..=4).contains(&lists),
            "{lists}, numbers: {list_has_numbers}"
        );
        let at_least = if list_has_numbers { 12 } else { 20 };
        assert!(
            queries >= at_least,
            "{queries}, numbers: {list_has_numbers}"
        );
        handle.stop().await;
    }
}

#[tokio::test]
async fn after_a_whole_list_only_what_is_new_is_listed() {
    let mut bench = Bench::new("messages", "messages: {}", |_| {}).await;
    let handle = bench.start();
    bench.seconds(130).await;
    bench.hand.advance(Duration::from_secs(6 * 3600));
    bench.seconds(70).await;
    let lists = bench.vendor.lists.lock().unwrap().clone();
    assert_eq!(lists[0], SignedDuration::ZERO);
    let reach = SignedDuration::from_hours(30 * 24) - lists[1];
    let overlap = SignedDuration::from_mins(59)..SignedDuration::from_mins(63);
    assert!(overlap.contains(&reach), "{reach:#}");
    assert!(lists[2..].contains(&SignedDuration::ZERO), "{lists:?}");
    handle.stop().await;
}

#[tokio::test]
async fn what_depends_on_messages_waits_for_them_and_nothing_to_query_is_no_success() {
    let more = "dataset_intervals: {links: 1h}, messages: {}";
    let mut bench = Bench::new("messages, links", more, |vendor| {
        vendor.list_takes = Duration::from_secs(3);
        vendor.listed = vec!["new".into()];
    })
    .await;
    let handle = bench.start();
    bench.seconds(15).await;
    let mut names = bench.vendor.names();
    assert_eq!(names.remove(0), "list");
    names.sort();
    assert_eq!(names, ["links", "new"]);
    handle.stop().await;
    // Without a message it is tried every interval, and no request counts as a success.
    let mut bench = Bench::new("links", more, |_| {}).await;
    let handle = bench.start();
    bench.seconds(130).await;
    assert!(bench.vendor.count("links") >= 2);
    let lines = bench.record.take();
    let passes = lines.iter().filter(|line| line.starts_with("pass"));
    assert_eq!(passes.count(), bench.vendor.count("list"), "{lines:?}");
    handle.stop().await;
}

#[tokio::test]
async fn a_refused_message_is_tried_once_a_day_and_fails_no_data_set() {
    let more = "interval: 10m, messages: {list: false, static: ['1', '2', '3']}";
    let mut bench = Bench::new("messages", more, |vendor| {
        vendor.refused = vec!["2".into()];
    })
    .await;
    let handle = bench.start();
    for _ in 0..3 * 144 {
        bench.hand.advance(Duration::from_secs(600));
        settle().await;
    }
    let lines = bench.record.take();
    assert_eq!(
        lines
            .iter()
            .filter(|line| *line == "rejected: not_found")
            .count(),
        1
    );
    assert!(
        !lines.iter().any(|line| line.contains("failed")),
        "{lines:?}"
    );
    assert!(lines.iter().all(|line| !line.ends_with("[false]")));
    // With the others at first, alone when it was ten minutes old, and once on each day after.
    let alone = bench.vendor.count("2");
    assert!((2..=4).contains(&alone), "{alone}");
    let now = Timestamp::from_second(START + 3 * 86_400).unwrap();
    assert!(bench.record.due.lock().unwrap().unwrap() > now - SignedDuration::from_mins(20));
    handle.stop().await;
}

#[tokio::test]
async fn what_is_not_in_the_plan_is_queried_at_its_own_interval() {
    let more = "dataset_intervals: {bounces: 10m}, messages: {list: false, static: ['1']}";
    let mut bench = Bench::new("messages, bounces", more, |_| {}).await;
    let handle = bench.start();
    bench.seconds(21 * 60).await;
    assert_eq!(bench.vendor.count("bounces"), 3);
    assert!(bench.vendor.count("1") >= 20);
    handle.stop().await;
}

#[tokio::test]
async fn a_message_with_two_names_counts_once_however_it_is_told() {
    use Telling::{Both, Name, OtherName};
    for tellings in [
        vec![OtherName, Both, Name, OtherName],
        vec![Both, OtherName],
        vec![Name, Both, OtherName],
        vec![OtherName, OtherName, Both],
    ] {
        let what = format!("{tellings:?}");
        let mut bench = Bench::new("messages", "messages: {}", |vendor| {
            vendor.list_has_numbers = true;
            vendor.tellings = tellings;
        })
        .await;
        let again = bench.parts_again();
        let handle = bench.start();
        bench.seconds(4 * 60 + 10).await;
        handle.stop().await;
        assert_eq!(bench.counted().await, 1, "{what}");
        // After a restart the last telling comes first.
        let handle = spawn(again);
        bench.seconds(70).await;
        handle.stop().await;
        assert_eq!(bench.counted().await, 1, "{what}, after a restart");
    }
}

#[tokio::test]
async fn a_message_that_is_told_under_two_names_at_once_counts_once() {
    let more = "interval: 10m, messages: {list: false, static: ['123', 'A-1']}";
    let mut bench = Bench::new("messages", more, |vendor| {
        vendor.named_apart = true;
        vendor.query_takes = Duration::from_secs(2);
    })
    .await;
    let handle = bench.start();
    bench.seconds(30).await;
    handle.stop().await;
    let mut names = bench.vendor.names();
    names.sort();
    assert_eq!(names, ["123", "A-1"]);
    assert_eq!(bench.counted().await, 1);
}

#[tokio::test]
async fn a_message_that_is_answered_under_another_name_is_not_counted_again() {
    let more = "interval: 10s, messages: {list: false, static: ['123']}";
    let mut bench = Bench::new("messages", more, |vendor| vendor.answers_as_other = true).await;
    let handle = bench.start();
    bench.seconds(40).await;
    handle.stop().await;
    let names = bench.vendor.names();
    assert_eq!(names[..2], ["123", "123"]);
    assert!(
        names[2..].iter().all(|own| own == "A-1") && names.len() > 2,
        "{names:?}"
    );
    assert_eq!(bench.counted().await, 1);
}

#[tokio::test]
async fn a_refusal_of_an_old_name_says_nothing_of_the_new_one() {
    let more = "interval: 10m, messages: {static: ['123']}";
    let mut bench = Bench::new("messages", more, |vendor| {
        vendor.refused = vec!["123".into()];
        vendor.named_meanwhile = true;
    })
    .await;
    let handle = bench.start();
    bench.seconds(30).await;
    handle.stop().await;
    let names = bench.vendor.names();
    assert_eq!(
        names.iter().filter(|name| *name == "123").count(),
        1,
        "{names:?}"
    );
    assert_eq!(
        names.iter().filter(|name| *name == "A-1").count(),
        1,
        "{names:?}"
    );
}

#[tokio::test]
async fn what_fails_stays_failed_until_it_is_answered_whatever_else_is_answered() {
    let more = "interval: 7s, messages: {static: ['1']}";
    let mut bench = Bench::new("messages", more, |vendor| {
        vendor.list_takes = Duration::from_secs(2);
        vendor.query_takes = Duration::from_secs(3);
        vendor.failing = vec!["1".into()];
    })
    .await;
    let handle = bench.start();
    bench.seconds(15).await;
    bench.record.take();
    bench.seconds(60).await;
    let lines = bench.record.take();
    let passes: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("pass"))
        .collect();
    assert!(passes.len() > 5, "{lines:?}");
    assert!(
        passes.iter().all(|line| line.ends_with("[false]")),
        "{passes:?}"
    );
    assert!(
        passes.iter().any(|line| line.contains("up true")),
        "the list is good: {passes:?}"
    );
    handle.stop().await;
}

#[tokio::test]
async fn a_message_that_is_listed_and_refused_by_name_is_rejected_once_and_spoils_no_pass() {
    let more = "interval: 2s, messages: {static: ['1', '2']}";
    let mut bench = Bench::new("messages", more, |vendor| {
        vendor.listed = vec!["2".into()];
        vendor.list_has_numbers = true;
        vendor.refused = vec!["2".into()];
    })
    .await;
    let handle = bench.start();
    bench.seconds(12).await;
    bench.record.take();
    bench.seconds(400).await;
    let lines = bench.record.take();
    let rejected = lines.iter().filter(|line| line.starts_with("rejected"));
    assert!(rejected.count() <= 1, "{lines:?}");
    let passes = lines.iter().filter(|line| line.starts_with("pass"));
    assert!(passes.clone().all(|line| line.contains("up true")));
    assert!(passes.clone().all(|line| line.ends_with("[true]")));
    handle.stop().await;
}

/// The time of a pass may be over at the moment at which the collector is stopped.
#[tokio::test]
async fn what_is_handed_out_once_is_waited_for_when_the_pass_is_over_as_the_collector_stops() {
    for past in [0, 9, 10, 11, 30] {
        let more = "interval: 10s, dataset_intervals: {bounces: 10s}, messages: {list: false}";
        let mut bench = Bench::new("bounces", more, |vendor| {
            vendor.drained = true;
            vendor.query_takes = Duration::from_secs(60);
        })
        .await;
        let handle = bench.start();
        bench.seconds(11).await;
        assert_eq!(bench.vendor.names(), ["drain"]);
        let is_closed = || bench.ledger.spool().closed().now_or_never().is_some();
        assert!(!is_closed());
        let mut stopping = std::pin::pin!(handle.stop());
        assert!(stopping.as_mut().now_or_never().is_none());
        bench.hand.advance(Duration::from_secs(past));
        settle().await;
        assert!(is_closed(), "nothing more is asked for");
        bench.hand.advance(Duration::from_secs(60));
        stopping.await;
        assert_eq!(bench.vendor.names(), ["drained"], "{past} s later");
    }
}
