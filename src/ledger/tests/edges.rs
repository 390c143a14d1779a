//! Where two rules meet.

use futures_util::poll;

use super::{
    super::store::{ReadSet, Substitute, WriteSet},
    faulty::Fault,
    *,
};
use crate::model::Row;

const SENT: Measure = Measure::Sent;
const DELIVERED: Measure = Measure::Delivered;

impl Bench {
    async fn load_messages(&mut self, message: Message) {
        let now = self.clock.now();
        self.account()
            .load_messages(vec![(message, now)])
            .await
            .unwrap();
    }

    fn fail_next(&self, fault: Fault) {
        *self.faulty.as_ref().unwrap().next.lock().unwrap() = Some(fault);
    }

    fn campaign(&self, campaign: &str) -> Option<u64> {
        self.count(measured(
            catalog::TOTAL_BY_CAMPAIGN,
            SENT,
            &["push", campaign],
        ))
    }

    /// Lets time pass at once, as when a machine was suspended.
    async fn pass(&mut self, seconds: u64) {
        self.hand.advance(Duration::from_secs(seconds));
        while self.account().due().now_or_never().is_some() {
            let delta = self.account().tick().await.unwrap();
            self.take(delta);
        }
    }
}

#[tokio::test]
async fn what_was_stored_for_somebody_who_has_gone_is_known() {
    let mut bench = Bench::new(PUSH, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let seen = |count| MessageObservation {
        message: bench.message(None, None),
        first_seen: bench.clock.now(),
        snapshot: Some(bench.snapshot(vec![(SENT, count)])),
        asked_at: bench.clock.now(),
    };
    let (account, application) = (bench.account(), bench.application());
    let count = |number| {
        account.snapshots(
            &application,
            crate::providers::dataset("statistics").unwrap(),
            vec![seen(number)],
        )
    };
    let mut abandoned = Box::pin(count(5));
    // It is not told of the outcome, however fast that is.
    let _ = poll!(&mut abandoned);
    drop(abandoned);
    let (delta, _) = count(7).await.unwrap();
    bench.take(delta);
    assert_eq!(bench.total(SENT), Some(7));
}

#[tokio::test]
async fn what_is_due_now_and_then_is_done_however_much_happens_meanwhile() {
    let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    for _ in 0..3 {
        assert!(bench.account().due().now_or_never().is_none());
        bench.hand.advance(Duration::from_secs(20));
        bench.account().forget(Vec::new()).await.unwrap();
    }
    assert!(bench.account().due().now_or_never().is_some());
}

#[tokio::test]
async fn a_watched_message_keeps_its_campaign_and_its_ages_when_the_store_fails_once() {
    let mut bench = Bench::new(PUSH, "zero_hold: 0s, cohort_ages: [72h]", "10:00:00");
    bench.start().await;
    let message = bench.message(Some("10:00:00"), Some("spring"));
    let snapshot = bench.snapshot(vec![(SENT, 5)]);
    bench.answered(message, Some(snapshot)).await;
    bench.pass(3601).await;
    bench.fail_next(Fault::RolledBack);
    bench.account().forget(Vec::new()).await.unwrap_err();
    bench.pass(90_000).await;
    assert_eq!(bench.campaign("spring"), Some(5));
    bench.pass(72 * 3600).await;
    assert_eq!(bench.missed, ["72h late"]);
}

#[tokio::test]
async fn messages_are_met_before_a_campaign_is_forgotten_after_a_reload_too() {
    let mut bench = Bench::new(PUSH, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let message = bench.message(None, Some("spring"));
    let snapshot = bench.snapshot(vec![(SENT, 5)]);
    bench.answered(message.clone(), Some(snapshot)).await;
    bench.pass(90_000).await;
    let account = bench.account();
    let collect = [crate::providers::dataset("statistics").unwrap()];
    let delta = account.open(&[bench.application()], &collect, true).await;
    bench.take(delta.unwrap());
    bench.pass(60).await;
    assert_eq!(bench.campaign("spring"), Some(5));
    bench.load_messages(message).await;
    bench.pass(3600).await;
    assert_eq!(bench.campaign("spring"), Some(5));
    // With no tracked message it leaves, and what comes back is born at zero.
    let id = (bench.application().id, Arc::from("m"));
    bench.account().unwatch(&[id]).await;
    bench.pass(60).await;
    assert_eq!(bench.campaign("spring"), None);
}

/// A campaign that nobody tracks any more, with one thing that is counted.
async fn left_alone() -> Bench {
    let mut bench = Bench::new(PUSH, "", "10:00:00");
    bench.start().await;
    let message = bench.message(None, Some("spring"));
    let snapshot = bench.snapshot(vec![(SENT, 5)]);
    bench.answered(message, Some(snapshot)).await;
    let id = (bench.application().id, Arc::from("m"));
    bench.account().unwatch(&[id]).await;
    assert_eq!(bench.campaign("spring"), Some(0));
    bench
}

#[tokio::test]
async fn a_campaign_that_is_released_and_forgotten_at_once_is_gone() {
    let mut bench = left_alone().await;
    bench.pass(90_000).await;
    assert_eq!(bench.campaign("spring"), None);
}

#[tokio::test]
async fn a_campaign_is_gone_although_the_store_did_not_answer() {
    let mut bench = left_alone().await;
    bench.hand.advance(Duration::from_secs(90_000));
    bench.fail_next(Fault::Unanswered);
    bench.account().tick().await.unwrap_err();
    bench.pass(1).await;
    assert_eq!(bench.campaign("spring"), None);
}

#[tokio::test]
async fn a_campaign_of_odd_letters_stays_while_it_is_tracked() {
    let mut bench = Bench::new(PUSH, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let message = bench.message(None, Some("a\u{1f}b"));
    let snapshot = bench.snapshot(vec![(SENT, 5)]);
    bench.answered(message, Some(snapshot)).await;
    bench.pass(90_000).await;
    assert_eq!(bench.campaign("a\u{fffd}b"), Some(5));
}

#[tokio::test]
async fn a_scheduled_message_is_known_to_be_still_sending() {
    let mut bench = Bench::new(PUSH, "interval: 60s, cohort_ages: [5m]", "10:00:00");
    bench.start().await;
    // The same numbers before and after the moment it was sent.
    for time in ["10:00:30", "10:02:00"] {
        bench.until(time).await;
        bench.push("10:01:00", 0, 0).await;
    }
    bench.until("10:06:00").await;
    bench.push("10:01:00", 1000, 900).await;
    assert_eq!(bench.missed, ["5m still_sending"]);
}

#[tokio::test]
async fn the_last_state_up_to_half_an_age_is_the_last_one_asked_for() {
    let mut bench = Bench::new(PUSH, "interval: 60s, cohort_ages: [5m]", "10:00:00");
    bench.start().await;
    bench.until("10:01:00").await;
    let early = bench.snapshot(vec![(SENT, 10), (DELIVERED, 1)]);
    bench.until("10:02:00").await;
    bench.push("10:00:00", 1000, 500).await;
    // The answer of before comes after the newer one.
    bench.seen("10:00:00", Some(early)).await;
    bench.until("10:05:00").await;
    bench.push("10:00:00", 1000, 900).await;
    assert!(bench.missed.is_empty());
    assert_eq!(bench.cohort(300, CohortPart::Messages), Some(1));
}

#[tokio::test]
async fn a_value_that_is_not_told_for_once_is_no_decrease() {
    let mut bench = Bench::new(PUSH, "", "10:00:00");
    bench.start().await;
    let told = [
        vec![(SENT, 120)],
        vec![(SENT, 80)],
        vec![],
        vec![(SENT, 80)],
        vec![(SENT, 79)],
    ];
    for counts in told {
        let snapshot = bench.snapshot(counts);
        bench.seen("10:00:00", Some(snapshot)).await;
    }
    assert_eq!(bench.decreases, 2);
}

#[tokio::test]
async fn an_answer_without_numbers_says_when_a_message_was_sent_too() {
    let mut bench = Bench::new(PUSH, "interval: 60s, cohort_ages: [5m]", "10:00:00");
    bench.start().await;
    let message = bench.message(None, None);
    bench.load_messages(message).await;
    bench.until("10:05:30").await;
    bench.seen("10:00:00", None).await;
    bench.until("10:08:00").await;
    assert_eq!(bench.missed, ["5m no_data"]);
}

#[tokio::test]
async fn one_message_is_one_in_a_cohort_of_places_beyond_the_limit() {
    let mut bench = Bench::new(PUSH, "interval: 60s, zero_hold: 0s", "10:00:00");
    bench.config.limits.max_label_values = 1;
    bench.start().await;
    let mut snapshot = bench.snapshot(vec![(SENT, 30), (DELIVERED, 20)]);
    let row = |vendor_channel: &str| Row {
        message_type: Arc::from("notification"),
        platform: Arc::from("android"),
        vendor_channel: Arc::from(vendor_channel),
        counts: vec![(SENT, 10), (DELIVERED, 5)],
    };
    snapshot.breakdown = ["fcm", "huawei", "oppo"].map(row).to_vec();
    bench.until("10:05:00").await;
    snapshot.asked_at = bench.clock.now();
    bench.seen("10:00:00", Some(snapshot)).await;
    let other = CohortPart::ALL.map(|part| {
        let labels = ["android", OTHER];
        let age = Age::Seconds(300);
        bench.count(at_age(catalog::COHORT_BY_CHANNEL, part, &labels, age))
    });
    assert_eq!(other, [Some(20), Some(10), Some(1)]);
}

#[tokio::test]
async fn a_tenth_more_than_at_half_the_age_is_not_throttled() {
    let mut bench = Bench::new(PUSH, "interval: 60s, cohort_ages: [5m]", "10:00:00");
    for (sent, missed) in [(1100, 0), (1101, 1)] {
        bench.start().await;
        let minute = bench.clock.now().to_string();
        let time = |minutes: u64| {
            let time = bench.clock.now() + Duration::from_secs(minutes * 60);
            time.to_string()[11..19].to_owned()
        };
        let (half, age) = (time(2), time(5));
        let sent_at = &minute[11..19];
        bench.until(&half).await;
        bench.push(sent_at, 1000, 900).await;
        bench.until(&age).await;
        bench.push(sent_at, sent, 900).await;
        assert_eq!(bench.missed.len(), missed, "{sent}");
        let id = (bench.application().id, Arc::from("m"));
        bench.account().forget(vec![id]).await.unwrap();
    }
}

#[tokio::test]
async fn a_body_that_is_set_aside_is_told_although_the_store_fails_first() {
    let mut bench = Bench::new(MAIL, "", "10:00:00");
    bench.start().await;
    let body = spool(&bench.account(), b"abX").await;
    bench.fail_next(Fault::RolledBack);
    let (account, application) = (bench.account(), bench.application());
    let bodies = vec![(body, read(b"abX"))];
    account.reports(&application, bodies).await.unwrap_err();
    let delta = account.catch_up(&application, &read).await.unwrap();
    assert_eq!(delta.quarantined, 1);
    assert_eq!(bench.total(SENT), Some(0), "held");
}

#[tokio::test]
async fn counters_keep_their_start_over_increases_and_restarts() {
    let mut bench = Bench::new(PUSH, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let begun = bench.born.clone();
    assert!(!begun.is_empty() && begun.values().all(|born| *born == at("10:00:00")));
    bench.until("10:30:00").await;
    let message = bench.message(Some("10:29:00"), Some("spring"));
    let snapshot = bench.snapshot(vec![(SENT, 5)]);
    bench.answered(message, Some(snapshot)).await;
    let grown = bench.born.clone();
    assert!(begun.iter().all(|(key, born)| grown[key] == *born));
    let new: Vec<_> = grown
        .iter()
        .filter(|(key, _)| !begun.contains_key(key))
        .collect();
    assert!(!new.is_empty() && new.iter().all(|(_, born)| **born == at("10:30:00")));
    bench.until("11:00:00").await;
    bench.start().await;
    assert_eq!(bench.born, grown);
}

/// The process goes on, and so does what it knows of its labels: a name that no transaction has stored is
/// stored by the next one, or a start would give its place to another.
#[tokio::test]
async fn names_of_a_transaction_that_failed_are_stored_by_the_next() {
    for fault in [Fault::RolledBack, Fault::Abandoned] {
        let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
        bench.start().await;
        let (account, application) = (bench.account(), bench.application());
        let body = spool(&account, b"a").await;
        // The store does nothing until it is let go.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let store = &bench.running.as_ref().unwrap().0.store;
        let busy = store.transact(ReadSet::default(), move |_| {
            wait.recv().unwrap();
            (WriteSet::default(), ())
        });
        assert!(busy.now_or_never().is_none());
        bench.fail_next(Fault::RolledBack);
        let mut counted = Box::pin(account.reports(&application, vec![(body, read(b"a"))]));
        assert!(poll!(&mut counted).is_pending());
        if let Fault::Abandoned = fault {
            drop(counted);
            go.send(()).unwrap();
        } else {
            go.send(()).unwrap();
            counted.await.unwrap_err();
        }
        let names = async |bench: &Bench| {
            let store = bench.faulty.as_ref().unwrap();
            let rows = store.account(&bench.config.accounts[0].name, &bench.config.replica);
            let mut names = rows.await.unwrap().names;
            names.retain(|(label, _)| label.as_ref() == "status");
            names
        };
        assert_eq!(names(&bench).await, []);
        bench.pull(report("other body", Outcome::Pending)).await;
        let stored = names(&bench).await;
        assert_eq!(stored.len(), 2, "{fault:?}: {stored:?}");
    }
}
