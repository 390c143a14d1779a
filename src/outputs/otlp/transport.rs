//! Sends requests over HTTP or gRPC, according to the OTLP specification.

use std::{io::Write, time::Duration};

use bytes::Bytes;
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
use tonic_types::pb;

use crate::{
    config::{Otlp, OtlpProtocol, Tls},
    providers::http::{chain, with_tls},
    redact::{ShownText, shown},
    tls,
};

/// The pause before the first retry; it doubles with each retry.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The maximum pause, unless the receiver asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The maximum size of a response, in bytes; normal responses are short.
const MAX_ANSWER: usize = 1 << 20;

/// The connection to the receiver.
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

/// The result of a request that arrived.
pub(super) struct Delivered {
    /// The number of points that the receiver rejected.
    pub(super) rejected: u64,
    /// The receiver's explanation.
    pub(super) message: ShownText,
}

/// A request that did not arrive.
pub(super) struct Undelivered {
    pub(super) text: ShownText,
    /// Whether to retry, and the minimum pause if the receiver asks for one.
    again: Option<Option<Duration>>,
}

impl Transport {
    /// The connection according to the configuration; not connected yet.
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

    /// Sends a request, with retries if they can help, until `deadline`.
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
            // Without a minimum, a receiver that asks for a pause of zero would cause endless retries.
            let least = own.mul_f64(rand::rng().random_range(0.5..1.0));
            let pause = asked.map_or(least, |asked| asked.max(least));
            if clock.monotonic() + pause >= deadline {
                return Err(failed);
            }
            tracing::debug!(error = &*failed.text, ?pause, "retrying an OTLP request");
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

/// The number of rejected points in a response over HTTP; the entry point for fuzzing.
///
/// # Errors
///
/// The response says that nothing arrived; the text is safe to show.
pub async fn read_answer(answer: http::Response<Bytes>) -> Result<u64, String> {
    match http_outcome(answer.into()).await {
        Ok(delivered) => Ok(delivered.rejected),
        Err(failed) => Err(failed.text.to_string()),
    }
}

/// The text of a gRPC failure, safe to show, from its code, text and details; the entry point for fuzzing.
pub fn read_status(code: i32, text: &str, details: Bytes) -> String {
    let status = Status::with_details(Code::from_i32(code), text, details);
    grpc_failure(&status).text.to_string()
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
        // An unreadable body is still a success according to the status.
        let body = bounded(response).await.unwrap_or_default();
        let decoded = ExportMetricsServiceResponse::decode(body.as_slice());
        return Ok(partial(decoded.unwrap_or_default()));
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

/// The body of a response; `None` if it is truncated or larger than the limit. The limit also holds without a
/// content length and after decompression.
pub(super) async fn bounded(mut response: reqwest::Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

/// The pause that a receiver asks for in the details of a status. `tonic_types` could parse it too, but
/// overflows if a receiver sends the minimum value.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = pb::Status::decode(details).ok()?;
    let mut infos = status.details.iter().filter(|any| {
        let name = any.type_url.rsplit('/').next();
        name == Some("google.rpc.RetryInfo")
    });
    let info = pb::RetryInfo::decode(infos.next()?.value.as_slice()).ok()?;
    let delay = info.retry_delay?;
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    let nanoseconds = u32::try_from(delay.nanos).unwrap_or(0);
    Some(Duration::new(seconds, nanoseconds))
}

fn grpc_failure(status: &Status) -> Undelivered {
    let asked = retry_delay(status.details());
    let again = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Some(asked),
        // Retried only if the receiver says when.
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
        // The configuration has already validated them.
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

/// The gRPC connection, which connects at the first use.
pub(super) fn channel(otlp: &Otlp, url: &reqwest::Url) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(url.to_string())
        .map_err(|error| error.to_string())?
        .connect_timeout(otlp.timeout);
    if url.scheme() != "https" {
        return Ok(endpoint.connect_lazy());
    }
    tls::choose_cryptography();
    let tls = grpc_tls(&otlp.tls)?;
    let endpoint = endpoint
        .tls_config(tls)
        .map_err(|error| error.to_string())?;
    Ok(endpoint.connect_lazy())
}

fn grpc_tls(options: &Tls) -> Result<ClientTlsConfig, String> {
    let mut config = ClientTlsConfig::new();
    config = match &options.ca_file {
        Some(path) => config.ca_certificate(Certificate::from_pem(tls::authorities(path)?)),
        None => config.with_native_roots(),
    };
    if let (Some(certificate), Some(key)) = (&options.cert_file, &options.key_file) {
        config = config.identity(Identity::from_pem(tls::pem(certificate)?, tls::pem(key)?));
    }
    Ok(config)
}
