//! The list of pushes: `QueryPushRecords`, in windows of time that the vendor's limits allow.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};

use super::{
    AlibabaPush, MAX_SPAN, time,
    wire::{self, PushRecord, PushStatus},
};
use crate::{
    model::{Application, Dataset, Message},
    providers::{
        Failure, FailureKind, ListQuery, Listing, Observation,
        paging::{Page, PageRequest, Paging, RowKeys, read_windows},
    },
};

const ACTION: &str = "QueryPushRecords";
/// The vendor's limits: pages from 1 to 10,000, at most 100 records in each.
const PAGING: Paging = Paging {
    first_page: 1,
    per_page: 100,
    max_pages: 10_000,
    keys: RowKeys::Ids,
};
/// A period that is too long by the vendor's unknown limit is asked for in shorter windows, down to
/// this length.
const MIN_SPAN: SignedDuration = SignedDuration::from_hours(24);
/// The vendor accepts requests whose clock is this far from its own: what it lists under a time
/// that has not come here yet is listed again.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(15);
/// A push that is still scheduled so long after its time will not be sent.
const MAX_DELAY: SignedDuration = SignedDuration::from_hours(24);

/// A part of the list, by the time of the pushes. Both ends are whole seconds.
#[derive(Clone, Debug)]
struct Window {
    start: i64,
    end: i64,
    /// The `Total` of its first page.
    total: Arc<AtomicU64>,
    /// Of a second half: the totals of the whole and of the first half.
    before: Option<[Arc<AtomicU64>; 2]>,
}

impl Window {
    fn new(start: i64, end: i64) -> Window {
        Window {
            start,
            end,
            total: Arc::default(),
            before: None,
        }
    }

    /// The fewest windows of the same length, at most `span`, from `start` to `end`: none of them
    /// is much shorter than the others, or has no length.
    fn divide(start: Timestamp, end: Timestamp, span: SignedDuration) -> Vec<Window> {
        let (start, end) = (start.as_second(), end.as_second());
        let length = end - start;
        if length <= 0 {
            return Vec::new();
        }
        let span = span.as_secs().max(1);
        let count = (length + span - 1) / span;
        let at = |part: i64| start + length * part / count;
        (0..count)
            .map(|part| Window::new(at(part), at(part + 1)))
            .collect()
    }

    /// Two halves; they share a second, so that nothing is lost whichever bound is inclusive.
    fn split(&self) -> Option<(Window, Window)> {
        let middle = self.start.midpoint(self.end);
        let first = Window::new(self.start, middle);
        let second = Window {
            before: Some([self.total.clone(), first.total.clone()]),
            ..Window::new(middle, self.end)
        };
        (self.end - self.start >= 2).then_some((first, second))
    }

    fn times(&self) -> Option<(String, String)> {
        let of = |second: i64| Timestamp::from_second(second).ok().map(time);
        Some((of(self.start)?, of(self.end)?))
    }

    /// Takes the `Total` of a page; whether it says something about the window. A whole and both
    /// of its halves cannot have the same: the total is of something else, and halves of halves
    /// would have it too.
    fn take_total(&self, total: u64) -> bool {
        self.total.fetch_max(total, Ordering::Relaxed);
        let is_same = |other: &Arc<AtomicU64>| other.load(Ordering::Relaxed) == total;
        total == 0
            || !self
                .before
                .as_ref()
                .is_some_and(|[whole, first]| is_same(whole) && is_same(first))
    }
}

/// What has come of a list so far.
#[derive(Default)]
struct Progress {
    handed_over: HashSet<Arc<str>>,
    /// The earliest time from which pushes that are still scheduled have to be listed again.
    scheduled_from: Option<Timestamp>,
    /// How many records of pushes had no id.
    unreadable: usize,
}

impl AlibabaPush {
    /// All messages that were sent since a time: window by window, and page by page to the end.
    pub(super) async fn read_list(
        &self,
        query: &ListQuery<'_>,
        listing: &mut Listing,
    ) -> Result<(), Failure> {
        let ListQuery {
            dataset,
            application,
            oldest,
            since,
            patience,
            ..
        } = *query;
        // Frozen for all pages, so that new pushes do not move them.
        let end = self.http.clock().now();
        let scheduled = self.scheduled().get(&application.id).copied();
        let since = since.checked_sub(MAX_SKEW).unwrap_or(since);
        let since = scheduled.map_or(since, |scheduled| since.min(scheduled));
        let start = since.max(oldest);
        let mut progress = Progress::default();
        let mut span = MAX_SPAN;
        loop {
            let windows = Window::divide(start, end, span);
            let mut page_taken = |rows: Vec<PushRecord>| {
                for row in rows {
                    progress.take(row, application, (start, end), listing);
                }
            };
            let fetch = |window: &Window, request| {
                let window = window.clone();
                async move {
                    self.page(dataset, application, &window, request, patience)
                        .await
                }
                .boxed()
            };
            let split = |window: &Window| window.split();
            let outcome = read_windows(windows, PAGING, fetch, split, &mut page_taken).await;
            match outcome {
                Err(failure)
                    if failure.code.as_deref() == Some("InvalidPeriod.ExceedDays")
                        && span > MIN_SPAN =>
                {
                    span /= 2;
                }
                outcome => {
                    let mut scheduled = self.scheduled();
                    match progress.scheduled_from {
                        Some(from) => scheduled.insert(application.id.clone(), from),
                        // A list that failed may not have come to them.
                        None if outcome.is_err() => None,
                        None => scheduled.remove(&application.id),
                    };
                    drop(scheduled);
                    outcome?;
                    break;
                }
            }
        }
        match progress.unreadable {
            0 => Ok(()),
            rows => {
                let problem = format!("{rows} records of pushes have no MessageId");
                Err(Failure::new(FailureKind::Decode, &problem))
            }
        }
    }

