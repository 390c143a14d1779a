//! An account's counters and watched messages as this process knows them.

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
    pub(super) fn shown(&self) -> Vec<ShownCounter> {
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

fn shown(key: &CounterKey, own: &CounterState) -> ShownCounter {
    ShownCounter {
        key: key.clone(),
        amount: own.shown.clone(),
        born_at: Timestamp::from_millisecond(own.born_at).unwrap_or_default(),
    }
}
