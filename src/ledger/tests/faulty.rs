//! A store on which single changes fail.

use std::sync::Mutex;

use async_trait::async_trait;

use super::{
    super::store::{
        AccountRows, MessageId, ReadRows, ReadSet, RegisteredRow, Renewal, StateRow, Store,
        Substitute, Transaction, WriteSet, sqlite::Sqlite,
    },
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
    inner: Arc<Sqlite>,
    pub(super) next: Mutex<Option<Fault>>,
}

impl Faulty {
    /// Puts itself between a ledger that has no account yet and its store.
    pub(super) fn beneath(ledger: &mut Ledger) -> Arc<Faulty> {
        let Store::Sqlite(inner) = ledger.store.clone() else {
            panic!("the tests of the ledger have their store in a file");
        };
        let store = Arc::new(Faulty {
            inner,
            next: Mutex::default(),
        });
        ledger.store = Store::Substitute(store.clone());
        store
    }
}

/// A transaction that fails, whatever the store makes of it.
struct Failing {
    inner: Box<dyn Transaction>,
    fault: Fault,
}

impl Transaction for Failing {
    fn reads(&self) -> &ReadSet {
        self.inner.reads()
    }

    fn decide(&mut self, rows: ReadRows) -> WriteSet {
        let writes = self.inner.decide(rows);
        match self.fault {
            Fault::RolledBack => WriteSet::default(),
            _ => writes,
        }
    }

    fn finish(self: Box<Self>, outcome: Result<(), StoreError>) {
        let fault = StoreError::Failed("a fault of the test".into());
        self.inner.finish(outcome.and(Err(fault)));
    }
}

#[async_trait]
impl Substitute for Faulty {
    async fn transact(&self, transaction: Box<dyn Transaction>) {
        let transaction = match self.next.lock().unwrap().take() {
            Some(fault) => Box::new(Failing {
                inner: transaction,
                fault,
            }),
            None => transaction,
        };
        self.inner.enqueue(transaction).unwrap();
    }

    async fn account(
        &self,
        account: &Arc<str>,
        replica: &Arc<str>,
    ) -> Result<AccountRows, StoreError> {
        self.inner.account(account, replica).await
    }

    async fn old_messages(
        &self,
        account: &Arc<str>,
        before: i64,
    ) -> Result<Vec<MessageId>, StoreError> {
        self.inner.old_messages(account, before).await
    }

    async fn states(&self, account: &Arc<str>) -> Result<Vec<StateRow>, StoreError> {
        self.inner.states(account).await
    }

    async fn size(&self) -> Result<u64, StoreError> {
        self.inner.size().await
    }

    async fn maintain(&self, before: i64, now: i64) -> Result<(), StoreError> {
        self.inner.maintain(before, now).await
    }

    async fn register(&self, rows: Vec<RegisteredRow>) -> Result<(), StoreError> {
        self.inner.register(rows).await
    }

    async fn registered(
        &self,
        account: &Arc<str>,
        after: i64,
    ) -> Result<Vec<RegisteredRow>, StoreError> {
        self.inner.registered(account, after).await
    }

    async fn unregister(&self, account: &Arc<str>, before: i64) -> Result<(), StoreError> {
        self.inner.unregister(account, before).await
    }

    fn shared(&self) -> bool {
        false
    }

    // Nothing is shared, so no lease is asked for.
    async fn renew(
        &self,
        _: Vec<Arc<str>>,
        _: Vec<(Arc<str>, i64)>,
        _: bool,
    ) -> Result<Renewal, StoreError> {
        Ok(Renewal::default())
    }

    async fn acquire(&self, _: &Arc<str>) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }

    async fn give_back(&self, _: Vec<(Arc<str>, i64)>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn leave(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
