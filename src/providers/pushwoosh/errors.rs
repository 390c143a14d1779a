//! The vendor's errors: recognised in any of their shapes, also under HTTP 200, and judged by their
//! gRPC code before the status.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::wire::answer::{Answer, text};
use crate::{
    providers::{
        Failure, FailureKind, Scope,
        http::{HttpAnswer, Verdict},
        json::Object,
        verdict::{by_status, said},
    },
    redact::shown,
};

/// Fields that hold an error's text, the most telling first.
const TEXTS: [&str; 7] = [
    "message",
    "status_message",
    "error_message",
    "error_description",
    "description",
    "detail",
    "msg",
];
/// Objects that an error can stand in. Errors of proxies have no deeper nesting.
const ENVELOPES: [&str; 3] = ["response", "result", "status"];
/// What a `status` says of an answer that is an error.
const FAILED: [&str; 6] = ["error", "fail", "failed", "failure", "denied", "refused"];

/// gRPC's codes by their names, from 1 on.
const CODES: [&str; 16] = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The number of a gRPC code that is a number or a name.
pub(super) fn code_number(code: &str) -> Option<u32> {
    let name = code.trim().to_ascii_uppercase();
    let named = CODES.iter().position(|own| *own == name);
    let named = named.and_then(|place| u32::try_from(place + 1).ok());
    named.or_else(|| name.parse().ok())
}

/// An error of the vendor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VendorError {
    /// Its code, in most cases gRPC's.
    pub(super) code: Option<String>,
    /// Its text; may be empty.
    pub(super) text: String,
}

/// The error that the answer is; some come with HTTP 200. An answer with rows is none for the
/// sake of a code or a text beside them, and one with its documented fields none for a text.
pub(super) fn find(answer: &Answer<'_>, documented: &[&str]) -> Option<VendorError> {
    let rows = documented.iter().any(|name| {
        let value = answer.fields().get(*name);
        value.is_some_and(|raw| raw.get().starts_with(['[', '{']) && !is_empty(raw))
    });
    find_error(answer.fields(), answer.has_any(documented), rows, 2)
}

/// The error that an object is; `documented` and `rows` say what else it has.
fn find_error(
    fields: &Object<'_>,
    documented: bool,
    rows: bool,
    depth: u32,
) -> Option<VendorError> {
    let value = |name: &str| fields.get(name).filter(|raw| !is_empty(raw));
    let own_text = TEXTS
        .iter()
        .find_map(|name| value(name).and_then(|raw| text(raw)));
    let own_code = ["code", "error_code"]
        .iter()
        .find_map(|name| value(name).and_then(|raw| text(raw)));
    let nested = |raw: &RawValue| {
        let inner = object(raw)?;
        (depth > 0).then(|| find_error(&inner, false, false, depth - 1))?
    };
    let mut found: Option<VendorError> = None;
    for raw in ["error", "errors"].iter().filter_map(|name| value(name)) {
        let first = match raw.get().as_bytes().first() {
            Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok(),
            _ => Some(vec![&**raw]),
        };
        let first = first.unwrap_or_default().into_iter().next();
        let inner = first.and_then(|raw| {
            let text = || text(raw).map(|text| VendorError { code: None, text });
            nested(raw).or_else(text)
        });
        found = found.or(Some(inner.unwrap_or_default()));
    }
    let failed_status = value("status").and_then(|raw| text(raw)).filter(|status| {
        let http = status.parse::<u32>().is_ok_and(|status| status >= 400);
        let named = CODES.contains(&&*status.to_ascii_uppercase());
        http || named || FAILED.contains(&&*status.to_ascii_lowercase())
    });
    if let Some(status) = failed_status {
        let code = code_number(&status).map(|_| status);
        found = found.or(Some(VendorError {
            code,
            text: String::new(),
        }));
    }
    let old = value("status_code").and_then(|raw| text(raw));
    if old.is_some_and(|code| !is_good(&code)) {
        found = found.or(Some(VendorError::default()));
    }
    if fields
        .get("success")
        .is_some_and(|raw| raw.get() == "false")
    {
        found = found.or(Some(VendorError::default()));
    }
    if !rows {
        let bad = own_code.as_deref().is_some_and(|code| !is_good(code));
        let bare = own_code.is_none() && own_text.is_some() && !documented;
        if bad || bare {
            found = found.or(Some(VendorError::default()));
        }
        if !documented {
            let envelopes = ENVELOPES.iter().filter_map(|name| value(name));
            found = found.or_else(|| envelopes.filter_map(|raw| nested(raw)).next());
        }
    }
    let mut error = found?;
    if let Some(code) = own_code.filter(|code| !is_good(code)) {
        error.code = Some(code);
    }
    if let Some(text) = own_text {
        error.text = text;
    }
    Some(error)
}

