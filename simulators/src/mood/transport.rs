//! Answers in a mood: errors in their place, and how they travel.

use std::io::Write;

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use flate2::{Compression, write::GzEncoder};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Acting, Call, ContentType, ErrorForm, ErrorStatus, RetryAfter, Spoiled};

/// What a mood needs to know of a vendor.
pub(crate) trait Vendor: Send + Sync + 'static {
    /// What is true now.
    fn books(&self) -> Value;

    /// What was said in good answers.
    fn told(&self) -> Value;

    /// The endpoint that is meant, and the account; `None`: no endpoint that a mood knows.
    fn endpoint(&self, parts: &Parts) -> Option<(&'static str, &Acting)>;

    /// What is asked for, as an object.
    fn request(&self, parts: &Parts, body: &Bytes) -> Value;

    /// Fields of the request that are new in each.
    fn volatile(&self) -> &'static [&'static str] {
        &[]
    }

    /// Notes what a good answer says, and returns it in the mood's shape.
    fn shape(&self, call: &Call, body: Value) -> Value;

    /// An answer that was made did not reach the client.
    fn lose(&self, _call: &Call, _body: &Value) {}

    /// The vendor's error for an HTTP status, in its flat form or in its nested one.
    fn error(&self, status: u16, nested: bool, luck: u64) -> Value;

    /// How the vendor throttles: the HTTP status, the body, and the name of the header that says
    /// how long to wait.
    fn throttle(&self, luck: u64) -> (u16, Value, HeaderName);
}

/// The endpoint whose answers are handed out once.
pub(crate) const HAND_OUT: &str = "email_reports";

/// Answers a request in a mood. `good` makes the vendor's own answer. A client that will not get
/// the answer (`lost`) has been told nothing.
pub(crate) async fn answer(
    vendor: &dyn Vendor,
    call: &Call,
    headers: &HeaderMap,
    now: Timestamp,
    lost: bool,
    good: impl Future<Output = Response>,
) -> Response {
    let vendors_now = call.acting.clock(now);
    let mut response = match instead(vendor, call, vendors_now) {
        Some(response) => response,
        None => {
            let (parts, body) = good.await.into_parts();
            let bytes = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes);
            let bytes = bytes.unwrap_or_default();
            let value = serde_json::from_slice::<Value>(&bytes);
            match value {
                Ok(value) if parts.status == StatusCode::OK => {
                    let spoiled = call.endpoint == HAND_OUT
                        && call.mood.spoiled_reports == Spoiled::Lost
                        && call.happens("spoiled_reports", 250);
                    if lost || spoiled {
                        vendor.lose(call, &value);
                    }
                    if spoiled {
                        call.note("spoiled_reports");
                        call.acting.failed(call.endpoint, now);
                        spoiled_body(vendor, call)
                    } else if lost || call.mood.is_calm() {
                        if !lost {
                            vendor.shape(call, value);
                        }
                        Response::from_parts(parts, Body::from(bytes))
                    } else {
                        let shaped = vendor.shape(call, value);
                        Response::from_parts(parts, Body::from(text(shaped, call)))
                    }
                }
                _ => Response::from_parts(parts, Body::from(bytes)),
            }
        }
    };
    if response.status() != StatusCode::OK || response.extensions().get::<Failed>().is_some() {
        call.acting.failed(call.endpoint, now);
    }
    if call.mood.is_calm() {
        return response;
    }
    content_type(&mut response, call);
    if call.mood.slow && call.happens("slow", 250) {
        call.note("slow");
        tokio::time::sleep(call.acting.slow_by()).await;
    }
    travel(response, call, headers).await
}

/// Marks an answer that is an error under HTTP 200.
#[derive(Clone)]
struct Failed;

/// The JSON of a good answer.
fn text(mut value: Value, call: &Call) -> Vec<u8> {
    super::shape::digits(&mut value, call);
    let mut text = Vec::new();
    if call.mood.byte_order_mark {
        call.note("byte_order_mark");
        text.extend_from_slice("\u{feff}".as_bytes());
    }
    if call.mood.whitespace {
        call.note("whitespace");
        text.extend_from_slice(b" \r\n\t");
    }
    text.extend_from_slice(value.to_string().as_bytes());
    if call.mood.whitespace {
        text.extend_from_slice(b"\r\n \n");
    }
    text
}

/// An error that comes instead of the vendor's answer.
fn instead(vendor: &dyn Vendor, call: &Call, now: Timestamp) -> Option<Response> {
    let mood = &call.mood;
    if call.endpoint == HAND_OUT
        && mood.spoiled_reports == Spoiled::Kept
        && call.happens("spoiled_reports", 250)
    {
        call.note("spoiled_reports");
        return Some(spoiled_body(vendor, call));
    }
    if call.happens("throttled", mood.throttled) {
        call.note("throttled");
        let (status, body, name) = vendor.throttle(call.luck("throttle"));
        let mut response = json_answer(status, &body);
        wait(&mut response, name, call, now);
        return Some(response);
    }
    if !call.happens("errors", mood.errors) {
        return None;
    }
    call.note("errors");
    let luck = call.luck("error");
    let status = match mood.error_status {
        ErrorStatus::Any => [200, 400, 403, 404, 500, 502, 503][(luck % 7) as usize],
        ErrorStatus::Ok => 200,
        ErrorStatus::BadRequest => 400,
        ErrorStatus::Forbidden => 403,
        ErrorStatus::NotFound => 404,
        ErrorStatus::Internal => 500,
        ErrorStatus::BadGateway => 502,
        ErrorStatus::Unavailable => 503,
    };
    let form = match mood.error_form {
        ErrorForm::Any => ErrorForm::UNUSUAL[((luck >> 16) % 6) as usize],
        form => form,
    };
    if mood.error_form != ErrorForm::Any {
        call.note("error_form");
    }
    if mood.error_status != ErrorStatus::Any {
        call.note("error_status");
    }
    let mut response = error(vendor, status, form, luck);
    if status == 503 {
        wait(&mut response, header::RETRY_AFTER, call, now);
    }
    Some(response)
}

