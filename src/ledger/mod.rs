//! What is counted, once: increases of the vendors' numbers, delivery reports that are handed out
//! once, and the spool that keeps their bodies until the store has them.
//!
//! Answers go in, [`LedgerDelta`] come out: only what is durable, and only after a series has stood at
//! zero for a while. It names families by their ids in the
//! catalogue, and knows neither HTTP nor the text of a page.

mod account;
mod amount;
mod before;
mod cohort;
mod key;
mod lease;
mod message;
mod names;
mod options;
mod reports;
mod sink;
mod spool;
mod state;
#[doc(hidden)]
pub mod store;
mod stored;
#[cfg(test)]
mod tests;
mod trust;

use std::{
    collections::{HashMap, HashSet},
    fs::{File, TryLockError},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use delivery_clock::Clock;
use jiff::Timestamp;

pub use account::{AccountLedger, MessageObservation, Replayed, StoredMessage};
pub use amount::{Amount, Times};
pub use before::{Increase, PreBaseline};
pub use cohort::Windows;
pub use key::CounterKey;
#[cfg(test)]
pub(crate) use key::{samples, stored::STORED};
pub use lease::Lease;
pub use names::{LabelLimiter, LabelLimits, OTHER, shortened};
pub use options::{AccountOptions, LedgerOptions};
pub use sink::Missed;
pub use store::{
    StoreError,
    moving::{Moved, migrate},
};
#[doc(hidden)]
pub use stored::read_stored;

use crate::{
    files::{create_private_directory, with_suffix},
    model::{Age, Message},
    providers::SpoolError,
    store_url::StoreUrl,
};
use account::Policy;
use lease::Leases;
use spool::AccountSpool;
use store::{RegisteredRow, Store};
use trust::ClockTrust;

/// Reports are remembered for 30 days; a day more, as parts are dropped whole.
const REMEMBERED: Duration = Duration::from_secs(31 * 86_400);

/// Told what becomes of the store.
pub trait StoreObserver: Send + Sync {
    /// Whether a place could be written to when it was last tried.
    fn up(&self, place: Volume, up: bool);
    /// A read or write failed.
    fn error(&self);
    /// Bytes of all bodies in an account's spool, and how many are quarantined.
    fn size(&self, account: &Arc<str>, bytes: u64, quarantined: u64);
    /// Bytes of the store.
    fn store_size(&self, bytes: u64);
}

/// A message that somebody has sent and registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// Whose.
    pub account: Arc<str>,
    /// The message; its `sent_at` is known.
    pub message: Message,
}

/// Where the ledger keeps things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// The store.
    Store,
    /// The spool.
    Spool,
}

/// A ledger that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The spool cannot be used.
    #[error("store.spool: {0}")]
    Spool(String),
    /// The store cannot be used.
    #[error("store.url: {0}")]
    Store(#[from] StoreError),
}

impl From<SpoolError> for LedgerError {
    fn from(error: SpoolError) -> LedgerError {
        LedgerError::Spool(error.0)
    }
}

/// What a ledger is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be shown for as long as the process lives, beside other replicas.
    Serve,
    /// To be shown once, with nobody else.
    Collect,
    /// Not to be shown at all.
    Replay,
}

/// Copies the SQLite ledger at `from` to the new file `to`, as it is at one moment, while an exporter may
/// write to it. Returns the copy's size in bytes. The spool is not part of it.
///
/// # Errors
///
/// There is no ledger at `from`, there is a file at `to` already, or one of them cannot be read or written.
pub fn backup(from: &Path, to: &Path) -> Result<u64, StoreError> {
    store::sqlite::backup(from, to)
}

/// The ledger of this process.
pub struct Ledger {
    options: LedgerOptions,
    clock: Clock,
    store: Store,
    leases: Arc<Leases>,
    purpose: Purpose,
    notes: Arc<dyn StoreObserver>,
    accounts: Mutex<HashMap<Arc<str>, Arc<AccountLedger>>>,
    trust: Arc<ClockTrust>,
    /// Held as long as the process lives: two of them would count everything twice.
    _locks: Vec<File>,
}

/// What a change of the ledger means for what is shown: absolute values that take the place of those before,
/// not increases.
#[derive(Clone, Debug, Default)]
pub struct LedgerDelta {
    /// Counters that show something else now, or are new.
    pub shown: Vec<ShownCounter>,
    /// Counters that are forgotten; where one is shown too, it came back.
    pub gone: Vec<CounterKey>,
    /// Some of them are new: they have to be visible now, for their hold has begun.
    pub born: bool,
    /// Values that are lower than in the snapshot before.
    pub decreases: u64,
    /// Ages that were not counted, and why.
    pub missed: Vec<(Option<Age>, Missed)>,
    /// Reports that were counted before.
    pub duplicates: u64,
    /// Bodies of which something could not be read.
    pub quarantined: u64,
    /// Counters that hold what is beyond the limit of a label's values.
    pub overflowed: HashSet<CounterKey>,
    /// What is counted and not released, in all; `None`: as before.
    pub held: Option<u64>,
}

