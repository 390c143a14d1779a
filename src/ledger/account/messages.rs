//! The messages of an account: their stored state, and counting their snapshots.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};

use jiff::Timestamp;

use super::{AccountLedger, MessageObservation, StoredMessage};
use crate::{
    ledger::{
        LedgerDelta,
        cohort::Windows,
        message::{Adoption, MessageState},
        state::{MessageCounters, MessageEntry, StateTransaction},
        store::{MessageId, ReadSet, StoreError},
    },
    model::{Application, Dataset, Message, Snapshot},
    providers::{Digest, digest::digest},
};

impl AccountLedger {
    /// Loads the stored data of messages from a source. New messages are stored, so that the time at which
    /// they were first seen survives a restart.
    ///
    /// # Errors
    ///
    /// The store failed; the messages can still be queried.
    pub async fn load_messages(
        &self,
        messages: Vec<(Message, Timestamp)>,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let policy = self.policy();
        let now = self.clock.now();
        let ids: Vec<MessageId> = messages
            .iter()
            .map(|(message, _)| (message.application.clone(), message.id.clone()))
            .collect();
        let asked = ids.clone();
        let changed = self.change(
            move |_| ReadSet {
                messages: asked,
                ..ReadSet::default()
            },
            move |transaction, _| {
                let mut met = Vec::with_capacity(messages.len());
                for ((message, first_seen), id) in messages.iter().zip(ids) {
                    let known = transaction.account_state.messages.get(&id).cloned();
                    let row = transaction.states.get(&id).cloned();
                    let (mut known, stored) = match (known, row) {
                        (Some(known), _) => (known, true),
                        (None, Some(state)) => (
                            MessageEntry {
                                state,
                                ..MessageEntry::default()
                            },
                            true,
                        ),
                        (None, None) => {
                            let state = MessageState::new(message, *first_seen);
                            (
                                MessageEntry {
                                    state,
                                    ..MessageEntry::default()
                                },
                                false,
                            )
                        }
                    };
                    let unsent = known.state.sent_at.is_none();
                    let dated = known.state.date_anew(*first_seen);
                    known.state.learn_sent_at(message.sent_at, now);
                    known.next = known.state.next_ages(now, &policy.windows);
                    met.push(told_of(&known));
                    if stored && !dated && !(unsent && known.state.sent_at.is_some()) {
                        transaction.refresh_message(id, known);
                    } else {
                        transaction.put_message(id, known);
                    }
                }
                met
            },
        );
        changed.await.map(|(_, met)| met)
    }

    /// Counts the snapshots of the vendor's answers, and returns the updated data of each message.
    ///
    /// # Errors
    ///
    /// The store failed and nothing was counted; the next answer contains the same counts again.
    pub async fn snapshots(
        &self,
        application: &Application,
        dataset: Dataset,
        seen: Vec<MessageObservation>,
    ) -> Result<(LedgerDelta, Vec<StoredMessage>), StoreError> {
        let policy = self.policy();
        let now = self.clock.now();
        let application = application.id.clone();
        let ids: Vec<MessageId> = seen
            .iter()
            .map(|own| (application.clone(), own.message.id.clone()))
            .collect();
        let of = ids.clone();
        self.change(
            move |account_state| ReadSet {
                messages: of
                    .into_iter()
                    .filter(|id| !account_state.messages.contains_key(id))
                    .collect(),
                ..ReadSet::default()
            },
            move |transaction, _| {
                let birth = transaction.birth(&application, dataset);
                let adoption = Adoption {
                    birth,
                    age: policy.adopt_age,
                };
                let mut met = Vec::with_capacity(seen.len());
                // A vendor can list a message twice in one answer.
                let mut taken: HashMap<MessageId, MessageEntry> = HashMap::new();
                for (own, id) in seen.iter().zip(&ids) {
                    let mut known =
                        match (taken.remove(id), transaction.account_state.messages.get(id)) {
                            (Some(known), _) => known,
                            (None, Some(known)) => {
                                if unchanged(known, own, &policy.windows) {
                                    met.push(told_of(known));
                                    continue;
                                }
                                known.clone()
                            }
                            (None, None) => {
                                let stored = transaction.states.get(id).cloned();
                                let state = stored.unwrap_or_else(|| {
                                    MessageState::new(&own.message, own.first_seen)
                                });
                                MessageEntry {
                                    state,
                                    ..MessageEntry::default()
                                }
                            }
                        };
                    match &own.snapshot {
                        Some(snapshot) => {
                            known.hash = hash(snapshot);
                            let mut effects = MessageCounters {
                                transaction,
                                application: application.clone(),
                            };
                            known.state.count_snapshot(
                                &own.message,
                                snapshot,
                                adoption,
                                &policy.windows,
                                &mut known.lower,
                                &mut effects,
                            );
                        }
                        None => {
                            known.state.learn_sent_at(own.message.sent_at, own.asked_at);
                            known.state.answered(own.asked_at, &policy.windows);
                        }
                    }
                    known.next = known.state.next_ages(now, &policy.windows);
                    met.push(told_of(&known));
                    taken.insert(id.clone(), known);
                }
                for (id, mut known) in taken {
                    known.state.pack();
                    let same = transaction
                        .account_state
                        .messages
                        .get(&id)
                        .is_some_and(|old| old.state == known.state);
                    if same {
                        transaction.refresh_message(id, known);
                    } else {
                        transaction.put_message(id, known);
                    }
                }
                met
            },
        )
        .await
    }