fn spoiled_body(vendor: &dyn Vendor, call: &Call) -> Response {
    let luck = call.luck("spoiled");
    let form = ErrorForm::UNUSUAL[(luck % 6) as usize];
    error(vendor, 200, form, luck)
}

fn error(vendor: &dyn Vendor, status: u16, form: ErrorForm, luck: u64) -> Response {
    let reason = StatusCode::from_u16(status).ok();
    let reason = reason.and_then(|status| status.canonical_reason());
    let reason = reason.filter(|_| status != 200).unwrap_or("Bad Gateway");
    let (body, kind) = match form {
        ErrorForm::Html => {
            let page = format!(
                "<!DOCTYPE html>\n<html><head><title>{reason}</title></head><body><h1>{reason}</h1></body></html>\n"
            );
            (page, "text/html; charset=utf-8")
        }
        ErrorForm::Xml => {
            let text = format!(
                "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{status}</Code><Message>{reason}</Message></Error>"
            );
            (text, "text/xml")
        }
        ErrorForm::Empty => (String::new(), ""),
        ErrorForm::Message => (json!({"message": reason}).to_string(), "application/json"),
        ErrorForm::Nested => (
            vendor.error(status, true, luck >> 8).to_string(),
            "application/json",
        ),
        ErrorForm::Flat | ErrorForm::Any => (
            vendor.error(status, false, luck >> 8).to_string(),
            "application/json",
        ),
    };
    // A proxy does not always say what it sends.
    let lies = (luck >> 32).is_multiple_of(4) && !kind.is_empty();
    let kind = if lies { "application/json" } else { kind };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    if !kind.is_empty() {
        let kind = HeaderValue::from_static(kind);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response.extensions_mut().insert(Failed);
    response
}

fn json_answer(status: u16, body: &Value) -> Response {
    let mut response = crate::server::json(status, body);
    response.extensions_mut().insert(Failed);
    response
}

/// Says how long to wait.
fn wait(response: &mut Response, name: HeaderName, call: &Call, now: Timestamp) {
    let seconds = 1 + call.luck("wait") % 20;
    // Alibaba counts in milliseconds.
    let number = if name == header::RETRY_AFTER {
        seconds
    } else {
        seconds * 1000
    };
    let text = match call.mood.retry_after {
        RetryAfter::Absent => return,
        RetryAfter::Seconds => number.to_string(),
        RetryAfter::Date => {
            let at = now + SignedDuration::from_secs(seconds.cast_signed());
            at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
        }
        RetryAfter::Huge => "1000000000000".to_owned(),
        RetryAfter::Negative => "-5".to_owned(),
        RetryAfter::Text => "later".to_owned(),
    };
    call.note("retry_after");
    if let Ok(value) = text.parse() {
        response.headers_mut().insert(name, value);
    }
}

/// What JSON says it is.
fn content_type(response: &mut Response, call: &Call) {
    let headers = response.headers_mut();
    let kind = headers.get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let kind = match call.mood.content_type {
        ContentType::Usual => return,
        _ if !is_json => return,
        ContentType::Missing => None,
        ContentType::TextPlain => Some("text/plain; charset=utf-8"),
        ContentType::TextJson => Some("text/json"),
    };
    call.note("content_type");
    match kind {
        None => headers.remove(header::CONTENT_TYPE),
        Some(kind) => headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind)),
    };
}

/// How an answer travels: compressed, in chunks, on a connection of its own.
async fn travel(response: Response, call: &Call, asked: &HeaderMap) -> Response {
    let mood = &call.mood;
    let (mut parts, body) = response.into_parts();
    let bytes = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let mut bytes = bytes.unwrap_or_default();
    let accepted = asked.get(header::ACCEPT_ENCODING);
    let accepts = accepted
        .and_then(|accepted| accepted.to_str().ok())
        .is_some_and(|accepted| accepted.contains("gzip"));
    if mood.gzip && accepts && !bytes.is_empty() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        if encoder.write_all(&bytes).is_ok()
            && let Ok(packed) = encoder.finish()
        {
            call.note("gzip");
            bytes = Bytes::from(packed);
            let gzip = HeaderValue::from_static("gzip");
            parts.headers.insert(header::CONTENT_ENCODING, gzip);
        }
    }
    if mood.close {
        call.note("close");
        let close = HeaderValue::from_static("close");
        parts.headers.insert(header::CONNECTION, close);
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    if !mood.chunked {
        return Response::from_parts(parts, Body::from(bytes));
    }
    call.note("chunked");
    let middle = bytes.len() / 2;
    let halves = [bytes.slice(..middle), bytes.slice(middle..)];
    let halves = halves.into_iter().filter(|half| !half.is_empty());
    let halves = halves.map(Ok::<_, std::io::Error>);
    Response::from_parts(parts, Body::from_stream(stream::iter(halves)))
}
