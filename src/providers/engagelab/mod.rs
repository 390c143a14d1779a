//! EngageLab AppPush, statistics API v4: messages (`GET /v4/status/detail`, up to 100 ids a request),
//! users, and the lifecycle of messages on test devices.

mod checkup;
mod errors;
mod lifecycle;
#[cfg(test)]
mod tests;
mod users;
pub(super) mod vendor;
mod wire;

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{FutureExt, future::BoxFuture};
use jiff::{SignedDuration, Timestamp};

use errors::{Refused, Reply};
use users::Unit;

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
    blocking::{LARGE_ANSWER, run_blocking_if_large},
    model::{Dataset, Message},
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

/// An id as the vendor takes it: decimal digits. It refuses a whole batch for any other.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())
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

    /// Asks until there is an answer, a refusal, or an error that stays.
    async fn get(
        &self,
        dataset: Dataset,
        path_and_query: String,
        patience: Duration,
    ) -> Result<(Reply, Timestamp), Failure> {
        let judge = |answer: &HttpAnswer| {
            let object = serde_json::from_slice::<Object<'_>>(&answer.body);
            let error = object.as_ref().ok().and_then(errors::find);
            // An error that comes with a good status is one all the same.
            if !answer.status.is_success() || error.is_some() {
                return errors::judge(answer, error.as_ref(), &path_and_query);
            }
            match object {
                Ok(_) => Verdict::Done(Reply::Body(answer.body.clone())),
                Err(_) if answer.body.trim_ascii().is_empty() => {
                    Verdict::Fail(undecodable(answer, "the answer is empty"))
                }
                Err(error) => Verdict::Fail(undecodable(answer, &problem(&error))),
            }
        };
        let build = || self.request(path_and_query.clone());
        let refresh = || self.secrets.refresh();
        self.http
            .call(dataset, patience, build, judge, refresh)
            .await
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
        let (body, asked_at) = match self.get(dataset, path, patience).await? {
            (Reply::Body(body), asked_at) => (body, asked_at),
            (Reply::Refused(refused), _) => return Ok(BatchEnd::Refused(refused)),
        };
        let unknown = &mut |field: &str| self.http.observer().unknown_field(dataset, field);
        run_blocking_if_large(body.len() > LARGE_ANSWER, || {
            let mut object: Object<'_> = serde_json::from_slice(&body)
                .map_err(|error| Failure::bad_count(&problem(&error)))?;
            if !wire::has_shape(&object, ids.iter()) {
                let problem = "the answer holds no message that was asked for, but something else";
                return Err(Failure::bad_count(problem));
            }
            let mut missing = Vec::new();
            for message in messages {
                let asked = message.id.clone();
                let Some(raw) = object.remove(message.id.as_ref()) else {
                    missing.push(message.clone());
                    continue;
                };
                let snapshot = wire::snapshot(raw.get(), asked.clone(), asked_at, unknown);
                observations.push(match snapshot {
                    Ok(Some(snapshot)) => Observation::MessageSnapshot(Box::new(snapshot)),
                    Ok(None) => Observation::NotYetAvailable { asked, asked_at },
                    Err(text) => Observation::MessageFailed {
                        asked,
                        failure: Failure::bad_count(&text),
                    },
                });
            }
            for key in object.keys().filter(|key| !is_id(key)) {
                unknown(wire::field_name(key));
            }
            Ok(BatchEnd::Answered { missing, asked_at })
        })
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
        for unit in Unit::ALL {
            match self.users_by(dataset, unit, now, patience).await {
                Ok(figures) => {
                    answered |= !figures.is_empty();
                    observations.push(Observation::Figures {
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
        let body = match self.get(dataset, path, patience).await?.0 {
            Reply::Body(body) => body,
            Reply::Refused(refused) if unit.may_be_refused() && refused.is_parameter() => {
                return Ok(Vec::new());
            }
            Reply::Refused(refused) => return Err(refused.failure),
        };
        let unknown = &mut |field: &str| self.http.observer().unknown_field(dataset, field);
        let figures = users::figures(&body, unit, now, unknown);
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
        let body = match self.get(query.dataset, path, patience).await?.0 {
            Reply::Body(body) => body,
            Reply::Refused(refused) => return Err(refused.failure),
        };
        let observer = self.http.observer();
        let unknown = &mut |field: &str| observer.unknown_field(query.dataset, field);
        let days = users::days(&body, unknown);
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
            let body = match self.get(dataset, path, patience).await? {
                (Reply::Body(body), _) => body,
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
            let unknown = &mut |field: &str| self.http.observer().unknown_field(dataset, field);
            if let Err(problem) = tally.take(&body, devices, unknown) {
                let failure = Failure::bad_count(&problem);
                return Ok(Observation::MessageFailed { asked, failure });
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
