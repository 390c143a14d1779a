//! Handles the answers of an account's vendor.

use std::{sync::Arc, time::Duration};

use delivery_clock::{Moment, after};
use jiff::SignedDuration;

use super::{
    super::{
        queue::{DatasetQueue, QueuedQuery},
        schedule,
    },
    Collector, CollectorDeps, DatasetQueueKey, ListProgress, MAX_UNREADABLE,
    flights::InFlight,
    outcome::{PassEvent, QueryCompleted},
    pass::Pass,
};
use crate::{
    discovery::{MessageKey, Tracked},
    model::{Dataset, MAX_REGISTERED_BYTES, QueryMethod, Source},
    providers::{Failure, FailureKind, Observation, Scope},
};

/// Whether a drained body is an error.
fn is_error(observation: &Observation) -> bool {
    matches!(observation, Observation::DrainedBody { read, .. } if read.failure.is_some())
}

/// The window in which messages are queried together, starting at `first`; `None` if the vendor accepts only
/// one message per query.
fn batch_window(
    parts: &CollectorDeps,
    first: Moment,
    dataset: Dataset,
) -> Option<schedule::BatchWindow> {
    match dataset.method {
        QueryMethod::Messages { batch } if batch > 1 => Some(schedule::BatchWindow {
            origin: first,
            interval: parts.account.dataset_interval(dataset),
        }),
        _ => None,
    }
}

impl Collector {
    /// Handles a completed operation.
    pub(super) fn handle_event(&mut self, event: PassEvent, pass: &mut Pass, flights: &InFlight) {
        match event {
            PassEvent::QueryCompleted(completed) => self.completed(completed, pass, flights),
            PassEvent::Counted(counted) => self.counted(counted, pass),
            PassEvent::MessagesLoaded(keys, Ok(met)) => {
                for (key, met) in keys.iter().zip(met) {
                    self.recall(key, &met);
                }
            }
            PassEvent::MessagesLoaded(_, Err(error)) => {
                // They are loaded with their first counts.
                tracing::warn!(account = %self.parts.account.name, %error, "the stored data of messages could not be read");
            }
        }
    }

    /// Restores a message's stored data.
    pub(super) fn recall(&mut self, key: &MessageKey, met: &crate::ledger::StoredMessage) {
        let key = self.tracker.resolve(key);
        self.tracker
            .recall(&key, met.first_seen, met.sent_at, met.campaign.clone());
        if let Some(wanted_at) = met.wanted_at {
            let wanted_at = self.parts.clock.moment_of(wanted_at);
            let job = QueuedQuery::Message(key.1);
            for ((dataset, of), queue) in &mut self.queues {
                if *of == key.0 && dataset.has_snapshots() {
                    // The window of an age is at least two intervals long, so waiting for the batch window is
                    // fine.
                    let window = batch_window(&self.parts, self.first, *dataset);
                    queue.sooner(&job, schedule::wanted(wanted_at, window));
                }
            }
        }
    }

