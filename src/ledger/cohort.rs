//! Messages at the same age: which snapshot represents an age, and which ages were missed.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::sink::{CohortSample, CounterSink, Missed};
use crate::model::{Age, Counts, DailyPublication, Measure, Snapshot};

/// The state of one age of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AgeState {
    /// The age in seconds; 0 represents the first published state.
    age: u32,
    /// Whether it was counted or missed, or had passed before the message became known.
    done: bool,
    /// Whether an answer without counts came in the window.
    answered: bool,
    /// The time of the last query up to half the age, and the number of sends then.
    half: Option<(i64, u64)>,
}

/// The ages of an account's cohorts, and how long each waits for an answer.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    ages: Vec<Age>,
    interval: Duration,
    daily: Option<DailyPublication>,
}

const DAY: i64 = 86_400_000;

/// The first start of a vendor's day at or after a time.
fn midnight(daily: DailyPublication, at: i64) -> i64 {
    let offset = daily.utc_offset.as_secs().saturating_mul(1000);
    let into = at.saturating_add(offset).rem_euclid(DAY);
    if into == 0 {
        at
    } else {
        at.saturating_add(DAY - into)
    }
}

/// For the vendor's day that starts at `day`: the earliest time of a query whose answer can represent an age,
/// and the end of that day. An earlier answer may be incomplete, or may be that of two days before.
fn complete(daily: DailyPublication, day: i64) -> (i64, i64) {
    let after = i64::try_from(daily.complete_at.as_millis()).unwrap_or(DAY);
    (
        day.saturating_add(after.min(DAY - 1)),
        day.saturating_add(DAY - 1),
    )
}

impl Windows {
    /// The windows of an account whose messages are queried every `interval`; without counts of messages
    /// there are none. A vendor that publishes once a day has only ages of at least a day, and the first
    /// published state.
    pub fn new(
        ages: &[Duration],
        interval: Option<Duration>,
        daily: Option<DailyPublication>,
    ) -> Windows {
        let Some(interval) = interval else {
            return Windows::default();
        };
        let seconds = |age: &Duration| u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        let mut ages: Vec<Age> = ages
            .iter()
            .map(seconds)
            .filter(|age| daily.is_none() || *age >= 86_400)
            .map(Age::Seconds)
            .collect();
        if daily.is_some() && !ages.is_empty() {
            ages.push(Age::First);
        }
        ages.sort_unstable();
        ages.dedup();
        Windows {
            ages,
            interval,
            daily,
        }
    }

    /// The ages.
    pub fn ages(&self) -> &[Age] {
        &self.ages
    }

    /// Whether there are no ages.
    pub fn is_empty(&self) -> bool {
        self.ages.is_empty()
    }

    /// When an age is reached, and the start and end of the window for its answer.
    fn window(&self, age: Age, sent_at: i64) -> (i64, i64, i64) {
        match (age, self.daily) {
            // The counts of a day are published on the next day. `First` is the state published then. It can
            // never have passed already when a message of at most a day becomes known.
            (Age::First, daily) => {
                let daily = daily.unwrap_or(DailyPublication {
                    utc_offset: SignedDuration::ZERO,
                    complete_at: Duration::ZERO,
                });
                let (begins, ends) = complete(daily, midnight(daily, sent_at + 1));
                (ends + 1, begins, ends)
            }
            (Age::Seconds(seconds), Some(daily)) => {
                let reached = sent_at + i64::from(seconds) * 1000;
                let (begins, ends) = complete(daily, midnight(daily, reached));
                (reached, begins, ends)
            }
            (Age::Seconds(seconds), None) => {
                let age = i64::from(seconds) * 1000;
                let twice = i64::try_from(self.interval.as_millis()).unwrap_or(DAY) * 2;
                let reached = sent_at + age;
                (reached, reached, reached + twice.max(age / 10))
            }
        }
    }
}

fn code(age: Age) -> u32 {
    match age {
        Age::First => 0,
        Age::Seconds(seconds) => seconds,
    }
}

fn state(states: &mut Vec<AgeState>, age: Age) -> &mut AgeState {
    let own = code(age);
    let place = match states.iter().position(|state| state.age == own) {
        Some(place) => place,
        None => {
            states.push(AgeState {
                age: own,
                done: false,
                answered: false,
                half: None,
            });
            states.len() - 1
        }
    };
    &mut states[place]
}

fn find(states: &[AgeState], age: Age) -> Option<&AgeState> {
    let own = code(age);
    states.iter().find(|state| state.age == own)
}

fn get(counts: &Counts, measure: Measure) -> Option<u64> {
    counts
        .iter()
        .find(|(own, _)| *own == measure)
        .map(|(_, count)| *count)
}

/// Sent and delivered, if both are present.
fn both(counts: &Counts) -> Option<(u64, u64)> {
    get(counts, Measure::Sent).zip(get(counts, Measure::Delivered))
}

/// The number of sends over all channels.
fn sent_of(snapshot: &Snapshot) -> Option<u64> {
    let totals = snapshot.totals.iter();
    let sents = totals.filter_map(|totals| get(&totals.counts, Measure::Sent));
    sents.fold(None, |sum, sent| {
        Some(sum.unwrap_or(0_u64).saturating_add(sent))
    })
}

/// Whether this is the latest known count of sends up to half the age.
fn is_half(
    states: &[AgeState],
    age: Age,
    (at, sent): (i64, u64),
    sent_at: i64,
    reached: i64,
) -> bool {
    let newer = match find(states, age).and_then(|state| state.half) {
        Some((before, own)) => at >= before && sent != own,
        None => true,
    };
    newer && at >= sent_at && at - sent_at <= (reached - sent_at) / 2
}

