//! The changes of a transaction to an account's state: they are collected first, then written as rows, and applied to
//! the state once the rows are durable.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use indexmap::IndexMap;
use jiff::Timestamp;

use super::{AccountState, CounterState, Hold, MessageEntry, shown};
use crate::{
    catalog::{self, CohortPart, Label, Origin, combinations, label::CAMPAIGN},
    ledger::{
        LedgerDelta,
        amount::Amount,
        key::{CounterKey, Texts},
        message::MessageState,
        names::{LabelLimiter, NewNames, OTHER},
        store::{CounterRow, MessageId, MessageRow, ReleaseRow, WriteSet},
    },
    model::{Age, Channel, Dataset},
    providers::Digest,
};

/// The changes of a transaction, not yet applied.
pub(in crate::ledger) struct StateTransaction<'i> {
    pub(in crate::ledger) account_state: &'i AccountState,
    pub(in crate::ledger) names: &'i Arc<LabelLimiter>,
    /// The channels that the account's vendor has.
    pub(in crate::ledger) channels: &'static [Channel],
    /// The ages that the account's cohorts have.
    pub(in crate::ledger) ages: &'i [Age],
    pub(in crate::ledger) now: i64,
    /// The settled time, which dates changes: a forward jump of the clock takes effect only after a day.
    pub(in crate::ledger) settled: i64,
    /// The hold of a counter that is created now.
    pub(in crate::ledger) hold: Hold,
    pub(in crate::ledger) changes: StateChanges,
    /// The stored states of the messages in the read set.
    pub(in crate::ledger) states: HashMap<MessageId, MessageState>,
}

/// The changes of a transaction.
#[derive(Default)]
pub(in crate::ledger) struct StateChanges {
    counters: IndexMap<CounterKey, CounterState>,
    messages: BTreeMap<MessageId, MessageEntry>,
    /// Messages whose stored state did not change; updated only in memory.
    refreshed: Vec<(MessageId, MessageEntry)>,
    pub(in crate::ledger) memories: HashMap<Digest, Vec<u8>>,
    births: Vec<(Arc<str>, String, i64)>,
    pub(in crate::ledger) cursors: Vec<(Arc<str>, String, i64)>,
    /// Names that the transaction stores; taken when its rows are built.
    new_names: Option<NewNames>,
    gone_counters: Vec<CounterKey>,
    gone_campaigns: BTreeSet<Arc<str>>,
    gone_messages: Vec<MessageId>,
    overflowed: HashSet<CounterKey>,
    /// Rows of the inbox that were added to the counters.
    pub(in crate::ledger) absorbed: Vec<i64>,
    pub(in crate::ledger) delta: LedgerDelta,
}

/// Whether a time is impossible for the first query of an application, because the clock was unset or more
/// than a day ahead. With such a time, history would count, or new messages would not.
fn is_wrong_birth(at: i64, now: i64) -> bool {
    let plausible =
        |at: i64| Timestamp::from_millisecond(at).is_ok_and(delivery_clock::is_plausible);
    at.saturating_sub(now) > MAX_BIRTH_AHEAD || plausible(now) && !plausible(at)
}

/// A day, in milliseconds.
const MAX_BIRTH_AHEAD: i64 = 24 * 3600 * 1000;

