//! Notifies systemd that the exporter is ready, alive, reloading or stopping. Without `NOTIFY_SOCKET` nothing
//! is sent.

use delivery_clock::Clock;
use sd_notify::NotifyState;

fn notify(states: &[NotifyState<'_>]) {
    // A failing supervisor must not stop the exporter.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the supervisor cannot be notified");
    }
}

/// Reports that the exporter is ready, and then, twice per `WATCHDOG_USEC`, that its tasks still run.
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

/// Reports that the exporter is stopping.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// A reload in progress; dropping it reports that the exporter is ready again.
pub(super) struct Reloading;

/// Reports that a reload has started.
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
