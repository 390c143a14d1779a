//! The loop of one account: passes, what is in flight, and what becomes of each answer.

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

/// So many bodies in a row without one report that can be read, and the drain pauses: a vendor
/// that answers nonsense must not fill the disk.
const MAX_UNREADABLE: u32 = 3;

/// What people are told about an account's collector.
#[derive(Clone, Debug, Default)]
pub struct CollectorStatus {
    /// The account's counters are shown.
    pub opened: bool,
    /// There was an answer, good or bad, or nothing is due.
    pub answered: bool,
    /// When the vendor last gave a good answer, in a pass that may still go on.
    pub good_at: Option<Timestamp>,
    /// When something is tried next.
    pub next: Option<Timestamp>,
    /// The last failure that is not over.
    pub last_error: Option<String>,
    /// What fails now, the longest first.
    pub troubles: Vec<Trouble>,
    /// Sources of messages that cannot be read now, each with what is wrong.
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
    /// What happened last, without a secret.
    pub text: String,
    /// When it began to fail.
    pub since: Timestamp,
}

/// Everything that the collector of one account works with.
pub struct CollectorDeps {
    /// The account.
    pub account: Arc<Account>,
    /// How its vendor is asked.
    pub provider: Arc<dyn Provider>,
    /// Who takes what is found out.
    pub recorder: Arc<dyn Recorder>,
    /// Where everything is counted.
    pub ledger: Arc<AccountLedger>,
    /// The series get labels that they did not have: counters stand still for a while.
    pub relabelled: bool,
    /// While it runs, the account is this process's.
    pub lease: Lease,
    /// The time.
    pub clock: Clock,
    /// Who is told how far it is.
    pub progress: Arc<dyn Progress>,
}

/// Is told how far long work is.
pub trait Progress: Send + Sync {
    /// The ledger of an account is open.
    fn opened(&self) {}
    /// There are so many queries more.
    fn planned(&self, queries: usize) {
        let _ = queries;
    }
    /// So many were answered, or failed.
    fn answered(&self, queries: usize) {
        let _ = queries;
    }
}

/// Nobody is told.
impl Progress for () {}

type DatasetQueueKey = (Dataset, usize);

/// The collector of one account.
pub(super) struct Collector {
    parts: CollectorDeps,
    queues: BTreeMap<DatasetQueueKey, DatasetQueue>,
    tracker: Tracker,
    /// Messages that the vendor refuses in a data set, and that were counted as rejected.
    set_aside: BTreeSet<(Dataset, MessageKey)>,
    /// Messages whose last answer was good.
    last_good: HashSet<(Dataset, MessageKey)>,
    /// Other names of messages that the ledger has kept: application, other name, name.
    renamed: HashSet<(usize, Arc<str>, Arc<str>)>,
    /// Other names that the ledger may not have kept yet, by application and name. Whatever counts
    /// under a name brings them along: a process that ends in between must not leave numbers
    /// without them, or they count again under the other name.
    renaming: HashMap<MessageKey, Vec<Arc<str>>>,
    /// Held from the question for a message's other name until its numbers are counted.
    naming: Arc<tokio::sync::Mutex<()>>,
    /// Ids that may be other names, for which the ledger has been asked.
    other_names: HashSet<(usize, Arc<str>)>,
    /// Lists that are being queried, with when each began.
    listing: BTreeMap<DatasetQueueKey, Moment>,
    /// How far the vendor's lists have been read.
    lists: BTreeMap<DatasetQueueKey, ListProgress>,
    /// The applications whose messages are known as far as they can be.
    known_applications: BTreeSet<usize>,
    /// Queries that have not completed.
    in_flight: usize,
    /// When the vendor last gave a good answer.
    good_at: Option<Moment>,
    /// What is wrong now, so that it is logged once.
    troubles: HashMap<DatasetQueueKey, Trouble>,
    status: Arc<Mutex<CollectorStatus>>,
    unreadable: u32,
    /// When the first queries were due.
    first: Moment,
    /// The wall time of the monotonic clock's first moment, as the wall clock was last seen. What is
    /// shown of due times is computed from it.
    origin: Timestamp,
    /// The same, when messages were last planned by their ages.
    planned_origin: Timestamp,
    /// Files and HTTP lists are to be read from the beginning.
    sources_restart: bool,
    /// The wall time by which messages are forgotten and refused for their age.
    settled: SettledTime,
    /// Which queue is served next, so that one application does not keep the others waiting.
    turn: usize,
    /// Messages that are not watched any more, and that the ledger still watches.
    unwatched: Vec<(Arc<str>, Arc<str>)>,
    /// There were more messages than there may be, and it was logged.
    is_full: bool,
    /// Messages that were named, and that the ledger has not met.
    unmet: Vec<(MessageKey, Message)>,
    /// When rows of the ledger that nobody names were last looked for.
    swept_at: Moment,
    /// The number of the last registration that was taken.
    registered_until: i64,
    /// Files and HTTP lists.
    sources: Option<Sources>,
    /// Sources that could not be read when they were last tried.
    broken_sources: BTreeMap<Source, String>,
}

/// How far a vendor's list of messages has been read.
#[derive(Clone, Copy, Debug)]
struct ListProgress {
    /// When the whole list, back to `max_age`, was last read to its end.
    whole_at: Moment,
    /// When the last list that was read to its end began: what was sent before is known.
    complete_until: Timestamp,
}

/// Why a collector that waits goes on.
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
        parts.ledger.close(false);
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
        // One list is enough for all data sets.
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

    /// People are told what fails now.
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
