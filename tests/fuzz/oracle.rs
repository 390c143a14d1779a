//! What holds for every reader and input: no panic, and a time that grows with the length alone.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use super::targets::Target;

/// The processor time that an input may take.
#[derive(Clone, Copy)]
pub struct Limits {
    /// For an input of any length.
    pub at_once: Duration,
    /// For each of its bytes.
    pub per_byte: Duration,
}

/// The processor time of this thread.
pub fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(time.tv_nsec.unsigned_abs())
}

/// Whatever a text can be decoded to is searched for secrets, up to 64 times its length, and each
/// input is shown in three ways: linear, but not cheap.
const COST_OF_REDACTION: u32 = 16;
/// A short text of many encodings costs that at once, and twice as much where another thread shares the core.
const START_OF_REDACTION: u32 = 4;

/// Reads an input, and says what is wrong with how it went.
pub fn judge(target: &Target, input: &[u8], limits: Limits) -> Result<Duration, String> {
    let (start, cost) = if target.name == "redaction" {
        (START_OF_REDACTION, COST_OF_REDACTION)
    } else {
        (1, 1)
    };
    let length = u32::try_from(input.len()).unwrap_or(u32::MAX);
    let most = limits.at_once * start + limits.per_byte * cost * length;
    let mut took = run(target, input)?;
    // The first use of something compiles its patterns; another process may have emptied the caches.
    for _ in 0..2 {
        if took <= most {
            break;
        }
        took = took.min(run(target, input)?);
    }
    if took > most {
        let length = input.len();
        return Err(format!(
            "takes {took:?} for {length} bytes, more than {most:?}"
        ));
    }
    Ok(took)
}

fn run(target: &Target, input: &[u8]) -> Result<Duration, String> {
    let before = spent();
    let ended = catch_unwind(AssertUnwindSafe(|| target.read(input)));
    let took = spent() - before;
    ended.map(|()| took).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|own| (*own).to_owned()));
        format!("panics: {}", text.unwrap_or_default())
    })
}
