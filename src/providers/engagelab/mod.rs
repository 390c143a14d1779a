//! EngageLab AppPush, statistics API v4: messages (`GET /v4/status/detail`, up to 100 ids a request),
//! users, and the lifecycle of messages on test devices.

mod checkup;
mod errors;
#[cfg(test)]
mod tests;
pub(super) mod vendor;
mod wire;

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{FutureExt, future::BoxFuture};
use jiff::{SignedDuration, Timestamp};

use errors::{Refused, Reply};
use wire::{
    Batch, is_id, lifecycle,
    users::{self, Unit},
};

use super::{
    Answer, Checkup, CheckupQuery, Failure, HistoryQuery, HistoryRecord, MessagesQuery,
    Observation, Provider, ProviderOptions, Refusal, Scope, WholeQuery,
    bisect::Halves,
    encode::percent_encode,
    http::{Http, HttpAnswer, Request, Verdict},
    json::{Object, problem},
    secrets::Secrets,
    verdict::undecodable,
};
use crate::{
    model::{Dataset, Message, Snapshot},
    secret::Secret,
};

/// The most ids that the vendor takes.
const BATCH: usize = 100;

/// The longest URL of a request: many proxies and servers refuse more than 8 KiB of request line.
const MAX_URL_BYTES: usize = 8 * 1024;
/// What of it is left for everything but ids.
const URL_RESERVE_BYTES: usize = 128;

/// EngageLab's statistics of one account.
pub(crate) struct Engagelab {
    http: Http,
    secrets: Secrets,
    canaries: Vec<Secret>,
    /// How long the ids of one request may be, with a comma for each.
    max_ids_bytes: usize,
}

/// How a batch was answered.
enum BatchEnd {
    /// With what was handed over; `missing` is not in the answer.
    Answered {
        missing: Vec<Message>,
        asked_at: Timestamp,
    },
    /// As a whole with an error that may be one message's.
    Refused(Refused),
}

/// Splits `items` into runs of at most `most` items and `bytes` bytes of `length`. An item that is
/// longer than that makes a run of its own.
fn runs<T>(items: &[T], most: usize, bytes: usize, length: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut runs = Vec::new();
    let mut rest = items;
    while !rest.is_empty() {
        let mut sum = 0;
        let fits = rest.iter().take(most).take_while(|item| {
            sum += length(item);
            sum <= bytes
        });
        let (run, after) = rest.split_at(fits.count().max(1));
        runs.push(run);
        rest = after;
    }
    runs
}

/// The verdict on an answer that was parsed once: what of it may be an error is in `fields`, and `read`
/// makes of it what is handed over.
fn verdict<P, T>(
    answer: &HttpAnswer,
    path_and_query: &str,
    parsed: Result<P, serde_json::Error>,
    fields: impl FnOnce(&P) -> &Object<'_>,
    read: impl FnOnce(P) -> T,
) -> Verdict<Reply<T>> {
    let error = parsed.as_ref().ok().map(fields).and_then(errors::find);
    // An error that comes with a good status is one all the same.
    if !answer.status.is_success() || error.is_some() {
        return errors::judge(answer, error.as_ref(), path_and_query);
    }
    match parsed {
        Ok(parsed) => Verdict::Done(Reply::Answer(read(parsed))),
        Err(_) if answer.body.trim_ascii().is_empty() => {
            Verdict::Fail(undecodable(answer, "the answer is empty"))
        }
        Err(error) => Verdict::Fail(undecodable(answer, &problem(&error))),
    }
}

impl Engagelab {
    pub(crate) fn new(http: Http, options: &ProviderOptions) -> Engagelab {
        Engagelab {
            http,
            secrets: Secrets::new(options.credentials.secrets()),
            canaries: options.keys.secrets(vendor::CANARIES).to_vec(),
            max_ids_bytes: MAX_URL_BYTES
                .saturating_sub(URL_RESERVE_BYTES + options.base_url.as_str().len()),
        }
    }

    fn request(&self, path_and_query: String) -> Request {
        let secrets = self.secrets.current();
        let part = |index: usize| secrets.get(index).map_or("", Secret::expose);
        let value = format!(
            "Basic {}",
            STANDARD.encode(format!("{}:{}", part(0), part(1)))
        );
        Request::json(path_and_query, &value)
    }

