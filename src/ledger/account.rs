//! The ledger of one account: it takes answers and returns ledger deltas.

mod change;
mod messages;
mod once;
mod registered;
mod tick;

pub(super) use messages::unpack;
pub use once::Replayed;
pub(super) use once::counters_of;

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use delivery_clock::{Clock, Moment};
use futures_util::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::{
    LedgerDelta, StoreObserver,
    amount::Amount,
    cohort::Windows,
    key::{CounterKey, Texts},
    lease::Lease,
    names::LabelLimiter,
    spool::AccountSpool,
    state::{AccountState, Hold},
    store::{ReadSet, Store, StoreError},
    trust::ClockTrust,
};
use crate::{
    model::{Application, Channel, Dataset, Message, Snapshot},
    providers::{Spool, SpoolError, SpoolWriter, SpooledBody},
};

/// How an account is currently counted.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) zero_hold: Duration,
    pub(super) adopt_age: Duration,
    pub(super) windows: Windows,
    pub(super) channels: &'static [Channel],
    /// Whether there is only one pass: new counters are exposed as 0, and all others with their full value.
    pub(super) once: bool,
}

impl Policy {
    /// The hold of a counter that this replica exposes from `now` on, for the first time or again.
    fn hold(&self, now: Moment, shown_before: bool) -> Hold {
        if self.once {
            return if shown_before {
                Hold::Open
            } else {
                Hold::Process
            };
        }
        if self.zero_hold.is_zero() {
            return Hold::Open;
        }
        Hold::Until(now + self.zero_hold)
    }
}

/// A message with its stored data.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    /// When it was first seen, including before restarts.
    pub first_seen: Timestamp,
    /// When it was sent.
    pub sent_at: Option<Timestamp>,
    /// Its campaign.
    pub campaign: Option<Arc<str>>,
    /// When an answer is next needed for one of its ages.
    pub wanted_at: Option<Timestamp>,
}

/// A snapshot with the data of its message merged from all sources.
#[derive(Clone, Debug)]
pub struct MessageObservation {
    /// The message.
    pub message: Message,
    /// When this process first saw it.
    pub first_seen: Timestamp,
    /// The vendor's counts; `None` if it has none yet.
    pub snapshot: Option<Snapshot>,
    /// The start of the request.
    pub asked_at: Timestamp,
}

/// The ledger of one account.
pub struct AccountLedger {
    name: Arc<str>,
    replica: Arc<str>,
    clock: Clock,
    trust: Arc<ClockTrust>,
    store: Store,
    spool: AccountSpool,
    /// Whether the account is closed for new queries.
    closed: watch::Sender<bool>,
    notes: Arc<dyn StoreObserver>,
    names: Arc<LabelLimiter>,
    lease: Lease,
    policy: Mutex<Arc<Policy>>,
    account_state: Arc<tokio::sync::Mutex<AccountState>>,
    /// Quarantined bodies that have not been reported yet.
    quarantined: AtomicU64,
    /// Bodies in the spool that are not counted yet.
    backlog: Mutex<Vec<SpooledBody>>,
    /// When the next maintenance is due.
    next: Mutex<Option<Moment>>,
    sooner: Notify,
    /// Notified when this process has registered a message of the account.
    registrations: Notify,
}

