//! What is due when: for each data set of an application, its messages, its list, or its drain.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use delivery_clock::Moment;

/// To fill a batch, so many times its size is looked at.
const LOOK_AHEAD: usize = 4;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum QueuedQuery {
    /// The vendor's list of messages.
    List,
    /// The account's queue.
    Drain,
    /// Everything of the application.
    Whole,
    /// A message.
    Message(Arc<str>),
}

impl QueuedQuery {
    /// Whether it is a query by itself.
    fn is_single(&self) -> bool {
        matches!(
            self,
            QueuedQuery::List | QueuedQuery::Drain | QueuedQuery::Whole
        )
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// When the oldest unanswered query was due, or when the next will be.
    due_at: Moment,
    /// When it is tried; later than `due_at` after a failure.
    try_at: Moment,
    /// When the last query that was answered began.
    asked_at: Option<Moment>,
    /// It may be asked for so much before it is tried, if that fills a batch.
    early: Duration,
    /// The vendor refuses it in a batch.
    alone: bool,
    in_flight: bool,
    /// A query for it has ended since the process got the account, well or badly.
    tried: bool,
    /// The last query for it failed.
    failed: bool,
}

/// The jobs of one data set of one application.
#[derive(Default)]
pub(super) struct DatasetQueue {
    slots: HashMap<QueuedQuery, Slot>,
    /// The jobs that are not in flight, by the time at which they are tried.
    waiting: BTreeSet<(Moment, QueuedQuery)>,
    /// All jobs, by the time at which they are due.
    dues: BTreeSet<(Moment, QueuedQuery)>,
    /// How many jobs failed when they were last queried.
    failed: usize,
    /// Each job is queried at most once: what was answered, or was not, does not wait again.
    once: bool,
}

impl DatasetQueue {
    /// From now on each job is queried at most once.
    pub(super) fn query_once(&mut self) {
        self.once = true;
    }

    /// A job that is due at `at`; one that is known stays as it is.
    pub(super) fn add(&mut self, job: QueuedQuery, at: Moment) {
        if !self.slots.contains_key(&job) {
            let slot = Slot {
                due_at: at,
                try_at: at,
                asked_at: None,
                early: Duration::ZERO,
                alone: false,
                in_flight: false,
                tried: false,
                failed: false,
            };
            self.waiting.insert((at, job.clone()));
            self.dues.insert((at, job.clone()));
            self.slots.insert(job, slot);
        }
    }

    /// How many jobs there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Forgets a job.
    pub(super) fn remove(&mut self, job: &QueuedQuery) {
        if let Some(slot) = self.slots.remove(job) {
            self.failed -= usize::from(slot.failed);
            self.waiting.remove(&(slot.try_at, job.clone()));
            self.dues.remove(&(slot.due_at, job.clone()));
        }
    }

    /// The jobs for the next query: a list or drain by itself, a message that has to be alone, or
    /// up to `batch` messages; of several that are due, a list first.
    pub(super) fn take(&mut self, now: Moment, batch: usize) -> Vec<QueuedQuery> {
        let jobs = if self.list_is_due(now) {
            vec![QueuedQuery::List]
        } else {
            let mut jobs = Vec::new();
            let mut due = true;
            for (seen, (try_at, job)) in self.waiting.iter().enumerate() {
                let Some(slot) = self.slots.get(job) else {
                    continue;
                };
                due &= *try_at <= now;
                if !due {
                    // The request is made anyway: what would be due soon fills it up.
                    let is_early = *try_at - slot.early <= now;
                    if jobs.is_empty() || seen >= LOOK_AHEAD * batch {
                        break;
                    }
                    if !is_early || job.is_single() {
                        continue;
                    }
                }
                match (job.is_single() || slot.alone, jobs.is_empty()) {
                    (true, true) => {
                        jobs.push(job.clone());
                        break;
                    }
                    (true, false) => {}
                    (false, _) => jobs.push(job.clone()),
                }
                if jobs.len() >= batch {
                    break;
                }
            }
            jobs
        };
        for job in &jobs {
            if let Some(slot) = self.slots.get_mut(job) {
                self.waiting.remove(&(slot.try_at, job.clone()));
                slot.in_flight = true;
            }
        }
        jobs
    }

    /// The job was answered: it is next due at `next`, and may be asked for `early`.
    pub(super) fn answered(&mut self, job: &QueuedQuery, next: Moment, early: Duration) {
        self.reschedule(job, |slot| {
            slot.failed = false;
            slot.due_at = next;
            slot.try_at = next;
            slot.early = early;
        });
    }

