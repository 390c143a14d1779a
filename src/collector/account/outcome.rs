//! The results of concurrent operations.

use std::{collections::HashMap, sync::Arc};

use delivery_clock::Moment;
use jiff::Timestamp;

use super::{super::queue::QueuedQuery, DatasetQueueKey};
use crate::{
    discovery::MessageKey,
    ledger::{LedgerDelta, StoreError, StoredMessage},
    providers::{Failure, Observation},
};

/// A concurrent operation has ended.
pub(super) enum PassEvent {
    QueryCompleted(QueryCompleted),
    Counted(Counted),
    MessagesLoaded(Vec<MessageKey>, Result<Vec<StoredMessage>, StoreError>),
}

/// Snapshots were passed to the ledger.
pub(super) struct Counted {
    pub(super) queue_key: DatasetQueueKey,
    pub(super) keys: Vec<MessageKey>,
    /// Aliases that were stored with them.
    pub(super) renames: Vec<(Arc<str>, Arc<str>)>,
    /// Ids that were looked up in the ledger as possible aliases.
    pub(super) looked_up: Vec<Arc<str>>,
    /// The stored names of aliases.
    pub(super) names: HashMap<Arc<str>, Arc<str>>,
    pub(super) outcome: Result<(LedgerDelta, Vec<StoredMessage>), StoreError>,
}

/// A completed query.
pub(super) struct QueryCompleted {
    pub(super) queue_key: DatasetQueueKey,
    pub(super) jobs: Vec<QueuedQuery>,
    /// When it started.
    pub(super) began: Timestamp,
    pub(super) began_at: Moment,
    /// Whether it requested the whole list of messages.
    pub(super) is_whole_list: bool,
    pub(super) seen: Vec<Observation>,
    /// The number of messages of a list above the limit.
    pub(super) given_up: usize,
    pub(super) delta: LedgerDelta,
    pub(super) result: Result<(), Failure>,
}
