//! Any sequence of answers, repeats, failures and starts against [`super::model`].

use std::{future::Future, task::Poll};

use futures_util::poll;
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{
    super::store::Substitute,
    faulty::{Fault, Faulty},
    model::{Id, Model, Own, Sum},
    *,
};
use crate::model::{ErrorReason, Row, TypeTotals};

/// Names that a step can use; the first stands for none.
const CAMPAIGNS: [&str; 5] = ["", "spring", "summer", "autumn", "other"];
const CHANNELS: [&str; 3] = ["push", "email", "sms"];
const PLACES: [(&str, &str, &str); 5] = [
    ("notification", "android", "fcm"),
    ("message", "android", "fcm"),
    ("notification", "ios", "apns"),
    ("notification", "harmonyos", "huawei"),
    ("voip", "web", "chrome"),
];
const TYPES: [&str; 2] = ["notification", "message"];
const MEASURES: [Measure; 4] = [
    Measure::Sent,
    Measure::Delivered,
    Measure::Opened,
    Measure::Bounces(BounceKind::Hard),
];
const MESSAGES: [(&str, &str); 4] = [("a1", "m1"), ("a1", "m2"), ("a2", "m1"), ("a2", "m3")];

#[derive(Clone, Debug)]
struct Numbers {
    /// Per channel and per place, what each measure has; `None`: it is not told.
    totals: Vec<(usize, Vec<Option<u64>>)>,
    rows: Vec<(usize, Vec<Option<u64>>)>,
    types: Vec<(usize, Vec<Option<u64>>)>,
}

#[derive(Clone, Debug)]
struct Asked {
    message: usize,
    /// `None`: the vendor has no numbers yet.
    numbers: Option<Numbers>,
    /// So many seconds ago.
    ago: i64,
    campaign: usize,
    /// Whether the source says when the message was sent, and whether the vendor does.
    sent_at: bool,
    vendor: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Answer(Vec<Asked>),
    /// An answer of before comes again, as old as it was; or the last numbers of a message, anew.
    Stale(usize),
    Same(usize),
    Named {
        message: usize,
        sent_at: bool,
    },
    Forgotten(usize),
    Unwatched(usize),
    Wait(u32),
    /// A process dies, with bodies in its spool; how long the next one takes to come.
    Start(Vec<Vec<u8>>, u32),
    /// The same process takes its account again; everything is held again.
    Reload,
    Bodies(Vec<Vec<u8>>),
}

fn values() -> impl Strategy<Value = Vec<Option<u64>>> {
    let count = prop_oneof![
        Just(0),
        0..20_u64,
        100..115_u64,
        0..1000_u64,
        Just((1 << 53) - 1)
    ];
    vec(option::weighted(0.8, count), 1..=MEASURES.len())
}

fn numbers() -> impl Strategy<Value = Numbers> {
    let one = |most: usize| {
        vec((0..most, values()), 0..=2).prop_map(|mut own| {
            own.sort_by_key(|(place, _)| *place);
            own.dedup_by_key(|(place, _)| *place);
            own
        })
    };
    (one(CHANNELS.len()), one(PLACES.len()), one(TYPES.len())).prop_map(|(totals, rows, types)| {
        Numbers {
            totals,
            rows,
            types,
        }
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    (
        0..MESSAGES.len(),
        option::weighted(0.9, numbers()),
        prop_oneof![3 => Just(0), 1 => 0..400_i64],
        prop_oneof![2 => Just(0), 1 => 0..CAMPAIGNS.len()],
        prop::bool::weighted(0.5),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(message, numbers, ago, campaign, sent_at, vendor)| Asked {
            message,
            numbers,
            ago,
            campaign,
            sent_at,
            vendor,
        })
}

/// A letter per report; a capital one is damage that ends the body.
fn body() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![20 => b'a'..=b'x', 1 => Just(b'X')], 0..8)
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![1..90_u32, 90..400_u32, 400..8_000_u32, 86_000..100_000_u32];
    prop_oneof![
        8 => vec(asked(), 1..=3).prop_map(Step::Answer),
        1 => any::<prop::sample::Index>().prop_map(|own| Step::Stale(own.index(8))),
        2 => (0..MESSAGES.len()).prop_map(Step::Same),
        1 => (0..MESSAGES.len(), any::<bool>())
            .prop_map(|(message, sent_at)| Step::Named { message, sent_at }),
        1 => (0..MESSAGES.len()).prop_map(Step::Forgotten),
        1 => (0..MESSAGES.len()).prop_map(Step::Unwatched),
        7 => wait.prop_map(Step::Wait),
        2 => (vec(body(), 0..3), 0..300_u32).prop_map(|(left, away)| Step::Start(left, away)),
        1 => Just(Step::Reload),
        4 => vec(body(), 1..4).prop_map(Step::Bodies),
    ]
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    let faults = vec![Fault::RolledBack, Fault::Unanswered, Fault::Abandoned];
    option::weighted(0.08, select(faults))
}

