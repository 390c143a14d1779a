//! A store on which single changes fail.

use std::sync::Mutex;

use futures_util::{FutureExt, future::BoxFuture};

use super::{
    super::store::{AccountRows, MessageId, ReadSet, RegisteredRow, StateRow, Work, WriteSet},
    *,
};

/// What goes wrong with one change; it is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Nothing of it was stored.
    RolledBack,
    /// It was stored, and nobody was told.
    Unanswered,
    /// Who asked for it has gone before it was stored.
    Abandoned,
}

/// A store that fails when it is told to.
pub(super) struct Faulty {
    inner: Arc<dyn Store>,
    pub(super) next: Mutex<Option<Fault>>,
}

impl Faulty {
    /// Puts itself between a ledger that has no account yet and its store.
    pub(super) fn beneath(ledger: &mut Ledger) -> Arc<Faulty> {
        let store = Arc::new(Faulty {
            inner: ledger.store.clone(),
            next: Mutex::default(),
        });
        ledger.store = store.clone();
        store
    }
}

impl Store for Faulty {
    fn account(
        &self,
        account: &Arc<str>,
        replica: &Arc<str>,
    ) -> BoxFuture<'_, Result<AccountRows, StoreError>> {
        self.inner.account(account, replica)
    }

    fn transact(&self, ask: ReadSet, work: Work) -> BoxFuture<'_, Result<(), StoreError>> {
        let fault = self.next.lock().unwrap().take();
        let work: Work = match fault {
            Some(Fault::RolledBack) => Box::new(|told| {
                work(told);
                WriteSet::default()
            }),
            _ => work,
        };
        async move {
            self.inner.transact(ask, work).await?;
            match fault {
                Some(_) => Err(StoreError::Failed("a fault of the test".into())),
                None => Ok(()),
            }
        }
        .boxed()
    }

    fn old_messages(
        &self,
        account: &Arc<str>,
        before: i64,
    ) -> BoxFuture<'_, Result<Vec<MessageId>, StoreError>> {
        self.inner.old_messages(account, before)
    }

    fn states(&self, account: &Arc<str>) -> BoxFuture<'_, Result<Vec<StateRow>, StoreError>> {
        self.inner.states(account)
    }

    fn size(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.size()
    }

    fn maintain(&self, before: i64, now: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.maintain(before, now)
    }

    fn register(&self, rows: Vec<RegisteredRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.register(rows)
    }

    fn registered(
        &self,
        account: &Arc<str>,
        after: i64,
    ) -> BoxFuture<'_, Result<Vec<RegisteredRow>, StoreError>> {
        self.inner.registered(account, after)
    }

    fn unregister(&self, account: &Arc<str>, before: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.unregister(account, before)
    }
}
