//! Bounced e-mails (`emails/bouncedEmails`), a day at a time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    Endpoint, Pushwoosh, later,
    list::unreadable,
    slices::{Reach, SliceFlaws},
    vendor,
    wire::{
        answer::Answer,
        bounces::{Bounce, DAY, TIME, day_of},
    },
};
use crate::{
    model::{Application, Event},
    providers::{
        Digest, Failure, HistoryQuery, Observation, WholeQuery,
        decode::decode,
        digest::digest,
        paging::{Page, PageRequest, Paging, RowKeys, read_windows_apart},
    },
};

pub(super) const BOUNCED_EMAILS: Endpoint = Endpoint {
    path: "/api/v2/statistics/emails/bouncedEmails",
    word: "Api",
    fields: &["total", "bounced_emails"],
};
const PAGING: Paging = Paging {
    first_page: 0,
    // The vendor's limit.
    per_page: 5000,
    max_pages: 1000,
    keys: RowKeys::Content,
};
const REACH: Reach = Reach {
    first: vendor::BOUNCES_REACH,
    // Complaints arrive days after their messages.
    overlap: SignedDuration::from_hours(72),
    // The ledger remembers rows for 31 days: a row that it has forgotten would count twice.
    kept: SignedDuration::from_hours(29 * 24),
};
/// A row that was read or cannot be.
type Row = Result<Event, String>;

/// A span of time.
type Span = (Timestamp, Timestamp);

impl Pushwoosh {
    /// One day of bounced e-mails, the next one of the round.
    pub(super) async fn bounces(
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
        let begin = day_of(round.next);
        // The whole day, also if some of it is still to come: should the vendor cut times to days,
        // a range within a day would be empty.
        let end = later(begin, DAY);
        let oldest = round.floor;
        let mut events = Vec::new();
        let day = vec![(begin, end)];
        let read = self.bounced_in(application, day, oldest, patience, &mut events);
        let read = read.await;
        if !events.is_empty() {
            observations.push(Observation::Events(events));
        }
        match read {
            Ok(flaws) => {
                let span = (end, now);
                self.rounds
                    .advance(dataset, &application.id, round, flaws, span, observations)
            }
            Err(failure) => {
                self.rounds.keep(dataset, &application.id, round);
                Err(failure)
            }
        }
    }

    /// The e-mails that bounced from a time to another.
    pub(super) async fn bounced_between(
        &self,
        query: &HistoryQuery<'_>,
        events: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let mut spans = Vec::new();
        let mut begin = day_of(query.from);
        while begin < query.to {
            spans.push((begin, later(begin, DAY)));
            begin = later(begin, DAY);
        }
        let (from, patience) = (query.from, query.patience);
        let read = self.bounced_in(query.application, spans, from, patience, events);
        let read = read.await;
        events.retain(|row| row.at.is_none_or(|at| at <= query.to));
        let flaws = read?;
        flaws.incomplete.or(flaws.unreadable).map_or(Ok(()), Err)
    }

    /// The bounced e-mails of `spans`, without those from before `oldest`.
    async fn bounced_in(
        &self,
        application: &Application,
        spans: Vec<Span>,
        oldest: Timestamp,
        patience: Duration,
        events: &mut Vec<Event>,
    ) -> Result<SliceFlaws, Failure> {
        let fetch = |(from, to): &Span, request: PageRequest| {
            let second = SignedDuration::from_secs(1);
            let form = |time: Timestamp| time.strftime(TIME).to_string();
            // Whether the bounds are inclusive is not documented.
            let body = json!({
                "application": &*application.id,
                "date_from": form(later(*from, -second)), "date_to": form(later(*to, second)),
                "per_page": request.per_page, "page": request.page,
            });
            async move {
                let read = |answer: &Answer<'_>, unknown: &mut dyn FnMut(&str)| {
                    let rows = answer.list("bounced_emails")?;
                    let rows = rows
                        .iter()
                        .map(|raw| self.bounce(application, raw.get(), unknown));
                    Ok((rows.collect::<Vec<_>>(), answer.total()))
                };
                let asked = self.post(vendor::BOUNCES, &BOUNCED_EMAILS, &body, patience, read);
                let ((rows, total), _) = asked.await?;
                Ok(Page { rows, total })
            }
            .boxed()
        };
        let split = |(from, to): &Span| {
            let half = to.duration_since(*from).as_secs() / 2;
            let middle = later(*from, SignedDuration::from_secs(half));
            (half > 0).then_some(((*from, middle), (middle, *to)))
        };
        let broken = Arc::new(AtomicUsize::new(0));
        let count = broken.clone();
        let rows = |rows: Vec<Row>| {
            let all = rows.len();
            let good: Vec<_> = rows.into_iter().flatten().collect();
            count.fetch_add(all - good.len(), Ordering::Relaxed);
            let young = |row: &Event| row.at.is_none_or(|at| at >= oldest);
            events.extend(good.into_iter().filter(young));
        };
        let incomplete = read_windows_apart(spans, PAGING, fetch, split, rows).await?;
        let unreadable = unreadable(broken.load(Ordering::Relaxed), "bounces").err();
        Ok(SliceFlaws {
            incomplete,
            unreadable,
        })
    }

    /// One row; one that cannot be read is known by its text.
    fn bounce(
        &self,
        application: &Application,
        json: &str,
        unknown: &mut dyn FnMut(&str),
    ) -> (Digest, Row) {
        let row = decode::<Bounce>(json.as_bytes(), unknown);
        let row = row.and_then(|row| row.event(&self.account, &application.id));
        let key = row
            .as_ref()
            .map_or_else(|_| digest(&[json]), |row| row.digest);
        (key, row)
    }
}
