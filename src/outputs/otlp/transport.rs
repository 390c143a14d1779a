//! Sending a request, over HTTP or gRPC, as the OTLP specification has it.

use std::{io::Write, time::Duration};

use delivery_clock::{Clock, Moment};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
    metrics_service_client::MetricsServiceClient,
};
use prost::Message;
use rand::RngExt;
use tonic::{
    Code, Status,
    codec::CompressionEncoding,
    metadata::{Ascii, MetadataKey, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_types::StatusExt;

use crate::{
    config::{Otlp, OtlpProtocol, Tls},
    files,
    providers::http::{chain, with_tls},
    redact::{ShownText, shown},
};

/// The first pause before another attempt; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that is our own idea.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The most bytes of an answer; a receiver says a few words.
const MAX_ANSWER: usize = 1 << 20;

/// The way to the receiver.
pub(super) enum Transport {
    Http {
        client: reqwest::Client,
        url: reqwest::Url,
        headers: HeaderMap,
        gzip: bool,
    },
    Grpc {
        client: MetricsServiceClient<Channel>,
        headers: Vec<Header>,
        timeout: Duration,
    },
}

type Header = (MetadataKey<Ascii>, MetadataValue<Ascii>);

/// What the receiver did with a request that arrived.
pub(super) struct Delivered {
    /// So many points it did not take.
    pub(super) rejected: u64,
    /// What it says about that.
    pub(super) message: ShownText,
}

/// A request that did not arrive.
pub(super) struct Undelivered {
    pub(super) text: ShownText,
    /// Another attempt may do better, no sooner than after the pause that the receiver asks for.
    again: Option<Option<Duration>>,
}

impl Transport {
    /// The way that the configuration describes. No connection is made yet.
    pub(super) fn new(otlp: &Otlp) -> Result<Transport, String> {
        match otlp.protocol {
            OtlpProtocol::HttpProtobuf => {
                let mut headers = header_map(otlp);
                headers.insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/x-protobuf"),
                );
                if otlp.gzip {
                    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                Ok(Transport::Http {
                    client: http_client(otlp)?,
                    url: otlp.metrics_endpoint.clone(),
                    headers,
                    gzip: otlp.gzip,
                })
            }
            OtlpProtocol::Grpc => {
                let mut client = MetricsServiceClient::new(channel(otlp, &otlp.metrics_endpoint)?);
                if otlp.gzip {
                    client = client.send_compressed(CompressionEncoding::Gzip);
                }
                client = client.accept_compressed(CompressionEncoding::Gzip);
                Ok(Transport::Grpc {
                    client,
                    headers: metadata(otlp),
                    timeout: otlp.timeout,
                })
            }
        }
    }

    /// Sends a request, again and again while that may help and `deadline` is not reached.
    pub(super) async fn send(
        &mut self,
        request: &ExportMetricsServiceRequest,
        clock: &Clock,
        deadline: Moment,
    ) -> Result<Delivered, Undelivered> {
        let mut own = FIRST_PAUSE;
        loop {
            let failed = match self.attempt(request).await {
                Ok(delivered) => return Ok(delivered),
                Err(failed) => failed,
            };
            let Some(asked) = failed.again else {
                return Err(failed);
            };
            let pause = asked.unwrap_or(own.mul_f64(rand::rng().random_range(0.5..1.0)));
            if clock.monotonic() + pause >= deadline {
                return Err(failed);
            }
            tracing::debug!(
                error = &*failed.text,
                ?pause,
                "an OTLP request is sent again"
            );
            clock.sleep(pause).await;
            own = LONGEST_PAUSE.min(own * 2);
        }
    }

    async fn attempt(
        &mut self,
        request: &ExportMetricsServiceRequest,
    ) -> Result<Delivered, Undelivered> {
        match self {
            Transport::Http {
                client,
                url,
                headers,
                gzip,
            } => {
                let body = encode(request, *gzip).map_err(|error| Undelivered {
                    text: format!("cannot be compressed: {error}").into(),
                    again: None,
                })?;
                let sent = client
                    .post(url.clone())
                    .headers(headers.clone())
                    .body(body)
                    .send()
                    .await;
                let response = sent.map_err(|error| Undelivered {
                    text: chain(&error).into(),
                    again: Some(None),
                })?;
                http_outcome(response).await
            }
            Transport::Grpc {
                client,
                headers,
                timeout,
            } => {
                let mut call = tonic::Request::new(request.clone());
                call.set_timeout(*timeout);
                for (name, value) in headers {
                    call.metadata_mut().insert(name.clone(), value.clone());
                }
                match tokio::time::timeout(*timeout, client.export(call)).await {
                    Ok(Ok(response)) => Ok(partial(response.into_inner())),
                    Ok(Err(status)) => Err(grpc_failure(&status)),
                    Err(_) => Err(Undelivered {
                        text: "no answer in time".into(),
                        again: Some(None),
                    }),
                }
            }
        }
    }
}

fn encode(request: &ExportMetricsServiceRequest, gzip: bool) -> std::io::Result<Vec<u8>> {
    let plain = request.encode_to_vec();
    if !gzip {
        return Ok(plain);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&plain)?;
    encoder.finish()
}

fn partial(response: ExportMetricsServiceResponse) -> Delivered {
    let partial = response.partial_success.unwrap_or_default();
    Delivered {
        rejected: partial.rejected_data_points.try_into().unwrap_or(0),
        message: partial.error_message.into(),
    }
}

async fn http_outcome(response: reqwest::Response) -> Result<Delivered, Undelivered> {
    let status = response.status();
    let asked = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    if status.is_success() {
        let body = match response.content_length() {
            Some(length) if length > MAX_ANSWER as u64 => Default::default(),
            _ => response.bytes().await.unwrap_or_default(),
        };
        // An answer that cannot be read is a success all the same: the status says so.
        return Ok(partial(
            ExportMetricsServiceResponse::decode(body).unwrap_or_default(),
        ));
    }
    let again = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    Err(Undelivered {
        text: format!("HTTP {status}").into(),
        again: again.then_some(asked),
    })
}

fn grpc_failure(status: &Status) -> Undelivered {
    let asked = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    let again = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Some(asked),
        // Worth another attempt only if the receiver says when.
        Code::ResourceExhausted => asked.map(Some),
        _ => None,
    };
    Undelivered {
        text: format!("gRPC {:?}: {}", status.code(), shown(status.message())).into(),
        again,
    }
}

/// The configured headers.
pub(super) fn header_map(otlp: &Otlp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &otlp.headers {
        // The configuration has checked them.
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_str(value.expose())) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    headers
}

fn metadata(otlp: &Otlp) -> Vec<Header> {
    let headers = otlp.headers.iter().filter_map(|(name, value)| {
        // gRPC's names are lower-case.
        let name = MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes()).ok()?;
        let mut value = MetadataValue::try_from(value.expose()).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    });
    headers.collect()
}

