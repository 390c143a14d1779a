//! What stands in for everything outside the process.

use std::sync::Arc;

use delivery_clock::Clock;

use crate::{
    config::Account,
    ledger::store::Substitute,
    providers::{
        self, Observer, Provider,
        http::{Answers, BuildError, Http},
    },
};

/// What answers in place of an account's vendor.
pub(super) type AnswersOf = Arc<dyn Fn(&Account) -> Answers + Send + Sync>;

/// A store and vendors in memory: several replicas run in one process with them, and the same in every run.
#[doc(hidden)]
#[derive(Clone)]
pub struct Substitutes {
    /// The store, instead of the configured one.
    pub store: Arc<dyn Substitute>,
    /// What answers in place of an account's vendor.
    pub answers: Arc<dyn Fn(&Account) -> Answers + Send + Sync>,
}

/// The provider of an account, on the network or on what answers in its place.
pub(super) fn provider(
    account: &Account,
    clock: &Clock,
    observer: Arc<dyn Observer>,
    answers: &Option<AnswersOf>,
) -> Result<Arc<dyn Provider>, BuildError> {
    let http = Http::new(account, clock.clone(), observer)?;
    let http = match answers {
        Some(answers) => http.answered_by(answers(account)),
        None => http,
    };
    Ok(providers::build_on(http, account))
}