    /// Asks until there is an answer, a refusal, or an error that stays. `judge` knows the request's
    /// path and query.
    async fn get<T>(
        &self,
        dataset: Dataset,
        path_and_query: String,
        patience: Duration,
        judge: impl Fn(&HttpAnswer, &str) -> Verdict<Reply<T>>,
    ) -> Result<(Reply<T>, Timestamp), Failure> {
        let judge = |answer: &HttpAnswer| judge(answer, &path_and_query);
        let build = || self.request(path_and_query.clone());
        let refresh = || self.secrets.refresh();
        self.http
            .call(dataset, patience, build, judge, refresh)
            .await
    }

    /// The same for an answer whose fields `read` looks at one by one.
    async fn get_object<T>(
        &self,
        dataset: Dataset,
        path_and_query: String,
        patience: Duration,
        read: impl Fn(&Object<'_>, &mut dyn FnMut(&str)) -> T,
    ) -> Result<(Reply<T>, Timestamp), Failure> {
        let unknown = |field: &str| self.http.observer().unknown_field(dataset, field);
        let judge = |answer: &HttpAnswer, path: &str| {
            let parsed = serde_json::from_slice::<Object<'_>>(&answer.body);
            let read = |object| read(&object, &mut &unknown);
            verdict(answer, path, parsed, |object| object, read)
        };
        self.get(dataset, path_and_query, patience, judge).await
    }

    /// Asks for one batch and hands over what is in the answer.
    async fn batch(
        &self,
        dataset: Dataset,
        messages: &[Message],
        patience: Duration,
        observations: &mut Vec<Observation>,
    ) -> Result<BatchEnd, Failure> {
        // One parameter with commas between the ids, never a repeated one.
        let ids: Vec<&str> = messages.iter().map(|message| &*message.id).collect();
        let path = format!("/v4/status/detail?message_ids={}", ids.join(","));
        let unknown = &|field: &str| self.http.observer().unknown_field(dataset, field);
        let read = |mut batch: Batch<'_>| {
            if !batch.has_shape(ids.iter().copied()) {
                return Err("the answer holds no message that was asked for, but something else");
            }
            // When the request began shows later.
            let state = |message: &Message| {
                let state = batch.take(&message.id, Timestamp::UNIX_EPOCH, &mut { unknown });
                (message.clone(), state)
            };
            let states: Vec<_> = messages.iter().map(state).collect();
            for name in batch.others.keys() {
                unknown(wire::field_name(name));
            }
            Ok(states)
        };
        let judge = |answer: &HttpAnswer, path: &str| {
            let parsed = Batch::parse(&answer.body);
            verdict(answer, path, parsed, |batch| &batch.others, read)
        };
        let (states, asked_at) = match self.get(dataset, path, patience, judge).await? {
            (Reply::Answer(states), asked_at) => (states, asked_at),
            (Reply::Refused(refused), _) => return Ok(BatchEnd::Refused(refused)),
        };
        let mut missing = Vec::new();
        for (message, state) in states.map_err(Failure::bad_count)? {
            let asked = message.id.clone();
            observations.push(match state {
                Some(Ok(Some(snapshot))) => Observation::MessageSnapshot(Box::new(Snapshot {
                    asked_at,
                    ..snapshot
                })),
                Some(Ok(None)) => Observation::NotYetAvailable { asked, asked_at },
                Some(Err(text)) => Observation::MessageFailed {
                    asked,
                    failure: Failure::bad_count(&text),
                },
                None => {
                    missing.push(message);
                    continue;
                }
            });
        }
        Ok(BatchEnd::Answered { missing, asked_at })
    }

    /// The numbers of messages, in batches that the vendor and the URL's length allow.
    async fn numbers(
        &self,
        dataset: Dataset,
        messages: &[Message],
        patience: Duration,
        observations: &mut Vec<Observation>,
    ) -> Result<(), Failure> {
        let (good, bad): (Vec<_>, Vec<_>) = messages
            .iter()
            .cloned()
            .partition(|message| is_id(&message.id));
        for message in bad {
            observations.push(invalid_id(message.id));
        }
        let length = |message: &Message| message.id.len() + 1;
        for run in runs(&good, BATCH, self.max_ids_bytes, length) {
            // The vendor may answer fewer ids at once than it takes: what is left out of an answer
            // that holds others is queried again, as long as that brings something.
            let mut rest = self.run(dataset, run, patience, observations).await?;
            while !rest.is_empty() {
                rest = self.run(dataset, &rest, patience, observations).await?;
            }
        }
        Ok(())
    }