#[derive(Clone, Debug)]
struct Case {
    zero_hold: &'static str,
    adopt_age: &'static str,
    /// When each message was sent, in seconds after the first start.
    sent: Vec<i64>,
    steps: Vec<(Step, Option<Fault>)>,
}

fn case() -> impl Strategy<Value = Case> {
    let sent = prop_oneof![
        -10_000..-3_600_i64,
        -3_600..0_i64,
        -450..-250_i64,
        -100..100_i64,
        0..2_000_i64
    ];
    (
        select(vec!["0s", "2m", "2m", "2m"]),
        select(vec!["0s", "1h", "1h"]),
        vec(sent, MESSAGES.len()),
        vec((step(), fault()), 1..50),
    )
        .prop_map(|(zero_hold, adopt_age, sent, steps)| Case {
            zero_hold,
            adopt_age,
            sent,
            steps,
        })
}

fn id_of(message: usize) -> Id {
    let (application, id) = MESSAGES[message];
    (Arc::from(application), Arc::from(id))
}

/// The report that a letter stands for: one of four messages in one of six states.
fn letter(byte: u8) -> Report {
    let (message, state) = ((byte - b'a') / 6, (byte - b'a') % 6);
    let outcomes = [
        Outcome::Pending,
        Outcome::Pending,
        Outcome::Delivered,
        Outcome::Bounced(BounceKind::Hard),
        Outcome::Failed(ErrorReason::Dropped),
        Outcome::Other,
    ];
    let outcome = outcomes[usize::from(state)];
    let campaign = CAMPAIGNS[usize::from(message)];
    let price = format!("0.00{}5", state + 1);
    let currency = if message == 0 { "EUR" } else { "BRL" };
    Report {
        message: [message; 16],
        campaign: (!campaign.is_empty()).then(|| Arc::from(campaign)),
        status_group: Arc::from(["PENDING", "FINAL", "LATE"][usize::from(state) % 3]),
        permanent: (state > 2).then_some(state == 3),
        latency: (outcome != Outcome::Pending && message != 1)
            .then(|| Duration::from_millis(u64::from(byte) * 977)),
        cost: (state % 2 == 1).then(|| (price.parse().unwrap(), Arc::from(currency))),
        ..report(&char::from(byte).to_string(), outcome)
    }
}

fn letters(body: &[u8]) -> ReportsRead {
    let good: Vec<u8> = body
        .iter()
        .copied()
        .take_while(|own| *own != b'X')
        .collect();
    ReportsRead {
        reports: good.iter().copied().map(letter).collect(),
        empty: body.is_empty(),
        damage: (good.len() < body.len()).then(|| Damage {
            at: good.len(),
            what: "a capital".into(),
            rest: body[good.len()..].into(),
            sample_of: None,
        }),
        failure: None,
    }
}

/// One account: the ledger's, the model's, and what was told of it.
struct Side {
    account: Arc<AccountLedger>,
    model: Model,
    shown: HashMap<CounterKey, Amount>,
    own: Own,
    held: u64,
    ticked_at: Timestamp,
    /// No answer of the store was lost since the start: nothing that is told once is missing.
    complete: bool,
}

struct Rig {
    _directory: tempfile::TempDir,
    config: Config,
    clock: Clock,
    hand: ManualClock,
    born: Timestamp,
    sent: Vec<i64>,
    store: Option<Arc<Faulty>>,
    _ledger: Option<Ledger>,
    sides: Vec<Side>,
    said: Vec<(usize, MessageObservation)>,
}

