use std::{collections::VecDeque, path::Path};

use axum::{Router, body::Bytes, extract::State, response::IntoResponse, routing::post};
use flate2::read::GzDecoder;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
    },
    metrics::v1::{Metric, metric::Data},
};
use prost::Message;

use super::*;
use crate::{
    collector::Recorder,
    config::{self, Config},
    model::{self, Measure, Snapshot, Totals},
    outputs::exposition::{Format, render},
};

/// A receiver that notes what comes, and answers by script.
#[derive(Clone, Default)]
struct Receiver {
    requests: Arc<Mutex<Vec<(HeaderMap, ExportMetricsServiceRequest)>>>,
    answers: Arc<Mutex<VecDeque<(StatusCode, ExportMetricsServiceResponse)>>>,
}

impl Receiver {
    async fn start(&self) -> String {
        let take = async |State(own): State<Receiver>, headers: HeaderMap, body: Bytes| {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut GzDecoder::new(&*body), &mut plain).unwrap();
            let request = ExportMetricsServiceRequest::decode(&*plain).unwrap();
            own.requests.lock().unwrap().push((headers, request));
            let (status, answer) = own.answers.lock().unwrap().pop_front().unwrap_or_default();
            (status, [("retry-after", "2")], answer.encode_to_vec()).into_response()
        };
        let router = Router::new()
            .route("/v1/metrics", post(take))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn take(&self) -> Vec<ExportMetricsServiceRequest> {
        let requests = std::mem::take(&mut *self.requests.lock().unwrap());
        requests.into_iter().map(|(_, request)| request).collect()
    }
}

fn metrics(requests: &[ExportMetricsServiceRequest]) -> impl Iterator<Item = &Metric> {
    let all = requests
        .iter()
        .flat_map(|request| &request.resource_metrics);
    all.flat_map(|own| &own.scope_metrics)
        .flat_map(|own| &own.metrics)
}

/// Number of points, and how many of them say that there is no value.
fn points(requests: &[ExportMetricsServiceRequest]) -> (usize, usize) {
    let flags = |metric: &Metric| -> Vec<u32> {
        match metric.data.as_ref().unwrap() {
            Data::Gauge(own) => own.data_points.iter().map(|point| point.flags).collect(),
            Data::Sum(own) => own.data_points.iter().map(|point| point.flags).collect(),
            Data::Histogram(own) => own.data_points.iter().map(|point| point.flags).collect(),
            _ => Vec::new(),
        }
    };
    let flags: Vec<u32> = metrics(requests).flat_map(flags).collect();
    (
        flags.len(),
        flags.iter().filter(|flags| **flags == 1).count(),
    )
}

fn configuration(endpoint: &str) -> Config {
    let text = format!(
        "otlp: {{endpoint: '{endpoint}', interval: 60s, max_points_per_request: 40, headers: {{x-tenant: a}}}}
providers: [{{name: p, type: infobip_push, credentials: {{api_key: k}}, applications: [{{id: app}}]}}]"
    );
    config::parse(Path::new("test"), &text, &|_| None).unwrap()
}

