//! What the endpoints for programs need of the exporter behind them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{
    config::Account,
    ledger::{Registration, StoreError},
    providers::Vendors,
    secret::Secret,
    series::{Probed, WebhookOutcome},
};

/// The exporter, as `/api/`, `/webhooks/` and `/probe` see it.
pub trait Backend: Send + Sync {
    /// `server.api_token`; `None`: there is no API.
    fn api_token(&self) -> Option<Secret>;

    /// The vendors that there are.
    fn vendors(&self) -> Vendors;

    /// The accounts of the configuration that runs.
    fn accounts(&self) -> Vec<Arc<Account>>;

    /// The most bytes of a pushed body.
    fn max_body(&self) -> usize;

    /// Registers messages, all of them or none, durably.
    fn register(&self, messages: Vec<Registration>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// A message was refused.
    fn rejected(&self, account: &str, reason: &str);

    /// The messages of an account that are watched or registered, as JSON.
    fn messages<'a>(
        &'a self,
        account: &'a str,
    ) -> BoxFuture<'a, Result<serde_json::Value, StoreError>>;

    /// The state of everything, with the ledger's totals over all replicas, as JSON.
    fn status(&self) -> BoxFuture<'_, Result<serde_json::Value, StoreError>>;

    /// Takes a body that a vendor pushed to an account; the answer may only be sent once it is
    /// durable.
    fn pushed<'a>(
        &'a self,
        account: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<WebhookOutcome, String>>;

    /// A request to an account's webhook was refused.
    fn refused(&self, account: &str);

    /// Asks the vendor for one message; never more often than once in a few seconds.
    ///
    /// # Errors
    ///
    /// Probes have used up their share of the account's rate limit, for so long.
    fn probe<'a>(
        &'a self,
        account: &'a Account,
        application: usize,
        message: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Probed>, Duration>>;

    /// Writes what a probe found.
    fn show_probe(
        &self,
        account: &Account,
        probed: &Probed,
        visitor: &mut dyn crate::series::Visitor,
    );
}
