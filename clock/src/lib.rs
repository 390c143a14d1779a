//! The only source of time for the exporter and the simulators: wall time, monotonic time and sleep.
//!
//! All code that depends on time (due times, signatures, ages, growing statistics) uses a [`Clock`] that was
//! passed to it, so that a test can control all of it. Only network timeouts use tokio's timer, because
//! sockets wait in real time.

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

/// A point of monotonic time: the time since the clock was created. It never goes back, and has no meaning
/// outside this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// Later than any moment that can be reached.
    pub const MAX: Moment = Moment(Duration::MAX);

    /// The moment at this time after the clock was created.
    pub fn from_start(length: Duration) -> Moment {
        Moment(length)
    }

    /// The time since the clock was created.
    pub fn since_start(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Sub<Duration> for Moment {
    type Output = Moment;

    /// Saturates at the moment at which the clock was created.
    fn sub(self, length: Duration) -> Moment {
        Moment(self.0.saturating_sub(length))
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
            wall: Mutex::new(wall),
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
            Source::Manual(manual) => after(manual.wall(), manual.elapsed()),
        }
    }

    /// The wall time of the moment at which the clock was created, according to the current wall clock. It
    /// changes only when the wall clock is set.
    pub fn origin(&self) -> Timestamp {
        match &self.0 {
            Source::Manual(manual) => manual.wall(),
            Source::Scaled { wall, .. } => *wall,
            Source::System { .. } => before(self.now(), self.monotonic().0),
        }
    }

    /// The moment at which a wall time is reached unless the wall clock is set. Times before the clock was
    /// created map to its first moment.
    pub fn moment_of(&self, time: Timestamp) -> Moment {
        let since_origin = time.duration_since(self.origin());
        Moment(Duration::try_from(since_origin).unwrap_or_default())
    }

    /// Monotonic time: unlike [`Clock::now`], it cannot be set.
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

    /// Marks the caller as waiting for something outside this process's tasks, such as a socket, while the
    /// guard lives. A test that advances a manual clock waits for that first; other clocks ignore it.
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

/// `time` plus `by`, which may be negative, saturating at the first and last representable times.
pub fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    let end = if by.is_negative() {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    time.checked_add(by).unwrap_or(end)
}

/// `time` plus `length`, or the last representable time.
pub fn after(time: Timestamp, length: Duration) -> Timestamp {
    later(time, signed(length))
}

/// `time` minus `length`, or the first representable time.
pub fn before(time: Timestamp, length: Duration) -> Timestamp {
    later(time, -signed(length))
}

fn signed(length: Duration) -> SignedDuration {
    SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX)
}

/// Whether a time can be the present: a machine without a battery starts in 1970, or when its clock was
/// made, until a time server is reached.
pub fn is_plausible(time: Timestamp) -> bool {
    time.as_second() >= PLAUSIBLE_FROM
}

/// The begin of 2020, in seconds of Unix time.
const PLAUSIBLE_FROM: i64 = 1_577_836_800;

/// How long the wall clock has to stand ahead before [`SettledTime`] follows it.
const SETTLE: Duration = Duration::from_secs(24 * 3600);
/// The wall clock may run ahead of the monotonic one by so much at a time.
const SETTLED_SLACK: Duration = Duration::from_secs(60);

/// Wall time for what cannot be undone, such as forgetting what is old: a clock that was set a year
/// ahead must not delete everything before somebody corrects it. It follows a step back at once, and a
/// step forward after the clock has stood ahead for a day, or at once where it was not set before.
#[derive(Clone, Debug)]
pub struct SettledTime {
    at: Timestamp,
    seen: Moment,
    ahead_since: Option<Moment>,
}

impl SettledTime {
    /// Settled on the time as it is now.
    pub fn new(clock: &Clock) -> SettledTime {
        SettledTime {
            at: clock.now(),
            seen: clock.monotonic(),
            ahead_since: None,
        }
    }

    /// The settled time.
    pub fn now(&mut self, clock: &Clock) -> Timestamp {
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        let expected = after(self.at, monotonic.since(self.seen));
        self.at = if wall <= after(expected, SETTLED_SLACK) {
            self.ahead_since = None;
            wall
        } else {
            let since = *self.ahead_since.get_or_insert(monotonic);
            if monotonic.since(since) >= SETTLE || !is_plausible(expected) {
                self.ahead_since = None;
                wall
            } else {
                expected
            }
        };
        self.seen = monotonic;
        self.at
    }
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

    /// Sets the wall clock by `by`, which may be negative, and leaves the monotonic clock alone: as an
    /// operator or a time server does. Nobody wakes of it.
    pub fn step(&self, by: SignedDuration) {
        let mut wall = self.0.wall.lock().unwrap_or_else(PoisonError::into_inner);
        *wall = later(*wall, by);
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
    /// The wall time of its first moment.
    wall: Mutex<Timestamp>,
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

    fn wall(&self) -> Timestamp {
        *self.wall.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn a_step_moves_the_wall_clock_alone() {
        let wall: Timestamp = "2026-11-01T10:00:00Z".parse().expect("a time");
        let (clock, hand) = Clock::manual(wall);
        hand.advance(Duration::from_secs(60));
        let at = clock.moment_of(wall + Duration::from_secs(90));
        assert_eq!(at.since(clock.monotonic()), Duration::from_secs(30));
        hand.step(SignedDuration::from_hours(-24));
        assert_eq!(clock.monotonic().since_start(), Duration::from_secs(60));
        assert_eq!(clock.now(), wall - Duration::from_secs(86_340));
        assert_eq!(clock.origin(), wall - Duration::from_secs(86_400));
    }

    #[test]
    fn settled_time_follows_a_step_back_at_once_and_one_forward_after_a_day() {
        let wall: Timestamp = "2026-11-01T10:00:00Z".parse().expect("a time");
        let (clock, hand) = Clock::manual(wall);
        let mut settled = SettledTime::new(&clock);
        let year = SignedDuration::from_hours(24 * 365);
        hand.advance(Duration::from_secs(10));
        hand.step(year);
        assert_eq!(settled.now(&clock), wall + Duration::from_secs(10));
        hand.advance(Duration::from_secs(3600));
        hand.step(-year);
        assert_eq!(settled.now(&clock), clock.now());
        hand.step(-year);
        assert_eq!(settled.now(&clock), clock.now());
        hand.step(year);
        for _ in 0..23 {
            assert_eq!(settled.now(&clock), clock.now() - year);
            hand.advance(Duration::from_secs(3600));
        }
        hand.advance(Duration::from_secs(3601));
        assert_eq!(settled.now(&clock), clock.now());
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
