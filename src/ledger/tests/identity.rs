//! One thing is one thing, however its row is written and whatever the vendor calls it: over the
//! digests that version 0.1 made, and over two ids of one message.

use super::{faulty::Fault, *};
use crate::model::{ErrorReason, Event, EventKind, Row};

fn digest(name: &str) -> crate::providers::Digest {
    let mut digest = [9; 16];
    digest[..name.len()].copy_from_slice(name.as_bytes());
    digest
}

fn bounce(own: &str, former: Option<&str>) -> Event {
    Event {
        digest: digest(own),
        former: former.map(digest),
        kind: EventKind::BouncedAddress {
            kind: "hard",
            reason: "other",
        },
        at: None,
    }
}

impl Bench {
    async fn happened(&mut self, events: Vec<Event>) -> u64 {
        let (delta, new) = self
            .account()
            .happened(
                &self.application(),
                crate::providers::dataset("bounces").unwrap(),
                events,
                None,
            )
            .await
            .unwrap();
        self.take(delta);
        new
    }

    /// A day passes: what is remembered now lies in a closed part, behind its filter.
    async fn another_day(&mut self) {
        self.hand.advance(Duration::from_secs(25 * 3600));
        let (ledger, _) = self.running.as_ref().unwrap();
        ledger.maintain().await;
    }

    async fn rename(&mut self, from: &str, to: &str) -> Option<StoredMessage> {
        let (from, to) = (Arc::from(from), Arc::from(to));
        let renames = vec![(from, Arc::clone(&to))];
        let (account, application) = (self.account(), self.application());
        let renamed = account.rename_messages(&application, renames);
        let delta = renamed.await.unwrap();
        self.take(delta);
        let watched = self.account().watched().await;
        watched
            .into_iter()
            .find(|(id, _)| id.1 == to)
            .map(|(_, met)| met)
    }

    async fn told(&mut self, id: &str, campaign: Option<&str>, counts: Counts) {
        let snapshot = self.snapshot(counts);
        let message = Message {
            id: Arc::from(id),
            ..self.message(Some("10:00:00"), campaign)
        };
        self.answered(message, Some(snapshot)).await;
    }

    fn of_campaign(&self, campaign: &str, measure: Measure) -> Option<u64> {
        self.count(measured(
            catalog::TOTAL_BY_CAMPAIGN,
            measure,
            &["push", campaign],
        ))
    }
}

#[tokio::test]
async fn a_row_that_version_0_1_counted_is_not_counted_again_in_any_spelling() {
    for days in [0, 1] {
        let mut bench = Bench::new(PUSH, "zero_hold: 0s", "10:00:00");
        bench.start().await;
        // As version 0.1 remembered it: the digest of the text.
        assert_eq!(bench.happened(vec![bounce("text", None)]).await, 1);
        for _ in 0..days {
            bench.another_day().await;
        }
        bench.start().await;
        assert_eq!(bench.happened(vec![bounce("new", Some("text"))]).await, 0);
        for _ in 0..days {
            bench.another_day().await;
        }
        // The same row, as another of the vendor's servers writes it.
        assert_eq!(bench.happened(vec![bounce("new", Some("other"))]).await, 0);
        assert_eq!(bench.happened(vec![bounce("new", None)]).await, 0);
        // A row that nobody knows counts, once, also where one answer has it in two spellings.
        let two = vec![bounce("next", Some("a")), bounce("next", Some("b"))];
        assert_eq!(bench.happened(two).await, 1);
        assert_eq!(bench.sum(|family| family == catalog::BOUNCED_ADDRESSES), 2);
    }
}

