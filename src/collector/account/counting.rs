//! Passes answers to the ledger, and exposes the resulting deltas.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use tracing::Instrument;

use super::{
    Collector, DatasetQueueKey,
    outcome::{Counted, PassEvent},
    pass::{Pass, of_store},
};
use crate::{
    discovery::{MessageKey, Tracked},
    ledger::{LedgerDelta, MessageObservation},
    model::{Application, Snapshot},
};

/// The maximum number of messages to rename in one transaction.
const RENAMES_PER_TRANSACTION: usize = 1000;

impl Collector {
    pub(super) fn seen(
        &self,
        tracked: &Tracked,
        snapshot: Option<Snapshot>,
        asked_at: Timestamp,
    ) -> MessageObservation {
        MessageObservation {
            message: tracked.message.clone(),
            first_seen: tracked.first_seen,
            snapshot,
            asked_at,
        }
    }

    /// Passes snapshots to the ledger, concurrently with queries.
    pub(super) fn count(
        &mut self,
        queue_key: DatasetQueueKey,
        application: Application,
        mut renames: Vec<(Arc<str>, Arc<str>)>,
        keys: Vec<MessageKey>,
        mut seen: Vec<MessageObservation>,
    ) -> BoxFuture<'static, PassEvent> {
        let ledger = self.parts.ledger.clone();
        for (alias, id) in &renames {
            let key = (queue_key.1, id.clone());
            let aliases = self.renaming.entry(key).or_default();
            if !aliases.contains(alias) {
                aliases.push(alias.clone());
            }
        }
        if !self.renaming.is_empty() {
            let own: HashSet<_> = renames.iter().cloned().collect();
            for key in &keys {
                let others = self.renaming.get(key).into_iter().flatten();
                let others = others.map(|alias| (alias.clone(), key.1.clone()));
                renames.extend(others.filter(|other| !own.contains(other)));
            }
        }
        // Messages with their first snapshot, by ids that may be aliases.
        let other_names: Vec<Arc<str>> = seen
            .iter()
            .map(|own| &own.message.id)
            .filter(|id| self.parts.provider.may_be_another_name(id))
            .filter(|id| !self.other_names.contains(&(queue_key.1, Arc::clone(id))))
            .cloned()
            .collect();
        let naming = self.naming.clone();
        let has_names = !other_names.is_empty() || !renames.is_empty();
        let counting = async move {
            let mut names = HashMap::new();
            let counted = async {
                // No other task may store an alias between its lookup and the count; otherwise one message
                // would be counted under both names.
                let _alone = if has_names {
                    Some(naming.lock().await)
                } else {
                    None
                };
                for ids in other_names.chunks(RENAMES_PER_TRANSACTION) {
                    names.extend(ledger.names_of(&application, ids.to_vec()).await?);
                }
                for own in &mut seen {
                    if let Some(name) = names.get(&own.message.id) {
                        own.message.id = Arc::clone(name);
                    }
                }
                let mut delta = LedgerDelta::default();
                for renames in renames.chunks(RENAMES_PER_TRANSACTION) {
                    let renamed = ledger.rename_messages(&application, renames.to_vec());
                    delta.append(renamed.await?);
                }
                let (more, met) = ledger.snapshots(&application, queue_key.0, seen).await?;
                delta.append(more);
                Ok((delta, met))
            };
            let outcome = counted.await;
            PassEvent::Counted(Counted {
                queue_key,
                keys,
                renames,
                looked_up: other_names,
                names,
                outcome,
            })
        };
        counting.in_current_span().boxed()
    }

    pub(super) fn counted(&mut self, counted: Counted, pass: &mut Pass) {
        match counted.outcome {
            Ok((delta, met)) => {
                let index = counted.queue_key.1;
                let application = self.application(index);
                for (alias, id) in counted.renames {
                    let key = (index, id.clone());
                    if let Some(aliases) = self.renaming.get_mut(&key) {
                        aliases.retain(|own| *own != alias);
                        if aliases.is_empty() {
                            self.renaming.remove(&key);
                        }
                    }
                    self.renamed.insert((index, alias, id));
                }
                let looked_up = counted.looked_up.into_iter();
                self.other_names.extend(looked_up.map(|id| (index, id)));
                for (other_name, name) in counted.names {
                    if self.rename(counted.queue_key.1, &other_name, &name) {
                        self.parts.recorder.forgotten(&application, &other_name);
                    }
                }
                for (key, met) in counted.keys.iter().zip(met) {
                    self.recall(key, &met);
                }
                self.parts.recorder.delta(&delta);
                if delta.born {
                    self.parts.recorder.publish();
                }
            }
            Err(error) => {
                // It is unknown which of this was stored, so it is repeated with the next answer.
                self.renamed.clear();
                self.other_names.clear();
                let application = self.application(counted.queue_key.1);
                pass.asked.insert(counted.queue_key, false);
                self.failed(counted.queue_key, &application, &of_store(&error));
            }
        }
    }
}