/// The messages' account, and the reports'.
const PUSHES: usize = 0;
const MAILS: usize = 1;

impl Rig {
    fn new(case: &Case) -> Rig {
        let directory = in_memory();
        let text = format!(
            "collection: {{zero_hold: {}, adopt_age: {}, interval: 60s, cohort_ages: [5m, 1h]}}
limits: {{max_label_values: 2, max_campaigns_per_account: 2}}
providers:
- {{name: push, type: pushwoosh, credentials: {{api_token: k}}, collect: [messages], applications: [{{id: a1}}, {{id: a2}}]}}
- {MAIL}",
            case.zero_hold, case.adopt_age
        );
        let path = directory.path().join("config.yaml");
        let config = config::parse(&path, &text, &|_| None).unwrap();
        let born = at("10:00:00");
        let (clock, hand) = Clock::manual(born);
        Rig {
            _directory: directory,
            config,
            clock,
            hand,
            born,
            sent: case.sent.clone(),
            store: None,
            _ledger: None,
            sides: Vec::new(),
            said: Vec::new(),
        }
    }

    /// A process starts; the one before is gone without a word.
    async fn start(&mut self, left: &[Vec<u8>], fault: Option<Fault>) {
        let models: Vec<Model> = self.sides.drain(..).map(|side| side.model).collect();
        self.store = None;
        self._ledger = None;
        let mut ledger = Ledger::open(
            &self.config,
            self.clock.clone(),
            Arc::<Notes>::default(),
            Purpose::Serve,
        )
        .await
        .unwrap();
        self.store = Some(Faulty::beneath(&mut ledger));
        let mut models = models.into_iter();
        for account in &self.config.accounts {
            let now = self.clock.now();
            let mut model = models
                .next()
                .unwrap_or_else(|| Model::new(&self.config, now));
            model.at(now);
            self.sides.push(Side {
                account: ledger.account((&self.config, account)).unwrap(),
                model,
                shown: HashMap::new(),
                own: Own::default(),
                held: 0,
                ticked_at: now,
                complete: true,
            });
        }
        self._ledger = Some(ledger);
        for side in [PUSHES, MAILS] {
            let watched = self.sides[side].model.watched();
            self.take_over(side, fault).await;
            self.sides[side].ticked_at = self.clock.now();
            if side == PUSHES {
                self.meet_again(watched).await;
            } else {
                self.catch_up(left).await;
            }
        }
    }

    /// The account is opened, as by a process that starts or takes another configuration.
    async fn take_over(&mut self, side: usize, fault: Option<Fault>) {
        let own = self.config.accounts[side].clone();
        let account = self.sides[side].account.clone();
        let open = async || account.open(&own.applications, &own.collect, true).await;
        let delta = self.attempt(side, fault, open).await;
        let side = &mut self.sides[side];
        side.model.start(&own);
        side.shown.clear();
        side.own = Own::default();
        side.complete = true;
        take(side, delta);
    }

    /// Sources name their messages again after a start.
    async fn meet_again(&mut self, watched: Vec<Id>) {
        for id in watched {
            let message = Message {
                application: id.0.clone(),
                id: id.1.clone(),
                campaign: None,
                sent_at: None,
            };
            self.load_messages(message, None).await;
        }
    }

    async fn load_messages(&mut self, message: Message, fault: Option<Fault>) {
        let account = self.sides[PUSHES].account.clone();
        let now = self.clock.now();
        let meet = async || account.load_messages(vec![(message.clone(), now)]).await;
        self.attempt(PUSHES, fault, meet).await;
        let id = (message.application.clone(), message.id.clone());
        self.sides[PUSHES].model.named(&id, &message, now);
    }

    /// Bodies that nobody has counted are.
    async fn catch_up(&mut self, left: &[Vec<u8>]) {
        let account = self.sides[MAILS].account.clone();
        let application = self.config.accounts[MAILS].applications[0].clone();
        let read = |body: &[u8]| letters(body);
        let delta = account.catch_up(&application, &read).await.unwrap();
        let side = &mut self.sides[MAILS];
        let duplicates = side.model.own.duplicates;
        for report in left.iter().flat_map(|own| letters(own).reports) {
            side.model.report(&application.id, &report);
        }
        // They were told by the process that counted them.
        side.model.own.duplicates = duplicates;
        take(side, delta);
    }

