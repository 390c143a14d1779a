//! The loop of one account: passes, what is in flight, and what becomes of each answer.

mod answers;
mod flights;
mod outcome;
mod pass;
mod steps;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use delivery_clock::{Clock, Moment, SettledTime};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tracing::Instrument;

use flights::InFlight;

use super::{
    Recorder,
    queue::{DatasetQueue, QueuedQuery},
    schedule,
};
use crate::{
    config::{Account, MessageEntry},
    discovery::{MessageKey, Named, Sources, Tracker, Update},
    ledger::{AccountLedger, Lease, StoreError},
    model::{Dataset, MAX_REGISTERED_BYTES, Message, QueryMethod, Source},
    providers::{FailureKind, Provider},
    spans::TRACE_TARGET,
};

/// So many bodies in a row without one report that can be read, and the drain pauses: a vendor
/// that answers nonsense must not fill the disk.
const MAX_UNREADABLE: u32 = 3;
/// A ledger that cannot be opened is tried again after this; the spool is looked at as often while
/// another replica holds the account.
const REOPEN_AFTER: Duration = Duration::from_secs(5);
/// A registration that is no older was made with the clock as it is.
const REGISTERED_JUST_NOW: SignedDuration = SignedDuration::from_secs(60);
/// So many messages more than `max_messages_per_account` are taken of one answer before others give
/// way: to look for them takes a walk over all.
const MAX_EXCESS_MESSAGES: usize = 10_000;
/// The ledger is searched for messages that no source names at least so seldom.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// The same, at least so often.
const MAX_SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// How often the ledger is searched for messages that no source names. What is searched for stays in it for so
/// long more than `max_age`: with a short one an hour would be many times as many messages as are tracked.
fn sweep_interval(max_age: Duration) -> Duration {
    (max_age / 8).clamp(MIN_SWEEP_INTERVAL, MAX_SWEEP_INTERVAL)
}

/// What people are told about an account's collector.
#[derive(Clone, Debug, Default)]
pub struct CollectorStatus {
    /// The account's counters are shown.
    pub opened: bool,
    /// There was an answer, good or bad, or nothing is due.
    pub answered: bool,
    /// When the vendor last gave a good answer, in a pass that may still go on.
    pub good_at: Option<Timestamp>,
    /// When something is tried next.
    pub next: Option<Timestamp>,
    /// The last failure that is not over.
    pub last_error: Option<String>,
    /// What fails now, the longest first.
    pub troubles: Vec<Trouble>,
    /// Sources of messages that cannot be read now, each with what is wrong.
    pub broken_sources: Vec<(Source, String)>,
}

/// A data set of an application that fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// Which data set.
    pub dataset: Dataset,
    /// Whose.
    pub application: Arc<str>,
    /// The class of the failure.
    pub kind: FailureKind,
    /// What happened last, without a secret.
    pub text: String,
    /// When it began to fail.
    pub since: Timestamp,
}

/// Everything that the collector of one account works with.
pub struct CollectorDeps {
    /// The account.
    pub account: Arc<Account>,
    /// How its vendor is asked.
    pub provider: Arc<dyn Provider>,
    /// Who takes what is found out.
    pub recorder: Arc<dyn Recorder>,
    /// Where everything is counted.
    pub ledger: Arc<AccountLedger>,
    /// The series get labels that they did not have: counters stand still for a while.
    pub relabelled: bool,
    /// While it runs, the account is this process's.
    pub lease: Lease,
    /// The time.
    pub clock: Clock,
    /// Who is told how far it is.
    pub progress: Arc<dyn Progress>,
}

/// Is told how far long work is.
pub trait Progress: Send + Sync {
    /// The ledger of an account is open.
    fn opened(&self) {}
    /// There are so many queries more.
    fn planned(&self, queries: usize) {
        let _ = queries;
    }
    /// So many were answered, or failed.
    fn answered(&self, queries: usize) {
        let _ = queries;
    }
}

/// Nobody is told.
impl Progress for () {}

type DatasetQueueKey = (Dataset, usize);

