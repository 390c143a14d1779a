//! Pushwoosh, statistics API v2: messages (`POST /api/v2/messages:list`), conversions, the log of
//! events, links in e-mails, bounced e-mails.

mod events;
mod figures;
mod wire;

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use delivery_clock::{Moment, later};
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Method, header};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Failure, FailureKind, Observation, Past, PastPlan, PastQuery, Plan, Provider, Query, Scope,
    decode::decode,
    http::{Answer, Http, Request, Verdict, redact::redact},
    secrets::Secrets,
    verdict::{by_status, said, undecodable},
};
use crate::{
    config::{self, Credentials},
    model::{Application, Dataset, Message},
    secret::Secret,
};
use wire::{Item, Page};

/// An endpoint: its path as it is sent, and the word before the token.
type Endpoint = (&'static str, &'static str);

/// With its colon as it is.
const MESSAGES_LIST: Endpoint = ("/api/v2/messages:list", "Api");
/// The most messages in a page.
const PER_PAGE: usize = 1000;
/// The most pages of one list: a vendor that repeats itself must not be asked for ever.
const MAX_PAGES: usize = 1000;
/// How many messages are asked for by name at once; the vendor's limit is not documented.
const BATCH: usize = 100;
/// The longest range of dates in one request.
const MAX_RANGE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Whether a date means creation or sending, and where it ends, is not documented.
const MARGIN: SignedDuration = SignedDuration::from_hours(24);

/// Pushwoosh's statistics of one account.
pub(crate) struct Pushwoosh {
    http: Http,
    secrets: Secrets,
    /// The label `account`, which digests begin with.
    account: Arc<str>,
    max_links: usize,
    /// The codes of messages that are e-mails: only they have links.
    emails: Mutex<BTreeSet<Arc<str>>>,
}

impl Pushwoosh {
    pub(crate) fn new(http: Http, account: &config::Account) -> Pushwoosh {
        let sources = match account.credentials.clone() {
            Credentials::ApiToken(token) => vec![token],
            _ => Vec::new(),
        };
        Pushwoosh {
            http,
            secrets: Secrets::new(sources),
            account: account.name.clone(),
            max_links: account.max_links,
            emails: Mutex::default(),
        }
    }

    fn request(&self, (path, word): Endpoint, body: &Value) -> Request {
        let secrets = self.secrets.current();
        let token = secrets.first().map_or("", Secret::expose);
        let mut request = Request::json(path.to_owned(), &format!("{word} {token}"));
        request.headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        request.method = Method::POST;
        request.body = Bytes::from(body.to_string());
        request
    }

    /// One page of messages that fit `filters`, whole items and broken ones.
    async fn page(
        &self,
        dataset: Dataset,
        filters: &Value,
        page: usize,
        deadline: Moment,
    ) -> Result<(Vec<Item>, Timestamp), Failure> {
        let body = json!({
            "filters": filters,
            "params": {"with_details": false, "with_metrics": true},
            "per_page": PER_PAGE,
            "page": page,
        });
        let read = |page: &Page<'_>, unknown: &mut dyn FnMut(&str)| Ok(page.items(unknown));
        let (items, asked_at) = self
            .post(dataset, MESSAGES_LIST, &body, deadline, read)
            .await?;
        let mut emails = self.emails.lock().unwrap_or_else(PoisonError::into_inner);
        let codes = items.iter().filter(|item| item.is_email());
        emails.extend(codes.filter_map(Item::id));
        drop(emails);
        Ok((items, asked_at))
    }

    /// The rows of one answer.
    async fn rows<T>(
        &self,
        dataset: Dataset,
        endpoint: Endpoint,
        body: &Value,
        deadline: Moment,
    ) -> Result<Vec<T>, Failure>
    where
        T: for<'de> Deserialize<'de> + Default,
    {
        let read = |page: &Page<'_>, unknown: &mut dyn FnMut(&str)| page.read(unknown);
        let (rows, _) = self.post(dataset, endpoint, body, deadline, read).await?;
        Ok(rows)
    }