    /// Makes a change, after a fault once more.
    async fn attempt<T, F: Future<Output = Result<T, StoreError>>>(
        &mut self,
        side: usize,
        fault: Option<Fault>,
        change: impl Fn() -> F,
    ) -> T {
        if let Some(fault) = fault {
            self.sides[side].complete = false;
            if matches!(fault, Fault::Abandoned) {
                let mut begun = Box::pin(change());
                if let Poll::Ready(done) = poll!(&mut begun) {
                    return done.unwrap();
                }
            } else {
                let next = &self.store.as_ref().unwrap().next;
                *next.lock().unwrap() = Some(fault);
                let done = change().await;
                let unused = next.lock().unwrap().take().is_some();
                match done {
                    Ok(done) if unused => return done,
                    Ok(_) => panic!("a fault was not told"),
                    Err(_) => {}
                }
            }
        }
        change().await.unwrap()
    }

    fn sent_at(&self, message: usize) -> Timestamp {
        self.born + jiff::SignedDuration::from_secs(self.sent[message])
    }

    fn message(&self, message: usize, campaign: usize, sent_at: bool) -> Message {
        let (application, id) = id_of(message);
        let campaign = CAMPAIGNS[campaign];
        Message {
            application,
            id,
            campaign: (!campaign.is_empty()).then(|| Arc::from(campaign)),
            sent_at: sent_at.then(|| self.sent_at(message)),
        }
    }

    fn answer(&self, asked: &Asked) -> MessageObservation {
        let now = self.clock.now();
        let asked_at = now - Duration::from_secs(asked.ago.unsigned_abs());
        let message = self.message(asked.message, asked.campaign, asked.sent_at);
        let counts = |values: &[Option<u64>]| {
            let both = MEASURES.iter().zip(values);
            both.filter_map(|(measure, count)| Some((*measure, (*count)?)))
                .collect()
        };
        let snapshot = asked.numbers.as_ref().map(|numbers| Snapshot {
            asked: message.id.clone(),
            id: message.id.clone(),
            campaign: None,
            sent_at: asked.vendor.then(|| self.sent_at(asked.message)),
            asked_at,
            totals: numbers
                .totals
                .iter()
                .map(|(channel, values)| Totals {
                    channel: CHANNELS[*channel],
                    counts: counts(values),
                    reported_ratio: None,
                })
                .collect(),
            breakdown: numbers
                .rows
                .iter()
                .map(|(place, values)| Row {
                    message_type: Arc::from(PLACES[*place].0),
                    platform: Arc::from(PLACES[*place].1),
                    vendor_channel: Arc::from(PLACES[*place].2),
                    counts: counts(values),
                })
                .collect(),
            types: numbers
                .types
                .iter()
                .map(|(place, values)| TypeTotals {
                    message_type: Arc::from(TYPES[*place]),
                    counts: counts(values),
                })
                .collect(),
        });
        MessageObservation {
            message,
            first_seen: now,
            snapshot,
            asked_at,
        }
    }

    async fn seen(&mut self, all: Vec<(usize, MessageObservation)>, fault: Option<Fault>) {
        // An answer is of one application.
        for application in self.config.accounts[PUSHES].applications.clone() {
            let of =
                |own: &&(usize, MessageObservation)| own.1.message.application == application.id;
            let seen: Vec<MessageObservation> =
                all.iter().filter(of).map(|own| own.1.clone()).collect();
            if seen.is_empty() {
                continue;
            }
            let account = self.sides[PUSHES].account.clone();
            let count = async || {
                account
                    .snapshots(
                        &application,
                        crate::providers::dataset("messages").unwrap(),
                        seen.clone(),
                    )
                    .await
            };
            let (delta, _) = self.attempt(PUSHES, fault, count).await;
            let side = &mut self.sides[PUSHES];
            for own in &seen {
                let id = (application.id.clone(), own.message.id.clone());
                side.model.seen(&self.config.accounts[PUSHES], &id, own);
            }
            take(side, delta);
        }
        self.said.splice(0..0, all);
        self.said.truncate(8);
    }

