//! The ledger and the model, which go through the same steps.

use std::{future::Future, task::Poll};

use futures_util::poll;

use super::{
    super::{
        super::store::Substitute,
        faulty::{Fault, Faulty},
        model::{Id, Model, Own, Sum},
        *,
    },
    steps::*,
};
use crate::model::{Row, TypeTotals};

/// One account: the ledger's, the model's, and what was told of it.
pub(super) struct Side {
    pub(super) account: Arc<AccountLedger>,
    pub(super) model: Model,
    pub(super) shown: HashMap<CounterKey, Amount>,
    pub(super) own: Own,
    pub(super) held: u64,
    pub(super) ticked_at: Timestamp,
    /// No answer of the store was lost since the start: nothing that is told once is missing.
    pub(super) complete: bool,
}

pub(super) struct Rig {
    pub(super) _directory: tempfile::TempDir,
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) hand: ManualClock,
    pub(super) born: Timestamp,
    pub(super) sent: Vec<i64>,
    pub(super) store: Option<Arc<Faulty>>,
    pub(super) _ledger: Option<Ledger>,
    pub(super) sides: Vec<Side>,
    pub(super) said: Vec<(usize, MessageObservation)>,
}

/// The messages' account, and the reports'.
pub(super) const PUSHES: usize = 0;
pub(super) const MAILS: usize = 1;

impl Rig {
    pub(super) fn new(case: &Case) -> Rig {
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
    pub(super) async fn start(&mut self, left: &[Vec<u8>], fault: Option<Fault>) {
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
    pub(super) async fn take_over(&mut self, side: usize, fault: Option<Fault>) {
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
    pub(super) async fn meet_again(&mut self, watched: Vec<Id>) {
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

    pub(super) async fn load_messages(&mut self, message: Message, fault: Option<Fault>) {
        let account = self.sides[PUSHES].account.clone();
        let now = self.clock.now();
        let meet = async || account.load_messages(vec![(message.clone(), now)]).await;
        self.attempt(PUSHES, fault, meet).await;
        let id = (message.application.clone(), message.id.clone());
        self.sides[PUSHES].model.named(&id, &message, now);
    }

    /// Bodies that nobody has counted are.
    pub(super) async fn catch_up(&mut self, left: &[Vec<u8>]) {
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
    pub(super) async fn attempt<T, F: Future<Output = Result<T, StoreError>>>(
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

    pub(super) fn sent_at(&self, message: usize) -> Timestamp {
        self.born + jiff::SignedDuration::from_secs(self.sent[message])
    }

    pub(super) fn message(&self, message: usize, campaign: usize, sent_at: bool) -> Message {
        let (application, id) = id_of(message);
        let campaign = CAMPAIGNS[campaign];
        Message {
            application,
            id,
            campaign: (!campaign.is_empty()).then(|| Arc::from(campaign)),
            sent_at: sent_at.then(|| self.sent_at(message)),
        }
    }

    pub(super) fn answer(&self, asked: &Asked) -> MessageObservation {
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

    pub(super) async fn seen(
        &mut self,
        all: Vec<(usize, MessageObservation)>,
        fault: Option<Fault>,
    ) {
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

    pub(super) async fn step(&mut self, step: &Step, fault: Option<Fault>) {
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
                // Two days after the last count its clock would be doubted, which has tests of its own.
                let newest = self
                    .sides
                    .iter()
                    .filter_map(|side| side.model.newest())
                    .max();
                let idle = newest.map(|at| self.clock.now().as_millisecond() - at);
                if idle.is_some_and(|idle| idle + i64::from(*away) * 1000 > 2 * 86_400_000) {
                    return;
                }
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

    pub(super) async fn bodies(&mut self, bodies: &[Vec<u8>], fault: Option<Fault>) {
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
    pub(super) async fn settle(&mut self, fault: Option<Fault>) {
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
    pub(super) async fn stored(&self) {
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
pub(super) fn take(side: &mut Side, delta: LedgerDelta) {
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

pub(super) fn compare(side: &Side) {
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
