//! Worked cases, and the spool with the store.

mod amounts;
mod before;
mod clocks;
mod cut;
mod daily;
mod edges;
mod faulty;
mod identity;
mod model;
mod opening;
mod property;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use delivery_clock::ManualClock;
use futures_util::FutureExt;

use super::{
    samples::{at_age, counter, measured},
    *,
};
use crate::{
    catalog::{self, CohortPart, FamilyId, LATENCY_BOUNDS},
    config::{self, Account, Config},
    model::{
        Application, BounceKind, Counts, Dataset, ErrorReason, Measure, Message, Snapshot, Totals,
    },
    providers::{Damage, Outcome, Pushed, Report, ReportsRead, SpoolWriter, SpooledBody},
};

#[derive(Default)]
pub(super) struct Notes {
    pub(super) up: AtomicU64,
    pub(super) errors: AtomicU64,
    quarantined: AtomicU64,
}

impl StoreObserver for Notes {
    fn up(&self, _: Volume, up: bool) {
        self.up.store(up.into(), Ordering::Relaxed);
    }
    fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }
    fn size(&self, _: &Arc<str>, _: u64, quarantined: u64) {
        self.quarantined.store(quarantined, Ordering::Relaxed);
    }
    fn store_size(&self, _: u64) {}
}

/// One account on a clock that stands still, over any number of starts.
struct Bench {
    directory: tempfile::TempDir,
    config: Config,
    clock: Clock,
    hand: ManualClock,
    running: Option<(Ledger, Arc<AccountLedger>)>,
    notes: Arc<Notes>,
    shown: HashMap<CounterKey, Amount>,
    /// Since when each counts.
    born: HashMap<CounterKey, Timestamp>,
    decreases: u64,
    missed: Vec<String>,
    duplicates: u64,
    held: u64,
    faulty: Option<Arc<faulty::Faulty>>,
}

const PUSH: &str =
    "{name: push, type: infobip_push, credentials: {api_key: k}, applications: [{id: app}]}";
const MAIL: &str = "{name: mail, type: infobip_email, credentials: {api_key: k}}";

impl Bench {
    fn new(provider: &str, collection: &str, start: &str) -> Bench {
        let directory = in_memory();
        let text = format!("collection: {{{collection}}}\nproviders: [{provider}]");
        let path = directory.path().join("config.yaml");
        let config = config::parse(&path, &text, &|_| None).unwrap();
        let (clock, hand) = Clock::manual(at(start));
        Bench {
            directory,
            config,
            clock,
            hand,
            running: None,
            notes: Arc::default(),
            shown: HashMap::new(),
            born: HashMap::new(),
            decreases: 0,
            missed: Vec::new(),
            duplicates: 0,
            held: 0,
            faulty: None,
        }
    }

    fn application(&self) -> Application {
        self.config.accounts[0].applications[0].clone()
    }

    /// A process starts; the one before is gone without a word.
    async fn start(&mut self) {
        self.begin().await;
        let more = self.account().catch_up(&self.application(), &read).await;
        self.take(more.unwrap());
    }

    async fn begin(&mut self) {
        (self.running, self.faulty) = (None, None);
        self.shown.clear();
        self.born.clear();
        (self.decreases, self.duplicates) = (0, 0);
        self.missed.clear();
        let mut ledger = Ledger::open(
            &self.config,
            self.clock.clone(),
            self.notes.clone(),
            Purpose::Serve,
        )
        .await
        .unwrap();
        self.faulty = Some(faulty::Faulty::beneath(&mut ledger));
        let account = ledger
            .account((&self.config, &self.config.accounts[0]))
            .unwrap();
        let delta = account
            .open(
                &self.config.accounts[0].applications,
                &self.config.accounts[0].collect,
                true,
            )
            .await
            .unwrap();
        self.running = Some((ledger, account));
        self.take(delta);
    }

    fn account(&self) -> Arc<AccountLedger> {
        self.running.as_ref().unwrap().1.clone()
    }

    fn take(&mut self, delta: LedgerDelta) {
        for key in delta.gone {
            self.shown.remove(&key);
            self.born.remove(&key);
        }
        for shown in delta.shown {
            self.born.insert(shown.key.clone(), shown.born_at);
            self.shown.insert(shown.key, shown.amount);
        }
        self.decreases += delta.decreases;
        self.duplicates += delta.duplicates;
        self.held = delta.held.unwrap_or(self.held);
        for (age, reason) in delta.missed {
            let age = age.map(|age| age.to_string()).unwrap_or_default();
            self.missed.push(format!("{age} {}", reason.as_str()));
        }
    }

