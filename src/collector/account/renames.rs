//! Handles messages for which the vendor uses other ids than the queried ones.

use std::sync::Arc;

use super::{super::queue::QueuedQuery, Collector};
use crate::{discovery::MessageKey, model::QueryMethod};

impl Collector {
    /// Whether a message is now tracked under another name than the queried one.
    pub(super) fn is_renamed(&self, application: usize, asked: &Arc<str>) -> bool {
        let key = (application, asked.clone());
        self.tracker.resolve(&key) != key
    }

    /// The key of a message that was queried under one name and answered under another.
    pub(super) fn known_as(
        &mut self,
        application: usize,
        asked: &Arc<str>,
        own: &Arc<str>,
    ) -> MessageKey {
        self.rename(application, asked, own);
        self.tracker.resolve(&(application, asked.clone()))
    }

    /// Tracks a message under another name from now on, and returns whether the message exists.
    pub(super) fn rename(&mut self, application: usize, asked: &Arc<str>, own: &Arc<str>) -> bool {
        let now = self.parts.clock.now();
        let monotonic = self.parts.clock.monotonic();
        let key = (application, asked.clone());
        let is_watched = asked != own && self.tracker.get(&key).is_some();
        // A message that is not tracked under that name may be reported under it later.
        self.tracker.rename(&key, own, now);
        if is_watched {
            for ((dataset, of), queue) in &mut self.queues {
                if *of == key.0 && matches!(dataset.method, QueryMethod::Messages { .. }) {
                    queue.remove(&QueuedQuery::Message(asked.clone()));
                    queue.add(QueuedQuery::Message(own.clone()), monotonic);
                }
            }
            self.parts.recorder.tracked(self.tracker.len());
        }
        is_watched
    }
}
