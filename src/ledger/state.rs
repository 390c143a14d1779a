//! An account's counters and tracked messages in memory.

mod message_counters;
#[cfg(test)]
mod tests;
mod transaction;

pub(super) use message_counters::MessageCounters;
pub(super) use transaction::{StateChanges, StateTransaction};

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use delivery_clock::Moment;
use indexmap::IndexMap;
use jiff::Timestamp;

use super::{
    ShownCounter,
    amount::Amount,
    cohort::NextAges,
    key::{CounterKey, Texts},
    message::{Decreases, MessageState},
    store::{AccountRows, MessageId},
};

/// How long a counter is held before its increments are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Until this moment.
    Until(Moment),
    /// As long as this process lives: `collect` prints new counters as 0.
    Process,
    /// Not held: increments are released when they are counted.
    Open,
}

/// One counter.
#[derive(Clone, Debug)]
pub(super) struct CounterState {
    /// All that was counted, over all replicas.
    pub(super) total: Amount,
    /// The part that no replica has released.
    pub(super) pending: Amount,
    /// The value that this replica exposes.
    pub(super) shown: Amount,
    pub(super) born_at: i64,
    pub(super) changed_at: i64,
    pub(super) hold: Hold,
    /// Whether the store has recorded that this replica exposes it.
    pub(super) stored: bool,
}

/// A tracked message.
#[derive(Clone, Debug, Default)]
pub(super) struct MessageEntry {
    pub(super) state: MessageState,
    pub(super) lower: Decreases,
    /// The hash of the last snapshot; an equal one changes nothing.
    pub(super) hash: u64,
    pub(super) next: NextAges,
}

/// The state of an account that this process holds.
#[derive(Default)]
pub(super) struct AccountState {
    /// In the order of the store until one is dropped, so that sorting all of them is fast.
    pub(super) counters: IndexMap<CounterKey, CounterState>,
    pub(super) births: HashMap<(Arc<str>, String), i64>,
    /// The times up to which data sets were read, by application and data set.
    pub(super) cursors: HashMap<(Arc<str>, String), i64>,
    pub(super) messages: HashMap<MessageId, MessageEntry>,
    /// Messages ordered by the end of their next window.
    pub(super) windows: BTreeSet<(i64, MessageId)>,
    /// The number of tracked messages of each campaign.
    pub(super) campaigns: HashMap<Arc<str>, usize>,
    /// The number of things that are counted but not released.
    pub(super) held: u64,
    /// When the next hold ends.
    pub(super) next_release: Option<Moment>,
    /// Counters that the store no longer contained and whose removal has not been reported yet.
    pub(super) gone: Vec<CounterKey>,
    /// When the account was taken over; messages are loaded after that.
    pub(super) opened: Option<Moment>,
    /// Whether the outcome of the last transaction is unknown.
    pub(super) stale: bool,
    /// The epoch of the lease under which it was read.
    pub(super) fence: Option<i64>,
}

impl AccountState {
    /// Loads the rows of the store. Counters that already exist keep their holds; others get `hold`.
    /// Unreadable rows are an error of the store.
    pub(super) fn load(
        &mut self,
        mut rows: AccountRows,
        hold: impl Fn(bool) -> Hold,
        now: i64,
    ) -> Result<(), String> {
        let mut releases = std::mem::take(&mut rows.releases);
        // The rows are mostly sorted already, and then sorting is cheap.
        rows.counters
            .sort_unstable_by(|left, right| left.key.cmp(&right.key));
        releases.sort_unstable_by(|left, right| left.key.cmp(&right.key));
        let mut releases = releases.into_iter().peekable();
        let mut texts = Texts::default();
        let mut counters = IndexMap::with_capacity(rows.counters.len());
        for row in rows.counters {
            let Some(key) = texts.counter(&row.key) else {
                return Err(format!("the counter {:?} is of an unknown kind", row.key));
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

    /// The exposed values of all counters.
    pub(super) fn shown(&self) -> Vec<ShownCounter> {
        self.counters
            .iter()
            .map(|(key, own)| shown(key, own))
            .collect()
    }

    /// Stops tracking all messages until they are loaded again.
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

fn shown(key: &CounterKey, own: &CounterState) -> ShownCounter {
    ShownCounter {
        key: key.clone(),
        amount: own.shown.clone(),
        born_at: Timestamp::from_millisecond(own.born_at).unwrap_or_default(),
    }
}
