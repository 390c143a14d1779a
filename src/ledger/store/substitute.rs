//! Substitutes for a store in tests: one in memory that several replicas share, and one that fails on demand.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    AccountRows, MessageId, RegisteredRow, Renewal, StateRow, StoreError, transaction::Transaction,
};

/// A store for tests. Its methods correspond to those of the same name in [`super::Store`]; transactions are
/// type-erased, so that the trait is object-safe.
#[async_trait]
#[expect(missing_docs, reason = "the methods of `Store` are documented")]
pub trait Substitute: Send + Sync {
    /// Executes and finishes a transaction, or passes it to another store.
    async fn transact(&self, transaction: Box<dyn Transaction>);

    async fn account(
        &self,
        account: &Arc<str>,
        replica: &Arc<str>,
    ) -> Result<AccountRows, StoreError>;

    async fn old_messages(
        &self,
        account: &Arc<str>,
        before: i64,
    ) -> Result<Vec<MessageId>, StoreError>;

    async fn states(&self, account: &Arc<str>) -> Result<Vec<StateRow>, StoreError>;

    async fn register(&self, rows: Vec<RegisteredRow>) -> Result<(), StoreError>;

    async fn registered(
        &self,
        account: &Arc<str>,
        after: i64,
    ) -> Result<Vec<RegisteredRow>, StoreError>;

    async fn unregister(&self, account: &Arc<str>, before: i64) -> Result<(), StoreError>;

    async fn size(&self) -> Result<u64, StoreError>;

    async fn maintain(&self, before: i64, now: i64) -> Result<(), StoreError>;

    fn shared(&self) -> bool;

    async fn renew(
        &self,
        accounts: Vec<Arc<str>>,
        held: Vec<(Arc<str>, i64)>,
        joins: bool,
    ) -> Result<Renewal, StoreError>;

    async fn acquire(&self, account: &Arc<str>) -> Result<Option<i64>, StoreError>;

    async fn give_back(&self, held: Vec<(Arc<str>, i64)>) -> Result<(), StoreError>;

    async fn leave(&self) -> Result<(), StoreError>;
}