#[tokio::test]
async fn a_message_that_version_0_1_knows_goes_on_where_its_reports_stopped() {
    for days in [0, 1] {
        let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
        bench.start().await;
        let price = Some(("0.5".parse().unwrap(), Arc::from("EUR")));
        let before = |name: &str, outcome| Report {
            message: digest("To@X"),
            cost: price.clone(),
            ..report(name, outcome)
        };
        bench.pull(before("pending", Outcome::Pending)).await;
        let bounced = Outcome::Bounced(BounceKind::Hard);
        bench.pull(before("bounced", bounced)).await;
        for _ in 0..days {
            bench.another_day().await;
        }
        bench.start().await;
        let after = |own: &str, former: (&str, &str), outcome| Report {
            report: digest(own),
            message: digest("to@x"),
            former: Some((report(former.0, outcome).report, digest(former.1))),
            cost: price.clone(),
            ..report(own, outcome)
        };
        // The same reports once more; the second in a spelling that was never counted.
        bench
            .pull(after("PENDING", ("pending", "To@X"), Outcome::Pending))
            .await;
        bench
            .pull(after("BOUNCED", ("bounced", "To@X"), bounced))
            .await;
        bench
            .pull(after("BOUNCED", ("Bounced", "TO@X"), bounced))
            .await;
        assert_eq!(bench.duplicates, 3);
        // Another one of the same message: it has ended, and it is paid for.
        let failed = Outcome::Failed(ErrorReason::Other);
        bench
            .pull(after("FAILED", ("failed", "To@X"), failed))
            .await;
        bench
            .pull(after(
                "DELIVERED",
                ("delivered", "TO@X"),
                Outcome::Delivered,
            ))
            .await;
        let errors = Measure::Errors(ErrorReason::Other);
        let bounces = Measure::Bounces(BounceKind::Hard);
        let counted = [Measure::Sent, bounces, errors, Measure::Delivered]
            .map(|measure| bench.total(measure).unwrap_or_default());
        assert_eq!(counted, [1, 1, 0, 1]);
        assert_eq!(bench.sum(|family| family == catalog::REPORTS), 4);
        assert_eq!(bench.sum(|family| family == catalog::REPORT_COST), 1);
    }
}

#[tokio::test]
async fn a_message_under_a_new_id_counts_only_what_is_new() {
    let mut bench = Bench::new(PUSH, "zero_hold: 0s, cohort_ages: [5m]", "10:00:00");
    bench.start().await;
    bench.until("10:05:00").await;
    bench
        .told(
            "123",
            Some("spring"),
            vec![(Measure::Sent, 100), (Measure::Delivered, 90)],
        )
        .await;
    let met = bench.rename("123", "A-1").await.unwrap();
    assert_eq!(met.campaign.as_deref(), Some("spring"));
    assert_eq!(met.sent_at, Some(at("10:00:00")));
    for restarts in [false, true] {
        if restarts {
            bench.start().await;
        }
        // Again, as after a start: nothing is left to do.
        bench.rename("123", "A-1").await;
        bench
            .told(
                "A-1",
                None,
                vec![(Measure::Sent, 100), (Measure::Delivered, 95)],
            )
            .await;
        let both = [Measure::Sent, Measure::Delivered];
        assert_eq!(both.map(|own| bench.total(own)), [Some(100), Some(95)]);
        assert_eq!(
            both.map(|own| bench.of_campaign("spring", own)),
            [Some(100), Some(95)]
        );
        assert_eq!(bench.cohort(300, CohortPart::Messages), Some(1));
    }
    let stored = bench.account().old_messages(at("23:00:00")).await.unwrap();
    let ids: Vec<&str> = stored.iter().map(|(_, id)| id.as_ref()).collect();
    assert_eq!(ids, ["A-1"], "the old row is gone");
    assert_eq!(
        bench.rename("unknown", "A-1").await.unwrap().sent_at,
        met.sent_at
    );
    assert!(bench.rename("unknown", "unheard").await.is_none());
    assert!(bench.rename("A-1", "A-1").await.is_some());
}

