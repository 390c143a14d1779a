//! Simulated days of a complete collector on a manual clock: the vendor is a simulator behind real HTTP,
//! messages are registered when they are sent, and the ledger is on disk.
//!
//! The suite runs one day; `SIMULATED_DAYS=30 cargo test --lib collector::days -- --nocapture` runs
//! thirty in three minutes, and prints what `month.rs` computes without a vendor.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use delivery_clock::{Clock, ManualClock};
use delivery_simulators::{Options, World, credentials};
use futures_util::{FutureExt, future::BoxFuture};
use jiff::{SignedDuration, Timestamp};

use super::{
    tests::{NoNotes, Record},
    *,
};
use crate::{
    config,
    ledger::{Ledger, Missed, Purpose, Registration},
    model::Message,
    providers::{self, Answer, MessagesQuery, Provider},
};

const MINUTE: i64 = 60;
/// The time between two campaigns: twelve a day.
const GAP: Duration = Duration::from_secs(2 * 3600);

/// The vendor's provider, which records the queried messages and the times.
struct Noted {
    inner: Arc<dyn Provider>,
    clock: Clock,
    in_flight: AtomicUsize,
    asked: Mutex<HashMap<Arc<str>, Timestamp>>,
    /// The longest time between two queries for a message younger than an hour.
    stalest_new: Mutex<SignedDuration>,
}

impl Noted {
    fn note(&self, messages: &[Message]) {
        let now = self.clock.now();
        let mut asked = self.asked.lock().unwrap();
        for message in messages {
            let before = asked.insert(message.id.clone(), now);
            let new = now.duration_since(message.sent_at.unwrap()) < SignedDuration::from_hours(1);
            if let Some(before) = before.filter(|_| new) {
                let mut stalest = self.stalest_new.lock().unwrap();
                *stalest = now.duration_since(before).max(*stalest);
            }
        }
    }
}

impl Provider for Noted {
    fn messages<'a>(&'a self, query: MessagesQuery<'a>) -> BoxFuture<'a, Answer> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        self.note(query.messages);
        async move {
            let answer = self.inner.messages(query).await;
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            answer
        }
        .boxed()
    }
}

/// Waits, in real time, for other tasks.
async fn eventually(what: &str, check: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !check() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
}

/// A running collector.
struct Days {
    clock: Clock,
    hand: ManualClock,
    record: Arc<Record>,
    vendor: Arc<Noted>,
}

impl Days {
    /// Waits until the collector waits for the clock to advance.
    async fn settle(&self) {
        let waits = || {
            let due = *self.record.due.lock().unwrap();
            self.vendor.in_flight.load(Ordering::SeqCst) == 0
                && due.is_some_and(|due| due > self.clock.now())
        };
        eventually("the collector waits", waits).await;
    }

    /// Advances the clock to `until`, from one due time to the next.
    async fn go_on(&self, until: Timestamp) {
        loop {
            self.settle().await;
            let due = self.record.due.lock().unwrap().unwrap();
            let length = due.min(until).duration_since(self.clock.now());
            self.hand.advance(Duration::try_from(length).unwrap());
            if due >= until {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_over_http_cost_few_requests_and_miss_no_age() {
    let days: i64 = std::env::var("SIMULATED_DAYS").map_or(1, |days| days.parse().unwrap());
    let began: Timestamp = "2026-11-01T10:00:30Z".parse().unwrap();
    let (clock, hand) = Clock::manual(began);
    let world = World::start(
        Options {
            gap: GAP,
            history: Duration::from_secs(29 * 86_400),
            ..Options::default()
        },
        &clock,
    )
    .await
    .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = serde_json::json!({
        "providers": [{
            "name": "a", "type": "infobip_push", "base_url": world.servers[0].base_url(),
            "credentials": {"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD},
            "applications": [{"id": credentials::INFOBIP_APPLICATION}],
            "rate_limit": {"requests_per_second": 10_000, "burst": 10_000},
            "messages": {"max_age": "29d"},
        }],
    });
    let config = directory.path().join("config.yaml");
    let config = config::parse(&config, &text.to_string(), &|_| None).unwrap();
    let record = Arc::new(Record::default());
    let account = Arc::new(config.accounts[0].clone());
    let vendor = Arc::new(Noted {
        inner: providers::build(account.as_ref(), clock.clone(), record.clone()).unwrap(),
        clock: clock.clone(),
        in_flight: AtomicUsize::new(0),
        asked: Mutex::default(),
        stalest_new: Mutex::new(SignedDuration::ZERO),
    });
    let ledger = Ledger::open(&config, clock.clone(), Arc::new(NoNotes), Purpose::Serve)
        .await
        .unwrap();
    let own = ledger.account((&config, account.as_ref())).unwrap();
    let lease = ledger.lease(&account.name);
    let mut known = 0;
    let register = async |known: &mut usize| {
        let messages = world.infobip.messages();
        let new = messages[*known..].iter().map(|message| Registration {
            account: account.name.clone(),
            message: Message {
                application: message.application.as_str().into(),
                id: message.id.as_str().into(),
                campaign: message.campaign.as_deref().map(Arc::from),
                sent_at: message.sent_at,
            },
        });
        ledger.register(new.collect()).await.unwrap();
        *known = messages.len();
    };
    // Messages that were sent before exist from the start.
    register(&mut known).await;
    let before = known;
    let handle = spawn(CollectorDeps {
        account: account.clone(),
        provider: vendor.clone(),
        recorder: record.clone(),
        ledger: own,
        relabelled: true,
        lease,
        clock: clock.clone(),
        progress: Arc::new(()),
    });
    let all = Days {
        clock,
        hand,
        record: record.clone(),
        vendor,
    };
    // The first day is skipped, because its messages were not known when they were young.
    let mut measured = None;
    let mut fixed = 0;
    for minute in 0..(days + 1) * 24 * 60 {
        if minute == 24 * 60 {
            record.missed.lock().unwrap().clear();
            let begin = (
                world.servers[0].received().len(),
                record.forgotten.load(Ordering::SeqCst),
            );
            measured = Some(begin);
            fixed = 0;
        }
        all.go_on(began + SignedDuration::from_secs((minute + 1) * MINUTE))
            .await;
        fixed += record.tracked.load(Ordering::SeqCst);
        if world.infobip.messages().len() > known {
            register(&mut known).await;
            // The pass that this triggers may drop other messages.
            let told = || {
                let forgotten = record.forgotten.load(Ordering::SeqCst);
                record.tracked.load(Ordering::SeqCst) >= known - forgotten
            };
            eventually("it is tracked", told).await;
        }
    }
    handle.stop().await;
    let (requests_before, forgotten_before) = measured.unwrap();
    let requests = world.servers[0].received().len() - requests_before;
    let forgotten = record.forgotten.load(Ordering::SeqCst) - forgotten_before;
    let fewer = fixed / requests;
    let stalest = *all.vendor.stalest_new.lock().unwrap();
    println!(
        "{days} days, {} messages, {forgotten} forgotten: {requests} requests, {fixed} at a fixed \
         interval, {fewer} times fewer; the newest hour at most {stalest:#} old",
        known - before,
    );
    assert!(fewer >= 100, "{fewer} times fewer");
    // Some messages are still being sent at an age, which is not caused by the schedule.
    let missed = record.missed.lock().unwrap().clone();
    assert!(
        missed.iter().all(|(_, why)| *why == Missed::StillSending),
        "{missed:?}"
    );
    assert!(stalest <= SignedDuration::from_secs(MINUTE), "{stalest:#}");
    assert_eq!(forgotten as i64, days * 24 / 2);
}
