//! Which replica holds which account. With SQLite, this process always holds all accounts. With PostgreSQL,
//! replicas share the accounts by leases, which expire unless they are renewed.

mod turn;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use delivery_clock::{Clock, Moment};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{Notify, watch};

use super::{
    StoreObserver, Volume,
    store::{Store, StoreError},
};
use turn::Turn;

/// How an account is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// Not held by this process.
    No,
    /// Held under this epoch until this moment.
    Until(i64, Moment),
    /// Held as long as this process lives.
    Always,
}

/// A handle to the lease of one account, for its collector and its series.
#[derive(Clone)]
pub struct Lease {
    clock: Clock,
    held: watch::Receiver<Held>,
}

impl Lease {
    /// A lease that never expires.
    pub fn always(clock: Clock) -> Lease {
        let (_, held) = watch::channel(Held::Always);
        Lease { clock, held }
    }

    /// Whether it is valid now, by the monotonic clock.
    pub fn runs(&self) -> bool {
        match *self.held.borrow() {
            Held::No => false,
            Held::Until(_, end) => self.clock.monotonic() < end,
            Held::Always => true,
        }
    }

    /// The epoch under which the account is held; `None` for a process that does not share accounts.
    pub(super) fn epoch(&self) -> Option<i64> {
        match *self.held.borrow() {
            Held::Until(epoch, _) => Some(epoch),
            _ => None,
        }
    }

