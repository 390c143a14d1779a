//! The ledger of one account: answers go in, news come out.

use std::{
    collections::{HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use delivery_clock::{Clock, Moment};
use jiff::Timestamp;
use tokio::sync::{Notify, OwnedMutexGuard};

use super::{
    LATENCY_BOUNDS, News, Place, StoreNotes,
    amount::Amount,
    cohort::Windows,
    image::{Draft, Hold, Image, Known, MessageDraft},
    key::{Counter, CounterKey, clean},
    lease::Lease,
    message::{Adoption, MessageState},
    names::{Names, OTHER},
    reports::{Memory, Tally},
    spool::AccountSpool,
    store::{Ask, Batch, MessageId, Store, StoreError, Told},
};
use crate::{
    model::{Application, Dataset, Happening, HappeningKind, Message, ProviderType, Snapshot},
    providers::{Damage, Digest, Report, ReportsRead, Spool, SpoolError, SpooledBody},
};

/// So many spooled bodies share one transaction at most.
const BODIES: usize = 20;
/// What is late by less is looked after at this pace.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// A campaign without a watched message is forgotten so long after its last increase.
const CAMPAIGN_AFTER: i64 = 24 * 3_600_000;
/// How often registrations of other replicas are looked for.
const LOOK_FOR_REGISTRATIONS: Duration = Duration::from_secs(2);
/// After a start, messages are met before any campaign is forgotten.
const CAMPAIGN_GRACE: Duration = Duration::from_secs(3600);

/// What the configuration says about an account's counters.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long a new series stands at 0.
    pub zero_hold: Duration,
    /// How old history may be to count; zero: any.
    pub adopt_age: Duration,
    /// The ages of its cohorts.
    pub windows: Windows,
    /// One pass only: what is new is shown as 0, and the rest whole.
    pub once: bool,
}

/// A message as a source or a vendor told of it.
#[derive(Clone, Debug)]
pub struct Met {
    /// When it was first named, over restarts.
    pub first_seen: Timestamp,
    /// When it was sent.
    pub sent_at: Option<Timestamp>,
    /// Its campaign.
    pub campaign: Option<Arc<str>>,
    /// When it is next wanted for an age.
    pub wanted_at: Option<Timestamp>,
}

/// A snapshot with what is known of its message over all sources.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The message.
    pub message: Message,
    /// When this process first heard of it.
    pub first_seen: Timestamp,
    /// The vendor's numbers; `None`: it has none yet.
    pub snapshot: Option<Snapshot>,
    /// The start of the request.
    pub asked_at: Timestamp,
}

/// The ledger of one account.
pub struct AccountLedger {
    name: Arc<str>,
    replica: Arc<str>,
    provider: ProviderType,
    clock: Clock,
    store: Arc<dyn Store>,
    spool: AccountSpool,
    notes: Arc<dyn StoreNotes>,
    names: Arc<Names>,
    lease: Lease,
    policy: Mutex<Arc<Policy>>,
    image: Arc<tokio::sync::Mutex<Image>>,
    /// Bodies that were set aside, and nobody was told.
    quarantined: AtomicU64,
    /// Bodies that are in the spool and not counted.
    backlog: Mutex<Vec<SpooledBody>>,
    /// When something has to be done next.
    next: Mutex<Option<Moment>>,
    sooner: Notify,
    /// This process has registered a message of the account.
    registrations: Notify,
}

/// What the work of a transaction leaves behind, or why it refused what it was told.
type Left<R> = Result<(OwnedMutexGuard<Image>, super::image::Changes, R), StoreError>;
type Slot<R> = Arc<Mutex<Option<Left<R>>>>;

impl AccountLedger {
    #[expect(clippy::too_many_arguments, reason = "it is put together in one place")]
    pub(super) fn new(
        name: Arc<str>,
        replica: Arc<str>,
        provider: ProviderType,
        clock: Clock,
        store: Arc<dyn Store>,
        spool: AccountSpool,
        notes: Arc<dyn StoreNotes>,
        names: Arc<Names>,
        lease: Lease,
        policy: Policy,
    ) -> AccountLedger {
        AccountLedger {
            name,
            replica,
            provider,
            clock,
            store,
            spool,
            notes,
            names,
            lease,
            policy: Mutex::new(Arc::new(policy)),
            image: Arc::default(),
            quarantined: AtomicU64::new(0),
            backlog: Mutex::default(),
            next: Mutex::default(),
            sooner: Notify::new(),
            registrations: Notify::new(),
        }
    }

