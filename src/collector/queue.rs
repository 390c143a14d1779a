//! The queue of due times for a data set of an application: its messages, its list, or its drain.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use delivery_clock::Moment;

/// To fill a batch, this multiple of its size is examined.
const LOOK_AHEAD: usize = 4;

/// A queued query.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum QueuedQuery {
    /// The vendor's list of messages.
    List,
    /// The account's queue.
    Drain,
    /// Everything for the application.
    Whole,
    /// A message.
    Message(Arc<str>),
}

impl QueuedQuery {
    /// Whether it cannot share a query with others.
    fn is_single(&self) -> bool {
        matches!(
            self,
            QueuedQuery::List | QueuedQuery::Drain | QueuedQuery::Whole
        )
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// When the oldest unanswered query was due or, if there is none, when the next one is due.
    due_at: Moment,
    /// When to try it; after a failure, later than `due_at`.
    try_at: Moment,
    /// When the last answered query started.
    asked_at: Option<Moment>,
    /// How much before `try_at` it may be queried to fill a batch.
    early: Duration,
    /// Whether it must be queried alone because the vendor refuses it in a batch.
    alone: bool,
    in_flight: bool,
    /// Whether a query for it has ended, successfully or not, since the process took over the account.
    tried: bool,
    /// Whether the last query for it failed.
    failed: bool,
}

/// The jobs of one data set of one application.
#[derive(Default)]
pub(super) struct DatasetQueue {
    slots: HashMap<QueuedQuery, Slot>,
    /// The jobs that are not in flight, by `try_at`.
    waiting: BTreeSet<(Moment, QueuedQuery)>,
    /// All jobs, by `due_at`.
    dues: BTreeSet<(Moment, QueuedQuery)>,
    /// The number of jobs whose last query failed.
    failed: usize,
    /// Whether each job is queried at most once: after a success or a failure, it does not wait again.
    once: bool,
}

impl DatasetQueue {
    /// From now on each job is queried at most once.
    pub(super) fn query_once(&mut self) {
        self.once = true;
    }

    /// Adds a job that is due at `at`; an existing job is not changed.
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

    /// The number of jobs.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Removes a job.
    pub(super) fn remove(&mut self, job: &QueuedQuery) {
        if let Some(slot) = self.slots.remove(job) {
            self.failed -= usize::from(slot.failed);
            self.waiting.remove(&(slot.try_at, job.clone()));
            self.dues.remove(&(slot.due_at, job.clone()));
        }
    }

    /// Takes the jobs for the next query: a list or drain, a message that must be queried alone, or up to
    /// `batch` messages. Among several due jobs, a list comes first.
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
                    // The request is made anyway, so jobs that are due soon fill it up.
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

    /// Records an answer: the job is next due at `next`, and may be queried earlier by `early`.
    pub(super) fn answered(&mut self, job: &QueuedQuery, next: Moment, early: Duration) {
        self.reschedule(job, |slot| {
            slot.failed = false;
            slot.due_at = next;
            slot.try_at = next;
            slot.early = early;
        });
    }

    /// Makes the job due at `at`, unless it is in flight or due earlier.
    pub(super) fn sooner(&mut self, job: &QueuedQuery, at: Moment) {
        let later = |slot: &Slot| !slot.in_flight && slot.due_at > at && slot.try_at > at;
        if self.slots.get(job).is_some_and(later) {
            self.answered(job, at, Duration::ZERO);
        }
    }

    /// Records a failure: the job stays due, and is retried at `again`.
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

    /// Records the start of the query that answered the job.
    pub(super) fn asked(&mut self, job: &QueuedQuery, at: Moment) {
        if let Some(slot) = self.slots.get_mut(job) {
            slot.asked_at = Some(at);
        }
    }

    /// When the last query that answered the job started. `None` for a job that is in flight or whose last
    /// query failed, because it is due already.
    pub(super) fn answered_at(&self, job: &QueuedQuery) -> Option<Option<Moment>> {
        let slot = self.slots.get(job)?;
        (!slot.in_flight && !slot.failed).then_some(slot.asked_at)
    }

    /// Makes everything due now, as after a start.
    pub(super) fn reset(&mut self, now: Moment) {
        let jobs: Vec<QueuedQuery> = self.slots.keys().cloned().collect();
        for job in jobs {
            self.answered(&job, now, Duration::ZERO);
        }
    }

    /// Marks the job to be queried alone.
    pub(super) fn alone(&mut self, job: &QueuedQuery) {
        if let Some(slot) = self.slots.get_mut(job) {
            slot.alone = true;
        }
    }

    /// Allows the job to be queried together with others again.
    pub(super) fn together(&mut self, job: &QueuedQuery) {
        if let Some(slot) = self.slots.get_mut(job) {
            slot.alone = false;
        }
    }

    /// Continues a partially completed job at `at`, even if each job is queried only once.
    pub(super) fn go_on(&mut self, job: &QueuedQuery, at: Moment) {
        let once = std::mem::take(&mut self.once);
        self.answered(job, at, Duration::ZERO);
        self.once = once;
    }

    /// Whether there is a list.
    pub(super) fn has_list(&self) -> bool {
        self.slots.contains_key(&QueuedQuery::List)
    }

    /// Whether the list would be queried next.
    pub(super) fn list_is_due(&self, now: Moment) -> bool {
        let is_due = |slot: &Slot| {
            slot.try_at <= now && self.waiting.contains(&(slot.try_at, QueuedQuery::List))
        };
        self.slots.get(&QueuedQuery::List).is_some_and(is_due)
    }

    /// Whether the application's messages are as completely known as possible: its list was queried or,
    /// without a list, every due message.
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

    /// Defers all waiting jobs until `again`.
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

    /// Whether the job is in flight.
    pub(super) fn is_in_flight(&self, job: &QueuedQuery) -> bool {
        self.slots.get(job).is_some_and(|slot| slot.in_flight)
    }

    /// When the next job will be tried.
    pub(super) fn next_try(&self) -> Option<Moment> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// When the first job that is not due now will be tried.
    pub(super) fn next_try_after(&self, now: Moment) -> Option<Moment> {
        // The range starts after all jobs of this moment, because a list sorts first. Due jobs are skipped
        // without a scan: there can be many thousands, and this is called after each answer.
        let after = now + Duration::from_nanos(1);
        let mut later = self.waiting.range((after, QueuedQuery::List)..);
        later.next().map(|(at, _)| *at)
    }

    /// When the oldest unanswered query was due or, if there is none, when the next one is due.
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