    /// One batch to its end, and what is left out of answers that hold others: always fewer than
    /// `messages`. A batch that is refused is halved until the messages stand alone for which it
    /// was. An answer that holds nothing says that there are no numbers yet.
    async fn run(
        &self,
        dataset: Dataset,
        messages: &[Message],
        patience: Duration,
        observations: &mut Vec<Observation>,
    ) -> Result<Vec<Message>, Failure> {
        let mut left_out = Vec::new();
        let mut halves = Halves::new(messages);
        while let Some(batch) = halves.next() {
            match self.batch(dataset, batch, patience, observations).await? {
                BatchEnd::Answered { missing, asked_at } if missing.len() == batch.len() => {
                    for message in missing {
                        let asked = message.id;
                        observations.push(Observation::NotYetAvailable { asked, asked_at });
                    }
                }
                BatchEnd::Answered { missing, .. } => left_out.extend(missing),
                BatchEnd::Refused(refused) => {
                    if let Some(message) = halves.refused(batch) {
                        observations.push(Observation::MessageRejected {
                            asked: message.id.clone(),
                            reason: refused.reason(),
                            then: refused.then(),
                        });
                    }
                }
            }
        }
        Ok(left_out)
    }

    /// The users of the newest complete hour, day and month. Each unit is a query of its own: the
    /// figures of those that are answered are handed over, and then the first failure of the others
    /// is returned.
    async fn users(
        &self,
        dataset: Dataset,
        patience: Duration,
        observations: &mut Vec<Observation>,
    ) -> Result<(), Failure> {
        let now = self.http.clock().now();
        let (mut answered, mut failed) = (false, None);
        let mut parts = Vec::new();
        for unit in Unit::ALL {
            match self.users_by(dataset, unit, now, patience).await {
                Ok(figures) => {
                    answered |= !figures.is_empty();
                    parts.push(Observation::Figures {
                        asked: None,
                        part: unit.label(),
                        figures,
                    });
                }
                Err(failure) => {
                    failed.get_or_insert(failure);
                }
            }
        }
        // A unit that is not asked for at this hour is no answer where the vendor refused all that was asked.
        if answered || failed.is_none() {
            observations.append(&mut parts);
        }
        match failed {
            // What others were answered with is not refused to the whole account.
            Some(failure) if answered => Err(failure.of(Scope::Query)),
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// The users of one unit of time. None where the vendor has none: in the first hour of a day,
    /// and where it refuses the unit.
    async fn users_by(
        &self,
        dataset: Dataset,
        unit: Unit,
        now: Timestamp,
        patience: Duration,
    ) -> Result<Vec<crate::model::AppMetric>, Failure> {
        let Some(query) = unit.query(now) else {
            return Ok(Vec::new());
        };
        let path = format!("/v4/status/users?{query}");
        let read = |answer: &Object<'_>, unknown: &mut dyn FnMut(&str)| {
            users::figures(answer, unit, now, unknown)
        };
        let asked = self.get_object(dataset, path, patience, read);
        let figures = match asked.await?.0 {
            Reply::Answer(figures) => figures,
            Reply::Refused(refused) if unit.may_be_refused() && refused.is_parameter() => {
                return Ok(Vec::new());
            }
            Reply::Refused(refused) => return Err(refused.failure),
        };
        figures.map_err(|problem| Failure::bad_count(&problem))
    }

    /// The users of the days whose numbers were the newest from a time to another.
    async fn days_of_users(
        &self,
        query: HistoryQuery<'_>,
        records: &mut Vec<HistoryRecord>,
    ) -> Result<(), Failure> {
        let now = self.http.clock().now();
        let Some(of_days) = users::days_query(query.from, query.to, now) else {
            return Ok(());
        };
        let path = format!("/v4/status/users?{of_days}");
        let patience = query.patience;
        let asked = self.get_object(query.dataset, path, patience, users::days);
        let days = match asked.await?.0 {
            Reply::Answer(days) => days,
            Reply::Refused(refused) => return Err(refused.failure),
        };
        for (day, figures) in days.map_err(|problem| Failure::bad_count(&problem))? {
            // A day's numbers are complete when it is over, and the newest until the next one is.
            let after = |days: i64| day.checked_add(SignedDuration::from_hours(24 * days));
            let (from, to) = (after(1).unwrap_or(day), after(2).unwrap_or(day));
            records.push(HistoryRecord::Newest { from, to, figures });
        }
        Ok(())
    }

    /// In which status a message is on each of the test devices.
    async fn lifecycle(
        &self,
        dataset: Dataset,
        message: &Message,
        patience: Duration,
    ) -> Result<Observation, Failure> {
        let asked = message.id.clone();
        if !is_id(&asked) {
            return Ok(invalid_id(asked));
        }
        let mut tally = lifecycle::Tally::default();
        let length = |device: &Secret| percent_encode(device.expose()).len() + 1;
        let bytes = self.max_ids_bytes.saturating_sub(asked.len());
        for devices in runs(&self.canaries, lifecycle::DEVICES, bytes, length) {
            let ids: Vec<_> = devices
                .iter()
                .map(|device| percent_encode(device.expose()))
                .collect();
            let path = format!(
                "/v4/status/message?message_id={asked}&registration_ids={}",
                ids.join(",")
            );
            let read = |answer: &Object<'_>, unknown: &mut dyn FnMut(&str)| {
                let mut counted = lifecycle::Tally::default();
                let taken = counted.take(answer, devices, unknown);
                taken.map(|()| counted)
            };
            let counted = match self.get_object(dataset, path, patience, read).await? {
                (Reply::Answer(counted), _) => counted,
                // A message that the vendor does not know, or knows no more: that is for the data
                // set of its numbers to say.
                (Reply::Refused(refused), asked_at) if refused.names_message() => {
                    return Ok(Observation::NotYetAvailable { asked, asked_at });
                }
                // A device id can be the cause: no message has a status then, and nobody else
                // would say so.
                (Reply::Refused(refused), _) => {
                    let failure = refused.failure.advise("check canaries");
                    return Ok(Observation::MessageFailed { asked, failure });
                }
            };
            match counted {
                Ok(counted) => tally.add(counted),
                Err(problem) => {
                    let failure = Failure::bad_count(&problem);
                    return Ok(Observation::MessageFailed { asked, failure });
                }
            }
        }
        let figures = tally.figures(&message.id);
        let asked = Some(asked);
        Ok(Observation::Figures {
            asked,
            part: "",
            figures,
        })
    }
}