    /// The job is due at `at`, unless it is in flight or due before.
    pub(super) fn sooner(&mut self, job: &QueuedQuery, at: Moment) {
        let later = |slot: &Slot| !slot.in_flight && slot.due_at > at && slot.try_at > at;
        if self.slots.get(job).is_some_and(later) {
            self.answered(job, at, Duration::ZERO);
        }
    }

    /// The job was not answered: it stays due, and is tried again at `again`.
    pub(super) fn unanswered(&mut self, job: &QueuedQuery, again: Moment) {
        self.reschedule(job, |slot| {
            slot.failed = true;
            slot.try_at = again;
        });
    }

    /// Whether the last query of any job failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failed > 0
    }

    /// Notes when the query began that answered the job.
    pub(super) fn asked(&mut self, job: &QueuedQuery, at: Moment) {
        if let Some(slot) = self.slots.get_mut(job) {
            slot.asked_at = Some(at);
        }
    }

    /// When the last query that answered the job began. Of a job that is in flight, or whose last
    /// query failed, nothing: it is due already.
    pub(super) fn answered_at(&self, job: &QueuedQuery) -> Option<Option<Moment>> {
        let slot = self.slots.get(job)?;
        (!slot.in_flight && !slot.failed).then_some(slot.asked_at)
    }

    /// Everything is due now, as at a start.
    pub(super) fn reset(&mut self, now: Moment) {
        let jobs: Vec<QueuedQuery> = self.slots.keys().cloned().collect();
        for job in jobs {
            self.answered(&job, now, Duration::ZERO);
        }
    }

    /// The job must not be asked for with others.
    pub(super) fn alone(&mut self, job: &QueuedQuery) {
        if let Some(slot) = self.slots.get_mut(job) {
            slot.alone = true;
        }
    }

    /// The job may be asked for with others again.
    pub(super) fn together(&mut self, job: &QueuedQuery) {
        if let Some(slot) = self.slots.get_mut(job) {
            slot.alone = false;
        }
    }

    /// The job's query stopped in the middle: it goes on at `at`, even where each job is queried
    /// once.
    pub(super) fn go_on(&mut self, job: &QueuedQuery, at: Moment) {
        let once = std::mem::take(&mut self.once);
        self.answered(job, at, Duration::ZERO);
        self.once = once;
    }

    /// Whether there is a list.
    pub(super) fn has_list(&self) -> bool {
        self.slots.contains_key(&QueuedQuery::List)
    }

    /// Whether the list is the next that would be queried.
    pub(super) fn list_is_due(&self, now: Moment) -> bool {
        let is_due = |slot: &Slot| {
            slot.try_at <= now && self.waiting.contains(&(slot.try_at, QueuedQuery::List))
        };
        self.slots.get(&QueuedQuery::List).is_some_and(is_due)
    }

    /// Whether what the application's messages are is known as far as it can be: its list was
    /// queried, and where there is none, every message that is due.
    pub(super) fn knows_messages(&self, now: Moment) -> bool {
        match self.slots.get(&QueuedQuery::List) {
            Some(list) => list.tried,
            None => self
                .slots
                .values()
                .all(|slot| slot.tried || slot.try_at > now),
        }
    }

    fn reschedule(&mut self, job: &QueuedQuery, change: impl Fn(&mut Slot)) {
        if let Some(slot) = self.slots.get_mut(job) {
            self.waiting.remove(&(slot.try_at, job.clone()));
            self.dues.remove(&(slot.due_at, job.clone()));
            slot.tried |= std::mem::take(&mut slot.in_flight);
            self.failed -= usize::from(slot.failed);
            change(slot);
            self.failed += usize::from(slot.failed);
            if !self.once {
                self.waiting.insert((slot.try_at, job.clone()));
            }
            self.dues.insert((slot.due_at, job.clone()));
        }
    }

    /// Nothing that waits is tried before `again`.
    pub(super) fn defer(&mut self, again: Moment) {
        let early: Vec<_> = self
            .waiting
            .iter()
            .take_while(|(at, _)| *at < again)
            .map(|(_, job)| job.clone())
            .collect();
        for job in early {
            self.reschedule(&job, |slot| slot.try_at = again);
        }
    }

    /// Whether the job is neither answered nor given up in this query.
    pub(super) fn is_in_flight(&self, job: &QueuedQuery) -> bool {
        self.slots.get(job).is_some_and(|slot| slot.in_flight)
    }

    /// When the next job is tried.
    pub(super) fn next_try(&self) -> Option<Moment> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// When the first job that is not due now is tried.
    pub(super) fn next_try_after(&self, now: Moment) -> Option<Moment> {
        // A list is the first of the jobs of a moment. What is due is not walked through: it can be
        // many thousands of messages, and this is looked up after each answer.
        let after = now + Duration::from_nanos(1);
        let mut later = self.waiting.range((after, QueuedQuery::List)..);
        later.next().map(|(at, _)| *at)
    }