    /// The names that keep themselves, for the gauges.
    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// Takes another policy.
    pub(super) fn set_policy(&self, policy: Policy) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    fn policy(&self) -> Arc<Policy> {
        self.policy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Where the account's bodies go.
    pub fn spool(&self) -> &dyn Spool {
        &self.spool
    }

    /// Says whether anything more shall be asked for; what is arriving is taken all the same.
    pub fn close(&self, closed: bool) {
        self.spool.close(closed);
    }

    /// Tells the size of the account's spool.
    pub fn measure(&self) {
        let (bytes, quarantined) = self.spool.size();
        self.notes.size(&self.name, bytes, quarantined);
    }

    /// The hold of a counter that this replica shows for the first time from now on, or again.
    fn hold(&self, policy: &Policy, shown_before: bool) -> Hold {
        if policy.once {
            return if shown_before {
                Hold::Open
            } else {
                Hold::Process
            };
        }
        if policy.zero_hold.is_zero() {
            return Hold::Open;
        }
        Hold::Until(self.clock.monotonic() + policy.zero_hold)
    }

    /// Takes the account over: its counters, those that exist from the start included. They are
    /// held again if that is asked for, or if this process did not have them.
    ///
    /// # Errors
    ///
    /// The store failed, or it has what this version cannot read.
    pub async fn open(
        &self,
        applications: &[Application],
        datasets: &[Dataset],
        again: bool,
    ) -> Result<News, StoreError> {
        let policy = self.policy();
        {
            let mut image = self.image.lock().await;
            let fence = self.lease.epoch();
            if !self.lease.runs() {
                return Err(StoreError::Fenced);
            }
            if again || image.fence != fence {
                image.counters.clear();
            }
            image.fence = fence;
            image.unwatch();
            image.opened = Some(self.clock.monotonic());
            self.load(&mut image, &policy).await?;
        }
        let (applications, datasets) = (applications.to_vec(), datasets.to_vec());
        let shared = self.store.shared();
        let opened = self
            .change(
                |_| Ask {
                    inbox: shared,
                    ..Ask::default()
                },
                move |draft, told| {
                    draft.absorb(told.inbox);
                    for application in &applications {
                        for dataset in &datasets {
                            draft.birth(&application.id, *dataset);
                        }
                        let counted =
                            |own: &Dataset| own.has_snapshots() || *own == Dataset::Reports;
                        if datasets.iter().any(counted)
                            && let Some((channel, _)) = draft.provider.columns().first()
                        {
                            draft.zero_channel(&application.id, channel);
                        }
                        if datasets.contains(&Dataset::Bounces) {
                            draft.zero_bounced(&application.id);
                        }
                    }
                    // A series that this replica has not shown is born at zero, durably; and what
                    // `collect` has shown before, it shows whole.
                    let keys: Vec<_> = draft.image.counters.keys().cloned().collect();
                    for key in keys {
                        let open = draft.image.counters.get(&key).map(|own| own.hold);
                        if open == Some(Hold::Open) {
                            draft.release(&key);
                        } else {
                            draft.bear(&key);
                        }
                    }
                },
            )
            .await;
        let (news, ()) = opened?;
        let image = self.image.lock().await;
        *self.backlog() = self
            .spool
            .bodies()
            .map_err(|error| StoreError::Failed(error.0))?;
        Ok(News {
            shown: image.shown(),
            born: true,
            ..news
        })
    }

    fn backlog(&self) -> std::sync::MutexGuard<'_, Vec<SpooledBody>> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self, image: &mut Image, policy: &Policy) -> Result<(), StoreError> {
        let rows = self.store.account(&self.name, &self.replica).await;
        let rows = rows.inspect_err(|error| self.failed_by(error))?;
        self.names.load(rows.names.clone());
        let now = self.clock.now().as_millisecond();
        image
            .load(rows, |shown| self.hold(policy, shown), now)
            .map_err(|problem| {
                StoreError::Failed(format!(
                    "the ledger of {} cannot be read: {problem}; use the version that wrote it, or a later one",
                    self.name
                ))
            })?;
        for campaign in image.gone.iter().filter_map(CounterKey::campaign) {
            self.names.forget_campaign(campaign);
        }
        Ok(())
    }

