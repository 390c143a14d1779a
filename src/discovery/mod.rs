//! Which messages exist: what the configuration, files and HTTP lists name, what is registered, and
//! what the vendor lists. The same message found twice, under whatever name, is one.

mod sources;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

pub use sources::{Sources, Update, check};

use crate::model::{Message, Source};

/// What a message is known by: its application's place in the configuration, and its id.
pub type MessageKey = (usize, Arc<str>);

/// A message that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// What is known of it over all sources.
    pub message: Message,
    /// When it was first named.
    pub first_seen: Timestamp,
    /// Who named the campaign; `None`: it was known before, and stays.
    campaign_by: Option<Source>,
}

impl Tracked {
    /// When it was sent, else when it was first named: what its age is counted from.
    pub fn since(&self) -> Timestamp {
        self.message.sent_at.unwrap_or(self.first_seen)
    }

    /// What is missing is filled in; of two campaigns, the one of the better source is taken until
    /// one of them has counted.
    fn learn(
        &mut self,
        source: Option<Source>,
        campaign: Option<Arc<str>>,
        sent_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        let better = match (self.message.campaign.is_some(), self.campaign_by) {
            (false, _) => true,
            (true, None) => false,
            (true, by) => source < by,
        };
        if better && campaign.is_some() {
            self.message.campaign = campaign;
            self.campaign_by = source;
        }
        // A message that is scheduled may be scheduled anew, by the vendor's own word.
        let is_scheduled = self.message.sent_at.is_some_and(|own| own > now);
        if self.message.sent_at.is_none() || (is_scheduled && source == Some(Source::List)) {
            self.message.sent_at = sent_at.or(self.message.sent_at);
        }
    }
}

/// What became of a message that a source named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// It was not known.
    New,
    /// It was.
    Known,
    /// It was sent longer ago than `max_age`.
    TooOld,
    /// It was known, and has been forgotten.
    Forgotten,
}

/// The messages of one account.
pub struct Tracker {
    max_age: SignedDuration,
    messages: BTreeMap<MessageKey, Tracked>,
    /// Other names of messages that are known by the vendor's own.
    aliases: BTreeMap<MessageKey, Arc<str>>,
    forgotten: BTreeSet<MessageKey>,
}