    /// Handles a completed query.
    fn completed(&mut self, completed: QueryCompleted, pass: &mut Pass, flights: &InFlight) {
        let QueryCompleted {
            queue_key,
            jobs,
            began,
            began_at,
            is_whole_list,
            seen,
            given_up,
            delta,
            result,
        } = completed;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.parts.progress.answered(jobs.len());
        let (dataset, index) = queue_key;
        let application = self.application(index);
        let account = self.parts.account.clone();
        let now = self.parts.clock.now();
        let is_list = jobs.first() == Some(&QueuedQuery::List);
        if is_list {
            self.listing.remove(&queue_key);
        }
        let (next, again) = if is_list {
            // However long this takes, other queries get their turn in between.
            let landed_at = self.parts.clock.monotonic();
            let next = landed_at + account.dataset_interval(dataset);
            (next, landed_at + account.interval)
        } else {
            // Counted from the query, because a pass may have started long before.
            let next = began_at + account.dataset_interval(dataset);
            (next, began_at + account.interval)
        };
        let stale_after = account.stale_after;
        self.parts.recorder.delta(&delta);
        let mut counting = Vec::new();
        let mut renames = Vec::new();
        let mut nothing_queried = false;
        // Whether the only result is that messages that were set aside are still refused.
        let mut nothing_new = !seen.is_empty() && result.is_ok();
        let mut refused_only = nothing_new;
        let mut goes_on = false;
        let (mut new, mut good) = (0, result.is_ok() && seen.is_empty());
        let mut failures: Vec<Failure> = Vec::new();
        let mut drained = None;
        for observation in seen {
            good |= !matches!(
                observation,
                Observation::MessageFailed { .. }
                    | Observation::MessageRejected { .. }
                    | Observation::DrainedBody { cut: Some(_), .. }
            ) && !is_error(&observation);
            refused_only &= matches!(observation, Observation::MessageRejected { .. });
            nothing_new &= matches!(observation, Observation::MessageRejected { .. });
            if let Observation::NotYetAvailable { asked, .. }
            | Observation::MessageRejected { asked, .. } = &observation
                && self.is_renamed(index, asked)
            {
                // While it was queried by this name, another answer revealed the vendor's own name. It is due
                // immediately under that name, and "no such message" means nothing.
                continue;
            }
            match observation {
                Observation::Named { alias, id }
                    if alias.len().max(id.len()) > MAX_REGISTERED_BYTES => {}
                Observation::Named { alias, id } => {
                    if self.rename(index, &alias, &id) {
                        self.parts.recorder.forgotten(&application, &alias);
                    }
                    if !self.renamed.contains(&(index, alias.clone(), id.clone())) {
                        renames.push((alias, id));
                    }
                }
                Observation::ListedMessage(message) => {
                    new +=
                        usize::from(self.name(index, message, Source::List, false, pass.began_at));
                }
                Observation::MessageSnapshot(mut snapshot) => {
                    let key = self.known_as(index, &snapshot.asked, &snapshot.id);
                    // The answer may contain only its alias.
                    snapshot.id = key.1.clone();
                    let (campaign, sent_at) = (snapshot.campaign.clone(), snapshot.sent_at);
                    self.tracker.learn(&key, campaign, sent_at, now);
                    if !dataset.has_snapshots() {
                        // A list that is queried on behalf of another data set.
                        continue;
                    }
                    let next = self.answered(queue_key, &key.1, began_at, true);
                    if !is_list && self.tracker.get(&key).is_some() {
                        // The vendor answered for its name.
                        self.set_aside.remove(&(dataset, key.clone()));
                        self.last_good.insert((dataset, key.clone()));
                        self.queue(queue_key)
                            .together(&QueuedQuery::Message(key.1.clone()));
                    }
                    let stale_at = next + stale_after;
                    if let Some(tracked) = self.tracker.get(&key) {
                        self.parts.recorder.snapshot(
                            dataset,
                            &application,
                            &tracked.message,
                            tracked.first_seen,
                            &snapshot,
                            stale_at,
                        );
                        let asked_at = snapshot.asked_at;
                        let seen = self.seen(tracked, Some(*snapshot), asked_at);
                        counting.push((key, seen));
                    }
                }
                Observation::Figures {
                    asked,
                    part,
                    figures,
                } => {
                    let (message, stale_at) = match asked {
                        Some(asked) => {
                            let key = self.tracker.resolve(&(index, asked));
                            let next = self.answered(queue_key, &key.1, began_at, true);
                            if self.tracker.get(&key).is_some() {
                                self.last_good.insert((dataset, key.clone()));
                            }
                            (Some(key.1), next + stale_after)
                        }
                        None => (None, next + stale_after),
                    };
                    let recorder = &self.parts.recorder;
                    let group = message.as_deref().unwrap_or(part);
                    recorder.figures(dataset, &application, group, figures, stale_at);
                }
                // The ledger stores them.
                Observation::Events(_) | Observation::Cursor(_) => {}
                Observation::More => goes_on = true,
                Observation::NothingToQuery => nothing_queried = true,
                Observation::NotYetAvailable { asked, asked_at } => {
                    let key = (index, asked);
                    let next = self.answered(queue_key, &key.1, began_at, false);
                    let stale_at = next + stale_after;
                    self.parts
                        .recorder
                        .renewed(dataset, &application, &key.1, stale_at);
                    if let Some(tracked) = self.tracker.get(&key)
                        && dataset.has_snapshots()
                    {
                        let seen = self.seen(tracked, None, asked_at);
                        counting.push((key, seen));
                    }
                }
                Observation::MessageRejected {
                    asked,
                    reason,
                    then,
                } => {
                    nothing_new &= !self.refused(queue_key, &asked, &reason, then, next);
                }
                Observation::MessageFailed { asked, failure } => {
                    if !self.is_renamed(index, &asked) {
                        self.queue(queue_key)
                            .unanswered(&QueuedQuery::Message(asked), again);
                    }
                    failures.push(failure);
                }
                Observation::DrainedBody { read, cut, .. } => {
                    failures.extend(cut);
                    drained = Some((read.empty, read.reports.is_empty()));
                }
            }
        }
        if !counting.is_empty() || !renames.is_empty() {
            let (keys, seen) = counting.into_iter().unzip();
            flights.push(self.count(queue_key, application.clone(), renames, keys, seen));
        }
        self.given_up(given_up);
        self.make_room(0);
        if is_list {
            let now = self.parts.clock.now();
            self.parts
                .recorder
                .discovered(Source::List, new, result.is_ok(), now);
            self.parts.recorder.tracked(self.tracker.len());
        }
        if is_list && result.is_ok() {
            let before = self.lists.get(&queue_key);
            let whole_at = match before {
                Some(before) if !is_whole_list => before.whole_at,
                _ => began_at,
            };
            let progress = ListProgress {
                whole_at,
                complete_until: began,
            };
            self.lists.insert(queue_key, progress);
        }
        if let Some((empty, unreadable)) = drained
            && result.is_ok()
        {
            self.unreadable = if unreadable && !empty {
                self.unreadable + 1
            } else {
                0
            };
            let pause = empty || self.unreadable >= MAX_UNREADABLE;
            if pause {
                self.unreadable = 0;
            }
            let now = self.parts.clock.monotonic();
            if pause {
                self.queue(queue_key)
                    .answered(&QueuedQuery::Drain, next, Duration::ZERO);
            } else if pass.drains_on(now, account.interval) {
                self.queue(queue_key).go_on(&QueuedQuery::Drain, now);
            } else {
                self.queue(queue_key)
                    .answered(&QueuedQuery::Drain, now, Duration::ZERO);
            }
        }
        if goes_on && result.is_ok() {
            for job in &jobs {
                self.queue(queue_key).go_on(job, pass.began_at);
            }
        }
        let mut result = result;
        if result
            .as_ref()
            .is_err_and(|failure| failure.kind == FailureKind::Request)
            && self.cannot_be_asked(queue_key, &jobs, next)
        {
            refused_only = true;
            result = Ok(());
        }
        for job in &jobs {
            if self.queue(queue_key).is_in_flight(job) {
                let next = if nothing_queried { again } else { next };
                match &result {
                    // The job of a list, or a message that the answer does not mention.
                    Ok(()) => self.queue(queue_key).answered(job, next, Duration::ZERO),
                    // A permanent refusal is retried only at the regular time: a plan that lacks a data set
                    // is no reason for a request every minute.
                    Err(failure) if failure.kind == FailureKind::Forbidden => {
                        self.queue(queue_key).unanswered(job, again.max(next));
                    }
                    Err(_) => self.queue(queue_key).unanswered(job, again),
                }
            }
        }
        if let Err(failure) = result {
            match failure.scope {
                Scope::Query => {}
                Scope::Application => self.queue(queue_key).defer(again),
                Scope::Account => self
                    .queues
                    .values_mut()
                    .for_each(|queue| queue.defer(again)),
            }
            failures.push(failure);
        }
        if (nothing_queried || nothing_new) && failures.is_empty() {
            // Neither success nor failure.
            return;
        }
        let monotonic = self.parts.clock.monotonic();
        if good {
            self.good_at = Some(monotonic);
            let now = self.parts.clock.now();
            self.tell(|status| status.good_at = Some(now));
        }
        // A refusal says nothing about a vendor that answers other queries.
        let is_recent = |at| monotonic.since(at) < account.stale_after;
        pass.up |= good || refused_only && self.good_at.is_some_and(is_recent);
        let since = began_at.min(pass.began_at);
        let lasted = self.parts.clock.monotonic().since(since);
        pass.lasted.insert(dataset, lasted);
        let success = pass.asked.entry(queue_key).or_insert(true);
        *success &= failures.is_empty();
        for failure in failures {
            self.failed(queue_key, &application, &failure);
        }
        self.tell(|status| status.answered = true);
        // New counters must be exposed immediately because their hold has started; failures are published
        // with them.
        if delta.born {
            self.parts.recorder.publish();
        }
    }

