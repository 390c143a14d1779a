//! How the delivery rate of each account went, in at most the last two hours, and its picture.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::numbers::{Numbers, Pair};
use crate::series::Table;

/// The time between two points.
pub(in crate::web) const STEP: Duration = Duration::from_secs(20);
/// So many points are kept: two hours.
const POINTS: usize = 360;
/// The picture begins with so many: ten minutes.
const FEWEST: usize = 30;
/// A rate is that of the last five minutes.
const WINDOW: usize = 15;
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 56.0;

/// What was sent and delivered by account at the last moments.
#[derive(Default)]
pub struct Courses(Mutex<BTreeMap<String, VecDeque<Pair>>>);

/// A course as the page shows it.
pub(super) struct Picture {
    /// The pieces of the line, as points of SVG; apart where nothing was sent.
    pub(super) lines: Vec<String>,
    /// The place of the newest rate.
    pub(super) dot: (String, String),
    /// Over how much time, in words.
    pub(super) span: String,
    /// The same in words, for who does not see it.
    pub(super) words: String,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Courses {
    /// Notes the rates as they are now.
    pub(in crate::web) fn note(&self, table: &Table, now: Timestamp) {
        let mut numbers = Numbers {
            rates_alone: true,
            ..Numbers::default()
        };
        table.visit(now, &mut numbers);
        let mut courses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        courses.retain(|account, _| numbers.accounts.contains_key(account));
        for (account, own) in numbers.accounts {
            let course = courses.entry(account).or_default();
            if course.len() >= POINTS {
                course.pop_front();
            }
            course.push_back(own.rated());
        }
    }

    /// The picture of an account's course; `None`: there is nothing to see yet.
    pub(super) fn picture(&self, account: &str) -> Option<Picture> {
        let courses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        picture(&rates(courses.get(account)?))
    }
}

/// The rate at each point: of what was sent in the window before it.
fn rates(course: &VecDeque<Pair>) -> Vec<Option<f64>> {
    let mut rates = vec![None; course.len()];
    for (index, rate) in rates.iter_mut().enumerate().skip(1) {
        let (before, now) = (course[index.saturating_sub(WINDOW)], course[index]);
        let grown = Pair {
            sent: now.sent - before.sent,
            delivered: now.delivered - before.delivered,
        };
        // Less than nothing: the counters began anew, on this replica or in other cohorts.
        *rate = grown.rate().filter(|_| grown.delivered >= 0.0);
    }
    rates
}

fn picture(rates: &[Option<f64>]) -> Option<Picture> {
    let known = || rates.iter().flatten().copied();
    let last = known().last()?;
    let (low, high) = known().fold((f64::MAX, f64::MIN), |(low, high), rate| {
        (low.min(rate), high.max(rate))
    });
    let shown = rates.len().max(FEWEST);
    #[expect(clippy::cast_precision_loss, reason = "there are few points")]
    let place = |index: usize, rate: f64| {
        let x = (shown - rates.len() + index) as f64 / (shown - 1) as f64;
        let y = 1.0 - rate.clamp(0.0, 1.0);
        (
            format!("{:.1}", 3.0 + x * (WIDTH - 6.0)),
            format!("{:.1}", 3.0 + y * (HEIGHT - 6.0)),
        )
    };
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    let mut dot = (String::new(), String::new());
    for (index, rate) in rates.iter().enumerate() {
        let Some(rate) = rate else {
            open = false;
            continue;
        };
        dot = place(index, *rate);
        if !open {
            lines.push(String::new());
        }
        open = true;
        if let Some(line) = lines.last_mut() {
            // Writing to a string does not fail.
            let _ = write!(line, "{},{} ", dot.0, dot.1);
        }
    }
    let seconds = STEP.as_secs() * shown as u64;
    let span = super::length(i64::try_from(seconds).unwrap_or(i64::MAX));
    Some(Picture {
        lines,
        dot,
        words: format!(
            "Delivery rate of the last {span}: {:.1} % now, between {:.1} % and {:.1} %.",
            100.0 * last,
            100.0 * low,
            100.0 * high
        ),
        span,
        width: WIDTH,
        height: HEIGHT,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(pairs: &[(f64, f64)]) -> VecDeque<Pair> {
        let pair = |(sent, delivered): &(f64, f64)| Pair {
            sent: *sent,
            delivered: *delivered,
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_rate_is_that_of_what_was_sent_lately() {
        let course = course(&[(100.0, 0.0), (200.0, 90.0), (200.0, 90.0), (300.0, 110.0)]);
        let rates = rates(&course);
        assert_eq!(rates, [None, Some(0.9), Some(0.9), Some(0.55)]);
        let picture = picture(&rates).unwrap();
        assert_eq!(picture.lines.len(), 1);
        assert_eq!(
            picture.words,
            "Delivery rate of the last 10 min: 55.0 % now, between 55.0 % and 90.0 %."
        );
    }

    #[test]
    fn where_nothing_was_sent_or_counters_began_anew_there_is_a_gap() {
        let course = course(&[(5.0, 5.0), (5.0, 5.0), (0.0, 0.0), (10.0, 9.0)]);
        assert_eq!(rates(&course), [None, None, None, Some(0.8)]);
        assert!(picture(&[None, None]).is_none());
        let lines = picture(&[Some(0.5), None, Some(0.6)]).unwrap().lines;
        assert_eq!(lines.len(), 2);
    }
}
