//! One pass: starting queries, waiting for them, and publishing the results.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use delivery_clock::{Clock, Moment};
use futures_util::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::Instrument;

use super::{
    super::{
        DatasetOutcome, PassOutcome,
        queue::{DatasetQueue, QueuedQuery},
        schedule,
    },
    Collector, DatasetQueueKey,
    flights::InFlight,
    outcome::{PassEvent, QueryCompleted},
};
use crate::{
    discovery::{MessageKey, Sources, Update},
    ledger::{LedgerDelta, StoreError},
    model::{Application, Dataset, Event, Message, QueryMethod},
    providers::{
        Answer, DrainQuery, Failure, FailureKind, ListQuery, MessagesQuery, Observation, WholeQuery,
    },
};

/// How often a long pass publishes its results so far.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// The maximum number of messages to load in one transaction.
const MEET: usize = 1000;
/// How far a list of new messages overlaps the previous one: clocks differ, and a vendor may list a message
/// some time after it was sent.
pub(in super::super) const LIST_OVERLAP: Duration = Duration::from_secs(3600);
/// How long a once-only answer in flight may take to arrive when the exporter stops. When only the lease has
/// ended, it may take as long as any answer.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// Why a waiting pass continues.
enum Woken {
    Ended(Box<PassEvent>),
    Named(Update),
    Registered,
    Due,
}

/// The current pass.
pub(super) struct Pass {
    pub(super) began_at: Moment,
    /// When it ends, even with queries in flight; `None` if it ends when nothing is due.
    ends: Option<Moment>,
    pub(super) up: bool,
    pub(super) asked: BTreeMap<DatasetQueueKey, bool>,
    pub(super) lasted: BTreeMap<Dataset, Duration>,
    shown_at: Moment,
    /// Whether there are unpublished results.
    unshown: bool,
}

impl Pass {
    /// Whether a non-empty queue is drained further in a pass without time limit.
    pub(super) fn drains_on(&self, now: Moment, interval: Duration) -> bool {
        now.since(self.began_at) < interval
    }
}

impl Collector {
    /// Queries what is due, for at most `length`, and returns whether anything failed. Queries that are still
    /// in flight complete in the next pass, so that one long query does not delay the others.
    pub(super) async fn pass(
        &mut self,
        length: Option<Duration>,
        flights: &mut InFlight,
        mut sources: Option<&mut Sources>,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        let clock = self.parts.clock.clone();
        let began_at = clock.monotonic();
        let mut pass = Pass {
            began_at,
            ends: length.map(|length| began_at + length),
            up: false,
            asked: BTreeMap::new(),
            lasted: BTreeMap::new(),
            shown_at: began_at,
            unshown: false,
        };
        self.follow_wall_clock();
        if !*stop.borrow() {
            self.forget_old().await;
        }
        loop {
            // Before anything else: the caller drops the flights of a collector that stops.
            if *stop.borrow() {
                self.drain_in_flight(flights, &mut pass).await;
                break;
            }
            let over = pass.ends.is_some_and(|ends| clock.monotonic() >= ends);
            self.load_messages(flights);
            while !over && self.in_flight < self.parts.account.max_concurrency {
                let Some(flight) = self.start_next_query(&pass) else {
                    break;
                };
                self.in_flight += 1;
                flights.push(flight);
            }
            if flights.is_empty() || over {
                break;
            }
            let wake = self.next_wake(&pass);
            let ledger = self.parts.ledger.clone();
            let woken = tokio::select! {
                Some(event) = flights.next() => Woken::Ended(Box::new(event)),
                () = sleep_until(&clock, wake) => Woken::Due,
                update = next_update(&mut sources) => Woken::Named(update),
                () = ledger.registration(), if pass.ends.is_some() => Woken::Registered,
                _ = stop.wait_for(|stop| *stop) => Woken::Due,
            };
            match woken {
                Woken::Ended(event) => {
                    self.handle_event(*event, &mut pass, flights);
                    pass.unshown = true;
                }
                Woken::Named(update) => self.named(update),
                Woken::Registered => self.registered().await,
                Woken::Due => {}
            }
            self.show(&mut pass);
        }
        self.ended(&mut pass)
    }

    /// When a waiting pass has something else to do: its end, the next due job, or publishing.
    fn next_wake(&self, pass: &Pass) -> Option<Moment> {
        let monotonic = self.parts.clock.monotonic();
        let next = self
            .queues
            .values()
            .filter_map(|queue| queue.next_try_after(monotonic));
        let due = next.min();
        let listing = self
            .listing
            .values()
            .map(|began| *began + self.parts.account.interval);
        let listing = listing.filter(|end| *end > monotonic);
        // If everything is queried once, nothing new becomes due.
        let due = due.filter(|_| pass.ends.is_some());
        let show = pass.unshown.then(|| pass.shown_at + SHOW_EVERY);
        let others = pass.ends.into_iter().chain(listing).chain(show);
        due.into_iter().chain(others).min()
    }

