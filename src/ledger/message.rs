//! The ledger's state of one message: the high-water mark of each count, and which ages were counted. This
//! code is pure: it takes a state and a snapshot, and returns the increases.

use std::{sync::Arc, time::Duration};

use delivery_clock::is_plausible;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    cohort::{self, AgeState, NextAges, Windows},
    sink::CounterSink,
};
use crate::model::{BounceKind, Counts, ErrorReason, Measure, Message, Snapshot};

mod bounded;
mod numbers;

use numbers::{Cell, Numbers};

/// A message's counts and ages in their stored form, one packed row per message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct MessageState {
    /// When a source first listed it, in milliseconds since 1970.
    pub(super) first_seen: i64,
    /// When it was sent, if known, in milliseconds since 1970.
    pub(super) sent_at: Option<i64>,
    /// Its campaign; once known it never changes.
    pub(super) campaign: Option<String>,
    /// Whether a snapshot was processed; later ones count by their increase.
    pub(super) met: bool,
    /// Whether its unknown age was already reported.
    pub(super) age_unknown: bool,
    /// The high-water marks of the vendor's counts.
    numbers: Numbers,
    /// The ages that have state.
    pub(super) ages: Vec<AgeState>,
}

/// The values of the last snapshot that are below their high-water mark; only in memory.
pub(super) type Decreases = Vec<(CellKey, u64)>;

/// The position of a count in a snapshot: level, names, measure.
pub(super) type CellKey = (u8, [Arc<str>; 3], Measure);

/// Distinguishes history from new messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adoption {
    /// When the data set of the application was first queried.
    pub(super) birth: Timestamp,
    /// Messages that were sent longer than this before `birth` are history; with zero, none are.
    pub(super) age: Duration,
}

impl Adoption {
    pub(super) fn is_history(self, sent_at: Option<i64>) -> bool {
        let age = i64::try_from(self.age.as_millis()).unwrap_or(i64::MAX);
        let first = self.birth.as_millisecond().saturating_sub(age);
        age > 0 && sent_at.is_some_and(|sent_at| sent_at < first)
    }
}

/// The number of a measure in stored states: its index in [`Measure::ALL`]. A new measure does not compile
/// without a number here, because a wrong number would count under another measure.
fn index(measure: Measure) -> u8 {
    use BounceKind::{Hard, Soft};
    use ErrorReason::{
        Cloud, Dropped, Expired, Other, Registration, Rejected, SendFailed, Suppressed, System,
        Undelivered, Unspecified,
    };
    use Measure::{
        Accepted, Bounces, Complaints, Confirmed, Delivered, Dismissed, Displayed, Errors,
        InboxOpened, Opened, Sent, Skipped, Targeted, Unshowable, Unsubscribed,
    };
    match measure {
        Targeted => 0,
        Accepted => 1,
        Sent => 2,
        Delivered => 3,
        Displayed => 4,
        Opened => 5,
        Dismissed => 6,
        InboxOpened => 7,
        Unshowable => 8,
        Confirmed => 9,
        Unsubscribed => 10,
        Complaints => 11,
        Skipped => 12,
        Errors(Registration) => 13,
        Errors(Expired) => 14,
        Errors(Cloud) => 15,
        Errors(Unspecified) => 16,
        Errors(Rejected) => 17,
        Errors(SendFailed) => 18,
        Errors(Undelivered) => 19,
        Errors(Suppressed) => 20,
        Errors(Dropped) => 21,
        Errors(System) => 22,
        Errors(Other) => 23,
        Bounces(Hard) => 24,
        Bounces(Soft) => 25,
    }
}

impl MessageState {
    /// The state of a message that a source lists for the first time.
    pub(super) fn new(message: &Message, first_seen: Timestamp) -> MessageState {
        MessageState {
            first_seen: first_seen.as_millisecond(),
            sent_at: message.sent_at.map(|time| time.as_millisecond()),
            ..MessageState::default()
        }
    }

    /// Replaces an impossible `first_seen`, from a clock that was unset or ahead, by `now`. Returns whether
    /// it did.
    pub(super) fn date_anew(&mut self, now: Timestamp) -> bool {
        let seen = Timestamp::from_millisecond(self.first_seen).unwrap_or_default();
        let is_wrong = seen > now || !is_plausible(seen);
        if is_wrong {
            self.first_seen = now.as_millisecond();
        }
        is_wrong
    }

