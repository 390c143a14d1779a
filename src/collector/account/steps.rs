//! Reschedules queries when the wall clock is set. Due times use the monotonic clock, but they are computed
//! from wall times (ages of messages, a vendor's day).

use std::sync::Arc;

use delivery_clock::{Moment, after};
use jiff::{SignedDuration, Timestamp};

use super::{
    super::queue::{DatasetQueue, QueuedQuery},
    Collector,
};
use crate::{
    discovery::{MessageKey, Now},
    model::QueryMethod,
};

/// Exposed due times are updated when the wall clock has moved by at least this.
const SHOWN_ANEW: SignedDuration = SignedDuration::from_millis(50);
/// Queries are rescheduled when the wall clock has moved by at least this.
const PLANNED_ANEW: SignedDuration = SignedDuration::from_secs(1);

impl Collector {
    /// The wall time of a moment.
    pub(super) fn time_of(&self, moment: Moment) -> Timestamp {
        after(self.origin, moment.since_start())
    }

    /// Checks whether the wall clock was set since the last call, and reschedules if so. Returns whether
    /// exposed due times must be updated.
    pub(super) fn follow_wall_clock(&mut self) -> bool {
        let origin = self.parts.clock.origin();
        if origin.duration_since(self.origin).abs() < SHOWN_ANEW {
            return false;
        }
        self.origin = origin;
        let step = origin.duration_since(self.planned_origin);
        if step.abs() >= PLANNED_ANEW {
            self.planned_origin = origin;
            tracing::warn!(
                account = %self.parts.account.name, seconds = step.as_secs_f64(),
                "the wall clock was set; recomputing the ages of messages"
            );
            self.plan_anew(step);
        }
        true
    }

    /// The current time for decisions about messages.
    pub(super) fn now(&mut self) -> Now {
        let clock = &self.parts.clock;
        Now {
            wall: clock.now(),
            settled: self.settled.now(clock),
            monotonic: clock.monotonic(),
        }
    }

    fn plan_anew(&mut self, step: SignedDuration) {
        self.tracker.shift(step);
        // A list that continues from a wrong time would miss messages.
        self.lists.clear();
        let settled = self.now().settled;
        if self.tracker.reconsider(settled) {
            // A clock that was ahead made them look too old.
            let now = self.parts.clock.monotonic();
            self.name_fixed(now);
            self.registered_until = 0;
            self.sources_restart = true;
            self.parts.ledger.registered_now();
        }
        let keys: Vec<MessageKey> = self.tracker.keys().cloned().collect();
        let queues: Vec<_> = self.queues.keys().copied().collect();
        for queue_key in queues {
            if matches!(queue_key.0.method, QueryMethod::Messages { .. }) {
                for key in keys.iter().filter(|key| key.0 == queue_key.1) {
                    self.plan_message_anew(queue_key, key);
                }
            }
        }
        // The ledger computes again when an answer is needed for each age.
        let messages = keys.into_iter().filter_map(|key| {
            let message = self.tracker.get(&key)?.message.clone();
            Some((key, message))
        });
        self.unmet = messages.collect();
    }

    fn plan_message_anew(&mut self, queue_key: super::DatasetQueueKey, key: &MessageKey) {
        if self.set_aside.contains(&(queue_key.0, key.clone())) {
            return;
        }
        let job = QueuedQuery::Message(Arc::clone(&key.1));
        let answered_at = self
            .queues
            .get(&queue_key)
            .and_then(|queue| queue.answered_at(&job));
        let Some(answered_at) = answered_at else {
            return;
        };
        let now = self.parts.clock.monotonic();
        let (next, early) = match answered_at {
            Some(asked_at) => self.next_query(queue_key, &key.1, asked_at, true),
            None => {
                let message = self.tracker.get(key).map(|tracked| &tracked.message);
                let earliest =
                    message.and_then(|message| self.parts.provider.first_numbers(message));
                let next = earliest.map_or(now, |at| self.parts.clock.moment_of(at).max(now));
                (next, std::time::Duration::ZERO)
            }
        };
        let has_day = self.parts.account.daily.is_some();
        if let Some(queue) = self.queues.get_mut(&queue_key) {
            if has_day {
                // According to the corrected clock, the vendor's day may not have started yet.
                DatasetQueue::answered(queue, &job, next, early);
            } else {
                queue.sooner(&job, next);
            }
        }
    }
}
