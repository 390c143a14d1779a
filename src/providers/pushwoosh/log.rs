//! The log of events (`getMessageLog`), a window at a time, along its tokens.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    Endpoint, Pushwoosh,
    errors::is_refusal,
    later,
    list::unreadable,
    slices::{Reach, SKEW, SliceFlaws},
    vendor,
    wire::{answer::Answer, log::LogEvent},
};
use crate::{
    model::{Application, Event},
    providers::{Failure, FailureKind, HistoryQuery, Observation, WholeQuery, decode::decode},
};

pub(super) const MESSAGE_LOG: Endpoint = Endpoint {
    path: "/api/v2/statistics/getMessageLog",
    word: "Key",
    fields: &["pagination_token", "data"],
};
/// The most events in a page: the vendor's limit, 100000, would be 30 MB.
const PER_PAGE: usize = 10_000;
const REACH: Reach = Reach {
    first: vendor::LOG_OVERLAP,
    overlap: vendor::LOG_OVERLAP,
    // The log goes back 30 days; a little less is never refused, and the ledger remembers more.
    kept: SignedDuration::from_hours(30 * 24 - 1),
};
const LONGEST_WINDOW: SignedDuration = SignedDuration::from_hours(6);
const SHORTEST_WINDOW: SignedDuration = SignedDuration::from_mins(1);
/// A window with more pages is halved, for the events of a window are in memory together.
const MAX_PAGES: usize = 20;
/// The most pages of the shortest window: a vendor that repeats itself must not be asked for ever.
const MAX_PAGES_SHORTEST: usize = 200;
/// How many pages without a new event are followed as long as each has a token of its own.
const MAX_BARREN_PAGES: usize = 3;
/// How the reading of a window ended.
#[derive(Debug)]
enum WindowRead {
    /// At its end, after so many pages.
    Whole(usize, SliceFlaws),
    /// It has more pages than a window may have.
    TooLong,
}

/// How long the next window of each application is.
#[derive(Debug, Default)]
pub(super) struct WindowLengths(Mutex<HashMap<Arc<str>, SignedDuration>>);

impl WindowLengths {
    fn get(&self, application: &Arc<str>) -> SignedDuration {
        let lengths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lengths.get(application).copied().unwrap_or(LONGEST_WINDOW)
    }

    fn set(&self, application: &Arc<str>, length: SignedDuration) {
        let mut lengths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lengths.insert(application.clone(), length);
    }
}

fn half(length: SignedDuration) -> SignedDuration {
    (length / 2).max(SHORTEST_WINDOW)
}

/// The length after a window with so many pages: twice, if the window had room for that.
fn grown(length: SignedDuration, pages: usize) -> SignedDuration {
    if pages * 2 > MAX_PAGES {
        return length;
    }
    length.saturating_mul(2).min(LONGEST_WINDOW)
}

impl Pushwoosh {
    /// One window of the log, the next one of the round.
    pub(super) async fn log(
        &self,
        query: &WholeQuery<'_>,
        observations: &mut Vec<Observation>,
    ) -> Result<(), Failure> {
        let WholeQuery {
            dataset,
            application,
            since,
            patience,
            ..
        } = *query;
        let now = self.http.clock().now();
        let round = self
            .rounds
            .resume(dataset, &application.id, since, (REACH, now));
        let begin = round.next;
        let length = self.log_windows.get(&application.id);
        let end = match later(begin, length) {
            // Events of a vendor whose clock is ahead of ours are in our future.
            end if end >= now => later(now, SKEW),
            end => end,
        };
        let floor = round.floor;
        let mut events = Vec::new();
        let divisible = length > SHORTEST_WINDOW;
        let window = (begin, end);
        let told = &mut events;
        let read = self.log_window(application, window, floor, divisible, patience, told);
        let read = read.await;
        if !events.is_empty() {
            observations.push(Observation::Events(events));
        }
        match read {
            Ok(WindowRead::Whole(pages, flaws)) => {
                self.log_windows.set(&application.id, grown(length, pages));
                let span = (end, now);
                self.rounds
                    .advance(dataset, &application.id, round, flaws, span, observations)
            }
            Ok(WindowRead::TooLong) => {
                // What was read of it is known when it comes again.
                self.log_windows.set(&application.id, half(length));
                self.rounds.keep(dataset, &application.id, round);
                observations.push(Observation::More);
                Ok(())
            }
            Err(failure) => {
                self.rounds.keep(dataset, &application.id, round);
                Err(failure)
            }
        }
    }

