//! An account's counters as this process knows them, and the draft of what a transaction changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use delivery_clock::Moment;
use jiff::Timestamp;

use super::{
    Missed, News, Shown,
    amount::Amount,
    cohort::NextAges,
    key::{CohortPart, Counter, CounterKey},
    message::{Lower, MessageState},
    names::{Names, OTHER},
    sink::{CohortSample, CounterSink},
    store::{AccountRows, Batch, CounterRow, MessageId, MessageRow, ReleaseRow},
};
use crate::{
    model::{Age, BOUNCED_KINDS, BOUNCED_REASONS, Channel, Dataset, Measure},
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
pub(super) struct Known {
    pub(super) state: MessageState,
    pub(super) lower: Lower,
    /// Of the last snapshot: an equal one changes nothing.
    pub(super) hash: u64,
    pub(super) next: NextAges,
}

/// What this process knows of an account that it holds.
#[derive(Default)]
pub(super) struct Image {
    pub(super) counters: HashMap<CounterKey, CounterState>,
    pub(super) births: HashMap<(Arc<str>, String), i64>,
    /// Until when data sets were read, by application and data set.
    pub(super) cursors: HashMap<(Arc<str>, String), i64>,
    pub(super) messages: HashMap<MessageId, Known>,
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

impl Image {
    /// Takes what the store has. Counters that are here already keep their holds; others get
    /// `hold`. Unreadable rows are an error of the store.
    pub(super) fn load(
        &mut self,
        rows: AccountRows,
        hold: impl Fn(bool) -> Hold,
        now: i64,
    ) -> Result<(), String> {
        let releases: HashMap<String, ReleaseRow> = rows
            .releases
            .into_iter()
            .map(|row| (row.key.clone(), row))
            .collect();
        let mut counters = HashMap::with_capacity(rows.counters.len());
        for row in rows.counters {
            let Some(key) = CounterKey::parse(&row.key) else {
                return Err(format!("the counter {:?} is of no known kind", row.key));
            };
            let known = self.counters.get(&key).map(|known| known.hold);
            let release = releases.get(&row.key);
            let state = CounterState {
                shown: release.map_or_else(|| row.total.zero(), |own| own.shown.clone()),
                born_at: release.map_or(now, |own| own.born_at),
                hold: known.unwrap_or_else(|| hold(release.is_some())),
                total: row.total,
                pending: row.pending,
                changed_at: row.changed_at,
                stored: release.is_some(),
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
    pub(super) fn shown(&self) -> Vec<Shown> {
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

    pub(super) fn put_message(&mut self, id: MessageId, known: Known) {
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

fn shown(key: &CounterKey, own: &CounterState) -> Shown {
    Shown {
        key: key.clone(),
        amount: own.shown.clone(),
        born_at: Timestamp::from_millisecond(own.born_at).unwrap_or_default(),
    }
}

/// What a transaction changes, not yet true.
pub(super) struct Draft<'i> {
    pub(super) image: &'i Image,
    pub(super) names: &'i Names,
    /// The channels that the account's vendor has.
    pub(super) channels: &'static [Channel],
    /// The ages that the account's cohorts have.
    pub(super) ages: &'i [Age],
    pub(super) now: i64,
    /// The hold of a counter that is born now.
    pub(super) hold: Hold,
    pub(super) changes: Changes,
    /// The stored states of the messages that were asked for.
    pub(super) states: HashMap<MessageId, MessageState>,
}

/// The changes of a draft.
#[derive(Default)]
pub(super) struct Changes {
    counters: HashMap<CounterKey, CounterState>,
    messages: BTreeMap<MessageId, Known>,
    /// Only in memory: their stored state did not change.
    refreshed: Vec<(MessageId, Known)>,
    pub(super) memories: HashMap<Digest, Vec<u8>>,
    births: Vec<(Arc<str>, String, i64)>,
    pub(super) cursors: Vec<(Arc<str>, String, i64)>,
    pub(super) new_names: Vec<(Arc<str>, Arc<str>)>,
    gone_counters: Vec<CounterKey>,
    gone_campaigns: BTreeSet<Arc<str>>,
    gone_messages: Vec<MessageId>,
    folded: HashSet<CounterKey>,
    /// Rows of the inbox that are in the counters now.
    pub(super) absorbed: Vec<i64>,
    pub(super) news: News,
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

impl Draft<'_> {
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
    pub(super) fn bear(&mut self, key: &CounterKey) {
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
            self.add(
                CounterKey {
                    application: application.clone(),
                    counter: Counter::Total {
                        channel: own.clone(),
                        measure: field.measure,
                    },
                },
                &Amount::Count(0),
            );
        }
        for age in self.ages.iter().copied() {
            for part in CohortPart::ALL {
                let channel = own.clone();
                self.add(
                    CounterKey {
                        application: application.clone(),
                        counter: Counter::Cohort { channel, age, part },
                    },
                    &Amount::Count(0),
                );
            }
        }
    }

    /// The counters of bounced addresses, all of them.
    pub(super) fn zero_bounced(&mut self, application: &Arc<str>) {
        for kind in BOUNCED_KINDS {
            for reason in BOUNCED_REASONS {
                let key = CounterKey {
                    application: application.clone(),
                    counter: Counter::BouncedAddress {
                        kind: Arc::from(kind),
                        reason: Arc::from(reason),
                    },
                };
                self.add(key, &Amount::Count(0));
            }
        }
    }

    /// A message's state changed.
    pub(super) fn put_message(&mut self, id: MessageId, known: Known) {
        self.changes.messages.insert(id, known);
    }

    /// What is known of a message that does not have to be stored.
    pub(super) fn refresh_message(&mut self, id: MessageId, known: Known) {
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

    fn name(&self, label: &str, text: &Arc<str>, folded: &mut bool) -> Arc<str> {
        let name = self.names.name(label, text);
        *folded |= name.as_ref() == OTHER && text.as_ref() != OTHER;
        name
    }

    /// A key whose texts keep to the limits.
    pub(super) fn bounded(&mut self, application: &Arc<str>, counter: Counter) -> CounterKey {
        let mut folded = false;
        let mut counter = counter;
        counter.bound(&mut |label, text| *text = self.name(label, text, &mut folded));
        let key = CounterKey {
            application: application.clone(),
            counter,
        };
        if folded {
            self.changes.folded.insert(key.clone());
        }
        key
    }

    /// The rows of the transaction.
    pub(super) fn batch(&mut self) -> Batch {
        self.changes.new_names = self.names.take_new();
        let changes = &self.changes;
        let mut batch = Batch {
            births: changes.births.clone(),
            cursors: changes.cursors.clone(),
            names: changes.new_names.clone(),
            now: self.now,
            ..Batch::default()
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
        let label: Arc<str> = Arc::from("campaign");
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
        for (row, key, amount) in inbox {
            if let Some(key) = CounterKey::parse(&key) {
                let key = self.bounded(&key.application, key.counter);
                self.add(key, &amount);
            }
            self.changes.absorbed.push(row);
        }
    }

    /// The rows of a transaction of a replica that does not hold the account: its holder will
    /// take them in.
    pub(super) fn batch_elsewhere(&self) -> Batch {
        let changes = &self.changes;
        Batch {
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
            ..Batch::default()
        }
    }
}

impl Changes {
    /// Makes the changes true: the transaction is durable.
    pub(super) fn apply(self, image: &mut Image, names: &Names) -> News {
        let mut news = self.news;
        for (key, mut state) in self.counters {
            state.stored = true;
            let old = image.counters.get(&key);
            let was = old.map_or(0, |old| old.pending.things());
            image.held = (image.held + state.pending.things()).saturating_sub(was);
            news.born |= old.is_none();
            if old.is_none_or(|old| old.shown != state.shown) {
                news.shown.push(shown(&key, &state));
            }
            image.counters.insert(key, state);
        }
        for key in self.gone_counters {
            if let Some(old) = image.counters.remove(&key) {
                image.held = image.held.saturating_sub(old.pending.things());
            }
            news.gone.push(key);
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
        news.folded.extend(self.folded);
        news.held = Some(image.held);
        news
    }
}

/// A draft that takes what a snapshot of one application's message brings.
pub(super) struct MessageDraft<'d, 'i> {
    pub(super) draft: &'d mut Draft<'i>,
    pub(super) application: Arc<str>,
}

impl MessageDraft<'_, '_> {
    fn add(&mut self, counter: Counter, count: u64) {
        let key = self.draft.bounded(&self.application, counter);
        self.draft.add(key, &Amount::Count(count));
    }
}

impl CounterSink for MessageDraft<'_, '_> {
    fn total(&mut self, channel: &str, measure: Measure, by: u64) {
        let channel = Arc::from(channel);
        self.add(Counter::Total { channel, measure }, by);
    }

    fn campaign(&mut self, channel: &str, campaign: &Arc<str>, measure: Measure, by: u64) {
        let (channel, campaign) = (Arc::from(channel), campaign.clone());
        self.add(
            Counter::Campaign {
                channel,
                campaign,
                measure,
            },
            by,
        );
    }

    fn row(
        &mut self,
        [message_type, platform, vendor_channel]: [&Arc<str>; 3],
        measure: Measure,
        by: u64,
    ) {
        self.add(
            Counter::Channel {
                message_type: message_type.clone(),
                platform: platform.clone(),
                vendor_channel: vendor_channel.clone(),
                measure,
            },
            by,
        );
    }

    fn channel(&mut self, channel: &str) {
        let application = self.application.clone();
        self.draft.zero_channel(&application, channel);
    }

    fn decreases(&mut self, count: u64) {
        self.draft.changes.news.decreases += count;
    }

    fn cohort(&mut self, taken: CohortSample<'_>) {
        let age = taken.age;
        for (channel, sent, delivered) in taken.channels {
            let channel: Arc<str> = Arc::from(channel);
            for (part, count) in parts(sent, delivered) {
                let channel = channel.clone();
                self.add(Counter::Cohort { channel, age, part }, count);
            }
        }
        // Beyond the limit several places are one, and the message is one there.
        let mut places: BTreeMap<CounterKey, u64> = BTreeMap::new();
        for ((platform, vendor_channel), (sent, delivered)) in taken.rows {
            for (part, count) in parts(sent, delivered) {
                let counter = Counter::CohortChannel {
                    platform: platform.clone(),
                    vendor_channel: vendor_channel.clone(),
                    age,
                    part,
                };
                let key = self.draft.bounded(&self.application, counter);
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
        self.draft.changes.news.missed.push((age, reason));
    }
}

fn parts(sent: u64, delivered: u64) -> [(CohortPart, u64); 3] {
    [
        (CohortPart::Sent, sent),
        (CohortPart::Delivered, delivered),
        (CohortPart::Messages, 1),
    ]
}