fn object(raw: &RawValue) -> Option<Object<'_>> {
    serde_json::from_str(raw.get()).ok()
}

fn is_empty(raw: &RawValue) -> bool {
    // A list can be megabytes long.
    if raw.get().len() > 64 {
        return false;
    }
    let mut compact: String = raw.get().split_whitespace().collect();
    compact.make_ascii_lowercase();
    matches!(
        compact.as_str(),
        "null" | "false" | "\"\"" | "0" | "{}" | "[]"
    )
}

fn is_good(code: &str) -> bool {
    matches!(
        code.to_ascii_lowercase().as_str(),
        "0" | "200" | "ok" | "success"
    )
}

/// The verdict on an error in any of the vendor's shapes: by its gRPC code, and without one by
/// the HTTP status; with 200 and no code by its text, for it is an error all the same.
pub(super) fn judge<T>(response: &HttpAnswer, error: &VendorError) -> Verdict<T> {
    let code = error.code.as_deref();
    let text = shown(&error.text);
    let status = response.status.as_u16();
    let failure = |kind, scope, advice| Failure {
        kind,
        scope,
        status: Some(status),
        code: code.map(Arc::from),
        text: said(status, code, &text).into(),
        advice,
    };
    let plain = |kind| failure(kind, Scope::Query, None);
    let number = match code.and_then(code_number) {
        None if response.status.is_success() => number_of_text(&text),
        number => number,
    };
    match number {
        Some(16 | 401) => Verdict::Fail(failure(
            FailureKind::Unauthorized,
            Scope::Account,
            Some("check api_token; it has to be a server token"),
        )),
        Some(7 | 403) => Verdict::Fail(failure(
            FailureKind::Forbidden,
            Scope::Application,
            Some("the token lacks a permission or this application, or the plan this endpoint"),
        )),
        Some(5 | 404) => Verdict::Fail(plain(FailureKind::NotFound)),
        Some(8 | 429) => Verdict::Retry(plain(FailureKind::RateLimited), None),
        Some(1 | 2 | 4 | 13 | 14 | 15 | 500..=599) => {
            Verdict::Retry(plain(FailureKind::Vendor), None)
        }
        Some(3 | 9 | 11 | 12 | 400) => {
            Verdict::Fail(failure(FailureKind::Vendor, Scope::Application, None))
        }
        _ if response.status.is_success() => Verdict::Fail(plain(FailureKind::Vendor)),
        _ => by_status(response, code, &text),
    }
}

/// The gRPC code of an error that comes with HTTP 200 and a text alone, as far as the text has a
/// sign of it. None of them makes less of the failure than it is.
fn number_of_text(text: &str) -> Option<u32> {
    let text = text.to_lowercase();
    let signs: [(u32, &[&str]); 3] = [
        (
            8,
            &[
                "too many requests",
                "rate limit",
                "resource exhausted",
                "throttl",
            ],
        ),
        (
            16,
            &[
                "unauthorized",
                "unauthenticated",
                "auth token",
                "access token",
            ],
        ),
        (
            7,
            &["forbidden", "permission", "access denied", "restriction"],
        ),
    ];
    let mut signs = signs.iter();
    let found = signs.find(|(_, signs)| signs.iter().any(|sign| text.contains(sign)));
    found.map(|(number, _)| *number)
}

