//! The store: what the ledger keeps, in SQLite or in PostgreSQL. It knows rows, not what they mean.
//!
//! It is open to the end-to-end tests, which run several replicas on a store in memory; it is no promise to
//! anybody else.

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

/// A part of the memory of reports is closed when it has so many: random keys stay in the cache.
const PART_ROWS: u64 = 500_000;
/// Or when it is so old, in milliseconds, so that it can be dropped whole.
const PART_AGE: i64 = 86_400_000;

/// What the store cannot do. The text says which file or server, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It did not work this time.
    #[error("{0}")]
    Failed(String),
    /// Another process has the account now.
    #[error("the account's lease is held by another process")]
    Fenced,
}

/// A message's key: application id and message id.
pub type MessageId = (Arc<str>, Arc<str>);

/// A message with its packed state.
pub type StateRow = (MessageId, Vec<u8>);

/// What is stored of a counter over all replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct CounterRow {
    pub key: String,
    /// All that was counted.
    pub total: Amount,
    /// What no replica has released yet.
    pub pending: Amount,
    /// The last increase, in milliseconds since 1970.
    pub changed_at: i64,
}

/// What this replica has shown of a counter.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseRow {
    pub key: String,
    pub shown: Amount,
    /// When this replica's series was born, in milliseconds since 1970.
    pub born_at: i64,
}

/// Everything of an account that is needed to show its counters.
#[derive(Clone, Debug, Default)]
pub struct AccountRows {
    pub counters: Vec<CounterRow>,
    pub releases: Vec<ReleaseRow>,
    /// Application, data set, and when it was first asked for.
    pub births: Vec<(Arc<str>, String, i64)>,
    /// Application, data set, and until when it was read.
    pub cursors: Vec<(Arc<str>, String, i64)>,
    /// Label and value.
    pub names: Vec<(Arc<str>, Arc<str>)>,
}

/// A message's packed state.
#[derive(Clone, Debug)]
pub struct MessageRow {
    pub id: MessageId,
    pub state: Vec<u8>,
    /// What its age is counted from, so that old rows are found.
    pub since: i64,
}

/// A message that was registered.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisteredRow {
    pub account: Arc<str>,
    pub id: MessageId,
    pub campaign: Option<Arc<str>>,
    /// In milliseconds since 1970.
    pub sent_at: i64,
    /// Grows with each registration.
    pub sequence: i64,
}

/// What a transaction needs to know before it can say what it changes.
#[derive(Clone, Debug, Default)]
pub struct ReadSet {
    pub account: Arc<str>,
    pub replica: Arc<str>,
    /// The lease under which the account is held.
    pub fence: Option<i64>,
    /// Messages whose states are wanted.
    pub messages: Vec<MessageId>,
    /// Memories of reports that are wanted.
    pub digests: Vec<Digest>,
    /// Whether what others have counted is wanted.
    pub inbox: bool,
}

/// What there is of what was asked for.
#[derive(Clone, Debug, Default)]
pub struct ReadRows {
    pub messages: HashMap<MessageId, Vec<u8>>,
    pub memories: HashMap<Digest, Vec<u8>>,
    /// Row, counter and amount of what others have counted.
    pub inbox: Vec<(i64, String, Amount)>,
}

/// Everything that one transaction changes.
#[derive(Clone, Debug, Default)]
pub struct WriteSet {
    pub births: Vec<(Arc<str>, String, i64)>,
    pub cursors: Vec<(Arc<str>, String, i64)>,
    pub names: Vec<(Arc<str>, Arc<str>)>,
    pub counters: Vec<CounterRow>,
    pub releases: Vec<ReleaseRow>,
    pub messages: Vec<MessageRow>,
    pub memories: Vec<(Digest, Vec<u8>)>,
    /// Counters that are forgotten, in all replicas.
    pub gone_counters: Vec<String>,
    pub gone_names: Vec<(Arc<str>, Arc<str>)>,
    pub gone_messages: Vec<MessageId>,
    /// Counted by a replica that does not hold the account; its holder takes them over.
    pub inbox: Vec<(String, Amount)>,
    /// Rows of the inbox that the counters have taken in.
    pub absorbed: Vec<i64>,
    /// Messages that are registered, of any account.
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

/// How the leases stand.
#[derive(Clone, Debug, Default)]
pub struct Renewal {
    /// Those that were renewed.
    pub held: Vec<(Arc<str>, i64)>,
    /// Accounts that nobody has.
    pub free: Vec<Arc<str>>,
    /// How many accounts are this process's fair share.
    pub share: usize,
    /// When the next lease of another process is over, unless it is renewed.
    pub next_expiry: Option<Duration>,
}