    /// Asks until there is an answer that `read` understands, or an error that stays.
    async fn post<T>(
        &self,
        dataset: Dataset,
        endpoint: Endpoint,
        body: &Value,
        deadline: Moment,
        read: impl Fn(&Page<'_>, &mut dyn FnMut(&str)) -> Result<T, String>,
    ) -> Result<(T, Timestamp), Failure> {
        let judge = |answer: &Answer| {
            let unknown = &mut |field: &str| self.http.observer().unknown_field(dataset, field);
            match decode::<Page<'_>>(&answer.body, &mut |_| {}) {
                Ok(page) if answer.status.is_success() && !page.is_error() => {
                    match read(&page, unknown) {
                        Ok(read) => Verdict::Done(read),
                        Err(problem) => Verdict::Fail(undecodable(answer, &problem)),
                    }
                }
                Ok(page) => self.refused(answer, &page),
                Err(problem) if answer.status.is_success() => {
                    Verdict::Fail(undecodable(answer, &problem))
                }
                Err(_) => by_status(answer, None, ""),
            }
        };
        let build = || self.request(endpoint, body);
        self.http
            .call(dataset, deadline, build, judge, || self.secrets.refresh())
            .await
    }

    /// The verdict on an error in any of the vendor's shapes: by its gRPC code, and without one by
    /// the HTTP status; with 200 and no code it is an error all the same.
    fn refused<T>(&self, answer: &Answer, page: &Page<'_>) -> Verdict<T> {
        let (code, text) = page.error();
        let text = redact(&text, &self.secrets.current());
        let status = answer.status.as_u16();
        let number = code.as_deref().and_then(|code| code.parse::<u32>().ok());
        let failure = |kind, scope, advice| Failure {
            kind,
            scope,
            status: Some(status),
            code: code.as_deref().map(Arc::from),
            text: said(status, code.as_deref(), &text),
            advice,
        };
        let plain = |kind| failure(kind, Scope::Query, None);
        match number {
            Some(16) => Verdict::Fail(failure(
                FailureKind::Unauthorized,
                Scope::Account,
                Some("check api_token; it has to be a server token"),
            )),
            Some(7) => Verdict::Fail(failure(
                FailureKind::Forbidden,
                Scope::Application,
                Some("the token lacks a permission or this application"),
            )),
            Some(5) => Verdict::Fail(plain(FailureKind::NotFound)),
            Some(8) => Verdict::Retry(plain(FailureKind::RateLimited), None),
            Some(1 | 2 | 4 | 13 | 14 | 15) => Verdict::Retry(plain(FailureKind::Vendor), None),
            Some(3 | 9 | 11 | 12) => {
                Verdict::Fail(failure(FailureKind::Vendor, Scope::Application, None))
            }
            _ if answer.status.is_success() => Verdict::Fail(plain(FailureKind::Vendor)),
            _ => by_status(answer, code.as_deref(), &text),
        }
    }

    /// All messages that were sent since, page by page to the end.
    async fn list(
        &self,
        dataset: Dataset,
        application: &Application,
        since: Timestamp,
        deadline: Moment,
        take: &mut (dyn FnMut(Observation) + Send),
    ) -> Result<(), Failure> {
        let end = later(self.http.clock().now(), MARGIN);
        let mut from = later(since, -MARGIN);
        let mut seen = HashSet::new();
        while from < end {
            let to = later(from, MAX_RANGE).min(end);
            let filters = json!({
                "application": &*application.id,
                "date_range": {"date_from": date(from), "date_to": date(to)},
            });
            for page in 0.. {
                let (items, asked_at) = self.page(dataset, &filters, page, deadline).await?;
                let count = items.len();
                let mut new = 0;
                for item in items {
                    let Some(id) = item.id() else { continue };
                    // New messages move the pages while they are read.
                    if !seen.insert(id.clone()) {
                        continue;
                    }
                    new += 1;
                    let sent_at = item.sent_at();
                    if sent_at.is_some_and(|sent_at| sent_at < since) {
                        continue;
                    }
                    let application = application.id.clone();
                    let message = Message {
                        application,
                        id: id.clone(),
                        campaign: None,
                        sent_at,
                    };
                    take(Observation::Listed(message));
                    take(item.observation(id, asked_at));
                }
                if count < PER_PAGE || new == 0 {
                    break;
                }
                if page + 1 == MAX_PAGES {
                    tracing::warn!(application = %application.name, "the list of messages has no end");
                    break;
                }
            }
            from = to;
        }
        Ok(())
    }

