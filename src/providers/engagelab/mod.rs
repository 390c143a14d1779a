//! EngageLab AppPush, statistics API v4: `GET /v4/status/detail`, up to 100 ids a request.

mod wire;

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use delivery_clock::Moment;
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, header};

use super::{
    Failure, FailureKind, Observation, Plan, Provider, Query, Refusal, Scope,
    bisect::Halves,
    encode::percent_encode,
    http::{Answer, Http, Request, Verdict, redact::redact},
    json::{Object, problem},
    secrets::Secrets,
    verdict::{by_status, said, undecodable},
};
use crate::{
    config::{self, Credentials},
    model::{Dataset, Message},
    secret::Secret,
};

/// The most ids that the vendor takes.
const BATCH: usize = 100;
/// A message that has just been sent may not be known everywhere yet.
const MAYBE_NEW: Duration = Duration::from_secs(300);

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
        }
    }

    fn request(&self, messages: &[Message]) -> Request {
        let secrets = self.secrets.current();
        let part = |index: usize| secrets.get(index).map_or("", Secret::expose);
        let value = format!(
            "Basic {}",
            STANDARD.encode(format!("{}:{}", part(0), part(1)))
        );
        let mut headers = HeaderMap::new();
        if let Ok(mut value) = HeaderValue::from_str(&value) {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        // One parameter with commas between the ids, never a repeated one.
        let ids: Vec<_> = messages
            .iter()
            .map(|message| percent_encode(&message.id))
            .collect();
        Request {
            method: Method::GET,
            path_and_query: format!("/v4/status/detail?message_ids={}", ids.join(",")),
            headers,
            body: Bytes::new(),
        }
    }

    /// Asks for one batch and hands over what is in the answer.
    async fn batch(
        &self,
        dataset: Dataset,
        messages: &[Message],
        deadline: Moment,
        take: &mut (dyn FnMut(Observation) + Send),
    ) -> Result<Batch, Failure> {
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
        let answer = self
            .http
            .call(
                dataset,
                deadline,
                || self.request(messages),
                judge,
                || self.secrets.refresh(),
            )
            .await;
        let (body, asked_at) = match answer {
            Ok(answered) => answered,
            Err(failure) => {
                let code = failure.code.as_deref().and_then(|code| code.parse().ok());
                return match code {
                    Some(code @ (27201 | 23007 | 21003)) if failure.status == Some(400) => {
                        Ok(Batch::Refused(code))
                    }
                    _ => Err(failure),
                };
            }
        };
        let mut object: Object<'_> = serde_json::from_slice(&body).unwrap_or_default();
        let unknown = &mut |field: &str| self.http.observer().unknown_field(dataset, field);
        for message in messages {
            let asked = message.id.clone();
            let observation = match object.remove(message.id.as_ref()) {
                None => Observation::NotYet { asked, asked_at },
                Some(raw) => match wire::snapshot(raw.get(), asked.clone(), asked_at, unknown) {
                    Ok(Some(snapshot)) => Observation::Snapshot(Box::new(snapshot)),
                    Ok(None) => Observation::NotYet { asked, asked_at },
                    Err(text) => Observation::Failed {
                        asked,
                        failure: Failure::bad_count(&text),
                    },
                },
            };
            take(observation);
        }
        Ok(Batch::Answered)
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

impl Provider for Engagelab {
    fn plan(&self, _: Dataset) -> Plan {
        Plan::Messages { batch: BATCH }
    }

    fn ask<'a>(
        &'a self,
        query: Query<'a>,
        take: &'a mut (dyn FnMut(Observation) + Send),
    ) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let Query::Messages {
                dataset,
                messages,
                deadline,
                ..
            } = query
            else {
                return Err(Failure::unsupported());
            };
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
                    then: Refusal::ForGood,
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
                        27201 => Refusal::OlderThan(MAYBE_NEW),
                        _ => Refusal::ForGood,
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
