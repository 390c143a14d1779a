//! The store of the ledger, in SQLite or PostgreSQL. It stores rows without interpreting them.
//!
//! It is public for the end-to-end tests, which run several replicas on a store in memory; it is not a stable
//! interface.

mod dispatch;
mod filter;
pub(in crate::ledger) mod moving;
mod postgres;
pub(super) mod sqlite;
mod substitute;
mod transaction;

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::amount::Amount;
use crate::providers::Digest;
pub use dispatch::Store;
pub use substitute::Substitute;
pub use transaction::Transaction;

/// A partition of deduplication data is closed at this number of rows, so that its random keys fit into the
/// cache.
const PART_ROWS: u64 = 500_000;
/// It is also closed at this age in milliseconds, so that it can be dropped as a whole.
const PART_AGE: i64 = 86_400_000;

/// An error of the store. The text names the file or server, and says what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The operation failed.
    #[error("{0}")]
    Failed(String),
    /// Another process now holds the account.
    #[error("the account's lease is held by another process")]
    Fenced,
}

/// A message's key: application id and message id.
pub type MessageId = (Arc<str>, Arc<str>);

/// A message with its packed state.
pub type StateRow = (MessageId, Vec<u8>);

/// The stored values of a counter over all replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct CounterRow {
    pub key: String,
    /// All that was counted.
    pub total: Amount,
    /// The part that no replica has released yet.
    pub pending: Amount,
    /// The last increase, in milliseconds since 1970.
    pub changed_at: i64,
}

/// What this replica has exposed of a counter.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseRow {
    pub key: String,
    pub shown: Amount,
    /// When this replica's series was created, in milliseconds since 1970.
    pub born_at: i64,
}

/// All rows of an account that are needed to expose its counters.
#[derive(Clone, Debug, Default)]
pub struct AccountRows {
    pub counters: Vec<CounterRow>,
    pub releases: Vec<ReleaseRow>,
    /// Application, data set, and the time of its first query.
    pub births: Vec<(Arc<str>, String, i64)>,
    /// Application, data set, and the time up to which it was read.
    pub cursors: Vec<(Arc<str>, String, i64)>,
    /// Label and value.
    pub names: Vec<(Arc<str>, Arc<str>)>,
}

/// A message's packed state.
#[derive(Clone, Debug)]
pub struct MessageRow {
    pub id: MessageId,
    pub state: Vec<u8>,
    /// The time from which its age is counted, to find old rows.
    pub since: i64,
}

/// A registered message.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisteredRow {
    pub account: Arc<str>,
    pub id: MessageId,
    pub campaign: Option<Arc<str>>,
    /// In milliseconds since 1970.
    pub sent_at: i64,
    /// Increases with each registration.
    pub sequence: i64,
}

/// What a transaction reads before it decides about changes.
#[derive(Clone, Debug, Default)]
pub struct ReadSet {
    pub account: Arc<str>,
    pub replica: Arc<str>,
    /// The epoch of the lease under which the account is held.
    pub fence: Option<i64>,
    /// Messages whose states to read.
    pub messages: Vec<MessageId>,
    /// Digests whose deduplication data to read.
    pub digests: Vec<Digest>,
    /// Whether to read what other replicas have counted.
    pub inbox: bool,
}

/// The rows of a read set.
#[derive(Clone, Debug, Default)]
pub struct ReadRows {
    pub messages: HashMap<MessageId, Vec<u8>>,
    pub memories: HashMap<Digest, Vec<u8>>,
    /// Row id, counter and amount of what other replicas have counted.
    pub inbox: Vec<(i64, String, Amount)>,
}

/// All changes of one transaction.
#[derive(Clone, Debug, Default)]
pub struct WriteSet {
    pub births: Vec<(Arc<str>, String, i64)>,
    pub cursors: Vec<(Arc<str>, String, i64)>,
    pub names: Vec<(Arc<str>, Arc<str>)>,
    pub counters: Vec<CounterRow>,
    pub releases: Vec<ReleaseRow>,
    pub messages: Vec<MessageRow>,
    pub memories: Vec<(Digest, Vec<u8>)>,
    /// Counters to drop in all replicas.
    pub gone_counters: Vec<String>,
    pub gone_names: Vec<(Arc<str>, Arc<str>)>,
    pub gone_messages: Vec<MessageId>,
    /// Increments by a replica that does not hold the account, for its holder.
    pub inbox: Vec<(String, Amount)>,
    /// Rows of the inbox that were added to the counters.
    pub absorbed: Vec<i64>,
    /// Messages to register, of any account.
    pub registered: Vec<RegisteredRow>,
    /// Now, in milliseconds since 1970.
    pub now: i64,
}

impl WriteSet {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.births.is_empty()
            && self.cursors.is_empty()
            && self.names.is_empty()
            && self.counters.is_empty()
            && self.releases.is_empty()
            && self.messages.is_empty()
            && self.memories.is_empty()
            && self.gone_counters.is_empty()
            && self.gone_names.is_empty()
            && self.gone_messages.is_empty()
            && self.inbox.is_empty()
            && self.absorbed.is_empty()
            && self.registered.is_empty()
    }
}

/// The state of the leases.
#[derive(Clone, Debug, Default)]
pub struct Renewal {
    /// The leases that were renewed.
    pub held: Vec<(Arc<str>, i64)>,
    /// Accounts that no process holds.
    pub free: Vec<Arc<str>>,
    /// This process's fair share: the number of accounts.
    pub share: usize,
    /// When the next lease of another process expires unless it is renewed.
    pub next_expiry: Option<Duration>,
}
