//! A vendor of which every answer is written down in a test, behind the real HTTP client.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::Request as Received, response::IntoResponse};
use delivery_clock::Clock;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Failure, MessagesQuery, Observation, Observer, Provider, RequestCode, build};
use crate::{
    config::{self, Account},
    model::{Application, Dataset, Message},
};

/// What a vendor answers to a request: status, headers and body.
pub(super) type Reply = (u16, Vec<(&'static str, String)>, String);

/// An answer in JSON without headers of the vendor's own.
pub(super) fn reply(status: u16, body: &str) -> Reply {
    (status, Vec::new(), body.to_owned())
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
    /// How long retries go on.
    pub(super) patience: Duration,
}

impl Scripted {
    /// Starts a vendor that answers by `script`, which is given the path and query and the number
    /// of the request, from 0. `provider` is the entry of the configuration, without an address.
    pub(super) async fn start(
        mut provider: Value,
        clock: Clock,
        script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> Scripted {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (script, noted) = (Arc::new(script), requests.clone());
        let answer = move |request: Received| {
            let target = request.uri().path_and_query().unwrap().to_string();
            let number = {
                let mut noted = noted.lock().unwrap();
                noted.push(target.clone());
                noted.len() - 1
            };
            let (status, headers, body) = script(&target, number);
            let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            std::future::ready(response)
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
