//! Receivers that answer without end, or ask for what would keep a processor busy.

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
use http::StatusCode;

use super::transport::Transport;
use crate::config;

async fn transport(router: Router) -> Transport {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let text = format!(
        "otlp: {{endpoint: 'http://{address}'}}
providers: [{{name: p, type: infobip_push, credentials: {{api_key: k}}, applications: [{{id: app}}]}}]"
    );
    let config = config::parse(Path::new("test"), &text, &|_| None).unwrap();
    Transport::new(&config.otlp.unwrap()).unwrap()
}

#[tokio::test]
async fn an_answer_without_an_end_fills_no_memory() {
    const PIECE: usize = 64 << 10;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let answer = move || async move {
        let pieces = stream::iter((0..2048).map(move |_| {
            count.fetch_add(PIECE, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(Bytes::from_static(&[0; PIECE]))
        }));
        Body::from_stream(pieces).into_response()
    };
    let mut transport = transport(Router::new().route("/v1/metrics", post(answer))).await;
    let clock = Clock::system();
    let deadline = clock.monotonic() + Duration::from_secs(20);
    let delivered = transport.send(&Default::default(), &clock, deadline).await;
    assert_eq!(delivered.ok().map(|own| own.rejected), Some(0));
    // What is on its way in sockets was sent too.
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent < 32 << 20, "{sent} bytes were taken");
}

#[tokio::test]
async fn a_receiver_that_asks_for_no_pause_gets_one() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let answer = move || async move {
        count.fetch_add(1, Ordering::Relaxed);
        (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response()
    };
    let mut transport = transport(Router::new().route("/v1/metrics", post(answer))).await;
    let clock = Clock::system();
    let deadline = clock.monotonic() + Duration::from_secs(2);
    let delivered = transport.send(&Default::default(), &clock, deadline).await;
    assert!(delivered.is_err());
    let asked = asked.load(Ordering::Relaxed);
    assert!((2..=4).contains(&asked), "it was asked {asked} times");
}
