//! What becomes of that which goes on beside a pass.

use std::{collections::HashMap, sync::Arc};

use delivery_clock::Moment;
use jiff::Timestamp;

use super::{super::queue::QueuedQuery, DatasetQueueKey};
use crate::{
    discovery::MessageKey,
    ledger::{LedgerDelta, StoreError, StoredMessage},
    providers::{Failure, Observation},
};

/// Something that went on beside others has ended.
pub(super) enum PassEvent {
    QueryCompleted(QueryCompleted),
    Counted(Counted),
    MessagesLoaded(Vec<MessageKey>, Result<Vec<StoredMessage>, StoreError>),
}

/// Snapshots went to the ledger.
pub(super) struct Counted {
    pub(super) queue_key: DatasetQueueKey,
    pub(super) keys: Vec<MessageKey>,
    /// Other names that went with them.
    pub(super) renames: Vec<(Arc<str>, Arc<str>)>,
    /// Ids for which the ledger was asked whether they are other names.
    pub(super) looked_up: Vec<Arc<str>>,
    /// Names that the ledger knows for other names.
    pub(super) names: HashMap<Arc<str>, Arc<str>>,
    pub(super) outcome: Result<(LedgerDelta, Vec<StoredMessage>), StoreError>,
}

/// A query that has ended.
pub(super) struct QueryCompleted {
    pub(super) queue_key: DatasetQueueKey,
    pub(super) jobs: Vec<QueuedQuery>,
    /// When it began.
    pub(super) began: Timestamp,
    pub(super) began_at: Moment,
    /// It was for the whole list of messages.
    pub(super) is_whole_list: bool,
    pub(super) seen: Vec<Observation>,
    /// How many messages of a list had no room.
    pub(super) given_up: usize,
    pub(super) delta: LedgerDelta,
    pub(super) result: Result<(), Failure>,
}
