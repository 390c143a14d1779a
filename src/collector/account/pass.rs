//! One pass: what is asked, what is in flight, and what is shown of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use delivery_clock::Moment;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::Instrument;

use super::{
    super::{DatasetOutcome, PassOutcome, queue::Job, schedule},
    Collector, LaneKey,
};
use crate::{
    discovery::MessageKey,
    ledger::{Met, News, StoreError},
    model::{Application, Dataset, Happening, Message},
    providers::{Failure, FailureKind, Observation, Plan, Query},
};

/// How often a pass that goes on shows what it has so far.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// So many messages are met in one transaction.
const MEET: usize = 1000;
/// A once-only answer in flight has so long to end when the exporter stops.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// Something that went on beside others has ended.
pub(super) enum Event {
    Landed(Landed),
    Counted(Counted),
    Met(Vec<MessageKey>, Result<Vec<Met>, StoreError>),
}

/// Snapshots went to the ledger.
pub(super) struct Counted {
    pub(super) lane: LaneKey,
    pub(super) keys: Vec<MessageKey>,
    pub(super) outcome: Result<(News, Vec<Met>), StoreError>,
}

pub(super) type Flights = FuturesUnordered<BoxFuture<'static, Event>>;

/// A query that has ended.
pub(super) struct Landed {
    pub(super) lane: LaneKey,
    pub(super) jobs: Vec<Job>,
    pub(super) seen: Vec<Observation>,
    pub(super) news: News,
    pub(super) result: Result<(), Failure>,
}

/// A pass that goes on.
pub(super) struct Pass {
    pub(super) began: Timestamp,
    pub(super) began_at: Moment,
    /// Nothing is begun after it; `None`: until nothing is due.
    ends: Option<Timestamp>,
    deadline: Moment,
    pub(super) up: bool,
    pub(super) asked: BTreeMap<LaneKey, bool>,
    pub(super) lasted: BTreeMap<Dataset, Duration>,
    shown_at: Moment,
    /// Queries that have not landed.
    pub(super) in_flight: usize,
}

impl Collector {
    /// Asks for what is due, for at most `length`; whether anything failed.
    pub(super) async fn pass(
        &mut self,
        length: Option<Duration>,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        let clock = self.parts.clock.clone();
        let (began, began_at) = (clock.now(), clock.monotonic());
        let interval = self.parts.account.interval;
        let mut pass = Pass {
            began,
            began_at,
            ends: length.map(|length| schedule::after(began, length)),
            deadline: began_at + interval,
            up: false,
            asked: BTreeMap::new(),
            lasted: BTreeMap::new(),
            shown_at: began_at,
            in_flight: 0,
        };
        self.forget_old().await;
        let mut flights = Flights::new();
        loop {
            let now = clock.now();
            let stopping = *stop.borrow();
            let open = !stopping && pass.ends.is_none_or(|ends| now < ends);
            if length.is_none() {
                // Without an end, each query has an interval for its retries.
                pass.deadline = clock.monotonic() + interval;
            }
            self.meet(&mut flights);
            while open && pass.in_flight < self.parts.account.max_concurrency {
                let Some(flight) = self.take_off(now, &mut pass) else {
                    break;
                };
                pass.in_flight += 1;
                flights.push(flight);
            }
            if flights.is_empty() {
                break;
            }
            if stopping {
                self.drain_in_flight(&mut flights, &mut pass).await;
                break;
            }
            tokio::select! {
                Some(event) = flights.next() => {
                    self.take(event, &mut pass, &flights);
                    self.show(&mut pass);
                }
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        self.ended(&pass)
    }

    /// The exporter stops: what a vendor hands out once may still arrive, anything else is asked
    /// for again after the next start.
    async fn drain_in_flight(&mut self, flights: &mut Flights, pass: &mut Pass) {
        let drains = self
            .lanes
            .values()
            .any(|lane| lane.is_in_flight(&Job::Drain));
        let grace = if drains { DRAIN_GRACE } else { Duration::ZERO };
        let all = async {
            while let Some(event) = flights.next().await {
                self.take(event, pass, flights);
            }
        };
        if tokio::time::timeout(grace, all).await.is_err() && drains {
            tracing::warn!(account = %self.parts.account.name, "a once-only answer was still arriving; what came of it is in the spool");
        }
    }

    /// The next query that is due, begun.
    fn take_off(&mut self, now: Timestamp, pass: &mut Pass) -> Option<BoxFuture<'static, Event>> {
        let keys: Vec<_> = self.lanes.keys().copied().collect();
        for step in 0..keys.len() {
            let key = keys[(self.turn + step) % keys.len()];
            let batch = match self.parts.provider.plan(key.0) {
                Plan::Messages { batch } => batch,
                Plan::Drain | Plan::Whole => 1,
            };
            let jobs = self.lanes.get_mut(&key)?.take(now, batch);
            if !jobs.is_empty() {
                self.turn = (self.turn + step + 1) % keys.len();
                pass.asked.entry(key).or_insert(true);
                return Some(self.query(key, jobs, pass));
            }
        }
        None
    }

    fn query(&self, lane: LaneKey, jobs: Vec<Job>, pass: &Pass) -> BoxFuture<'static, Event> {
        let (dataset, application) = lane;
        let provider = self.parts.provider.clone();
        let ledger = self.parts.ledger.clone();
        let application = self.application(application);
        let deadline = pass.deadline;
        let max_age = self.parts.account.messages.max_age;
        let since = schedule::before(pass.began, max_age);
        let messages: Vec<Message> = jobs
            .iter()
            .filter_map(|job| match job {
                Job::Message(id) => self.tracker.get(&(lane.1, id.clone())),
                _ => None,
            })
            .map(|tracked| tracked.message.clone())
            .collect();
        let whole = jobs.first() == Some(&Job::Whole);
        let messages = if whole {
            self.tracker.of(lane.1)
        } else {
            messages
        };
        async move {
            let mut seen = Vec::new();
            let since = if whole {
                ledger.read_until(&application, dataset).await
            } else {
                Some(since)
            };
            let query = match jobs.first() {
                Some(Job::Whole) => Query::Whole {
                    dataset,
                    application: &application,
                    messages: &messages,
                    since,
                    deadline,
                },
                Some(Job::List) => Query::List {
                    dataset,
                    application: &application,
                    oldest: since.unwrap_or_default(),
                    since: since.unwrap_or_default(),
                    deadline,
                },
                Some(Job::Drain) => Query::Drain {
                    dataset,
                    spool: ledger.spool(),
                    deadline,
                },
                _ => Query::Messages {
                    dataset,
                    application: &application,
                    messages: &messages,
                    deadline,
                },
            };
            let mut news = News::default();
            let mut result = Ok(());
            if jobs.first() == Some(&Job::Drain) {
                // What is not counted yet comes first: while the store does not take it, nothing
                // more is asked for.
                let read = |body: &[u8]| provider.read_reports(body);
                match ledger.catch_up(&application, &read).await {
                    Ok(more) => news.append(more),
                    Err(error) => result = Err(of_store(&error)),
                }
            }
            if result.is_ok() {
                result = provider
                    .ask(query, &mut |observation| seen.push(observation))
                    .await;
            }
            let happened = happened(&mut seen);
            if let Some((happenings, until)) = happened {
                let counted = ledger
                    .happened(&application, dataset, happenings, until)
                    .await;
                match counted {
                    Ok((more, _)) => news.append(more),
                    Err(error) => result = Err(of_store(&error)),
                }
            }
            for observation in &seen {
                if let Observation::Drained { body, read, .. } = observation {
                    let bodies = vec![(body.clone(), read.clone())];
                    match ledger.reports(&application, bodies).await {
                        Ok(more) => news.append(more),
                        Err(error) => result = Err(of_store(&error)),
                    }
                }
            }
            Event::Landed(Landed {
                lane,
                jobs,
                seen,
                news,
                result,
            })
        }
        .in_current_span()
        .boxed()
    }

