//! The way from a replica to the vendors and back, in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use delivery_exporter::{
    config::Account,
    providers::http::{Answers, Request},
};
use delivery_simulators::Service;
use http::{HeaderValue, header};

use super::super::luck::mix;

/// One way takes up to so many milliseconds, on the runtime's clock: answers to requests that are under way at
/// the same time come in any order, and the same seed has the same.
const MOST_LATENCY: u64 = 12;

/// The address of a vendor by its place among a replica's. Nothing listens there.
pub fn base_url(vendor: usize) -> String {
    format!("http://127.0.0.1:{}", vendor + 1)
}

/// What answers in place of the vendor of an account, by [`base_url`]. How long each request is under way depends on the seed.
pub fn answers(vendors: [Service; 4], seed: u64) -> Arc<dyn Fn(&Account) -> Answers + Send + Sync> {
    let count = Arc::new(AtomicU64::new(0));
    Arc::new(move |account| {
        let port = account.base_url.port().expect("a port");
        let service = &vendors[usize::from(port) - 1];
        let (service, count) = (service.clone(), count.clone());
        let host = account.base_url.authority();
        let host = HeaderValue::from_str(host).expect("a header");
        Arc::new(move |request| {
            let luck = mix(seed, count.fetch_add(1, Ordering::Relaxed));
            let (service, host) = (service.clone(), host.clone());
            Box::pin(async move {
                latency(luck).await;
                let answer = service.answer(over_the_wire(request, host)).await?;
                latency(luck >> 32).await;
                Ok(answer.map(|body| reqwest::Body::wrap_stream(body.into_data_stream())))
            })
        })
    })
}

/// Half of the ways take no time.
async fn latency(luck: u64) {
    let length = luck % (2 * MOST_LATENCY);
    if length < MOST_LATENCY {
        tokio::time::sleep(Duration::from_millis(1 + length)).await;
    }
}

/// The request as the vendor sees it.
fn over_the_wire(request: Request, host: HeaderValue) -> http::Request<bytes::Bytes> {
    let Request {
        method,
        path_and_query,
        mut headers,
        body,
    } = request;
    headers.insert(header::HOST, host);
    let mut sent = http::Request::new(body);
    *sent.method_mut() = method;
    *sent.uri_mut() = path_and_query.parse().expect("a path and query");
    *sent.headers_mut() = headers;
    sent
}
