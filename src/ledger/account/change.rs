//! Transactions of an account, and reloading after a transaction with unknown outcome.

use tokio::sync::OwnedMutexGuard;

use super::{AccountLedger, Policy, unpack};
use crate::ledger::{
    LedgerDelta, Volume,
    key::CounterKey,
    state::{AccountState, StateChanges, StateTransaction},
    store::{ReadRows, ReadSet, StoreError, WriteSet},
};

/// The result of a transaction's closure. If the transaction does not become durable, this is dropped in
/// field order, so that new names are returned before the next transaction can take any.
struct Decision<R> {
    changes: StateChanges,
    account_state: OwnedMutexGuard<AccountState>,
    outcome: R,
}

impl AccountLedger {
    pub(super) async fn load(
        &self,
        account_state: &mut AccountState,
        policy: &Policy,
    ) -> Result<(), StoreError> {
        let rows = self.store.account(&self.name, &self.replica).await;
        let rows = rows.inspect_err(|error| self.failed_by(error))?;
        self.names.load(rows.names.clone());
        let counted = rows.counters.iter().map(|own| own.changed_at);
        self.trust.loaded(counted.max());
        let now = self.clock.now().as_millisecond();
        account_state
            .load(rows, |shown| policy.hold(self.clock.monotonic(), shown), now)
            .map_err(|problem| {
                StoreError::Failed(format!(
                    "the ledger of {} cannot be read: {problem}; use the version that wrote it, or a later one",
                    self.name
                ))
            })?;
        for campaign in account_state.gone.iter().filter_map(CounterKey::campaign) {
            self.names.forget_campaign(campaign);
        }
        Ok(())
    }

    /// Reloads the account's state from the store, including tracked messages.
    async fn reload(
        &self,
        account_state: &mut AccountState,
        policy: &Policy,
    ) -> Result<(), StoreError> {
        self.load(account_state, policy).await?;
        account_state.stale = true;
        let ask = ReadSet {
            account: self.name.clone(),
            replica: self.replica.clone(),
            messages: account_state.messages.keys().cloned().collect(),
            ..ReadSet::default()
        };
        let told = self
            .store
            .transact(ask, |rows| (WriteSet::default(), rows))
            .await
            .inspect_err(|error| self.failed_by(error))?;
        let now = self.clock.now();
        let watched: Vec<_> = account_state.messages.keys().cloned().collect();
        for id in watched {
            match (
                told.messages.get(&id),
                account_state.messages.get(&id).cloned(),
            ) {
                (Some(row), Some(mut known)) => {
                    known.state = unpack(&id, row)?;
                    known.hash = 0;
                    known.next = known.state.next_ages(now, &policy.windows);
                    account_state.put_message(id, known);
                }
                _ => account_state.drop_message(&id),
            }
        }
        account_state.stale = false;
        Ok(())
    }

    /// Losing a lease is not a failure of the store.
    pub(super) fn failed_by(&self, error: &StoreError) {
        if let StoreError::Failed(_) = error {
            self.notes.up(Volume::Store, false);
            self.notes.error();
        }
    }

    /// Runs one transaction. Its result is returned only once it is durable.
    pub(super) async fn change<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&AccountState) -> ReadSet,
        compute: impl FnOnce(&mut StateTransaction<'_>, ReadRows) -> R + Send + 'static,
    ) -> Result<(LedgerDelta, R), StoreError> {
        let policy = self.policy();
        let mut account_state = self.account_state.clone().lock_owned().await;
        if !self.lease.runs() || account_state.fence != self.lease.epoch() {
            return Err(StoreError::Fenced);
        }
        let mut reloaded = LedgerDelta::default();
        if account_state.stale {
            self.reload(&mut account_state, &policy).await?;
            reloaded.shown = account_state.shown();
            reloaded.born = true;
        }
        // Stale until the outcome is known, because this future may be cancelled.
        account_state.stale = true;
        let mut ask = ask(&account_state);
        ask.fence = account_state.fence;
        ask.account = self.name.clone();
        ask.replica = self.replica.clone();
        let names = self.names.clone();
        let now = self.clock.now().as_millisecond();
        let settled = self.trust.settled().as_millisecond();
        let hold = policy.hold(self.clock.monotonic(), false);
        let decide = move |mut rows: ReadRows| {
            let stored = std::mem::take(&mut rows.messages);
            let states = stored.into_iter().map(|(id, row)| {
                let state = unpack(&id, &row)?;
                Ok((id, state))
            });
            let states = match states.collect() {
                Ok(states) => states,
                Err(error) => return (WriteSet::default(), Err(error)),
            };
            let mut transaction = StateTransaction {
                states,
                account_state: &account_state,
                names: &names,
                channels: policy.channels,
                ages: policy.windows.ages(),
                now,
                settled,
                hold,
                changes: StateChanges::default(),
            };
            let outcome = compute(&mut transaction, rows);
            let writes = transaction.write_set();
            let decision = Decision {
                changes: transaction.changes,
                account_state,
                outcome,
            };
            (writes, Ok(decision))
        };
        let done = self.store.transact(ask, decide).await.flatten();
        let Decision {
            changes,
            mut account_state,
            outcome,
        } = done.inspect_err(|error| self.failed_by(error))?;
        self.notes.up(Volume::Store, true);
        account_state.stale = false;
        reloaded.gone = std::mem::take(&mut account_state.gone);
        reloaded.append(changes.apply(&mut account_state, &self.names));
        self.plan(&account_state);
        Ok((reloaded, outcome))
    }
}
