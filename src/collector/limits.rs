//! Tests that no input makes an account track an unlimited number of messages, and that no single message
//! stops it.

use super::bench::{Bench, MAX_MESSAGES};

#[tokio::test]
async fn a_list_without_end_is_watched_up_to_the_limit_and_what_is_given_up_is_counted() {
    let more = "interval: 10s, messages: {list: true}";
    let mut bench = Bench::new("messages", more, |vendor| {
        vendor.list_has_numbers = true;
        vendor.listed = (0..10 * MAX_MESSAGES).map(|id| id.to_string()).collect();
    })
    .await;
    let handle = bench.start();
    bench.seconds(30).await;
    assert_eq!(bench.tracked(), MAX_MESSAGES);
    let lines = bench.record.take();
    let given_up = lines
        .iter()
        .filter(|line| *line == "rejected: max_messages");
    assert!(given_up.count() >= 9 * MAX_MESSAGES);
    assert!(
        lines.iter().any(|line| line.starts_with("pass: up true")),
        "the account goes on"
    );
    handle.stop().await;
}

#[tokio::test]
async fn registered_messages_stay_when_a_list_has_too_many() {
    let more = "interval: 10s, messages: {list: true, static: [{id: mine, sent_at: '2023-11-14T20:00:00Z'}]}";
    let mut bench = Bench::new("messages", more, |vendor| {
        vendor.listed = (0..2 * MAX_MESSAGES).map(|id| id.to_string()).collect();
    })
    .await;
    let handle = bench.start();
    bench.seconds(15).await;
    assert_eq!(bench.tracked(), MAX_MESSAGES);
    let asked = bench.vendor.names();
    assert!(
        asked
            .iter()
            .any(|ids| ids.split(',').any(|id| id == "mine"))
    );
    handle.stop().await;
}

#[tokio::test]
async fn an_id_of_which_no_request_can_be_made_is_set_aside_and_costs_the_others_nothing() {
    let more = "interval: 10s, messages: {list: false, static: ['1', bad, '2', '3']}";
    let mut bench = Bench::new("messages", more, |vendor| {
        vendor.unbuildable = vec!["bad".into()];
    })
    .await;
    let handle = bench.start();
    bench.seconds(15).await;
    bench.vendor.names();
    bench.record.take();
    bench.seconds(60).await;
    let asked = bench.vendor.names();
    for id in ["1", "2", "3"] {
        let queries = asked
            .iter()
            .filter(|ids| ids.split(',').any(|own| own == id));
        assert!(queries.count() >= 5, "{id}: {asked:?}");
    }
    assert!(!asked.iter().any(|ids| ids.contains("bad")), "{asked:?}");
    let lines = bench.record.take();
    assert!(
        lines.iter().all(|line| !line.contains("failed")),
        "{lines:?}"
    );
    handle.stop().await;
}

#[tokio::test]
async fn a_listed_id_that_is_too_long_is_counted_and_not_watched() {
    let more = "interval: 10s, messages: {list: true}";
    let mut bench = Bench::new("messages", more, |vendor| {
        vendor.listed = vec!["1".into(), "9".repeat(70_000), "2".into()];
    })
    .await;
    let handle = bench.start();
    bench.seconds(25).await;
    assert_eq!(bench.tracked(), 2);
    let lines = bench.record.take();
    assert!(lines.contains(&"rejected: id_too_long".to_owned()));
    assert!(
        lines.iter().all(|line| !line.contains("failed")),
        "{lines:?}"
    );
    assert!(bench.vendor.count("1,2") >= 2);
    handle.stop().await;
}