    /// Takes what the store has once more, messages that are watched included.
    async fn reload(&self, image: &mut Image, policy: &Policy) -> Result<(), StoreError> {
        self.load(image, policy).await?;
        image.stale = true;
        let ask = Ask {
            account: self.name.clone(),
            replica: self.replica.clone(),
            messages: image.messages.keys().cloned().collect(),
            ..Ask::default()
        };
        let slot: Arc<Mutex<Told>> = Arc::default();
        let filled = slot.clone();
        let work = Box::new(move |told| {
            *filled.lock().unwrap_or_else(PoisonError::into_inner) = told;
            Batch::default()
        });
        let told = self.store.transact(ask, work).await;
        told.inspect_err(|error| self.failed_by(error))?;
        let told = std::mem::take(&mut *slot.lock().unwrap_or_else(PoisonError::into_inner));
        let now = self.clock.now();
        let watched: Vec<_> = image.messages.keys().cloned().collect();
        for id in watched {
            match (told.messages.get(&id), image.messages.get(&id).cloned()) {
                (Some(row), Some(mut known)) => {
                    known.state = unpack(&id, row)?;
                    known.hash = 0;
                    known.next = known.state.next_ages(now, &policy.windows);
                    image.put_message(id, known);
                }
                _ => image.drop_message(&id),
            }
        }
        image.stale = false;
        Ok(())
    }

    /// To lose a lease is no fault of the store.
    fn failed_by(&self, error: &StoreError) {
        if let StoreError::Failed(_) = error {
            self.notes.up(Place::Store, false);
            self.notes.error();
        }
    }

