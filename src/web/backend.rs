//! The interface through which the HTTP endpoints reach the exporter.

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

/// What `/api/`, `/webhooks/` and `/probe` need from the exporter.
pub trait Backend: Send + Sync {
    /// `server.api_token`; `None` if the API is disabled.
    fn api_token(&self) -> Option<Secret>;

    /// All vendors.
    fn vendors(&self) -> Vendors;

    /// The accounts of the current configuration.
    fn accounts(&self) -> Vec<Arc<Account>>;

    /// The maximum size of a pushed body, in bytes.
    fn max_body(&self) -> usize;

    /// Registers messages, all of them or none, durably.
    fn register(&self, messages: Vec<Registration>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// A message was refused.
    fn rejected(&self, account: &str, reason: &str);

    /// The messages of an account that are tracked or registered, as JSON.
    fn messages<'a>(
        &'a self,
        account: &'a str,
    ) -> BoxFuture<'a, Result<serde_json::Value, StoreError>>;

    /// The state of everything, with the ledger's totals over all replicas, as JSON.
    fn status(&self) -> BoxFuture<'_, Result<serde_json::Value, StoreError>>;

    /// Accepts a body that a vendor pushed to an account. The response may only be sent once the body is
    /// durable.
    fn pushed<'a>(
        &'a self,
        account: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<WebhookOutcome, String>>;

    /// A request to an account's webhook was refused.
    fn refused(&self, account: &str);

    /// Queries the vendor for one message, at most once every few seconds.
    ///
    /// # Errors
    ///
    /// Probes have used up their share of the account's rate limit; the duration says for how long.
    fn probe<'a>(
        &'a self,
        account: &'a Account,
        application: usize,
        message: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Probed>, Duration>>;

    /// Writes the result of a probe.
    fn show_probe(
        &self,
        account: &Account,
        probed: &Probed,
        visitor: &mut dyn crate::series::Visitor,
    );
}
