//! What an HTTP status means where a vendor has no code of its own for it.

use std::sync::Arc;

use http::StatusCode;

use super::{
    Failure, FailureKind, Scope,
    http::{HttpAnswer, Verdict},
};

/// The verdict on an answer by its status alone: 429 and 5xx may go away, other
/// errors will not. `text` is what the vendor says, redacted; `code` its own code.
pub(super) fn by_status<T>(answer: &HttpAnswer, code: Option<&str>, text: &str) -> Verdict<T> {
    let status = answer.status.as_u16();
    let (kind, scope, advice) = match status {
        401 => (
            FailureKind::Unauthorized,
            Scope::Account,
            Some("check the credentials and base_url"),
        ),
        403 => (
            FailureKind::Forbidden,
            Scope::Application,
            Some("the credentials lack a permission for this"),
        ),
        404 => (FailureKind::NotFound, Scope::Query, None),
        429 => (
            FailureKind::RateLimited,
            Scope::Query,
            Some("lower rate_limit"),
        ),
        _ => (FailureKind::Vendor, Scope::Query, None),
    };
    let failure = Failure {
        kind,
        scope,
        status: Some(status),
        code: code.map(Arc::from),
        text: said(status, code, text).into(),
        advice,
    };
    if status == 429 || status >= 500 {
        Verdict::Retry(failure, None)
    } else {
        Verdict::Fail(failure)
    }
}

/// An error of the vendor in one line.
pub(super) fn said(status: u16, code: Option<&str>, text: &str) -> String {
    let mut said = format!("HTTP {status}");
    for part in [code.unwrap_or_default(), text] {
        if !part.is_empty() {
            said = format!("{said}: {part}");
        }
    }
    said
}

/// An answer that cannot be understood. An HTML page often comes from a proxy in between.
pub(super) fn undecodable(answer: &HttpAnswer, problem: &str) -> Failure {
    let html = answer.body.trim_ascii_start().first() == Some(&b'<');
    let failure = Failure {
        status: Some(answer.status.as_u16()),
        ..Failure::new(FailureKind::Decode, problem)
    };
    if html {
        failure.advise("it is a page, not JSON: is base_url right, is a proxy in between?")
    } else {
        failure
    }
}

/// The answer as it would have come without a gateway that makes every status 200: a code between
/// 400 and 599 is the status that was meant.
pub(super) fn with_meant_status(answer: &HttpAnswer, code: Option<u32>) -> HttpAnswer {
    let meant = code.and_then(|code| u16::try_from(code).ok());
    let meant = meant.filter(|meant| answer.status.is_success() && (400..600).contains(meant));
    HttpAnswer {
        status: meant
            .and_then(|meant| StatusCode::from_u16(meant).ok())
            .unwrap_or(answer.status),
        ..answer.clone()
    }
}

/// Whether an error's text, which has no known code, is about a message: it names the parameter,
/// or an id that is in the request's query.
pub(super) fn speaks_of_message(text: &str, query: &str) -> bool {
    let text = text.to_lowercase();
    let words = [
        "message_id",
        "message id",
        "messageid",
        "msg_id",
        "msg id",
        "msgid",
    ];
    let names_id = text
        .split(|letter: char| !letter.is_ascii_digit())
        .any(|digits| digits.len() >= 4 && query.contains(digits));
    names_id || words.iter().any(|word| text.contains(word))
}
