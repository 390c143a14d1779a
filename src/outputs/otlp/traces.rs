//! The exporter's own traces: a span per pass and per vendor request, off by default. OpenTelemetry's SDK
//! exports them.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    Compression, Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::{Layer, registry::LookupSpan};

use super::{points, transport};
use crate::config::{Otlp, OtlpProtocol};

/// The maximum time for sending the last spans.
const LAST: Duration = Duration::from_secs(2);

/// A running trace exporter.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Starts exporting traces according to the configuration.
    ///
    /// # Errors
    ///
    /// A certificate or header cannot be used.
    pub fn start(otlp: &Otlp, replica: &str) -> Result<Traces, String> {
        let exporter = match otlp.protocol {
            OtlpProtocol::HttpProtobuf => {
                let headers = otlp
                    .headers
                    .iter()
                    .map(|(name, value)| (name.clone(), value.expose().to_owned()))
                    .collect();
                let mut builder = SpanExporter::builder()
                    .with_http()
                    .with_http_client(OnRuntime {
                        client: transport::http_client(otlp)?,
                        runtime: tokio::runtime::Handle::current(),
                    })
                    .with_protocol(Protocol::HttpBinary)
                    .with_endpoint(otlp.traces_endpoint.to_string())
                    .with_headers(headers)
                    .with_timeout(otlp.timeout);
                if otlp.gzip {
                    builder = builder.with_compression(Compression::Gzip);
                }
                builder.build()
            }
            OtlpProtocol::Grpc => {
                let headers = transport::header_map(otlp);
                let mut builder = SpanExporter::builder()
                    .with_tonic()
                    .with_channel(transport::channel(otlp, &otlp.traces_endpoint)?)
                    .with_metadata(tonic::metadata::MetadataMap::from_headers(headers))
                    .with_timeout(otlp.timeout);
                if otlp.gzip {
                    builder = builder.with_compression(Compression::Gzip);
                }
                builder.build()
            }
        };
        let exporter = exporter.map_err(|error| error.to_string())?;
        let attributes = points::resource(replica).map(|(name, value)| KeyValue::new(name, value));
        let resource = Resource::builder_empty()
            .with_attributes(attributes)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Traces { provider })
    }

    /// The layer that turns spans into traces.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        OpenTelemetryLayer::new(self.provider.tracer(env!("CARGO_PKG_NAME")))
    }

    /// Sends the remaining spans.
    pub async fn stop(self) {
        let stop = tokio::task::spawn_blocking(move || self.provider.shutdown());
        if let Ok(Ok(Err(error))) = tokio::time::timeout(LAST, stop).await {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// A client for the SDK's own thread, which has no async runtime.
pub(super) struct OnRuntime {
    pub(super) client: reqwest::Client,
    pub(super) runtime: tokio::runtime::Handle,
}

impl fmt::Debug for OnRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRuntime")
    }
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), request.try_into()?);
        let answer = self.runtime.spawn(async move {
            let response = client.execute(request).await?;
            let status = response.status();
            let headers = response.headers().clone();
            // An unreadable body does not matter: the status says whether the spans arrived.
            let body = transport::bounded(response).await.unwrap_or_default();
            Ok::<_, reqwest::Error>((status, headers, Bytes::from(body)))
        });
        let (status, headers, body) = answer.await??;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}
