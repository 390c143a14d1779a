//! Handles failing queries of messages and data sets.

use std::{sync::Arc, time::Duration};

use delivery_clock::Moment;
use jiff::SignedDuration;

use super::{super::queue::QueuedQuery, Collector, DatasetQueueKey, Trouble};
use crate::{
    model::Application,
    providers::{Failure, FailureKind, Refusal},
};

/// How long a newly sent message may be unknown to some of the vendor's servers.
const MAYBE_UNKNOWN: SignedDuration = SignedDuration::from_mins(5);
/// The retry interval of a message that was set aside.
const SET_ASIDE_RETRY: Duration = Duration::from_secs(24 * 3600);

impl Collector {
    /// Handles the vendor's refusal of a single message, and returns whether the refusal is new.
    pub(super) fn refused(
        &mut self,
        queue_key: DatasetQueueKey,
        asked: &Arc<str>,
        reason: &Arc<str>,
        then: Refusal,
        next: Moment,
    ) -> bool {
        let key = (queue_key.1, asked.clone());
        let job = QueuedQuery::Message(key.1.clone());
        let now = self.now();
        let Some(tracked) = self.tracker.get(&key) else {
            return false;
        };
        let age = tracked.age(now);
        let is_new = match then {
            Refusal::AtOnce => false,
            Refusal::UnlessNew => age < MAYBE_UNKNOWN,
        };
        // Queried alone, it does not cost other messages their answer.
        self.queue(queue_key).alone(&job);
        // One refusal after a good answer may be a glitch at the vendor, and setting the message aside would
        // cost its counts for a day.
        let was_answered = self.last_good.remove(&(queue_key.0, key.clone()));
        if is_new || was_answered && then == Refusal::UnlessNew {
            self.queue(queue_key).answered(&job, next, Duration::ZERO);
            return true;
        }
        let again = self.parts.clock.monotonic() + SET_ASIDE_RETRY;
        self.queue(queue_key).answered(&job, again, Duration::ZERO);
        let is_news = self.set_aside.insert((queue_key.0, key.clone()));
        if is_news {
            let account = &self.parts.account;
            tracing::warn!(
                account = %account.name, dataset = %queue_key.0, message = %key.1, %reason,
                "the vendor refuses this message; it is set aside and retried once a day"
            );
            self.parts.recorder.rejected(reason);
        }
        is_news
    }

    /// Handles a request that could not be built because of one of its messages, which is found by querying
    /// each alone. Returns whether this does not count as a failure of the data set.
    pub(super) fn cannot_be_asked(
        &mut self,
        queue_key: DatasetQueueKey,
        jobs: &[QueuedQuery],
        next: Moment,
    ) -> bool {
        let at = self.parts.clock.monotonic();
        match jobs {
            [QueuedQuery::Message(id)] => {
                let reason = Arc::from(FailureKind::Request.as_str());
                self.refused(queue_key, id, &reason, Refusal::AtOnce, next);
                true
            }
            [QueuedQuery::Message(_), ..] => {
                let queue = self.queue(queue_key);
                let in_flight: Vec<_> = jobs
                    .iter()
                    .filter(|job| queue.is_in_flight(job))
                    .cloned()
                    .collect();
                for job in in_flight {
                    queue.alone(&job);
                    queue.answered(&job, at, Duration::ZERO);
                }
                true
            }
            _ => false,
        }
    }

    /// Records a failure. Only a new kind of failure is logged.
    pub(super) fn failed(
        &mut self,
        queue_key: DatasetQueueKey,
        application: &Application,
        failure: &Failure,
    ) {
        self.parts
            .recorder
            .failed(queue_key.0, application, failure);
        let account = &self.parts.account.name;
        let before = self.troubles.get(&queue_key);
        let is_new = before.is_none_or(|before| before.kind != failure.kind);
        let trouble = Trouble {
            dataset: queue_key.0,
            application: application.name.clone(),
            kind: failure.kind,
            text: failure.to_string(),
            since: before.map_or_else(|| self.parts.clock.now(), |before| before.since),
        };
        self.troubles.insert(queue_key, trouble);
        if is_new {
            tracing::warn!(
                %account, dataset = %queue_key.0, application = %application.name,
                reason = failure.kind.as_str(), error = %failure, "querying the vendor failed"
            );
        } else {
            tracing::debug!(
                %account, dataset = %queue_key.0, application = %application.name,
                reason = failure.kind.as_str(), error = %failure, "querying the vendor failed again"
            );
        }
        let text = format!("{}, {}: {failure}", queue_key.0, application.name);
        self.tell(|status| status.last_error = Some(text));
        self.tell_troubles();
    }
}
