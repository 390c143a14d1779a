//! Handles messages from the configuration, files, HTTP lists and registrations.

use delivery_clock::Moment;
use jiff::SignedDuration;

use super::{super::queue::QueuedQuery, Collector};
use crate::{
    config::MessageEntry,
    discovery::{Named, Update},
    model::{MAX_REGISTERED_BYTES, Message, QueryMethod, Source},
};

/// A registration of at most this age was made with the current setting of the clock.
const REGISTERED_JUST_NOW: SignedDuration = SignedDuration::from_secs(60);
/// The number of messages above `max_messages_per_account` that are accepted from one answer before excess
/// ones are dropped, because finding these takes a scan of all messages.
const MAX_EXCESS_MESSAGES: usize = 10_000;

impl Collector {
    /// Adds the messages from the configuration itself, which are due from `first` on.
    pub(super) fn name_fixed(&mut self, first: Moment) {
        let account = self.parts.account.clone();
        let mut new = 0;
        for entry in &account.messages.fixed {
            let Some(application) = account.applications.get(entry.application) else {
                continue;
            };
            let message = Message {
                application: application.id.clone(),
                id: entry.id.clone(),
                campaign: entry.campaign.clone(),
                sent_at: entry.sent_at,
            };
            new += usize::from(self.name(entry.application, message, Source::Static, false, first));
        }
        if !account.messages.fixed.is_empty() {
            let now = self.parts.clock.now();
            self.parts
                .recorder
                .discovered(Source::Static, new, true, now);
        }
    }

    /// Adds a message from a source, and returns whether it is new. It is due from `first` on, or when the
    /// vendor can have counts for it.
    pub(super) fn name(
        &mut self,
        application: usize,
        message: Message,
        source: Source,
        sent_here: bool,
        first: Moment,
    ) -> bool {
        if message.id.len() > MAX_REGISTERED_BYTES {
            // An older version accepted such ids, and a vendor's list may contain them, but no request can
            // contain them.
            self.parts.recorder.rejected("id_too_long");
            return false;
        }
        let now = self.now();
        let earliest = self.parts.provider.first_numbers(&message);
        let key = self.tracker.resolve(&(application, message.id.clone()));
        match self
            .tracker
            .name(application, message.clone(), source, sent_here, now)
        {
            Named::New => self.unmet.push((key.clone(), message)),
            Named::Known | Named::Forgotten => return false,
            Named::TooOld => {
                self.parts.recorder.rejected("max_age");
                return false;
            }
            Named::NoRoom => {
                self.given_up(1);
                return false;
            }
        }
        // One answer can list more messages than the limit allows.
        self.make_room(MAX_EXCESS_MESSAGES);
        let clock = &self.parts.clock;
        let first = earliest.map_or(first, |earliest| clock.moment_of(earliest).max(first));
        for ((dataset, of), queue) in &mut self.queues {
            if *of == application && matches!(dataset.method, QueryMethod::Messages { .. }) {
                queue.add(QueuedQuery::Message(key.1.clone()), first);
                self.parts.progress.planned(1);
            }
        }
        true
    }

    /// Handles an update of a source.
    pub(super) fn named(&mut self, update: Update) {
        let (now, monotonic) = (self.parts.clock.now(), self.parts.clock.monotonic());
        let mut new = 0;
        for entry in update.entries {
            let Some(application) = self.parts.account.applications.get(entry.application) else {
                continue;
            };
            // Messages that appear after the first load have just been sent.
            let is_dated = entry.sent_at.is_some();
            let sent_at = entry.sent_at.or((!update.first).then_some(now));
            let key = self.tracker.resolve(&(entry.application, entry.id.clone()));
            let known = self.tracker.names(&key);
            let message = Message {
                application: application.id.clone(),
                id: entry.id,
                campaign: entry.campaign,
                sent_at: if known { entry.sent_at } else { sent_at },
            };
            let sent_here = match (update.source, entry.sent_at) {
                // A registration without a time got the time of its arrival.
                (Source::Api, Some(sent_at)) => {
                    now.duration_since(sent_at).abs() < REGISTERED_JUST_NOW
                }
                _ => !is_dated,
            };
            new += usize::from(self.name(
                entry.application,
                message,
                update.source,
                sent_here,
                monotonic,
            ));
        }
        self.make_room(0);
        let account = &self.parts.account.name;
        let good = update.problem.is_none();
        if let Some(problem) = update.problem {
            if !self.broken_sources.contains_key(&update.source) {
                tracing::warn!(%account, source = update.source.as_str(), problem, "a list of messages cannot be read; known messages are kept");
            }
            self.broken_sources.insert(update.source, problem);
        } else if self.broken_sources.remove(&update.source).is_some() {
            tracing::info!(%account, source = update.source.as_str(), "the list of messages can be read again");
        }
        let broken_sources = self.broken_sources.clone().into_iter().collect();
        self.tell(|status| status.broken_sources = broken_sources);
        let recorder = &self.parts.recorder;
        recorder.discovered(update.source, new, good, now);
        recorder.tracked(self.tracker.len());
        self.tell_due();
        recorder.publish();
    }

    /// Handles new registrations.
    pub(super) async fn registered(&mut self) {
        let found = self.parts.ledger.registered(self.registered_until).await;
        let (messages, problem) = match found {
            Ok((messages, last)) => {
                self.registered_until = last;
                (messages, None)
            }
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        if messages.is_empty() && problem.is_none() {
            return;
        }
        let applications = &self.parts.account.applications;
        let entry = |message: Message| {
            let application = applications
                .iter()
                .position(|own| own.id == message.application)?;
            Some(MessageEntry {
                id: message.id,
                application,
                campaign: message.campaign,
                sent_at: message.sent_at,
            })
        };
        let update = Update {
            source: Source::Api,
            entries: messages.into_iter().filter_map(entry).collect(),
            problem,
            first: false,
        };
        self.named(update);
    }
}