/// A counter with the value that it shows from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownCounter {
    /// Which.
    pub key: CounterKey,
    /// What it shows.
    pub amount: Amount,
    /// Since when it counts.
    pub born_at: Timestamp,
}

impl LedgerDelta {
    /// Adds what came after.
    pub fn append(&mut self, more: LedgerDelta) {
        if !more.gone.is_empty() {
            let gone: std::collections::HashSet<_> = more.gone.iter().collect();
            self.shown.retain(|own| !gone.contains(&own.key));
        }
        self.shown.extend(more.shown);
        self.gone.extend(more.gone);
        self.born |= more.born;
        self.decreases += more.decreases;
        self.missed.extend(more.missed);
        self.duplicates += more.duplicates;
        self.quarantined += more.quarantined;
        self.overflowed.extend(more.overflowed);
        self.held = more.held.or(self.held);
    }
}

/// Takes a lock for as long as the file is open.
fn lock(path: &Path, held: &str) -> Result<File, String> {
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| disk(path, &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(format!("{}: {held}", path.display())),
        Err(TryLockError::Error(error)) => Err(disk(path, &error)),
    }
}

/// What happened to a file, and what to do about it.
fn disk(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull => "; make room on the disk",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; the exporter needs to write there"
        }
        _ => "",
    };
    format!("{}: {error}{advice}", path.display())
}

impl Ledger {
    /// Opens the store and the spool's directory, and makes them if they are not there.
    ///
    /// # Errors
    ///
    /// One of them cannot be used, or another process has it.
    pub async fn open(
        options: impl Into<LedgerOptions>,
        clock: Clock,
        notes: Arc<dyn StoreObserver>,
        purpose: Purpose,
    ) -> Result<Ledger, LedgerError> {
        Ledger::open_on(options.into(), clock, notes, purpose, None).await
    }

    /// As [`Ledger::open`]; a store that is given takes the place of the configured one.
    pub(crate) async fn open_on(
        options: LedgerOptions,
        clock: Clock,
        notes: Arc<dyn StoreObserver>,
        purpose: Purpose,
        given: Option<Store>,
    ) -> Result<Ledger, LedgerError> {
        let root = &options.spool;
        create_private_directory(root).map_err(|error| LedgerError::Spool(disk(root, &error)))?;
        let held =
            "another delivery-exporter has this spool; stop it, or give each its own store.spool";
        let mut locks = vec![lock(&root.join("lock"), held).map_err(LedgerError::Spool)?];
        // Whoever takes over has looked, and taken, before the configured time is over.
        let lease = options.lease - (options.lease / 10).min(Duration::from_secs(1));
        let store = match (given, &options.store) {
            (Some(store), _) => store,
            (None, StoreUrl::Sqlite(path)) => {
                if let Some(directory) = path.parent() {
                    create_private_directory(directory)
                        .map_err(|error| StoreError::Failed(disk(directory, &error)))?;
                }
                let beside = with_suffix(path, ".lock");
                let held = "another delivery-exporter has this store; stop it first (for several replicas, use PostgreSQL)";
                locks.push(lock(&beside, held).map_err(StoreError::Failed)?);
                Store::sqlite(path)?
            }
            (None, StoreUrl::Postgres(url)) => {
                Store::postgres(url.expose(), lease, options.replica.clone()).await?
            }
        };
        let alone = purpose != Purpose::Serve;
        let leases = Leases::new(store.clone(), clock.clone(), notes.clone(), lease, alone);
        if store.shared() {
            tokio::spawn(leases.clone().run());
        }
        notes.up(Volume::Store, true);
        notes.up(Volume::Spool, true);
        let trust = Arc::new(ClockTrust::new(clock.clone(), purpose));
        let ledger = Ledger {
            options,
            clock,
            store,
            leases,
            purpose,
            notes,
            accounts: Mutex::default(),
            trust,
            _locks: locks,
        };
        // With a place for what is to be remembered.
        ledger.maintain().await;
        Ok(ledger)
    }

    /// These accounts are configured: this process takes its share of them.
    pub fn want(&self, accounts: impl IntoIterator<Item = Arc<str>>) {
        self.leases.want(accounts.into_iter().collect());
    }

    /// Waits until this process holds all of these accounts.
    ///
    /// # Errors
    ///
    /// Another process holds some of them, and goes on to.
    pub async fn hold_all(
        &self,
        accounts: impl IntoIterator<Item = Arc<str>>,
    ) -> Result<(), LedgerError> {
        let accounts: Vec<_> = accounts.into_iter().collect();
        let missing = self.leases.all(&accounts).await;
        if missing.is_empty() {
            return Ok(());
        }
        let text = format!(
            "another delivery-exporter holds {}; stop it first, or ask that one for its metrics",
            missing.join(", ")
        );
        Err(StoreError::Failed(text).into())
    }