    /// The events of the log from a time to another, as far as it goes back.
    pub(super) async fn logged_between(
        &self,
        query: &HistoryQuery<'_>,
        events: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let HistoryQuery {
            application,
            from,
            to,
            patience,
            ..
        } = *query;
        let mut begin = from.max(later(self.http.clock().now(), -REACH.kept));
        let (mut length, mut flaw) = (LONGEST_WINDOW, None);
        while begin < to {
            let end = later(begin, length).min(to);
            let divisible = length > SHORTEST_WINDOW;
            let window = (begin, end);
            let told = &mut *events;
            let read = self.log_window(application, window, from, divisible, patience, told);
            match read.await? {
                WindowRead::Whole(pages, flaws) => {
                    length = grown(length, pages);
                    begin = end;
                    flaw = flaw.or(flaws.incomplete).or(flaws.unreadable);
                }
                WindowRead::TooLong => length = half(length),
            }
        }
        flaw.map_or(Ok(()), Err)
    }

    /// A window of the log, page by page along its tokens, without events from before `floor`.
    async fn log_window(
        &self,
        application: &Application,
        (from, to): (Timestamp, Timestamp),
        floor: Timestamp,
        divisible: bool,
        patience: Duration,
        events: &mut Vec<Event>,
    ) -> Result<WindowRead, Failure> {
        let form = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let second = SignedDuration::from_secs(1);
        // Whether the bounds are inclusive is not documented.
        let mut body = json!({
            "application_code": &*application.id,
            "date_from": form(later(from, -second)), "date_to": form(later(to, second)),
            "limit": PER_PAGE,
        });
        let (mut tokens, mut digests) = (HashSet::new(), HashSet::new());
        let (mut broken, mut barren, mut moved) = (0, 0, false);
        let mut last_page = Vec::new();
        let mut flaws = SliceFlaws::default();
        let mut pages = 0;
        let last_of_round = to > self.http.clock().now();
        loop {
            let mut asked = self.log_page(application, &body, patience).await;
            // A vendor that takes no time in its future has nothing from there.
            let now = self.http.clock().now();
            for to in [now.min(to), later(now, -SKEW)] {
                let refused = asked.as_ref().is_err_and(is_refusal);
                if !refused || pages > 0 || !last_of_round || to <= from {
                    break;
                }
                body["date_to"] = json!(form(to));
                asked = self.log_page(application, &body, patience).await;
            }
            let (rows, token) = asked?;
            pages += 1;
            let (count, page) = (rows.len(), rows.into_iter().flatten().collect::<Vec<_>>());
            broken += count - page.len();
            let page_digests: Vec<_> = page.iter().map(|row| row.digest).collect();
            let young = |row: &Event| row.at.is_none_or(|at| at >= floor);
            let known = digests.len();
            let mut new = page;
            new.retain(|row| digests.insert(row.digest) && young(row));
            let is_barren = digests.len() == known;
            events.append(&mut new);
            if count >= PER_PAGE && last_page == page_digests {
                // The token leads back to the same full page: what is behind it is not to be had.
                flaws.incomplete = Some(endless());
                break;
            }
            // How the end looks is not documented; a short page is not it.
            let Some(token) = token.filter(|token| tokens.insert(token.clone())) else {
                break;
            };
            // One page again and again is all that there is; other rows that are known already may
            // hide some that are not.
            moved = is_barren && (moved || (count > 0 && last_page != page_digests));
            barren = if is_barren { barren + 1 } else { 0 };
            if barren > MAX_BARREN_PAGES {
                flaws.incomplete = moved.then(endless);
                break;
            }
            if divisible && pages >= MAX_PAGES {
                return Ok(WindowRead::TooLong);
            }
            if pages >= MAX_PAGES_SHORTEST {
                flaws.incomplete = Some(endless());
                break;
            }
            last_page = page_digests;
            body["pagination_token"] = json!(token);
        }
        flaws.unreadable = unreadable(broken, "events of the log").err();
        Ok(WindowRead::Whole(pages, flaws))
    }

    /// One page of the log, and the token of the next one.
    async fn log_page(
        &self,
        application: &Application,
        body: &serde_json::Value,
        patience: Duration,
    ) -> Result<(Vec<Result<Event, String>>, Option<String>), Failure> {
        let read = |answer: &Answer<'_>, unknown: &mut dyn FnMut(&str)| {
            let rows = answer.list("data")?;
            let event = |raw: &&serde_json::value::RawValue| {
                let event = decode::<LogEvent>(raw.get().as_bytes(), unknown)?;
                event.event(&self.account, &application.id, &self.codes)
            };
            Ok((rows.iter().map(event).collect(), answer.next_token()))
        };
        let asked = self.post(vendor::LOG, &MESSAGE_LOG, body, patience, read);
        asked.await.map(|(page, _)| page)
    }
}

fn endless() -> Failure {
    Failure::new(FailureKind::Vendor, "the vendor's pages do not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_shrink_to_a_minute_and_grow_to_six_hours() {
        let mut length = LONGEST_WINDOW;
        for _ in 0..20 {
            length = half(length);
        }
        assert_eq!(length, SHORTEST_WINDOW);
        assert_eq!(grown(length, 11), length);
        for _ in 0..20 {
            length = grown(length, 10);
        }
        assert_eq!(length, LONGEST_WINDOW);
    }
}
