//! Pushwoosh, statistics API v2: messages (`POST /api/v2/messages:list`), conversions, the log of
//! events, links in e-mails, bounced e-mails.

mod answer;
mod bounces;
mod checkup;
mod conversions;
mod identity;
mod labels;
mod links;
mod list;
mod log;
mod metrics;
mod names;
mod platform;
mod reasons;
mod slices;
#[cfg(test)]
mod tests;
pub(super) mod vendor;
mod wire;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use delivery_clock::later;
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Method, header};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Checkup, CheckupQuery, Failure, FailureKind, HistoryQuery, HistoryRecord, ListQuery, Listing,
    MessagesQuery, Provider, ProviderOptions, Scope, WholeQuery,
    http::{self as client, Http, Request, Verdict},
    secrets::Secrets,
    verdict::{by_status, said, undecodable},
};
use crate::{model::Dataset, redact::shown, secret::Secret};
use answer::{Answer, VendorError, code_number};

/// How many messages are asked for by name at once; the vendor's limit is not documented.
const BATCH: usize = 100;

/// An endpoint.
#[derive(Debug)]
struct Endpoint {
    /// Its path, as it is sent.
    path: &'static str,
    /// The word before the token.
    word: &'static str,
    /// The documented fields of its answer.
    fields: &'static [&'static str],
}

/// Pushwoosh's statistics of one account.
pub(crate) struct Pushwoosh {
    http: Http,
    secrets: Secrets,
    /// The label `account`, which digests begin with.
    account: Arc<str>,
    max_links: usize,
    /// The names of messages that are e-mails: only they have links.
    emails: Mutex<BTreeSet<Arc<str>>>,
    codes: names::Codes,
    spellings: names::Spellings,
    rounds: slices::Rounds,
    log_windows: log::WindowLengths,
}

impl Pushwoosh {
    pub(crate) fn new(http: Http, options: &ProviderOptions) -> Pushwoosh {
        Pushwoosh {
            http,
            secrets: Secrets::new(options.credentials.secrets()),
            account: options.account.clone(),
            max_links: usize::try_from(options.keys.count(vendor::MAX_LINKS)).unwrap_or(usize::MAX),
            emails: Mutex::default(),
            codes: names::Codes::default(),
            spellings: names::Spellings::default(),
            rounds: slices::Rounds::default(),
            log_windows: log::WindowLengths::default(),
        }
    }

    fn request(&self, endpoint: &Endpoint, body: &Value) -> Request {
        let secrets = self.secrets.current();
        let token = secrets.first().map_or("", Secret::expose);
        let mut request = Request::json(
            endpoint.path.to_owned(),
            &format!("{} {token}", endpoint.word),
        );
        request.headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        request.method = Method::POST;
        request.body = Bytes::from(body.to_string());
        request
    }