    /// Returns when the account is held.
    pub async fn acquired(&self) {
        let mut held = self.held.clone();
        while !self.runs() {
            held.mark_unchanged();
            if self.runs() {
                return;
            }
            if held.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns when the account is no longer held, or is held under another epoch.
    pub async fn released(&self) {
        let epoch = self.epoch();
        let mut held = self.held.clone();
        loop {
            held.mark_unchanged();
            let now = *self.held.borrow();
            match now {
                Held::No => return,
                Held::Always => {
                    if held.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                Held::Until(own, end) => {
                    if Some(own) != epoch || self.clock.monotonic() >= end {
                        return;
                    }
                    tokio::select! {
                        () = self.clock.sleep_until(end) => {}
                        changed = held.changed() => if changed.is_err() { return },
                    }
                }
            }
        }
    }
}

/// The leases of this process.
pub(super) struct Leases {
    store: Store,
    clock: Clock,
    notes: Arc<dyn StoreObserver>,
    length: Duration,
    states: Mutex<HashMap<Arc<str>, watch::Sender<Held>>>,
    /// The configured accounts, in their order.
    wanted: Mutex<Vec<Arc<str>>>,
    changed: Notify,
    /// Whether this process knows which accounts are free and has taken its share. False while the store
    /// cannot be reached and every lease has expired.
    settled: AtomicBool,
    stopped: watch::Sender<bool>,
    /// Whether the process takes all free accounts and does not share them, as `collect` does.
    alone: bool,
}

impl Leases {
    pub(super) fn new(
        store: Store,
        clock: Clock,
        notes: Arc<dyn StoreObserver>,
        length: Duration,
        alone: bool,
    ) -> Arc<Leases> {
        let settled = AtomicBool::new(!store.shared());
        Arc::new(Leases {
            store,
            clock,
            notes,
            length,
            states: Mutex::default(),
            wanted: Mutex::default(),
            settled,
            changed: Notify::new(),
            stopped: watch::Sender::new(false),
            alone,
        })
    }

    fn states(&self) -> MutexGuard<'_, HashMap<Arc<str>, watch::Sender<Held>>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease of an account.
    pub(super) fn of(&self, account: &Arc<str>) -> Lease {
        let first = if self.store.shared() {
            Held::No
        } else {
            Held::Always
        };
        let mut states = self.states();
        let state = states
            .entry(account.clone())
            .or_insert_with(|| watch::Sender::new(first));
        Lease {
            clock: self.clock.clone(),
            held: state.subscribe(),
        }
    }

    /// Whether this process knows who holds which account. False once every lease has expired and the store
    /// cannot be reached.
    pub(super) fn are_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// Sets the configured accounts, which this process tries to hold.
    pub(super) fn want(&self, accounts: Vec<Arc<str>>) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = accounts;
        self.changed.notify_one();
    }

    fn wanted(&self) -> Vec<Arc<str>> {
        self.wanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, account: &Arc<str>, held: Held) {
        if let Some(state) = self.states().get(account) {
            state.send_if_modified(|old| std::mem::replace(old, held) != held);
        }
    }

    /// Waits until all of these are held, at most until the leases of a dead process would have expired.
    /// Returns those that are not held.
    pub(super) async fn all(&self, accounts: &[Arc<str>]) -> Vec<Arc<str>> {
        let end = self.clock.monotonic() + self.length + Duration::from_secs(1);
        let mut missing = Vec::new();
        for account in accounts {
            let lease = self.of(account);
            tokio::select! {
                () = lease.acquired() => {}
                () = self.clock.sleep_until(end) => missing.push(account.clone()),
            }
        }
        missing
    }

    /// The accounts that this process holds now, with their epochs.
    fn held(&self) -> BTreeMap<Arc<str>, i64> {
        let now = self.clock.monotonic();
        let states = self.states();
        let held = states
            .iter()
            .filter_map(|(account, state)| match *state.borrow() {
                Held::Until(epoch, end) if now < end => Some((account.clone(), epoch)),
                _ => None,
            });
        held.collect()
    }

    /// Renews leases, takes over accounts, and releases accounts beyond a fair share, until it is stopped.
    pub(super) async fn run(self: Arc<Self>) {
        let mut stopped = self.stopped.subscribe();
        let mut takeovers: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let mut failing = false;
        loop {
            let pause = match self.cycle(&mut takeovers).await {
                Ok(pause) => {
                    failing = false;
                    self.notes.up(Volume::Store, true);
                    pause
                }
                Err(error) => {
                    self.notes.up(Volume::Store, false);
                    self.notes.error();
                    // Without any lease and without the store, the state of every account is unknown.
                    if self.held().is_empty() {
                        self.settled.store(false, Ordering::Relaxed);
                    }
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "leases cannot be renewed; retrying until they expire");
                    }
                    (self.length / 10).min(Duration::from_secs(1))
                }
            };
            let next = self.clock.monotonic() + pause;
            loop {
                if !failing && takeovers.is_empty() {
                    self.settled.store(true, Ordering::Relaxed);
                }
                tokio::select! {
                    () = self.clock.sleep_until(next) => break,
                    () = self.changed.notified() => break,
                    Some(()) = takeovers.next(), if !takeovers.is_empty() => {}
                    _ = stopped.wait_for(|stopped| *stopped) => return,
                }
            }
        }
    }

    async fn cycle(
        self: &Arc<Self>,
        takeovers: &mut FuturesUnordered<BoxFuture<'static, ()>>,
    ) -> Result<Duration, StoreError> {
        let wanted = self.wanted();
        let held = self.held();
        let unwanted: Vec<_> = held
            .iter()
            .filter(|(account, _)| !wanted.contains(account))
            .map(|(account, epoch)| (account.clone(), *epoch))
            .collect();
        if !unwanted.is_empty() {
            self.give_back(unwanted).await?;
        }
        let held: Vec<_> = self.held().into_iter().collect();
        // Taken before the request, because the server starts the lease later.
        let from = self.clock.monotonic();
        let renewal = self.store.renew(wanted, held.clone(), !self.alone).await?;
        for (account, epoch) in &held {
            if renewal.held.contains(&(account.clone(), *epoch)) {
                self.set(account, Held::Until(*epoch, from + self.length));
            } else {
                tracing::warn!(%account, "another replica has taken over the account");
                self.set(account, Held::No);
            }
        }
        let turn = Turn::after(renewal, self.length, self.alone);
        if takeovers.is_empty() {
            for account in turn.take {
                let own = self.clone();
                takeovers.push(Box::pin(async move { own.take(account).await }));
            }
        }
        if let Some((account, epoch)) = turn.give {
            tracing::info!(%account, "the account was released to another replica, which has fewer accounts");
            self.give_back(vec![(account, epoch)]).await?;
        }
        Ok(turn.pause)
    }

