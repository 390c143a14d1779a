//! A vendor of which every answer is written down in a test, behind the real HTTP client.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::to_bytes, extract::Request as Incoming, response::IntoResponse};
use bytes::Bytes;
use delivery_clock::Clock;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::{Failure, MessagesQuery, Observation, Observer, Provider, RequestCode, build};
use crate::{
    config::{self, Account},
    model::{Application, Dataset, Message},
};

/// What a vendor answers to a request.
#[derive(Clone)]
pub(super) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// An answer without headers of the vendor's own.
pub(super) fn reply(status: u16, body: &str) -> Reply {
    Reply {
        status,
        headers: Vec::new(),
        body: body.to_owned(),
    }
}

impl Reply {
    /// The same with a header, such as `retry-after` or `content-type`.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Reply {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// A request, as the vendor got it.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// Its number, from 0.
    pub(super) number: usize,
    /// `GET` or `POST`.
    pub(super) method: Method,
    /// The path and query, as they were sent.
    pub(super) target: String,
    /// The headers, the secret's among them.
    pub(super) headers: HeaderMap,
    /// The body, empty for a `GET`.
    pub(super) body: Bytes,
}

/// What a provider measured about its requests.
#[derive(Default)]
pub(super) struct Measured {
    /// The fields that are not known.
    pub(super) unknown: Mutex<Vec<String>>,
    /// How many requests were tried again.
    pub(super) retries: Mutex<u32>,
}

impl Observer for Measured {
    fn request(&self, _: Dataset, _: RequestCode) {}
    fn retry(&self, _: Dataset) {
        *self.retries.lock().unwrap() += 1;
    }
    fn rate_limited(&self, _: Dataset) {}
    fn unknown_field(&self, _: Dataset, field: &str) {
        self.unknown.lock().unwrap().push(field.to_owned());
    }
}

/// A provider, with the vendor that answers it.
pub(super) struct Scripted {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) account: Account,
    pub(super) measured: Arc<Measured>,
    /// The path and query of each request.
    pub(super) requests: Arc<Mutex<Vec<String>>>,
    /// Each request whole.
    pub(super) received: Arc<Mutex<Vec<Received>>>,
    /// How long retries go on.
    pub(super) patience: Duration,
}

impl Scripted {
    /// Starts a vendor that answers by `script`, which is given the path and query and the number
    /// of the request, from 0. `provider` is the entry of the configuration, without an address.
    pub(super) async fn start(
        provider: Value,
        clock: Clock,
        script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> Scripted {
        let script = move |request: &Received| script(&request.target, request.number);
        Scripted::start_with(provider, clock, script).await
    }

    /// The same with a `script` that is given the whole request, for vendors whose requests differ
    /// in method, headers or body.
    pub(super) async fn start_with(
        mut provider: Value,
        clock: Clock,
        script: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Scripted {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let (script, targets, noted) = (Arc::new(script), requests.clone(), received.clone());
        let answer = move |incoming: Incoming| {
            let (script, targets, noted) = (script.clone(), targets.clone(), noted.clone());
            async move {
                let (parts, body) = incoming.into_parts();
                let body = to_bytes(body, usize::MAX).await.unwrap();
                let target = parts.uri.path_and_query().unwrap().to_string();
                let request = {
                    let mut noted = noted.lock().unwrap();
                    let request = Received {
                        number: noted.len(),
                        method: parts.method,
                        target: target.clone(),
                        headers: parts.headers,
                        body,
                    };
                    noted.push(request.clone());
                    targets.lock().unwrap().push(target);
                    request
                };
                let reply = script(&request);
                let status = StatusCode::from_u16(reply.status).unwrap();
                let mut response = (status, reply.body).into_response();
                for (name, value) in reply.headers {
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
                response
            }
        };
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider["name"] = json!("scripted");
        provider["base_url"] = json!(format!("http://{address}"));
        provider["rate_limit"] = json!({"requests_per_second": 10_000, "burst": 10_000});
        let config = json!({"providers": [provider]}).to_string();
        let config = config::parse(Path::new("test.yaml"), &config, &|_| None).unwrap();
        let account = config.accounts.into_iter().next().unwrap();
        let measured = Arc::new(Measured::default());
        Scripted {
            provider: build(&account, clock, measured.clone()).unwrap(),
            account,
            measured,
            requests,
            received,
            patience: Duration::ZERO,
        }
    }

    pub(super) fn application(&self) -> Application {
        self.account.applications[0].clone()
    }

    /// Asks for the numbers of messages.
    pub(super) async fn messages(
        &self,
        dataset: Dataset,
        ids: &[&str],
    ) -> (Vec<Observation>, Result<(), Failure>) {
        let application = self.application();
        let message = |id: &&str| Message {
            application: application.id.clone(),
            id: Arc::from(*id),
            campaign: None,
            sent_at: None,
        };
        let messages: Vec<_> = ids.iter().map(message).collect();
        let query = MessagesQuery {
            dataset,
            application: &application,
            messages: &messages,
            patience: self.patience,
        };
        let answer = self.provider.messages(query).await;
        (answer.observations, answer.result)
    }

    /// How many requests there were.
    pub(super) fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// The fields that were not known, since this was last asked.
    pub(super) fn unknown(&self) -> Vec<String> {
        std::mem::take(&mut *self.measured.unknown.lock().unwrap())
    }
}
