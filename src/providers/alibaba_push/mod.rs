//! Alibaba Cloud EMAS Mobile Push, API version 2016-08-01: `QueryPushStatByMsg` for the numbers of
//! one message, `QueryPushRecords` for the list.

mod checkup;
mod errors;
mod list;
mod sign;
#[cfg(test)]
mod tests;
pub(super) mod vendor;
mod wire;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use jiff::{SignedDuration, Timestamp};
use rand::RngExt;

use super::{
    Answer, Checkup, CheckupQuery, Failure, HistoryQuery, HistoryRecord, ListQuery, Listing,
    MessagesQuery, Observation, Provider, ProviderOptions, Refusal,
    encode::query,
    http::{Http, HttpAnswer, Request, Verdict},
    json::{Object, problem},
    secrets::Secrets,
    verdict::{by_status, undecodable},
};
use crate::{
    model::{DailyPublication, Dataset, Message, Snapshot},
    redact::{note_signature, shown},
    secret::Secret,
};
use errors::{Meaning, Refused, RefusedPart};

/// The version of the API.
const VERSION: &str = "2016-08-01";
/// The longest span of days or records in one request; the vendor's limit is not documented.
const MAX_SPAN: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Alibaba's statistics of one account.
pub(crate) struct AlibabaPush {
    http: Http,
    /// The key's id, its secret, and the security token if there is one.
    secrets: Secrets,
    signature: Signature,
    /// When the vendor's days begin.
    daily: DailyPublication,
    /// By application, from when on it has to be listed again for the pushes that were still
    /// scheduled when it was last listed.
    scheduled: Mutex<HashMap<Arc<str>, Timestamp>>,
}

/// How requests are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signature {
    /// ACS3-HMAC-SHA256, in headers.
    V3,
    /// HMAC-SHA1, in the query.
    V1,
}

/// What an operation brought.
enum Asked<T> {
    Answer(T),
    Refused(Refused),
}

impl<T> Asked<T> {
    /// The answer, where a refusal is no answer.
    fn answer(self) -> Result<T, Failure> {
        match self {
            Asked::Answer(answer) => Ok(answer),
            Asked::Refused(refused) => Err(refused.failure),
        }
    }
}

impl AlibabaPush {
    pub(crate) fn new(http: Http, options: &ProviderOptions) -> AlibabaPush {
        let signature = match options.credentials.word("signature") {
            Some("v1") => Signature::V1,
            _ => Signature::V3,
        };
        AlibabaPush {
            http,
            secrets: Secrets::new(options.credentials.secrets()),
            signature,
            daily: options.daily.unwrap_or(vendor::BEIJING),
            scheduled: Mutex::default(),
        }
    }