    async fn step(&mut self, step: &Step, fault: Option<Fault>) {
        match step {
            Step::Answer(asked) => {
                let seen = asked.iter().map(|own| (own.message, self.answer(own)));
                let seen = seen.collect();
                self.seen(seen, fault).await;
            }
            Step::Stale(back) => {
                if let Some(own) = self.said.get(*back).cloned() {
                    self.seen(vec![own], fault).await;
                }
            }
            Step::Same(message) => {
                let last = self.said.iter().find(|(own, _)| own == message).cloned();
                if let Some((message, mut seen)) = last {
                    seen.asked_at = self.clock.now();
                    if let Some(snapshot) = &mut seen.snapshot {
                        snapshot.asked_at = seen.asked_at;
                    }
                    self.seen(vec![(message, seen)], fault).await;
                }
            }
            Step::Named { message, sent_at } => {
                let message = self.message(*message, 0, *sent_at);
                self.load_messages(message, fault).await;
            }
            Step::Forgotten(message) => {
                let id = id_of(*message);
                let account = self.sides[PUSHES].account.clone();
                let forget = async || account.forget(vec![id.clone()]).await;
                self.attempt(PUSHES, fault, forget).await;
                self.sides[PUSHES].model.forgotten(&id);
            }
            Step::Unwatched(message) => {
                let id = id_of(*message);
                let side = &mut self.sides[PUSHES];
                side.account.unwatch(std::slice::from_ref(&id)).await;
                side.model.unwatched(&id);
            }
            Step::Wait(seconds) => {
                // A repeat is recognised for 30 days.
                let elapsed = self.clock.now().duration_since(self.born);
                if elapsed.as_secs() < 28 * 86_400 {
                    self.hand.advance(Duration::from_secs((*seconds).into()));
                }
                self._ledger.as_ref().unwrap().maintain().await;
            }
            Step::Start(left, away) => {
                for body in left {
                    spool(&self.sides[MAILS].account, body).await;
                }
                self.hand.advance(Duration::from_secs((*away).into()));
                self.start(left, fault).await;
            }
            Step::Reload => {
                let watched = self.sides[PUSHES].model.watched();
                self.take_over(PUSHES, fault).await;
                self.meet_again(watched).await;
            }
            Step::Bodies(bodies) => self.bodies(bodies, fault).await,
        }
    }

    async fn bodies(&mut self, bodies: &[Vec<u8>], fault: Option<Fault>) {
        let account = self.sides[MAILS].account.clone();
        let application = self.config.accounts[MAILS].applications[0].clone();
        let mut both = Vec::new();
        for body in bodies {
            both.push((spool(&account, body).await, letters(body)));
        }
        if let Some(fault) = fault {
            self.sides[MAILS].complete = false;
            let next = &self.store.as_ref().unwrap().next;
            *next.lock().unwrap() = Some(fault);
            let counted = account.reports(&application, both.clone()).await;
            let unused = next.lock().unwrap().take().is_some();
            if let Err(StoreError::Failed(_)) = counted {
                self.catch_up(bodies).await;
                return;
            }
            assert!(unused, "nothing to count");
            return;
        }
        let delta = account.reports(&application, both.clone()).await.unwrap();
        let side = &mut self.sides[MAILS];
        for report in both.iter().flat_map(|(_, read)| &read.reports) {
            side.model.report(&application.id, report);
        }
        take(side, delta);
    }

    /// Does what is due, and compares.
    async fn settle(&mut self, fault: Option<Fault>) {
        let now = self.clock.now();
        for side in [PUSHES, MAILS] {
            self.sides[side].model.at(now);
            let account = self.sides[side].account.clone();
            while account.due().now_or_never().is_some() {
                let tick = async || account.tick().await;
                let delta = self.attempt(side, fault, tick).await;
                let own = &self.config.accounts[side];
                self.sides[side].model.tick(own);
                self.sides[side].ticked_at = now;
                take(&mut self.sides[side], delta);
            }
            // Before its tick, an answer that was handed over twice can have closed one.
            let own = &self.config.accounts[side];
            self.sides[side].model.close_windows(own);
            let late = now.duration_since(self.sides[side].ticked_at);
            assert!(late.as_secs() <= 60, "nothing was looked after for {late}");
            compare(&self.sides[side]);
        }
    }

