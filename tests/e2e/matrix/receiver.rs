//! An OTLP receiver that remembers the last value of each sum.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::any_value::Value,
    metrics::v1::{metric::Data, number_data_point::Value as Number},
};
use prost::Message;
use tokio::task::JoinHandle;

/// Name of the metric, and its attributes.
type Key = (String, Vec<(String, String)>);
type Sums = Arc<Mutex<BTreeMap<Key, f64>>>;

/// The receiver, until it is dropped.
pub struct Receiver {
    pub address: SocketAddr,
    sums: Sums,
    task: JoinHandle<()>,
}

impl Receiver {
    pub async fn start() -> Receiver {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sums = Sums::default();
        let router = Router::new()
            .route("/v1/metrics", post(take))
            .with_state(sums.clone());
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                tokio::spawn(async move {
                    let stream = hyper_util::rt::TokioIo::new(stream);
                    let builder = hyper::server::conn::http1::Builder::new();
                    let _ = builder.serve_connection(stream, service).await;
                });
            }
        });
        Receiver {
            address,
            sums,
            task,
        }
    }

    /// The sum over the last values of a metric, of the points with this account.
    pub fn sum(&self, metric: &str, account: &str) -> f64 {
        let label = ("account".to_owned(), account.to_owned());
        let sums = self.sums.lock().unwrap();
        let found = sums
            .iter()
            .filter(|((name, labels), _)| name == metric && labels.contains(&label));
        found.map(|(_, value)| value).sum()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(sums): State<Sums>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportMetricsServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    let scopes = request
        .resource_metrics
        .into_iter()
        .flat_map(|own| own.scope_metrics);
    let mut sums = sums.lock().unwrap();
    for metric in scopes.flat_map(|own| own.metrics) {
        let Some(Data::Sum(sum)) = metric.data else {
            continue;
        };
        for point in sum.data_points {
            let value = match point.value {
                Some(Number::AsInt(value)) => value as f64,
                Some(Number::AsDouble(value)) => value,
                None => continue,
            };
            let mut labels: Vec<_> = point
                .attributes
                .into_iter()
                .map(|own| {
                    let text = match own.value.and_then(|own| own.value) {
                        Some(Value::StringValue(text)) => text,
                        other => format!("{other:?}"),
                    };
                    (own.key, text)
                })
                .collect();
            labels.sort();
            sums.insert((metric.name.clone(), labels), value);
        }
    }
    StatusCode::OK
}
