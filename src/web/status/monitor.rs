//! What the status page remembers between visits: the history of rates, and since when alert conditions have
//! held.

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

/// How often everything is observed, even if nobody visits the page.
pub(in crate::web) const OBSERVE_EVERY: Duration = Duration::from_secs(20);
/// A visit within this number of seconds after an observation shows that observation.
const FRESH_SECONDS: i64 = 2;
/// The number of observations between two writes of the history to disk: about a minute.
const SAVE_AFTER: u32 = 3;
/// Messages are compared at this age in seconds, or at the next lower configured age: early enough to see the
/// start of an outage.
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
    /// When its counters were first observed, in Unix time.
    pub(super) since: i64,
    /// The last success, including before restarts, in Unix time; 0 if there was none.
    pub(super) last_success: i64,
    pub(super) pending: Vec<Pending>,
}

/// The age at which the messages of an account are compared; `None` if it has no cohorts.
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
    /// Opens the monitor with the history that an earlier process has left in the directory.
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

    /// Observes all accounts, unless the last observation is recent.
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

    /// Observes all accounts at regular intervals, and saves the history from time to time.
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

    /// Saves the history to disk.
    pub fn save(&self) {
        let history = {
            let mut state = self.lock();
            state.unsaved = 0;
            state.history.clone()
        };
        self.file.save(&history);
    }

    /// The pending alerts about the process itself.
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