    /// Renames messages for which the vendor uses another id than the one under which they may have been
    /// counted (for example first a number, then a code). The state of the first id continues under the
    /// second, so that nothing is counted twice. If both ids have a state, the higher of each value is kept,
    /// and an age that was counted under either id counts as counted. The mapping is stored
    /// ([`AccountLedger::names_of`]). Must be called before the first snapshot under the second id is
    /// counted; a repeated call changes nothing.
    ///
    /// # Errors
    ///
    /// The store failed and nothing changed. No snapshot under a second id may be counted before this call
    /// succeeds.
    pub async fn rename_messages(
        &self,
        application: &Application,
        renames: Vec<(Arc<str>, Arc<str>)>,
    ) -> Result<LedgerDelta, StoreError> {
        let policy = self.policy();
        let now = self.clock.now();
        let application = application.id.clone();
        let renames: Vec<[MessageId; 2]> = renames
            .into_iter()
            .filter(|(from, to)| from != to)
            .map(|(from, to)| [(application.clone(), from), (application.clone(), to)])
            .collect();
        let asked = renames.concat();
        let digests: Vec<Digest> = renames
            .iter()
            .map(|[from, _]| self.name_digest(from))
            .collect();
        let names = digests.clone();
        let renamed = self.change(
            move |account_state| ReadSet {
                messages: asked
                    .into_iter()
                    .filter(|id| !account_state.messages.contains_key(id))
                    .collect(),
                digests: names,
                ..ReadSet::default()
            },
            move |transaction, told| {
                for ([_, to], digest) in renames.iter().zip(digests) {
                    let name = to.1.as_bytes();
                    if told.memories.get(&digest).is_none_or(|known| known != name) {
                        transaction.changes.memories.insert(digest, name.to_vec());
                    }
                }
                // What this transaction has already changed.
                let mut changed: HashMap<MessageId, Option<MessageEntry>> = HashMap::new();
                for [from, to] in renames {
                    let known = |transaction: &StateTransaction<'_>, id: &MessageId| match changed
                        .get(id)
                    {
                        Some(known) => known.clone(),
                        None => known_of(transaction, id),
                    };
                    let Some(mut merged) = known(transaction, &from) else {
                        continue;
                    };
                    let target = known(transaction, &to);
                    if let Some(target) = target {
                        let mut effects = MessageCounters {
                            transaction,
                            application: application.clone(),
                        };
                        let mut state = target.state;
                        state.merge(&merged.state, &mut effects);
                        merged.state = state;
                        let mut lower = target.lower;
                        for (place, value) in std::mem::take(&mut merged.lower) {
                            if !lower.iter().any(|(own, _)| *own == place) {
                                lower.push((place, value));
                            }
                        }
                        merged.lower = lower;
                    }
                    // Forces a comparison of the next snapshot with the merged counts.
                    merged.hash = 0;
                    merged.next = merged.state.next_ages(now, &policy.windows);
                    changed.insert(to, Some(merged));
                    changed.insert(from, None);
                }
                for (id, known) in changed {
                    match known {
                        Some(known) => transaction.put_message(id, known),
                        None => transaction.forget_message(id),
                    }
                }
            },
        );
        renamed.await.map(|(delta, ())| delta)
    }

