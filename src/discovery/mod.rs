//! Discovery of messages: from the configuration, files, HTTP lists, registrations and the vendor's list. A
//! message that is found twice, under any name, is one message.

mod sources;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use delivery_clock::{Moment, is_plausible, later};
use jiff::{SignedDuration, Timestamp};

pub use sources::{Sources, Update, check};

use crate::model::{Message, Source};

/// The key of a message: its application's index in the configuration, and its id.
pub type MessageKey = (usize, Arc<str>);

/// A tracked message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Its data, merged from all sources.
    pub message: Message,
    /// When it was first listed.
    pub first_seen: Timestamp,
    /// When it was first listed, if this process was the first to see it. Its age is counted from there,
    /// independent of the wall clock.
    seen_at: Option<Moment>,
    /// Whether its send time is the time when it was listed. That time comes from this process's clock, and
    /// moves when the clock is set.
    sent_here: bool,
    /// Whether a source other than the vendor's list has listed it; such messages are dropped last.
    registered: bool,
    /// The source of the campaign; `None` if it was known before and stays.
    campaign_by: Option<Source>,
    /// Whether the vendor's list contains it.
    is_listed: bool,
    /// Whether a source may list it later as if it were newer: see [`Tracker::keeps_row`].
    keeps_row: bool,
}

/// A dropped message that was too old.
#[derive(Clone, Copy, Debug)]
struct Forgotten {
    /// The time from which its age was counted.
    since: Timestamp,
    keeps_row: bool,
    /// When the vendor's list, or any source after it was dropped, last listed it.
    named_at: Option<Moment>,
}

/// How long a dropped message that is listed again is remembered; whole lists are queried more often.
const REFUSED_FOR: Duration = Duration::from_secs(2 * 86_400);

impl Tracked {
    /// The time from which its age is counted: when it was sent, or else when it was first listed.
    pub fn since(&self) -> Timestamp {
        self.message.sent_at.unwrap_or(self.first_seen)
    }

    /// Its age: from the wall time at which it was sent, or else from the time since it was listed.
    pub fn age(&self, now: Now) -> SignedDuration {
        let known_here = self.seen_at.filter(|_| self.is_dated_here());
        match known_here {
            Some(seen_at) => {
                let passed = now.monotonic.since(seen_at);
                SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX)
            }
            None => now.settled.duration_since(self.since()),
        }
    }

    /// Whether its age is counted from the time when this process first saw it.
    fn is_dated_here(&self) -> bool {
        self.message.sent_at.is_none() || self.sent_here
    }

    /// The order in which excess messages are dropped: first those that only the vendor's list contains, then
    /// those that were sent first.
    fn rank(&self) -> Rank {
        (self.registered, self.since())
    }

    /// Fills in missing data. Of two campaigns, the one from the better source is used, until one of them has
    /// been counted.
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
        // The vendor may reschedule a scheduled message.
        let is_scheduled = self.message.sent_at.is_some_and(|own| own > now);
        if self.message.sent_at.is_none() || (is_scheduled && source == Some(Source::List)) {
            self.sent_here &= sent_at.is_none();
            self.message.sent_at = sent_at.or(self.message.sent_at);
        }
    }
}

/// Decides which messages are dropped first.
type Rank = (bool, Timestamp);

/// The current time for decisions about messages.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The wall clock.
    pub wall: Timestamp,
    /// The wall clock for irreversible decisions: a forward jump counts only after it has lasted.
    pub settled: Timestamp,
    /// The monotonic clock.
    pub monotonic: Moment,
}

/// The result of listing a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// It was unknown.
    New,
    /// It was already known.
    Known,
    /// It was sent longer ago than `max_age`.
    TooOld,
    /// It was known, and has been dropped.
    Forgotten,
    /// The limit is reached, and the tracked messages take precedence.
    NoRoom,
}

