//! An account's counters as this process knows them, and the draft of what a transaction changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use delivery_clock::Moment;
use indexmap::IndexMap;
use jiff::Timestamp;

use super::{
    CounterSample, LedgerDelta, Missed,
    amount::Amount,
    cohort::NextAges,
    key::{CounterKey, Texts},
    message::{Decreases, MessageState},
    names::{LabelLimiter, NewNames, OTHER},
    sink::{CohortSample, CounterSink},
    store::{AccountRows, CounterRow, MessageId, MessageRow, ReleaseRow, WriteSet},
};
use crate::{
    catalog::{self, CohortPart, Label, Origin, combinations, label::CAMPAIGN},
    model::{Age, Channel, Dataset, Measure},
    providers::Digest,
};

/// How long a counter stands still before what it has is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Until then.
    Until(Moment),
    /// As long as this process lives: `collect` prints what is new as 0.
    Process,
    /// What is counted is released with it.
    Open,
}

/// One counter.
#[derive(Clone, Debug)]
pub(super) struct CounterState {
    /// All that was counted, over all replicas.
    pub(super) total: Amount,
    /// What no replica has released.
    pub(super) pending: Amount,
    /// What this replica shows.
    pub(super) shown: Amount,
    pub(super) born_at: i64,
    pub(super) changed_at: i64,
    pub(super) hold: Hold,
    /// The store knows that this replica shows it.
    pub(super) stored: bool,
}

/// A message that is watched.
#[derive(Clone, Debug, Default)]
pub(super) struct MessageEntry {
    pub(super) state: MessageState,
    pub(super) lower: Decreases,
    /// Of the last snapshot: an equal one changes nothing.
    pub(super) hash: u64,
    pub(super) next: NextAges,
}

/// What this process knows of an account that it holds.
#[derive(Default)]
pub(super) struct AccountState {
    /// In the order of the store, as long as none is forgotten: what is shown of them all is sorted
    /// soon.
    pub(super) counters: IndexMap<CounterKey, CounterState>,
    pub(super) births: HashMap<(Arc<str>, String), i64>,
    /// Until when data sets were read, by application and data set.
    pub(super) cursors: HashMap<(Arc<str>, String), i64>,
    pub(super) messages: HashMap<MessageId, MessageEntry>,
    /// Messages by the end of their next window.
    pub(super) windows: BTreeSet<(i64, MessageId)>,
    /// How many watched messages each campaign has.
    pub(super) campaigns: HashMap<Arc<str>, usize>,
    /// Things that are counted and not released.
    pub(super) held: u64,
    /// When the next hold ends.
    pub(super) next_release: Option<Moment>,
    /// Counters that the store no longer had, and nobody was told.
    pub(super) gone: Vec<CounterKey>,
    /// When the account was taken over; messages are met after that.
    pub(super) opened: Option<Moment>,
    /// Nobody knows whether the last transaction happened.
    pub(super) stale: bool,
    /// The lease under which it was read.
    pub(super) fence: Option<i64>,
}

impl AccountState {
    /// Takes what the store has. Counters that are here already keep their holds; others get
    /// `hold`. Unreadable rows are an error of the store.
    pub(super) fn load(
        &mut self,
        mut rows: AccountRows,
        hold: impl Fn(bool) -> Hold,
        now: i64,
    ) -> Result<(), String> {
        let mut releases = std::mem::take(&mut rows.releases);
        // They mostly come in that order, and then it costs nothing to make sure.
        rows.counters
            .sort_unstable_by(|left, right| left.key.cmp(&right.key));
        releases.sort_unstable_by(|left, right| left.key.cmp(&right.key));
        let mut releases = releases.into_iter().peekable();
        let mut texts = Texts::default();
        let mut counters = IndexMap::with_capacity(rows.counters.len());
        for row in rows.counters {
            let Some(key) = texts.counter(&row.key) else {
                return Err(format!("the counter {:?} is of no known kind", row.key));
            };
            let known = self.counters.get(&key).map(|known| known.hold);
            while releases.next_if(|release| release.key < row.key).is_some() {}
            let release = releases.next_if(|release| release.key == row.key);
            let state = CounterState {
                hold: known.unwrap_or_else(|| hold(release.is_some())),
                stored: release.is_some(),
                born_at: release.as_ref().map_or(now, |own| own.born_at),
                shown: release.map_or_else(|| row.total.zero(), |own| own.shown),
                total: row.total,
                pending: row.pending,
                changed_at: row.changed_at,
            };
            counters.insert(key, state);
        }
        let mut gone = std::mem::replace(&mut self.counters, counters);
        gone.retain(|key, _| !self.counters.contains_key(key));
        self.gone.extend(gone.into_keys());
        self.cursors = rows
            .cursors
            .into_iter()
            .map(|(application, dataset, at)| ((application, dataset), at))
            .collect();
        self.births = rows
            .births
            .into_iter()
            .map(|(application, dataset, at)| ((application, dataset), at))
            .collect();
        let held = self.counters.values().map(|own| own.pending.things());
        self.held = held.fold(0, u64::saturating_add);
        self.schedule();
        self.stale = false;
        Ok(())
    }