    /// Moves the time to `time`, doing what falls due on the way.
    async fn until(&mut self, time: &str) {
        while self.clock.now() < at(time) {
            self.hand.advance(Duration::from_secs(1));
            if self.account().due().now_or_never().is_some() {
                let delta = self.account().tick().await.unwrap();
                self.take(delta);
            }
        }
    }

    async fn push(&mut self, sent_at: &str, sent: u64, delivered: u64) {
        let counts = vec![(Measure::Sent, sent), (Measure::Delivered, delivered)];
        let snapshot = self.snapshot(counts);
        self.seen(sent_at, Some(snapshot)).await;
    }

    fn snapshot(&self, counts: Counts) -> Snapshot {
        Snapshot {
            asked: Arc::from("m"),
            id: Arc::from("m"),
            campaign: None,
            sent_at: None,
            asked_at: self.clock.now(),
            totals: vec![Totals {
                channel: "push",
                counts,
                reported_ratio: None,
            }],
            breakdown: Vec::new(),
            types: Vec::new(),
        }
    }

    fn message(&self, sent_at: Option<&str>, campaign: Option<&str>) -> Message {
        Message {
            application: self.application().id,
            id: Arc::from("m"),
            campaign: campaign.map(Arc::from),
            sent_at: sent_at.map(at),
        }
    }

    async fn seen(&mut self, sent_at: &str, snapshot: Option<Snapshot>) {
        let message = self.message(Some(sent_at), None);
        self.answered(message, snapshot).await;
    }

    async fn answered(&mut self, message: Message, snapshot: Option<Snapshot>) {
        let now = self.clock.now();
        let seen = MessageObservation {
            message,
            first_seen: now,
            asked_at: snapshot.as_ref().map_or(now, |own| own.asked_at),
            snapshot,
        };
        let (delta, _) = self
            .account()
            .snapshots(
                &self.application(),
                crate::providers::dataset("statistics").unwrap(),
                vec![seen],
            )
            .await
            .unwrap();
        self.take(delta);
    }

    async fn pull(&mut self, report: Report) {
        let body = spool(&self.account(), b"x").await;
        let read = ReportsRead {
            reports: vec![report],
            ..ReportsRead::default()
        };
        let delta = self
            .account()
            .reports(&self.application(), vec![(body, read)])
            .await
            .unwrap();
        self.take(delta);
    }

    fn count(&self, counter: CounterKey) -> Option<u64> {
        let key = counter.of(&self.application().id);
        self.shown.get(&key).map(Amount::things)
    }

    fn total(&self, measure: Measure) -> Option<u64> {
        let channel = self.config.accounts[0].vendor.channels[0].name;
        self.count(measured(catalog::TOTAL, measure, &[channel]))
    }

    fn cohort(&self, age: u32, part: CohortPart) -> Option<u64> {
        let age = Age::Seconds(age);
        self.count(at_age(catalog::COHORT, part, &["push"], age))
    }

    fn sum(&self, of: impl Fn(FamilyId) -> bool) -> u64 {
        self.shown
            .iter()
            .filter(|(key, _)| of(key.family))
            .map(|(_, amount)| amount.things())
            .sum()
    }
}

/// What is durable is not the question in most tests: memory is quicker.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn at(text: &str) -> Timestamp {
    format!("2026-11-26T{text}Z").parse().unwrap()
}

async fn spool(account: &AccountLedger, body: &[u8]) -> SpooledBody {
    let mut writer: Box<dyn SpoolWriter> = account.spool().begin().await.unwrap();
    for chunk in body.chunks(body.len().div_ceil(3).max(1)) {
        writer.write(chunk).await.unwrap();
    }
    writer.finish().await.unwrap()
}

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

