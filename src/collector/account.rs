//! The loop of one account: passes, queries in flight, and the handling of each answer.

mod answers;
mod counting;
mod discovered;
mod flights;
mod forgetting;
mod lifecycle;
mod outcome;
mod pass;
mod refusals;
mod renames;
mod steps;

pub(super) use pass::LIST_OVERLAP;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use delivery_clock::{Clock, Moment, SettledTime};
use jiff::Timestamp;

use super::{
    Recorder,
    queue::{DatasetQueue, QueuedQuery},
};
use crate::{
    config::Account,
    discovery::{MessageKey, Sources, Tracker, Update},
    ledger::{AccountLedger, Lease},
    model::{Dataset, Message, QueryMethod, Source},
    providers::{FailureKind, Provider},
};

/// The number of consecutive bodies without a readable report after which the drain pauses, so that a vendor
/// that answers nonsense does not fill the disk.
const MAX_UNREADABLE: u32 = 3;

/// The status of an account's collector, for the status page.
#[derive(Clone, Debug, Default)]
pub struct CollectorStatus {
    /// Whether the ledger is open and the account's counters are exposed.
    pub opened: bool,
    /// Whether there was an answer, good or bad, or nothing is due.
    pub answered: bool,
    /// When the vendor last answered successfully, including in the current pass.
    pub good_at: Option<Timestamp>,
    /// When the next query is tried.
    pub next: Option<Timestamp>,
    /// The last unresolved failure.
    pub last_error: Option<String>,
    /// The current failures, the longest first.
    pub troubles: Vec<Trouble>,
    /// Sources of messages that currently cannot be read, with the errors.
    pub broken_sources: Vec<(Source, String)>,
}

/// A data set of an application that fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// Which data set.
    pub dataset: Dataset,
    /// Whose.
    pub application: Arc<str>,
    /// The class of the failure.
    pub kind: FailureKind,
    /// The last error, without secrets.
    pub text: String,
    /// When the failures started.
    pub since: Timestamp,
}

/// The dependencies of an account's collector.
pub struct CollectorDeps {
    /// The account.
    pub account: Arc<Account>,
    /// The client of its vendor.
    pub provider: Arc<dyn Provider>,
    /// Receives the results.
    pub recorder: Arc<dyn Recorder>,
    /// The account's ledger.
    pub ledger: Arc<AccountLedger>,
    /// Whether labels of the series have changed, so that counters must be held again.
    pub relabelled: bool,
    /// The lease, which says whether this process holds the account.
    pub lease: Lease,
    /// The clock.
    pub clock: Clock,
    /// Receives the progress.
    pub progress: Arc<dyn Progress>,
}

/// Receives the progress of long operations.
pub trait Progress: Send + Sync {
    /// The ledger of an account is open.
    fn opened(&self) {}
    /// More queries are planned.
    fn planned(&self, queries: usize) {
        let _ = queries;
    }
    /// Queries were answered or failed.
    fn answered(&self, queries: usize) {
        let _ = queries;
    }
}

/// Ignores the progress.
impl Progress for () {}

type DatasetQueueKey = (Dataset, usize);

/// The collector of one account.
pub(super) struct Collector {
    parts: CollectorDeps,
    queues: BTreeMap<DatasetQueueKey, DatasetQueue>,
    tracker: Tracker,
    /// Messages that the vendor refuses in a data set, and that are already counted as rejected.
    set_aside: BTreeSet<(Dataset, MessageKey)>,
    /// Messages whose last answer was successful.
    last_good: HashSet<(Dataset, MessageKey)>,
    /// Aliases of messages that are stored in the ledger: application, alias, name.
    renamed: HashSet<(usize, Arc<str>, Arc<str>)>,
    /// Aliases that may not be stored in the ledger yet, by application and name. They are stored together
    /// with the next counts under the name: if a process ended in between, the counts would otherwise be
    /// counted again under the alias.
    renaming: HashMap<MessageKey, Vec<Arc<str>>>,
    /// Locked from looking up a message's alias until its counts are counted.
    naming: Arc<tokio::sync::Mutex<()>>,
    /// Ids that may be aliases and that were already looked up in the ledger.
    other_names: HashSet<(usize, Arc<str>)>,
    /// Lists that are being queried, with the start of each query.
    listing: BTreeMap<DatasetQueueKey, Moment>,
    /// The progress of reading the vendor's lists.
    lists: BTreeMap<DatasetQueueKey, ListProgress>,
    /// The applications whose messages are as completely known as possible.
    known_applications: BTreeSet<usize>,
    /// Queries that have not completed.
    in_flight: usize,
    /// When the vendor last answered successfully.
    good_at: Option<Moment>,
    /// The current failures, so that each is logged once.
    troubles: HashMap<DatasetQueueKey, Trouble>,
    status: Arc<Mutex<CollectorStatus>>,
    unreadable: u32,
    /// When the first queries were due.
    first: Moment,
    /// The wall time of the monotonic clock's first moment, according to the last reading of the wall clock.
    /// Exposed due times are computed from it.
    origin: Timestamp,
    /// The same, when messages were last scheduled by their ages.
    planned_origin: Timestamp,
    /// Whether files and HTTP lists must be read again from the start.
    sources_restart: bool,
    /// The wall time that decides which messages are dropped or refused because of their age.
    settled: SettledTime,
    /// The queue to serve next, so that no application delays the others.
    turn: usize,
    /// Messages that are no longer tracked here, but still in the ledger.
    unwatched: Vec<(Arc<str>, Arc<str>)>,
    /// Whether the excess of messages over the limit was logged.
    is_full: bool,
    /// Messages from sources that have not been loaded from the ledger yet.
    unmet: Vec<(MessageKey, Message)>,
    /// When the ledger was last searched for messages that no source lists.
    swept_at: Moment,
    /// The sequence number of the last processed registration.
    registered_until: i64,
    /// Files and HTTP lists.
    sources: Option<Sources>,
    /// Sources whose last read failed.
    broken_sources: BTreeMap<Source, String>,
}

