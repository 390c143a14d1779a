//! What an HTTP status means where a vendor has no code of its own for it.

use std::sync::Arc;

use super::{
    Failure, FailureKind, Scope,
    http::{Answer, Verdict},
};

/// The verdict on an answer by its status alone (contract 5): 429 and 5xx may go away, other
/// errors will not. `text` is what the vendor says, redacted; `code` its own code.
pub(super) fn by_status<T>(answer: &Answer, code: Option<&str>, text: &str) -> Verdict<T> {
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
        text: said(status, code, text),
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
pub(super) fn undecodable(answer: &Answer, problem: &str) -> Failure {
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