    /// What the store has: all that was counted, and of it what is not released.
    async fn stored(&self) {
        let store = self.store.as_ref().unwrap();
        for (side, account) in self.sides.iter().zip(&self.config.accounts) {
            let rows = store
                .account(&account.name, &self.config.replica)
                .await
                .unwrap();
            assert_eq!(rows.counters.len(), side.model.counters.len());
            for row in rows.counters {
                let key = CounterKey::parse(&row.key).unwrap();
                let counted = &side.model.counters[&key];
                assert_eq!(Sum::of(&row.total), counted.total, "{key:?}");
                let mut both = side.shown[&key].clone();
                both.add(&row.pending);
                assert_eq!(both, row.total, "{key:?}");
            }
        }
    }
}

/// Takes what is told, which never goes back.
fn take(side: &mut Side, delta: LedgerDelta) {
    for key in delta.gone {
        side.shown.remove(&key);
    }
    for shown in delta.shown {
        if let Some(before) = side.shown.get(&shown.key) {
            let (before, after) = (Sum::of(before), Sum::of(&shown.amount));
            assert!(before.within(&after), "{:?} went back", shown.key);
        }
        side.shown.insert(shown.key, shown.amount);
    }
    side.own.decreases += delta.decreases;
    side.own.duplicates += delta.duplicates;
    for (age, reason) in delta.missed {
        side.own.miss(age, reason);
    }
    side.held = delta.held.unwrap_or(side.held);
}

fn compare(side: &Side) {
    let mut held = 0;
    for (key, counted) in &side.model.counters {
        let shown = side.shown.get(key).map(Sum::of);
        assert_eq!(shown.as_ref(), Some(&counted.shown), "{key:?}: {counted:?}");
        assert!(counted.shown.within(&counted.total));
        if counted.held_until.is_none() {
            assert_eq!(counted.shown, counted.total);
        }
        held += counted.total.held(&counted.shown);
    }
    for key in side.shown.keys() {
        assert!(side.model.counters.contains_key(key), "{key:?} is too many");
    }
    assert_eq!(side.held, held, "held");
    if side.complete {
        assert_eq!(side.own, side.model.own);
    }
}

async fn run(case: &Case) {
    let mut rig = Rig::new(case);
    rig.start(&[], None).await;
    rig.settle(None).await;
    for (step, fault) in &case.steps {
        rig.step(step, *fault).await;
        let later = matches!(step, Step::Wait(_)).then_some(*fault).flatten();
        rig.settle(later).await;
    }
    rig.hand.advance(Duration::from_secs(121));
    rig.settle(None).await;
    for side in &rig.sides {
        for counted in side.model.counters.values() {
            assert_eq!(counted.shown, counted.total);
        }
    }
    rig.stored().await;
}

/// The first hand-over of an answer was stored, and nobody was told: the second one knows from the
/// end of the answer when the message was sent, and closes the window that the first left open.
#[tokio::test]
async fn an_answer_that_is_handed_over_twice_can_close_a_window() {
    let numbers = Numbers {
        totals: vec![(0, vec![Some(3), Some(2)])],
        rows: Vec::new(),
        types: Vec::new(),
    };
    let asked = |numbers: Option<&Numbers>, sent_at| Asked {
        message: 0,
        numbers: numbers.cloned(),
        ago: 0,
        campaign: 0,
        sent_at,
        vendor: false,
    };
    let first = Step::Answer(vec![asked(Some(&numbers), false)]);
    let both = Step::Answer(vec![asked(Some(&numbers), false), asked(None, true)]);
    run(&Case {
        zero_hold: "0s",
        adopt_age: "1h",
        sent: vec![-10; MESSAGES.len()],
        steps: vec![
            (first, None),
            (Step::Wait(500), None),
            (both, Some(Fault::Unanswered)),
            (Step::Start(Vec::new(), 0), None),
        ],
    })
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn every_counter_is_what_a_plain_model_says(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(&case));
    }
}