    /// The lease of an account.
    pub fn lease(&self, account: &Arc<str>) -> Lease {
        self.leases.of(account)
    }

    /// Whether the store is open, and it is known which accounts are this replica's.
    pub fn leases_are_settled(&self) -> bool {
        self.leases.are_settled()
    }

    /// Gives the accounts to other replicas. Nothing of them is collected any more.
    pub async fn stop(&self) {
        self.leases.stop().await;
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<AccountLedger>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What of these options cannot be taken without a restart.
    pub fn fixed(&self, options: &LedgerOptions) -> Option<&'static str> {
        if options.spool != self.options.spool {
            Some("store.spool")
        } else if options.store != self.options.store {
            Some("store.url")
        } else if options.replica != self.options.replica {
            Some("store.replica")
        } else {
            None
        }
    }

    /// The ledger of an account, with these options from now on.
    ///
    /// # Errors
    ///
    /// The account's directory in the spool cannot be used.
    pub fn account(
        &self,
        options: impl Into<AccountOptions>,
    ) -> Result<Arc<AccountLedger>, SpoolError> {
        let options = options.into();
        let own = self.open_account(options.clone())?;
        self.set_policy(options, &own);
        Ok(own)
    }

    /// Lets an account's ledger have these options from now on.
    pub fn set_policy(&self, options: impl Into<AccountOptions>, own: &AccountLedger) {
        let options = options.into();
        own.names().limit(&options.limits);
        own.set_policy(self.policy(options));
    }

    fn policy(&self, options: AccountOptions) -> Policy {
        Policy {
            zero_hold: options.zero_hold,
            adopt_age: options.adopt_age,
            windows: options.windows,
            channels: options.channels,
            once: self.purpose == Purpose::Collect,
        }
    }

    /// The ledger of an account. One that is open already keeps its options: the configuration may yet be
    /// refused for another account.
    ///
    /// # Errors
    ///
    /// The account's directory in the spool cannot be used.
    pub fn open_account(
        &self,
        options: impl Into<AccountOptions>,
    ) -> Result<Arc<AccountLedger>, SpoolError> {
        let options: AccountOptions = options.into();
        if let Some(known) = self.accounts().get(&options.name) {
            return Ok(known.clone());
        }
        let (name, limits) = (options.name.clone(), options.limits);
        let spool = AccountSpool::open(&self.options.spool, &name, self.notes.clone())?;
        let own = Arc::new(AccountLedger::new(
            name.clone(),
            self.options.replica.clone(),
            self.clock.clone(),
            self.trust.clone(),
            self.store.clone(),
            spool,
            self.notes.clone(),
            Arc::new(LabelLimiter::new(&limits)),
            self.leases.of(&name),
            self.policy(options),
        ));
        own.measure();
        self.accounts().insert(name, own.clone());
        Ok(own)
    }

    /// Registers messages, all of them or none. They are durable when this returns.
    ///
    /// # Errors
    ///
    /// The store failed; none of them is registered.
    pub async fn register(&self, messages: Vec<Registration>) -> Result<(), StoreError> {
        let accounts: HashSet<Arc<str>> = messages.iter().map(|own| own.account.clone()).collect();
        let rows = messages
            .into_iter()
            .map(|own| RegisteredRow {
                account: own.account,
                id: (own.message.application, own.message.id),
                campaign: own.message.campaign,
                sent_at: own.message.sent_at.unwrap_or_default().as_millisecond(),
                sequence: 0,
            })
            .collect();
        let registered = self.store.register(rows).await;
        self.notes.up(Volume::Store, registered.is_ok());
        if registered.is_err() {
            self.notes.error();
        }
        registered?;
        let known = self.accounts();
        for account in accounts {
            if let Some(account) = known.get(&account) {
                account.registered_now();
            }
        }
        Ok(())
    }

    /// Tells the store's size, and drops the memory of reports that is old enough, if the clock is believed:
    /// reports would count twice.
    pub async fn maintain(&self) {
        self.trust.log();
        if let Ok(bytes) = self.store.size().await {
            self.notes.store_size(bytes);
        }
        let now = self.clock.now().as_millisecond();
        let settled = self.trust.settled();
        let before = if self.trust.allows_dropping() {
            delivery_clock::before(settled, REMEMBERED).as_millisecond()
        } else {
            i64::MIN
        };
        if let Err(error) = self.store.maintain(before, now).await {
            tracing::warn!(%error, "the memory of old reports cannot be dropped");
        }
    }
}