    /// One transaction. Only what is durable is told.
    async fn change<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&Image) -> Ask,
        compute: impl FnOnce(&mut Draft<'_>, Told) -> R + Send + 'static,
    ) -> Result<(News, R), StoreError> {
        let policy = self.policy();
        let mut image = self.image.clone().lock_owned().await;
        if !self.lease.runs() || image.fence != self.lease.epoch() {
            return Err(StoreError::Fenced);
        }
        let mut reloaded = News::default();
        if image.stale {
            self.reload(&mut image, &policy).await?;
            reloaded.shown = image.shown();
            reloaded.born = true;
        }
        // Until it is known what happened: whoever waits for it may go away.
        image.stale = true;
        let mut ask = ask(&image);
        ask.fence = image.fence;
        ask.account = self.name.clone();
        ask.replica = self.replica.clone();
        let slot: Slot<R> = Arc::default();
        let (filled, names) = (slot.clone(), self.names.clone());
        let (provider, now) = (self.provider, self.clock.now().as_millisecond());
        let hold = self.hold(&policy, false);
        let work = Box::new(move |mut told: Told| {
            let rows = std::mem::take(&mut told.messages);
            let states = rows.into_iter().map(|(id, row)| {
                let state = unpack(&id, &row)?;
                Ok((id, state))
            });
            let states = match states.collect() {
                Ok(states) => states,
                Err(error) => {
                    *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(Err(error));
                    return Batch::default();
                }
            };
            let mut draft = Draft {
                states,
                image: &image,
                names: &names,
                provider,
                ages: policy.windows.ages(),
                now,
                hold,
                changes: super::image::Changes::default(),
            };
            let outcome = compute(&mut draft, told);
            let batch = draft.batch();
            let changes = draft.changes;
            *filled.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Ok((image, changes, outcome)));
            batch
        });
        let done = self.store.transact(ask, work).await;
        let left = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (done, left) {
            (Ok(()), Some(Ok((mut image, changes, outcome)))) => {
                self.notes.up(Place::Store, true);
                image.stale = false;
                reloaded.gone = std::mem::take(&mut image.gone);
                reloaded.append(changes.apply(&mut image, &self.names));
                self.plan(&image);
                Ok((reloaded, outcome))
            }
            (Err(error), Some(Ok((_, changes, _)))) => {
                self.names.give_back(changes.new_names);
                self.failed_by(&error);
                Err(error)
            }
            (Err(error), _) | (Ok(()), Some(Err(error))) => {
                self.failed_by(&error);
                Err(error)
            }
            (Ok(()), None) => Err(StoreError::Failed("the store did nothing".into())),
        }
    }

    /// Notes when something has to be done next.
    fn plan(&self, image: &Image) {
        let tend = self.clock.monotonic() + TEND_EVERY;
        let window = image.windows.first().map(|(end, _)| {
            let wait = end.saturating_sub(self.clock.now().as_millisecond()) + 1;
            self.clock.monotonic() + Duration::from_millis(wait.max(0).unsigned_abs())
        });
        let next = [image.next_release, window, Some(tend)]
            .into_iter()
            .flatten()
            .min();
        let mut own = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is put off by what happens meanwhile.
        let sooner = own.is_none_or(|own| next.is_some_and(|next| next < own));
        if sooner {
            *own = next;
        }
        drop(own);
        if sooner {
            self.sooner.notify_one();
        }
    }

    /// Returns when [`AccountLedger::tick`] has something to do.
    pub async fn due(&self) {
        loop {
            let next = *self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let sooner = self.sooner.notified();
            match next {
                Some(next) => tokio::select! {
                    () = self.clock.sleep_until(next) => return,
                    () = sooner => {}
                },
                None => sooner.await,
            }
        }
    }

    /// Releases what has been held long enough, and closes the windows that are over.
    ///
    /// # Errors
    ///
    /// The store failed; it is tried again.
    pub async fn tick(&self) -> Result<News, StoreError> {
        let policy = self.policy();
        let (clock, moment) = (self.clock.clone(), self.clock.monotonic());
        let now = clock.now();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let shared = self.store.shared();
        let ticked = self.change(
            move |_| Ask {
                inbox: shared,
                ..Ask::default()
            },
            move |draft, told| {
                draft.absorb(told.inbox);
                let image = draft.image;
                if image.next_release.is_some_and(|at| at <= moment) {
                    let over = |hold: Hold| matches!(hold, Hold::Until(end) if end <= moment);
                    let keys: Vec<_> = image
                        .counters
                        .iter()
                        .filter(|(_, own)| over(own.hold))
                        .map(|(key, _)| key.clone())
                        .collect();
                    for key in keys {
                        draft.release(&key);
                    }
                }
                let at = now.as_millisecond();
                let over = image.windows.iter().take_while(|(end, _)| *end < at);
                for (_, id) in over {
                    let Some(known) = image.messages.get(id) else {
                        continue;
                    };
                    let mut known = known.clone();
                    let mut effects = MessageDraft {
                        draft,
                        application: id.0.clone(),
                    };
                    known.state.close(now, &policy.windows, &mut effects);
                    known.next = known.state.next_ages(now, &policy.windows);
                    draft.put_message(id.clone(), known);
                }
                let met = |opened| moment.since(opened) >= CAMPAIGN_GRACE;
                if image.opened.is_some_and(met) {
                    let gone = forgotten_campaigns(image, at);
                    for campaign in gone {
                        draft.forget_campaign(&campaign);
                    }
                }
            },
        );
        match ticked.await {
            Ok((news, ())) => Ok(news),
            Err(error) => {
                // Not at once: the store needs time.
                let again = self.clock.monotonic() + Duration::from_secs(1);
                *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(again);
                Err(error)
            }
        }
    }

    /// Meets messages that a source names: what is known of them over restarts. Those that are new
    /// are noted, so that their first sight outlives this process.
    ///
    /// # Errors
    ///
    /// The store failed; the messages can be asked for all the same.
    pub async fn meet(&self, messages: Vec<(Message, Timestamp)>) -> Result<Vec<Met>, StoreError> {
        let policy = self.policy();
        let now = self.clock.now();
        let ids: Vec<MessageId> = messages
            .iter()
            .map(|(message, _)| (message.application.clone(), message.id.clone()))
            .collect();
        let asked = ids.clone();
        let changed = self.change(
            move |_| Ask {
                messages: asked,
                ..Ask::default()
            },
            move |draft, _| {
                let mut met = Vec::with_capacity(messages.len());
                for ((message, first_seen), id) in messages.iter().zip(ids) {
                    let known = draft.image.messages.get(&id).cloned();
                    let row = draft.states.get(&id).cloned();
                    let (mut known, stored) = match (known, row) {
                        (Some(known), _) => (known, true),
                        (None, Some(state)) => (
                            Known {
                                state,
                                ..Known::default()
                            },
                            true,
                        ),
                        (None, None) => {
                            let state = MessageState::new(message, *first_seen);
                            (
                                Known {
                                    state,
                                    ..Known::default()
                                },
                                false,
                            )
                        }
                    };
                    let unsent = known.state.sent_at.is_none();
                    known.state.learn_sent_at(message.sent_at);
                    known.next = known.state.next_ages(now, &policy.windows);
                    met.push(told_of(&known));
                    if stored && !(unsent && known.state.sent_at.is_some()) {
                        draft.refresh_message(id, known);
                    } else {
                        draft.put_message(id, known);
                    }
                }
                met
            },
        );
        changed.await.map(|(_, met)| met)
    }

    /// Counts what the vendor's answers brought, and says what it knows of each message then.
    ///
    /// # Errors
    ///
    /// The store failed: nothing of it was counted; the next answer has the same numbers.
    pub async fn snapshots(
        &self,
        application: &Application,
        dataset: Dataset,
        seen: Vec<Seen>,
    ) -> Result<(News, Vec<Met>), StoreError> {
        let policy = self.policy();
        let now = self.clock.now();
        let application = application.id.clone();
        let ids: Vec<MessageId> = seen
            .iter()
            .map(|own| (application.clone(), own.message.id.clone()))
            .collect();
        let of = ids.clone();
        self.change(
            move |image| Ask {
                messages: of
                    .into_iter()
                    .filter(|id| !image.messages.contains_key(id))
                    .collect(),
                ..Ask::default()
            },
            move |draft, _| {
                let birth = draft.birth(&application, dataset);
                let adoption = Adoption {
                    birth,
                    age: policy.adopt_age,
                };
                let mut met = Vec::with_capacity(seen.len());
                // A vendor can name a message twice in one answer.
                let mut taken: HashMap<MessageId, Known> = HashMap::new();
                for (own, id) in seen.iter().zip(&ids) {
                    let mut known = match (taken.remove(id), draft.image.messages.get(id)) {
                        (Some(known), _) => known,
                        (None, Some(known)) => {
                            if unchanged(known, own, &policy.windows) {
                                met.push(told_of(known));
                                continue;
                            }
                            known.clone()
                        }
                        (None, None) => {
                            let stored = draft.states.get(id).cloned();
                            let state = stored
                                .unwrap_or_else(|| MessageState::new(&own.message, own.first_seen));
                            Known {
                                state,
                                ..Known::default()
                            }
                        }
                    };
                    match &own.snapshot {
                        Some(snapshot) => {
                            known.hash = hash(snapshot);
                            let mut effects = MessageDraft {
                                draft,
                                application: application.clone(),
                            };
                            known.state.take(
                                &own.message,
                                snapshot,
                                adoption,
                                &policy.windows,
                                &mut known.lower,
                                &mut effects,
                            );
                        }
                        None => {
                            known.state.learn_sent_at(own.message.sent_at);
                            known.state.answered(own.asked_at, &policy.windows);
                        }
                    }
                    known.next = known.state.next_ages(now, &policy.windows);
                    met.push(told_of(&known));
                    taken.insert(id.clone(), known);
                }
                for (id, known) in taken {
                    let same = draft
                        .image
                        .messages
                        .get(&id)
                        .is_some_and(|old| old.state == known.state);
                    if same {
                        draft.refresh_message(id, known);
                    } else {
                        draft.put_message(id, known);
                    }
                }
                met
            },
        )
        .await
    }

    /// Counts the bodies that are in the spool and not counted yet: those of a process that ended,
    /// and those that the store could not take.
    ///
    /// # Errors
    ///
    /// The store or the spool failed: no more must be asked for before it works.
    pub async fn catch_up(
        &self,
        application: &Application,
        read: &(dyn Fn(&[u8]) -> ReportsRead + Sync),
    ) -> Result<News, StoreError> {
        let mut news = News::default();
        loop {
            let bodies: Vec<SpooledBody> = self.backlog().iter().take(BODIES).cloned().collect();
            if bodies.is_empty() {
                return Ok(news);
            }
            let mut both = Vec::with_capacity(bodies.len());
            for body in bodies {
                let bytes = self
                    .spool
                    .read(&body)
                    .map_err(|error| StoreError::Failed(error.0))?;
                let read = read(&bytes);
                both.push((body, read));
            }
            let count = both.len();
            let mut more = self.count(application, both, false).await?;
            // What was counted twice was told by the process that counted it.
            more.duplicates = 0;
            news.append(more);
            self.backlog().drain(..count);
        }
    }

    /// Counts the reports of bodies that are in the spool, sets aside what could not be read, and
    /// lets the spool forget the bodies. If it fails, they are counted later.
    ///
    /// # Errors
    ///
    /// The store or the spool failed.
    pub async fn reports(
        &self,
        application: &Application,
        bodies: Vec<(SpooledBody, ReportsRead)>,
    ) -> Result<News, StoreError> {
        let names: Vec<_> = bodies.iter().map(|(body, _)| body.clone()).collect();
        let counted = self.count(application, bodies, true).await;
        if counted.is_err() {
            self.backlog().extend(names);
        }
        counted
    }

    async fn count(
        &self,
        application: &Application,
        bodies: Vec<(SpooledBody, ReportsRead)>,
        fresh: bool,
    ) -> Result<News, StoreError> {
        let of_spool = |error: SpoolError| StoreError::Failed(error.0);
        for (body, read) in &bodies {
            if let Some(Damage { at, what }) = &read.damage
                && self.spool.quarantine(body, *at).map_err(of_spool)?
            {
                let body = body.0.as_ref();
                tracing::warn!(
                    account = %self.name, body, at, what,
                    "a body of reports cannot be read whole; the rest is quarantined"
                );
                self.quarantined.fetch_add(1, Ordering::Relaxed);
            }
        }
        let names: Vec<_> = bodies.iter().map(|(body, _)| body.clone()).collect();
        let reads = bodies.into_iter().map(|(_, read)| read);
        let reports: Arc<Vec<Report>> = Arc::new(reads.flat_map(|read| read.reports).collect());
        let mut news = News::default();
        if !reports.is_empty() {
            let mut digests: Vec<Digest> = reports.iter().map(|own| own.message).collect();
            digests.sort_unstable();
            digests.dedup();
            let (asked, own) = (digests.clone(), reports.clone());
            let id = application.id.clone();
            let counted = self.change(
                move |_| Ask {
                    digests: asked,
                    ..Ask::default()
                },
                move |draft, told| count_reports(draft, &id, told, &own),
            );
            news = match counted.await {
                Ok((news, ())) => news,
                // Another replica holds the account, and releases what is counted here.
                Err(StoreError::Fenced) => {
                    let id = application.id.clone();
                    let compute = move |draft: &mut Draft<'_>, told| {
                        count_reports(draft, &id, told, &reports)
                    };
                    self.elsewhere(digests, compute).await?.0
                }
                Err(error) => return Err(error),
            };
        }
        if !fresh {
            news.duplicates = 0;
        }
        news.quarantined = self.quarantined.swap(0, Ordering::Relaxed);
        for body in &names {
            // It is counted: what cannot be removed now is known as a repeat later.
            if let Err(error) = self.spool.remove(body) {
                tracing::warn!(account = %self.name, %error, "a counted body cannot be removed from the spool");
            }
        }
        self.measure();
        Ok(news)
    }

    /// Counts for the replica that holds the account, which will release it.
    async fn elsewhere<R: Send + 'static>(
        &self,
        digests: Vec<Digest>,
        compute: impl FnOnce(&mut Draft<'_>, Told) -> R + Send + 'static,
    ) -> Result<(News, R), StoreError> {
        let ask = Ask {
            account: self.name.clone(),
            replica: self.replica.clone(),
            digests,
            ..Ask::default()
        };
        let (provider, now) = (self.provider, self.clock.now().as_millisecond());
        let left = Arc::new(Mutex::new(None));
        let slot = left.clone();
        let work = Box::new(move |told| {
            let mut draft = Draft {
                states: HashMap::new(),
                image: &Image::default(),
                names: &Names::unlimited(),
                provider,
                ages: &[],
                now,
                hold: Hold::Process,
                changes: super::image::Changes::default(),
            };
            let outcome = compute(&mut draft, told);
            let duplicates = draft.changes.news.duplicates;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((duplicates, outcome));
            draft.batch_elsewhere()
        });
        let done = self.store.transact(ask, work).await;
        done.inspect_err(|error| self.failed_by(error))?;
        self.notes.up(Place::Store, true);
        let left = left.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((duplicates, outcome)) = left else {
            return Err(StoreError::Failed("the store did nothing".into()));
        };
        let news = News {
            duplicates,
            ..News::default()
        };
        Ok((news, outcome))
    }

    /// Counts what is in the spool while another replica holds the account.
    ///
    /// # Errors
    ///
    /// The store or the spool failed.
    pub async fn leave_spool(
        &self,
        application: &Application,
        read: &(dyn Fn(&[u8]) -> ReportsRead + Sync),
    ) -> Result<News, StoreError> {
        let bodies = self.spool.bodies();
        *self.backlog() = bodies.map_err(|error| StoreError::Failed(error.0))?;
        self.catch_up(application, read).await
    }

    /// Somebody has registered messages of the account here.
    pub(super) fn registered_now(&self) {
        self.registrations.notify_one();
    }

    /// Returns when there may be new registrations: at once after one here, and once in a while for
    /// those that another replica took.
    pub async fn registration(&self) {
        if self.store.shared() {
            tokio::select! {
                () = self.registrations.notified() => {}
                () = self.clock.sleep(LOOK_FOR_REGISTRATIONS) => {}
            }
        } else {
            self.registrations.notified().await;
        }
    }

    /// The messages that were registered after a sequence number, and the last of their numbers.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn registered(&self, after: i64) -> Result<(Vec<Message>, i64), StoreError> {
        let rows = self.store.registered(&self.name, after).await?;
        let last = rows.last().map_or(after, |row| row.sequence);
        let messages = rows.into_iter().map(|row| Message {
            application: row.id.0,
            id: row.id.1,
            campaign: row.campaign,
            sent_at: Timestamp::from_millisecond(row.sent_at).ok(),
        });
        Ok((messages.collect(), last))
    }

    /// Forgets registrations of messages that were sent before a time.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn unregister(&self, before: Timestamp) -> Result<(), StoreError> {
        let before = before.as_millisecond();
        self.store.unregister(&self.name, before).await
    }

    /// The messages that are watched, as the ledger knows them: application id and message id.
    pub async fn watched(&self) -> Vec<((Arc<str>, Arc<str>), Met)> {
        let image = self.image.lock().await;
        let watched = image.messages.iter();
        watched
            .map(|(id, known)| (id.clone(), told_of(known)))
            .collect()
    }

    /// What every counter has counted over all replicas, and what of it is not released.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn totals(&self) -> Result<Vec<(CounterKey, Amount, Amount)>, StoreError> {
        let rows = self.store.account(&self.name, &self.replica).await?;
        let mut totals: Vec<_> = rows
            .counters
            .into_iter()
            .filter_map(|row| Some((CounterKey::parse(&row.key)?, row.total, row.pending)))
            .collect();
        totals.sort_by(|(left, ..), (right, ..)| left.cmp(right));
        Ok(totals)
    }

    /// Counts things that a vendor may tell more than once, each once, and notes until when the data
    /// set was read. How many of them are new.
    ///
    /// # Errors
    ///
    /// The store failed: nothing was counted, and they can be told again.
    pub async fn happened(
        &self,
        application: &Application,
        dataset: Dataset,
        happenings: Vec<Happening>,
        until: Option<Timestamp>,
    ) -> Result<(News, u64), StoreError> {
        let mut digests: Vec<Digest> = happenings.iter().map(|own| own.digest).collect();
        digests.sort_unstable();
        digests.dedup();
        let happenings = Arc::new(happenings);
        let adopt_age = self.policy().adopt_age;
        let compute = |happenings: Arc<Vec<Happening>>, id: Arc<str>| {
            move |draft: &mut Draft<'_>, told: Told| {
                let birth = draft.birth(&id, dataset);
                let age = adopt_age;
                let adoption = Adoption { birth, age };
                if let Some(until) = until {
                    let dataset = dataset.as_str().to_owned();
                    let at = until.as_millisecond();
                    draft.changes.cursors.push((id.clone(), dataset, at));
                }
                count_happenings(draft, &id, &told, &happenings, adoption)
            }
        };
        let (own, asked) = (happenings.clone(), digests.clone());
        let ask = move |_: &Image| Ask {
            digests: asked,
            ..Ask::default()
        };
        let id = application.id.clone();
        match self.change(ask, compute(own, id.clone())).await {
            Err(StoreError::Fenced) => self.elsewhere(digests, compute(happenings, id)).await,
            outcome => outcome,
        }
    }

    /// Until when a data set of an application was read.
    pub async fn read_until(
        &self,
        application: &Application,
        dataset: Dataset,
    ) -> Option<Timestamp> {
        let key = (application.id.clone(), dataset.as_str().to_owned());
        let image = self.image.lock().await;
        let at = image.cursors.get(&key)?;
        Timestamp::from_millisecond(*at).ok()
    }

    /// Forgets messages that no source names any more. No counter moves.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn forget(&self, ids: Vec<MessageId>) -> Result<(), StoreError> {
        let forgotten = self.change(
            |_| Ask::default(),
            move |draft, _| {
                for id in ids {
                    draft.forget_message(id);
                }
            },
        );
        forgotten.await.map(|_| ())
    }

    /// Messages are no longer watched; what was counted of them stays known.
    pub async fn unwatch(&self, ids: &[MessageId]) {
        let mut image = self.image.lock().await;
        for id in ids {
            image.drop_message(id);
        }
    }

    /// The messages in the ledger whose age is counted from before a time.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn old_messages(&self, before: Timestamp) -> Result<Vec<MessageId>, StoreError> {
        self.store
            .old_messages(&self.name, before.as_millisecond())
            .await
    }
}

