//! Pushwoosh, statistics API v2: messages (`POST /api/v2/messages:list`), conversions, the log of
//! events, links in e-mails, bounced e-mails.

mod bounces;
mod checkup;
mod conversions;
mod errors;
mod links;
mod list;
mod log;
mod names;
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

use delivery_clock::later;
use futures_util::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Answer, Checkup, CheckupQuery, Failure, HistoryQuery, HistoryRecord, ListQuery, Listing,
    MessagesQuery, Provider, ProviderOptions, WholeQuery,
    http::{Http, HttpAnswer, Request, Verdict},
    secrets::Secrets,
    verdict::{by_status, undecodable},
};
use crate::{model::Dataset, secret::Secret};
use wire::{answer::Answer as WireAnswer, messages::fold};

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
        let authorization = format!("{} {token}", endpoint.word);
        Request::json(endpoint.path.to_owned(), &authorization).posting(body)
    }

    /// Asks until there is an answer that `read` understands, or an error that stays.
    async fn post<T>(
        &self,
        dataset: Dataset,
        endpoint: &Endpoint,
        body: &Value,
        patience: Duration,
        read: impl Fn(&WireAnswer<'_>, &mut dyn FnMut(&str)) -> Result<T, String>,
    ) -> Result<(T, Timestamp), Failure> {
        let judge = |response: &HttpAnswer| {
            let unknown = &mut |field: &str| self.http.observer().unknown_field(dataset, field);
            let success = response.status.is_success();
            let problem = match WireAnswer::parse(&response.body) {
                Ok(answer) => match errors::find(&answer, endpoint.fields) {
                    Some(error) => return errors::judge(response, &error),
                    None if success => {
                        answer.note_unknown(endpoint.fields, unknown);
                        let checked = answer.check(endpoint.fields);
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
}

impl Provider for Pushwoosh {
    /// A message has an `id` of digits and a `code`, and is known by its code in upper case.
    fn may_be_another_name(&self, id: &str) -> bool {
        id.bytes().all(|byte| byte.is_ascii_digit()) || fold(id) != id
    }

    fn list_has_numbers(&self) -> bool {
        true
    }

    fn messages<'a>(&'a self, query: MessagesQuery<'a>) -> BoxFuture<'a, Answer> {
        async move {
            if query.dataset == vendor::INTERVALS {
                let ask = |message| self.conversions(message, query.patience);
                return Answer::one_by_one(query.messages, ask).await;
            }
            let mut observations = Vec::new();
            let result = self.named(&query, &mut observations).await;
            Answer::new(observations, result)
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

    fn whole<'a>(&'a self, query: WholeQuery<'a>) -> BoxFuture<'a, Answer> {
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
            Answer::new(observations, result)
        }
        .boxed()
    }

    fn check_up<'a>(&'a self, query: CheckupQuery<'a>) -> BoxFuture<'a, Checkup> {
        self.questions(query).boxed()
    }

    fn history<'a>(&'a self, query: HistoryQuery<'a>) -> BoxFuture<'a, Answer<HistoryRecord>> {
        async move {
            if let Some(message) = query.message {
                return match self.hours(message, query.patience).await {
                    Ok(hours) => {
                        let records = hours.into_iter().map(HistoryRecord::Increase);
                        Answer::new(records.collect(), Ok(()))
                    }
                    Err(failure) => Answer::failed(failure),
                };
            }
            let mut events = Vec::new();
            let result = if query.dataset == vendor::BOUNCES {
                self.bounced_between(&query, &mut events).await
            } else {
                self.logged_between(&query, &mut events).await
            };
            Answer::new(vec![HistoryRecord::Events(events)], result)
        }
        .boxed()
    }
}

/// A date in UTC, as the vendor writes it.
fn date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}
