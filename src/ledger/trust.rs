//! Decides whether to trust the clock for deleting old data: what a wrong clock deletes would be counted twice.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use delivery_clock::{Clock, Moment, SettledTime};
use jiff::Timestamp;

use super::Purpose;

/// A long-running process drops old deduplication data only after this time, because a machine that has just started
/// may have a wrong clock.
const TRUSTED_AFTER: Duration = Duration::from_secs(3600);
/// A clock that is ahead of everything in the ledger by more than this is doubted: either it is wrong, or nothing
/// was counted for that long.
const DOUBTED_AHEAD: Duration = Duration::from_secs(2 * 86_400);
/// How long a process doubts its clock. By then, a wrong clock would have been corrected.
const DOUBTED_FOR: Duration = Duration::from_secs(86_400);

/// The process's knowledge about its clock.
pub(super) struct ClockTrust {
    clock: Clock,
    purpose: Purpose,
    opened_at: Moment,
    state: Mutex<State>,
}

struct State {
    settled: SettledTime,
    /// Whether an account was loaded, so that the ledger's time is known.
    has_loaded: bool,
    /// When something was last counted, over all loaded accounts, in milliseconds since 1970.
    newest: Option<i64>,
    /// Whether the doubt was logged.
    is_logged: bool,
}

impl ClockTrust {
    pub(super) fn new(clock: Clock, purpose: Purpose) -> ClockTrust {
        let state = State {
            settled: SettledTime::new(&clock),
            has_loaded: false,
            newest: None,
            is_logged: false,
        };
        ClockTrust {
            opened_at: clock.monotonic(),
            clock,
            purpose,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wall time, except that a forward jump takes effect only after a day.
    pub(super) fn settled(&self) -> Timestamp {
        self.state().settled.now(&self.clock)
    }

    /// Records that an account was loaded. `newest` is the time when something was last counted for it, or
    /// `None` if nothing was.
    pub(super) fn loaded(&self, newest: Option<i64>) {
        let mut state = self.state();
        state.has_loaded = true;
        state.newest = state.newest.max(newest);
    }

    fn uptime(&self) -> Duration {
        self.clock.monotonic().since(self.opened_at)
    }

    /// How far the clock is ahead of the ledger, if that is implausible.
    fn doubt(&self, state: &State) -> Option<Duration> {
        // A short-lived process cannot wait.
        if self.purpose != Purpose::Serve || self.uptime() >= DOUBTED_FOR {
            return None;
        }
        let newest = Timestamp::from_millisecond(state.newest?).ok()?;
        let ahead = self.clock.now().duration_since(newest);
        // Compared at the start of the process, so that an account without later activity causes no doubt.
        let ahead = Duration::try_from(ahead)
            .ok()?
            .saturating_sub(self.uptime());
        (ahead > DOUBTED_AHEAD).then_some(ahead)
    }

    /// Whether the clock is doubted, so that nothing may be deleted.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubt(&self.state()).is_some()
    }

    /// Whether deduplication data may be dropped. It belongs to all accounts, and a replica that has loaded none
    /// cannot judge its clock.
    pub(super) fn allows_dropping(&self) -> bool {
        if self.purpose != Purpose::Serve {
            return true;
        }
        let state = self.state();
        state.has_loaded && self.uptime() >= TRUSTED_AFTER && self.doubt(&state).is_none()
    }

    /// Logs once that the clock is doubted, and once that it is trusted again.
    pub(super) fn log(&self) {
        let mut state = self.state();
        let doubt = self.doubt(&state);
        if doubt.is_some() == state.is_logged {
            return;
        }
        state.is_logged = doubt.is_some();
        match doubt {
            Some(ahead) => tracing::warn!(
                days = ahead.as_secs() / 86_400,
                "the clock is far ahead of the last count; nothing is deleted on the first day, in case the clock is wrong"
            ),
            None => tracing::info!("the clock is trusted again; old data is deleted again"),
        }
    }
}
