//! What a store may hold, read row by row as the ledger reads it: the way in for fuzzing.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{Amount, CounterKey, Windows, account::unpack, reports::ReportDedup};
use crate::model::DailyPublication;

/// Reads one row: `c` is a counter, its key and its amount in two lines, `r` what is remembered of
/// reports, anything else the numbers of a message. What can be read is written back the same.
///
/// # Panics
///
/// It is not written back the same.
pub fn read_stored(kind: u8, row: &[u8]) {
    match kind {
        b'c' => {
            let text = String::from_utf8_lossy(row);
            let (key, amount) = text.split_once('\n').unwrap_or((&text, ""));
            if let Some(key) = CounterKey::parse(key) {
                let again = CounterKey::parse(&key.to_text());
                assert_eq!(
                    again.as_ref(),
                    Some(&key),
                    "a key is another one when read again"
                );
            }
            if let Some(mut amount) = Amount::parse(amount) {
                let again = Amount::parse(&amount.to_text());
                assert_eq!(
                    again.as_ref(),
                    Some(&amount),
                    "an amount is another one when read again"
                );
                amount.add(&amount.clone());
                let _ = (amount.is_zero(), amount.things(), amount.zero());
            }
        }
        b'r' => {
            let mut memory = ReportDedup::parse(row);
            let again = ReportDedup::parse(&memory.to_bytes());
            assert_eq!(again, memory, "a memory is another one when read again");
            memory.merge(&again);
            assert_eq!(again, memory, "a memory has news for itself");
        }
        _ => read_message(row),
    }
}

fn read_message(row: &[u8]) {
    let id = (Arc::from("application"), Arc::from("message"));
    let Ok(mut state) = unpack(&id, row) else {
        return;
    };
    if let Ok(bytes) = postcard::to_allocvec(&state) {
        let again = unpack(&id, &bytes).ok();
        assert_eq!(
            again.as_ref(),
            Some(&state),
            "a message is another one when read again"
        );
    }
    let now = Timestamp::from_second(1_795_000_000).unwrap_or_default();
    let ages = [300, 86_400, u64::MAX].map(Duration::from_secs);
    let daily = DailyPublication {
        utc_offset: SignedDuration::from_hours(8),
        complete_at: Duration::from_secs(6 * 3600),
    };
    for daily in [None, Some(daily)] {
        let windows = Windows::new(&ages, Some(Duration::from_secs(60)), daily);
        state.answered(now, &windows);
        let _ = (
            state.next_ages(now, &windows),
            state.has_base(),
            state.since(),
        );
    }
    state.learn_sent_at(None, now);
    state.date_anew(now);
}
