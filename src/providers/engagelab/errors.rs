//! The vendor's errors: recognised by the body, whatever the HTTP status says, and judged by the
//! vendor's code before the status.

use serde_json::value::RawValue;

use crate::{
    providers::{
        Failure, FailureKind, Refusal, Scope,
        http::{HttpAnswer, Verdict},
        json::{Object, Text},
        verdict::{by_status, said, speaks_of_message, with_meant_status},
    },
    redact::shown,
};

/// What an answer means for the query.
pub(super) enum Reply<T> {
    /// It has the data set.
    Answer(T),
    /// The vendor refuses a parameter; with messages, one of them.
    Refused(Refused),
}

/// A refusal that one message, or another single parameter, can be the cause of.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// The vendor's code as a number; `None`: it gave none.
    pub(super) code: Option<u32>,
    /// The refusal as a failure, for queries in which it is one.
    pub(super) failure: Failure,
}

impl Refused {
    /// The label `reason`: the vendor's code, or `not_found`.
    pub(super) fn reason(&self) -> std::sync::Arc<str> {
        match self.code {
            // Smaller ones are HTTP statuses.
            Some(code) if code >= 1000 => code.to_string().into(),
            _ => "not_found".into(),
        }
    }

    /// Whether a message that is refused like this can just be too new. 23007 (older than 30 days)
    /// and 21003 (malformed) do not heal with time; every other code may.
    pub(super) fn then(&self) -> Refusal {
        match self.code {
            Some(23007 | 21003) => Refusal::AtOnce,
            _ => Refusal::UnlessNew,
        }
    }

    /// Whether the refusal speaks of the message's id: it does not exist, or is too old.
    pub(super) fn names_message(&self) -> bool {
        matches!(self.code, None | Some(27201 | 23007))
    }

    /// Whether the refusal speaks of a parameter's value: for hours and months this is the
    /// vendor's answer that it has no such data.
    pub(super) fn is_parameter(&self) -> bool {
        matches!(self.code, Some(21003 | 1003 | 23004 | 23006))
    }
}

/// An error body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VendorError {
    /// The vendor's code, as it stands in the body.
    code: Option<String>,
    /// The vendor's text.
    text: String,
}

impl VendorError {
    fn number(&self) -> Option<u32> {
        self.code.as_ref()?.trim().parse().ok()
    }
}

/// A scalar as text; `None`: it is missing, `null`, a truth value, an object, a list or empty.
fn scalar(object: &Object<'_>, names: &[&str]) -> Option<String> {
    let text = |raw: &&RawValue| serde_json::from_str::<Text>(raw.get()).ok();
    let mut found = names.iter().filter_map(|name| object.get(*name));
    found.find_map(|raw| text(raw)?.get().map(str::to_owned))
}

/// The error in an answer: nested under `error`, which may be a text, or flat with `code` or
/// `message`. `None`: it is no error.
pub(super) fn find(outer: &Object<'_>) -> Option<VendorError> {
    let code = |object: &Object<'_>| {
        // `status` is what gateways and frameworks write beside their text.
        scalar(object, &["code", "Code", "error_code"]).or_else(|| scalar(object, &["status"]))
    };
    let text = |object: &Object<'_>| scalar(object, &["message", "Message", "msg"]);
    if let Some(raw) = outer.get("error").or_else(|| outer.get("Error")) {
        match serde_json::from_str::<Object<'_>>(raw.get()) {
            Ok(nested) if !nested.is_empty() => {
                return Some(VendorError {
                    code: code(&nested).or_else(|| code(outer)),
                    text: text(&nested).or_else(|| text(outer)).unwrap_or_default(),
                });
            }
            // Empty, or no object.
            _ => {}
        }
        let said: Option<Text> = serde_json::from_str(raw.get()).ok();
        match said.and_then(|said| said.0) {
            Some(said) if !said.is_empty() && said != "0" => {
                let is_code = said.bytes().all(|byte| byte.is_ascii_digit());
                let own = is_code.then(|| said.clone());
                return Some(VendorError {
                    code: own.or_else(|| code(outer)),
                    text: if is_code {
                        text(outer).unwrap_or_default()
                    } else {
                        said
                    },
                });
            }
            None if raw.get() == "true" => {
                return Some(VendorError {
                    code: code(outer),
                    text: text(outer).unwrap_or_default(),
                });
            }
            _ => {}
        }
    }
    let is_success = |code: &str| {
        let words = ["0", "200", "ok", "success"];
        words.iter().any(|word| code.eq_ignore_ascii_case(word))
    };
    match (scalar(outer, &["code", "Code", "error_code"]), text(outer)) {
        (Some(code), _) if is_success(&code) => None,
        (None, None) => None,
        (own, text) => Some(VendorError {
            code: own.or_else(|| code(outer)),
            text: text.unwrap_or_default(),
        }),
    }
}

