//! Operations that run concurrently with the loop of an account: queries, and storing their results in the
//! ledger.

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio_util::task::AbortOnDropHandle;

use super::outcome::PassEvent;

/// All operations in flight. Each runs as a separate task: the loop itself sometimes waits for the ledger, and an
/// operation in flight may be ahead of it in the queue. If it ran only while the loop polls it, the two would
/// deadlock. Dropping this aborts the remaining operations.
#[derive(Default)]
pub(super) struct InFlight(FuturesUnordered<AbortOnDropHandle<PassEvent>>);

impl InFlight {
    pub(super) fn new() -> InFlight {
        InFlight::default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&self, flight: BoxFuture<'static, PassEvent>) {
        self.0.push(AbortOnDropHandle::new(tokio::spawn(flight)));
    }

    /// Waits for the next operation to end; `None` if nothing is in flight.
    pub(super) async fn next(&mut self) -> Option<PassEvent> {
        match self.0.next().await? {
            Ok(event) => Some(event),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // It is aborted only together with the whole runtime.
                Err(_) => std::future::pending().await,
            },
        }
    }
}
