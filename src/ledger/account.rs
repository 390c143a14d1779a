//! The ledger of one account: answers go in, news come out.

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
use jiff::Timestamp;
use tokio::sync::Notify;

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
    providers::{Spool, SpooledBody},
};

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

impl Policy {
    /// The hold of a counter that this replica shows from `now` on: for the first time, or as before.
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
    trust: Arc<ClockTrust>,
    store: Store,
    spool: AccountSpool,
    notes: Arc<dyn StoreObserver>,
    names: Arc<LabelLimiter>,
    lease: Lease,
    policy: Mutex<Arc<Policy>>,
    account_state: Arc<tokio::sync::Mutex<AccountState>>,
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
                    // A series that this replica has not shown is born at zero, durably; and what
                    // `collect` has shown before, it shows whole. All others are as they are stored.
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