    /// A request for `action`, signed now. The query that is signed is the one that is sent.
    fn request(&self, action: &str, parameters: &[(&str, &str)]) -> Request {
        let secrets = self.secrets.current();
        let part = |index: usize| secrets.get(index).map(Secret::expose);
        let (id, secret) = (part(0).unwrap_or_default(), part(1).unwrap_or_default());
        let token = part(2);
        let time = self
            .http
            .clock()
            .now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        let nonce = format!("{:032x}", rand::rng().random::<u128>());
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let mut parameters = parameters.to_vec();
        let query = match self.signature {
            Signature::V3 => {
                parameters.sort_unstable();
                let query = query(parameters);
                let hash = sign::sha256_hex(b"");
                let mut signed = vec![
                    ("host", self.http.authority()),
                    ("x-acs-action", action),
                    ("x-acs-content-sha256", &hash),
                    ("x-acs-date", &time),
                    ("x-acs-signature-nonce", &nonce),
                    ("x-acs-version", VERSION),
                ];
                if let Some(token) = token {
                    signed.push(("x-acs-accesskey-id", id));
                    signed.push(("x-acs-security-token", token));
                }
                let (names, signature) = sign::v3(secret, "POST", &query, &signed, &hash);
                note_signature(&signature);
                let authorization = format!(
                    "ACS3-HMAC-SHA256 Credential={id},SignedHeaders={names},Signature={signature}"
                );
                signed.push(("authorization", &authorization));
                // The host is set by the client, from the same URL.
                for (name, value) in signed.into_iter().filter(|(name, _)| *name != "host") {
                    let name = HeaderName::from_bytes(name.as_bytes());
                    if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_str(value)) {
                        value.set_sensitive(true);
                        headers.insert(name, value);
                    }
                }
                query
            }
            Signature::V1 => {
                parameters.extend([
                    ("AccessKeyId", id),
                    ("Action", action),
                    ("Format", "JSON"),
                    ("SignatureMethod", "HMAC-SHA1"),
                    ("SignatureNonce", &nonce),
                    ("SignatureVersion", "1.0"),
                    ("Timestamp", &time),
                    ("Version", VERSION),
                ]);
                parameters.extend(token.map(|token| ("SecurityToken", token)));
                parameters.sort_unstable();
                let signed = query(parameters);
                let signature = sign::v1(secret, "POST", &signed);
                note_signature(&signature);
                format!("{signed}&{}", query([("Signature", signature.as_str())]))
            }
        };
        Request {
            method: Method::POST,
            path_and_query: format!("/?{query}"),
            headers,
            body: Bytes::new(),
        }
    }

    /// Asks for `action` until there is an answer, which `read` makes something of, or an error that
    /// stays.
    async fn operation<T>(
        &self,
        dataset: Dataset,
        action: &str,
        parameters: &[(&str, &str)],
        patience: Duration,
        read: impl Fn(&Object<'_>, &mut dyn FnMut(&str)) -> T,
    ) -> Result<(Asked<T>, Timestamp), Failure> {
        let asked = query(parameters.iter().copied());
        let judge = |answer: &HttpAnswer| {
            let object = serde_json::from_slice::<Object<'_>>(&answer.body);
            let error = match &object {
                Ok(object) => errors::error(object),
                Err(_) => errors::xml_error(&answer.body),
            };
            match (error, object) {
                (Some(error), _) => {
                    let text = errors::without_signed_text(&error.text);
                    let text = shown(text);
                    let now = self.http.clock().now();
                    match errors::meaning(answer, &error.code, &text, &asked, now) {
                        Meaning::Verdict(verdict) => verdict,
                        Meaning::Refused(refused) => Verdict::Done(Asked::Refused(refused)),
                    }
                }
                (None, _) if !answer.status.is_success() => by_status(answer, None, ""),
                (None, Ok(object)) => {
                    let observer = self.http.observer();
                    let unknown = &mut |field: &str| observer.unknown_field(dataset, field);
                    Verdict::Done(Asked::Answer(read(&object, unknown)))
                }
                (None, Err(_)) if answer.body.trim_ascii().is_empty() => {
                    Verdict::Fail(undecodable(answer, "the answer is empty"))
                }
                (None, Err(error)) => Verdict::Fail(undecodable(answer, &problem(&error))),
            }
        };
        let build = || self.request(action, parameters);
        self.http
            .call(dataset, patience, build, judge, || self.secrets.refresh())
            .await
    }

    async fn statistics(
        &self,
        query: &MessagesQuery<'_>,
        message: &Message,
    ) -> Result<Observation, Failure> {
        let (dataset, application, patience) = (query.dataset, query.application, query.patience);
        let asked = message.id.clone();
        if asked.is_empty() || !asked.bytes().all(|byte| byte.is_ascii_digit()) {
            let reason = Arc::from("invalid_id");
            return Ok(Observation::MessageRejected {
                asked,
                reason,
                then: Refusal::AtOnce,
            });
        }
        let parameters = [("AppKey", &*application.id), ("MessageId", &*asked)];
        let action = "QueryPushStatByMsg";
        let read = |answer: &Object<'_>, unknown: &mut dyn FnMut(&str)| {
            wire::snapshot(answer, &asked, unknown)
        };
        let (answer, asked_at) = self
            .operation(dataset, action, &parameters, patience, read)
            .await?;
        let snapshot = match answer {
            Asked::Answer(snapshot) => snapshot,
            Asked::Refused(refused) => {
                return Ok(match refused.what {
                    RefusedPart::NotReady => Observation::NotYetAvailable { asked, asked_at },
                    RefusedPart::Message(reason, then) => Observation::MessageRejected {
                        asked,
                        reason,
                        then,
                    },
                });
            }
        };
        Ok(match snapshot {
            Ok(Some(snapshot)) => Observation::MessageSnapshot(Box::new(Snapshot {
                asked_at,
                ..snapshot
            })),
            Ok(None) => Observation::NotYetAvailable { asked, asked_at },
            Err(problem) => Observation::MessageFailed {
                asked,
                failure: Failure::bad_count(&problem),
            },
        })
    }

    /// What came to the application's numbers, day by day, as far as the days are over.
    async fn days(
        &self,
        query: HistoryQuery<'_>,
        records: &mut Vec<HistoryRecord>,
    ) -> Result<(), Failure> {
        let end = query.to.min(self.http.clock().now());
        // Whole days, so that none is cut in two.
        let mut start = self.daily.day_of(query.from);
        let mut seen = HashSet::new();
        while start < end {
            let stop = start.checked_add(MAX_SPAN).unwrap_or(end).min(end);
            let (from, to) = (time(start), time(stop));
            let parameters = [
                ("AppKey", &*query.application.id),
                ("StartTime", &from),
                ("EndTime", &to),
                ("Granularity", "DAY"),
            ];
            let action = "QueryPushStatByApp";
            let patience = query.patience;
            let asked = self
                .operation(query.dataset, action, &parameters, patience, wire::days)
                .await?;
            let days = asked.0.answer()?;
            let days = days.map_err(|problem| Failure::bad_count(&problem))?;
            // A day that two spans share may be told with both.
            for day in days {
                if day.to <= end && seen.insert(day.from) {
                    records.push(HistoryRecord::Increase(day));
                }
            }
            start = stop;
        }
        Ok(())
    }
}

impl Provider for AlibabaPush {
    /// Numbers can be seen on the next day, in Beijing.
    fn first_numbers(&self, message: &Message) -> Option<Timestamp> {
        Some(next_day(message.sent_at?, self.daily))
    }

    fn messages<'a>(&'a self, query: MessagesQuery<'a>) -> BoxFuture<'a, Answer> {
        async move {
            Answer::one_by_one(query.messages, |message| self.statistics(&query, message)).await
        }
        .boxed()
    }

    fn list<'a>(&'a self, query: ListQuery<'a>) -> BoxFuture<'a, Answer> {
        async move {
            let mut listing = Listing::new(query.max_messages, query.with_numbers);
            let result = self.read_list(&query, &mut listing).await;
            listing.into_answer(result)
        }
        .boxed()
    }

    fn check_up<'a>(&'a self, query: CheckupQuery<'a>) -> BoxFuture<'a, Checkup> {
        self.questions(query).boxed()
    }

    fn history<'a>(&'a self, query: HistoryQuery<'a>) -> BoxFuture<'a, Answer<HistoryRecord>> {
        async move {
            let mut records = Vec::new();
            let result = self.days(query, &mut records).await;
            Answer::new(records, result)
        }
        .boxed()
    }
}

fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The first midnight of the vendor's days after `time`.
fn next_day(time: Timestamp, daily: DailyPublication) -> Timestamp {
    delivery_clock::after(daily.day_of(time), Duration::from_secs(86_400))
}
