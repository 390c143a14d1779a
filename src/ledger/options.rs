//! What a ledger has to know of the configuration.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{Windows, names::LabelLimits};
use crate::{model::Channel, store_url::StoreUrl};

/// Where a ledger is, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerOptions {
    /// Where counters are kept.
    pub store: StoreUrl,
    /// Where bodies are kept that are handed out once.
    pub spool: PathBuf,
    /// This replica's identity over restarts.
    pub replica: Arc<str>,
    /// How long an account is held without being renewed.
    pub lease: Duration,
}

/// How the messages and reports of an account are counted.
#[derive(Clone, Debug)]
pub struct AccountOptions {
    /// The account.
    pub name: Arc<str>,
    /// How long a new series stands at 0.
    pub zero_hold: Duration,
    /// How old history may be to count; zero: any.
    pub adopt_age: Duration,
    /// When a message is forgotten: no older one was ever asked for.
    pub max_age: Duration,
    /// The ages of its cohorts.
    pub windows: Windows,
    /// The channels that the vendor has.
    pub channels: &'static [Channel],
    /// What bounds the values of its labels.
    pub limits: LabelLimits,
}
