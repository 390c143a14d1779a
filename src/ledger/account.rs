//! The ledger of one account: answers go in, news come out.

mod messages;
mod once;

pub(super) use messages::unpack;
pub use once::Replayed;
pub(super) use once::counters_of;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use delivery_clock::{Clock, Moment, is_plausible};
use jiff::Timestamp;
use tokio::sync::{Notify, OwnedMutexGuard};

use super::{
    LedgerDelta, StoreObserver, Volume,
    amount::Amount,
    cohort::Windows,
    image::{AccountState, Hold, MessageDraft, StateChanges, StateTransaction},
    key::{CounterKey, Texts, clean},
    lease::Lease,
    names::{LabelLimiter, OTHER},
    spool::AccountSpool,
    store::{ReadRows, ReadSet, Store, StoreError, WriteSet},
};
use crate::{
    model::{Application, Channel, Dataset, Message, Snapshot},
    providers::{Spool, SpooledBody},
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

/// How an account is counted now.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) zero_hold: Duration,
    pub(super) adopt_age: Duration,
    pub(super) windows: Windows,
    pub(super) channels: &'static [Channel],
    /// One pass only: what is new is shown as 0, and the rest whole.
    pub(super) once: bool,
}

/// A message as a source or a vendor told of it.
#[derive(Clone, Debug)]
pub struct StoredMessage {
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
pub struct MessageObservation {
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
    clock: Clock,
    store: Store,
    spool: AccountSpool,
    notes: Arc<dyn StoreObserver>,
    names: Arc<LabelLimiter>,
    lease: Lease,
    policy: Mutex<Arc<Policy>>,
    image: Arc<tokio::sync::Mutex<AccountState>>,
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

/// What a transaction of the account has decided. Where it does not become durable this is dropped, in this
/// order: the new names go back before the next transaction can take any.
struct Decision<R> {
    changes: StateChanges,
    image: OwnedMutexGuard<AccountState>,
    outcome: R,
}

impl AccountLedger {
    #[expect(clippy::too_many_arguments, reason = "it is put together in one place")]
    pub(super) fn new(
        name: Arc<str>,
        replica: Arc<str>,
        clock: Clock,
        store: Store,
        spool: AccountSpool,
        notes: Arc<dyn StoreObserver>,
        names: Arc<LabelLimiter>,
        lease: Lease,
        policy: Policy,
    ) -> AccountLedger {
        AccountLedger {
            name,
            replica,
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
    pub fn names(&self) -> &Arc<LabelLimiter> {
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
    ) -> Result<LedgerDelta, StoreError> {
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
                |_| ReadSet {
                    inbox: shared,
                    ..ReadSet::default()
                },
                move |draft, told| {
                    draft.absorb(told.inbox);
                    for application in &applications {
                        for dataset in &datasets {
                            draft.birth(&application.id, *dataset);
                        }
                        let counted = |own: &Dataset| own.has_snapshots() || own.is_drained();
                        if datasets.iter().any(counted)
                            && let Some(channel) = draft.channels.first()
                        {
                            draft.zero_channel(&application.id, channel.name);
                        }
                        if datasets.iter().any(|own| own.has_bounced_addresses) {
                            draft.zero_bounced(&application.id);
                        }
                    }
                    // A series that this replica has not shown is born at zero, durably; and what
                    // `collect` has shown before, it shows whole. All others are as they are stored.
                    for (key, own) in &draft.image.counters {
                        match own.hold {
                            Hold::Open if !own.stored || !own.pending.is_zero() => {
                                draft.release(key);
                            }
                            _ if !own.stored => draft.init(key),
                            _ => {}
                        }
                    }
                },
            )
            .await;
        let (delta, ()) = opened?;
        let image = self.image.lock().await;
        *self.backlog() = self
            .spool
            .bodies()
            .map_err(|error| StoreError::Failed(error.0))?;
        Ok(LedgerDelta {
            shown: image.shown(),
            born: true,
            ..delta
        })
    }

    fn backlog(&self) -> std::sync::MutexGuard<'_, Vec<SpooledBody>> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self, image: &mut AccountState, policy: &Policy) -> Result<(), StoreError> {
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
    async fn reload(&self, image: &mut AccountState, policy: &Policy) -> Result<(), StoreError> {
        self.load(image, policy).await?;
        image.stale = true;
        let ask = ReadSet {
            account: self.name.clone(),
            replica: self.replica.clone(),
            messages: image.messages.keys().cloned().collect(),
            ..ReadSet::default()
        };
        let told = self
            .store
            .transact(ask, |rows| (WriteSet::default(), rows))
            .await
            .inspect_err(|error| self.failed_by(error))?;
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
            self.notes.up(Volume::Store, false);
            self.notes.error();
        }
    }