/// Whether the vendor refuses what was asked for, and would take the same request about another
/// message.
pub(super) fn is_refusal(failure: &Failure) -> bool {
    let number = failure.code.as_deref().and_then(code_number);
    let by_code = matches!(number, Some(3 | 5 | 9 | 11 | 400 | 404));
    let by_status = number.is_none() && matches!(failure.status, Some(400 | 404 | 410 | 422));
    matches!(failure.kind, FailureKind::NotFound | FailureKind::Vendor) && (by_code || by_status)
}

/// Why a message is refused: the vendor's code, or else what the status says.
pub(super) fn refusal_reason(failure: &Failure) -> Arc<str> {
    match (&failure.code, failure.status) {
        (Some(code), _) => code.clone(),
        (None, Some(status)) if failure.kind != FailureKind::NotFound => {
            Arc::from(format!("http_{status}"))
        }
        _ => Arc::from("not_found"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> Option<VendorError> {
        let answer = Answer::parse(json.as_bytes()).unwrap();
        find(&answer, &["total", "items"])
    }

    #[test]
    fn errors_are_known_in_every_shape() {
        for (json, code, text) in [
            (
                r#"{"error": "account not found"}"#,
                None,
                "account not found",
            ),
            (
                r#"{"code": 16, "message": "bad token", "details": []}"#,
                Some("16"),
                "bad token",
            ),
            (
                r#"{"error": "bad token", "code": 16, "message": "bad token"}"#,
                Some("16"),
                "bad token",
            ),
            (
                r#"{"status_code": 210, "status_message": "Argument error", "response": null}"#,
                None,
                "Argument error",
            ),
            (r#"{"message": "bad token"}"#, None, "bad token"),
            (r#"{"code": 7}"#, Some("7"), ""),
            (
                r#"{"code": "PERMISSION_DENIED"}"#,
                Some("PERMISSION_DENIED"),
                "",
            ),
            (r#"{"code": 7.0, "items": []}"#, Some("7"), ""),
            (r#"{"status": "error"}"#, None, ""),
            (
                r#"{"status": "ERROR", "message": "x", "total": 0}"#,
                None,
                "x",
            ),
            (r#"{"status": 403}"#, Some("403"), ""),
            (
                r#"{"error": {"code": 7, "message": "no"}}"#,
                Some("7"),
                "no",
            ),
            (
                r#"{"error": {"status": "NOT_FOUND"}}"#,
                Some("NOT_FOUND"),
                "",
            ),
            (r#"{"error": {"anything": 1}}"#, None, ""),
            (
                r#"{"errors": [{"code": 3, "message": "no"}]}"#,
                Some("3"),
                "no",
            ),
            (
                r#"{"status": {"code": 16, "message": "no"}}"#,
                Some("16"),
                "no",
            ),
            (r#"{"response": {"error": "no"}}"#, None, "no"),
            (
                r#"{"result": {"code": 8, "message": "slow"}}"#,
                Some("8"),
                "slow",
            ),
            (r#"{"success": false, "items": []}"#, None, ""),
            (
                r#"{"error": "partial", "items": [{"id": 1}]}"#,
                None,
                "partial",
            ),
        ] {
            let error = error(json).unwrap_or_else(|| panic!("{json}"));
            assert_eq!(
                (error.code.as_deref(), &*error.text),
                (code, text),
                "{json}"
            );
        }
        for json in [
            "{}",
            r#"{"total": 0, "items": []}"#,
            r#"{"items": [], "error": "", "code": 0, "message": "OK", "status_code": 200}"#,
            r#"{"items": [], "error": null, "message": "nothing found", "status": "ok"}"#,
            r#"{"items": [{"id": 1}], "code": 1}"#,
            r#"{"total": "0", "error": false, "errors": [ ]}"#,
        ] {
            assert_eq!(error(json), None, "{json}");
        }
        assert_eq!(code_number("resource_exhausted"), Some(8));
        assert_eq!(code_number("x"), None);
    }
}
