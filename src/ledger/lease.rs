//! Who holds which account. With SQLite this process holds all of them for ever; with PostgreSQL
//! replicas share the accounts by leases, which end by themselves when nobody renews them.

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
    /// By nobody or by another process.
    No,
    /// Under this epoch, until then.
    Until(i64, Moment),
    /// For as long as this process lives.
    Always,
}

/// The lease of one account, as its collector and its series see it.
#[derive(Clone)]
pub struct Lease {
    clock: Clock,
    held: watch::Receiver<Held>,
}

impl Lease {
    /// One that always runs.
    pub fn always(clock: Clock) -> Lease {
        let (_, held) = watch::channel(Held::Always);
        Lease { clock, held }
    }

    /// Whether it runs now, by the monotonic clock.
    pub fn runs(&self) -> bool {
        match *self.held.borrow() {
            Held::No => false,
            Held::Until(_, end) => self.clock.monotonic() < end,
            Held::Always => true,
        }
    }

    /// The epoch under which the account is held; `None`: by a process that shares with nobody.
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

    /// Returns when the account is held no more, or under another epoch.
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
    /// The store has said which accounts are free, and this process has taken its share of them. Not
    /// while the store cannot be asked and every lease is over.
    settled: AtomicBool,
    stopped: watch::Sender<bool>,
    /// Takes whatever is free, and is not one of those that share: `collect`.
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

    /// Whether it is known who holds which account: until every lease is over and the store cannot be
    /// asked.
    pub(super) fn are_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// These accounts are configured: they are to be held, and no others.
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

    /// Waits until all of these are held, for at most as long as a process that died can have held
    /// them; those that are not.
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

    /// What this process holds now.
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

    /// Renews, takes over, and gives up what is more than a fair share, until it is stopped.
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
                    // Without leases and without the store nothing is known of any account.
                    if self.held().is_empty() {
                        self.settled.store(false, Ordering::Relaxed);
                    }
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "leases cannot be renewed; it is tried until they are over");
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
        // Before it is asked for: the server's clock starts no earlier.
        let from = self.clock.monotonic();
        let renewal = self.store.renew(wanted, held.clone(), !self.alone).await?;
        for (account, epoch) in &held {
            if renewal.held.contains(&(account.clone(), *epoch)) {
                self.set(account, Held::Until(*epoch, from + self.length));
            } else {
                tracing::warn!(%account, "another replica has taken the account over");
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
            tracing::info!(%account, "given to another replica, which has fewer accounts");
            self.give_back(vec![(account, epoch)]).await?;
        }
        Ok(turn.pause)
    }

    async fn take(&self, account: Arc<str>) {
        let from = self.clock.monotonic();
        match self.store.acquire(&account).await {
            Ok(Some(epoch)) => {
                tracing::info!(%account, epoch, "this replica holds the account now");
                self.set(&account, Held::Until(epoch, from + self.length));
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%account, %error, "the account cannot be taken over"),
        }
    }

    /// Lets go first, so that nothing is shown or collected any more, and then tells.
    async fn give_back(&self, accounts: Vec<(Arc<str>, i64)>) -> Result<(), StoreError> {
        for (account, _) in &accounts {
            self.set(account, Held::No);
        }
        self.store.give_back(accounts).await
    }

    /// Gives everything back: another replica need not wait for the leases' end.
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
            tracing::warn!(%error, "leases cannot be given back; they end by themselves");
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