    /// Fills in an unknown send time. A future send time may change, because a scheduled message can be
    /// rescheduled.
    pub(super) fn learn_sent_at(&mut self, sent_at: Option<Timestamp>, now: Timestamp) {
        let is_scheduled = !self.met && self.sent_at.is_some_and(|own| own > now.as_millisecond());
        if self.sent_at.is_none() || is_scheduled {
            let sent_at = sent_at.map(|time| time.as_millisecond());
            self.sent_at = sent_at.or(self.sent_at);
        }
    }

    /// The time from which its age is counted.
    pub(super) fn since(&self) -> i64 {
        self.sent_at.unwrap_or(self.first_seen)
    }

    /// Counts a snapshot: the first one completely, unless the message is history, and each later one by its
    /// increase above the high-water marks. `lower` contains the values of the previous snapshot that were
    /// below their high-water mark.
    pub(super) fn count_snapshot(
        &mut self,
        message: &Message,
        snapshot: &Snapshot,
        adoption: Adoption,
        windows: &Windows,
        lower: &mut Decreases,
        sink: &mut dyn CounterSink,
    ) {
        self.learn_sent_at(message.sent_at.or(snapshot.sent_at), snapshot.asked_at);
        let history = !self.met && adoption.is_history(self.sent_at);
        let campaign = message.campaign.as_ref();
        if let (None, Some(campaign)) = (&self.campaign, campaign) {
            // What has been counted so far also belongs to the campaign.
            for (channel, cells) in &self.numbers.read().totals {
                for cell in cells {
                    if let Some(measure) = cell.measure() {
                        sink.campaign(channel, campaign, measure, cell.counted());
                    }
                }
            }
            self.campaign = Some(campaign.to_string());
        }
        let campaign: Option<Arc<str>> = self.campaign.as_deref().map(Arc::from);
        self.met = true;
        let numbers = self.numbers.open();
        let bounded = numbers.bounded(snapshot);
        let snapshot = bounded.as_ref().unwrap_or(snapshot);
        let before = std::mem::take(lower);
        let mut meter = HighWaterMark {
            history,
            before,
            lower,
            decreases: 0,
        };
        let empty: Arc<str> = Arc::from("");
        for totals in &snapshot.totals {
            if !numbers.totals.iter().any(|(own, _)| own == totals.channel) {
                sink.channel(totals.channel);
            }
            let name: Arc<str> = Arc::from(totals.channel);
            let cells = entry(
                &mut numbers.totals,
                |(own, _)| own == totals.channel,
                || (totals.channel.to_owned(), Vec::new()),
            );
            let place = [name, empty.clone(), empty.clone()];
            meter.take(0, &place, &mut cells.1, &totals.counts, |measure, by| {
                sink.total(totals.channel, measure, by);
                if let Some(campaign) = &campaign {
                    sink.campaign(totals.channel, campaign, measure, by);
                }
            });
        }
        for row in &snapshot.breakdown {
            let names = [&row.message_type, &row.platform, &row.vendor_channel];
            let is_own = |own: &(String, String, String, _)| {
                own.0 == **names[0] && own.1 == **names[1] && own.2 == **names[2]
            };
            let cells = entry(&mut numbers.rows, is_own, || {
                let [first, second, third] = names.map(|name| name.to_string());
                (first, second, third, Vec::new())
            });
            let place = names.map(Clone::clone);
            meter.take(1, &place, &mut cells.3, &row.counts, |measure, by| {
                sink.row(names, measure, by);
            });
        }
        for totals in &snapshot.types {
            let cells = entry(
                &mut numbers.types,
                |(own, _)| *own == *totals.message_type,
                || (totals.message_type.to_string(), Vec::new()),
            );
            let place = [totals.message_type.clone(), empty.clone(), empty.clone()];
            meter.take(2, &place, &mut cells.1, &totals.counts, |_, _| {});
        }
        sink.decreases(meter.decreases);
        // Values that are missing in this snapshot keep their state.
        meter.lower.append(&mut meter.before);
        self.ages(snapshot, windows, sink);
    }

