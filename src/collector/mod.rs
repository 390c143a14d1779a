//! Scheduling of queries: a queue of due times per message and data set, and a separate loop per account, so
//! that one account's failures never delay another.
//!
//! This module depends neither on a vendor's JSON nor on the names of metrics. It passes its results to a
//! [`Recorder`].

mod account;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod days;
mod forecast;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod month;
mod queue;
mod recorder;
mod schedule;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod turns;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{sync::watch, task::JoinHandle};

pub use account::{CollectorDeps, CollectorStatus, Progress, Trouble};
pub use forecast::{DatasetForecast, ExpectedMessages, Forecast, forecast};
pub use recorder::{DatasetOutcome, PassOutcome, Recorder};

use account::Collector;

/// A running collector.
pub struct CollectorHandle {
    account: Arc<str>,
    status: Arc<Mutex<CollectorStatus>>,
    stop: watch::Sender<bool>,
    /// Taken by the caller that waits for its end.
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Starts the collector of an account. Its first queries are spread over a few seconds.
pub fn spawn(parts: CollectorDeps) -> CollectorHandle {
    let status = Arc::default();
    let (stop, stopped) = watch::channel(false);
    let account = parts.account.name.clone();
    let first = parts.clock.monotonic() + schedule::spread(parts.account.interval);
    let collector = Collector::new(parts, Arc::clone(&status), first);
    let task = Mutex::new(Some(tokio::spawn(collector.run(stopped))));
    CollectorHandle {
        account,
        status,
        stop,
        task,
    }
}

/// Queries everything once, immediately, and returns when everything is answered.
///
/// # Errors
///
/// Something failed; the successful answers are recorded.
pub async fn run_once(parts: CollectorDeps) -> Result<(), ()> {
    let first = parts.clock.monotonic();
    Collector::new(parts, Arc::default(), first)
        .run_once()
        .await
}

impl CollectorHandle {
    /// The label `account`.
    pub fn account(&self) -> &Arc<str> {
        &self.account
    }

    /// The collector's status.
    pub fn status(&self) -> CollectorStatus {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Starts nothing new, and returns when the work that must not be interrupted has ended.
    pub async fn stop(&self) {
        // The task may already have ended.
        let _ = self.stop.send(true);
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(account = %self.account, %error, "a collector failed");
        }
    }
}