fn report(name: &str, outcome: Outcome) -> Report {
    let mut digest = [7; 16];
    digest[..name.len()].copy_from_slice(name.as_bytes());
    Report {
        report: digest,
        message: [1; 16],
        former: None,
        channel: "email",
        campaign: None,
        status_group: Arc::from(name),
        status: Arc::from(name),
        error_group: Arc::from(""),
        error: Arc::from(""),
        permanent: None,
        outcome,
        latency: None,
        cost: None,
    }
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

/// A body is a letter per report; a capital one is damage that ends it.
fn read(body: &[u8]) -> ReportsRead {
    let good = body
        .iter()
        .take_while(|byte| byte.is_ascii_lowercase())
        .count();
    let reports = body[..good].iter().map(|byte| Report {
        message: [*byte; 16],
        ..report(
            &char::from(*byte).to_string(),
            Outcome::Bounced(BounceKind::Soft),
        )
    });
    let damage = (good < body.len()).then(|| Damage {
        at: good,
        what: "a capital".into(),
        rest: body[good..].into(),
        sample_of: None,
    });
    ReportsRead {
        reports: reports.collect(),
        empty: body.is_empty(),
        damage,
        failure: None,
    }
}

#[tokio::test]
async fn what_was_spooled_and_not_counted_is_counted_at_the_next_start_once() {
    let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let account = bench.account();
    let application = bench.application();
    let body = spool(&account, b"abc").await;
    let counted = account
        .reports(&application, vec![(body, read(b"abc"))])
        .await
        .unwrap();
    bench.take(counted);
    assert_eq!(bench.total(Measure::Sent), Some(3));
    // The process dies here: the next body is durable, and nobody has read it.
    spool(&account, b"cde").await;
    // One more is being written.
    let mut unfinished = account.spool().begin().await.unwrap();
    unfinished.write(b"fgX").await.unwrap();
    account.spool().begin().await.unwrap();
    drop((account, unfinished));
    for _ in 0..2 {
        bench.start().await;
        assert_eq!(bench.total(Measure::Sent), Some(7));
        assert_eq!(bench.duplicates, 0);
        assert_eq!(bench.notes.quarantined.load(Ordering::Relaxed), 1);
        // The rest alone is set aside, under the body's own name.
        let place = "data/spool/mail/quarantine/00000000000000000003.body";
        let rest = std::fs::read(bench.directory.path().join(place));
        assert_eq!(rest.unwrap(), b"X");
    }
    let left = std::fs::read_dir(bench.directory.path().join("data/spool/mail")).unwrap();
    assert_eq!(
        left.count(),
        1,
        "counted bodies are gone, the quarantine stays"
    );
    // And a repeat is known.
    let body = spool(&bench.account(), b"g").await;
    let again = bench
        .account()
        .reports(&application, vec![(body, read(b"g"))])
        .await
        .unwrap();
    assert_eq!(again.duplicates, 1);
}

#[tokio::test]
async fn what_lies_in_quarantine_is_read_again_and_counted_once() {
    let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let application = bench.application();
    let body = spool(&bench.account(), b"abXcd").await;
    let bodies = vec![(body.clone(), read(b"abXcd"))];
    let counted = bench.account().reports(&application, bodies).await;
    bench.take(counted.unwrap());
    assert_eq!(bench.total(Measure::Sent), Some(2));
    let place = bench.directory.path().join("data/spool/mail/quarantine");
    let place = place.join(body.0.as_ref());
    let rest = || std::fs::read(&place).ok();
    assert_eq!(rest().as_deref(), Some(&b"Xcd"[..]));
    let replay = async |bench: &Bench, read: &(dyn Fn(&[u8]) -> ReportsRead + Sync)| {
        let account = bench.account();
        assert_eq!(account.quarantine().unwrap(), std::slice::from_ref(&body));
        let read = |body: &[u8]| Pushed {
            reports: read(body),
            ..Pushed::default()
        };
        account
            .replay(
                &application,
                crate::providers::dataset("reports").unwrap(),
                &body,
                &read,
            )
            .await
            .unwrap()
    };
    // This version reads no more of it than before.
    let outcome = replay(&bench, &read).await;
    assert_eq!(
        (outcome.counted, outcome.left),
        (0, Some("a capital".into()))
    );
    assert_eq!(rest().as_deref(), Some(&b"Xcd"[..]));
    // One that skips the capital reads all, and leaves it alone. `b` was counted before.
    let skips = |body: &[u8]| ReportsRead {
        damage: Some(Damage {
            at: 0,
            what: "a capital".into(),
            rest: b"X"[..].into(),
            sample_of: None,
        }),
        ..read(&[&body[1..], b"b"].concat())
    };
    let outcome = replay(&bench, &skips).await;
    assert_eq!((outcome.counted, outcome.duplicates), (2, 1));
    assert_eq!(rest().as_deref(), Some(&b"X"[..]));
    // As if the process had died before the file was written: what was counted is known.
    std::fs::write(&place, b"Xcd").unwrap();
    bench.start().await;
    let outcome = replay(&bench, &skips).await;
    assert_eq!((outcome.counted, outcome.duplicates), (0, 3));
    // And one that understands it all leaves nothing.
    let understands = |body: &[u8]| read(&body.to_ascii_lowercase());
    let outcome = replay(&bench, &understands).await;
    assert_eq!((outcome.counted, outcome.left), (1, None));
    assert!(bench.account().quarantine().unwrap().is_empty() && rest().is_none());
    bench.start().await;
    assert_eq!(bench.total(Measure::Sent), Some(5));
}

#[tokio::test]
async fn one_body_of_each_kind_that_holds_no_report_is_kept() {
    let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let application = bench.application();
    let sample = |kind: &'static str, body: &[u8]| ReportsRead {
        damage: Some(Damage {
            at: 0,
            what: "it is an error".into(),
            rest: body.into(),
            sample_of: Some(kind),
        }),
        ..ReportsRead::default()
    };
    let mut quarantined = 0;
    for (kind, text) in [
        ("error", b"1"),
        ("error", b"2"),
        ("page", b"3"),
        ("error", b"4"),
    ] {
        if text == b"4" {
            bench.start().await;
        }
        let body = spool(&bench.account(), text).await;
        let bodies = vec![(body, sample(kind, text))];
        let delta = bench.account().reports(&application, bodies).await.unwrap();
        quarantined += delta.quarantined;
    }
    assert_eq!(
        (quarantined, bench.notes.quarantined.load(Ordering::Relaxed)),
        (2, 2)
    );
    let kept = bench.account().quarantine().unwrap();
    let names: Vec<&str> = kept.iter().map(|body| body.0.as_ref()).collect();
    assert_eq!(names, ["sample-error.body", "sample-page.body"]);
    let spooled = std::fs::read_dir(bench.directory.path().join("data/spool/mail")).unwrap();
    assert_eq!(spooled.count(), 1, "nothing is left in the spool");
    // What a person has looked at and removed is kept once more.
    let understood = |_: &[u8]| Pushed::default();
    let account = bench.account();
    let replayed = account
        .replay(
            &application,
            crate::providers::dataset("reports").unwrap(),
            &kept[0],
            &understood,
        )
        .await;
    assert_eq!(replayed.unwrap().left, None);
    let body = spool(&bench.account(), b"5").await;
    let bodies = vec![(body, sample("error", b"5"))];
    let delta = bench.account().reports(&application, bodies).await.unwrap();
    assert_eq!(delta.quarantined, 1);
}