    async fn take(&self, account: Arc<str>) {
        let from = self.clock.monotonic();
        match self.store.acquire(&account).await {
            Ok(Some(epoch)) => {
                tracing::info!(%account, epoch, "this replica now holds the account");
                self.set(&account, Held::Until(epoch, from + self.length));
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%account, %error, "the account could not be taken over"),
        }
    }

    /// First releases the accounts locally, so that they are no longer exposed or collected, and then in the
    /// store.
    async fn give_back(&self, accounts: Vec<(Arc<str>, i64)>) -> Result<(), StoreError> {
        for (account, _) in &accounts {
            self.set(account, Held::No);
        }
        self.store.give_back(accounts).await
    }

    /// Releases all accounts, so that other replicas need not wait for the leases to expire.
    pub(super) async fn stop(&self) {
        self.stopped.send_replace(true);
        let held: Vec<_> = self.held().into_iter().collect();
        if !self.store.shared() {
            return;
        }
        let left = async {
            self.give_back(held).await?;
            self.store.leave().await
        };
        if let Err(error) = left.await {
            tracing::warn!(%error, "leases could not be released; they will expire");
        }
    }
}

#[cfg(test)]
mod tests {
    use delivery_clock::ManualClock;
    use futures_util::FutureExt;

    use super::*;

    fn lease(held: Held) -> (Lease, watch::Sender<Held>, ManualClock) {
        let (clock, hand) = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        let (state, held) = watch::channel(held);
        (Lease { clock, held }, state, hand)
    }

    /// Under an epoch, for so many seconds from now.
    fn until(lease: &Lease, epoch: i64, seconds: u64) -> Held {
        let end = lease.clock.monotonic() + Duration::from_secs(seconds);
        Held::Until(epoch, end)
    }

    #[test]
    fn a_lease_ends_by_itself_and_a_process_without_replicas_holds_for_ever() {
        let (lease, state, hand) = lease(Held::No);
        assert!(!lease.runs() && lease.epoch().is_none());
        state.send_replace(until(&lease, 4, 10));
        assert!(lease.runs());
        hand.advance(Duration::from_millis(9_999));
        assert!(lease.runs());
        hand.advance(Duration::from_millis(1));
        assert!(!lease.runs());
        // Under which epoch it was read is still known.
        assert_eq!(lease.epoch(), Some(4));
        state.send_replace(Held::Always);
        hand.advance(Duration::from_secs(1_000_000));
        assert!(lease.runs() && lease.epoch().is_none());
    }

    #[tokio::test]
    async fn who_waits_hears_of_a_lease_and_of_its_end() {
        let (lease, state, hand) = lease(Held::No);
        let mut acquired = Box::pin(lease.acquired());
        assert!(acquired.as_mut().now_or_never().is_none());
        state.send_replace(until(&lease, 4, 10));
        assert!(acquired.as_mut().now_or_never().is_some());

        let mut released = Box::pin(lease.released());
        assert!(released.as_mut().now_or_never().is_none());
        hand.advance(Duration::from_secs(9));
        state.send_replace(until(&lease, 4, 10));
        assert!(released.as_mut().now_or_never().is_none());
        hand.advance(Duration::from_secs(9));
        assert!(released.as_mut().now_or_never().is_none(), "it was renewed");
        hand.advance(Duration::from_secs(1));
        assert!(released.as_mut().now_or_never().is_some());

        // Another epoch: another process had it in between, though it runs.
        state.send_replace(until(&lease, 5, 10));
        let mut released = Box::pin(lease.released());
        assert!(released.as_mut().now_or_never().is_none());
        state.send_replace(until(&lease, 6, 10));
        assert!(lease.runs() && released.as_mut().now_or_never().is_some());
    }
}
