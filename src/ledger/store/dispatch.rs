//! Which store it is, and what every one of them can do.

use std::{path::Path, sync::Arc, time::Duration};

use super::{
    AccountRows, MessageId, ReadRows, ReadSet, RegisteredRow, Renewal, StateRow, StoreError,
    WriteSet, postgres::Postgres, sqlite::Sqlite, substitute::Substitute, transaction::erased,
};

/// A store. A copy is another handle to the same one.
#[derive(Clone)]
pub enum Store {
    /// One file, for one process.
    Sqlite(Arc<Sqlite>),
    /// A database, for several replicas.
    Postgres(Arc<Postgres>),
    /// A test's, in the place of either.
    Substitute(Arc<dyn Substitute>),
}

/// Asks the store that it is; all of them answer the same.
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
    /// Opens the file of a ledger, and makes it if there is none.
    pub(in crate::ledger) fn sqlite(path: &Path) -> Result<Store, StoreError> {
        Ok(Store::Sqlite(Arc::new(Sqlite::open(path)?)))
    }

    /// Opens a file to read it, while another process may write to it; `None`: there is none.
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

    /// What there is of an account, as this replica sees it.
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

    /// One transaction: what is asked for is read, `decide` says what changes, and either all of it
    /// is durable when this returns with the other part of what `decide` said, or nothing happened, or
    /// nobody knows (then the account has to be read again).
    ///
    /// What `decide` holds, and its result unless it is returned, is dropped: at the latest when the
    /// transaction is over, also that of a caller that has gone.
    ///
    /// # Errors
    ///
    /// The store failed, or another process has the account now.
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

    /// Registers messages, all of them or none; what was registered before is completed. They are
    /// durable when this returns.
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

    /// Forgets registrations of messages that were sent before a time.
    pub async fn unregister(&self, account: &Arc<str>, before: i64) -> Result<(), StoreError> {
        ask!(self, own => own.unregister(account, before))
    }

    /// The store's size in bytes.
    pub async fn size(&self) -> Result<u64, StoreError> {
        ask!(self, own => own.size())
    }

    /// Tends the memory of reports: what was last touched before a time is dropped, a part that is
    /// full or old is closed.
    pub async fn maintain(&self, before: i64, now: i64) -> Result<(), StoreError> {
        ask!(self, own => own.maintain(before, now))
    }

    /// Whether several processes share it, by leases.
    pub fn shared(&self) -> bool {
        match self {
            Store::Sqlite(_) => false,
            Store::Postgres(_) => true,
            Store::Substitute(own) => own.shared(),
        }
    }

    /// Renews the leases that this process has (account and epoch), and looks around. Whether it
    /// `joins` those that share the accounts.
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

    /// Takes the lease of an account whose lease is over, or that never had one: its epoch; `None`
    /// if somebody was faster.
    pub async fn acquire(&self, account: &Arc<str>) -> Result<Option<i64>, StoreError> {
        match self {
            Store::Sqlite(_) => Ok(None),
            Store::Postgres(own) => own.acquire(account).await,
            Store::Substitute(own) => own.acquire(account).await,
        }
    }

    /// Gives leases back before they are over.
    pub async fn give_back(&self, held: Vec<(Arc<str>, i64)>) -> Result<(), StoreError> {
        match self {
            Store::Sqlite(_) => Ok(()),
            Store::Postgres(own) => own.give_back(held).await,
            Store::Substitute(own) => own.give_back(held).await,
        }
    }

    /// This process no longer takes its share.
    pub async fn leave(&self) -> Result<(), StoreError> {
        match self {
            Store::Sqlite(_) => Ok(()),
            Store::Postgres(own) => own.leave().await,
            Store::Substitute(own) => own.leave().await,
        }
    }
}
