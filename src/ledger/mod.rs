//! Exactly-once counting: increases of the vendors' counts, delivery reports that vendors deliver only once,
//! and the spool that keeps their bodies until they are in the store.
//!
//! The ledger takes answers and returns [`LedgerDelta`]s. These contain only durable changes, and an increase
//! only after its series has been exposed as zero for a while. The ledger refers to families by their ids in
//! the catalogue, and depends neither on HTTP nor on the format of a page.

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

/// Reports are remembered for 30 days, plus one day because partitions are dropped as a whole.
const REMEMBERED: Duration = Duration::from_secs(31 * 86_400);

/// Observes the state of the store.
pub trait StoreObserver: Send + Sync {
    /// Reports whether the last write to a volume succeeded.
    fn up(&self, place: Volume, up: bool);
    /// Reports a failed read or write.
    fn error(&self);
    /// Reports the size of all bodies in an account's spool, in bytes, and the number of quarantined ones.
    fn size(&self, account: &Arc<str>, bytes: u64, quarantined: u64);
    /// Reports the size of the store, in bytes.
    fn store_size(&self, bytes: u64);
}

/// A sent message that its sender registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// The account.
    pub account: Arc<str>,
    /// The message; its `sent_at` is known.
    pub message: Message,
}

/// A place where the ledger stores data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// The store.
    Store,
    /// The spool.
    Spool,
}

/// Why a ledger cannot be opened.
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

/// The purpose for which a ledger is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To expose its counters while the process runs, alongside other replicas.
    Serve,
    /// To expose its counters once, without other replicas.
    Collect,
    /// Without exposing its counters.
    Replay,
}

/// Writes a consistent copy of the SQLite ledger at `from` to the new file `to`, even while an exporter
/// writes to the ledger. Returns the copy's size in bytes. The spool is not part of it.
///
/// # Errors
///
/// There is no ledger at `from`, `to` already exists, or one of them cannot be read or written.
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
    /// Locked as long as the process lives: two processes would count everything twice.
    _locks: Vec<File>,
}

/// The effects of a change of the ledger on the exposed series. The values are absolute and replace earlier
/// ones; they are not increases.
#[derive(Clone, Debug, Default)]
pub struct LedgerDelta {
    /// Counters with a new exposed value, and new counters.
    pub shown: Vec<ShownCounter>,
    /// Dropped counters; a counter that is also in `shown` was created again.
    pub gone: Vec<CounterKey>,
    /// Whether some of them are new; these must be exposed now, because their hold has started.
    pub born: bool,
    /// The number of values that are lower than in the previous snapshot.
    pub decreases: u64,
    /// Ages that were not counted, with the reasons.
    pub missed: Vec<(Option<Age>, Missed)>,
    /// The number of reports that had already been counted.
    pub duplicates: u64,
    /// The number of bodies of which a part could not be parsed.
    pub quarantined: u64,
    /// Counters that contain what exceeds the limit of a label's values.
    pub overflowed: HashSet<CounterKey>,
    /// The total of what is counted but not released; `None` if unchanged.
    pub held: Option<u64>,
}

/// A counter with its new exposed value.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownCounter {
    /// The counter.
    pub key: CounterKey,
    /// The exposed value.
    pub amount: Amount,
    /// When it started counting.
    pub born_at: Timestamp,
}

impl LedgerDelta {
    /// Appends a later delta.
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

/// Acquires a lock that is held as long as the file is open.
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

/// An error text for a file, with advice.
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
    /// Opens the store and the spool's directory, and creates them if they do not exist.
    ///
    /// # Errors
    ///
    /// One of them cannot be used, or another process uses it.
    pub async fn open(
        options: impl Into<LedgerOptions>,
        clock: Clock,
        notes: Arc<dyn StoreObserver>,
        purpose: Purpose,
    ) -> Result<Ledger, LedgerError> {
        Ledger::open_on(options.into(), clock, notes, purpose, None).await
    }

    /// Like [`Ledger::open`], optionally with a substitute for the configured store.
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
            "another delivery-exporter uses this spool; stop it, or give each its own store.spool";
        let mut locks = vec![lock(&root.join("lock"), held).map_err(LedgerError::Spool)?];
        // Shortened, so that another replica notices the expiry and takes over within the configured time.
        let lease = options.lease - (options.lease / 10).min(Duration::from_secs(1));
        let store = match (given, &options.store) {
            (Some(store), _) => store,
            (None, StoreUrl::Sqlite(path)) => {
                if let Some(directory) = path.parent() {
                    create_private_directory(directory)
                        .map_err(|error| StoreError::Failed(disk(directory, &error)))?;
                }
                let beside = with_suffix(path, ".lock");
                let held = "another delivery-exporter uses this store; stop it first (for several replicas, use PostgreSQL)";
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
        // Creates the first partition of deduplication data.
        ledger.maintain().await;
        Ok(ledger)
    }

    /// Sets the configured accounts, of which this process takes its share.
    pub fn want(&self, accounts: impl IntoIterator<Item = Arc<str>>) {
        self.leases.want(accounts.into_iter().collect());
    }

    /// Waits until this process holds all of these accounts.
    ///
    /// # Errors
    ///
    /// Another process holds some of them, and keeps renewing its leases.
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

    /// Whether the store is open and it is known which accounts this replica holds.
    pub fn leases_are_settled(&self) -> bool {
        self.leases.are_settled()
    }

    /// Releases the accounts to other replicas. They must no longer be collected.
    pub async fn stop(&self) {
        self.leases.stop().await;
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<AccountLedger>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of an option that cannot be changed without a restart, if one has changed.
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

    /// The ledger of an account, with new options.
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

    /// Sets the options of an account's ledger.
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

    /// The ledger of an account. A ledger that is already open keeps its options, because the new
    /// configuration can still be refused because of another account.
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

    /// Reports the store's size, and drops old deduplication data. It is dropped only while the clock is
    /// trusted, because reports would otherwise be counted twice.
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
            tracing::warn!(%error, "deduplication data of old reports could not be dropped");
        }
    }
}
