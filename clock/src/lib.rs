//! The one source of time of the exporter and the simulators: wall time, monotonic time and sleep.
//!
//! Everything that decides by time (due times, signatures, ages, statistics that grow) asks a
//! [`Clock`] that was passed to it, so that a test can drive all of it together. Network timeouts
//! alone use tokio's timer: a socket waits in real time whatever the clock says.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;

/// A point of monotonic time: the time since the clock was made. It never goes back, and stands
/// for nothing outside this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// The time since the clock was made.
    pub fn since_start(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, length: Duration) -> Moment {
        Moment(self.0.saturating_add(length))
    }
}

/// Wall time, monotonic time and sleep. Cheap to clone; clones share their time.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System {
        start: Instant,
    },
    Scaled {
        start: Instant,
        wall: Timestamp,
        factor: u32,
    },
    Manual(Arc<Manual>),
}

impl Clock {
    /// The machine's own time.
    pub fn system() -> Clock {
        Clock(Source::System {
            start: Instant::now(),
        })
    }

    /// A clock that starts at `wall` and runs `factor` times as fast as the machine's.
    pub fn scaled(wall: Timestamp, factor: u32) -> Clock {
        Clock(Source::Scaled {
            start: Instant::now(),
            wall,
            factor: factor.max(1),
        })
    }

    /// A clock that starts at `wall` and stands still until it is advanced.
    pub fn manual(wall: Timestamp) -> (Clock, ManualClock) {
        let manual = Arc::new(Manual {
            wall,
            outside: AtomicUsize::new(0),
            state: Mutex::default(),
        });
        (Clock(Source::Manual(manual.clone())), ManualClock(manual))
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => Timestamp::now(),
            Source::Scaled { wall, .. } => after(*wall, self.monotonic().0),
            Source::Manual(manual) => after(manual.wall, manual.elapsed()),
        }
    }

    /// Monotonic time: unlike [`Clock::now`] it is not set by anyone.
    pub fn monotonic(&self) -> Moment {
        Moment(match &self.0 {
            Source::System { start } => start.elapsed(),
            Source::Scaled { start, factor, .. } => start.elapsed().saturating_mul(*factor),
            Source::Manual(manual) => manual.elapsed(),
        })
    }

    /// Returns once `length` of this clock's monotonic time has passed.
    pub async fn sleep(&self, length: Duration) {
        self.sleep_until(self.monotonic() + length).await;
    }

    /// Says that something outside this process's tasks is waited for, such as a socket, as long as
    /// the guard lives. Whoever moves a manual clock waits for that first; other clocks do not mind.
    pub fn waits_outside(&self) -> WaitsOutside {
        WaitsOutside(match &self.0 {
            Source::Manual(manual) => {
                manual.outside.fetch_add(1, Ordering::SeqCst);
                Some(manual.clone())
            }
            Source::System { .. } | Source::Scaled { .. } => None,
        })
    }

    /// Returns once this clock's monotonic time has reached `moment`.
    pub async fn sleep_until(&self, moment: Moment) {
        match &self.0 {
            Source::System { .. } => tokio::time::sleep(moment.since(self.monotonic())).await,
            Source::Scaled { factor, .. } => {
                tokio::time::sleep(moment.since(self.monotonic()) / *factor).await;
            }
            Source::Manual(manual) => manual.sleep_until(moment.0).await,
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Source::System { .. } => "system",
            Source::Scaled { .. } => "scaled",
            Source::Manual(_) => "manual",
        };
        write!(f, "Clock({kind}, {})", self.now())
    }
}

/// `time` plus `by`, which may be negative; or the last or first time that can be written.
pub fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    let end = if by.is_negative() {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    time.checked_add(by).unwrap_or(end)
}

/// `time` plus `length`, or the last time that can be written.
pub fn after(time: Timestamp, length: Duration) -> Timestamp {
    later(time, signed(length))
}

/// `time` less `length`, or the first time that can be written.
pub fn before(time: Timestamp, length: Duration) -> Timestamp {
    later(time, -signed(length))
}

fn signed(length: Duration) -> SignedDuration {
    SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX)
}

/// Made by [`Clock::waits_outside`].
#[must_use]
pub struct WaitsOutside(Option<Arc<Manual>>);

