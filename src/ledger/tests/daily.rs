//! Ages of a vendor that publishes its numbers once a day.

use super::*;

const ALIBABA: &str = "{name: push, type: alibaba_push, credentials: {access_key_id: k, access_key_secret: s}, applications: [{id: '23267207'}], messages: {list: false}";

impl Bench {
    async fn at_utc(&mut self, time: &str) {
        let then: Timestamp = time.parse().unwrap();
        while self.clock.now() < then {
            self.hand.advance(Duration::from_secs(60));
            if self.account().due().now_or_never().is_some() {
                let delta = self.account().tick().await.unwrap();
                self.take(delta);
            }
        }
    }

    async fn sent_at(&mut self, sent_at: &str, counts: Option<[u64; 2]>) -> Option<Timestamp> {
        let counts = counts.map(|[sent, delivered]| {
            self.snapshot(vec![(Measure::Sent, sent), (Measure::Delivered, delivered)])
        });
        let message = Message {
            sent_at: Some(sent_at.parse().unwrap()),
            ..self.message(None, None)
        };
        let seen = MessageObservation {
            message,
            first_seen: self.clock.now(),
            asked_at: self.clock.now(),
            snapshot: counts,
        };
        let dataset = crate::providers::dataset("messages").unwrap();
        let counted = self
            .account()
            .snapshots(&self.application(), dataset, vec![seen])
            .await;
        let (delta, met) = counted.unwrap();
        self.take(delta);
        met[0].wanted_at
    }

    fn first(&self, part: CohortPart) -> Option<u64> {
        self.count(at_age(catalog::COHORT, part, &["push"], Age::First))
    }
}

fn utc(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

#[tokio::test]
async fn an_age_is_taken_from_the_first_answer_after_the_numbers_are_complete() {
    let account = format!("{ALIBABA}}}");
    let mut bench = Bench::new(&account, "zero_hold: 0s, cohort_ages: [24h]", "10:00:00");
    bench.start().await;
    // 18:00 in the vendor's zone. Its numbers are complete at 06:00 of the next day: 22:00 UTC.
    let sent = "2026-11-26T10:00:00Z";
    let wanted = bench.sent_at(sent, None).await;
    assert_eq!(wanted, utc("2026-11-26T22:00:00Z"));
    // The vendor's day has begun, and an answer has the numbers of before the nightly job.
    bench.at_utc("2026-11-26T17:00:00Z").await;
    let wanted = bench.sent_at(sent, Some([100, 40])).await;
    assert_eq!(wanted, utc("2026-11-26T22:00:00Z"));
    assert_eq!(bench.first(CohortPart::Messages), Some(0));
    bench.at_utc("2026-11-26T21:59:00Z").await;
    bench.sent_at(sent, Some([100, 60])).await;
    assert_eq!(bench.first(CohortPart::Messages), Some(0));
    bench.at_utc("2026-11-26T22:00:00Z").await;
    let wanted = bench.sent_at(sent, Some([100, 90])).await;
    let parts = CohortPart::ALL.map(|part| bench.first(part));
    assert_eq!(parts, [Some(100), Some(90), Some(1)]);
    // The age of a day is reached at 18:00 of that day.
    assert_eq!(wanted, utc("2026-11-27T22:00:00Z"));
    bench.at_utc("2026-11-27T16:30:00Z").await;
    bench.sent_at(sent, Some([100, 91])).await;
    assert_eq!(bench.cohort(86_400, CohortPart::Messages), Some(0));
    // The window runs to the end of the vendor's day.
    bench.at_utc("2026-11-28T15:59:00Z").await;
    let wanted = bench.sent_at(sent, Some([100, 95])).await;
    assert_eq!(bench.cohort(86_400, CohortPart::Delivered), Some(95));
    assert_eq!((wanted, bench.missed.len()), (None, 0));
}

#[tokio::test]
async fn an_age_without_an_answer_until_the_end_of_the_vendors_day_is_missed() {
    let account = format!("{ALIBABA}, daily_complete_at: \"09:30\"}}");
    let mut bench = Bench::new(&account, "zero_hold: 0s, cohort_ages: [24h]", "10:00:00");
    bench.start().await;
    let sent = "2026-11-26T10:00:00Z";
    let wanted = bench.sent_at(sent, None).await;
    assert_eq!(wanted, utc("2026-11-27T01:30:00Z"));
    // Before the hour, neither an answer without numbers nor one with them means anything.
    bench.at_utc("2026-11-27T01:29:00Z").await;
    bench.sent_at(sent, None).await;
    bench.at_utc("2026-11-27T15:59:00Z").await;
    assert!(bench.missed.is_empty());
    bench.at_utc("2026-11-27T16:01:00Z").await;
    assert_eq!(bench.missed, ["first late"]);
}

#[tokio::test]
async fn a_message_sent_at_the_vendors_midnight_has_reached_a_day_at_the_next() {
    let account = format!("{ALIBABA}}}");
    let mut bench = Bench::new(&account, "zero_hold: 0s, cohort_ages: [24h]", "15:00:00");
    bench.start().await;
    let sent = "2026-11-26T16:00:00Z";
    bench.at_utc(sent).await;
    let wanted = bench.sent_at(sent, None).await;
    assert_eq!(wanted, utc("2026-11-27T22:00:00Z"));
    bench.at_utc("2026-11-27T22:00:00Z").await;
    bench.sent_at(sent, Some([10, 9])).await;
    assert_eq!(bench.first(CohortPart::Messages), Some(1));
    assert_eq!(bench.cohort(86_400, CohortPart::Messages), Some(1));
}