/// The messages of one account.
pub struct Tracker {
    max_age: SignedDuration,
    max_messages: usize,
    messages: BTreeMap<MessageKey, Tracked>,
    /// Aliases of messages that are tracked under the vendor's own id.
    aliases: BTreeMap<MessageKey, Arc<str>>,
    /// Dropped messages that were too old.
    forgotten: BTreeMap<MessageKey, Forgotten>,
    /// Whether some of them are no longer remembered.
    has_dropped: bool,
    /// The best rank among messages dropped because of the limit; at the limit, only better ones are
    /// accepted.
    given_up: Option<Rank>,
}

impl Tracker {
    /// A tracker without messages.
    pub fn new(max_age: Duration, max_messages: usize) -> Tracker {
        Tracker {
            max_age: SignedDuration::try_from(max_age).unwrap_or(SignedDuration::MAX),
            max_messages: max_messages.max(1),
            messages: BTreeMap::new(),
            aliases: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            has_dropped: false,
            given_up: None,
        }
    }

    /// The number of messages.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The key under which a message is tracked.
    pub fn resolve(&self, key: &MessageKey) -> MessageKey {
        match self.aliases.get(key) {
            Some(own) => (key.0, own.clone()),
            None => key.clone(),
        }
    }

    /// A tracked message.
    pub fn get(&self, key: &MessageKey) -> Option<&Tracked> {
        self.messages.get(key)
    }

    /// Adds a message from a source, and merges the data of several sources. `sent_here`: without a send
    /// time, it counts as sent when it was listed.
    pub fn name(
        &mut self,
        application: usize,
        message: Message,
        source: Source,
        sent_here: bool,
        now: Now,
    ) -> Named {
        let key = self.resolve(&(application, message.id.clone()));
        // A process whose clock was never set cannot date messages.
        let is_dated = |sent_at: &Timestamp| is_plausible(*sent_at) || is_plausible(now.settled);
        let sent_at = message.sent_at.filter(is_dated);
        // Files, HTTP lists and the configuration keep listing it, mostly without a time.
        let is_lasting = matches!(source, Source::File | Source::Http | Source::Static);
        let is_newer =
            |since: Option<Timestamp>| sent_at.is_none_or(|at| since.is_some_and(|own| at > own));
        if let Some(known) = self.messages.get_mut(&key) {
            known.keeps_row |= is_lasting || is_newer(known.message.sent_at);
            known.is_listed |= source == Source::List;
            known.learn(Some(source), message.campaign, sent_at, now.wall);
            known.registered |= source != Source::List;
            return Named::Known;
        }
        if let Some(known) = self.forgotten.get_mut(&key) {
            known.keeps_row |= is_lasting || is_newer(Some(known.since));
            known.named_at = Some(now.monotonic);
            return Named::Forgotten;
        }
        if let Some(sent_at) = sent_at
            && self.is_over(now.settled.duration_since(sent_at))
        {
            // Lists contain it repeatedly, but it is refused only once.
            let forgotten = Forgotten {
                since: sent_at,
                keeps_row: is_lasting,
                named_at: (source == Source::List).then_some(now.monotonic),
            };
            self.forget(key, forgotten);
            return Named::TooOld;
        }
        let tracked = Tracked {
            message: Message {
                id: key.1.clone(),
                sent_at,
                ..message
            },
            first_seen: now.wall,
            seen_at: Some(now.monotonic),
            sent_here: sent_here && sent_at.is_some(),
            registered: source != Source::List,
            campaign_by: Some(source),
            is_listed: source == Source::List,
            keeps_row: is_lasting || is_newer(None),
        };
        let is_no_better = self.given_up.is_some_and(|best| tracked.rank() <= best);
        if self.messages.len() >= self.max_messages && is_no_better {
            return Named::NoRoom;
        }
        self.messages.insert(key, tracked);
        Named::New
    }