impl Drop for WaitsOutside {
    fn drop(&mut self) {
        if let Some(manual) = &self.0 {
            manual.outside.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The hand that moves a manual clock. Made by [`Clock::manual`].
#[derive(Clone)]
pub struct ManualClock(Arc<Manual>);

impl ManualClock {
    /// Moves the time on by `length` and wakes everyone whose sleep is over, in the order of their
    /// deadlines.
    pub fn advance(&self, length: Duration) {
        let target = self.0.elapsed().saturating_add(length);
        loop {
            let mut state = self.0.lock();
            let next = state.sleepers.first_key_value().map(|(key, _)| *key);
            match next {
                Some((deadline, number)) if deadline <= target => {
                    state.elapsed = state.elapsed.max(deadline);
                    if let Some(waker) = state.sleepers.remove(&(deadline, number)) {
                        // A sleeper that was dropped needs no waking.
                        let _ = waker.send(());
                    }
                }
                _ => {
                    state.elapsed = state.elapsed.max(target);
                    return;
                }
            }
        }
    }

    /// Moves the time on by `length` at once: whoever is woken finds all of it over, as after a
    /// machine's sleep.
    pub fn jump(&self, length: Duration) {
        let mut state = self.0.lock();
        let elapsed = state.elapsed.saturating_add(length);
        state.elapsed = elapsed;
        while let Some(first) = state.sleepers.first_entry()
            && first.key().0 <= elapsed
        {
            // A sleeper that was dropped needs no waking.
            let _ = first.remove().send(());
        }
    }

    /// How many guards of [`Clock::waits_outside`] live.
    pub fn waiting_outside(&self) -> usize {
        self.0.outside.load(Ordering::SeqCst)
    }

    /// How long it is until the next sleeper wakes; `None` while nobody sleeps.
    pub fn next_wake(&self) -> Option<Duration> {
        let mut state = self.0.lock();
        state.sleepers.retain(|_, waker| !waker.is_closed());
        let elapsed = state.elapsed;
        state
            .sleepers
            .first_key_value()
            .map(|((deadline, _), _)| deadline.saturating_sub(elapsed))
    }
}

struct Manual {
    wall: Timestamp,
    outside: AtomicUsize,
    state: Mutex<ManualState>,
}

#[derive(Default)]
struct ManualState {
    elapsed: Duration,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    number: u64,
}

impl Manual {
    fn lock(&self) -> MutexGuard<'_, ManualState> {
        // The state is whole between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    async fn sleep_until(&self, deadline: Duration) {
        let woken = {
            let mut state = self.lock();
            if deadline <= state.elapsed {
                return;
            }
            let (waker, woken) = oneshot::channel();
            state.number += 1;
            let key = (deadline, state.number);
            state.sleepers.insert(key, waker);
            woken
        };
        // An error means that the clock itself is gone, and nobody is left to move it.
        let _ = woken.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_in_order_and_keeps_both_times_together() {
        let wall: Timestamp = "2026-11-01T10:00:00Z".parse().expect("a time");
        let (clock, hand) = Clock::manual(wall);
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for seconds in [30, 10, 20] {
            let (clock, order) = (clock.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                clock.sleep(Duration::from_secs(seconds)).await;
                order.lock().expect("order").push(seconds);
            }));
        }
        tokio::task::yield_now().await;
        assert_eq!(hand.next_wake(), Some(Duration::from_secs(10)));
        for _ in 0..3 {
            hand.advance(Duration::from_secs(10));
            tokio::task::yield_now().await;
        }
        for task in tasks {
            task.await.expect("a sleeper");
        }
        assert_eq!(*order.lock().expect("order"), [10, 20, 30]);
        assert_eq!(clock.now(), wall + Duration::from_secs(30));
        assert_eq!(clock.monotonic().since_start(), Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_scaled_clock_sleeps_shorter_and_its_wall_time_runs_faster() {
        let wall: Timestamp = "2026-11-01T10:00:00Z".parse().expect("a time");
        let clock = Clock::scaled(wall, 1000);
        let real = Instant::now();
        clock.sleep(Duration::from_secs(60)).await;
        assert!(
            real.elapsed() < Duration::from_secs(10),
            "sixty seconds at a thousandfold speed"
        );
        assert!(clock.now() >= wall + Duration::from_secs(60));
    }
}
