//! The ledger's part of the configuration.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{Windows, names::LabelLimits};
use crate::{model::Channel, store_url::StoreUrl};

/// The location of a ledger, and its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerOptions {
    /// The store for counters.
    pub store: StoreUrl,
    /// The directory for bodies that vendors deliver only once.
    pub spool: PathBuf,
    /// This replica's identity across restarts.
    pub replica: Arc<str>,
    /// How long a lease lasts without being renewed.
    pub lease: Duration,
}

/// How the messages and reports of an account are counted.
#[derive(Clone, Debug)]
pub struct AccountOptions {
    /// The account.
    pub name: Arc<str>,
    /// How long a new series is exposed as 0.
    pub zero_hold: Duration,
    /// The maximum age of history that counts; zero means any age.
    pub adopt_age: Duration,
    /// The age at which a message is dropped; older messages are never queried.
    pub max_age: Duration,
    /// The ages of its cohorts.
    pub windows: Windows,
    /// The channels that the vendor has.
    pub channels: &'static [Channel],
    /// The limits on its label values.
    pub limits: LabelLimits,
}