    /// Finds the end of the next hold.
    pub(super) fn schedule(&mut self) {
        let ends = self.counters.values().filter_map(|own| match own.hold {
            Hold::Until(end) => Some(end),
            _ => None,
        });
        self.next_release = ends.min();
    }

    /// All counters as they are shown.
    pub(super) fn shown(&self) -> Vec<CounterSample> {
        self.counters
            .iter()
            .map(|(key, own)| shown(key, own))
            .collect()
    }

    /// No message is watched until it is met again.
    pub(super) fn unwatch(&mut self) {
        self.messages.clear();
        self.windows.clear();
        self.campaigns.clear();
    }

    pub(super) fn put_message(&mut self, id: MessageId, mut known: MessageEntry) {
        known.state.pack();
        self.drop_message(&id);
        if let Some(campaign) = &known.state.campaign {
            *self
                .campaigns
                .entry(Arc::from(campaign.as_str()))
                .or_default() += 1;
        }
        if let Some(end) = known.next.ends {
            self.windows.insert((end, id.clone()));
        }
        self.messages.insert(id, known);
    }

    pub(super) fn drop_message(&mut self, id: &MessageId) {
        let Some(old) = self.messages.remove(id) else {
            return;
        };
        if let Some(campaign) = &old.state.campaign
            && let Entry::Occupied(mut entry) = self.campaigns.entry(Arc::from(campaign.as_str()))
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
        if let Some(end) = old.next.ends {
            self.windows.remove(&(end, id.clone()));
        }
    }
}

fn shown(key: &CounterKey, own: &CounterState) -> CounterSample {
    CounterSample {
        key: key.clone(),
        amount: own.shown.clone(),
        born_at: Timestamp::from_millisecond(own.born_at).unwrap_or_default(),
    }
}

/// What a transaction changes, not yet true.
pub(super) struct StateTransaction<'i> {
    pub(super) image: &'i AccountState,
    pub(super) names: &'i Arc<LabelLimiter>,
    /// The channels that the account's vendor has.
    pub(super) channels: &'static [Channel],
    /// The ages that the account's cohorts have.
    pub(super) ages: &'i [Age],
    pub(super) now: i64,
    /// The hold of a counter that is born now.
    pub(super) hold: Hold,
    pub(super) changes: StateChanges,
    /// The stored states of the messages that were asked for.
    pub(super) states: HashMap<MessageId, MessageState>,
}

/// The changes of a draft.
#[derive(Default)]
pub(super) struct StateChanges {
    counters: HashMap<CounterKey, CounterState>,
    messages: BTreeMap<MessageId, MessageEntry>,
    /// Only in memory: their stored state did not change.
    refreshed: Vec<(MessageId, MessageEntry)>,
    pub(super) memories: HashMap<Digest, Vec<u8>>,
    births: Vec<(Arc<str>, String, i64)>,
    pub(super) cursors: Vec<(Arc<str>, String, i64)>,
    /// Names that the transaction stores; taken when its rows are made.
    new_names: Option<NewNames>,
    gone_counters: Vec<CounterKey>,
    gone_campaigns: BTreeSet<Arc<str>>,
    gone_messages: Vec<MessageId>,
    overflowed: HashSet<CounterKey>,
    /// Rows of the inbox that are in the counters now.
    pub(super) absorbed: Vec<i64>,
    pub(super) delta: LedgerDelta,
}

/// Whether an application cannot have been asked for the first time then: the clock was not set, or it
/// was more than a day ahead. As long as such a time stood, history would count, or news would not.
fn is_wrong_birth(at: i64, now: i64) -> bool {
    let plausible =
        |at: i64| Timestamp::from_millisecond(at).is_ok_and(delivery_clock::is_plausible);
    at.saturating_sub(now) > MAX_BIRTH_AHEAD || plausible(now) && !plausible(at)
}