    /// Some messages by their names.
    async fn named(
        &self,
        dataset: Dataset,
        application: &Application,
        messages: &[Message],
        deadline: Moment,
        take: &mut (dyn FnMut(Observation) + Send),
    ) -> Result<(), Failure> {
        // Digits alone are the vendor's `id`, anything else its `code`.
        let digits = |id: &str| id.bytes().all(|byte| byte.is_ascii_digit());
        let (ids, codes): (Vec<_>, Vec<_>) = messages
            .iter()
            .map(|message| message.id.clone())
            .partition(|id| digits(id));
        for (filter, names) in [("messages_ids", ids), ("messages_codes", codes)] {
            if names.is_empty() {
                continue;
            }
            let values: Vec<Value> = names
                .iter()
                .map(|name| match name.parse::<u64>() {
                    Ok(id) if filter == "messages_ids" => json!(id),
                    _ => json!(&**name),
                })
                .collect();
            let filters = json!({"application": &*application.id, filter: values});
            let (items, asked_at) = self.page(dataset, &filters, 0, deadline).await?;
            let mut missing: HashSet<Arc<str>> = names.into_iter().collect();
            for item in items {
                if let Some(asked) = item.names().find_map(|name| missing.take(name)) {
                    take(item.observation(asked, asked_at));
                }
            }
            for asked in missing {
                take(Observation::NotYet { asked, asked_at });
            }
        }
        Ok(())
    }
}

impl Provider for Pushwoosh {
    fn plan(&self, dataset: Dataset) -> Plan {
        match dataset {
            Dataset::Bounces | Dataset::Log | Dataset::Links | Dataset::LinkDevices => Plan::Whole,
            Dataset::Intervals => Plan::Messages { batch: 1 },
            _ => Plan::Messages { batch: BATCH },
        }
    }

    fn past_plan(&self, dataset: Dataset) -> Option<PastPlan> {
        match dataset {
            Dataset::Messages => Some(PastPlan::Message),
            Dataset::Bounces => Some(PastPlan::Whole {
                reach: events::BOUNCES_RANGE.unsigned_abs(),
            }),
            Dataset::Log => Some(PastPlan::Whole {
                reach: events::LOG_OVERLAP.unsigned_abs(),
            }),
            _ => None,
        }
    }

    fn past<'a>(
        &'a self,
        query: PastQuery<'a>,
        take: &'a mut (dyn FnMut(Past) + Send),
    ) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let PastQuery {
                application,
                from,
                to,
                patience,
                ..
            } = query;
            let deadline = &|| self.http.clock().monotonic() + patience;
            let happened = &mut |happened| take(Past::Happened(happened));
            match (query.dataset, query.message) {
                (Dataset::Messages, Some(message)) => {
                    let hours = self.hours(message, deadline()).await?;
                    hours.into_iter().for_each(|hour| take(Past::Grown(hour)));
                    Ok(())
                }
                (Dataset::Bounces, _) => {
                    self.bounced_between(application, from, to, deadline, happened)
                        .await
                }
                (Dataset::Log, _) => {
                    self.logged_between(application, from, to, deadline, happened)
                        .await
                }
                _ => Err(Failure::unsupported()),
            }
        }
        .boxed()
    }

    fn ask<'a>(
        &'a self,
        query: Query<'a>,
        take: &'a mut (dyn FnMut(Observation) + Send),
    ) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            match query {
                Query::List {
                    dataset,
                    application,
                    oldest,
                    since: _,
                    deadline,
                } => {
                    self.list(dataset, application, oldest, deadline, take)
                        .await
                }
                Query::Messages {
                    dataset: Dataset::Intervals,
                    messages,
                    deadline,
                    ..
                } => {
                    for message in messages {
                        take(self.conversions(message, deadline).await?);
                    }
                    Ok(())
                }
                Query::Messages {
                    dataset,
                    application,
                    messages,
                    deadline,
                } => {
                    self.named(dataset, application, messages, deadline, take)
                        .await
                }
                Query::Whole {
                    dataset,
                    application,
                    messages,
                    since,
                    deadline,
                } => match dataset {
                    Dataset::Bounces => self.bounces(application, since, deadline, take).await,
                    Dataset::Log => self.log(application, since, deadline, take).await,
                    Dataset::Links => {
                        take(self.links(messages, deadline).await?);
                        Ok(())
                    }
                    Dataset::LinkDevices => {
                        take(self.link_devices(messages, deadline).await?);
                        Ok(())
                    }
                    _ => Err(Failure::unsupported()),
                },
                Query::Drain { .. } => Err(Failure::unsupported()),
            }
        }
        .boxed()
    }
}

/// A date in UTC, as the vendor writes it.
fn date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}
