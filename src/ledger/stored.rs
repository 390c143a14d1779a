//! Parses single stored rows in the same way as the ledger; the entry point for fuzzing.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{Amount, CounterKey, Windows, account::unpack, reports::ReportDedup};
use crate::model::DailyPublication;

/// Parses one row: kind `c` is a counter with its key and amount on two lines, `r` is deduplication data of
/// reports, and anything else is the state of a message. A row that can be parsed must be unchanged when it
/// is written and parsed again.
///
/// # Panics
///
/// If the row changes.
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
                    "a key changes when it is written and parsed again"
                );
            }
            if let Some(mut amount) = Amount::parse(amount) {
                let again = Amount::parse(&amount.to_text());
                assert_eq!(
                    again.as_ref(),
                    Some(&amount),
                    "an amount changes when it is written and parsed again"
                );
                amount.add(&amount.clone());
                let _ = (amount.is_zero(), amount.things(), amount.zero());
            }
        }
        b'r' => {
            let mut memory = ReportDedup::parse(row);
            let again = ReportDedup::parse(&memory.to_bytes());
            assert_eq!(
                again, memory,
                "deduplication data changes when it is written and parsed again"
            );
            memory.merge(&again);
            assert_eq!(
                again, memory,
                "merging deduplication data with itself adds something"
            );
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
            "a message's state changes when it is written and parsed again"
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