/// The collector of one account.
pub(super) struct Collector {
    parts: CollectorDeps,
    queues: BTreeMap<DatasetQueueKey, DatasetQueue>,
    tracker: Tracker,
    /// Messages that the vendor refuses in a data set, and that were counted as rejected.
    set_aside: BTreeSet<(Dataset, MessageKey)>,
    /// Messages whose last answer was good.
    last_good: HashSet<(Dataset, MessageKey)>,
    /// Other names of messages that the ledger has kept: application, other name, name.
    renamed: HashSet<(usize, Arc<str>, Arc<str>)>,
    /// Other names that the ledger may not have kept yet, by application and name. Whatever counts
    /// under a name brings them along: a process that ends in between must not leave numbers
    /// without them, or they count again under the other name.
    renaming: HashMap<MessageKey, Vec<Arc<str>>>,
    /// Held from the question for a message's other name until its numbers are counted.
    naming: Arc<tokio::sync::Mutex<()>>,
    /// Ids that may be other names, for which the ledger has been asked.
    other_names: HashSet<(usize, Arc<str>)>,
    /// Lists that are being queried, with when each began.
    listing: BTreeMap<DatasetQueueKey, Moment>,
    /// How far the vendor's lists have been read.
    lists: BTreeMap<DatasetQueueKey, ListProgress>,
    /// The applications whose messages are known as far as they can be.
    known_applications: BTreeSet<usize>,
    /// Queries that have not completed.
    in_flight: usize,
    /// When the vendor last gave a good answer.
    good_at: Option<Moment>,
    /// What is wrong now, so that it is logged once.
    troubles: HashMap<DatasetQueueKey, Trouble>,
    status: Arc<Mutex<CollectorStatus>>,
    unreadable: u32,
    /// When the first queries were due.
    first: Moment,
    /// The wall time of the monotonic clock's first moment, as the wall clock was last seen. What is
    /// shown of due times is computed from it.
    origin: Timestamp,
    /// The same, when messages were last planned by their ages.
    planned_origin: Timestamp,
    /// Files and HTTP lists are to be read from the beginning.
    sources_restart: bool,
    /// The wall time by which messages are forgotten and refused for their age.
    settled: SettledTime,
    /// Which queue is served next, so that one application does not keep the others waiting.
    turn: usize,
    /// Messages that are not watched any more, and that the ledger still watches.
    unwatched: Vec<(Arc<str>, Arc<str>)>,
    /// There were more messages than there may be, and it was logged.
    is_full: bool,
    /// Messages that were named, and that the ledger has not met.
    unmet: Vec<(MessageKey, Message)>,
    /// When rows of the ledger that nobody names were last looked for.
    swept_at: Moment,
    /// The number of the last registration that was taken.
    registered_until: i64,
    /// Files and HTTP lists.
    sources: Option<Sources>,
    /// Sources that could not be read when they were last tried.
    broken_sources: BTreeMap<Source, String>,
}

/// How far a vendor's list of messages has been read.
#[derive(Clone, Copy, Debug)]
struct ListProgress {
    /// When the whole list, back to `max_age`, was last read to its end.
    whole_at: Moment,
    /// When the last list that was read to its end began: what was sent before is known.
    complete_until: Timestamp,
}

/// Why a collector that waits goes on.
enum Woken {
    Due,
    Named(Update),
    Registered,
}

