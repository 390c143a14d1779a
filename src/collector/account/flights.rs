//! What goes on beside the loop of an account: queries, and what they brought on its way into the ledger.

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio_util::task::AbortOnDropHandle;

use super::outcome::PassEvent;

/// Everything that is in flight. Each goes on by itself, as a task: the loop, too, waits for the ledger
/// at times, and one that is in flight may be next in line for it. If it went on only while the loop looks at it,
/// each would wait for the other for ever. What is left is broken off with this.
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

    /// The next one that ends; `None`: nothing is in flight.
    pub(super) async fn next(&mut self) -> Option<PassEvent> {
        match self.0.next().await? {
            Ok(event) => Some(event),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // It is broken off only with the whole runtime.
                Err(_) => std::future::pending().await,
            },
        }
    }
}
