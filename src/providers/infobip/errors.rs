//! Errors of the vendor, in whatever shape and under whatever HTTP status they come.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    providers::{
        Failure, FailureKind, Scope,
        json::{Fields, Object, RawFields, Text},
        verdict::said,
    },
    redact::shown,
};

/// An error as the vendor wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VendorError {
    /// `messageId` of version 1, `errorCode` since, `code` of a flat error. No message's id.
    pub(super) code: Option<String>,
    /// What the vendor says about it.
    pub(super) text: String,
    /// It is in one of the two documented shapes, which nothing else has.
    pub(super) documented: bool,
}

/// What an error means for the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The credentials are refused.
    Unauthorized,
    /// The credentials lack a permission.
    Forbidden,
    /// The vendor does not know what was asked for.
    NotFound,
    /// The vendor does not take the question.
    BadRequest,
    /// Too many requests: later is better.
    RateLimited,
    /// The vendor's server failed: later may be better.
    Server,
    /// Anything else.
    Other,
}

/// The fields that an error is read from. Of an answer that has one of them twice it is not known
/// what it is.
const FIELDS: [&str; 8] = [
    "requestError",
    "errorCode",
    "code",
    "status",
    "error",
    "description",
    "message",
    "text",
];

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RequestError<'a> {
    #[serde(borrow)]
    service_exception: Option<&'a RawValue>,
    #[serde(borrow)]
    policy_exception: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Exception {
    message_id: Text,
    code: Text,
    text: Text,
    message: Text,
    description: Text,
}

impl Exception {
    fn error(&self, documented: bool) -> VendorError {
        let texts = [&self.text, &self.message, &self.description];
        let code = self.message_id.get().or(self.code.get());
        VendorError {
            code: code.map(str::to_owned),
            text: texts
                .iter()
                .find_map(|own| own.get())
                .unwrap_or("")
                .to_owned(),
            documented,
        }
    }
}

/// The fields of an object; `None`: it is no object.
pub(super) fn object<'a, T: Deserialize<'a> + Default>(raw: Option<&'a RawValue>) -> Option<T> {
    let text = raw?.get();
    if !text.starts_with('{') {
        return None;
    }
    let Fields(value) = serde_json::from_str(text).ok()?;
    Some(value)
}

/// The error in a body; `None`: it is no error, or not in a shape that this version knows.
pub(super) fn read(body: &[u8]) -> Option<VendorError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    find(&RawFields::parse(body).ok()?)
}

/// The error that an answer with these fields is.
pub(super) fn find(fields: &RawFields<'_>) -> Option<VendorError> {
    if fields.is_ambiguous(&FIELDS) {
        return None;
    }
    let text_of = |name: &str| {
        let text: Option<Text> = serde_json::from_str(fields.get(name)?.get()).ok();
        text?.get().map(str::to_owned)
    };
    if let Some(own) = object::<RequestError<'_>>(fields.get("requestError")) {
        let exception = own.service_exception.or(own.policy_exception);
        let exception = object::<Exception>(exception).unwrap_or_default();
        return Some(exception.error(true));
    }
    let texts = ["description", "message", "text"];
    let text = texts.into_iter().find_map(text_of);
    if let Some(code) = text_of("errorCode") {
        return Some(VendorError {
            code: Some(code),
            text: text.unwrap_or_default(),
            documented: true,
        });
    }
    if let Some(own) = object::<Exception>(fields.get("error")) {
        let error = own.error(false);
        // A report has an `error` too; it has neither of these.
        return (error.code.is_some() && !error.text.is_empty()).then_some(error);
    }
    // Gateways answer with a status, its name, and a text or two.
    let text = text.or_else(|| text_of("error"))?;
    Some(VendorError {
        code: text_of("code").or_else(|| text_of("status")),
        text,
        documented: false,
    })
}

/// An error that stands in `errors` of push statistics, in place of the counts by reason.
pub(super) fn in_place_of_counts(fields: &RawFields<'_>) -> Option<VendorError> {
    let mut raw = fields.get("errors")?;
    if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
        raw = list.first()?;
    }
    let error = match object::<Exception>(Some(raw)) {
        Some(own) => own.error(false),
        None => VendorError {
            text: serde_json::from_str::<String>(raw.get()).ok()?,
            ..VendorError::default()
        },
    };
    (error.code.is_some() || !error.text.trim().is_empty()).then_some(error)
}