/// A day, in milliseconds.
const MAX_BIRTH_AHEAD: i64 = 24 * 3600 * 1000;

impl StateTransaction<'_> {
    fn counter(&mut self, key: &CounterKey, like: &Amount) -> &mut CounterState {
        let (image, now, hold) = (self.image, self.now, self.hold);
        self.changes
            .counters
            .entry(key.clone())
            .or_insert_with(|| match image.counters.get(key) {
                Some(known) => known.clone(),
                None => CounterState {
                    total: like.zero(),
                    pending: like.zero(),
                    shown: like.zero(),
                    born_at: now,
                    changed_at: now,
                    hold,
                    stored: false,
                },
            })
    }

    /// Adds to a counter; one that is not there is born at zero.
    pub(super) fn add(&mut self, key: CounterKey, amount: &Amount) {
        if amount.is_zero()
            && (self.image.counters.contains_key(&key) || self.changes.counters.contains_key(&key))
        {
            return;
        }
        let now = self.now;
        let state = self.counter(&key, amount);
        if amount.is_zero() {
            return;
        }
        state.total.add(amount);
        state.pending.add(amount);
        state.changed_at = now;
        if state.hold == Hold::Open {
            state.shown.add(&state.pending);
            state.pending = state.pending.zero();
        }
    }

    /// The counter is shown by this replica: from 0 on, if it was not before.
    pub(super) fn init(&mut self, key: &CounterKey) {
        self.counter(key, &Amount::Count(0));
    }

    /// Releases what the counter has; from now on it is released as it is counted.
    pub(super) fn release(&mut self, key: &CounterKey) {
        let state = self.counter(key, &Amount::Count(0));
        state.hold = Hold::Open;
        state.shown.add(&state.pending);
        state.pending = state.pending.zero();
    }

    /// The data set of the application is asked for: from when on, if not before.
    pub(super) fn birth(&mut self, application: &Arc<str>, dataset: Dataset) -> Timestamp {
        let key = (application.clone(), dataset.as_str().to_owned());
        let stored = self.image.births.get(&key).copied();
        let at = match stored.filter(|at| !is_wrong_birth(*at, self.now)) {
            // It is no later than now, whatever the clock has said before.
            Some(at) => at.min(self.now),
            None => {
                let born = self
                    .changes
                    .births
                    .iter()
                    .any(|(own, set, _)| own == application && set == dataset.as_str());
                if !born {
                    self.changes.births.push((key.0, key.1, self.now));
                }
                self.now
            }
        };
        Timestamp::from_millisecond(at).unwrap_or_default()
    }

    /// The counters of a channel that every message on it can have.
    pub(super) fn zero_channel(&mut self, application: &Arc<str>, channel: &str) {
        let own: Arc<str> = Arc::from(channel);
        let declared = self.channels.iter().find(|own| own.name == channel);
        for field in declared.map_or(&[][..], |own| own.fields) {
            let key = CounterKey::measured(application, catalog::TOTAL, field.measure, &[&own]);
            self.add(key, &Amount::Count(0));
        }
        for age in self.ages.iter().copied() {
            for part in CohortPart::ALL {
                let key = CounterKey::at_age(application, catalog::COHORT, part, &[&own], age);
                self.add(key, &Amount::Count(0));
            }
        }
    }

    /// The counters of bounced addresses, all of them.
    pub(super) fn zero_bounced(&mut self, application: &Arc<str>) {
        let family = catalog::BOUNCED_ADDRESSES;
        let labels: Vec<Label> = family.counter_labels().copied().collect();
        let known = |label: &Label| match label.origin {
            Origin::Words(words) => words.iter().map(|word| Arc::from(*word)).collect(),
            _ => Vec::new(),
        };
        for values in combinations(&labels, known) {
            let values: Vec<&Arc<str>> = values.iter().collect();
            let key = CounterKey::new(application, family, &values);
            self.add(key, &Amount::Count(0));
        }
    }

    /// A message's state changed.
    pub(super) fn put_message(&mut self, id: MessageId, mut known: MessageEntry) {
        known.state.pack();
        self.changes.messages.insert(id, known);
    }

    /// What is known of a message that does not have to be stored.
    pub(super) fn refresh_message(&mut self, id: MessageId, known: MessageEntry) {
        self.changes.refreshed.push((id, known));
    }

    /// Forgets a message; no counter moves.
    pub(super) fn forget_message(&mut self, id: MessageId) {
        self.changes.gone_messages.push(id);
    }

    /// Forgets all counters of a campaign.
    pub(super) fn forget_campaign(&mut self, campaign: &Arc<str>) {
        let own = |key: &&CounterKey| key.campaign() == Some(campaign);
        let keys: Vec<_> = self.image.counters.keys().filter(own).cloned().collect();
        for key in &keys {
            self.changes.counters.remove(key);
        }
        self.changes.gone_counters.extend(keys);
        self.changes.gone_campaigns.insert(campaign.clone());
    }

    /// The same key with texts that keep to the limits.
    pub(super) fn bounded(&mut self, key: CounterKey) -> CounterKey {
        let mut overflowed = false;
        let names = self.names;
        let key = key.limited(&mut |label, text| {
            let name = names.name(label, text);
            overflowed |= name.as_ref() == OTHER && text.as_ref() != OTHER;
            name
        });
        if overflowed {
            self.changes.overflowed.insert(key.clone());
        }
        key
    }

    /// The rows of the transaction.
    pub(super) fn batch(&mut self) -> WriteSet {
        let new_names = self.changes.new_names.insert(self.names.take_new());
        let names = new_names.names().to_vec();
        let changes = &self.changes;
        let mut batch = WriteSet {
            births: changes.births.clone(),
            cursors: changes.cursors.clone(),
            names,
            now: self.now,
            ..WriteSet::default()
        };
        for (key, state) in &changes.counters {
            let text = key.to_text();
            let old = self.image.counters.get(key);
            if old.is_none_or(|old| old.total != state.total || old.pending != state.pending) {
                batch.counters.push(CounterRow {
                    key: text.clone(),
                    total: state.total.clone(),
                    pending: state.pending.clone(),
                    changed_at: state.changed_at,
                });
            }
            if !state.stored || old.is_none_or(|old| old.shown != state.shown) {
                batch.releases.push(ReleaseRow {
                    key: text,
                    shown: state.shown.clone(),
                    born_at: state.born_at,
                });
            }
        }
        for (id, known) in &changes.messages {
            let state = postcard::to_allocvec(&known.state).unwrap_or_default();
            batch.messages.push(MessageRow {
                id: id.clone(),
                state,
                since: known.state.since(),
            });
        }
        batch.memories = changes
            .memories
            .iter()
            .map(|(digest, memory)| (*digest, memory.clone()))
            .collect();
        batch.gone_counters = changes
            .gone_counters
            .iter()
            .map(CounterKey::to_text)
            .collect();
        let label: Arc<str> = Arc::from(CAMPAIGN.name);
        batch.gone_names = changes
            .gone_campaigns
            .iter()
            .map(|campaign| (label.clone(), campaign.clone()))
            .collect();
        batch.gone_messages = changes.gone_messages.clone();
        batch.absorbed = changes.absorbed.clone();
        batch
    }

    /// Takes in what replicas have counted that do not hold the account.
    pub(super) fn absorb(&mut self, inbox: Vec<(i64, String, Amount)>) {
        let mut texts = Texts::default();
        for (row, key, amount) in inbox {
            if let Some(key) = texts.counter(&key) {
                let key = self.bounded(key);
                self.add(key, &amount);
            }
            self.changes.absorbed.push(row);
        }
    }

    /// The rows of a transaction of a replica that does not hold the account: its holder will
    /// take them in.
    pub(super) fn batch_elsewhere(&self) -> WriteSet {
        let changes = &self.changes;
        WriteSet {
            memories: changes
                .memories
                .iter()
                .map(|(digest, memory)| (*digest, memory.clone()))
                .collect(),
            inbox: changes
                .counters
                .iter()
                .map(|(key, state)| (key.to_text(), state.total.clone()))
                .collect(),
            now: self.now,
            ..WriteSet::default()
        }
    }
}

