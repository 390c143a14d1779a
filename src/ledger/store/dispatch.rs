//! Dispatches to the kinds of store, which all provide the same operations.

use std::{path::Path, sync::Arc, time::Duration};

use super::{
    AccountRows, MessageId, ReadRows, ReadSet, RegisteredRow, Renewal, StateRow, StoreError,
    WriteSet, postgres::Postgres, sqlite::Sqlite, substitute::Substitute, transaction::erased,
};

/// A store. A copy is another handle to the same one.
#[derive(Clone)]
pub enum Store {
    /// An SQLite file, for one process.
    Sqlite(Arc<Sqlite>),
    /// A PostgreSQL database, for several replicas.
    Postgres(Arc<Postgres>),
    /// A substitute in tests.
    Substitute(Arc<dyn Substitute>),
}

/// Calls the method of the actual store.
macro_rules! ask {
    ($store:expr, $own:ident => $question:expr) => {
        match $store {
            Store::Sqlite($own) => $question.await,
            Store::Postgres($own) => $question.await,
            Store::Substitute($own) => $question.await,
        }
    };
}

impl Store {
    /// Opens a ledger's file, and creates it if it does not exist.
    pub(in crate::ledger) fn sqlite(path: &Path) -> Result<Store, StoreError> {
        Ok(Store::Sqlite(Arc::new(Sqlite::open(path)?)))
    }

    /// Opens a file for reading while another process may write to it; `None` if it does not exist.
    pub(in crate::ledger) fn sqlite_to_read(path: &Path) -> Result<Option<Store>, StoreError> {
        let opened = Sqlite::open_to_read(path)?;
        Ok(opened.map(|own| Store::Sqlite(Arc::new(own))))
    }

    /// The store in a PostgreSQL database.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or its tables are of a later version.
    pub async fn postgres(
        url: &str,
        lease: Duration,
        replica: Arc<str>,
    ) -> Result<Store, StoreError> {
        let own = Postgres::open(url, lease, replica).await?;
        Ok(Store::Postgres(Arc::new(own)))
    }

    /// All rows of an account, from the point of view of this replica.
    ///
    /// # Errors
    ///
    /// The store failed, as in all methods below.
    pub async fn account(
        &self,
        account: &Arc<str>,
        replica: &Arc<str>,
    ) -> Result<AccountRows, StoreError> {
        ask!(self, own => own.account(account, replica))
    }

    /// Runs one transaction: it reads the read set, and `decide` returns the changes and a result. On
    /// success, all changes are durable and the result is returned. On an error, either nothing was changed
    /// or the outcome is unknown; then the account must be reloaded.
    ///
    /// What `decide` owns, and its result unless it is returned, is dropped at the latest at the end of the
    /// transaction, even if the caller was cancelled.
    ///
    /// # Errors
    ///
    /// The store failed, or another process now holds the account.
    pub async fn transact<R: Send + 'static>(
        &self,
        reads: ReadSet,
        decide: impl FnOnce(ReadRows) -> (WriteSet, R) + Send + 'static,
    ) -> Result<R, StoreError> {
        match self {
            Store::Sqlite(own) => own.transact(reads, decide).await,
            Store::Postgres(own) => own.transact(reads, decide).await,
            Store::Substitute(own) => {
                let (transaction, answer) = erased(reads, decide);
                own.transact(transaction).await;
                let lost = |_| Err(StoreError::Failed("the transaction was lost".into()));
                answer.await.unwrap_or_else(lost)
            }
        }
    }

    /// The messages of an account that were sent before a time.
    pub async fn old_messages(
        &self,
        account: &Arc<str>,
        before: i64,
    ) -> Result<Vec<MessageId>, StoreError> {
        ask!(self, own => own.old_messages(account, before))
    }

    /// The packed states of all messages of an account.
    pub async fn states(&self, account: &Arc<str>) -> Result<Vec<StateRow>, StoreError> {
        ask!(self, own => own.states(account))
    }

    /// Registers messages, all of them or none, and completes the data of those that were already registered.
    /// They are durable when this returns.
    pub async fn register(&self, rows: Vec<RegisteredRow>) -> Result<(), StoreError> {
        ask!(self, own => own.register(rows))
    }

    /// The messages of an account that were registered after a sequence number, in its order.
    pub async fn registered(
        &self,
        account: &Arc<str>,
        after: i64,
    ) -> Result<Vec<RegisteredRow>, StoreError> {
        ask!(self, own => own.registered(account, after))
    }

    /// Deletes registrations of messages that were sent before a time.
    pub async fn unregister(&self, account: &Arc<str>, before: i64) -> Result<(), StoreError> {
        ask!(self, own => own.unregister(account, before))
    }

    /// The store's size in bytes.
    pub async fn size(&self) -> Result<u64, StoreError> {
        ask!(self, own => own.size())
    }

    /// Maintains the deduplication data: drops partitions that were last touched before a time, and closes a
    /// partition that is full or old.
    pub async fn maintain(&self, before: i64, now: i64) -> Result<(), StoreError> {
        ask!(self, own => own.maintain(before, now))
    }

    /// Whether several processes share the store by leases.
    pub fn shared(&self) -> bool {
        match self {
            Store::Sqlite(_) => false,
            Store::Postgres(_) => true,
            Store::Substitute(own) => own.shared(),
        }
    }

    /// Renews the leases of this process (account and epoch), and returns the state of all leases. `joins`
    /// says whether the process takes part in sharing the accounts.
    pub async fn renew(
        &self,
        accounts: Vec<Arc<str>>,
        held: Vec<(Arc<str>, i64)>,
        joins: bool,
    ) -> Result<Renewal, StoreError> {
        match self {
            Store::Sqlite(_) => Ok(Renewal {
                held,
                ..Renewal::default()
            }),
            Store::Postgres(own) => own.renew(accounts, held, joins).await,
            Store::Substitute(own) => own.renew(accounts, held, joins).await,
        }
    }

    /// Acquires the lease of an account whose lease has expired or that never had one. Returns the epoch, or
    /// `None` if another process was faster.
    pub async fn acquire(&self, account: &Arc<str>) -> Result<Option<i64>, StoreError> {
        match self {
            Store::Sqlite(_) => Ok(None),
            Store::Postgres(own) => own.acquire(account).await,
            Store::Substitute(own) => own.acquire(account).await,
        }
    }

    /// Releases leases before they expire.
    pub async fn give_back(&self, held: Vec<(Arc<str>, i64)>) -> Result<(), StoreError> {
        match self {
            Store::Sqlite(_) => Ok(()),
            Store::Postgres(own) => own.give_back(held).await,
            Store::Substitute(own) => own.give_back(held).await,
        }
    }

    /// Removes this process from those that share the accounts.
    pub async fn leave(&self) -> Result<(), StoreError> {
        match self {
            Store::Sqlite(_) => Ok(()),
            Store::Postgres(own) => own.leave().await,
            Store::Substitute(own) => own.leave().await,
        }
    }
}