impl Collector {
    /// A collector whose first queries are due at `first`.
    pub(super) fn new(
        parts: CollectorDeps,
        status: Arc<Mutex<CollectorStatus>>,
        first: Moment,
    ) -> Collector {
        let account = parts.account.clone();
        parts.ledger.close(false);
        let opened_at = parts.clock.monotonic();
        let (origin, settled) = (parts.clock.origin(), SettledTime::new(&parts.clock));
        let mut collector = Collector {
            tracker: Tracker::new(account.messages.max_age, account.max_messages),
            parts,
            queues: BTreeMap::new(),
            set_aside: BTreeSet::new(),
            last_good: HashSet::new(),
            renamed: HashSet::new(),
            renaming: HashMap::new(),
            naming: Arc::default(),
            other_names: HashSet::new(),
            listing: BTreeMap::new(),
            lists: BTreeMap::new(),
            known_applications: BTreeSet::new(),
            in_flight: 0,
            good_at: None,
            troubles: HashMap::new(),
            status,
            unreadable: 0,
            first,
            origin,
            planned_origin: origin,
            sources_restart: false,
            settled,
            turn: 0,
            unwatched: Vec::new(),
            is_full: false,
            unmet: Vec::new(),
            swept_at: opened_at,
            registered_until: 0,
            sources: None,
            broken_sources: BTreeMap::new(),
        };
        // One list is enough for all data sets.
        let list_of = account
            .messages
            .list
            .then(|| account.collect.iter().max_by_key(|own| own.has_snapshots()))
            .flatten();
        for dataset in &account.collect {
            match dataset.method {
                QueryMethod::Drain => {
                    collector
                        .queues
                        .entry((*dataset, 0))
                        .or_default()
                        .add(QueuedQuery::Drain, first);
                }
                QueryMethod::Whole => {
                    for application in 0..account.applications.len() {
                        let queue = collector.queues.entry((*dataset, application)).or_default();
                        queue.add(QueuedQuery::Whole, first);
                    }
                }
                QueryMethod::Messages { .. } => {
                    for application in 0..account.applications.len() {
                        collector.queues.entry((*dataset, application)).or_default();
                    }
                }
            }
            if Some(dataset) == list_of {
                for application in 0..account.applications.len() {
                    let queue = collector.queues.entry((*dataset, application)).or_default();
                    queue.add(QueuedQuery::List, first);
                }
            }
        }
        let planned = collector.queues.values().map(DatasetQueue::len).sum();
        collector.parts.progress.planned(planned);
        collector.name_fixed(first);
        collector.make_room(0);
        collector.parts.recorder.tracked(collector.tracker.len());
        collector.tell_due();
        collector.parts.recorder.publish();
        collector
    }