    /// Drops the messages above the limit: first those that only the vendor's list contains, the oldest of
    /// them first.
    pub fn give_up(&mut self) -> Vec<MessageKey> {
        let excess = self.messages.len().saturating_sub(self.max_messages);
        if excess == 0 {
            return Vec::new();
        }
        let all = self.messages.iter();
        let mut ranks: Vec<_> = all
            .map(|(key, tracked)| (tracked.rank(), key.clone()))
            .collect();
        let (worst, best, _) = ranks.select_nth_unstable(excess - 1);
        let mut keys: Vec<MessageKey> = worst.iter().map(|(_, key)| key.clone()).collect();
        keys.push(best.1.clone());
        self.given_up = Some(best.0);
        for key in &keys {
            self.messages.remove(key);
        }
        self.drop_names();
        keys
    }

    /// Whether the limit is reached.
    pub fn is_full(&self) -> bool {
        self.messages.len() >= self.max_messages
    }

    fn forget(&mut self, key: MessageKey, forgotten: Forgotten) {
        self.forgotten.insert(key, forgotten);
        // Limits the memory for endless lists. What is removed here is too old for every source that provides
        // send times.
        if self.forgotten.len() > self.max_messages.saturating_mul(2) {
            let mut ages: Vec<_> = self.forgotten.values().map(|own| own.since).collect();
            let middle = ages.len() / 2;
            let (_, middle, _) = ages.select_nth_unstable(middle);
            let middle = *middle;
            let mut spare = self.forgotten.len() - self.max_messages;
            self.forgotten.retain(|_, own| {
                let goes = own.since <= middle && spare > 0;
                spare -= usize::from(goes);
                !goes
            });
            self.drop_names();
        }
    }

    /// Removes aliases of messages that are neither tracked nor remembered as dropped. The ledger stores
    /// them.
    fn drop_names(&mut self) {
        let Tracker {
            messages,
            forgotten,
            aliases,
            ..
        } = self;
        aliases.retain(|(application, _), own| {
            let key = (*application, own.clone());
            messages.contains_key(&key) || forgotten.contains_key(&key)
        });
    }

    /// Shifts times that came from this process's clock, after the wall clock was set by `step`.
    pub fn shift(&mut self, step: SignedDuration) {
        for tracked in self.messages.values_mut() {
            if tracked.seen_at.is_some() {
                tracked.first_seen = later(tracked.first_seen, step);
                if tracked.sent_here {
                    tracked.message.sent_at =
                        tracked.message.sent_at.map(|sent_at| later(sent_at, step));
                }
            }
        }
        if let Some((_, since)) = &mut self.given_up {
            *since = later(*since, step);
        }
    }

    /// Revokes the decision that messages are too old if they are not according to this time, and returns
    /// whether there were any.
    pub fn reconsider(&mut self, settled: Timestamp) -> bool {
        let before = self.forgotten.len();
        let max_age = self.max_age;
        self.forgotten
            .retain(|_, own| settled.duration_since(own.since) > max_age);
        // The ages of messages that are no longer remembered are unknown.
        let has_dropped = std::mem::take(&mut self.has_dropped);
        self.forgotten.len() < before || has_dropped
    }

    /// Stops remembering dropped messages from before a time, if no source is expected to list them again as if they
    /// were newer.
    pub fn drop_forgotten(&mut self, before: Timestamp, now: Moment) {
        let count = self.forgotten.len();
        self.forgotten.retain(|_, own| {
            let was_named = |at: Moment| now.since(at) < REFUSED_FOR;
            own.keeps_row || own.since >= before || own.named_at.is_some_and(was_named)
        });
        if self.forgotten.len() < count {
            self.has_dropped = true;
            self.drop_names();
        }
    }

    /// The keys of the tracked messages.
    pub fn keys(&self) -> impl Iterator<Item = &MessageKey> {
        self.messages.keys()
    }