/// The progress of reading a vendor's list of messages.
#[derive(Clone, Copy, Debug)]
struct ListProgress {
    /// When the whole list, back to `max_age`, was last read completely.
    whole_at: Moment,
    /// When the last completely read list started; all messages sent before are known.
    complete_until: Timestamp,
}

/// Why a waiting collector continues.
enum Woken {
    Due,
    Named(Update),
    Registered,
}

impl Collector {
    /// A collector whose first queries are due at `first`.
    pub(super) fn new(
        parts: CollectorDeps,
        status: Arc<Mutex<CollectorStatus>>,
        first: Moment,
    ) -> Collector {
        let account = parts.account.clone();
        let opened_at = parts.clock.monotonic();
        let (origin, settled) = (parts.clock.origin(), SettledTime::new(&parts.clock));
        let mut collector = Collector {
            tracker: Tracker::new(account.messages.max_age, account.max_messages),
            parts,
            queues: BTreeMap::new(),
            set_aside: BTreeSet::new(),
            last_good: HashSet::new(),
            renamed: HashSet::new(),
            renaming: HashMap::new(),
            naming: Arc::default(),
            other_names: HashSet::new(),
            listing: BTreeMap::new(),
            lists: BTreeMap::new(),
            known_applications: BTreeSet::new(),
            in_flight: 0,
            good_at: None,
            troubles: HashMap::new(),
            status,
            unreadable: 0,
            first,
            origin,
            planned_origin: origin,
            sources_restart: false,
            settled,
            turn: 0,
            unwatched: Vec::new(),
            is_full: false,
            unmet: Vec::new(),
            swept_at: opened_at,
            registered_until: 0,
            sources: None,
            broken_sources: BTreeMap::new(),
        };
        // One list per application is enough for all data sets.
        let list_of = account
            .messages
            .list
            .then(|| account.collect.iter().max_by_key(|own| own.has_snapshots()))
            .flatten();
        for dataset in &account.collect {
            match dataset.method {
                QueryMethod::Drain => {
                    collector
                        .queues
                        .entry((*dataset, 0))
                        .or_default()
                        .add(QueuedQuery::Drain, first);
                }
                QueryMethod::Whole => {
                    for application in 0..account.applications.len() {
                        let queue = collector.queues.entry((*dataset, application)).or_default();
                        queue.add(QueuedQuery::Whole, first);
                    }
                }
                QueryMethod::Messages { .. } => {
                    for application in 0..account.applications.len() {
                        collector.queues.entry((*dataset, application)).or_default();
                    }
                }
            }
            if Some(dataset) == list_of {
                for application in 0..account.applications.len() {
                    let queue = collector.queues.entry((*dataset, application)).or_default();
                    queue.add(QueuedQuery::List, first);
                }
            }
        }
        let planned = collector.queues.values().map(DatasetQueue::len).sum();
        collector.parts.progress.planned(planned);
        collector.name_fixed(first);
        collector.make_room(0);
        collector.parts.recorder.tracked(collector.tracker.len());
        collector.tell_due();
        collector.parts.recorder.publish();
        collector
    }

    /// Publishes the current failures for the status page.
    fn tell_troubles(&self) {
        let mut troubles: Vec<Trouble> = self.troubles.values().cloned().collect();
        troubles.sort_by(|left, right| {
            let key = |own: &Trouble| (own.since, own.dataset);
            key(left).cmp(&key(right))
        });
        self.tell(|status| status.troubles = troubles);
    }

    fn tell(&self, change: impl FnOnce(&mut CollectorStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