/// Whether a snapshot provides a previously unknown count of sends up to half an age.
pub(super) fn tells_half(
    states: &[AgeState],
    sent_at: i64,
    snapshot: &Snapshot,
    windows: &Windows,
) -> bool {
    let at = snapshot.asked_at.as_millisecond();
    let Some(sent) = sent_of(snapshot) else {
        return false;
    };
    windows.ages.iter().any(|age| {
        let (reached, _, _) = windows.window(*age, sent_at);
        is_half(states, *age, (at, sent), sent_at, reached)
    })
}

/// Uses a snapshot for the ages whose windows it falls into.
pub(super) fn take(
    states: &mut Vec<AgeState>,
    sent_at: i64,
    first_seen: i64,
    snapshot: &Snapshot,
    windows: &Windows,
    sink: &mut dyn CounterSink,
) {
    let at = snapshot.asked_at.as_millisecond();
    let sent = sent_of(snapshot);
    close(states, sent_at, first_seen, at, windows, sink);
    for age in &windows.ages {
        let (reached, begins, ends) = windows.window(*age, sent_at);
        if find(states, *age).is_some_and(|state| state.done) || first_seen > reached {
            continue;
        }
        if let Some(sent) = sent
            && is_half(states, *age, (at, sent), sent_at, reached)
        {
            state(states, *age).half = Some((at, sent));
        }
        if at < begins || at > ends {
            continue;
        }
        let channels: Vec<_> = snapshot
            .totals
            .iter()
            .filter_map(|totals| {
                let (sent, delivered) = both(&totals.counts)?;
                (sent > 0).then_some((totals.channel, sent, delivered))
            })
            .collect();
        let state = state(states, *age);
        if channels.is_empty() {
            state.answered = true;
            continue;
        }
        state.done = true;
        if still_sending(state.half, sent) {
            sink.missed(Some(*age), Missed::StillSending);
            continue;
        }
        let mut rows: BTreeMap<_, (u64, u64)> = BTreeMap::new();
        for row in &snapshot.breakdown {
            if let Some((sent, delivered)) = both(&row.counts) {
                let place = (row.platform.clone(), row.vendor_channel.clone());
                let sums = rows.entry(place).or_default();
                sums.0 = sums.0.saturating_add(sent);
                sums.1 = sums.1.saturating_add(delivered);
            }
        }
        let age = *age;
        sink.cohort(CohortSample {
            age,
            channels,
            rows,
        });
    }
}

/// Whether the sends exceed 1.1 times those at half the age: then the message is sent with a throttle or by
/// time zones.
fn still_sending(half: Option<(i64, u64)>, sent: Option<u64>) -> bool {
    match (half, sent) {
        (Some((_, half)), Some(sent)) => u128::from(sent) * 10 > u128::from(half) * 11,
        _ => false,
    }
}

/// Records an answer without counts.
pub(super) fn answered(states: &mut Vec<AgeState>, sent_at: i64, at: i64, windows: &Windows) {
    for age in &windows.ages {
        let (_, begins, ends) = windows.window(*age, sent_at);
        if (begins..=ends).contains(&at) {
            state(states, *age).answered = true;
        }
    }
}

/// Closes the windows that ended before `now`, and returns whether there was one.
pub(super) fn close(
    states: &mut Vec<AgeState>,
    sent_at: i64,
    first_seen: i64,
    now: i64,
    windows: &Windows,
    sink: &mut dyn CounterSink,
) -> bool {
    let mut changed = false;
    for age in &windows.ages {
        let (reached, _, ends) = windows.window(*age, sent_at);
        if now <= ends || first_seen > reached {
            continue;
        }
        let state = state(states, *age);
        if !std::mem::replace(&mut state.done, true) {
            changed = true;
            let reason = if state.answered {
                Missed::NoData
            } else {
                Missed::Late
            };
            sink.missed(Some(*age), reason);
        }
    }
    changed
}

/// Merges the ages of the same message under another id. An age that is done in either is done.
pub(super) fn merge(states: &mut Vec<AgeState>, others: &[AgeState]) {
    for other in others {
        match states.iter_mut().find(|own| own.age == other.age) {
            Some(own) => {
                own.done |= other.done;
                own.answered |= other.answered;
                // The newer of the two.
                own.half = own.half.max(other.half);
            }
            None => states.push(other.clone()),
        }
    }
}

/// The next times that the ages of a message wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NextAges {
    /// When the next window starts.
    pub(super) begins: Option<i64>,
    /// When the next open or future window ends.
    pub(super) ends: Option<i64>,
    /// The earliest time of an answer that can represent an age.
    pub(super) open: Option<i64>,
}

/// The next times after `now`.
pub(super) fn next(
    states: &[AgeState],
    sent_at: i64,
    first_seen: i64,
    now: i64,
    windows: &Windows,
) -> NextAges {
    let mut next = NextAges::default();
    let earlier = |old: Option<i64>, new: i64| Some(old.map_or(new, |old| old.min(new)));
    for age in &windows.ages {
        let (reached, begins, ends) = windows.window(*age, sent_at);
        if find(states, *age).is_some_and(|state| state.done) || first_seen > reached {
            continue;
        }
        if begins > now {
            next.begins = earlier(next.begins, begins);
        }
        next.ends = earlier(next.ends, ends);
        next.open = earlier(next.open, begins);
    }
    next
}