/// The parts of the vendor's error shapes: nothing in them is a report.
const ERROR_PARTS: [&str; 3] = ["requestError", "violations", "resources"];
/// The scalar fields of errors, the vendor's and those of gateways.
const FLAT: [&str; 14] = [
    "errorCode",
    "description",
    "action",
    "code",
    "message",
    "text",
    "timestamp",
    "path",
    "requestId",
    "traceId",
    "status",
    "error",
    "type",
    "title",
];

/// Whether an error certainly has no report beside it: it is in one of the documented shapes, or flat
/// with a code and a text, and every field is one of an error's. Any other error may tell of a
/// message: `{"message": "bounced", "messageId": "q1"}`.
pub(super) fn is_nothing_else(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let Ok(fields) = serde_json::from_slice::<Object<'_>>(body) else {
        return false;
    };
    let known = fields.iter().all(|(name, value)| {
        let scalar = !value.get().starts_with(['{', '[']);
        let is_empty = matches!(value.get(), "null" | "{}" | "[]");
        is_empty || ERROR_PARTS.contains(&name.as_str()) || scalar && FLAT.contains(&name.as_str())
    });
    let has = |name: &str| fields.get(name).is_some_and(|own| own.get() != "null");
    known && (has("requestError") || has("errorCode") || has("code") && has("message"))
}

/// An error that came as XML: what stands in its elements.
pub(super) fn read_xml(lower: &str, body: &str) -> Option<VendorError> {
    lower.contains("<requesterror").then(|| {
        let element = |name: &str| {
            let begin = lower.find(name)? + name.len();
            let text = body.get(begin..)?;
            Some(text[..text.find('<')?].trim().to_owned())
        };
        VendorError {
            code: element("<messageid>").filter(|code| !code.is_empty()),
            text: element("<text>").unwrap_or_default(),
            documented: true,
        }
    })
}

impl VendorError {
    /// What it means under an HTTP status. A status that says it is believed, as 403 can come with
    /// the code `UNAUTHORIZED`; under 200, and under a status that is nothing in particular, the code
    /// decides. Throttling is throttling under every status.
    pub(super) fn class(&self, status: u16) -> Class {
        let by_code = self.by_code();
        match (status, by_code) {
            (_, Class::RateLimited) | (429, _) => Class::RateLimited,
            (401, _) => Class::Unauthorized,
            (403, _) => Class::Forbidden,
            (404, _) => Class::NotFound,
            (500.., _) => Class::Server,
            (400, Class::Other) => Class::BadRequest,
            _ => by_code,
        }
    }

    fn by_code(&self) -> Class {
        let code = self
            .code
            .as_deref()
            .unwrap_or("")
            .trim()
            .to_ascii_uppercase();
        let text = self.text.trim().to_ascii_lowercase();
        let number = code.strip_prefix('E').unwrap_or(&code).parse::<u16>();
        match (code.as_str(), number) {
            ("TOO_MANY_REQUESTS" | "THROTTLED" | "THROTTLING", _) | (_, Ok(429)) => {
                Class::RateLimited
            }
            // The vendor's text where the permission is missing, and not the login.
            ("UNAUTHORIZED", _) if text == "unauthorized access" => Class::Forbidden,
            ("UNAUTHORIZED" | "UNAUTHENTICATED", _) | (_, Ok(401)) => Class::Unauthorized,
            ("FORBIDDEN" | "ACCESS_DENIED", _) | (_, Ok(403)) => Class::Forbidden,
            ("NOT_FOUND", _) | (_, Ok(404)) => Class::NotFound,
            ("BAD_REQUEST", _) | (_, Ok(400)) => Class::BadRequest,
            ("GENERAL_ERROR" | "INTERNAL_SERVER_ERROR" | "SERVICE_UNAVAILABLE", _)
            | (_, Ok(500..=599)) => Class::Server,
            // Without a code the text is all there is.
            ("", _) => match text.as_str() {
                "unauthorized" | "invalid login details" => Class::Unauthorized,
                "forbidden" | "unauthorized access" => Class::Forbidden,
                "too many requests" => Class::RateLimited,
                _ => Class::Other,
            },
            _ => Class::Other,
        }
    }