impl AccountLedger {
    #[expect(clippy::too_many_arguments, reason = "it is put together in one place")]
    pub(super) fn new(
        name: Arc<str>,
        replica: Arc<str>,
        clock: Clock,
        trust: Arc<ClockTrust>,
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
            trust,
            store,
            spool,
            closed: watch::Sender::new(false),
            notes,
            names,
            lease,
            policy: Mutex::new(Arc::new(policy)),
            account_state: Arc::default(),
            quarantined: AtomicU64::new(0),
            backlog: Mutex::default(),
            next: Mutex::default(),
            sooner: Notify::new(),
            registrations: Notify::new(),
        }
    }

    /// The label limiter, which gauges share.
    pub fn names(&self) -> &Arc<LabelLimiter> {
        &self.names
    }

    /// Replaces the policy.
    pub(super) fn set_policy(&self, policy: Policy) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    fn policy(&self) -> Arc<Policy> {
        self.policy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Where bodies go that the vendor hands out once.
    pub fn spool(&self) -> &dyn Spool {
        self
    }

    /// Closes or opens the account for new queries; answers that are already arriving are still accepted.
    pub fn close(&self, closed: bool) {
        self.closed.send_replace(closed);
    }

    /// Reports the size of the account's spool.
    pub fn measure(&self) {
        let (bytes, quarantined) = self.spool.size();
        self.notes.size(&self.name, bytes, quarantined);
    }

    /// Takes over the account and its counters, including those that exist from the start. The counters are
    /// held again if requested, or if this process did not have them.
    ///
    /// # Errors
    ///
    /// The store failed, or contains data that this version cannot read.
    pub async fn open(
        &self,
        applications: &[Application],
        datasets: &[Dataset],
        again: bool,
    ) -> Result<LedgerDelta, StoreError> {
        let policy = self.policy();
        {
            let mut account_state = self.account_state.lock().await;
            let fence = self.lease.epoch();
            if !self.lease.runs() {
                return Err(StoreError::Fenced);
            }
            if again || account_state.fence != fence {
                account_state.counters.clear();
            }
            account_state.fence = fence;
            account_state.unwatch();
            account_state.opened = Some(self.clock.monotonic());
            self.load(&mut account_state, &policy).await?;
        }
        let (applications, datasets) = (applications.to_vec(), datasets.to_vec());
        let shared = self.store.shared();
        let opened = self
            .change(
                |_| ReadSet {
                    inbox: shared,
                    ..ReadSet::default()
                },
                move |transaction, told| {
                    transaction.absorb(told.inbox);
                    for application in &applications {
                        for dataset in &datasets {
                            transaction.birth(&application.id, *dataset);
                        }
                        let counted = |own: &Dataset| own.has_snapshots() || own.is_drained();
                        if datasets.iter().any(counted)
                            && let Some(channel) = transaction.channels.first()
                        {
                            transaction.zero_channel(&application.id, channel.name);
                        }
                        if datasets.iter().any(|own| own.has_bounced_addresses) {
                            transaction.zero_bounced(&application.id);
                        }
                    }
                    // A series that this replica has not exposed before is created at zero, durably.
                    // `collect` exposes the full value of what it has exposed before. All others keep their
                    // stored value.
                    for (key, own) in &transaction.account_state.counters {
                        match own.hold {
                            Hold::Open if !own.stored || !own.pending.is_zero() => {
                                transaction.release(key);
                            }
                            _ if !own.stored => transaction.init(key),
                            _ => {}
                        }
                    }
                },
            )
            .await;
        let (delta, ()) = opened?;
        let account_state = self.account_state.lock().await;
        *self.backlog() = self
            .spool
            .bodies()
            .map_err(|error| StoreError::Failed(error.0))?;
        Ok(LedgerDelta {
            shown: account_state.shown(),
            born: true,
            ..delta
        })
    }

    fn backlog(&self) -> std::sync::MutexGuard<'_, Vec<SpooledBody>> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The total of every counter over all replicas, and the part that is not released.
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

impl Spool for AccountLedger {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn SpoolWriter>, SpoolError>> {
        self.spool.begin()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        async move {
            let mut closed = self.closed.subscribe();
            tokio::select! {
                // The ledger owns the sender, so it outlives the wait.
                _ = closed.wait_for(|closed| *closed) => {}
                // By the time: a process that was stopped for a while sees it before it asks for anything.
                () = self.lease.released() => {}
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_held_by_whether_it_was_shown_and_for_how_long_the_process_lives() {
        let now = Moment::default() + Duration::from_secs(7);
        let policy = |zero_hold, once| Policy {
            zero_hold: Duration::from_secs(zero_hold),
            adopt_age: Duration::ZERO,
            windows: Windows::default(),
            channels: &[],
            once,
        };
        let holds = |policy: Policy| [false, true].map(|shown| policy.hold(now, shown));
        let until = Hold::Until(Moment::default() + Duration::from_secs(127));
        assert_eq!(holds(policy(120, false)), [until; 2]);
        assert_eq!(holds(policy(0, false)), [Hold::Open; 2]);
        // `collect` ends before any hold does: what it has shown before, it shows whole.
        for zero_hold in [0, 120] {
            assert_eq!(
                holds(policy(zero_hold, true)),
                [Hold::Process, Hold::Open],
                "{zero_hold}"
            );
        }
    }
}
