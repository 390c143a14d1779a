//! The loop of one account: passes, what is in flight, and what becomes of each answer.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use delivery_clock::{Clock, Moment};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::Instrument;

use super::{
    DatasetOutcome, PassOutcome, Recorder, Source,
    queue::{Job, Lane},
    schedule,
};
use crate::{
    config::Account,
    discovery::{MessageKey, Named, Tracker},
    ledger::{AccountLedger, Increment},
    model::{Application, Dataset, Message},
    providers::{Failure, FailureKind, Observation, Plan, Provider, Query, Refusal, Scope},
    telemetry::TRACE_TARGET,
};

/// How often a pass that goes on shows what it has so far.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// So many bodies in a row without one report that can be read, and the drain pauses: a vendor
/// that answers nonsense must not fill the disk.
const MAX_UNREADABLE: u32 = 3;
/// A once-only answer in flight has so long to end when the exporter stops.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// What people are told about an account's collector.
#[derive(Clone, Debug, Default)]
pub struct CollectorStatus {
    /// There was an answer, good or bad, or nothing is due.
    pub answered: bool,
    /// When something is tried next.
    pub next: Option<Timestamp>,
    /// The last failure that is not over.
    pub last_error: Option<String>,
}

/// Everything that the collector of one account works with.
pub struct Parts {
    /// The account.
    pub account: Arc<Account>,
    /// How its vendor is asked.
    pub provider: Arc<dyn Provider>,
    /// Who takes what is found out.
    pub recorder: Arc<dyn Recorder>,
    /// Where reports are counted.
    pub ledger: Arc<AccountLedger>,
    /// The time.
    pub clock: Clock,
}

type LaneKey = (Dataset, usize);

/// The collector of one account.
pub(super) struct Collector {
    parts: Parts,
    lanes: BTreeMap<LaneKey, Lane>,
    tracker: Tracker,
    /// Messages that the vendor refused for good.
    set_aside: BTreeSet<MessageKey>,
    /// What is wrong now, so that it is logged once.
    troubles: HashMap<LaneKey, FailureKind>,
    status: Arc<Mutex<CollectorStatus>>,
    unreadable: u32,
    /// Which lane is served next, so that one application does not keep the others waiting.
    turn: usize,
}

/// A query that has ended.
struct Landed {
    lane: LaneKey,
    jobs: Vec<Job>,
    seen: Vec<Observation>,
    counted: Vec<Increment>,
    result: Result<(), Failure>,
}

/// A pass that goes on.
struct Pass {
    began: Timestamp,
    began_at: Moment,
    /// Nothing is begun after it; `None`: until nothing is due.
    ends: Option<Timestamp>,
    deadline: Moment,
    up: bool,
    asked: BTreeMap<LaneKey, bool>,
    lasted: BTreeMap<Dataset, Duration>,
    shown_at: Moment,
}

impl Collector {
    /// A collector whose first queries are due at `first`.
    pub(super) fn new(
        parts: Parts,
        status: Arc<Mutex<CollectorStatus>>,
        first: Timestamp,
    ) -> Collector {
        let account = parts.account.clone();
        parts.ledger.close(false);
        let mut collector = Collector {
            tracker: Tracker::new(account.messages.max_age),
            parts,
            lanes: BTreeMap::new(),
            set_aside: BTreeSet::new(),
            troubles: HashMap::new(),
            status,
            unreadable: 0,
            turn: 0,
        };
        for dataset in &account.collect {
            match collector.parts.provider.plan(*dataset) {
                Plan::Drain => {
                    collector
                        .lanes
                        .entry((*dataset, 0))
                        .or_default()
                        .add(Job::Drain, first);
                }
                Plan::Messages { .. } => {
                    for application in 0..account.applications.len() {
                        let lane = collector.lanes.entry((*dataset, application)).or_default();
                        if account.messages.list {
                            lane.add(Job::List, first);
                        }
                    }
                }
            }
        }
        let mut new = 0;
        for entry in &account.messages.fixed {
            let Some(application) = account.applications.get(entry.application) else {
                continue;
            };
            let message = Message {
                application: application.id.clone(),
                id: entry.id.clone(),
                campaign: entry.campaign.clone(),
                sent_at: entry.sent_at,
            };
            new += usize::from(collector.name(entry.application, message, first));
        }
        if account.provider.has_messages() {
            let now = collector.parts.clock.now();
            collector
                .parts
                .recorder
                .discovered(Source::Static, Ok(new), now);
        }
        collector.parts.recorder.tracked(collector.tracker.len());
        collector.tell_due();
        collector.parts.recorder.publish();
        collector
    }

