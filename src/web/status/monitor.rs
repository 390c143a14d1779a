//! What the status page remembers between two visits: the history of rates, and since when the
//! conditions of alerts hold.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    AccountStatus,
    alerts::{Pending, Watch},
    facts::Facts,
    history::{Ages, History, bucket_of},
    rates::AccountRates,
    stored::HistoryFile,
};
use crate::{config::Account, ledger::Windows, model::Age, series::Table};

/// How often everything is observed, whether somebody looks or not.
pub(in crate::web) const OBSERVE_EVERY: Duration = Duration::from_secs(20);
/// A visit within so many seconds of the last observation is shown what was observed then.
const FRESH_SECONDS: i64 = 2;
/// The history is written to the disk after so many observations: once a minute.
const SAVE_AFTER: u32 = 3;
/// Messages are compared at this age, in seconds, or the next lower one: soon enough to see an
/// outage begin.
const AGE_SECONDS: u32 = 900;

/// The status page's memory.
pub struct Monitor {
    state: Mutex<State>,
    file: HistoryFile,
}

struct State {
    history: History,
    watch: Watch,
    facts: Arc<Facts>,
    observed_at: Option<Timestamp>,
    unsaved: u32,
}

/// What was observed of one account.
pub(super) struct Observed {
    pub(super) rates: AccountRates,
    /// Since when its counters are observed, in Unix time.
    pub(super) since: i64,
    /// Over restarts, in Unix time; 0: never.
    pub(super) last_success: i64,
    pub(super) pending: Vec<Pending>,
}

/// At which age the messages of an account are compared; `None`: it has no cohorts.
pub(super) fn age(account: &Account) -> Option<Age> {
    let mut ages: Vec<Age> = Windows::from(account).ages().to_vec();
    if ages.contains(&Age::First) {
        return Some(Age::First);
    }
    ages.sort_unstable();
    let soon = ages
        .iter()
        .rev()
        .find(|age| **age <= Age::Seconds(AGE_SECONDS));
    soon.or(ages.first()).copied()
}

impl Monitor {
    /// With what the directory has of an earlier process.
    pub fn open(directory: &Path) -> Monitor {
        let file = HistoryFile::new(directory);
        let state = State {
            history: file.load(),
            watch: Watch::default(),
            facts: Arc::default(),
            observed_at: None,
            unsaved: 0,
        };
        Monitor {
            state: Mutex::new(state),
            file,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Observes all accounts, unless that was done a moment ago.
    pub(super) fn observe(
        &self,
        table: &Table,
        accounts: &[AccountStatus],
        now: Timestamp,
    ) -> Arc<Facts> {
        let mut state = self.lock();
        let is_fresh =
            |at: Timestamp| (0..FRESH_SECONDS).contains(&(now.as_second() - at.as_second()));
        if !state.observed_at.is_some_and(is_fresh) {
            let ages: Ages = accounts
                .iter()
                .map(|note| {
                    let age = age(&note.account).map(|age| age.to_string());
                    (note.account.name.to_string(), age)
                })
                .collect();
            state.history.observe(table, &ages, now);
            let facts = Facts::read(table, now);
            state.watch.observe(&facts, now.as_second());
            state.facts = Arc::new(facts);
            state.observed_at = Some(now);
        }
        state.facts.clone()
    }

    /// The same at regular times; the history is kept on the disk now and then.
    pub(in crate::web) fn tick(&self, table: &Table, accounts: &[AccountStatus], now: Timestamp) {
        self.observe(table, accounts, now);
        let unsaved = {
            let mut state = self.lock();
            state.unsaved += 1;
            state.unsaved
        };
        if unsaved >= SAVE_AFTER {
            self.save();
        }
    }

    /// Keeps the history on the disk.
    pub fn save(&self) {
        let history = {
            let mut state = self.lock();
            state.unsaved = 0;
            state.history.clone()
        };
        self.file.save(&history);
    }

    /// What is pending of the process itself.
    pub(super) fn process_pending(&self) -> Vec<Pending> {
        self.lock().watch.pending("")
    }

    /// What was observed of an account.
    pub(super) fn of(&self, account: &Account, now: Timestamp) -> Observed {
        let state = self.lock();
        let history = state.history.accounts.get(account.name.as_ref());
        let none = super::history::AccountHistory::default();
        let own = history.unwrap_or(&none);
        let is_daily = age(account) == Some(Age::First);
        Observed {
            rates: AccountRates::new(own, bucket_of(now), is_daily),
            since: if own.since > 0 {
                own.since
            } else {
                now.as_second()
            },
            last_success: own.last_success,
            pending: state.watch.pending(&account.name),
        }
    }
}