    pub(super) fn application(&self, index: usize) -> Application {
        let applications = &self.parts.account.applications;
        applications
            .get(index)
            .cloned()
            .unwrap_or_else(|| Application {
                id: Arc::from(""),
                name: self.parts.account.name.clone(),
            })
    }

    /// Shows what there is, in the middle of a long pass.
    fn show(&mut self, pass: &mut Pass) {
        let now = self.parts.clock.monotonic();
        if now.since(pass.shown_at) >= SHOW_EVERY {
            pass.shown_at = now;
            self.tell_due();
            self.parts.recorder.publish();
        }
    }

    /// The ledger meets what was named, a part at a time.
    fn meet(&mut self, flights: &mut Flights) {
        for part in std::mem::take(&mut self.unmet).chunks(MEET) {
            let keys: Vec<MessageKey> = part.iter().map(|(key, _)| key.clone()).collect();
            let now = self.parts.clock.now();
            let messages = part
                .iter()
                .map(|(_, message)| (message.clone(), now))
                .collect();
            let ledger = self.parts.ledger.clone();
            let met = async move { Event::Met(keys, ledger.meet(messages).await) };
            flights.push(met.in_current_span().boxed());
        }
    }

    /// Records the pass; whether anything failed in it.
    fn ended(&mut self, pass: &Pass) -> bool {
        let at = self.parts.clock.now();
        let failed = pass.asked.values().any(|success| !success);
        for (lane, success) in &pass.asked {
            if *success && self.troubles.remove(lane).is_some() {
                let application = self.application(lane.1);
                tracing::info!(
                    account = %self.parts.account.name, dataset = %lane.0,
                    application = %application.name, "the vendor answers again"
                );
            }
        }
        if self.troubles.is_empty() {
            self.tell(|status| status.last_error = None);
        }
        if !pass.asked.is_empty() {
            let outcome = PassOutcome {
                at,
                up: pass.up,
                datasets: pass
                    .asked
                    .iter()
                    .map(|((dataset, application), success)| DatasetOutcome {
                        dataset: *dataset,
                        application: self.application(*application),
                        success: *success,
                    })
                    .collect(),
                durations: pass
                    .lasted
                    .iter()
                    .map(|(dataset, length)| (*dataset, *length))
                    .collect(),
            };
            self.parts.recorder.pass(&outcome);
        }
        self.tell_due();
        self.parts.recorder.publish();
        failed
    }

    pub(super) fn tell_due(&self) {
        for ((dataset, application), lane) in &self.lanes {
            let application = self.application(*application);
            self.parts.recorder.due(*dataset, &application, lane.due());
        }
    }
}

/// Takes out of an answer what happened, and until when it was read.
fn happened(seen: &mut Vec<Observation>) -> Option<(Vec<Happening>, Option<Timestamp>)> {
    let (mut happenings, mut until) = (Vec::new(), None);
    seen.retain_mut(|observation| match observation {
        Observation::Happened(more) => {
            happenings.append(more);
            false
        }
        Observation::ReadUntil(at) => {
            until = Some(*at);
            false
        }
        _ => true,
    });
    (!happenings.is_empty() || until.is_some()).then_some((happenings, until))
}

pub(super) fn of_store(error: &StoreError) -> Failure {
    Failure::new(FailureKind::Store, &error.to_string())
}
