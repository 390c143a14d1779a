//! Reading a long span of time slice by slice, one query per slice, so that nothing of a long gap is
//! held in memory as a whole and a failure costs one slice.
//!
//! A round reads from the cursor, less what the vendor hands out late, up to now. The cursor itself
//! is the ledger's ([`Observation::Cursor`]). Where a round stands is kept here and holds only
//! while the ledger's cursor is where the round has put it: if the ledger could not take a slice,
//! or after a restart, the round begins again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use super::later;
use crate::{
    model::Dataset,
    providers::{Failure, Observation},
};

/// How far the vendor's clock and ours may differ, and a little more. A cursor that is further in
/// the future was set while our clock was wrong.
pub(super) const SKEW: SignedDuration = SignedDuration::from_mins(15);

/// How far back rounds go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// The first round of an application: without a past, what is older counts nothing.
    pub(super) first: SignedDuration,
    /// What the vendor hands out late.
    pub(super) overlap: SignedDuration,
    /// The vendor keeps no more, or the ledger does not remember more rows.
    pub(super) kept: SignedDuration,
}

impl Reach {
    /// Where a round begins.
    fn start(self, cursor: Option<Timestamp>, now: Timestamp) -> Timestamp {
        let kept = later(now, -self.kept);
        match cursor {
            None => later(now, -self.first),
            // What was read under a wrong clock is not known.
            Some(cursor) if is_future(cursor, now) => kept,
            Some(cursor) => later(cursor, -self.overlap).max(kept),
        }
    }
}

fn is_future(cursor: Timestamp, now: Timestamp) -> bool {
    cursor > later(now, SKEW)
}

/// Where the round of one data set of one application stands.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// Where the next slice begins.
    pub(super) next: Timestamp,
    /// Rows from before are not wanted, even if the vendor sends them.
    pub(super) floor: Timestamp,
    /// Where the ledger's cursor is.
    cursor: Option<Timestamp>,
    /// The vendor did not hand out all rows of a slice: the cursor stays before it.
    incomplete: bool,
    /// The first thing that went wrong without ending the round.
    failure: Option<Failure>,
}

/// What is wrong with a slice whose rows were handed over nevertheless.
#[derive(Clone, Debug, Default)]
pub(super) struct SliceFlaws {
    /// The vendor did not hand out all rows: they have to be asked for again.
    pub(super) incomplete: Option<Failure>,
    /// Rows that cannot be read, which another query does not change.
    pub(super) unreadable: Option<Failure>,
}

/// The rounds of all applications.
#[derive(Debug, Default)]
pub(super) struct Rounds(Mutex<HashMap<(Dataset, Arc<str>), Round>>);

impl Rounds {
    fn lock(&self) -> MutexGuard<'_, HashMap<(Dataset, Arc<str>), Round>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The round that goes on, or a new one. `cursor` is the ledger's.
    pub(super) fn resume(
        &self,
        dataset: Dataset,
        application: &Arc<str>,
        cursor: Option<Timestamp>,
        (reach, now): (Reach, Timestamp),
    ) -> Round {
        let (start, kept) = (reach.start(cursor, now), later(now, -reach.kept));
        let rounds = self.lock();
        let round = rounds.get(&(dataset, application.clone()));
        let goes_on = |round: &&Round| round.cursor == cursor && !is_future(round.next, now);
        match round.filter(goes_on) {
            Some(round) => Round {
                next: round.next.max(kept),
                floor: round.floor.max(kept),
                ..round.clone()
            },
            None => Round {
                next: start,
                floor: if cursor.is_none() { start } else { kept },
                cursor,
                incomplete: false,
                failure: None,
            },
        }
    }

    /// Ends the slice up to `end` of a round up to `now`.
    ///
    /// # Errors
    ///
    /// With the last slice: what is wrong with any of the round's.
    pub(super) fn advance(
        &self,
        dataset: Dataset,
        application: &Arc<str>,
        mut round: Round,
        flaws: SliceFlaws,
        (end, now): (Timestamp, Timestamp),
        observations: &mut Vec<Observation>,
    ) -> Result<(), Failure> {
        round.incomplete |= flaws.incomplete.is_some();
        let flaw = flaws.incomplete.or(flaws.unreadable);
        round.failure = round.failure.or(flaw);
        // The ledger keeps milliseconds.
        let until = Timestamp::from_second(end.min(now).as_second()).unwrap_or(now);
        let behind = |cursor: Timestamp| cursor < until || is_future(cursor, now);
        if !round.incomplete && round.cursor.is_none_or(behind) {
            observations.push(Observation::Cursor(until));
            round.cursor = Some(until);
        }
        let key = (dataset, application.clone());
        if end >= now {
            self.lock().remove(&key);
            return round.failure.map_or(Ok(()), Err);
        }
        round.next = end;
        self.lock().insert(key, round);
        observations.push(Observation::More);
        Ok(())
    }

