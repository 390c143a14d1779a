//! Which messages exist: what the configuration, files and HTTP lists name, what is registered, and
//! what the vendor lists. The same message found twice, under whatever name, is one.

mod sources;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use delivery_clock::{Moment, is_plausible, later};
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
    /// When it was first named, if this process was the first to hear of it: its age is counted
    /// from there, whatever becomes of the wall clock.
    seen_at: Option<Moment>,
    /// It was sent when it was named: that time is of this process's clock, and set with it.
    sent_here: bool,
    /// Somebody else than the vendor's list named it: it gives way later.
    registered: bool,
    /// Who named the campaign; `None`: it was known before, and stays.
    campaign_by: Option<Source>,
    /// The vendor's list has named it.
    is_listed: bool,
    /// A source may name it later as if it were newer than it is: see [`Tracker::keeps_row`].
    keeps_row: bool,
}

/// A message that was too old.
#[derive(Clone, Copy, Debug)]
struct Forgotten {
    /// What its age was counted from.
    since: Timestamp,
    keeps_row: bool,
    /// When the vendor's list, or any source after it was forgotten, last named it.
    named_at: Option<Moment>,
}

/// A forgotten message that was named is remembered for so long, so that a list that names it again and again has it
/// refused once. A whole list is asked for more often.
const REFUSED_FOR: Duration = Duration::from_secs(2 * 86_400);

impl Tracked {
    /// When it was sent, else when it was first named: what its age is counted from.
    pub fn since(&self) -> Timestamp {
        self.message.sent_at.unwrap_or(self.first_seen)
    }

    /// How old it is: by the wall time at which it was sent, else by the time since it was named.
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

    /// Whether its age is counted from when this process heard of it.
    fn is_dated_here(&self) -> bool {
        self.message.sent_at.is_none() || self.sent_here
    }

    /// What gives way first when there are too many: what the vendor's list alone names, then what
    /// was sent first.
    fn rank(&self) -> Rank {
        (self.registered, self.since())
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
            self.sent_here &= sent_at.is_none();
            self.message.sent_at = sent_at.or(self.message.sent_at);
        }
    }
}

/// What decides which messages give way.
type Rank = (bool, Timestamp);

/// The time by which messages are judged.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The wall clock.
    pub wall: Timestamp,
    /// The wall clock for what cannot be undone: a step ahead does not count until it lasts.
    pub settled: Timestamp,
    /// The monotonic clock.
    pub monotonic: Moment,
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
    /// There are as many as there may be, and those are better.
    NoRoom,
}

/// The messages of one account.
pub struct Tracker {
    max_age: SignedDuration,
    max_messages: usize,
    messages: BTreeMap<MessageKey, Tracked>,
    /// Other names of messages that are known by the vendor's own.
    aliases: BTreeMap<MessageKey, Arc<str>>,
    /// Messages that were too old.
    forgotten: BTreeMap<MessageKey, Forgotten>,
    /// Some of them are not remembered any more.
    has_dropped: bool,
    /// The best of the messages that had to give way: while there is no room, what is no better is not
    /// taken.
    given_up: Option<Rank>,
}

impl Tracker {
    /// Without a message.
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
    /// `sent_here`: it has no time of its own, it was sent when it was named.
    pub fn name(
        &mut self,
        application: usize,
        message: Message,
        source: Source,
        sent_here: bool,
        now: Now,
    ) -> Named {
        let key = self.resolve(&(application, message.id.clone()));
        // A process whose own clock has never been right dates nothing.
        let is_dated = |sent_at: &Timestamp| is_plausible(*sent_at) || is_plausible(now.settled);
        let sent_at = message.sent_at.filter(is_dated);
        // Files, lists by HTTP and the configuration go on naming it, mostly without a time.
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
            // Lists name it again and again: it is refused once.
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

    /// Gives up as many messages as there are too many: first those that the vendor's list alone
    /// names, the oldest of them first.
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

    /// Whether there are as many messages as there may be.
    pub fn is_full(&self) -> bool {
        self.messages.len() >= self.max_messages
    }

    fn forget(&mut self, key: MessageKey, forgotten: Forgotten) {
        self.forgotten.insert(key, forgotten);
        // Lists that never end must not be remembered whole. What is dropped here is too old for
        // every source that says when it was sent.
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

    /// Drops other names of messages that are neither watched nor remembered as forgotten. The
    /// ledger knows them.
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

    /// The wall clock was set by so much: what was dated by it moves along.
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

    /// Takes back that messages are too old which are not by this time; whether there are any.
    pub fn reconsider(&mut self, settled: Timestamp) -> bool {
        let before = self.forgotten.len();
        let max_age = self.max_age;
        self.forgotten
            .retain(|_, own| settled.duration_since(own.since) > max_age);
        // Nobody knows how old those are that are not remembered.
        let has_dropped = std::mem::take(&mut self.has_dropped);
        self.forgotten.len() < before || has_dropped
    }

    /// Remembers no longer that messages from before a time were too old, where no source is expected to name them again
    /// as if they were newer.
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

    /// The keys of the watched messages.
    pub fn keys(&self) -> impl Iterator<Item = &MessageKey> {
        self.messages.keys()
    }

    /// The vendor calls the message `asked` by another name. Whether two messages became one.
    pub fn rename(&mut self, asked: &MessageKey, own: &Arc<str>, now: Timestamp) -> bool {
        if asked.1 == *own {
            return false;
        }
        let key = (asked.0, own.clone());
        self.aliases.insert(asked.clone(), own.clone());
        if self.aliases.len() > self.max_messages.saturating_mul(4) {
            self.drop_names();
            while self.aliases.len() > self.max_messages.saturating_mul(4) {
                // A vendor that gives every message ever new names. The ledger has them.
                self.aliases.pop_first();
            }
        }
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
            // What was written while the clock was not set is no time.
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
            || self.forgotten.contains_key(key)
            || self.aliases.contains_key(key)
    }

    /// Whether what was counted of the message has to stay known: it is watched, or a source may name it again
    /// without a time, or with a later one. It would be taken for a new one then, and count again.
    pub fn keeps_row(&self, key: &MessageKey) -> bool {
        let forgotten = self.forgotten.get(key);
        self.messages.contains_key(key)
            || forgotten.is_some_and(|own| own.keeps_row)
            || self.aliases.contains_key(key)
    }

    /// Forgets the messages that have reached `max_age`, for good.
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