    fn ages(&mut self, snapshot: &Snapshot, windows: &Windows, sink: &mut dyn CounterSink) {
        let Some(sent_at) = self.sent_at else {
            if !windows.is_empty() && !std::mem::replace(&mut self.age_unknown, true) {
                sink.missed(None, super::Missed::AgeUnknown);
            }
            return;
        };
        cohort::take(
            &mut self.ages,
            sent_at,
            self.first_seen,
            snapshot,
            windows,
            sink,
        );
    }

    /// Merges the state of the same message under another id whose counts were also counted. The higher of
    /// each value is kept, so that nothing more counts until the vendor's value exceeds it. What both have
    /// counted in addition cannot be undone.
    pub(super) fn merge(&mut self, other: &MessageState, sink: &mut dyn CounterSink) {
        let others = other.numbers.read();
        let numbers = self.numbers.open();
        let campaign = match (&self.campaign, &other.campaign) {
            // The counts of the other state are not in the campaign's counters.
            (Some(name), None) => Some((name.clone(), numbers.totals.clone())),
            (None, Some(name)) => Some((name.clone(), others.totals.clone())),
            _ => None,
        };
        for (channel, cells) in &others.totals {
            let own = entry(
                &mut numbers.totals,
                |(own, _)| own == channel,
                || (channel.clone(), Vec::new()),
            );
            merge_cells(&mut own.1, cells);
        }
        for (message_type, platform, vendor_channel, cells) in &others.rows {
            let own = entry(
                &mut numbers.rows,
                |own| own.0 == *message_type && own.1 == *platform && own.2 == *vendor_channel,
                || {
                    let names = (
                        message_type.clone(),
                        platform.clone(),
                        vendor_channel.clone(),
                    );
                    (names.0, names.1, names.2, Vec::new())
                },
            );
            merge_cells(&mut own.3, cells);
        }
        for (message_type, cells) in &others.types {
            let own = entry(
                &mut numbers.types,
                |(own, _)| own == message_type,
                || (message_type.clone(), Vec::new()),
            );
            merge_cells(&mut own.1, cells);
        }
        if let Some((name, counted)) = campaign {
            let label: Arc<str> = Arc::from(name.as_str());
            for (channel, cells) in &numbers.totals {
                let before = counted.iter().find(|(own, _)| own == channel);
                for cell in cells {
                    let before = before
                        .and_then(|(_, cells)| cells.iter().find(|own| own.measure == cell.measure))
                        .map_or(0, Cell::counted);
                    let more = cell.counted().saturating_sub(before);
                    if let Some(measure) = cell.measure().filter(|_| more > 0) {
                        sink.campaign(channel, &label, measure, more);
                    }
                }
            }
            self.campaign = Some(name);
        }
        self.first_seen = self.first_seen.min(other.first_seen);
        self.sent_at = match (self.sent_at, other.sent_at) {
            (Some(own), Some(others)) => Some(own.min(others)),
            (own, others) => own.or(others),
        };
        self.met |= other.met;
        self.age_unknown |= other.age_unknown;
        cohort::merge(&mut self.ages, &other.ages);
    }

    /// Packs the state to save memory until the next change.
    pub(super) fn pack(&mut self) {
        self.numbers.pack();
        self.ages.shrink_to_fit();
    }

    /// Whether a part of its counts is history.
    pub(super) fn has_base(&self) -> bool {
        let numbers = self.numbers.read();
        let totals = numbers.totals.iter().map(|own| &own.1);
        let rows = numbers.rows.iter().map(|own| &own.3);
        totals.chain(rows).flatten().any(|cell| cell.base > 0)
    }

    /// The part of a total that is history.
    pub(super) fn base_of_total(&self, channel: &str, measure: Measure) -> u64 {
        let numbers = self.numbers.read();
        let found = numbers.totals.iter().find(|own| own.0 == channel);
        base(found.map(|own| &own.1), measure)
    }

    /// The part of a breakdown's row that is history.
    pub(super) fn base_of_row(&self, names: [&Arc<str>; 3], measure: Measure) -> u64 {
        let is_own = |own: &&(String, String, String, _)| {
            own.0 == **names[0] && own.1 == **names[1] && own.2 == **names[2]
        };
        let numbers = self.numbers.read();
        base(numbers.rows.iter().find(is_own).map(|own| &own.3), measure)
    }