    /// The messages of the configuration itself; they are due from `first` on.
    fn name_fixed(&mut self, first: Moment) {
        let account = self.parts.account.clone();
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
            new += usize::from(self.name(entry.application, message, Source::Static, false, first));
        }
        if !account.messages.fixed.is_empty() {
            let now = self.parts.clock.now();
            self.parts
                .recorder
                .discovered(Source::Static, new, true, now);
        }
    }

    /// A source names a message; whether it is new. It is due from `first` on, or when the vendor
    /// can have numbers of it.
    fn name(
        &mut self,
        application: usize,
        message: Message,
        source: Source,
        sent_here: bool,
        first: Moment,
    ) -> bool {
        if message.id.len() > MAX_REGISTERED_BYTES {
            // An older version took them, and a vendor's list may have them. No request can hold it.
            self.parts.recorder.rejected("id_too_long");
            return false;
        }
        let now = self.now();
        let earliest = self.parts.provider.first_numbers(&message);
        let key = self.tracker.resolve(&(application, message.id.clone()));
        match self
            .tracker
            .name(application, message.clone(), source, sent_here, now)
        {
            Named::New => self.unmet.push((key.clone(), message)),
            Named::Known | Named::Forgotten => return false,
            Named::TooOld => {
                self.parts.recorder.rejected("max_age");
                return false;
            }
            Named::NoRoom => {
                self.given_up(1);
                return false;
            }
        }
        // One answer can name more than there is room for.
        self.make_room(MAX_EXCESS_MESSAGES);
        let clock = &self.parts.clock;
        let first = earliest.map_or(first, |earliest| clock.moment_of(earliest).max(first));
        for ((dataset, of), queue) in &mut self.queues {
            if *of == application && matches!(dataset.method, QueryMethod::Messages { .. }) {
                queue.add(QueuedQuery::Message(key.1.clone()), first);
                self.parts.progress.planned(1);
            }
        }
        true
    }

    /// A source was read.
    pub(super) fn named(&mut self, update: Update) {
        let (now, monotonic) = (self.parts.clock.now(), self.parts.clock.monotonic());
        let mut new = 0;
        for entry in update.entries {
            let Some(application) = self.parts.account.applications.get(entry.application) else {
                continue;
            };
            // What appears after the first load has just been sent.
            let is_dated = entry.sent_at.is_some();
            let sent_at = entry.sent_at.or((!update.first).then_some(now));
            let key = self.tracker.resolve(&(entry.application, entry.id.clone()));
            let known = self.tracker.names(&key);
            let message = Message {
                application: application.id.clone(),
                id: entry.id,
                campaign: entry.campaign,
                sent_at: if known { entry.sent_at } else { sent_at },
            };
            let sent_here = match (update.source, entry.sent_at) {
                // A registration without a time was given the one at which it came.
                (Source::Api, Some(sent_at)) => {
                    now.duration_since(sent_at).abs() < REGISTERED_JUST_NOW
                }
                _ => !is_dated,
            };
            new += usize::from(self.name(
                entry.application,
                message,
                update.source,
                sent_here,
                monotonic,
            ));
        }
        self.make_room(0);
        let account = &self.parts.account.name;
        let good = update.problem.is_none();
        if let Some(problem) = update.problem {
            if !self.broken_sources.contains_key(&update.source) {
                tracing::warn!(%account, source = update.source.as_str(), problem, "a list of messages cannot be read; what was known stays");
            }
            self.broken_sources.insert(update.source, problem);
        } else if self.broken_sources.remove(&update.source).is_some() {
            tracing::info!(%account, source = update.source.as_str(), "the list of messages can be read again");
        }
        let broken_sources = self.broken_sources.clone().into_iter().collect();
        self.tell(|status| status.broken_sources = broken_sources);
        let recorder = &self.parts.recorder;
        recorder.discovered(update.source, new, good, now);
        recorder.tracked(self.tracker.len());
        self.tell_due();
        recorder.publish();
    }

    /// Works, whenever this process holds the account, until it is told to stop.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.acquired() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let (halt, mut halted) = watch::channel(false);
            let (lease, mut outer) = (self.parts.lease.clone(), stop.clone());
            let ended = async move {
                tokio::select! {
                    () = lease.released() => {}
                    _ = outer.wait_for(|stop| *stop) => {}
                }
            };
            {
                let mut work = std::pin::pin!(self.hold(&mut halted));
                tokio::select! {
                    () = &mut work => {}
                    () = ended => {
                        halt.send_replace(true);
                        work.await;
                    }
                }
            }
            if *stop.borrow() {
                return;
            }
            self.parts.recorder.lost();
            self.parts.recorder.publish();
            let now = self.parts.clock.monotonic();
            self.queues.values_mut().for_each(|queue| queue.reset(now));
            self.renamed.clear();
            self.renaming.clear();
            self.other_names.clear();
            self.listing.clear();
            self.lists.clear();
            self.known_applications.clear();
            self.in_flight = 0;
        }
    }

    /// Returns when this process holds the account. What it still has in its spool is counted
    /// meanwhile: nobody else has it.
    async fn acquired(&self) {
        let mut waits = false;
        loop {
            tokio::select! {
                () = self.parts.lease.acquired() => return,
                () = self.parts.clock.sleep(REOPEN_AFTER) => {}
            }
            if !std::mem::replace(&mut waits, true) {
                // Another replica has it open.
                self.parts.progress.opened();
            }
            if self
                .parts
                .account
                .collect
                .iter()
                .any(|own| own.is_drained())
            {
                let provider = &self.parts.provider;
                let read = |body: &[u8]| provider.read_pushed(body).reports;
                let ledger = &self.parts.ledger;
                match ledger.forward_spool(&self.application(0), &read).await {
                    Ok(delta) => self.parts.recorder.delta(&delta),
                    Err(error) => {
                        tracing::warn!(account = %self.parts.account.name, %error, "the spool cannot be counted");
                    }
                }
            }
        }
    }

    /// Works as long as the account is held and nobody says to halt.
    async fn hold(&mut self, halted: &mut watch::Receiver<bool>) {
        while let Err(error) = self.open().await {
            tracing::error!(account = %self.parts.account.name, %error, "the ledger cannot be opened; it is tried again");
            let text = error.to_string();
            self.tell(|status| status.last_error = Some(text));
            tokio::select! {
                () = self.parts.clock.sleep(REOPEN_AFTER) => {}
                _ = halted.wait_for(|halted| *halted) => return,
            }
        }
        self.tell(|status| status.last_error = None);
        let mut sources = self
            .sources
            .take()
            .unwrap_or_else(|| Sources::start(&self.parts.account, &self.parts.clock));
        let (ledger, recorder) = (self.parts.ledger.clone(), self.parts.recorder.clone());
        tokio::select! {
            () = self.passes(halted, &mut sources) => {}
            () = keep(&ledger, recorder.as_ref()) => {}
        }
        // What they have named is known: a later update is no first load.
        self.sources = Some(sources);
    }

    /// Takes the account's counters over, and counts what a process left in the spool.
    async fn open(&mut self) -> Result<(), StoreError> {
        let CollectorDeps {
            account,
            provider,
            recorder,
            ledger,
            relabelled,
            ..
        } = &self.parts;
        recorder.names(ledger.names());
        let delta = ledger
            .open(&account.applications, &account.collect, *relabelled)
            .await?;
        recorder.cleared();
        recorder.delta(&delta);
        recorder.publish();
        let reports = account.collect.iter().any(|own| own.is_drained());
        if reports {
            let read = |body: &[u8]| provider.read_pushed(body).reports;
            let delta = ledger.catch_up(&self.application(0), &read).await?;
            recorder.delta(&delta);
            recorder.publish();
        }
        if !reports {
            self.registered().await;
        }
        self.parts.progress.opened();
        self.tell(|status| status.opened = true);
        Ok(())
    }

    /// Takes what was registered since this was last looked for.
    pub(super) async fn registered(&mut self) {
        let found = self.parts.ledger.registered(self.registered_until).await;
        let (messages, problem) = match found {
            Ok((messages, last)) => {
                self.registered_until = last;
                (messages, None)
            }
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        if messages.is_empty() && problem.is_none() {
            return;
        }
        let applications = &self.parts.account.applications;
        let entry = |message: Message| {
            let application = applications
                .iter()
                .position(|own| own.id == message.application)?;
            Some(MessageEntry {
                id: message.id,
                application,
                campaign: message.campaign,
                sent_at: message.sent_at,
            })
        };
        let update = Update {
            source: Source::Api,
            entries: messages.into_iter().filter_map(entry).collect(),
            problem,
            first: false,
        };
        self.named(update);
    }

    async fn passes(&mut self, stop: &mut watch::Receiver<bool>, sources: &mut Sources) {
        let mut flights = InFlight::new();
        loop {
            if self.follow_wall_clock() {
                self.tell_due();
                self.parts.recorder.publish();
            }
            if std::mem::take(&mut self.sources_restart) {
                *sources = Sources::start(&self.parts.account, &self.parts.clock);
            }
            let next = self
                .queues
                .values()
                .filter_map(DatasetQueue::next_try)
                .min();
            let next_at = next.map(|next| self.time_of(next));
            self.tell(|status| {
                status.next = next_at;
                status.answered |= next.is_none();
            });
            // What is planned by wall time is planned anew when somebody sets the clock.
            let look_at = self.parts.clock.monotonic() + self.parts.account.interval;
            let (clock, ledger) = (self.parts.clock.clone(), self.parts.ledger.clone());
            // A query that was begun in the pass before may land at any time.
            let carried_over = !flights.is_empty();
            let due = async {
                match next {
                    _ if carried_over => {}
                    Some(next) if next <= look_at => clock.sleep_until(next).await,
                    _ => std::future::pending().await,
                }
            };
            let woken = tokio::select! {
                () = due => Woken::Due,
                () = clock.sleep_until(look_at) => continue,
                update = sources.next() => Woken::Named(update),
                () = ledger.registration() => Woken::Registered,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match woken {
                Woken::Due => {}
                Woken::Named(update) => {
                    self.named(update);
                    continue;
                }
                Woken::Registered => {
                    self.registered().await;
                    continue;
                }
            }
            let interval = self.parts.account.interval;
            let span = tracing::info_span!(
                target: TRACE_TARGET, "pass", account = %self.parts.account.name
            );
            self.pass(Some(interval), &mut flights, Some(sources), stop)
                .instrument(span)
                .await;
            if *stop.borrow() {
                return;
            }
        }
    }

    /// One pass over everything that is due, however long it takes.
    pub(super) async fn run_once(mut self) -> Result<(), ()> {
        let (_keep, mut stop) = watch::channel(false);
        if let Err(error) = self.open().await {
            tracing::error!(account = %self.parts.account.name, %error, "the ledger cannot be opened");
            return Err(());
        }
        for update in Sources::once(&self.parts.account).await {
            self.named(update);
        }
        self.queues.values_mut().for_each(DatasetQueue::query_once);
        let failed = self.pass(None, &mut InFlight::new(), None, &mut stop).await;
        if failed { Err(()) } else { Ok(()) }
    }

    /// Forgets what is over, and, once in a while, rows of the ledger that no source will name as new.
    async fn forget_old(&mut self) {
        let now = self.now();
        let keys = self.tracker.forget_old(now);
        self.unwatch(keys);
        let over = std::mem::take(&mut self.unwatched);
        if !over.is_empty() {
            self.parts.ledger.unwatch(&over).await;
        }
        self.parts.recorder.tracked(self.tracker.len());
        let max_messages = self.parts.account.max_messages;
        self.is_full &= self.tracker.len() > max_messages - max_messages / 10;
        // The ledger has them too, and is asked again.
        let max_names = max_messages.saturating_mul(4);
        if self.renamed.len() > max_names {
            self.renamed.clear();
        }
        if self.other_names.len() > max_names {
            self.other_names.clear();
        }
        let clock = &self.parts.clock;
        let max_age = self.parts.account.messages.max_age;
        let interval = sweep_interval(max_age);
        // A source that cannot be read may name messages that nobody else names.
        let is_due = clock.monotonic().since(self.swept_at) >= interval;
        if is_due && self.broken_sources.is_empty() {
            self.swept_at = clock.monotonic();
            let before = schedule::before(now.settled, max_age + interval);
            match self.sweep(before).await {
                Ok(()) => self.tracker.drop_forgotten(before, now.monotonic),
                Err(error) => {
                    tracing::warn!(account = %self.parts.account.name, %error, "old messages cannot be removed from the ledger");
                }
            }
        }
    }

    /// Gives up the messages that are too many, if there are `excess` more than there may be.
    fn make_room(&mut self, excess: usize) {
        if self.tracker.len() <= self.parts.account.max_messages.saturating_add(excess) {
            return;
        }
        let keys = self.tracker.give_up();
        self.given_up(keys.len());
        self.unwatch(keys);
    }

    /// Says that messages had no room.
    fn given_up(&mut self, messages: usize) {
        for _ in 0..messages {
            self.parts.recorder.rejected("max_messages");
        }
        if messages > 0 && !std::mem::replace(&mut self.is_full, true) {
            tracing::warn!(
                account = %self.parts.account.name, max = self.parts.account.max_messages,
                "there are more messages than limits.max_messages_per_account; the oldest are not watched"
            );
        }
    }

    /// Messages are not watched any more.
    fn unwatch(&mut self, keys: Vec<MessageKey>) {
        let keys: BTreeSet<MessageKey> = keys.into_iter().collect();
        if !keys.is_empty() {
            self.set_aside.retain(|(_, key)| !keys.contains(key));
            self.last_good.retain(|(_, key)| !keys.contains(key));
            self.renamed
                .retain(|(application, _, id)| !keys.contains(&(*application, id.clone())));
            self.renaming.retain(|key, _| !keys.contains(key));
            self.other_names.retain(|key| !keys.contains(key));
            self.unmet.retain(|(key, _)| !keys.contains(key));
        }
        for key in keys {
            for ((_, of), queue) in &mut self.queues {
                if *of == key.0 {
                    queue.remove(&QueuedQuery::Message(key.1.clone()));
                }
            }
            let application = self.application(key.0);
            self.parts.recorder.forgotten(&application, &key.1);
            self.unwatched.push((application.id, key.1));
        }
    }

    async fn sweep(&self, before: Timestamp) -> Result<(), StoreError> {
        let ledger = &self.parts.ledger;
        let applications = &self.parts.account.applications;
        let mut old = ledger.old_messages(before).await?;
        old.retain(|(application, id)| {
            let index = applications.iter().position(|own| own.id == *application);
            index.is_none_or(|index| !self.tracker.keeps_row(&(index, id.clone())))
        });
        if !old.is_empty() {
            ledger.forget(old).await?;
        }
        ledger.unregister(before).await
    }

    /// People are told what fails now.
    fn tell_troubles(&self) {
        let mut troubles: Vec<Trouble> = self.troubles.values().cloned().collect();
        troubles.sort_by(|left, right| {
            let key = |own: &Trouble| (own.since, own.dataset);
            key(left).cmp(&key(right))
        });
        self.tell(|status| status.troubles = troubles);
    }

    fn tell(&self, change: impl FnOnce(&mut CollectorStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Releases what has been held long enough, and looks after windows, for ever.
async fn keep(ledger: &AccountLedger, recorder: &dyn Recorder) {
    let mut failing = false;
    loop {
        ledger.due().await;
        match ledger.tick().await {
            Ok(delta) => {
                failing = false;
                recorder.delta(&delta);
                recorder.publish();
            }
            // The account is about to be let go.
            Err(StoreError::Fenced) => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "the ledger cannot be written to; counters stand still");
                }
            }
        }
    }
}