    /// Keeps a round whose slice is to be read again, in full or in a shorter piece.
    pub(super) fn keep(&self, dataset: Dataset, application: &Arc<str>, round: Round) {
        self.lock().insert((dataset, application.clone()), round);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::vendor, *};
    use crate::providers::FailureKind;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn step(
        rounds: &Rounds,
        cursor: Option<i64>,
        incomplete: bool,
        (end, now): (i64, i64),
    ) -> (i64, Vec<String>, bool) {
        let application = Arc::from("app");
        let reach = Reach {
            first: SignedDuration::from_secs(now - 100),
            overlap: SignedDuration::from_secs(cursor.unwrap_or(0) - 100),
            kept: SignedDuration::from_secs(now),
        };
        let round = rounds.resume(vendor::LOG, &application, cursor.map(at), (reach, at(now)));
        let begin = round.next.as_second();
        let flaws = SliceFlaws {
            incomplete: incomplete.then(|| Failure::new(FailureKind::Vendor, "short")),
            unreadable: None,
        };
        let span = (at(end), at(now));
        let mut observations = Vec::new();
        let told = &mut observations;
        let ended = rounds.advance(vendor::LOG, &application, round, flaws, span, told);
        let observed = observations
            .into_iter()
            .map(|observation| match observation {
                Observation::Cursor(until) => format!("until {}", until.as_second()),
                other => format!("{other:?}"),
            });
        (begin, observed.collect(), ended.is_ok())
    }

    #[test]
    fn a_round_goes_on_where_it_stopped_and_its_cursor_never_goes_back() {
        let rounds = Rounds::default();
        let observed = |texts: &[&str]| -> Vec<String> {
            texts.iter().map(|text| (*text).to_owned()).collect()
        };
        assert_eq!(
            step(&rounds, Some(150), false, (120, 200)),
            (100, observed(&["More"]), true)
        );
        assert_eq!(
            step(&rounds, Some(150), false, (160, 200)),
            (120, observed(&["until 160", "More"]), true)
        );
        // The ledger did not take the slice: the round begins again.
        assert_eq!(
            step(&rounds, Some(150), false, (160, 200)),
            (100, observed(&["until 160", "More"]), true)
        );
        assert_eq!(
            step(&rounds, Some(160), false, (215, 200)),
            (160, observed(&["until 200"]), true)
        );
        // The next round begins anew.
        assert_eq!(
            step(&rounds, Some(200), false, (120, 200)),
            (100, observed(&["More"]), true)
        );
    }

    #[test]
    fn the_cursor_stays_before_a_slice_that_is_not_complete_and_the_round_fails_at_its_end() {
        let rounds = Rounds::default();
        assert_eq!(step(&rounds, None, false, (120, 200)).1.len(), 2);
        assert_eq!(
            step(&rounds, Some(120), true, (140, 200)),
            (120, vec!["More".to_owned()], true)
        );
        assert_eq!(
            step(&rounds, Some(120), false, (200, 200)),
            (140, Vec::new(), false)
        );
    }

    #[test]
    fn a_cursor_of_a_wrong_clock_is_set_back_and_what_is_kept_is_read_again() {
        let rounds = Rounds::default();
        let (begin, observed, _) = step(&rounds, Some(2_000), false, (150, 200));
        assert_eq!(
            (begin, observed),
            (0, vec!["until 150".to_owned(), "More".to_owned()])
        );
        assert_eq!(step(&rounds, Some(150), false, (200, 200)).0, 150);
        let reach = Reach {
            first: SignedDuration::from_secs(10),
            overlap: SignedDuration::from_secs(100),
            kept: SignedDuration::from_secs(500),
        };
        // Clocks that differ by minutes are no wrong clocks.
        for (cursor, start) in [
            (None, 990),
            (Some(950), 850),
            (Some(1_500), 1_400),
            (Some(200), 500),
        ] {
            assert_eq!(
                reach.start(cursor.map(at), at(1_000)),
                at(start),
                "{cursor:?}"
            );
        }
    }
}