    /// From when on each application has scheduled pushes.
    fn scheduled(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::HashMap<Arc<str>, Timestamp>> {
        self.scheduled
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A page of records, each under its id.
    async fn page(
        &self,
        dataset: Dataset,
        application: &Application,
        window: &Window,
        request: PageRequest,
        patience: Duration,
    ) -> Result<Page<Arc<str>, PushRecord>, Failure> {
        let no_time = || Failure::new(FailureKind::Vendor, "the window's times cannot be written");
        let (from, to) = window.times().ok_or_else(no_time)?;
        let (page, size) = (request.page.to_string(), request.per_page.to_string());
        let parameters = [
            ("AppKey", &*application.id),
            ("StartTime", &from),
            ("EndTime", &to),
            ("Page", &page),
            ("PageSize", &size),
        ];
        let (asked, _) = self
            .operation(dataset, ACTION, &parameters, patience, wire::records)
            .await?;
        let records = asked.answer()?;
        let records = records.map_err(|problem| Failure::bad_count(&problem))?;
        if !records.total.is_none_or(|total| window.take_total(total)) {
            let text =
                "there are too many pushes, and Total does not say in which part of the time";
            return Err(Failure::new(FailureKind::Vendor, text));
        }
        let rows = records.rows.into_iter().enumerate().map(|(place, row)| {
            let key = match &*row.id {
                // `total` counts a row without an id like any other. The same page again has
                // the same keys, so that a vendor that knows no pages is found out.
                "" => format!("row {place} of {:?}", row.push_time).into(),
                _ => row.id.clone(),
            };
            (key, row)
        });
        Ok(Page {
            rows: rows.collect(),
            total: records.total,
        })
    }
}

impl Progress {
    /// Takes a record of the windows from `start` to `end`.
    fn take(
        &mut self,
        row: PushRecord,
        application: &Application,
        (start, end): (Timestamp, Timestamp),
        listing: &mut Listing,
    ) {
        match row.status {
            PushStatus::Canceled => {}
            PushStatus::Unreadable => self.unreadable += 1,
            PushStatus::Waiting => {
                // The vendor does not say whether a window is about when a push is sent or when it
                // was scheduled. One that lies ahead is here for when it was scheduled, which is
                // in the windows; one whose time has come is here for that time.
                let from = match row.push_time {
                    Some(at) if at <= end => {
                        let late = end.duration_since(at) > MAX_DELAY;
                        (!late).then(|| at.checked_sub(MAX_SKEW).unwrap_or(at))
                    }
                    _ => Some(start),
                };
                if let Some(from) = from {
                    let earliest = self.scheduled_from.map_or(from, |own| own.min(from));
                    self.scheduled_from = Some(earliest);
                }
            }
            PushStatus::Sent => {
                if self.handed_over.insert(row.id.clone()) {
                    listing.push(Observation::ListedMessage(Message {
                        application: application.id.clone(),
                        id: row.id,
                        campaign: None,
                        sent_at: row.push_time,
                    }));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_divided_evenly_and_no_window_is_empty() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let divide = |length: i64| {
            let windows = Window::divide(at(1000), at(1000 + length), MAX_SPAN);
            let lengths: Vec<_> = windows.iter().map(|own| own.end - own.start).collect();
            assert!(windows.windows(2).all(|two| two[0].end == two[1].start));
            assert_eq!(lengths.iter().sum::<i64>(), length.max(0));
            lengths
        };
        let day = 86_400;
        assert!(divide(0).is_empty());
        assert!(divide(-5).is_empty());
        assert_eq!(divide(1), [1]);
        assert_eq!(divide(30 * day), [30 * day]);
        // Not 30 days and a second.
        assert_eq!(divide(30 * day + 1), [15 * day, 15 * day + 1]);
        assert_eq!(divide(90 * day), [30 * day; 3]);
    }

    #[test]
    fn a_window_is_split_down_to_a_second() {
        let window = Window::new(10, 15);
        let (first, second) = window.split().unwrap();
        assert_eq!((first.start, first.end), (10, 12));
        assert_eq!((second.start, second.end), (12, 15));
        assert!(Window::new(10, 11).split().is_none());
        // All of it can be in either half, but not in both.
        assert!(window.take_total(7) && first.take_total(7) && second.take_total(0));
        assert!(!second.take_total(7));
    }
}