    /// The ids that these messages were renamed to earlier; the mapping is kept as long as the deduplication
    /// data. Ids that were not renamed are left out.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn names_of(
        &self,
        application: &Application,
        ids: Vec<Arc<str>>,
    ) -> Result<HashMap<Arc<str>, Arc<str>>, StoreError> {
        let digests: Vec<Digest> = ids
            .iter()
            .map(|id| self.name_digest(&(application.id.clone(), id.clone())))
            .collect();
        let asked = digests.clone();
        let found = self.change(
            move |_| ReadSet {
                digests: asked,
                ..ReadSet::default()
            },
            move |_, told| {
                let ids = ids.into_iter().zip(digests);
                let named = ids.filter_map(|(id, digest)| {
                    let name = std::str::from_utf8(told.memories.get(&digest)?).ok()?;
                    Some((id, Arc::from(name)))
                });
                named.collect()
            },
        );
        found.await.map(|(_, names)| names)
    }

    /// The digest under which the new id of a renamed message is stored.
    fn name_digest(&self, (application, id): &MessageId) -> Digest {
        digest(&["message name", &self.name, application, id])
    }

    /// The tracked messages, by application id and message id.
    pub async fn watched(&self) -> Vec<((Arc<str>, Arc<str>), StoredMessage)> {
        let account_state = self.account_state.lock().await;
        let watched = account_state.messages.iter();
        watched
            .map(|(id, known)| (id.clone(), told_of(known)))
            .collect()
    }

    /// Deletes messages that no source lists any more. Counters do not change.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn forget(&self, ids: Vec<MessageId>) -> Result<(), StoreError> {
        let forgotten = self.change(
            |_| ReadSet::default(),
            move |transaction, _| {
                for id in ids {
                    transaction.forget_message(id);
                }
            },
        );
        forgotten.await.map(|_| ())
    }

    /// Stops tracking messages; what was counted for them stays stored.
    pub async fn unwatch(&self, ids: &[MessageId]) {
        let mut account_state = self.account_state.lock().await;
        for id in ids {
            account_state.drop_message(id);
        }
    }

    /// The stored messages whose age is counted from before a time; none while the clock is not trusted.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn old_messages(&self, before: Timestamp) -> Result<Vec<MessageId>, StoreError> {
        if self.trust.is_doubted() {
            return Ok(Vec::new());
        }
        self.store
            .old_messages(&self.name, before.as_millisecond())
            .await
    }
}

/// The state of a message, either tracked or stored.
fn known_of(transaction: &StateTransaction<'_>, id: &MessageId) -> Option<MessageEntry> {
    let watched = transaction.account_state.messages.get(id).cloned();
    let stored = || {
        let state = transaction.states.get(id).cloned()?;
        Some(MessageEntry {
            state,
            ..MessageEntry::default()
        })
    };
    watched.or_else(stored)
}

/// Unpacks the stored state of a message. An unreadable state stops the account, because the message would
/// otherwise be counted again from the start.
pub(in crate::ledger) fn unpack(id: &MessageId, row: &[u8]) -> Result<MessageState, StoreError> {
    postcard::from_bytes(row).map_err(|error| {
        StoreError::Failed(format!(
            "the stored numbers of message {} cannot be read ({error}); the store is damaged or \
             was written by a newer version: restore it from a backup",
            id.1
        ))
    })
}

fn told_of(known: &MessageEntry) -> StoredMessage {
    let time = |at: i64| Timestamp::from_millisecond(at).unwrap_or_default();
    StoredMessage {
        first_seen: time(known.state.first_seen),
        sent_at: known.state.sent_at.map(time),
        campaign: known.state.campaign.as_deref().map(Arc::from),
        wanted_at: known.next.begins.map(time),
    }
}

/// Whether an answer equals the previous one and no age waits for it.
fn unchanged(known: &MessageEntry, own: &MessageObservation, windows: &Windows) -> bool {
    let dated = known.state.sent_at.is_some() || own.message.sent_at.is_none();
    let opens = |at| own.asked_at.as_millisecond() >= at;
    let Some(snapshot) = &own.snapshot else {
        return dated && !known.next.open.is_some_and(opens);
    };
    known.hash == hash(snapshot)
        && known.state.met
        && (known.state.campaign.is_some() || own.message.campaign.is_none())
        && dated
        && (known.state.sent_at.is_some() || snapshot.sent_at.is_none())
        && !known.next.open.is_some_and(opens)
        && !known.state.tells_half(snapshot, windows)
}

/// A hash of a snapshot's counts. It is never 0, which stands for no snapshot.
fn hash(snapshot: &Snapshot) -> u64 {
    let mut hasher = DefaultHasher::new();
    for totals in &snapshot.totals {
        (totals.channel, &totals.counts).hash(&mut hasher);
    }
    for row in &snapshot.breakdown {
        (
            &row.message_type,
            &row.platform,
            &row.vendor_channel,
            &row.counts,
        )
            .hash(&mut hasher);
    }
    for totals in &snapshot.types {
        (&totals.message_type, &totals.counts).hash(&mut hasher);
    }
    hasher.finish() | 1
}
