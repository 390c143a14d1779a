//! Long work in the middle of short work, and work that waits.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::{JoinError, spawn_blocking},
};

/// Works at once. If it is long, whatever else waits for this thread goes to another one meanwhile:
/// requests, scrapes and timers do not wait for a large answer to be read.
pub fn run_blocking_if_large<T>(long: bool, work: impl FnOnce() -> T) -> T {
    let runtime = Handle::try_current().map(|handle| handle.runtime_flavor());
    if long && matches!(runtime, Ok(RuntimeFlavor::MultiThread)) {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

/// Runs what waits for a disk away from the threads that serve. Where there is one thread alone, as in tests whose
/// every run has to be the same, it waits there: how long a disk takes decides nothing then.
///
/// # Errors
///
/// The work panicked, or the runtime ends.
pub async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => Ok(work()),
        _ => spawn_blocking(work).await,
    }
}

/// An answer of this size takes a millisecond or more to read.
pub const LARGE_ANSWER: usize = 256 << 10;
