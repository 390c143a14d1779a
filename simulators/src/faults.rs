//! Faults on demand: what a vendor, a proxy or a network does on a bad day.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::Value;

/// What goes wrong.
#[derive(Clone)]
pub enum Fault {
    /// Another answer instead of the vendor's.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Headers, such as `Retry-After`.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// The vendor's answer, late (in real time: sockets wait in real time).
    Delay(Duration),
    /// No answer at all.
    Hang,
    /// The vendor's answer, cut off after so many bytes.
    Cut(usize),
    /// The connection is closed after the vendor has done its part, without an answer.
    Reset,
    /// The connection is closed before the vendor does anything, as where the network is cut.
    Closed,
    /// A body of so many bytes, in the middle of which nobody could tell that it has no end.
    Endless(u64),
    /// The vendor's answer with its JSON changed.
    Edit(Arc<dyn Fn(&mut Value) + Send + Sync>),
}

struct Rule {
    path: String,
    fault: Fault,
    /// How many requests it still meets; `None`: all.
    times: Option<u32>,
}

/// The faults of one simulator.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<Rule>>>);

/// A fault as other programs describe it, in JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Described {
    path: String,
    times: Option<u32>,
    status: Option<u16>,
    headers: std::collections::BTreeMap<String, String>,
    body: String,
    delay_ms: Option<u64>,
    hang: bool,
    cut: Option<usize>,
    reset: bool,
    endless: Option<u64>,
}

impl Described {
    fn fault(self) -> Option<Fault> {
        if let Some(status) = self.status {
            let headers = self.headers.into_iter().collect();
            return Some(Fault::Answer {
                status,
                headers,
                body: self.body,
            });
        }
        if self.hang {
            return Some(Fault::Hang);
        }
        if self.reset {
            return Some(Fault::Reset);
        }
        let delay = self
            .delay_ms
            .map(|delay| Fault::Delay(Duration::from_millis(delay)));
        delay
            .or(self.cut.map(Fault::Cut))
            .or(self.endless.map(Fault::Endless))
    }
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests whose path begins with `path` meet `fault`, so many times, or until it is cleared.
    pub fn add(&self, path: &str, fault: Fault, times: Option<u32>) {
        self.lock().push(Rule {
            path: path.to_owned(),
            fault,
            times,
        });
    }

    /// Adds a fault that another program describes; `false`: it describes none.
    pub fn add_described(&self, described: Described) -> bool {
        let (path, times) = (described.path.clone(), described.times);
        match described.fault() {
            Some(fault) => {
                self.add(&path, fault, times);
                true
            }
            None => false,
        }
    }

    /// All is well again.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The fault that a request meets.
    pub(crate) fn meet(&self, path: &str) -> Option<Fault> {
        let mut rules = self.lock();
        let index = rules.iter().position(|rule| path.starts_with(&rule.path))?;
        let fault = rules[index].fault.clone();
        if let Some(times) = &mut rules[index].times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                rules.remove(index);
            }
        }
        Some(fault)
    }
}

/// A vendor's answer after a fault; `None`: the connection is closed without one.
pub(crate) async fn spoil(
    fault: Fault,
    answer: impl Future<Output = Response>,
) -> Option<Response> {
    match fault {
        Fault::Answer {
            status,
            headers,
            body,
        } => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() =
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let typed = (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            response
                .headers_mut()
                .extend([typed].map(|(name, value)| (Some(name), value)));
            for (name, value) in headers {
                let name = HeaderName::from_bytes(name.as_bytes());
                if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
                    response.headers_mut().insert(name, value);
                }
            }
            Some(response)
        }
        Fault::Delay(delay) => {
            tokio::time::sleep(delay).await;
            Some(answer.await)
        }
        Fault::Hang => std::future::pending().await,
        Fault::Reset => {
            answer.await;
            None
        }
        Fault::Closed => None,
        Fault::Cut(at) => {
            let (mut parts, bytes) = whole(answer.await).await;
            parts
                .headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            let kept = bytes.slice(..at.min(bytes.len()));
            // What was written before the end has to be on its way.
            let end = stream::once(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(std::io::Error::other("cut"))
            });
            let body = Box::pin(stream::once(async { Ok(kept) }).chain(end));
            Some(Response::from_parts(parts, Body::from_stream(body)))
        }
        Fault::Endless(length) => {
            let chunk = Bytes::from(vec![b' '; 1 << 16]);
            let chunks = length.div_ceil(chunk.len() as u64);
            let body =
                stream::iter((0..chunks).map(move |_| Ok::<_, std::io::Error>(chunk.clone())));
            let mut headers = HeaderMap::new();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            let mut response = Response::new(Body::from_stream(body));
            *response.headers_mut() = headers;
            Some(response)
        }
        Fault::Edit(edit) => {
            let (parts, bytes) = whole(answer.await).await;
            let body = match serde_json::from_slice(&bytes) {
                Ok(mut value) => {
                    edit(&mut value);
                    Body::from(value.to_string())
                }
                Err(_) => Body::from(bytes),
            };
            let mut response = Response::from_parts(parts, body);
            response.headers_mut().remove(header::CONTENT_LENGTH);
            Some(response)
        }
    }
}

async fn whole(response: Response) -> (http::response::Parts, Bytes) {
    let (parts, body) = response.into_parts();
    let bytes = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    (parts, bytes)
}