impl StateChanges {
    /// Makes the changes true: the transaction is durable.
    pub(super) fn apply(self, image: &mut AccountState, names: &LabelLimiter) -> LedgerDelta {
        let mut delta = self.delta;
        if let Some(new_names) = self.new_names {
            new_names.stored();
        }
        for (key, mut state) in self.counters {
            state.stored = true;
            let old = image.counters.get(&key);
            let was = old.map_or(0, |old| old.pending.things());
            image.held = (image.held + state.pending.things()).saturating_sub(was);
            delta.born |= old.is_none();
            if old.is_none_or(|old| old.shown != state.shown) {
                delta.shown.push(shown(&key, &state));
            }
            image.counters.insert(key, state);
        }
        for key in self.gone_counters {
            if let Some(old) = image.counters.swap_remove(&key) {
                image.held = image.held.saturating_sub(old.pending.things());
            }
            delta.gone.push(key);
        }
        for campaign in &self.gone_campaigns {
            names.forget_campaign(campaign);
        }
        for (application, dataset, at) in self.births {
            image.births.insert((application, dataset), at);
        }
        for (application, dataset, at) in self.cursors {
            image.cursors.insert((application, dataset), at);
        }
        for (id, known) in self.messages.into_iter().chain(self.refreshed) {
            image.put_message(id, known);
        }
        for id in &self.gone_messages {
            image.drop_message(id);
        }
        image.schedule();
        delta.overflowed.extend(self.overflowed);
        delta.held = Some(image.held);
        delta
    }
}

