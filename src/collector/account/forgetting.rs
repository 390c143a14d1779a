//! Drops messages that are too old or too many.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    super::{queue::QueuedQuery, schedule},
    Collector,
};
use crate::{discovery::MessageKey, ledger::StoreError};

/// The minimum interval between searches of the ledger for messages that no source lists.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// The maximum interval between these searches.
const MAX_SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// How often the ledger is searched for messages that no source lists. Such messages stay in the ledger for up
/// to this interval after `max_age`; with a short `max_age`, an interval of an hour would keep many times as
/// many messages as are tracked.
fn sweep_interval(max_age: Duration) -> Duration {
    (max_age / 8).clamp(MIN_SWEEP_INTERVAL, MAX_SWEEP_INTERVAL)
}

impl Collector {
    /// Drops old messages, and periodically rows of the ledger that no source will list as new.
    pub(super) async fn forget_old(&mut self) {
        let now = self.now();
        let keys = self.tracker.forget_old(now);
        self.unwatch(keys);
        let over = std::mem::take(&mut self.unwatched);
        if !over.is_empty() {
            self.parts.ledger.unwatch(&over).await;
        }
        self.parts.recorder.tracked(self.tracker.len());
        let max_messages = self.parts.account.max_messages;
        self.is_full &= self.tracker.len() > max_messages - max_messages / 10;
        // The ledger has them too, and can be queried again.
        let max_names = max_messages.saturating_mul(4);
        if self.renamed.len() > max_names {
            self.renamed.clear();
        }
        if self.other_names.len() > max_names {
            self.other_names.clear();
        }
        let clock = &self.parts.clock;
        let max_age = self.parts.account.messages.max_age;
        let interval = sweep_interval(max_age);
        // An unreadable source may list messages that no other source lists.
        let is_due = clock.monotonic().since(self.swept_at) >= interval;
        if is_due && self.broken_sources.is_empty() {
            self.swept_at = clock.monotonic();
            let before = schedule::before(now.settled, max_age + interval);
            match self.sweep(before).await {
                Ok(()) => self.tracker.drop_forgotten(before, now.monotonic),
                Err(error) => {
                    tracing::warn!(account = %self.parts.account.name, %error, "old messages cannot be removed from the ledger");
                }
            }
        }
    }

    /// Drops the excess messages, if there are at least `excess` more than the limit.
    pub(super) fn make_room(&mut self, excess: usize) {
        if self.tracker.len() <= self.parts.account.max_messages.saturating_add(excess) {
            return;
        }
        let keys = self.tracker.give_up();
        self.given_up(keys.len());
        self.unwatch(keys);
    }

    /// Logs and counts messages above the limit.
    pub(super) fn given_up(&mut self, messages: usize) {
        for _ in 0..messages {
            self.parts.recorder.rejected("max_messages");
        }
        if messages > 0 && !std::mem::replace(&mut self.is_full, true) {
            tracing::warn!(
                account = %self.parts.account.name, max = self.parts.account.max_messages,
                "there are more messages than limits.max_messages_per_account; the oldest are not tracked"
            );
        }
    }

    /// Stops tracking messages.
    pub(super) fn unwatch(&mut self, keys: Vec<MessageKey>) {
        let keys: BTreeSet<MessageKey> = keys.into_iter().collect();
        if !keys.is_empty() {
            self.set_aside.retain(|(_, key)| !keys.contains(key));
            self.last_good.retain(|(_, key)| !keys.contains(key));
            self.renamed
                .retain(|(application, _, id)| !keys.contains(&(*application, id.clone())));
            self.renaming.retain(|key, _| !keys.contains(key));
            self.other_names.retain(|key| !keys.contains(key));
            self.unmet.retain(|(key, _)| !keys.contains(key));
        }
        for key in keys {
            for ((_, of), queue) in &mut self.queues {
                if *of == key.0 {
                    queue.remove(&QueuedQuery::Message(key.1.clone()));
                }
            }
            let application = self.application(key.0);
            self.parts.recorder.forgotten(&application, &key.1);
            self.unwatched.push((application.id, key.1));
        }
    }

    pub(super) async fn sweep(&self, before: Timestamp) -> Result<(), StoreError> {
        let ledger = &self.parts.ledger;
        let applications = &self.parts.account.applications;
        let mut old = ledger.old_messages(before).await?;
        old.retain(|(application, id)| {
            let index = applications.iter().position(|own| own.id == *application);
            index.is_none_or(|index| !self.tracker.keeps_row(&(index, id.clone())))
        });
        if !old.is_empty() {
            ledger.forget(old).await?;
        }
        ledger.unregister(before).await
    }
}