    /// Whether an unchanged snapshot matters to an age.
    pub(super) fn tells_half(&self, snapshot: &Snapshot, windows: &Windows) -> bool {
        let tells = |sent_at| cohort::tells_half(&self.ages, sent_at, snapshot, windows);
        self.sent_at.is_some_and(tells)
    }

    /// Records an answer without counts of the message.
    pub(super) fn answered(&mut self, at: Timestamp, windows: &Windows) {
        if let Some(sent_at) = self.sent_at {
            cohort::answered(&mut self.ages, sent_at, at.as_millisecond(), windows);
        }
    }

    /// Closes the windows that have ended, and returns whether anything changed.
    pub(super) fn close(
        &mut self,
        now: Timestamp,
        windows: &Windows,
        sink: &mut dyn CounterSink,
    ) -> bool {
        let Some(sent_at) = self.sent_at else {
            return false;
        };
        cohort::close(
            &mut self.ages,
            sent_at,
            self.first_seen,
            now.as_millisecond(),
            windows,
            sink,
        )
    }

    /// When, after `now`, an answer is next needed for an age, and when the next window ends.
    pub(super) fn next_ages(&self, now: Timestamp, windows: &Windows) -> NextAges {
        let (at, states) = (now.as_millisecond(), &self.ages);
        match self.sent_at {
            Some(sent_at) => cohort::next(states, sent_at, self.first_seen, at, windows),
            None => NextAges::default(),
        }
    }
}

fn entry<T>(all: &mut Vec<T>, is_own: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let place = match all.iter().position(is_own) {
        Some(place) => place,
        None => {
            all.push(new());
            all.len() - 1
        }
    };
    &mut all[place]
}

fn merge_cells(cells: &mut Vec<Cell>, others: &[Cell]) {
    for other in others {
        match cells.iter_mut().find(|own| own.measure == other.measure) {
            Some(own) => {
                let counted = own.counted().saturating_add(other.counted());
                own.highest = own.highest.max(other.highest);
                // The part that is in no counter.
                own.base = own.highest.saturating_sub(counted);
            }
            None => cells.push(*other),
        }
    }
}

fn base(cells: Option<&Vec<Cell>>, measure: Measure) -> u64 {
    let own = index(measure);
    let mut cells = cells.into_iter().flatten();
    cells
        .find(|cell| cell.measure == own)
        .map_or(0, |cell| cell.base)
}

/// Compares a snapshot's counts with the high-water marks.
struct HighWaterMark<'a> {
    history: bool,
    before: Decreases,
    lower: &'a mut Decreases,
    decreases: u64,
}

impl HighWaterMark<'_> {
    fn take(
        &mut self,
        level: u8,
        names: &[Arc<str>; 3],
        cells: &mut Vec<Cell>,
        counts: &Counts,
        mut grown: impl FnMut(Measure, u64),
    ) {
        for (measure, count) in counts {
            let own = index(*measure);
            let known = cells.iter_mut().find(|cell| cell.measure == own);
            let highest = match known {
                Some(cell) => {
                    let highest = cell.highest;
                    if *count > highest {
                        cell.highest = *count;
                        grown(*measure, count - highest);
                    }
                    highest
                }
                None => {
                    let base = if self.history { *count } else { 0 };
                    cells.push(Cell {
                        measure: own,
                        highest: *count,
                        base,
                    });
                    // Also for 0, so that the series is created.
                    grown(*measure, count - base);
                    base
                }
            };
            let is_place = |(place, _): &(CellKey, u64)| {
                place.0 == level && place.1 == *names && place.2 == *measure
            };
            let last = match self.before.iter().position(is_place) {
                Some(place) => self.before.swap_remove(place).1,
                None => highest,
            };
            if *count < last {
                self.decreases += 1;
            }
            if *count < highest {
                self.lower.push(((level, names.clone(), *measure), *count));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_measure_is_its_place() {
        for (place, measure) in Measure::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(index(measure)), place, "{measure:?}");
        }
    }
}