/// Counts what is new among happenings; how many of them.
fn count_happenings(
    draft: &mut Draft<'_>,
    application: &Arc<str>,
    told: &Told,
    happenings: &[Happening],
    adoption: Adoption,
) -> u64 {
    let mut new = 0;
    for own in happenings {
        let known = told.memories.contains_key(&own.digest)
            || draft.changes.memories.contains_key(&own.digest);
        if known {
            continue;
        }
        // Nothing but that it was there.
        draft.changes.memories.insert(own.digest, vec![0]);
        new += 1;
        let at = own.at.map(|at| at.as_millisecond());
        let count = u64::from(!adoption.is_history(at));
        for counter in counters_of(&own.kind) {
            let key = draft.bounded(application, counter);
            draft.add(key, &Amount::Count(count));
        }
    }
    new
}

fn counters_of(kind: &HappeningKind) -> Vec<Counter> {
    match kind {
        HappeningKind::Log {
            action,
            platform,
            status,
        } => vec![Counter::Log {
            action: action.clone(),
            platform: platform.clone(),
            status: status.clone(),
        }],
        HappeningKind::BouncedAddress { kind, reason } => vec![Counter::BouncedAddress {
            kind: Arc::from(*kind),
            reason: Arc::from(*reason),
        }],
        HappeningKind::Tracked { measure, campaign } => {
            let (channel, measure): (Arc<str>, _) = (Arc::from("email"), *measure);
            let mut counters = Vec::new();
            if let Some(campaign) = campaign {
                counters.push(Counter::Campaign {
                    channel: channel.clone(),
                    campaign: campaign.clone(),
                    measure,
                });
            }
            counters.push(Counter::Total { channel, measure });
            counters
        }
    }
}

