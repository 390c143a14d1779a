//! Long work in the middle of short work.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Works at once. If it is long, whatever else waits for this thread goes to another one meanwhile:
/// requests, scrapes and timers do not wait for a large answer to be read.
pub fn aside<T>(long: bool, work: impl FnOnce() -> T) -> T {
    let runtime = Handle::try_current().map(|handle| handle.runtime_flavor());
    if long && matches!(runtime, Ok(RuntimeFlavor::MultiThread)) {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

/// An answer of this size takes a millisecond or more to read.
pub const LARGE_ANSWER: usize = 256 << 10;