impl StateTransaction<'_> {
    fn counter(&mut self, key: &CounterKey, like: &Amount) -> &mut CounterState {
        let (account_state, now, hold) = (self.account_state, self.now, self.hold);
        let settled = self.settled;
        self.changes.counters.entry(key.clone()).or_insert_with(|| {
            match account_state.counters.get(key) {
                Some(known) => known.clone(),
                None => CounterState {
                    total: like.zero(),
                    pending: like.zero(),
                    shown: like.zero(),
                    born_at: now,
                    changed_at: settled,
                    hold,
                    stored: false,
                },
            }
        })
    }

    /// Adds to a counter; one that does not exist is created at zero.
    pub(in crate::ledger) fn add(&mut self, key: CounterKey, amount: &Amount) {
        if amount.is_zero()
            && (self.account_state.counters.contains_key(&key)
                || self.changes.counters.contains_key(&key))
        {
            return;
        }
        let settled = self.settled;
        let state = self.counter(&key, amount);
        if amount.is_zero() {
            return;
        }
        state.total.add(amount);
        state.pending.add(amount);
        state.changed_at = settled;
        if state.hold == Hold::Open {
            state.shown.add(&state.pending);
            state.pending = state.pending.zero();
        }
    }

    /// Exposes the counter on this replica, starting at 0 if it was not exposed before.
    pub(in crate::ledger) fn init(&mut self, key: &CounterKey) {
        self.counter(key, &Amount::Count(0));
    }

    /// Releases the counter; from now on, increments are released when they are counted.
    pub(in crate::ledger) fn release(&mut self, key: &CounterKey) {
        let state = self.counter(key, &Amount::Count(0));
        state.hold = Hold::Open;
        state.shown.add(&state.pending);
        state.pending = state.pending.zero();
    }

    /// Records the first query of the application's data set, if there was none before, and returns its time.
    pub(in crate::ledger) fn birth(
        &mut self,
        application: &Arc<str>,
        dataset: Dataset,
    ) -> Timestamp {
        let key = (application.clone(), dataset.as_str().to_owned());
        let stored = self.account_state.births.get(&key).copied();
        let at = match stored.filter(|at| !is_wrong_birth(*at, self.now)) {
            // Not later than now, even if the clock was ahead earlier.
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

    /// Creates the counters that every message on a channel can have.
    pub(in crate::ledger) fn zero_channel(&mut self, application: &Arc<str>, channel: &str) {
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

    /// Creates all counters of bounced addresses.
    pub(in crate::ledger) fn zero_bounced(&mut self, application: &Arc<str>) {
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

    /// Stores a changed state of a message.
    pub(in crate::ledger) fn put_message(&mut self, id: MessageId, mut known: MessageEntry) {
        known.state.pack();
        self.changes.messages.insert(id, known);
    }

    /// Updates the data of a message in memory, without storing it.
    pub(in crate::ledger) fn refresh_message(&mut self, id: MessageId, known: MessageEntry) {
        self.changes.refreshed.push((id, known));
    }

    /// Drops a message; counters do not change.
    pub(in crate::ledger) fn forget_message(&mut self, id: MessageId) {
        self.changes.gone_messages.push(id);
    }

    /// Drops all counters of a campaign.
    pub(in crate::ledger) fn forget_campaign(&mut self, campaign: &Arc<str>) {
        let own = |key: &&CounterKey| key.campaign() == Some(campaign);
        let keys: Vec<_> = self
            .account_state
            .counters
            .keys()
            .filter(own)
            .cloned()
            .collect();
        for key in &keys {
            self.changes.counters.swap_remove(key);
        }
        self.changes.gone_counters.extend(keys);
        self.changes.gone_campaigns.insert(campaign.clone());
    }

    /// The same key with its texts within the limits.
    pub(in crate::ledger) fn bounded(&mut self, key: CounterKey) -> CounterKey {
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
    pub(in crate::ledger) fn write_set(&mut self) -> WriteSet {
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
            let old = self.account_state.counters.get(key);
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

    /// Adds what replicas have counted that do not hold the account.
    pub(in crate::ledger) fn absorb(&mut self, inbox: Vec<(i64, String, Amount)>) {
        let mut texts = Texts::default();
        for (row, key, amount) in inbox {
            if let Some(key) = texts.counter(&key) {
                let key = self.bounded(key);
                self.add(key, &amount);
            }
            self.changes.absorbed.push(row);
        }
    }

    /// The rows of a transaction of a replica that does not hold the account. The holder will add them to its
    /// counters.
    pub(in crate::ledger) fn batch_elsewhere(&self) -> WriteSet {
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
    /// Applies the changes after the transaction has become durable.
    pub(in crate::ledger) fn apply(
        self,
        account_state: &mut AccountState,
        names: &LabelLimiter,
    ) -> LedgerDelta {
        let mut delta = self.delta;
        if let Some(new_names) = self.new_names {
            new_names.stored();
        }
        // The counters of a campaign are created together, and share their labels.
        let mut labels: Arc<[Arc<str>]> = Arc::default();
        for (mut key, mut state) in self.counters {
            state.stored = true;
            let old = account_state.counters.get(&key);
            if old.is_none() {
                if key.labels != labels {
                    labels = key.labels;
                }
                key.labels = labels.clone();
            }
            let was = old.map_or(0, |old| old.pending.things());
            account_state.held = (account_state.held + state.pending.things()).saturating_sub(was);
            delta.born |= old.is_none();
            if old.is_none_or(|old| old.shown != state.shown) {
                delta.shown.push(shown(&key, &state));
            }
            account_state.counters.insert(key, state);
        }
        for key in self.gone_counters {
            if let Some(old) = account_state.counters.swap_remove(&key) {
                account_state.held = account_state.held.saturating_sub(old.pending.things());
            }
            delta.gone.push(key);
        }
        for campaign in &self.gone_campaigns {
            names.forget_campaign(campaign);
        }
        for (application, dataset, at) in self.births {
            account_state.births.insert((application, dataset), at);
        }
        for (application, dataset, at) in self.cursors {
            account_state.cursors.insert((application, dataset), at);
        }
        for (id, known) in self.messages.into_iter().chain(self.refreshed) {
            account_state.put_message(id, known);
        }
        for id in &self.gone_messages {
            account_state.drop_message(id);
        }
        account_state.schedule();
        delta.overflowed.extend(self.overflowed);
        delta.held = Some(account_state.held);
        delta
    }
}