/// Counts reports, each once.
fn count_reports(draft: &mut Draft<'_>, application: &Arc<str>, told: Told, reports: &[Report]) {
    let mut memories: HashMap<Digest, (Memory, bool)> = told
        .memories
        .into_iter()
        .map(|(digest, row)| (digest, (Memory::parse(&row), false)))
        .collect();
    let mut tally = Tally::default();
    for report in reports {
        let (memory, changed) = memories.entry(report.message).or_default();
        if memory.count(report, LATENCY_BOUNDS, &mut tally) {
            *changed = true;
        } else {
            draft.changes.news.duplicates += 1;
        }
    }
    tally.count(application, draft);
    for (digest, (memory, changed)) in memories {
        if changed {
            draft.changes.memories.insert(digest, memory.to_bytes());
        }
    }
}

/// Campaigns that nobody asks for any more.
fn forgotten_campaigns(image: &Image, now: i64) -> Vec<Arc<str>> {
    let mut last: HashMap<&Arc<str>, i64> = HashMap::new();
    for (key, own) in &image.counters {
        if let Some(campaign) = key.campaign() {
            let last = last.entry(campaign).or_insert(own.changed_at);
            *last = own.changed_at.max(*last);
        }
    }
    let tracked: HashSet<Arc<str>> = image.campaigns.keys().map(clean).collect();
    last.into_iter()
        .filter(|(campaign, last)| {
            now - last >= CAMPAIGN_AFTER
                && campaign.as_ref() != OTHER
                && !tracked.contains(*campaign)
        })
        .map(|(campaign, _)| campaign.clone())
        .collect()
}

