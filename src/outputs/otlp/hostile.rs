//! Tests with receivers that send endless responses, or ask for retries that would keep a CPU busy.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, response::IntoResponse, routing::post};
use bytes::Bytes;
use delivery_clock::Clock;
use futures_util::stream;
use http::{Request, StatusCode};
use opentelemetry_http::HttpClient;

use super::{
    traces::OnRuntime,
    transport::{Transport, http_client},
};
use crate::config::{self, Otlp};

/// The configuration for such a receiver.
async fn receiver(router: Router) -> Otlp {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let text = format!(
        "otlp: {{endpoint: 'http://{address}'}}
providers: [{{name: p, type: infobip_push, credentials: {{api_key: k}}, applications: [{{id: app}}]}}]"
    );
    let config = config::parse(Path::new("test"), &text, &|_| None).unwrap();
    config.otlp.unwrap()
}

#[tokio::test]
async fn an_answer_without_an_end_fills_no_memory() {
    const PIECE: usize = 64 << 10;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let answer = async move || {
        let count = count.clone();
        let segments = stream::iter((0..2048).map(move |_| {
            count.fetch_add(PIECE, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(Bytes::from_static(&[0; PIECE]))
        }));
        Body::from_stream(segments).into_response()
    };
    let routes = Router::new()
        .route("/v1/metrics", post(answer.clone()))
        .route("/v1/traces", post(answer));
    let otlp = receiver(routes).await;
    let clock = Clock::system();
    let deadline = clock.monotonic() + Duration::from_secs(20);
    let mut transport = Transport::new(&otlp).unwrap();
    let delivered = transport.send(&Default::default(), &clock, deadline).await;
    assert_eq!(delivered.ok().map(|own| own.rejected), Some(0));
    // Data in socket buffers counts as sent too.
    let of_metrics = sent.swap(0, Ordering::Relaxed);
    assert!(of_metrics < 32 << 20, "{of_metrics} bytes were taken");
    let traces = OnRuntime {
        client: http_client(&otlp).unwrap(),
        runtime: tokio::runtime::Handle::current(),
    };
    let request = Request::post(otlp.traces_endpoint.as_str());
    let request = request.body(Bytes::new()).unwrap();
    let response = traces.send_bytes(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let of_traces = sent.load(Ordering::Relaxed);
    assert!(of_traces < 32 << 20, "{of_traces} bytes were taken");
}

#[tokio::test]
async fn a_receiver_that_asks_for_no_pause_gets_one() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let answer = move || async move {
        count.fetch_add(1, Ordering::Relaxed);
        (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response()
    };
    let otlp = receiver(Router::new().route("/v1/metrics", post(answer))).await;
    let mut transport = Transport::new(&otlp).unwrap();
    let clock = Clock::system();
    let deadline = clock.monotonic() + Duration::from_secs(2);
    let delivered = transport.send(&Default::default(), &clock, deadline).await;
    assert!(delivered.is_err());
    let asked = asked.load(Ordering::Relaxed);
    assert!((2..=4).contains(&asked), "it was asked {asked} times");
}