/// Lets real sockets work until `check` holds.
async fn eventually(mut check: impl FnMut() -> bool) {
    for _ in 0..500 {
        if check() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain");
}

fn put(
    series: &crate::series::AccountSeries,
    config: &Config,
    asked_at: jiff::Timestamp,
    stale_at: delivery_clock::Moment,
) {
    let application = &config.accounts[0].applications[0];
    let snapshot = Snapshot {
        asked: Arc::from("1"),
        id: Arc::from("1"),
        campaign: None,
        sent_at: None,
        asked_at,
        totals: vec![Totals {
            channel: "push",
            counts: vec![(Measure::Sent, 10), (Measure::Delivered, 5)],
            reported_ratio: None,
        }],
        breakdown: Vec::new(),
        types: Vec::new(),
    };
    let message = model::Message {
        application: application.id.clone(),
        id: Arc::from("1"),
        campaign: None,
        sent_at: None,
    };
    series.snapshot(
        crate::providers::dataset("statistics").unwrap(),
        application,
        &message,
        asked_at,
        &snapshot,
        stale_at,
    );
    series.publish();
}

fn outcomes(table: &Table, clock: &Clock) -> Vec<String> {
    let text = render(table, clock.now(), Format::Text);
    let own = text
        .lines()
        .filter(|line| line.starts_with("delivery_exporter_otlp_points_total{"));
    own.map(|line| line.split('"').skip(1).collect::<String>())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_pushed_in_bounded_requests_and_what_leaves_says_so_once() {
    let receiver = Receiver::default();
    let config = configuration(&receiver.start().await);
    let (clock, hand) = Clock::manual("2026-11-26T10:00:00Z".parse().unwrap());
    let table = Arc::new(Table::new(
        clock.clone(),
        Arc::new(crate::series::Unprepared),
    ));
    let held = |_: &Arc<str>| crate::ledger::Lease::always(clock.clone());
    let series = table.configure(&config, &held).remove(0).0;
    let stale_at = clock.monotonic() + 2 * std::time::Duration::from_secs(61);
    put(&series, &config, clock.now(), stale_at);
    let otlp = config.otlp.as_ref().unwrap();
    let pusher = Pusher::start(otlp, "replica-1", table.clone(), clock.clone()).unwrap();
    let count = render(&table, clock.now(), Format::Text)
        .lines()
        .filter(|line| {
            !line.starts_with('#') && !line.contains("_bucket") && !line.contains("_sum")
        })
        .count();
    let pushed = |requests: &[ExportMetricsServiceRequest]| points(requests).0;
    for (push, left) in [(1, 0), (2, 0), (3, 3), (4, 0)] {
        hand.advance(Duration::from_secs(60));
        let mut all = Vec::new();
        // Two gauges and their ratio leave at the third push, with a last point each.
        let expected = if push < 4 { count } else { count - 3 };
        eventually(|| {
            all.extend(receiver.take());
            pushed(&all) >= expected
        })
        .await;
        // The request is answered before the next push may begin.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(points(&all), (expected, left), "push {push}");
        for request in &all {
            assert!(points(std::slice::from_ref(request)).0 <= 40);
            let resource = request.resource_metrics[0].resource.as_ref().unwrap();
            assert_eq!(resource.attributes.len(), 3);
        }
        let starts = |metric: &Metric| match metric.data.as_ref().unwrap() {
            Data::Sum(own) => own
                .data_points
                .iter()
                .map(|own| own.start_time_unix_nano)
                .collect(),
            _ => Vec::new(),
        };
        let start = u64::try_from(table_start()).unwrap();
        assert!(
            metrics(&all).flat_map(starts).all(|own| own == start),
            "counters keep their start"
        );
    }
    pusher.stop().await;
    assert!(!receiver.take().is_empty(), "once more at the end");
}

/// The manual clock's first moment, in nanoseconds.
fn table_start() -> i128 {
    "2026-11-26T10:00:00Z"
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_nanosecond()
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_may_pass_are_tried_again_and_rejected_points_are_counted() {
    let receiver = Receiver::default();
    let config = configuration(&receiver.start().await);
    let (clock, hand) = Clock::manual("2026-11-26T10:00:00Z".parse().unwrap());
    let table = Arc::new(Table::new(
        clock.clone(),
        Arc::new(crate::series::Unprepared),
    ));
    table.configure(&config, &|_| crate::ledger::Lease::always(clock.clone()));
    let partial = ExportMetricsPartialSuccess {
        rejected_data_points: 7,
        error_message: "too old".into(),
    };
    let partial = ExportMetricsServiceResponse {
        partial_success: Some(partial),
    };
    receiver.answers.lock().unwrap().extend([
        (
            StatusCode::SERVICE_UNAVAILABLE,
            ExportMetricsServiceResponse::default(),
        ),
        (StatusCode::OK, partial),
        (
            StatusCode::BAD_REQUEST,
            ExportMetricsServiceResponse::default(),
        ),
    ]);
    let otlp = config.otlp.as_ref().unwrap();
    let pusher = Pusher::start(otlp, "replica-1", table.clone(), clock.clone()).unwrap();
    hand.advance(Duration::from_secs(60));
    let asked = || receiver.requests.lock().unwrap().len();
    eventually(|| asked() == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(asked(), 1, "it waits as long as the receiver asks");
    hand.advance(Duration::from_secs(2));
    eventually(|| asked() >= 3).await;
    let headers = receiver.requests.lock().unwrap()[0].0.clone();
    assert_eq!(
        (&headers["x-tenant"], &headers["content-encoding"]),
        (&"a".parse().unwrap(), &"gzip".parse().unwrap())
    );
    eventually(|| outcomes(&table, &clock)[1] != "failed} 0").await;
    let found = outcomes(&table, &clock);
    // In the order of their names. A request that is refused for good is not sent again.
    let points = points(&receiver.take()[2..]).0;
    assert_eq!(found[1], format!("failed}} {points}"));
    assert_eq!(found[2], "rejected} 7");
    pusher.stop().await;
}