    pub(super) fn queue(&mut self, key: DatasetQueueKey) -> &mut DatasetQueue {
        self.queues.entry(key).or_default()
    }

    /// Records an answer for a message, and returns when it is due again according to its age.
    fn answered(
        &mut self,
        queue_key: DatasetQueueKey,
        id: &Arc<str>,
        asked_at: Moment,
        has_numbers: bool,
    ) -> Moment {
        let (next, early) = self.next_query(queue_key, id, asked_at, has_numbers);
        let job = QueuedQuery::Message(id.clone());
        let queue = self.queue(queue_key);
        queue.answered(&job, next, early);
        queue.asked(&job, asked_at);
        next
    }

    /// When a message is due after a query that started at `asked_at`, according to its age, and how much
    /// earlier it may be queried. The age is computed with the current wall clock.
    pub(super) fn next_query(
        &mut self,
        queue_key: DatasetQueueKey,
        id: &Arc<str>,
        asked_at: Moment,
        has_numbers: bool,
    ) -> (Moment, Duration) {
        let key = (queue_key.1, id.clone());
        let now = self.now();
        let account = &self.parts.account;
        let interval = account.dataset_interval(queue_key.0);
        let tracked = self.tracker.get(&key);
        let origin = self.parts.clock.origin();
        let began = after(origin, asked_at.since_start());
        let since_asked = SignedDuration::try_from(now.monotonic.since(asked_at));
        let age = tracked.map_or(SignedDuration::ZERO, |tracked| {
            tracked
                .age(now)
                .saturating_sub(since_asked.unwrap_or_default())
        });
        let (next, early) = schedule::next(
            asked_at,
            age,
            interval,
            account.max_interval,
            batch_window(&self.parts, self.first, queue_key.0),
        );
        let next = match account.daily {
            Some(daily) => {
                let since = tracked.map_or(began, Tracked::since);
                let days = daily.day_of(began).duration_since(daily.day_of(since));
                let is_first_day = days < SignedDuration::from_hours(36);
                let next_at = after(origin, next.since_start());
                let next_at =
                    schedule::next_daily(began, next_at, is_first_day, has_numbers, daily);
                self.parts.clock.moment_of(next_at)
            }
            None => next,
        };
        let earliest =
            tracked.and_then(|tracked| self.parts.provider.first_numbers(&tracked.message));
        let next = earliest.map_or(next, |earliest| {
            self.parts.clock.moment_of(earliest).max(next)
        });
        (next, early)
    }
}