/// The verdict on an error: by the vendor's code, and without one by the HTTP status.
/// `path_and_query` is the request's.
pub(super) fn judge<T>(
    answer: &HttpAnswer,
    error: Option<&VendorError>,
    path_and_query: &str,
) -> Verdict<Reply<T>> {
    let nothing = VendorError::default();
    let error = error.unwrap_or(&nothing);
    let text = shown(&error.text);
    let status = answer.status.as_u16();
    let code = error.number();
    let failure = |kind, scope, advice| Failure {
        kind,
        scope,
        status: Some(status),
        code: error.code.as_deref().map(Into::into),
        text: said(status, error.code.as_deref(), &text).into(),
        advice,
    };
    let account = Scope::Account;
    let vendor = || failure(FailureKind::Vendor, Scope::Query, None);
    match code {
        Some(23008) => {
            let advice = Some("lower rate_limit; the limit is shared with your sending");
            Verdict::Retry(
                failure(FailureKind::RateLimited, Scope::Query, advice),
                None,
            )
        }
        // Not a wrong password, in spite of the status.
        Some(21038) => {
            let advice = Some("the paid plan has expired or is not active");
            Verdict::Fail(failure(FailureKind::Forbidden, account, advice))
        }
        Some(23009) => {
            let advice = Some("this machine's IP address is not on the application's list");
            Verdict::Fail(failure(FailureKind::Forbidden, account, advice))
        }
        Some(21001) => {
            let advice = Some("check base_url: each data centre has its own");
            Verdict::Fail(failure(FailureKind::NotFound, account, advice))
        }
        Some(23001 | 21004 | 21008) => {
            let advice = Some("check app_key, master_secret, and base_url's data centre");
            Verdict::Fail(failure(FailureKind::Unauthorized, account, advice))
        }
        // The vendor's own trouble, whatever the status: 21009 comes with 400.
        Some(23100 | 27000 | 21030 | 21009) => Verdict::Retry(vendor(), None),
        // 1003 and 23006 are the platform's other codes for a bad parameter, 23004 is one of users.
        Some(27201 | 23007 | 21003 | 1003 | 23006 | 23004) => {
            Verdict::Done(Reply::Refused(Refused {
                code,
                failure: vendor(),
            }))
        }
        Some(23002) => Verdict::Fail(vendor()),
        _ => {
            let may_be_message = match status {
                404 | 410 => true,
                200 | 400 => code.is_some_and(|code| code >= 1000),
                _ => false,
            };
            if may_be_message && speaks_of_message(&error.text, path_and_query) {
                let failure = vendor();
                return Verdict::Done(Reply::Refused(Refused { code, failure }));
            }
            let answer = with_meant_status(answer, code);
            by_status(&answer, error.code.as_deref(), &text)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn find_in(body: &str) -> Option<VendorError> {
        find(&serde_json::from_str(body).ok()?)
    }

    fn error(code: Option<&str>, text: &str) -> Option<VendorError> {
        Some(VendorError {
            code: code.map(str::to_owned),
            text: text.to_owned(),
        })
    }

    #[test]
    fn errors_are_read_nested_flat_and_as_text() {
        for (body, expected) in [
            (
                r#"{"error":{"code":21003,"message":"m"}}"#,
                error(Some("21003"), "m"),
            ),
            (
                r#"{"error":{"code":"21003","msg":"m"}}"#,
                error(Some("21003"), "m"),
            ),
            (
                r#"{"code":"23001","message":"m"}"#,
                error(Some("23001"), "m"),
            ),
            (r#"{"code":23001.0}"#, error(Some("23001"), "")),
            (r#"{"error":"no way"}"#, error(None, "no way")),
            (r#"{"error":true,"message":"m"}"#, error(None, "m")),
            (
                r#"{"error":"Unauthorized","status":401}"#,
                error(Some("401"), "Unauthorized"),
            ),
            (r#"{"message":"m"}"#, error(None, "m")),
            (r#"{"error":21030}"#, error(Some("21030"), "")),
            (r#"{"code":0,"message":"success","data":{}}"#, None),
            (r#"{"error":null,"1613113584":{"sent":1}}"#, None),
            (r#"{"error":{},"1613113584":{"sent":1}}"#, None),
            (r#"{"1613113584":{"message":"x"}}"#, None),
            ("<html>", None),
            ("", None),
            ("[]", None),
        ] {
            assert_eq!(find_in(body), expected, "{body}");
        }
    }

    fn verdict(status: u16, body: &str) -> String {
        let answer = HttpAnswer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        let path = "/v4/status/detail?message_ids=1613113584";
        match judge::<()>(&answer, find_in(body).as_ref(), path) {
            Verdict::Done(Reply::Answer(())) => "good".to_owned(),
            Verdict::Done(Reply::Refused(refused)) => {
                format!("refused {} {:?}", refused.reason(), refused.then())
            }
            Verdict::Fail(failure) => format!("fail {}", failure.kind.as_str()),
            Verdict::Retry(failure, _) => format!("retry {}", failure.kind.as_str()),
        }
    }

    #[test]
    fn the_code_decides_whatever_the_status() {
        for (code, expected) in [
            (23008, "retry rate_limited"),
            (21038, "fail forbidden"),
            (23009, "fail forbidden"),
            (21001, "fail not_found"),
            (23001, "fail unauthorized"),
            (21004, "fail unauthorized"),
            (23100, "retry vendor"),
            (27000, "retry vendor"),
            (21030, "retry vendor"),
            (21009, "retry vendor"),
            (23002, "fail vendor"),
            (27201, "refused 27201 UnlessNew"),
            (23006, "refused 23006 UnlessNew"),
            (1003, "refused 1003 UnlessNew"),
            (23007, "refused 23007 AtOnce"),
            (21003, "refused 21003 AtOnce"),
        ] {
            for status in [200, 400, 401, 404, 500] {
                for body in [
                    format!(r#"{{"error":{{"code":{code},"message":"m"}}}}"#),
                    format!(r#"{{"code":"{code}","message":"m"}}"#),
                ] {
                    assert_eq!(verdict(status, &body), expected, "{status} {body}");
                }
            }
        }
    }

    #[test]
    fn without_a_code_of_the_vendor_the_status_decides() {
        for (status, body, expected) in [
            (401, "", "fail unauthorized"),
            (403, "<html>", "fail forbidden"),
            (404, "<html>", "fail not_found"),
            (
                404,
                r#"{"message":"no Route matched with those values"}"#,
                "fail not_found",
            ),
            (
                404,
                r#"{"message":"message_id not found"}"#,
                "refused not_found UnlessNew",
            ),
            (
                404,
                r#"{"message":"1613113584 is unknown"}"#,
                "refused not_found UnlessNew",
            ),
            (
                404,
                r#"{"message":"1613113585 is unknown"}"#,
                "fail not_found",
            ),
            (
                400,
                r#"{"code":27299,"message":"msg_id 7 is odd"}"#,
                "refused 27299 UnlessNew",
            ),
            (400, r#"{"code":27299,"message":"odd"}"#, "fail vendor"),
            (429, "", "retry rate_limited"),
            (502, "<html>", "retry vendor"),
            (200, r#"{"code":401,"message":"m"}"#, "fail unauthorized"),
            (200, r#"{"code":"503","message":"m"}"#, "retry vendor"),
            (
                200,
                r#"{"error":"Forbidden","status":403}"#,
                "fail forbidden",
            ),
            (200, r#"{"error":"text"}"#, "fail vendor"),
            (200, r#"{"code":-1,"message":"m"}"#, "fail vendor"),
        ] {
            assert_eq!(verdict(status, body), expected, "{status} {body}");
        }
    }
}