#[tokio::test]
async fn of_equal_bodies_in_quarantine_one_is_kept() {
    let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let application = bench.application();
    let mut stored = Vec::new();
    for text in [b"1", b"1", b"2", b"1", b"2"] {
        if stored.len() == 3 {
            bench.start().await;
        }
        let damage = Damage {
            at: 0,
            what: "unknown".into(),
            rest: text.as_slice().into(),
            sample_of: None,
        };
        let read = ReportsRead {
            damage: Some(damage),
            ..ReportsRead::default()
        };
        let bodies = vec![(spool(&bench.account(), text).await, read)];
        let delta = bench.account().reports(&application, bodies).await.unwrap();
        stored.push(delta.quarantined);
    }
    assert_eq!(stored, [1, 0, 1, 0, 0]);
    assert_eq!(bench.account().quarantine().unwrap().len(), 2);
}

#[tokio::test]
async fn events_in_quarantine_are_counted_by_a_version_that_reads_them() {
    let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let application = bench.application();
    let body = spool(&bench.account(), b"X").await;
    let bodies = vec![(body.clone(), read(b"X"))];
    bench.account().reports(&application, bodies).await.unwrap();
    let complaint = crate::model::Event {
        digest: [5; 16],
        former: None,
        kind: crate::model::EventKind::Tracked {
            measure: Measure::Complaints,
            campaign: None,
        },
        at: None,
    };
    let understands = |_: &[u8]| Pushed {
        events: vec![complaint.clone(), complaint.clone()],
        ..Pushed::default()
    };
    let outcome = bench
        .account()
        .replay(
            &application,
            crate::providers::dataset("reports").unwrap(),
            &body,
            &understands,
        )
        .await;
    let outcome = outcome.unwrap();
    assert_eq!(
        (outcome.counted, outcome.duplicates, outcome.left),
        (1, 1, None)
    );
    bench.start().await;
    assert_eq!(bench.total(Measure::Complaints), Some(1));
}

#[tokio::test]
async fn a_store_and_a_spool_belong_to_one_process() {
    let mut bench = Bench::new(MAIL, "", "10:00:00");
    bench.start().await;
    let open = async |config: &Config| {
        let second = Ledger::open(
            config,
            bench.clock.clone(),
            bench.notes.clone(),
            Purpose::Serve,
        )
        .await;
        second.err().unwrap().to_string()
    };
    let said = open(&bench.config).await;
    assert!(
        said.contains("another delivery-exporter has this spool"),
        "{said}"
    );
    let spool = bench.directory.path().join("elsewhere");
    let other = Config {
        spool,
        ..bench.config.clone()
    };
    let said = open(&other).await;
    assert!(
        said.contains("another delivery-exporter has this store"),
        "{said}"
    );
}