/// A draft that takes what a snapshot of one application's message brings.
pub(super) struct MessageDraft<'d, 'i> {
    pub(super) draft: &'d mut StateTransaction<'i>,
    pub(super) application: Arc<str>,
}

impl MessageDraft<'_, '_> {
    fn add(&mut self, key: CounterKey, count: u64) {
        let key = self.draft.bounded(key);
        self.draft.add(key, &Amount::Count(count));
    }
}

impl CounterSink for MessageDraft<'_, '_> {
    fn total(&mut self, channel: &str, measure: Measure, by: u64) {
        let (families, channel) = (catalog::TOTAL, Arc::from(channel));
        let key = CounterKey::measured(&self.application, families, measure, &[&channel]);
        self.add(key, by);
    }

    fn campaign(&mut self, channel: &str, campaign: &Arc<str>, measure: Measure, by: u64) {
        let (families, labels) = (catalog::TOTAL_BY_CAMPAIGN, [&Arc::from(channel), campaign]);
        let key = CounterKey::measured(&self.application, families, measure, &labels);
        self.add(key, by);
    }

    fn row(&mut self, labels: [&Arc<str>; 3], measure: Measure, by: u64) {
        let families = catalog::TOTAL_BY_CHANNEL;
        let key = CounterKey::measured(&self.application, families, measure, &labels);
        self.add(key, by);
    }

    fn channel(&mut self, channel: &str) {
        let application = self.application.clone();
        self.draft.zero_channel(&application, channel);
    }

    fn decreases(&mut self, count: u64) {
        self.draft.changes.delta.decreases += count;
    }

    fn cohort(&mut self, taken: CohortSample<'_>) {
        let age = taken.age;
        for (channel, sent, delivered) in taken.channels {
            let channel: Arc<str> = Arc::from(channel);
            for (part, count) in parts(sent, delivered) {
                let (families, labels) = (catalog::COHORT, [&channel]);
                let key = CounterKey::at_age(&self.application, families, part, &labels, age);
                self.add(key, count);
            }
        }
        // Beyond the limit several places are one, and the message is one there.
        let mut places: BTreeMap<CounterKey, u64> = BTreeMap::new();
        for ((platform, vendor_channel), (sent, delivered)) in taken.rows {
            for (part, count) in parts(sent, delivered) {
                let (families, labels) = (catalog::COHORT_BY_CHANNEL, [&platform, &vendor_channel]);
                let key = CounterKey::at_age(&self.application, families, part, &labels, age);
                let key = self.draft.bounded(key);
                let sum = places.entry(key).or_default();
                *sum = match part {
                    CohortPart::Messages => 1,
                    _ => sum.saturating_add(count),
                };
            }
        }
        for (key, count) in places {
            self.draft.add(key, &Amount::Count(count));
        }
    }

    fn missed(&mut self, age: Option<Age>, reason: Missed) {
        self.draft.changes.delta.missed.push((age, reason));
    }
}

fn parts(sent: u64, delivered: u64) -> [(CohortPart, u64); 3] {
    [
        (CohortPart::Sent, sent),
        (CohortPart::Delivered, delivered),
        (CohortPart::Messages, 1),
    ]
}