/// A message's state as it was stored. One that cannot be read stops the account: without it the
/// message would count once more from the beginning.
fn unpack(id: &MessageId, row: &[u8]) -> Result<MessageState, StoreError> {
    postcard::from_bytes(row).map_err(|error| {
        StoreError::Failed(format!(
            "the stored numbers of message {} cannot be read ({error}); the store is damaged or \
             was written by a newer version: restore it from a backup",
            id.1
        ))
    })
}

fn told_of(known: &Known) -> Met {
    let time = |at: i64| Timestamp::from_millisecond(at).unwrap_or_default();
    Met {
        first_seen: time(known.state.first_seen),
        sent_at: known.state.sent_at.map(time),
        campaign: known.state.campaign.as_deref().map(Arc::from),
        wanted_at: known.next.begins.map(time),
    }
}

/// Whether an answer says what the one before said, and no age waits for it.
fn unchanged(known: &Known, own: &Seen, windows: &Windows) -> bool {
    let dated = known.state.sent_at.is_some() || own.message.sent_at.is_none();
    let opens = |at| own.asked_at.as_millisecond() >= at;
    let Some(snapshot) = &own.snapshot else {
        return dated && !known.next.open.is_some_and(opens);
    };
    known.hash == hash(snapshot)
        && known.state.met
        && (known.state.campaign.is_some() || own.message.campaign.is_none())
        && dated
        && (known.state.sent_at.is_some() || snapshot.sent_at.is_none())
        && !known.next.open.is_some_and(opens)
        && !known.state.tells_half(snapshot, windows)
}

/// Of a snapshot's numbers. Never 0, which stands for none.
fn hash(snapshot: &Snapshot) -> u64 {
    let mut hasher = DefaultHasher::new();
    for totals in &snapshot.totals {
        (totals.channel, &totals.counts).hash(&mut hasher);
    }
    for row in &snapshot.breakdown {
        (
            &row.message_type,
            &row.platform,
            &row.vendor_channel,
            &row.counts,
        )
            .hash(&mut hasher);
    }
    for totals in &snapshot.types {
        (&totals.message_type, &totals.counts).hash(&mut hasher);
    }
    hasher.finish() | 1
}
