//! The lifecycle of an account's collector: it acquires the lease, opens the ledger, runs passes, and stops.

use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument;

use super::{
    super::{Recorder, queue::DatasetQueue},
    Collector, CollectorDeps, Woken,
    flights::InFlight,
};
use crate::{
    discovery::Sources,
    ledger::{AccountLedger, StoreError},
    spans::TRACE_TARGET,
};

/// The retry interval for opening a ledger, and the interval of checking the spool while another replica
/// holds the account.
const REOPEN_AFTER: Duration = Duration::from_secs(5);

impl Collector {
    /// Works while this process holds the account, until it is stopped.
    pub(in crate::collector) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.acquired() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let ledger = self.parts.ledger.clone();
            ledger.close(false);
            let (halt, mut halted) = watch::channel(false);
            let (lease, mut outer) = (self.parts.lease.clone(), stop.clone());
            let ended = async move {
                tokio::select! {
                    () = lease.released() => {}
                    _ = outer.wait_for(|stop| *stop) => {}
                }
            };
            {
                let mut work = std::pin::pin!(self.hold(&mut halted));
                tokio::select! {
                    () = &mut work => {}
                    () = ended => {
                        ledger.close(true);
                        halt.send_replace(true);
                        work.await;
                    }
                }
            }
            if *stop.borrow() {
                return;
            }
            self.parts.recorder.lost();
            self.parts.recorder.publish();
            let now = self.parts.clock.monotonic();
            self.queues.values_mut().for_each(|queue| queue.reset(now));
            self.renamed.clear();
            self.other_names.clear();
            self.listing.clear();
            self.lists.clear();
            self.known_applications.clear();
            self.in_flight = 0;
        }
    }

    /// Returns when this process holds the account. Meanwhile it counts the bodies in its own spool, which no
    /// other replica can access.
    pub(super) async fn acquired(&self) {
        let mut waits = false;
        loop {
            tokio::select! {
                () = self.parts.lease.acquired() => return,
                () = self.parts.clock.sleep(REOPEN_AFTER) => {}
            }
            if !std::mem::replace(&mut waits, true) {
                // Another replica has opened the ledger.
                self.parts.progress.opened();
            }
            if self
                .parts
                .account
                .collect
                .iter()
                .any(|own| own.is_drained())
            {
                let provider = &self.parts.provider;
                let read = |body: &[u8]| provider.read_pushed(body).reports;
                let ledger = &self.parts.ledger;
                match ledger.forward_spool(&self.application(0), &read).await {
                    Ok(delta) => self.parts.recorder.delta(&delta),
                    Err(error) => {
                        tracing::warn!(account = %self.parts.account.name, %error, "the bodies in the spool could not be counted");
                    }
                }
            }
        }
    }

    /// Works while the account is held, until it is halted.
    pub(super) async fn hold(&mut self, halted: &mut watch::Receiver<bool>) {
        while let Err(error) = self.open().await {
            tracing::error!(account = %self.parts.account.name, %error, "the ledger cannot be opened; retrying");
            let text = error.to_string();
            self.tell(|status| status.last_error = Some(text));
            tokio::select! {
                () = self.parts.clock.sleep(REOPEN_AFTER) => {}
                _ = halted.wait_for(|halted| *halted) => return,
            }
        }
        self.tell(|status| status.last_error = None);
        let mut sources = self
            .sources
            .take()
            .unwrap_or_else(|| Sources::start(&self.parts.account, &self.parts.clock));
        let (ledger, recorder) = (self.parts.ledger.clone(), self.parts.recorder.clone());
        tokio::select! {
            () = self.passes(halted, &mut sources) => {}
            () = keep(&ledger, recorder.as_ref()) => {}
        }
        // Their messages are known, so a later update is not a first load.
        self.sources = Some(sources);
    }

    /// Takes over the account's counters, and counts what an earlier process left in the spool.
    pub(super) async fn open(&mut self) -> Result<(), StoreError> {
        let CollectorDeps {
            account,
            provider,
            recorder,
            ledger,
            relabelled,
            ..
        } = &self.parts;
        recorder.names(ledger.names());
        let delta = ledger
            .open(&account.applications, &account.collect, *relabelled)
            .await?;
        recorder.cleared();
        recorder.delta(&delta);
        recorder.publish();
        let reports = account.collect.iter().any(|own| own.is_drained());
        if reports {
            let read = |body: &[u8]| provider.read_pushed(body).reports;
            let delta = ledger.catch_up(&self.application(0), &read).await?;
            recorder.delta(&delta);
            recorder.publish();
        }
        if !reports {
            self.registered().await;
        }
        self.parts.progress.opened();
        self.tell(|status| status.opened = true);
        Ok(())
    }

    pub(super) async fn passes(&mut self, stop: &mut watch::Receiver<bool>, sources: &mut Sources) {
        let mut flights = InFlight::new();
        loop {
            if self.follow_wall_clock() {
                self.tell_due();
                self.parts.recorder.publish();
            }
            if std::mem::take(&mut self.sources_restart) {
                *sources = Sources::start(&self.parts.account, &self.parts.clock);
            }
            let next = self
                .queues
                .values()
                .filter_map(DatasetQueue::next_try)
                .min();
            let next_at = next.map(|next| self.time_of(next));
            self.tell(|status| {
                status.next = next_at;
                status.answered |= next.is_none();
            });
            // What is scheduled by wall time is rescheduled when the clock is set.
            let look_at = self.parts.clock.monotonic() + self.parts.account.interval;
            let (clock, ledger) = (self.parts.clock.clone(), self.parts.ledger.clone());
            // A query from the previous pass may complete at any time.
            let carried_over = !flights.is_empty();
            let due = async {
                match next {
                    _ if carried_over => {}
                    Some(next) if next <= look_at => clock.sleep_until(next).await,
                    _ => std::future::pending().await,
                }
            };
            let woken = tokio::select! {
                () = due => Woken::Due,
                () = clock.sleep_until(look_at) => continue,
                update = sources.next() => Woken::Named(update),
                () = ledger.registration() => Woken::Registered,
                // What is handed out once may still arrive: the pass waits for it.
                _ = stop.wait_for(|stop| *stop) => Woken::Due,
            };
            match woken {
                Woken::Due => {}
                Woken::Named(update) => {
                    self.named(update);
                    continue;
                }
                Woken::Registered => {
                    self.registered().await;
                    continue;
                }
            }
            let interval = self.parts.account.interval;
            let span = tracing::info_span!(
                target: TRACE_TARGET, "pass", account = %self.parts.account.name
            );
            self.pass(Some(interval), &mut flights, Some(sources), stop)
                .instrument(span)
                .await;
            if *stop.borrow() {
                return;
            }
        }
    }

    /// Runs a single pass over everything that is due, without a time limit.
    pub(in crate::collector) async fn run_once(mut self) -> Result<(), ()> {
        let (_keep, mut stop) = watch::channel(false);
        if let Err(error) = self.open().await {
            tracing::error!(account = %self.parts.account.name, %error, "the ledger cannot be opened");
            return Err(());
        }
        for update in Sources::once(&self.parts.account).await {
            self.named(update);
        }
        self.queues.values_mut().for_each(DatasetQueue::query_once);
        let failed = self.pass(None, &mut InFlight::new(), None, &mut stop).await;
        if failed { Err(()) } else { Ok(()) }
    }
}

/// Releases held increments and closes windows, until it is cancelled.
async fn keep(ledger: &AccountLedger, recorder: &dyn Recorder) {
    let mut failing = false;
    loop {
        ledger.due().await;
        match ledger.tick().await {
            Ok(delta) => {
                failing = false;
                recorder.delta(&delta);
                recorder.publish();
            }
            // The account is about to be released.
            Err(StoreError::Fenced) => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "the ledger cannot be written to; counters do not increase");
                }
            }
        }
    }
}