/// The client for HTTP.
pub(super) fn http_client(otlp: &Otlp) -> Result<reqwest::Client, String> {
    let builder = reqwest::Client::builder()
        .timeout(otlp.timeout)
        .redirect(reqwest::redirect::Policy::none());
    with_tls(builder, &otlp.tls)?
        .build()
        .map_err(|error| chain(&error))
}

/// The connection for gRPC, made when it is first used.
pub(super) fn channel(otlp: &Otlp, url: &reqwest::Url) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(url.to_string())
        .map_err(|error| error.to_string())?
        .connect_timeout(otlp.timeout);
    if url.scheme() != "https" {
        return Ok(endpoint.connect_lazy());
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = grpc_tls(&otlp.tls)?;
    let endpoint = endpoint
        .tls_config(tls)
        .map_err(|error| error.to_string())?;
    Ok(endpoint.connect_lazy())
}

fn grpc_tls(tls: &Tls) -> Result<ClientTlsConfig, String> {
    let read = |path: &std::path::Path| {
        files::read(path, files::MAX_PEM).map_err(|error| format!("{}: {error}", path.display()))
    };
    let mut config = ClientTlsConfig::new();
    config = match &tls.ca_file {
        Some(path) => config.ca_certificate(Certificate::from_pem(read(path)?)),
        None => config.with_native_roots(),
    };
    if let (Some(certificate), Some(key)) = (&tls.cert_file, &tls.key_file) {
        config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(config)
}
