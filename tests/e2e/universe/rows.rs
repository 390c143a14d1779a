//! The rows of the universe's store, and how a transaction changes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use delivery_clock::Moment;
use delivery_exporter::{
    ledger::{
        Amount,
        store::{MessageId, ReadSet, RegisteredRow, WriteSet},
    },
    providers::Digest,
};

use super::sabotage::Sabotage;

/// A birth before 2020 is of a clock that was not set.
const EARLIEST_BIRTH: i64 = 1_577_836_800_000;

pub(super) type Key = (Arc<str>, String);

/// What is remembered, and since when.
type Remembered = (Vec<u8>, i64);

#[derive(Clone)]
pub(super) struct Lease {
    pub(super) process: u64,
    pub(super) epoch: i64,
    pub(super) expires_at: Moment,
}

pub(super) struct Process {
    pub(super) replica: Arc<str>,
    pub(super) seen_at: Moment,
    /// It has not said that it ends.
    pub(super) lives: bool,
}

#[derive(Clone)]
pub(super) struct Counter {
    pub(super) total: Amount,
    pub(super) pending: Amount,
    pub(super) changed_at: i64,
}

/// What is stored of one account.
#[derive(Clone, Default)]
pub(super) struct Table {
    pub(super) births: BTreeMap<Key, i64>,
    pub(super) cursors: BTreeMap<Key, i64>,
    pub(super) names: BTreeSet<(Arc<str>, Arc<str>)>,
    pub(super) counters: BTreeMap<String, Counter>,
    /// By replica and counter: what is shown, and since when it counts.
    pub(super) releases: BTreeMap<(Arc<str>, String), (Amount, i64)>,
    pub(super) messages: BTreeMap<MessageId, (Vec<u8>, i64)>,
    pub(super) inbox: BTreeMap<i64, (String, Amount)>,
}

/// A state that a power cut brings back.
pub(super) struct Unsynced {
    pub(super) account: Arc<str>,
    pub(super) table: Table,
    pub(super) memories: Vec<(Digest, Option<Remembered>)>,
}

#[derive(Default)]
pub(super) struct Rows {
    pub(super) tables: BTreeMap<Arc<str>, Table>,
    pub(super) epochs: BTreeMap<Arc<str>, i64>,
    pub(super) leases: BTreeMap<Arc<str>, Lease>,
    pub(super) processes: BTreeMap<u64, Process>,
    pub(super) memories: BTreeMap<Digest, Remembered>,
    pub(super) registered: Vec<RegisteredRow>,
    pub(super) sequence: i64,
    pub(super) last_inbox: i64,
    pub(super) last_process: u64,
    /// With [`Sabotage::LostCommit`]: what each process has committed last, undone.
    pub(super) unsynced: BTreeMap<u64, Unsynced>,
}

/// Writes everything that a transaction changes.
pub(super) fn apply(rows: &mut Rows, ask: &ReadSet, batch: WriteSet, sabotage: Sabotage) {
    let table = rows.tables.entry(ask.account.clone()).or_default();
    for (application, dataset, at) in batch.births {
        let known = table.births.entry((application, dataset)).or_insert(at);
        if *known > at || *known < EARLIEST_BIRTH {
            *known = at;
        }
    }
    for (application, dataset, at) in batch.cursors {
        table.cursors.insert((application, dataset), at);
    }
    table.names.extend(batch.names);
    for row in batch.counters {
        let mut pending = row.pending;
        if sabotage == Sabotage::DoubleRelease
            && pending.is_zero()
            && let Some(before) = table.counters.get(&row.key)
        {
            pending = before.pending.clone();
        }
        let counter = Counter {
            total: row.total,
            pending,
            changed_at: row.changed_at,
        };
        table.counters.insert(row.key, counter);
    }
    for row in batch.releases {
        let key = (ask.replica.clone(), row.key);
        let born_at = table.releases.get(&key).map_or(row.born_at, |own| own.1);
        table.releases.insert(key, (row.shown, born_at));
    }
    for row in batch.messages {
        table.messages.insert(row.id, (row.state, row.since));
    }
    for key in batch.gone_counters {
        table.counters.remove(&key);
        table.releases.retain(|(_, own), _| *own != key);
    }
    for name in &batch.gone_names {
        table.names.remove(name);
    }
    for id in &batch.gone_messages {
        table.messages.remove(id);
    }
    if sabotage != Sabotage::ForgottenInbox {
        for (key, amount) in batch.inbox {
            rows.last_inbox += 1;
            table.inbox.insert(rows.last_inbox, (key, amount));
        }
    }
    for id in &batch.absorbed {
        table.inbox.remove(id);
    }
    for (digest, memory) in batch.memories {
        rows.memories.insert(digest, (memory, batch.now));
    }
    register(rows, batch.registered);
}

/// What is registered for the first time gets a number; so does what gets a campaign later.
pub(super) fn register(rows: &mut Rows, registered: Vec<RegisteredRow>) {
    for mut row in registered {
        let known = rows
            .registered
            .iter_mut()
            .find(|own| own.account == row.account && own.id == row.id);
        match known {
            Some(known) if known.campaign.is_none() && row.campaign.is_some() => {
                rows.sequence += 1;
                known.sequence = rows.sequence;
                known.campaign = row.campaign;
            }
            Some(_) => {}
            None => {
                rows.sequence += 1;
                row.sequence = rows.sequence;
                rows.registered.push(row);
            }
        }
    }
}
