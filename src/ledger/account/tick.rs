//! Time-driven changes: the ends of holds and windows, and dropping campaigns.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::AccountLedger;
use crate::ledger::{
    LedgerDelta,
    key::clean,
    names::OTHER,
    state::{AccountState, Hold, MessageCounters},
    store::{ReadSet, StoreError},
};

/// The interval of maintenance that is not urgent.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// A campaign without a tracked message is dropped after this time without an increase, in milliseconds.
const CAMPAIGN_AFTER: i64 = 24 * 3_600_000;
/// The time after a start in which messages are loaded before any campaign is dropped.
const CAMPAIGN_GRACE: Duration = Duration::from_secs(3600);

impl AccountLedger {
    /// Sets when the next maintenance is due.
    pub(super) fn plan(&self, account_state: &AccountState) {
        let tend = self.clock.monotonic() + TEND_EVERY;
        let window = account_state.windows.first().map(|(end, _)| {
            let wait = end.saturating_sub(self.clock.now().as_millisecond()) + 1;
            self.clock.monotonic() + Duration::from_millis(wait.max(0).unsigned_abs())
        });
        let next = [account_state.next_release, window, Some(tend)]
            .into_iter()
            .flatten()
            .min();
        let mut own = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        // Concurrent changes must not postpone what is already due.
        let sooner = own.is_none_or(|own| next.is_some_and(|next| next < own));
        if sooner {
            *own = next;
        }
        drop(own);
        if sooner {
            self.sooner.notify_one();
        }
    }

    /// Returns when [`AccountLedger::tick`] has something to do.
    pub async fn due(&self) {
        loop {
            let next = *self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let sooner = self.sooner.notified();
            match next {
                Some(next) => tokio::select! {
                    () = self.clock.sleep_until(next) => return,
                    () = sooner => {}
                },
                None => sooner.await,
            }
        }
    }

    /// Releases what has been held long enough, and closes the windows that have ended.
    ///
    /// # Errors
    ///
    /// The store failed; the next tick retries.
    pub async fn tick(&self) -> Result<LedgerDelta, StoreError> {
        let policy = self.policy();
        let (clock, moment) = (self.clock.clone(), self.clock.monotonic());
        let now = clock.now();
        let settled = self.trust.settled().as_millisecond();
        let is_doubted = self.trust.is_doubted();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let shared = self.store.shared();
        let ticked = self.change(
            move |_| ReadSet {
                inbox: shared,
                ..ReadSet::default()
            },
            move |transaction, told| {
                transaction.absorb(told.inbox);
                let account_state = transaction.account_state;
                if account_state.next_release.is_some_and(|at| at <= moment) {
                    let over = |hold: Hold| matches!(hold, Hold::Until(end) if end <= moment);
                    let keys: Vec<_> = account_state
                        .counters
                        .iter()
                        .filter(|(_, own)| over(own.hold))
                        .map(|(key, _)| key.clone())
                        .collect();
                    for key in keys {
                        transaction.release(&key);
                    }
                }
                let at = now.as_millisecond();
                let over = account_state
                    .windows
                    .iter()
                    .take_while(|(end, _)| *end < at);
                for (_, id) in over {
                    let Some(known) = account_state.messages.get(id) else {
                        continue;
                    };
                    let mut known = known.clone();
                    let mut effects = MessageCounters {
                        transaction,
                        application: id.0.clone(),
                    };
                    known.state.close(now, &policy.windows, &mut effects);
                    known.next = known.state.next_ages(now, &policy.windows);
                    transaction.put_message(id.clone(), known);
                }
                let met = |opened| moment.since(opened) >= CAMPAIGN_GRACE;
                if account_state.opened.is_some_and(met) && !is_doubted {
                    let gone = forgotten_campaigns(account_state, settled);
                    for campaign in gone {
                        transaction.forget_campaign(&campaign);
                    }
                }
            },
        );
        match ticked.await {
            Ok((delta, ())) => Ok(delta),
            Err(error) => {
                // Not immediately, to give the store time to recover.
                let again = self.clock.monotonic() + Duration::from_secs(1);
                *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(again);
                Err(error)
            }
        }
    }
}

/// Campaigns to drop because none of their messages is tracked any more.
fn forgotten_campaigns(account_state: &AccountState, now: i64) -> Vec<Arc<str>> {
    let mut last: HashMap<&Arc<str>, i64> = HashMap::new();
    for (key, own) in &account_state.counters {
        if let Some(campaign) = key.campaign() {
            let last = last.entry(campaign).or_insert(own.changed_at);
            *last = own.changed_at.max(*last);
        }
    }
    let tracked: HashSet<Arc<str>> = account_state.campaigns.keys().map(clean).collect();
    last.into_iter()
        .filter(|(campaign, last)| {
            now - last >= CAMPAIGN_AFTER
                && campaign.as_ref() != OTHER
                && !tracked.contains(*campaign)
        })
        .map(|(campaign, _)| campaign.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{self, MeasureFamilies},
        ledger::{amount::Amount, samples::measured, state::CounterState},
        model::Measure,
    };

    fn counter(
        state: &mut AccountState,
        families: MeasureFamilies,
        labels: &[&str],
        changed_at: i64,
    ) {
        let key = measured(families, Measure::Sent, labels);
        let counter = CounterState {
            total: Amount::Count(1),
            pending: Amount::Count(0),
            shown: Amount::Count(1),
            born_at: 0,
            changed_at,
            hold: Hold::Open,
            stored: true,
        };
        state.counters.insert(key, counter);
    }

    #[test]
    fn a_campaign_is_forgotten_a_day_after_its_last_increase_unless_a_message_of_it_is_watched() {
        let mut state = AccountState::default();
        let by_campaign = catalog::TOTAL_BY_CAMPAIGN;
        for (campaign, changed_at) in [("old", 0), ("mixed", 0), ("watched", 0), (OTHER, 0)] {
            counter(&mut state, by_campaign, &["push", campaign], changed_at);
        }
        // Its other channel counted a millisecond later.
        counter(&mut state, by_campaign, &["email", "mixed"], 1);
        counter(&mut state, catalog::TOTAL, &["push"], 0);
        state.campaigns.insert(Arc::from("watched"), 1);
        let forgotten = |now| {
            let mut names = forgotten_campaigns(&state, now);
            names.sort_unstable();
            names.iter().map(|own| own.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(forgotten(CAMPAIGN_AFTER - 1), [""; 0]);
        assert_eq!(forgotten(CAMPAIGN_AFTER), ["old"]);
        assert_eq!(forgotten(CAMPAIGN_AFTER + 1), ["mixed", "old"]);
    }
}