    /// When the oldest unanswered query was due, or when the next will be.
    pub(super) fn due(&self) -> Option<Moment> {
        self.dues.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_start(Duration::from_secs(seconds))
    }

    fn message(id: usize) -> QueuedQuery {
        QueuedQuery::Message(id.to_string().into())
    }

    #[test]
    fn messages_go_in_full_batches_and_the_refused_one_alone() {
        let mut queue = DatasetQueue::default();
        for id in 0..150 {
            queue.add(message(id), at(0));
        }
        queue.alone(&message(7));
        let sizes: Vec<_> = std::iter::from_fn(|| {
            let jobs = queue.take(at(0), 100);
            (!jobs.is_empty()).then_some(jobs.len())
        })
        .collect();
        assert_eq!(sizes, [100, 49, 1]);
    }

    #[test]
    fn what_is_due_soon_fills_a_batch_that_is_asked_for_anyway() {
        let mut queue = DatasetQueue::default();
        for id in 0..4 {
            queue.add(message(id), at(0));
        }
        queue.take(at(0), 100);
        let early = Duration::from_secs(100);
        queue.answered(&message(0), at(300), Duration::ZERO);
        queue.answered(&message(1), at(390), early);
        queue.answered(&message(2), at(395), Duration::ZERO);
        queue.answered(&message(3), at(401), early);
        assert!(queue.take(at(299), 100).is_empty(), "nothing is due");
        assert_eq!(queue.take(at(300), 100), [message(0), message(1)]);
        assert_eq!(queue.take(at(395), 1), [message(2)]);
        assert_eq!(queue.due(), Some(at(300)), "until it is answered");
    }

    #[test]
    fn the_list_comes_first_and_holds_up_no_message() {
        let mut queue = DatasetQueue::default();
        queue.add(message(1), at(0));
        queue.add(QueuedQuery::List, at(5));
        assert!(!queue.knows_messages(at(9)));
        assert_eq!(queue.take(at(9), 100), [QueuedQuery::List]);
        assert!(queue.is_in_flight(&QueuedQuery::List));
        assert_eq!(queue.take(at(9), 100), [message(1)]);
        queue.answered(&message(1), at(60), Duration::ZERO);
        queue.answered(&QueuedQuery::List, at(70), Duration::ZERO);
        assert!(queue.knows_messages(at(9)) && queue.has_list());
        assert!(queue.take(at(9), 100).is_empty());
        assert_eq!(queue.next_try(), Some(at(60)));
        assert_eq!(queue.next_try_after(at(60)), Some(at(70)));
    }

    #[test]
    fn a_job_that_is_queried_once_does_not_wait_again_unless_it_goes_on() {
        let mut queue = DatasetQueue::default();
        queue.query_once();
        for job in [message(1), message(2), QueuedQuery::Drain] {
            queue.add(job, at(0));
        }
        assert!(!queue.knows_messages(at(0)));
        assert_eq!(queue.take(at(0), 1), [QueuedQuery::Drain]);
        queue.go_on(&QueuedQuery::Drain, at(0));
        assert_eq!(queue.take(at(0), 1), [QueuedQuery::Drain]);
        queue.answered(&QueuedQuery::Drain, at(0), Duration::ZERO);
        assert_eq!(queue.take(at(0), 2), [message(1), message(2)]);
        queue.unanswered(&message(1), at(0));
        queue.answered(&message(2), at(0), Duration::ZERO);
        assert!(queue.take(at(9), 2).is_empty() && queue.knows_messages(at(9)));
        assert_eq!((queue.next_try(), queue.due()), (None, Some(at(0))));
    }

    #[test]
    fn a_failure_keeps_the_due_time_and_waits_for_the_next_try() {
        let mut queue = DatasetQueue::default();
        queue.add(message(1), at(10));
        queue.take(at(10), 1);
        queue.unanswered(&message(1), at(70));
        assert_eq!(
            (queue.due(), queue.next_try()),
            (Some(at(10)), Some(at(70)))
        );
        queue.defer(at(100));
        assert_eq!(
            (queue.due(), queue.next_try()),
            (Some(at(10)), Some(at(100)))
        );
        queue.take(at(100), 1);
        queue.answered(&message(1), at(160), Duration::ZERO);
        assert_eq!(queue.due(), Some(at(160)));
        queue.remove(&message(1));
        assert_eq!((queue.due(), queue.next_try()), (None, None));
    }
}