    /// When the exporter stops or the lease has ended, once-only answers may still arrive; everything else is
    /// queried again later.
    async fn drain_in_flight(&mut self, flights: &mut InFlight, pass: &mut Pass) {
        let drains = self
            .queues
            .values()
            .any(|queue| queue.is_in_flight(&QueuedQuery::Drain));
        let grace = match drains {
            false => Duration::ZERO,
            true if self.parts.lease.runs() => DRAIN_GRACE,
            // Another replica holds the account by now, and waits for nothing.
            true => self.parts.account.timeout.max(DRAIN_GRACE),
        };
        let all = async {
            while let Some(event) = flights.next().await {
                self.handle_event(event, pass, flights);
            }
        };
        if tokio::time::timeout(grace, all).await.is_err() && drains {
            tracing::warn!(account = %self.parts.account.name, "a once-only answer was still arriving; the received part is in the spool");
        }
    }

    /// Starts the next due query.
    fn start_next_query(&mut self, pass: &Pass) -> Option<BoxFuture<'static, PassEvent>> {
        let monotonic = self.parts.clock.monotonic();
        // If everything is queried once, what becomes due during the pass is left for the next time.
        let now = pass.ends.map_or(pass.began_at, |_| monotonic);
        let keys: Vec<_> = self.queues.keys().copied().collect();
        for step in 0..keys.len() {
            let key = keys[(self.turn + step) % keys.len()];
            if self.has_to_wait(key, now, monotonic) {
                continue;
            }
            let batch = match key.0.method {
                QueryMethod::Messages { batch } => batch,
                QueryMethod::Drain | QueryMethod::Whole => 1,
            };
            let jobs = self.queues.get_mut(&key)?.take(now, batch);
            if !jobs.is_empty() {
                self.turn = (self.turn + step + 1) % keys.len();
                if jobs.first() == Some(&QueuedQuery::List) {
                    self.listing.insert(key, monotonic);
                }
                return Some(self.query(key, jobs));
            }
        }
        None
    }

    /// Whether a queue waits for a list, because it needs the listed messages or because the list contains
    /// their counts. A list that takes longer than an interval does not block.
    fn has_to_wait(
        &mut self,
        (dataset, application): DatasetQueueKey,
        now: Moment,
        at: Moment,
    ) -> bool {
        let provider = &self.parts.provider;
        if provider.list_has_numbers()
            && let Some(began) = self.listing.get(&(dataset, application))
            && at.since(*began) < self.parts.account.interval
        {
            return true;
        }
        if !dataset.is_about_listed_messages() || self.known_applications.contains(&application) {
            return false;
        }
        let queues = self.queues.iter();
        let mut queues = queues.filter(|((other, of), queue)| {
            *of == application && (other.has_snapshots() || queue.has_list())
        });
        if queues.any(|(_, queue)| !queue.knows_messages(now)) {
            // Without a data set of counts, the list is in this queue itself.
            let own = self.queues.get(&(dataset, application));
            return !own.is_some_and(|queue| queue.list_is_due(now));
        }
        self.known_applications.insert(application);
        false
    }

    fn query(
        &self,
        queue_key: DatasetQueueKey,
        jobs: Vec<QueuedQuery>,
    ) -> BoxFuture<'static, PassEvent> {
        let (dataset, application) = queue_key;
        let provider = self.parts.provider.clone();
        let ledger = self.parts.ledger.clone();
        let application = self.application(application);
        let clock = &self.parts.clock;
        let (began, began_at) = (clock.now(), clock.monotonic());
        let patience = self.parts.account.interval;
        let oldest = schedule::before(began, self.parts.account.messages.max_age);
        let listed = self
            .lists
            .get(&queue_key)
            .filter(|progress| began_at.since(progress.whole_at) < self.parts.account.max_interval);
        let is_whole_list = jobs.first() == Some(&QueuedQuery::List) && listed.is_none();
        let list_from = listed.map_or(oldest, |progress| {
            schedule::before(progress.complete_until, LIST_OVERLAP).max(oldest)
        });
        let messages: Vec<Message> = jobs
            .iter()
            .filter_map(|job| match job {
                QueuedQuery::Message(id) => self.tracker.get(&(queue_key.1, id.clone())),
                _ => None,
            })
            .map(|tracked| tracked.message.clone())
            .collect();
        let whole = jobs.first() == Some(&QueuedQuery::Whole);
        let messages = if whole {
            self.tracker.of(queue_key.1)
        } else {
            messages
        };
        let max_messages = self.parts.account.max_messages;
        async move {
            let mut delta = LedgerDelta::default();
            let mut answer = Answer::new(Vec::new(), Ok(()));
            match jobs.first() {
                Some(QueuedQuery::Whole) => {
                    let since = ledger.read_until(&application, dataset).await;
                    let query = WholeQuery {
                        dataset,
                        application: &application,
                        messages: &messages,
                        since,
                        patience,
                    };
                    answer = provider.whole(query).await;
                }
                Some(QueuedQuery::List) => {
                    let query = ListQuery {
                        dataset,
                        application: &application,
                        oldest,
                        since: list_from,
                        max_messages,
                        with_numbers: true,
                        patience,
                    };
                    answer = provider.list(query).await;
                }
                Some(QueuedQuery::Drain) => {
                    // Uncounted bodies come first: while the store cannot accept them, nothing more is
                    // fetched.
                    let read = |body: &[u8]| provider.read_pushed(body).reports;
                    match ledger.catch_up(&application, &read).await {
                        Ok(more) => {
                            delta.append(more);
                            let query = DrainQuery {
                                dataset,
                                spool: ledger.spool(),
                                patience,
                            };
                            answer = provider.drain(query).await;
                        }
                        Err(error) => answer.result = Err(of_store(&error)),
                    }
                }
                _ => {
                    let query = MessagesQuery {
                        dataset,
                        application: &application,
                        messages: &messages,
                        patience,
                    };
                    answer = provider.messages(query).await;
                }
            }
            let Answer {
                observations: mut seen,
                mut result,
                left_out: given_up,
            } = answer;
            let happened = happened(&mut seen);
            if let Some((events, until)) = happened {
                let counted = ledger.happened(&application, dataset, events, until).await;
                match counted {
                    Ok((more, _)) => delta.append(more),
                    Err(error) => result = Err(of_store(&error)),
                }
            }
            for observation in &seen {
                if let Observation::DrainedBody { body, read, .. } = observation {
                    let bodies = vec![(body.clone(), read.clone())];
                    match ledger.reports(&application, bodies).await {
                        Ok(more) => delta.append(more),
                        Err(error) => result = Err(of_store(&error)),
                    }
                }
            }
            PassEvent::QueryCompleted(QueryCompleted {
                queue_key,
                jobs,
                began,
                began_at,
                is_whole_list,
                seen,
                given_up,
                delta,
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

    /// Publishes the results in the middle of a long pass, so that they do not wait for a slow query.
    fn show(&mut self, pass: &mut Pass) {
        let now = self.parts.clock.monotonic();
        if pass.unshown && now.since(pass.shown_at) >= SHOW_EVERY {
            (pass.shown_at, pass.unshown) = (now, false);
            self.tell_due();
            self.parts.recorder.publish();
        }
    }

    /// Loads listed messages from the ledger, one batch at a time.
    fn load_messages(&mut self, flights: &mut InFlight) {
        for part in std::mem::take(&mut self.unmet).chunks(MEET) {
            let keys: Vec<MessageKey> = part.iter().map(|(key, _)| key.clone()).collect();
            let now = self.parts.clock.now();
            let messages = part
                .iter()
                .map(|(_, message)| (message.clone(), now))
                .collect();
            let ledger = self.parts.ledger.clone();
            let met = async move {
                PassEvent::MessagesLoaded(keys, ledger.load_messages(messages).await)
            };
            flights.push(met.in_current_span().boxed());
        }
    }

    /// Records the pass, and returns whether anything failed in it.
    fn ended(&mut self, pass: &mut Pass) -> bool {
        let at = self.parts.clock.now();
        // A failed query counts as failing until it is answered, whatever else is answered in the meantime.
        for (queue_key, success) in &mut pass.asked {
            let failing = self
                .queues
                .get(queue_key)
                .is_some_and(DatasetQueue::is_failing);
            *success &= !failing;
        }
        let failed = pass.asked.values().any(|success| !success);
        for (queue_key, success) in &pass.asked {
            if *success && self.troubles.remove(queue_key).is_some() {
                let application = self.application(queue_key.1);
                tracing::info!(
                    account = %self.parts.account.name, dataset = %queue_key.0,
                    application = %application.name, "the vendor answers again"
                );
            }
        }
        if self.troubles.is_empty() {
            self.tell(|status| status.last_error = None);
        }
        self.tell_troubles();
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
        for ((dataset, application), queue) in &self.queues {
            let application = self.application(*application);
            let due = queue.due().map(|due| self.time_of(due));
            self.parts.recorder.due(*dataset, &application, due);
        }
    }
}

/// Takes the events out of an answer, and the time up to which they were read.
fn happened(seen: &mut Vec<Observation>) -> Option<(Vec<Event>, Option<Timestamp>)> {
    let (mut events, mut until) = (Vec::new(), None);
    seen.retain_mut(|observation| match observation {
        Observation::Events(more) => {
            events.append(more);
            false
        }
        Observation::Cursor(at) => {
            until = Some(*at);
            false
        }
        _ => true,
    });
    (!events.is_empty() || until.is_some()).then_some((events, until))
}

/// Waits for the next update of the account's sources; forever without sources.
async fn next_update(sources: &mut Option<&mut Sources>) -> Update {
    match sources {
        Some(sources) => sources.next().await,
        None => std::future::pending().await,
    }
}

/// Returns at `wake`; never if it is `None`.
async fn sleep_until(clock: &Clock, wake: Option<Moment>) {
    match wake {
        Some(wake) => clock.sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

pub(super) fn of_store(error: &StoreError) -> Failure {
    Failure::new(FailureKind::Store, &error.to_string())
}