    /// A source names a message; whether it is new. It is due from `first` on, or when the vendor
    /// can have numbers of it.
    fn name(&mut self, application: usize, message: Message, first: Timestamp) -> bool {
        let now = self.parts.clock.now();
        let earliest = self.parts.provider.first_numbers(&message);
        let key = self.tracker.resolve(&(application, message.id.clone()));
        match self.tracker.name(application, message, now) {
            Named::New => {}
            Named::Known | Named::Forgotten => return false,
            Named::TooOld => {
                self.parts.recorder.rejected("max_age");
                return false;
            }
        }
        let first = earliest.map_or(first, |earliest| earliest.max(first));
        for ((_, of), lane) in &mut self.lanes {
            if *of == application {
                lane.add(Job::Message(key.1.clone()), first);
            }
        }
        true
    }

    /// Works until it is told to stop.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let next = self.lanes.values().filter_map(Lane::next_try).min();
            self.tell(|status| {
                status.next = next;
                status.answered |= next.is_none();
            });
            let clock = self.parts.clock.clone();
            let due = async {
                match next {
                    Some(next) => {
                        let wait = next.duration_since(clock.now());
                        clock
                            .sleep(Duration::try_from(wait).unwrap_or_default())
                            .await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let interval = self.parts.account.interval;
            let span = tracing::info_span!(
                target: TRACE_TARGET, "pass", account = %self.parts.account.name
            );
            self.pass(Some(interval), &mut stop).instrument(span).await;
            if *stop.borrow() {
                return;
            }
        }
    }

    /// One pass over everything that is due, however long it takes.
    pub(super) async fn run_once(mut self) -> Result<(), ()> {
        let (_keep, mut stop) = watch::channel(false);
        let failed = self.pass(None, &mut stop).await;
        if failed { Err(()) } else { Ok(()) }
    }

    /// Asks for what is due, for at most `length`; whether anything failed.
    async fn pass(&mut self, length: Option<Duration>, stop: &mut watch::Receiver<bool>) -> bool {
        let clock = self.parts.clock.clone();
        let (began, began_at) = (clock.now(), clock.monotonic());
        let interval = self.parts.account.interval;
        let mut pass = Pass {
            began,
            began_at,
            ends: length.map(|length| schedule::after(began, length)),
            deadline: began_at + interval,
            up: false,
            asked: BTreeMap::new(),
            lasted: BTreeMap::new(),
            shown_at: began_at,
        };
        self.forget_old();
        let mut flights: FuturesUnordered<BoxFuture<'static, Landed>> = FuturesUnordered::new();
        loop {
            let now = clock.now();
            let stopping = *stop.borrow();
            let open = !stopping && pass.ends.is_none_or(|ends| now < ends);
            if length.is_none() {
                // Without an end, each query has an interval for its retries.
                pass.deadline = clock.monotonic() + interval;
            }
            while open && flights.len() < self.parts.account.max_concurrency {
                let Some(flight) = self.take_off(now, &mut pass) else {
                    break;
                };
                flights.push(flight);
            }
            if flights.is_empty() {
                break;
            }
            if stopping {
                self.drain_in_flight(&mut flights, &mut pass).await;
                break;
            }
            tokio::select! {
                Some(landed) = flights.next() => {
                    self.landed(landed, &mut pass);
                    self.show(&mut pass);
                }
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        self.ended(&pass)
    }

    /// The exporter stops: what a vendor hands out once may still arrive, anything else is asked
    /// for again after the next start.
    async fn drain_in_flight(
        &mut self,
        flights: &mut FuturesUnordered<BoxFuture<'static, Landed>>,
        pass: &mut Pass,
    ) {
        let drains = self
            .lanes
            .values()
            .any(|lane| lane.is_in_flight(&Job::Drain));
        let grace = if drains { DRAIN_GRACE } else { Duration::ZERO };
        let all = async {
            while let Some(landed) = flights.next().await {
                self.landed(landed, pass);
            }
        };
        if tokio::time::timeout(grace, all).await.is_err() && drains {
            tracing::warn!(account = %self.parts.account.name, "a once-only answer was still arriving; what came of it is in the spool");
        }
    }

    /// The next query that is due, begun.
    fn take_off(&mut self, now: Timestamp, pass: &mut Pass) -> Option<BoxFuture<'static, Landed>> {
        let keys: Vec<_> = self.lanes.keys().copied().collect();
        for step in 0..keys.len() {
            let key = keys[(self.turn + step) % keys.len()];
            let batch = match self.parts.provider.plan(key.0) {
                Plan::Messages { batch } => batch,
                Plan::Drain => 1,
            };
            let jobs = self.lanes.get_mut(&key)?.take(now, batch);
            if !jobs.is_empty() {
                self.turn = (self.turn + step + 1) % keys.len();
                pass.asked.entry(key).or_insert(true);
                return Some(self.query(key, jobs, pass));
            }
        }
        None
    }

    fn query(&self, lane: LaneKey, jobs: Vec<Job>, pass: &Pass) -> BoxFuture<'static, Landed> {
        let (dataset, application) = lane;
        let provider = self.parts.provider.clone();
        let ledger = self.parts.ledger.clone();
        let application = self.application(application);
        let deadline = pass.deadline;
        let max_age = self.parts.account.messages.max_age;
        let since = schedule::before(pass.began, max_age);
        let messages: Vec<Message> = jobs
            .iter()
            .filter_map(|job| match job {
                Job::Message(id) => self.tracker.get(&(lane.1, id.clone())),
                _ => None,
            })
            .map(|tracked| tracked.message.clone())
            .collect();
        async move {
            let mut seen = Vec::new();
            let query = match jobs.first() {
                Some(Job::List) => Query::List {
                    dataset,
                    application: &application,
                    since,
                    deadline,
                },
                Some(Job::Drain) => Query::Drain {
                    dataset,
                    spool: ledger.spool(),
                    deadline,
                },
                _ => Query::Messages {
                    dataset,
                    application: &application,
                    messages: &messages,
                    deadline,
                },
            };
            let mut result = provider
                .ask(query, &mut |observation| seen.push(observation))
                .await;
            let mut counted = Vec::new();
            for observation in &seen {
                if let Observation::Drained { body, read, .. } = observation {
                    match ledger.count(body.clone(), read.clone()).await {
                        Ok(increments) => counted.extend(increments),
                        Err(error) => {
                            result = Err(Failure::new(FailureKind::Store, &error.0));
                        }
                    }
                }
            }
            Landed {
                lane,
                jobs,
                seen,
                counted,
                result,
            }
        }
        .in_current_span()
        .boxed()
    }

    fn application(&self, index: usize) -> Application {
        let applications = &self.parts.account.applications;
        applications
            .get(index)
            .cloned()
            .unwrap_or_else(|| Application {
                id: Arc::from(""),
                name: self.parts.account.name.clone(),
            })
    }

    /// Takes what a query brought.
    fn landed(&mut self, landed: Landed, pass: &mut Pass) {
        let Landed {
            lane,
            jobs,
            seen,
            counted,
            result,
        } = landed;
        let (dataset, index) = lane;
        let application = self.application(index);
        let next = schedule::next(pass.began, self.parts.account.dataset_interval(dataset));
        let again = schedule::next(pass.began, self.parts.account.interval);
        let stale_at = schedule::after(next, self.parts.account.stale_after);
        self.parts.recorder.counted(&application, &counted);
        if !counted.is_empty() {
            self.parts.ledger.measure();
        }
        let is_list = jobs.first() == Some(&Job::List);
        let (mut new, mut good) = (0, result.is_ok() && seen.is_empty());
        let mut failures: Vec<Failure> = Vec::new();
        let mut drained = None;
        for observation in seen {
            good |= !matches!(
                observation,
                Observation::Failed { .. } | Observation::Drained { cut: Some(_), .. }
            );
            match observation {
                Observation::Listed(message) => {
                    let key = (index, message.id.clone());
                    if !self.set_aside.contains(&key) {
                        new += usize::from(self.name(index, message, pass.began));
                    }
                }
                Observation::Snapshot(snapshot) => {
                    let key = self.known_as(lane, &snapshot.asked, &snapshot.id);
                    self.tracker
                        .learn(&key, snapshot.campaign.clone(), snapshot.sent_at);
                    self.answered(lane, &key.1, next);
                    if let Some(tracked) = self.tracker.get(&key) {
                        self.parts.recorder.snapshot(
                            dataset,
                            &application,
                            &tracked.message,
                            tracked.first_seen,
                            &snapshot,
                            stale_at,
                        );
                    }
                }
                Observation::NotYet { asked } => {
                    let key = self.tracker.resolve(&(index, asked));
                    self.answered(lane, &key.1, next);
                    self.parts
                        .recorder
                        .renewed(dataset, &application, &key.1, stale_at);
                }
                Observation::Refused {
                    asked,
                    reason,
                    then,
                } => {
                    self.refused(lane, &asked, &reason, then, next);
                }
                Observation::Failed { asked, failure } => {
                    let key = self.tracker.resolve(&(index, asked));
                    self.unanswered(lane, &Job::Message(key.1), again);
                    failures.push(failure);
                }
                Observation::Drained { read, cut, .. } => {
                    failures.extend(cut);
                    drained = Some((read.empty, read.reports.is_empty()));
                }
            }
        }
        if is_list {
            let now = self.parts.clock.now();
            let outcome = result.as_ref().map(|()| new);
            self.parts.recorder.discovered(Source::List, outcome, now);
            self.parts.recorder.tracked(self.tracker.len());
        }
        if let Some((empty, unreadable)) = drained {
            self.unreadable = if unreadable && !empty {
                self.unreadable + 1
            } else {
                0
            };
            let pause = empty || self.unreadable >= MAX_UNREADABLE;
            if pause {
                self.unreadable = 0;
            }
            let next = if pause { next } else { self.parts.clock.now() };
            self.lane(lane).answered(&Job::Drain, next);
        }
        for job in &jobs {
            if self.lane(lane).is_in_flight(job) {
                match &result {
                    // A list's own job; or a message that the answer passed over in silence.
                    Ok(()) => self.lane(lane).answered(job, next),
                    Err(_) => self.lane(lane).unanswered(job, again),
                }
            }
        }
        if let Err(failure) = result {
            match failure.scope {
                Scope::Query => {}
                Scope::Application => self.lane(lane).defer(again),
                Scope::Account => self.lanes.values_mut().for_each(|lane| lane.defer(again)),
            }
            failures.push(failure);
        }
        pass.up |= good;
        let lasted = self.parts.clock.monotonic().since(pass.began_at);
        pass.lasted.insert(dataset, lasted);
        if !failures.is_empty() {
            pass.asked.insert(lane, false);
        }
        for failure in failures {
            self.failed(lane, &application, &failure);
        }
        self.tell(|status| status.answered = true);
    }

    fn lane(&mut self, key: LaneKey) -> &mut Lane {
        self.lanes.entry(key).or_default()
    }

    /// The key of a message that was asked for under one name and answered under another.
    fn known_as(&mut self, lane: LaneKey, asked: &Arc<str>, own: &Arc<str>) -> MessageKey {
        let key = (lane.1, asked.clone());
        if asked != own && self.tracker.get(&key).is_some() {
            self.tracker.rename(&key, own);
            let now = self.parts.clock.now();
            for ((_, of), lane) in &mut self.lanes {
                if *of == key.0 {
                    lane.remove(&Job::Message(asked.clone()));
                    lane.add(Job::Message(own.clone()), now);
                }
            }
            self.parts.recorder.tracked(self.tracker.len());
        }
        self.tracker.resolve(&key)
    }

    fn answered(&mut self, lane: LaneKey, id: &Arc<str>, next: Timestamp) {
        let key = (lane.1, id.clone());
        let earliest = self
            .tracker
            .get(&key)
            .and_then(|tracked| self.parts.provider.first_numbers(&tracked.message));
        let next = earliest.map_or(next, |earliest| earliest.max(next));
        self.lane(lane).answered(&Job::Message(id.clone()), next);
    }

    fn unanswered(&mut self, lane: LaneKey, job: &Job, again: Timestamp) {
        self.lane(lane).unanswered(job, again);
    }

    /// The vendor refuses a message by itself.
    fn refused(
        &mut self,
        lane: LaneKey,
        asked: &Arc<str>,
        reason: &Arc<str>,
        then: Refusal,
        next: Timestamp,
    ) {
        let key = self.tracker.resolve(&(lane.1, asked.clone()));
        let job = Job::Message(key.1.clone());
        let Some(tracked) = self.tracker.get(&key) else {
            return;
        };
        let age = self.parts.clock.now().duration_since(tracked.since());
        let young = match then {
            Refusal::ForGood => false,
            Refusal::OlderThan(limit) => Duration::try_from(age).unwrap_or_default() < limit,
        };
        if young {
            self.lane(lane).alone(&job);
            self.lane(lane).answered(&job, next);
            return;
        }
        let account = &self.parts.account;
        tracing::warn!(
            account = %account.name, dataset = %lane.0, message = %key.1, %reason,
            "the vendor refuses this message; it is set aside"
        );
        self.parts.recorder.rejected(reason);
        self.lane(lane).remove(&job);
        self.set_aside.insert(key);
    }

    /// Notes a failure; a new kind of trouble is logged, the same one again is not.
    fn failed(&mut self, lane: LaneKey, application: &Application, failure: &Failure) {
        self.parts.recorder.failed(lane.0, application, failure);
        let account = &self.parts.account.name;
        if self.troubles.insert(lane, failure.kind) != Some(failure.kind) {
            tracing::warn!(
                %account, dataset = %lane.0, application = %application.name,
                reason = failure.kind.as_str(), error = %failure, "asking the vendor failed"
            );
        } else {
            tracing::debug!(
                %account, dataset = %lane.0, application = %application.name,
                reason = failure.kind.as_str(), error = %failure, "asking the vendor failed again"
            );
        }
        let text = format!("{}, {}: {failure}", lane.0, application.name);
        self.tell(|status| status.last_error = Some(text));
    }

    /// Shows what there is, in the middle of a long pass.
    fn show(&mut self, pass: &mut Pass) {
        let now = self.parts.clock.monotonic();
        if now.since(pass.shown_at) >= SHOW_EVERY {
            pass.shown_at = now;
            self.tell_due();
            self.parts.recorder.publish();
        }
    }

    fn forget_old(&mut self) {
        let now = self.parts.clock.now();
        for key in self.tracker.forget_old(now) {
            for ((_, of), lane) in &mut self.lanes {
                if *of == key.0 {
                    lane.remove(&Job::Message(key.1.clone()));
                }
            }
            self.set_aside.remove(&key);
            let application = self.application(key.0);
            self.parts.recorder.forgotten(&application, &key.1);
        }
        self.parts.recorder.tracked(self.tracker.len());
    }

    /// Records the pass; whether anything failed in it.
    fn ended(&mut self, pass: &Pass) -> bool {
        let at = self.parts.clock.now();
        let failed = pass.asked.values().any(|success| !success);
        for (lane, success) in &pass.asked {
            if *success && self.troubles.remove(lane).is_some() {
                let application = self.application(lane.1);
                tracing::info!(
                    account = %self.parts.account.name, dataset = %lane.0,
                    application = %application.name, "the vendor answers again"
                );
            }
        }
        if self.troubles.is_empty() {
            self.tell(|status| status.last_error = None);
        }
        if !pass.asked.is_empty() {
            let outcome = PassOutcome {
                at,
                up: pass.up,
                datasets: pass
                    .asked
                    .iter()
                    .map(|((dataset, application), success)| DatasetOutcome {
                        dataset: *dataset,
                        application: self.application(*application),
                        success: *success,
                    })
                    .collect(),
                durations: pass
                    .lasted
                    .iter()
                    .map(|(dataset, length)| (*dataset, *length))
                    .collect(),
            };
            self.parts.recorder.pass(&outcome);
        }
        self.tell_due();
        self.parts.recorder.publish();
        failed
    }

    fn tell_due(&self) {
        for ((dataset, application), lane) in &self.lanes {
            let application = self.application(*application);
            self.parts.recorder.due(*dataset, &application, lane.due());
        }
    }

    fn tell(&self, change: impl FnOnce(&mut CollectorStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
