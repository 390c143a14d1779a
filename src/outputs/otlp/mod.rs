//! OTLP: pushes all series, with the same values as on `/metrics`, and traces.
//!
//! OpenTelemetry's own metric pipeline merges everything beyond 2,000 series of an instrument into one point,
//! and supports no individual start times. So the requests are built here from the table of series, as
//! messages of the protocol.

#[cfg(test)]
mod hostile;
mod points;
#[cfg(test)]
mod tests;
mod traces;
mod transport;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use delivery_clock::{Clock, Moment};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

pub use traces::Traces;
#[doc(hidden)]
pub use transport::{read_answer, read_status};

use crate::{
    config::Otlp,
    series::{PointOutcome, Remembered, Table},
};
use points::{Batch, Builder, Identity};
use transport::Transport;

/// The maximum duration of the last push.
const LAST_PUSH: Duration = Duration::from_secs(3);

/// How a pusher ends.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Run,
    /// Push once more, and end.
    Finish,
    /// End: another one takes over.
    Leave,
}

/// Pushes all series periodically.
pub struct Pusher {
    order: watch::Sender<Order>,
    task: JoinHandle<()>,
}

/// The state of the pushing task.
struct Push {
    table: Arc<Table>,
    clock: Clock,
    transport: Transport,
    identity: Identity,
    max_points: usize,
    /// The series of the last push, so that the next one can detect removed series.
    pushed: Arc<Mutex<Remembered>>,
    /// The current problem, so that it is logged once.
    trouble: Option<String>,
}

impl Pusher {
    /// Starts pushing `table` according to the configuration.
    ///
    /// # Errors
    ///
    /// A certificate cannot be used.
    pub fn start(
        otlp: &Otlp,
        replica: &str,
        table: Arc<Table>,
        clock: Clock,
    ) -> Result<Pusher, String> {
        let push = Push {
            table,
            clock,
            transport: Transport::new(otlp)?,
            identity: Identity {
                replica: replica.to_owned(),
            },
            max_points: otlp.max_points_per_request,
            pushed: Arc::default(),
            trouble: None,
        };
        let (order, orders) = watch::channel(Order::Run);
        let first = push.clock.monotonic() + otlp.interval;
        let task = tokio::spawn(push.run(first, otlp.interval, orders));
        Ok(Pusher { order, task })
    }

    /// Pushes once more, for at most a few seconds, and ends.
    pub async fn stop(self) {
        self.end(Order::Finish).await;
    }

    /// Ends without another push: another pusher has begun.
    pub async fn replaced(self) {
        self.end(Order::Leave).await;
    }

    async fn end(self, order: Order) {
        // The task ends on its own only if it failed.
        let _ = self.order.send(order);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the OTLP push failed");
        }
    }
}

impl Push {
    async fn run(
        mut self,
        mut next: Moment,
        interval: Duration,
        mut orders: watch::Receiver<Order>,
    ) {
        let clock = self.clock.clone();
        loop {
            tokio::select! {
                () = clock.sleep_until(next) => {}
                _ = orders.wait_for(|order| *order != Order::Run) => break,
            }
            // One push at a time: a slow push delays the next one instead of overlapping with it.
            let deadline = clock.monotonic() + interval;
            tokio::select! {
                () = self.push(deadline) => {}
                _ = orders.wait_for(|order| *order != Order::Run) => break,
            }
            next = (next + interval).max(clock.monotonic());
        }
        if *orders.borrow() == Order::Finish {
            let deadline = clock.monotonic() + LAST_PUSH;
            if tokio::time::timeout(LAST_PUSH, self.push(deadline))
                .await
                .is_err()
            {
                tracing::warn!("the last OTLP push did not finish in time");
            }
        }
    }

    /// Pushes a snapshot of all series, request by request.
    async fn push(&mut self, deadline: Moment) {
        // One request waits while another is sent; later ones are not built yet.
        let (sender, mut batches) = mpsc::channel::<Batch>(1);
        let (table, identity, pushed) = (
            self.table.clone(),
            self.identity.clone(),
            self.pushed.clone(),
        );
        let (now, max_points) = (self.clock.now(), self.max_points);
        let moment = self.clock.monotonic();
        let building = tokio::task::spawn_blocking(move || {
            let mut send = |batch| sender.blocking_send(batch).is_ok();
            let mut pushed = pushed.lock().unwrap_or_else(PoisonError::into_inner);
            let shown = table.shown();
            Builder::new(&identity, now, max_points, &mut send).build(&shown, &pushed, moment);
            *pushed = shown.remember(moment);
        });
        let mut trouble = None;
        while let Some(Batch { request, points }) = batches.recv().await {
            let sent = self.transport.send(&request, &self.clock, deadline).await;
            let process = self.table.process();
            match sent {
                Ok(delivered) => {
                    let rejected = delivered.rejected.min(points);
                    process.otlp_points(PointOutcome::Accepted, points - rejected);
                    process.otlp_points(PointOutcome::Rejected, rejected);
                    if rejected > 0 {
                        let message: String = delivered.message.chars().take(200).collect();
                        trouble = Some(format!("the receiver rejected points: {message}"));
                    }
                }
                Err(failed) => {
                    process.otlp_points(PointOutcome::Failed, points);
                    trouble = Some(failed.text.to_string());
                }
            }
        }
        if let Err(error) = building.await {
            tracing::error!(%error, "the OTLP requests could not be built");
        }
        match (&trouble, &self.trouble) {
            (Some(new), old) if Some(new) != old.as_ref() => {
                tracing::warn!(error = new, "some points were not pushed over OTLP");
            }
            (None, Some(_)) => tracing::info!("all points are pushed over OTLP again"),
            _ => {}
        }
        self.trouble = trouble;
    }
}