#[tokio::test]
async fn two_ids_that_both_counted_are_one_from_then_on() {
    let mut bench = Bench::new(PUSH, "zero_hold: 0s, cohort_ages: [5m]", "10:00:00");
    bench.start().await;
    bench.until("10:01:00").await;
    bench
        .told(
            "123",
            None,
            vec![(Measure::Sent, 100), (Measure::Delivered, 80)],
        )
        .await;
    bench
        .told(
            "A-1",
            Some("spring"),
            vec![(Measure::Sent, 60), (Measure::Opened, 7)],
        )
        .await;
    let all = [Measure::Sent, Measure::Delivered, Measure::Opened];
    let total = |bench: &Bench| all.map(|own| bench.total(own).unwrap_or_default());
    let campaign = |bench: &Bench| all.map(|own| bench.of_campaign("spring", own).unwrap_or(0));
    assert_eq!(
        (total(&bench), campaign(&bench)),
        ([160, 80, 7], [60, 0, 7])
    );
    bench.until("10:05:00").await;
    bench
        .told(
            "123",
            None,
            vec![(Measure::Sent, 100), (Measure::Delivered, 80)],
        )
        .await;
    assert_eq!(bench.cohort(300, CohortPart::Messages), Some(1));
    bench.rename("123", "A-1").await;
    // The campaign has the message's numbers, and not more.
    assert_eq!(
        (total(&bench), campaign(&bench)),
        ([160, 80, 7], [100, 80, 7])
    );
    for (sent, expected) in [(90, 160), (100, 160), (101, 161)] {
        bench
            .told(
                "A-1",
                None,
                vec![(Measure::Sent, sent), (Measure::Delivered, 80)],
            )
            .await;
        assert_eq!(total(&bench)[0], expected, "{sent}");
        bench.start().await;
        bench.rename("123", "A-1").await;
    }
    assert_eq!(campaign(&bench), [101, 80, 7]);
    assert_eq!(bench.cohort(300, CohortPart::Messages), Some(1));
}

#[tokio::test]
async fn what_was_history_under_one_id_and_news_under_the_other_is_news_once() {
    let mut bench = Bench::new(PUSH, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let told = async |bench: &mut Bench, id: &str, sent_at: &str, sent| {
        let mut snapshot = bench.snapshot(vec![(Measure::Sent, sent)]);
        snapshot.breakdown = vec![Row {
            message_type: Arc::from("notification"),
            platform: Arc::from("ios"),
            vendor_channel: Arc::from("apns"),
            counts: vec![(Measure::Sent, sent)],
        }];
        let message = Message {
            id: Arc::from(id),
            ..bench.message(Some(sent_at), None)
        };
        bench.answered(message, Some(snapshot)).await;
    };
    // Sent long before: the baseline only, under either id.
    told(&mut bench, "123", "08:00:00", 500).await;
    told(&mut bench, "A-1", "08:00:00", 510).await;
    bench.rename("123", "A-1").await;
    told(&mut bench, "A-1", "08:00:00", 512).await;
    let row = |bench: &Bench| bench.sum(|family| catalog::TOTAL_BY_CHANNEL.has(family));
    assert_eq!((bench.total(Measure::Sent), row(&bench)), (Some(2), 2));
    // The campaign learns what was counted, and no history.
    bench
        .told("A-1", Some("spring"), vec![(Measure::Sent, 512)])
        .await;
    assert_eq!(bench.of_campaign("spring", Measure::Sent), Some(2));
}

#[tokio::test]
async fn a_rename_that_the_store_does_not_answer_happens_once_or_not_at_all() {
    for fault in [Fault::RolledBack, Fault::Unanswered, Fault::Abandoned] {
        let mut bench = Bench::new(PUSH, "zero_hold: 0s", "10:00:00");
        bench.start().await;
        bench
            .told("123", Some("spring"), vec![(Measure::Sent, 100)])
            .await;
        bench.told("A-1", None, vec![(Measure::Sent, 40)]).await;
        *bench.faulty.as_ref().unwrap().next.lock().unwrap() = Some(fault);
        let renames = vec![(Arc::from("123"), Arc::from("A-1"))];
        let (account, application) = (bench.account(), bench.application());
        let failed = account.rename_messages(&application, renames);
        assert!(
            failed.now_or_never().is_none_or(|own| own.is_err()),
            "{fault:?}"
        );
        bench.rename("123", "A-1").await;
        bench.told("A-1", None, vec![(Measure::Sent, 101)]).await;
        assert_eq!(bench.total(Measure::Sent), Some(141), "{fault:?}");
        assert_eq!(
            bench.of_campaign("spring", Measure::Sent),
            Some(101),
            "{fault:?}"
        );
    }
}