    /// Records that the vendor uses another id for the message `asked`, and returns whether two messages were
    /// merged.
    pub fn rename(&mut self, asked: &MessageKey, own: &Arc<str>, now: Timestamp) -> bool {
        if asked.1 == *own {
            return false;
        }
        let key = (asked.0, own.clone());
        self.aliases.insert(asked.clone(), own.clone());
        if self.aliases.len() > self.max_messages.saturating_mul(4) {
            self.drop_names();
            while self.aliases.len() > self.max_messages.saturating_mul(4) {
                // Limits the memory if a vendor keeps assigning new ids. The ledger stores them.
                self.aliases.pop_first();
            }
        }
        let Some(mut known) = self.messages.remove(asked) else {
            return false;
        };
        known.message.id = own.clone();
        match self.messages.get_mut(&key) {
            Some(other) => {
                // The customer's campaign fills a gap in the vendor's list.
                other.learn(
                    known.campaign_by,
                    known.message.campaign,
                    known.message.sent_at,
                    now,
                );
                if known.first_seen < other.first_seen {
                    other.first_seen = known.first_seen;
                    other.seen_at = known.seen_at;
                }
                other.registered |= known.registered;
                other.is_listed |= known.is_listed;
                other.keeps_row |= known.keeps_row;
                true
            }
            None => {
                self.messages.insert(key, known);
                false
            }
        }
    }

    /// Merges the vendor's data of a tracked message.
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

    /// Restores the stored data of a message: when it was first seen, and its campaign, which never changes
    /// once known.
    pub fn recall(
        &mut self,
        key: &MessageKey,
        first_seen: Timestamp,
        sent_at: Option<Timestamp>,
        campaign: Option<Arc<str>>,
    ) {
        if let Some(known) = self.messages.get_mut(key) {
            // A time that was stored while the clock was unset is invalid.
            if is_plausible(first_seen) && first_seen < known.first_seen {
                known.first_seen = first_seen;
                known.seen_at = None;
            }
            let sent_at = sent_at.filter(|sent_at| is_plausible(*sent_at));
            if sent_at.is_some() && sent_at != known.message.sent_at {
                known.message.sent_at = sent_at;
                known.sent_here = false;
            }
            if campaign.is_some() {
                known.message.campaign = campaign;
                known.campaign_by = None;
            }
        }
    }

    /// The tracked messages of an application.
    pub fn of(&self, application: usize) -> Vec<Message> {
        let all = self.messages.iter();
        all.filter(|((of, _), _)| *of == application)
            .map(|(_, tracked)| tracked.message.clone())
            .collect()
    }

    /// Whether a source lists the message, tracked or not.
    pub fn names(&self, key: &MessageKey) -> bool {
        self.messages.contains_key(key)
            || self.forgotten.contains_key(key)
            || self.aliases.contains_key(key)
    }

    /// Whether the counts of the message must stay stored, because it is tracked or because a source may list
    /// it again without a send time or with a later one. It would then be treated as new and counted again.
    pub fn keeps_row(&self, key: &MessageKey) -> bool {
        let forgotten = self.forgotten.get(key);
        self.messages.contains_key(key)
            || forgotten.is_some_and(|own| own.keeps_row)
            || self.aliases.contains_key(key)
    }

    /// Permanently drops the messages that have reached `max_age`.
    pub fn forget_old(&mut self, now: Now) -> Vec<MessageKey> {
        let over: Vec<_> = self
            .messages
            .iter()
            .filter(|(_, tracked)| self.is_over(tracked.age(now)))
            .map(|(key, tracked)| {
                let forgotten = Forgotten {
                    since: tracked.since(),
                    keeps_row: tracked.keeps_row,
                    named_at: tracked.is_listed.then_some(now.monotonic),
                };
                (key.clone(), forgotten)
            })
            .collect();
        for (key, forgotten) in &over {
            self.messages.remove(key);
            self.forget(key.clone(), *forgotten);
        }
        over.into_iter().map(|(key, _)| key).collect()
    }

    fn is_over(&self, age: SignedDuration) -> bool {
        age > self.max_age
    }
}

#[cfg(test)]
mod tests;
