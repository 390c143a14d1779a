//! Substitutes for everything outside the process.

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

/// The substitute for an account's vendor.
pub(super) type AnswersOf = Arc<dyn Fn(&Account) -> Answers + Send + Sync>;

/// A store and vendors in memory, which let several replicas run deterministically in one process.
#[doc(hidden)]
#[derive(Clone)]
pub struct Substitutes {
    /// The store, instead of the configured one.
    pub store: Arc<dyn Substitute>,
    /// The substitute for an account's vendor.
    pub answers: Arc<dyn Fn(&Account) -> Answers + Send + Sync>,
}

/// The provider of an account, either over the network or with a substitute.
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