/// A message whose id is none of this vendor's.
fn invalid_id(asked: Arc<str>) -> Observation {
    Observation::MessageRejected {
        asked,
        reason: Arc::from("invalid_id"),
        then: Refusal::AtOnce,
    }
}

impl Provider for Engagelab {
    fn messages<'a>(&'a self, query: MessagesQuery<'a>) -> BoxFuture<'a, Answer> {
        async move {
            let MessagesQuery {
                dataset,
                messages,
                patience,
                ..
            } = query;
            if dataset == vendor::LIFECYCLE {
                let ask = |message| self.lifecycle(dataset, message, patience);
                return Answer::one_by_one(messages, ask).await;
            }
            let mut observations = Vec::new();
            let all = self.numbers(dataset, messages, patience, &mut observations);
            let result = all.await;
            Answer::new(observations, result)
        }
        .boxed()
    }

    fn whole<'a>(&'a self, query: WholeQuery<'a>) -> BoxFuture<'a, Answer> {
        async move {
            let mut observations = Vec::new();
            let users = self.users(query.dataset, query.patience, &mut observations);
            let result = users.await;
            Answer::new(observations, result)
        }
        .boxed()
    }

    fn check_up<'a>(&'a self, query: CheckupQuery<'a>) -> BoxFuture<'a, Checkup> {
        self.questions(query).boxed()
    }

    fn history<'a>(&'a self, query: HistoryQuery<'a>) -> BoxFuture<'a, Answer<HistoryRecord>> {
        async move {
            let mut records = Vec::new();
            let result = self.days_of_users(query, &mut records).await;
            Answer::new(records, result)
        }
        .boxed()
    }
}