    /// The failure of a query.
    pub(super) fn failure(&self, status: u16) -> Failure {
        let (kind, scope, advice) = match self.class(status) {
            Class::Unauthorized => (
                FailureKind::Unauthorized,
                Scope::Account,
                Some("check the credentials and base_url"),
            ),
            Class::Forbidden => (
                FailureKind::Forbidden,
                Scope::Application,
                Some("the credentials lack a permission for this"),
            ),
            Class::NotFound => (FailureKind::NotFound, Scope::Query, None),
            Class::RateLimited => (
                FailureKind::RateLimited,
                Scope::Query,
                Some("lower rate_limit"),
            ),
            Class::BadRequest | Class::Server | Class::Other => {
                (FailureKind::Vendor, Scope::Query, None)
            }
        };
        Failure {
            kind,
            scope,
            status: Some(status),
            code: self.code.as_deref().map(Arc::from),
            text: said(status, self.code.as_deref(), &shown(&self.text)).into(),
            advice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_an_error_is_read_and_nothing_else() {
        let read = |body: &str| {
            read(body.as_bytes())
                .map(|error| format!("{} {}", error.code.unwrap_or_default(), error.text))
        };
        for (body, expected) in [
            (
                r#"{"requestError":{"serviceException":{"messageId":"UNAUTHORIZED","text":"Invalid login details"}}}"#,
                "UNAUTHORIZED Invalid login details",
            ),
            (r#"{"requestError":{}}"#, " "),
            (
                "\u{feff} {\"errorCode\":\"E429\",\"description\":\"Slow\",\"violations\":[]}",
                "E429 Slow",
            ),
            (r#"{"code":401,"message":"No"}"#, "401 No"),
            (
                r#"{"timestamp":"x","status":403,"error":"Forbidden","path":"/"}"#,
                "403 Forbidden",
            ),
            (r#"{"error":{"code":"X","message":"Y"}}"#, "X Y"),
            (r#"{"message":"Forbidden"}"#, " Forbidden"),
        ] {
            assert_eq!(read(body).as_deref(), Some(expected), "{body}");
        }
        for body in [
            "",
            "<html>",
            "{}",
            "[]",
            "[{\"errorCode\":\"E1\"}]",
            r#"{"errorCode":null}"#,
            r#"{"totalSent":5}"#,
            r#"{"messageId":"m","to":"x","status":{"id":5},"error":{"id":0,"name":"NO_ERROR"}}"#,
        ] {
            assert_eq!(read(body), None, "{body}");
        }
    }

    #[test]
    fn the_status_decides_where_it_says_something_and_else_the_code() {
        let class = |status, code: &str, text: &str| {
            let error = VendorError {
                code: Some(code.to_owned()).filter(|code| !code.is_empty()),
                text: text.to_owned(),
                documented: true,
            };
            error.class(status)
        };
        for (status, code, text, expected) in [
            (
                200,
                "UNAUTHORIZED",
                "Invalid login details",
                Class::Unauthorized,
            ),
            (200, "UNAUTHORIZED", "Unauthorized access", Class::Forbidden),
            (
                403,
                "UNAUTHORIZED",
                "Invalid login details",
                Class::Forbidden,
            ),
            (200, "FORBIDDEN", "", Class::Forbidden),
            (200, "E403", "", Class::Forbidden),
            (200, "TOO_MANY_REQUESTS", "", Class::RateLimited),
            (400, "E429", "", Class::RateLimited),
            (200, "429", "", Class::RateLimited),
            (200, "", "Too Many Requests", Class::RateLimited),
            (200, "GENERAL_ERROR", "", Class::Server),
            (503, "", "", Class::Server),
            (200, "E502", "", Class::Server),
            (200, "NOT_FOUND", "", Class::NotFound),
            (404, "E1", "", Class::NotFound),
            (400, "", "", Class::BadRequest),
            (200, "E400", "", Class::BadRequest),
            (200, "SOMETHING", "", Class::Other),
        ] {
            assert_eq!(
                class(status, code, text),
                expected,
                "{status} {code} {text}"
            );
        }
    }
}
