//! EngageLab AppPush, statistics API v4: messages (`GET /v4/status/detail`, up to 100 ids a request),
//! users, and the lifecycle of messages on test devices.

mod lifecycle;
mod users;
mod wire;

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use delivery_clock::Moment;
use futures_util::{FutureExt, future::BoxFuture};
use jiff::{SignedDuration, Timestamp};

use users::Unit;

use super::{
    Failure, FailureKind, Observation, Past, PastPlan, PastQuery, Plan, Provider, Query, Refusal,
    Scope,
    bisect::Halves,
    encode::percent_encode,
    http::{Answer, Http, Request, Verdict, redact::redact},
    json::{Object, problem},
    secrets::Secrets,
    verdict::{by_status, said, undecodable},
};
use crate::{
    aside::{LARGE_ANSWER, aside},
    config::{self, Credentials},
    model::{Dataset, Message},
    secret::Secret,
};

/// The most ids that the vendor takes.
const BATCH: usize = 100;

/// What became of a batch.
enum Batch {
    /// It was answered.
    Answered,
    /// It was refused with this code, and one id in it may be the reason.
    Refused(u32),
}

/// EngageLab's statistics of one account.
pub(crate) struct Engagelab {
    http: Http,
    secrets: Secrets,
    canaries: Vec<Secret>,
}

