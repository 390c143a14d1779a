//! What stands in for everything outside the process.

use std::sync::Arc;

use crate::{config::Account, ledger::store::Store, providers::http::Answers};

/// What answers in place of an account's vendor.
pub(super) type AnswersOf = Arc<dyn Fn(&Account) -> Answers + Send + Sync>;

/// A store and vendors in memory: several replicas run in one process with them, and the same in every run.
#[doc(hidden)]
#[derive(Clone)]
pub struct Substitutes {
    /// The store, instead of the configured one.
    pub store: Arc<dyn Store>,
    /// What answers in place of an account's vendor.
    pub answers: Arc<dyn Fn(&Account) -> Answers + Send + Sync>,
}