impl Tracker {
    /// Without a message.
    pub fn new(max_age: Duration) -> Tracker {
        Tracker {
            max_age: SignedDuration::try_from(max_age).unwrap_or(SignedDuration::MAX),
            messages: BTreeMap::new(),
            aliases: BTreeMap::new(),
            forgotten: BTreeSet::new(),
        }
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The name that a message is known by.
    pub fn resolve(&self, key: &MessageKey) -> MessageKey {
        match self.aliases.get(key) {
            Some(own) => (key.0, own.clone()),
            None => key.clone(),
        }
    }

    /// A message that is watched.
    pub fn get(&self, key: &MessageKey) -> Option<&Tracked> {
        self.messages.get(key)
    }

    /// A source names a message. What one source knows and another does not is put together.
    pub fn name(
        &mut self,
        application: usize,
        message: Message,
        source: Source,
        now: Timestamp,
    ) -> Named {
        let key = self.resolve(&(application, message.id.clone()));
        if let Some(known) = self.messages.get_mut(&key) {
            known.learn(Some(source), message.campaign, message.sent_at, now);
            return Named::Known;
        }
        if self.forgotten.contains(&key) {
            return Named::Forgotten;
        }
        if message
            .sent_at
            .is_some_and(|sent_at| self.is_over(sent_at, now))
        {
            // Lists name it again and again: it is refused once.
            self.forgotten.insert(key);
            return Named::TooOld;
        }
        let message = Message {
            id: key.1.clone(),
            ..message
        };
        self.messages.insert(
            key,
            Tracked {
                message,
                first_seen: now,
                campaign_by: Some(source),
            },
        );
        Named::New
    }

    /// The vendor calls the message `asked` by another name. Whether two messages became one.
    pub fn rename(&mut self, asked: &MessageKey, own: &Arc<str>, now: Timestamp) -> bool {
        if asked.1 == *own {
            return false;
        }
        let key = (asked.0, own.clone());
        self.aliases.insert(asked.clone(), own.clone());
        let Some(mut known) = self.messages.remove(asked) else {
            return false;
        };
        known.message.id = own.clone();
        match self.messages.get_mut(&key) {
            Some(other) => {
                // The customer's campaign wins over what the vendor's list left open.
                other.learn(
                    known.campaign_by,
                    known.message.campaign,
                    known.message.sent_at,
                    now,
                );
                other.first_seen = other.first_seen.min(known.first_seen);
                true
            }
            None => {
                self.messages.insert(key, known);
                false
            }
        }
    }

    /// The vendor says something of a message that is watched.
    pub fn learn(
        &mut self,
        key: &MessageKey,
        campaign: Option<Arc<str>>,
        sent_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        if let Some(known) = self.messages.get_mut(key) {
            known.learn(Some(Source::List), campaign, sent_at, now);
        }
    }

    /// What is known of a message over restarts: it was seen before, and a campaign once known
    /// never changes.
    pub fn recall(
        &mut self,
        key: &MessageKey,
        first_seen: Timestamp,
        sent_at: Option<Timestamp>,
        campaign: Option<Arc<str>>,
    ) {
        if let Some(known) = self.messages.get_mut(key) {
            known.first_seen = known.first_seen.min(first_seen);
            known.message.sent_at = sent_at.or(known.message.sent_at);
            if campaign.is_some() {
                known.message.campaign = campaign;
                known.campaign_by = None;
            }
        }
    }

    /// The watched messages of an application.
    pub fn of(&self, application: usize) -> Vec<Message> {
        let all = self.messages.iter();
        all.filter(|((of, _), _)| *of == application)
            .map(|(_, tracked)| tracked.message.clone())
            .collect()
    }

    /// Whether a source names the message, watched or not.
    pub fn names(&self, key: &MessageKey) -> bool {
        self.messages.contains_key(key)
            || self.forgotten.contains(key)
            || self.aliases.contains_key(key)
    }

    /// Forgets the messages that have reached `max_age`, for good.
    pub fn forget_old(&mut self, now: Timestamp) -> Vec<MessageKey> {
        let over: Vec<_> = self
            .messages
            .iter()
            .filter(|(_, tracked)| self.is_over(tracked.since(), now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &over {
            self.messages.remove(key);
            self.forgotten.insert(key.clone());
        }
        over
    }

    fn is_over(&self, since: Timestamp, now: Timestamp) -> bool {
        now.duration_since(since) > self.max_age
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, campaign: Option<&str>, sent_at: Option<Timestamp>) -> Message {
        let application = Arc::from("app");
        Message {
            application,
            id: Arc::from(id),
            campaign: campaign.map(Arc::from),
            sent_at,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn key(id: &str) -> MessageKey {
        (0, Arc::from(id))
    }

    #[test]
    fn one_message_under_two_names_is_one() {
        let mut tracker = Tracker::new(Duration::from_secs(100));
        assert_eq!(
            tracker.name(
                0,
                message("123", Some("spring"), None),
                Source::Static,
                at(0)
            ),
            Named::New
        );
        assert_eq!(
            tracker.name(0, message("A-1", None, Some(at(5))), Source::Static, at(9)),
            Named::New
        );
        assert!(tracker.rename(&key("123"), &Arc::from("A-1"), at(9)));
        assert_eq!(tracker.len(), 1);
        let known = tracker.get(&key("A-1")).unwrap();
        assert_eq!(known.message.campaign.as_deref(), Some("spring"));
        assert_eq!(
            (known.message.sent_at, known.first_seen),
            (Some(at(5)), at(0))
        );
        assert_eq!(
            tracker.name(0, message("123", None, None), Source::Static, at(9)),
            Named::Known
        );
        assert_eq!(tracker.len(), 1);
    }

    #[test]
    fn a_known_campaign_never_changes_and_what_is_missing_is_learned() {
        let mut tracker = Tracker::new(Duration::from_secs(100));
        tracker.name(0, message("1", Some("a"), None), Source::Static, at(0));
        tracker.name(
            0,
            message("1", Some("b"), Some(at(1))),
            Source::Static,
            at(0),
        );
        tracker.learn(&key("1"), Some(Arc::from("c")), Some(at(2)), at(3));
        let known = &tracker.get(&key("1")).unwrap().message;
        assert_eq!(
            (known.campaign.as_deref(), known.sent_at),
            (Some("a"), Some(at(1)))
        );
    }

    #[test]
    fn a_message_that_is_scheduled_anew_is_as_old_as_the_vendor_says() {
        let mut tracker = Tracker::new(Duration::from_secs(100));
        let mut name = |sent_at, source, now| {
            tracker.name(0, message("1", None, Some(at(sent_at))), source, at(now));
            tracker.get(&key("1")).unwrap().message.sent_at
        };
        assert_eq!(name(50, Source::List, 0), Some(at(50)));
        assert_eq!(name(70, Source::List, 10), Some(at(70)));
        assert_eq!(name(60, Source::Static, 20), Some(at(70)));
        assert_eq!(name(90, Source::List, 80), Some(at(70)), "it was sent");
    }

    #[test]
    fn old_messages_are_refused_and_forgotten_ones_stay_forgotten() {
        let mut tracker = Tracker::new(Duration::from_secs(100));
        assert_eq!(
            tracker.name(0, message("1", None, Some(at(0))), Source::Static, at(101)),
            Named::TooOld
        );
        tracker.name(0, message("2", None, Some(at(50))), Source::Static, at(101));
        tracker.name(0, message("3", None, None), Source::Static, at(101));
        assert_eq!(tracker.forget_old(at(151)), [key("2")]);
        assert_eq!(
            tracker.name(0, message("2", None, None), Source::Static, at(151)),
            Named::Forgotten
        );
        assert_eq!(tracker.forget_old(at(202)), [key("3")]);
        assert!(tracker.is_empty());
    }
}
