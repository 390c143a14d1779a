//! Runs long or blocking work without delaying other tasks.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::{JoinError, spawn_blocking},
};

/// Runs the work on this thread. If it is long, other tasks move to other threads in the meantime, so that
/// requests, scrapes and timers do not wait until a large answer is parsed.
pub fn run_blocking_if_large<T>(long: bool, work: impl FnOnce() -> T) -> T {
    let runtime = Handle::try_current().map(|handle| handle.runtime_flavor());
    if long && matches!(runtime, Ok(RuntimeFlavor::MultiThread)) {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

/// Runs disk operations on a separate thread. In a single-threaded runtime, as in deterministic tests, they run on
/// the same thread, so that the speed of the disk has no influence.
///
/// # Errors
///
/// The work panicked, or the runtime is shutting down.
pub async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => Ok(work()),
        _ => spawn_blocking(work).await,
    }
}

/// An answer of this size takes a millisecond or more to parse.
pub const LARGE_ANSWER: usize = 256 << 10;