impl Engagelab {
    pub(crate) fn new(http: Http, account: &config::Account) -> Engagelab {
        let sources = match account.credentials.clone() {
            Credentials::Basic { username, password } => vec![username, password],
            _ => Vec::new(),
        };
        Engagelab {
            http,
            secrets: Secrets::new(sources),
            canaries: account.canaries.clone(),
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

    /// Asks until there is an answer, or an error that stays.
    async fn get(
        &self,
        dataset: Dataset,
        path_and_query: String,
        deadline: Moment,
    ) -> Result<(Bytes, Timestamp), Failure> {
        let judge = |answer: &Answer| {
            if !answer.status.is_success() {
                return self.refused(answer);
            }
            match serde_json::from_slice::<Object<'_>>(&answer.body) {
                // An error that comes with a good status is one all the same.
                Ok(object) if object.contains_key("error") => self.refused(answer),
                Ok(_) => Verdict::Done(answer.body.clone()),
                Err(error) => Verdict::Fail(undecodable(answer, &problem(&error))),
            }
        };
        let build = || self.request(path_and_query.clone());
        let refresh = || self.secrets.refresh();
        self.http
            .call(dataset, deadline, build, judge, refresh)
            .await
    }

    /// Asks for one batch and hands over what is in the answer.
    async fn batch(
        &self,
        dataset: Dataset,
        messages: &[Message],
        deadline: Moment,
        take: &mut (dyn FnMut(Observation) + Send),
    ) -> Result<Batch, Failure> {
        // One parameter with commas between the ids, never a repeated one.
        let ids: Vec<_> = messages
            .iter()
            .map(|message| percent_encode(&message.id))
            .collect();
        let path = format!("/v4/status/detail?message_ids={}", ids.join(","));
        let answer = self.get(dataset, path, deadline).await;
        let (body, asked_at) = match answer {
            Ok(answered) => answered,
            Err(failure) => {
                return match one_message(&failure) {
                    Some(code) => Ok(Batch::Refused(code)),
                    None => Err(failure),
                };
            }
        };
        let unknown = &mut |field: &str| self.http.observer().unknown_field(dataset, field);
        aside(body.len() > LARGE_ANSWER, || {
            let mut object: Object<'_> = serde_json::from_slice(&body).unwrap_or_default();
            for message in messages {
                let asked = message.id.clone();
                let observation = match object.remove(message.id.as_ref()) {
                    None => Observation::NotYet { asked, asked_at },
                    Some(raw) => {
                        match wire::snapshot(raw.get(), asked.clone(), asked_at, unknown) {
                            Ok(Some(snapshot)) => Observation::Snapshot(Box::new(snapshot)),
                            Ok(None) => Observation::NotYet { asked, asked_at },
                            Err(text) => Observation::Failed {
                                asked,
                                failure: Failure::bad_count(&text),
                            },
                        }
                    }
                };
                take(observation);
            }
        });
        Ok(Batch::Answered)
    }

    /// The users of the newest complete hour, day and month.
    async fn users(&self, dataset: Dataset, deadline: Moment) -> Result<Observation, Failure> {
        let now = self.http.clock().now();
        let mut figures = Vec::new();
        for unit in Unit::ALL {
            let Some(query) = unit.query(now) else {
                continue;
            };
            let path = format!("/v4/status/users?{query}");
            let body = match self.get(dataset, path, deadline).await {
                Ok((body, _)) => body,
                Err(failure) if unit.may_be_refused() && is_invalid(&failure) => continue,
                Err(failure) => return Err(failure),
            };
            let unknown = &mut |field: &str| self.http.observer().unknown_field(dataset, field);
            let found = users::figures(&body, unit, now, unknown);
            figures.extend(found.map_err(|problem| Failure::bad_count(&problem))?);
        }
        Ok(Observation::Figures {
            asked: None,
            part: "",
            figures,
        })
    }

    /// The users of the days whose numbers were the newest from a time to another.
    async fn days_of_users(
        &self,
        query: PastQuery<'_>,
        take: &mut (dyn FnMut(Past) + Send),
    ) -> Result<(), Failure> {
        let now = self.http.clock().now();
        let Some(of_days) = users::days_query(query.from, query.to, now) else {
            return Ok(());
        };
        let path = format!("/v4/status/users?{of_days}");
        let deadline = self.http.clock().monotonic() + query.patience;
        let (body, _) = self.get(query.dataset, path, deadline).await?;
        let observer = self.http.observer();
        let unknown = &mut |field: &str| observer.unknown_field(query.dataset, field);
        let days = users::days(&body, unknown);
        for (day, figures) in days.map_err(|problem| Failure::bad_count(&problem))? {
            // A day's numbers are complete when it is over, and the newest until the next one is.
            let after = |days: i64| day.checked_add(SignedDuration::from_hours(24 * days));
            let (from, to) = (after(1).unwrap_or(day), after(2).unwrap_or(day));
            take(Past::Newest { from, to, figures });
        }
        Ok(())
    }

    /// In which status a message is on each of the test devices.
    async fn lifecycle(
        &self,
        dataset: Dataset,
        message: &Message,
        deadline: Moment,
    ) -> Result<Observation, Failure> {
        let asked = message.id.clone();
        let mut tally = lifecycle::Tally::default();
        for devices in self.canaries.chunks(lifecycle::DEVICES) {
            let ids: Vec<_> = devices
                .iter()
                .map(|device| percent_encode(device.expose()))
                .collect();
            let path = format!(
                "/v4/status/message?message_id={}&registration_ids={}",
                percent_encode(&message.id),
                ids.join(",")
            );
            let body = match self.get(dataset, path, deadline).await {
                Ok((body, _)) => body,
                // A message that the vendor does not know, or knows no more.
                Err(failure) if one_message(&failure).is_some() => {
                    let asked_at = self.http.clock().now();
                    return Ok(Observation::NotYet { asked, asked_at });
                }
                Err(failure) => return Err(failure),
            };
            if let Err(problem) = tally.take(&body, devices) {
                let failure = Failure::bad_count(&problem);
                return Ok(Observation::Failed { asked, failure });
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

    /// The verdict on an error: by the vendor's code, which stands in a nested or a flat body, and
    /// without one by the HTTP status.
    fn refused<T>(&self, answer: &Answer) -> Verdict<T> {
        let (code, text) = wire::error(&answer.body);
        let text = redact(&text, &self.secrets.current());
        let status = answer.status.as_u16();
        let failure = |kind, scope, advice| Failure {
            kind,
            scope,
            status: Some(status),
            code: code.map(|code| code.to_string().into()),
            text: said(status, code.map(|code| code.to_string()).as_deref(), &text),
            advice,
        };
        let account = Scope::Account;
        match code {
            Some(23008) => {
                let advice = Some("lower rate_limit; the limit is shared with your sending");
                Verdict::Retry(
                    failure(FailureKind::RateLimited, Scope::Query, advice),
                    None,
                )
            }
            // Not a wrong password, in spite of the status.
            Some(21038) => {
                let advice = Some("the paid plan has expired or is not active");
                Verdict::Fail(failure(FailureKind::Forbidden, account, advice))
            }
            Some(23009) => {
                let advice = Some("this machine's IP address is not on the application's list");
                Verdict::Fail(failure(FailureKind::Forbidden, account, advice))
            }
            Some(21001) => {
                let advice = Some("check base_url: each data centre has its own");
                Verdict::Fail(failure(FailureKind::NotFound, account, advice))
            }
            Some(23001 | 21004 | 21008) => {
                let advice = Some("check app_key, master_secret, and base_url's data centre");
                Verdict::Fail(failure(FailureKind::Unauthorized, account, advice))
            }
            // Of one message: the batch is split to find it.
            Some(27201 | 23007 | 21003) if status == 400 => {
                Verdict::Fail(failure(FailureKind::Vendor, Scope::Query, None))
            }
            _ => by_status(answer, code.map(|code| code.to_string()).as_deref(), &text),
        }
    }
}

/// The vendor's code, if it is about one message (or, of other data sets, one parameter).
fn one_message(failure: &Failure) -> Option<u32> {
    let code = failure.code.as_deref()?.parse().ok()?;
    (matches!(code, 27201 | 23007 | 21003) && failure.status == Some(400)).then_some(code)
}

fn is_invalid(failure: &Failure) -> bool {
    one_message(failure) == Some(21003)
}

impl Provider for Engagelab {
    fn plan(&self, dataset: Dataset) -> Plan {
        match dataset {
            Dataset::Users => Plan::Whole,
            Dataset::Lifecycle => Plan::Messages { batch: 1 },
            _ => Plan::Messages { batch: BATCH },
        }
    }

    fn past_plan(&self, dataset: Dataset) -> Option<PastPlan> {
        (dataset == Dataset::Users).then_some(PastPlan::Whole {
            reach: Duration::ZERO,
        })
    }

    fn past<'a>(
        &'a self,
        query: PastQuery<'a>,
        take: &'a mut (dyn FnMut(Past) + Send),
    ) -> BoxFuture<'a, Result<(), Failure>> {
        self.days_of_users(query, take).boxed()
    }

    fn ask<'a>(
        &'a self,
        query: Query<'a>,
        take: &'a mut (dyn FnMut(Observation) + Send),
    ) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let (dataset, messages, deadline) = match query {
                Query::Messages {
                    dataset,
                    messages,
                    deadline,
                    ..
                } => (dataset, messages, deadline),
                Query::Whole {
                    dataset, deadline, ..
                } => {
                    take(self.users(dataset, deadline).await?);
                    return Ok(());
                }
                _ => return Err(Failure::unsupported()),
            };
            if dataset == Dataset::Lifecycle {
                for message in messages {
                    take(self.lifecycle(dataset, message, deadline).await?);
                }
                return Ok(());
            }
            let numeric = |message: &Message| {
                !message.id.is_empty() && message.id.bytes().all(|byte| byte.is_ascii_digit())
            };
            let (good, bad): (Vec<_>, Vec<_>) = messages
                .iter()
                .cloned()
                .partition(|message| numeric(message));
            for message in bad {
                // The vendor would refuse the whole batch for it.
                let reason = Arc::from("invalid_id");
                take(Observation::Refused {
                    asked: message.id,
                    reason,
                    then: Refusal::AtOnce,
                });
            }
            let mut halves = Halves::new(&good);
            while let Some(batch) = halves.next() {
                let code = match self.batch(dataset, batch, deadline, take).await? {
                    Batch::Answered => continue,
                    Batch::Refused(code) => code,
                };
                if let Some(message) = halves.refused(batch) {
                    let then = match code {
                        27201 => Refusal::UnlessNew,
                        _ => Refusal::AtOnce,
                    };
                    let reason = code.to_string().into();
                    take(Observation::Refused {
                        asked: message.id.clone(),
                        reason,
                        then,
                    });
                }
            }
            Ok(())
        }
        .boxed()
    }
}
