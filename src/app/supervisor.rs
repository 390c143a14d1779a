//! What systemd is told: that the exporter can be reached, that it lives, reloads and stops. Without
//! `NOTIFY_SOCKET` nothing is sent.

use delivery_clock::Clock;
use sd_notify::NotifyState;

fn notify(states: &[NotifyState<'_>]) {
    // A supervisor that does not listen must not stop what it supervises.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the supervisor cannot be told");
    }
}

/// Says that the exporter can be reached, and from then on, twice in each `WATCHDOG_USEC`, that its tasks
/// still run.
pub(super) async fn run(clock: Clock) {
    notify(&[NotifyState::Ready]);
    let Some(within) = sd_notify::watchdog_enabled() else {
        return;
    };
    loop {
        notify(&[NotifyState::Watchdog]);
        clock.sleep(within / 2).await;
    }
}

/// Says that the exporter stops.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// A reload that is under way; when it is dropped, the exporter is ready again.
pub(super) struct Reloading;

/// Says that a reload begins.
pub(super) fn reloading() -> Reloading {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
    Reloading
}

impl Drop for Reloading {
    fn drop(&mut self) {
        notify(&[NotifyState::Ready]);
    }
}