    /// Asks until there is an answer that `read` understands, or an error that stays.
    async fn post<T>(
        &self,
        dataset: Dataset,
        endpoint: &Endpoint,
        body: &Value,
        patience: Duration,
        read: impl Fn(&Answer<'_>, &mut dyn FnMut(&str)) -> Result<T, String>,
    ) -> Result<(T, Timestamp), Failure> {
        let judge = |response: &client::HttpAnswer| {
            let unknown = &mut |field: &str| self.http.observer().unknown_field(dataset, field);
            let success = response.status.is_success();
            let problem = match Answer::parse(&response.body) {
                Ok(answer) => match answer.error(endpoint) {
                    Some(error) => return self.refused(response, &error),
                    None if success => {
                        answer.note_unknown(endpoint, unknown);
                        let checked = answer.check(endpoint);
                        match checked.and_then(|()| read(&answer, unknown)) {
                            Ok(read) => return Verdict::Done(read),
                            Err(problem) => problem,
                        }
                    }
                    None => return by_status(response, None, ""),
                },
                Err(problem) => problem,
            };
            if success {
                Verdict::Fail(undecodable(response, &problem))
            } else {
                by_status(response, None, "")
            }
        };
        let build = || self.request(endpoint, body);
        self.http
            .call(dataset, patience, build, judge, || self.secrets.refresh())
            .await
    }

    /// The verdict on an error in any of the vendor's shapes: by its gRPC code, and without one by
    /// the HTTP status; with 200 and no code by its text, for it is an error all the same.
    fn refused<T>(&self, response: &client::HttpAnswer, error: &VendorError) -> Verdict<T> {
        let code = error.code.as_deref();
        let text = shown(&error.text);
        let status = response.status.as_u16();
        let failure = |kind, scope, advice| Failure {
            kind,
            scope,
            status: Some(status),
            code: code.map(Arc::from),
            text: said(status, code, &text).into(),
            advice,
        };
        let plain = |kind| failure(kind, Scope::Query, None);
        let number = match code.and_then(code_number) {
            None if response.status.is_success() => number_of_text(&text),
            number => number,
        };
        match number {
            Some(16 | 401) => Verdict::Fail(failure(
                FailureKind::Unauthorized,
                Scope::Account,
                Some("check api_token; it has to be a server token"),
            )),
            Some(7 | 403) => Verdict::Fail(failure(
                FailureKind::Forbidden,
                Scope::Application,
                Some("the token lacks a permission or this application, or the plan this endpoint"),
            )),
            Some(5 | 404) => Verdict::Fail(plain(FailureKind::NotFound)),
            Some(8 | 429) => Verdict::Retry(plain(FailureKind::RateLimited), None),
            Some(1 | 2 | 4 | 13 | 14 | 15 | 500..=599) => {
                Verdict::Retry(plain(FailureKind::Vendor), None)
            }
            Some(3 | 9 | 11 | 12 | 400) => {
                Verdict::Fail(failure(FailureKind::Vendor, Scope::Application, None))
            }
            _ if response.status.is_success() => Verdict::Fail(plain(FailureKind::Vendor)),
            _ => by_status(response, code, &text),
        }
    }
}

/// The gRPC code of an error that comes with HTTP 200 and a text alone, as far as the text has a
/// sign of it. None of them makes less of the failure than it is.
fn number_of_text(text: &str) -> Option<u32> {
    let text = text.to_lowercase();
    let signs: [(u32, &[&str]); 3] = [
        (
            8,
            &[
                "too many requests",
                "rate limit",
                "resource exhausted",
                "throttl",
            ],
        ),
        (
            16,
            &[
                "unauthorized",
                "unauthenticated",
                "auth token",
                "access token",
            ],
        ),
        (
            7,
            &["forbidden", "permission", "access denied", "restriction"],
        ),
    ];
    let mut signs = signs.iter();
    let found = signs.find(|(_, signs)| signs.iter().any(|sign| text.contains(sign)));
    found.map(|(number, _)| *number)
}

/// Whether the vendor refuses what was asked for, and would take the same request about another
/// message.
fn is_refusal(failure: &Failure) -> bool {
    let number = failure.code.as_deref().and_then(code_number);
    let by_code = matches!(number, Some(3 | 5 | 9 | 11 | 400 | 404));
    let by_status = number.is_none() && matches!(failure.status, Some(400 | 404 | 410 | 422));
    matches!(failure.kind, FailureKind::NotFound | FailureKind::Vendor) && (by_code || by_status)
}

/// Why a message is refused: the vendor's code, or else what the status says.
fn refusal_reason(failure: &Failure) -> Arc<str> {
    match (&failure.code, failure.status) {
        (Some(code), _) => code.clone(),
        (None, Some(status)) if failure.kind != FailureKind::NotFound => {
            Arc::from(format!("http_{status}"))
        }
        _ => Arc::from("not_found"),
    }
}

impl Provider for Pushwoosh {
    /// A message has an `id` of digits and a `code`, and is known by its code in upper case.
    fn may_be_another_name(&self, id: &str) -> bool {
        id.bytes().all(|byte| byte.is_ascii_digit()) || wire::fold(id) != id
    }

    fn list_has_numbers(&self) -> bool {
        true
    }

    fn messages<'a>(&'a self, query: MessagesQuery<'a>) -> BoxFuture<'a, super::Answer> {
        async move {
            if query.dataset == vendor::INTERVALS {
                let ask = |message| self.conversions(message, query.patience);
                return super::Answer::one_by_one(query.messages, ask).await;
            }
            let mut observations = Vec::new();
            let result = self.named(&query, &mut observations).await;
            super::Answer::new(observations, result)
        }
        .boxed()
    }

    fn list<'a>(&'a self, query: ListQuery<'a>) -> BoxFuture<'a, super::Answer> {
        async move {
            let mut listing = Listing::new(query.max_messages, query.with_numbers);
            let result = self.read_list(&query, &mut listing).await;
            listing.into_answer(result)
        }
        .boxed()
    }

    fn whole<'a>(&'a self, query: WholeQuery<'a>) -> BoxFuture<'a, super::Answer> {
        async move {
            let mut observations = Vec::new();
            let result = if query.dataset == vendor::BOUNCES {
                self.bounces(&query, &mut observations).await
            } else if query.dataset == vendor::LOG {
                self.log(&query, &mut observations).await
            } else if query.dataset == vendor::LINKS {
                self.links(&query, &mut observations).await
            } else {
                self.link_devices(&query, &mut observations).await
            };
            super::Answer::new(observations, result)
        }
        .boxed()
    }

    fn check_up<'a>(&'a self, query: CheckupQuery<'a>) -> BoxFuture<'a, Checkup> {
        self.questions(query).boxed()
    }

    fn history<'a>(
        &'a self,
        query: HistoryQuery<'a>,
    ) -> BoxFuture<'a, super::Answer<HistoryRecord>> {
        async move {
            if let Some(message) = query.message {
                return match self.hours(message, query.patience).await {
                    Ok(hours) => {
                        let records = hours.into_iter().map(HistoryRecord::Increase);
                        super::Answer::new(records.collect(), Ok(()))
                    }
                    Err(failure) => super::Answer::failed(failure),
                };
            }
            let mut events = Vec::new();
            let result = if query.dataset == vendor::BOUNCES {
                self.bounced_between(&query, &mut events).await
            } else {
                self.logged_between(&query, &mut events).await
            };
            super::Answer::new(vec![HistoryRecord::Events(events)], result)
        }
        .boxed()
    }
}

/// A date in UTC, as the vendor writes it.
fn date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}
