//! One account on a clock that stands still, over any number of starts.

use super::*;

#[derive(Default)]
pub(super) struct Notes {
    pub(super) up: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) quarantined: AtomicU64,
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
pub(super) struct Bench {
    pub(super) directory: tempfile::TempDir,
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) hand: ManualClock,
    pub(super) running: Option<(Ledger, Arc<AccountLedger>)>,
    pub(super) notes: Arc<Notes>,
    pub(super) shown: HashMap<CounterKey, Amount>,
    /// Since when each counts.
    pub(super) born: HashMap<CounterKey, Timestamp>,
    pub(super) decreases: u64,
    pub(super) missed: Vec<String>,
    pub(super) duplicates: u64,
    pub(super) held: u64,
    pub(super) faulty: Option<Arc<faulty::Faulty>>,
}

pub(super) const PUSH: &str =
    "{name: push, type: infobip_push, credentials: {api_key: k}, applications: [{id: app}]}";
pub(super) const MAIL: &str = "{name: mail, type: infobip_email, credentials: {api_key: k}}";

impl Bench {
    pub(super) fn new(provider: &str, collection: &str, start: &str) -> Bench {
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

    pub(super) fn application(&self) -> Application {
        self.config.accounts[0].applications[0].clone()
    }

    /// A process starts; the one before is gone without a word.
    pub(super) async fn start(&mut self) {
        self.begin().await;
        let more = self.account().catch_up(&self.application(), &read).await;
        self.take(more.unwrap());
    }

    pub(super) async fn begin(&mut self) {
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

    pub(super) fn account(&self) -> Arc<AccountLedger> {
        self.running.as_ref().unwrap().1.clone()
    }

    pub(super) fn take(&mut self, delta: LedgerDelta) {
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
    pub(super) async fn until(&mut self, time: &str) {
        while self.clock.now() < at(time) {
            self.hand.advance(Duration::from_secs(1));
            if self.account().due().now_or_never().is_some() {
                let delta = self.account().tick().await.unwrap();
                self.take(delta);
            }
        }
    }

    pub(super) async fn push(&mut self, sent_at: &str, sent: u64, delivered: u64) {
        let counts = vec![(Measure::Sent, sent), (Measure::Delivered, delivered)];
        let snapshot = self.snapshot(counts);
        self.seen(sent_at, Some(snapshot)).await;
    }

    pub(super) fn snapshot(&self, counts: Counts) -> Snapshot {
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

    pub(super) fn message(&self, sent_at: Option<&str>, campaign: Option<&str>) -> Message {
        Message {
            application: self.application().id,
            id: Arc::from("m"),
            campaign: campaign.map(Arc::from),
            sent_at: sent_at.map(at),
        }
    }

    pub(super) async fn seen(&mut self, sent_at: &str, snapshot: Option<Snapshot>) {
        let message = self.message(Some(sent_at), None);
        self.answered(message, snapshot).await;
    }

    pub(super) async fn answered(&mut self, message: Message, snapshot: Option<Snapshot>) {
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

    pub(super) async fn pull(&mut self, report: Report) {
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

    pub(super) fn count(&self, counter: CounterKey) -> Option<u64> {
        let key = counter.of(&self.application().id);
        self.shown.get(&key).map(Amount::things)
    }

    pub(super) fn total(&self, measure: Measure) -> Option<u64> {
        let channel = self.config.accounts[0].vendor.channels[0].name;
        self.count(measured(catalog::TOTAL, measure, &[channel]))
    }

    pub(super) fn cohort(&self, age: u32, part: CohortPart) -> Option<u64> {
        let age = Age::Seconds(age);
        self.count(at_age(catalog::COHORT, part, &["push"], age))
    }

    pub(super) fn sum(&self, of: impl Fn(FamilyId) -> bool) -> u64 {
        self.shown
            .iter()
            .filter(|(key, _)| of(key.family))
            .map(|(_, amount)| amount.things())
            .sum()
    }
}

/// What is durable is not the question in most tests: memory is quicker.
pub(super) fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

pub(super) fn at(text: &str) -> Timestamp {
    format!("2026-11-26T{text}Z").parse().unwrap()
}

pub(super) async fn spool(account: &AccountLedger, body: &[u8]) -> SpooledBody {
    let mut writer: Box<dyn SpoolWriter> = account.spool().begin().await.unwrap();
    for chunk in body.chunks(body.len().div_ceil(3).max(1)) {
        writer.write(chunk).await.unwrap();
    }
    writer.finish().await.unwrap()
}

pub(super) fn report(name: &str, outcome: Outcome) -> Report {
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

/// A body is a letter per report; a capital one is damage that ends it.
pub(super) fn read(body: &[u8]) -> ReportsRead {
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