    /// One transaction. Only what is durable is told.
    async fn change<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&AccountState) -> ReadSet,
        compute: impl FnOnce(&mut StateTransaction<'_>, ReadRows) -> R + Send + 'static,
    ) -> Result<(LedgerDelta, R), StoreError> {
        let policy = self.policy();
        let mut image = self.image.clone().lock_owned().await;
        if !self.lease.runs() || image.fence != self.lease.epoch() {
            return Err(StoreError::Fenced);
        }
        let mut reloaded = LedgerDelta::default();
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
        let names = self.names.clone();
        let now = self.clock.now().as_millisecond();
        let hold = self.hold(&policy, false);
        let decide = move |mut rows: ReadRows| {
            let stored = std::mem::take(&mut rows.messages);
            let states = stored.into_iter().map(|(id, row)| {
                let state = unpack(&id, &row)?;
                Ok((id, state))
            });
            let states = match states.collect() {
                Ok(states) => states,
                Err(error) => return (WriteSet::default(), Err(error)),
            };
            let mut draft = StateTransaction {
                states,
                image: &image,
                names: &names,
                channels: policy.channels,
                ages: policy.windows.ages(),
                now,
                hold,
                changes: StateChanges::default(),
            };
            let outcome = compute(&mut draft, rows);
            let writes = draft.batch();
            let decision = Decision {
                changes: draft.changes,
                image,
                outcome,
            };
            (writes, Ok(decision))
        };
        let done = self.store.transact(ask, decide).await.flatten();
        let Decision {
            changes,
            mut image,
            outcome,
        } = done.inspect_err(|error| self.failed_by(error))?;
        self.notes.up(Volume::Store, true);
        image.stale = false;
        reloaded.gone = std::mem::take(&mut image.gone);
        reloaded.append(changes.apply(&mut image, &self.names));
        self.plan(&image);
        Ok((reloaded, outcome))
    }

    /// Notes when something has to be done next.
    fn plan(&self, image: &AccountState) {
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
    pub async fn tick(&self) -> Result<LedgerDelta, StoreError> {
        let policy = self.policy();
        let (clock, moment) = (self.clock.clone(), self.clock.monotonic());
        let now = clock.now();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let shared = self.store.shared();
        let ticked = self.change(
            move |_| ReadSet {
                inbox: shared,
                ..ReadSet::default()
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
            Ok((delta, ())) => Ok(delta),
            Err(error) => {
                // Not at once: the store needs time.
                let again = self.clock.monotonic() + Duration::from_secs(1);
                *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(again);
                Err(error)
            }
        }
    }

    /// Somebody has registered messages of the account here.
    pub fn registered_now(&self) {
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
            // What was registered before the clock was set was sent when it is read.
            sent_at: Timestamp::from_millisecond(row.sent_at)
                .ok()
                .filter(|sent_at| is_plausible(*sent_at)),
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

    /// What every counter has counted over all replicas, and what of it is not released.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn totals(&self) -> Result<Vec<(CounterKey, Amount, Amount)>, StoreError> {
        let rows = self.store.account(&self.name, &self.replica).await?;
        let mut texts = Texts::default();
        let rows = rows.counters.into_iter();
        let totals =
            rows.filter_map(|row| Some((texts.counter(&row.key)?, row.total, row.pending)));
        let mut totals: Vec<_> = totals.collect();
        totals.sort_by(|(left, ..), (right, ..)| left.stored_order(right));
        Ok(totals)
    }
}

/// Campaigns that nobody asks for any more.
fn forgotten_campaigns(image: &AccountState, now: i64) -> Vec<Arc<str>> {
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
