//! Whether the clock is believed when something is to be forgotten: what was forgotten by a wrong clock would be
//! counted twice.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use delivery_clock::{Clock, Moment, SettledTime};
use jiff::Timestamp;

use super::Purpose;

/// A process that stays drops old memory only after it has been up for so long: a machine that has just been started
/// may not know the time.
const TRUSTED_AFTER: Duration = Duration::from_secs(3600);
/// A clock that is ahead of everything in the ledger by more is doubted: it is wrong, or nothing was counted for so
/// long.
const DOUBTED_AHEAD: Duration = Duration::from_secs(2 * 86_400);
/// So long a process doubts its clock. Somebody would have set it right by then.
const DOUBTED_FOR: Duration = Duration::from_secs(86_400);

/// What a process knows about its clock.
pub(super) struct ClockTrust {
    clock: Clock,
    purpose: Purpose,
    opened_at: Moment,
    state: Mutex<State>,
}

struct State {
    settled: SettledTime,
    /// An account was loaded: what the ledger says about the time is known.
    has_loaded: bool,
    /// When something was last counted, over all accounts that were loaded, in milliseconds since 1970.
    newest: Option<i64>,
    /// The log says that the clock is doubted.
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

    /// Wall time, which follows a step ahead after a day alone.
    pub(super) fn settled(&self) -> Timestamp {
        self.state().settled.now(&self.clock)
    }

    /// An account was loaded, of which something was last counted at `newest`; `None`: nothing was.
    pub(super) fn loaded(&self, newest: Option<i64>) {
        let mut state = self.state();
        state.has_loaded = true;
        state.newest = state.newest.max(newest);
    }

    fn uptime(&self) -> Duration {
        self.clock.monotonic().since(self.opened_at)
    }

    /// By how much the clock is ahead of the ledger, where that is too much to be believed.
    fn doubt(&self, state: &State) -> Option<Duration> {
        // A process that does not stay cannot wait.
        if self.purpose != Purpose::Serve || self.uptime() >= DOUBTED_FOR {
            return None;
        }
        let newest = Timestamp::from_millisecond(state.newest?).ok()?;
        let ahead = self.clock.now().duration_since(newest);
        // As it was when the process started: an account in which nothing happens afterwards is no reason.
        let ahead = Duration::try_from(ahead)
            .ok()?
            .saturating_sub(self.uptime());
        (ahead > DOUBTED_AHEAD).then_some(ahead)
    }

    /// Whether nothing may be forgotten by this clock.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubt(&self.state()).is_some()
    }

    /// Whether the memory of reports may be dropped. It is of all accounts: a replica that has none knows nothing
    /// about the time.
    pub(super) fn allows_dropping(&self) -> bool {
        if self.purpose != Purpose::Serve {
            return true;
        }
        let state = self.state();
        state.has_loaded && self.uptime() >= TRUSTED_AFTER && self.doubt(&state).is_none()
    }

    /// Says once that the clock is doubted, and once that it is not any more.
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
                "the clock is far ahead of what was counted last; nothing is forgotten for the first day, in case that it is wrong"
            ),
            None => tracing::info!("the clock is believed; what is old is forgotten again"),
        }
    }
}
