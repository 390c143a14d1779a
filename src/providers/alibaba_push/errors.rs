//! The vendor's errors: decided by their code, since the HTTP status says little (throttling is a
//! 400), and by the status only where there is no code.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, value::RawValue};

use crate::providers::{
    Failure, FailureKind, Refusal, Scope,
    http::{HttpAnswer, Verdict},
    json::{Object, Text},
    verdict::{by_status, said, speaks_of_message, with_meant_status},
};

/// What a vendor's error means for what was asked.
pub(super) enum Meaning<T> {
    /// As for every vendor.
    Verdict(Verdict<T>),
    /// It is for the operation to say: of a message's statistics it is no failure.
    Refused(Refused),
}

/// An error that is an answer where the statistics of one message are asked for, and a failure
/// everywhere else.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) what: RefusedPart,
    pub(super) failure: Failure,
}

/// What is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RefusedPart {
    /// The numbers are still being made.
    NotReady,
    /// The message: the label `reason`, and whether it can just be too new.
    Message(Arc<str>, Refusal),
}

/// An error in an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VendorError {
    /// The vendor's code; empty: it gave none.
    pub(super) code: String,
    /// The vendor's text.
    pub(super) text: String,
}

/// The first of `names` in an object, whatever the case of its letters: the vendor's own client
/// reads both `Code` and `code`. Both can be there.
pub(super) fn field<'a>(object: &Object<'a>, names: &[&str]) -> Option<&'a RawValue> {
    names.iter().find_map(|name| {
        let exact = object.get(*name).copied().filter(|raw| raw.get() != "null");
        let other = || {
            let mut others = object
                .iter()
                .filter(|(key, raw)| key.eq_ignore_ascii_case(name) && raw.get() != "null");
            others.next().map(|(_, raw)| *raw)
        };
        exact.or_else(other)
    })
}

/// A text or number under one of `names`, unless it is empty.
pub(super) fn text(object: &Object<'_>, names: &[&str]) -> Option<String> {
    let of = |name: &&str| -> Option<String> {
        let text: Text = serde_json::from_str(field(object, &[name])?.get()).ok()?;
        text.get().map(str::to_owned)
    };
    names.iter().find_map(of)
}

/// The objects that answers of this API have their data in.
const DATA: [&str; 4] = ["PushStats", "MsgPushStats", "PushInfos", "AppPushStats"];

/// Whether the answer has data: rows, or anything but an empty object.
fn has_data(object: &Object<'_>) -> bool {
    fn is_empty(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Array(list) => list.iter().all(is_empty),
            Value::Object(object) => object.values().all(is_empty),
            _ => false,
        }
    }
    let value = |name: &&str| serde_json::from_str::<Value>(field(object, &[name])?.get()).ok();
    DATA.iter().filter_map(value).any(|value| !is_empty(&value))
}

/// The error in a body of JSON or XML. `None`: it is no error.
pub(super) fn error(object: &Object<'_>) -> Option<VendorError> {
    let code = text(object, &["Code", "ErrorCode"]);
    let said = text(
        object,
        &["Message", "Detail", "Description", "ErrorMessage"],
    );
    let failed =
        field(object, &["Success"]).is_some_and(|raw| ["false", "\"false\""].contains(&raw.get()));
    let is_good = |text: &String| {
        let words = ["OK", "200", "0", "Success", "Successful"];
        words.iter().any(|word| text.eq_ignore_ascii_case(word))
    };
    let is_error = match (&code, &said) {
        (Some(code), _) => !is_good(code),
        (None, Some(said)) => !is_good(said),
        (None, None) => false,
    };
    ((failed || is_error) && !has_data(object)).then(|| VendorError {
        code: code.filter(|code| !is_good(code)).unwrap_or_default(),
        text: said.unwrap_or_default(),
    })
}

/// `<Error><Code/><Message/></Error>`, whatever is around it.
pub(super) fn xml_error(body: &[u8]) -> Option<VendorError> {
    let text = std::str::from_utf8(body).ok()?;
    if !text.trim_start().starts_with('<') {
        return None;
    }
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let inner = rest.split_once(&format!("</{name}>"))?.0.trim();
        let plain = inner.strip_prefix("<![CDATA[");
        let plain = plain.and_then(|plain| plain.strip_suffix("]]>"));
        Some(plain.unwrap_or(inner).to_owned())
    };
    let code = element("Code").or_else(|| element("code"))?;
    Some(VendorError {
        code,
        text: element("Message").unwrap_or_default(),
    })
}

/// The vendor's text as it may be shown: `SignatureDoesNotMatch` repeats the string that was
/// signed, with the key's id and the security token in it.
pub(super) fn without_signed_text(text: &str) -> &str {
    let cut = text
        .to_ascii_lowercase()
        .find("string to sign")
        .unwrap_or(text.len());
    text.get(..cut).unwrap_or_default()
}

/// What the code means. `text` is the vendor's, redacted; `query` is the request's.
pub(super) fn meaning<T>(
    answer: &HttpAnswer,
    code: &str,
    text: &str,
    query: &str,
    now: Timestamp,
) -> Meaning<T> {
    let status = answer.status.as_u16();
    let failure = |kind, scope, advice: Option<&'static str>| Failure {
        kind,
        scope,
        status: Some(status),
        code: Some(code).filter(|code| !code.is_empty()).map(Into::into),
        text: said(status, Some(code), text).into(),
        advice,
    };
    let fail = |kind, scope, advice| Meaning::Verdict(Verdict::Fail(failure(kind, scope, advice)));
    let retry =
        |kind, pause| Meaning::Verdict(Verdict::Retry(failure(kind, Scope::Query, None), pause));
    let account = Scope::Account;
    match code {
        "TaskWaiting" => Meaning::Refused(Refused {
            what: RefusedPart::NotReady,
            failure: failure(FailureKind::Vendor, Scope::Query, None),
        }),
        _ if code == "Throttling" || code.starts_with("Throttling.") => {
            retry(FailureKind::RateLimited, wait(&answer.headers))
        }
        _ if ["ServiceUnavailable", "InternalError", "Timeout"]
            .iter()
            .any(|word| code.starts_with(word))
            || code == "SignatureNonceUsed" =>
        {
            retry(FailureKind::Vendor, wait(&answer.headers))
        }
        "SignatureDoesNotMatch" => fail(
            FailureKind::Unauthorized,
            account,
            Some("check access_key_secret"),
        ),
        _ if code.starts_with("InvalidAccessKeyId") => fail(
            FailureKind::Unauthorized,
            account,
            Some("check access_key_id"),
        ),
        _ if code == "MissingSecurityToken" || code.starts_with("InvalidSecurityToken") => fail(
            FailureKind::Unauthorized,
            account,
            Some("temporary credentials need a security_token that is still valid"),
        ),
        "InvalidTimeStamp.Expired" => {
            let mut failure = failure(
                FailureKind::Vendor,
                account,
                Some("set this machine's clock right"),
            );
            if let Some(off) = clock_difference(&answer.headers, now) {
                failure.text = format!(
                    "{}; this clock is {off} s ahead of the vendor's",
                    failure.text
                )
                .into();
            }
            Meaning::Verdict(Verdict::Fail(failure))
        }
        "PermissionDenied" => fail(
            FailureKind::Forbidden,
            Scope::Application,
            Some("the application's id is not an AppKey of this account"),
        ),
        "AccountDisabled" | "AccountNotSupport" | "NoPermission" => fail(
            FailureKind::Forbidden,
            account,
            Some("the RAM policy has to allow mpush:QueryPush*"),
        ),
        _ if code == "Forbidden" || code.starts_with("Forbidden.") => fail(
            FailureKind::Forbidden,
            account,
            Some("the RAM policy has to allow mpush:QueryPush*"),
        ),
        "InvalidApi.NotFound" | "InvalidProduct.NotFound" | "InvalidProtocol.NeedSsl" => {
            fail(FailureKind::NotFound, account, Some("check base_url"))
        }
        "InvalidPeriod.ExceedDays" => fail(FailureKind::Vendor, Scope::Query, None),
        _ if code.starts_with("InvalidTimeStamp") => fail(FailureKind::Vendor, account, None),
        _ if code.contains("AppKey") => fail(
            FailureKind::Vendor,
            Scope::Application,
            Some("check the application's id"),
        ),
        _ if code.starts_with("Missing") => fail(FailureKind::Vendor, Scope::Query, None),
        _ => {
            if let Some(what) = refused_message(answer, code, text, query) {
                let failure = failure(FailureKind::Vendor, Scope::Query, None);
                return Meaning::Refused(Refused { what, failure });
            }
            let answer = with_meant_status(answer, code.parse().ok());
            let code = Some(code).filter(|code| !code.is_empty());
            Meaning::Verdict(by_status(&answer, code, text))
        }
    }
}

/// Whether the vendor refuses the message: its code names it (`InvalidMessageId.Format`,
/// `MessageId.NotFound`), or no parameter (`Invalid.Parameter`), or an error that it has no code
/// for does in its text.
fn refused_message(
    answer: &HttpAnswer,
    code: &str,
    text: &str,
    query: &str,
) -> Option<RefusedPart> {
    let names_message = code.to_ascii_lowercase().contains("message");
    if names_message || code == "Invalid.Parameter" {
        // What is malformed does not become better; what is not found may be too new.
        let malformed = [".Format", ".Empty", ".LengthExceed"];
        let then = match malformed.iter().any(|kind| code.ends_with(kind)) {
            true => Refusal::AtOnce,
            false => Refusal::UnlessNew,
        };
        return Some(RefusedPart::Message(code.into(), then));
    }
    let status = with_meant_status(answer, code.parse().ok()).status.as_u16();
    let is_not_found = matches!(status, 404 | 410) || code.ends_with(".NotFound");
    (is_not_found && speaks_of_message(text, query))
        .then(|| RefusedPart::Message("not_found".into(), Refusal::UnlessNew))
}

/// How long the vendor asks to wait: its own header in milliseconds, or the older lists of limits.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let asked = text("x-acs-retry-after").and_then(|text| text.trim().parse().ok());
    if let Some(wait) = asked.filter(|wait| *wait > 0) {
        return Some(Duration::from_millis(wait));
    }
    let lists = ["x-ratelimit-user-api", "x-ratelimit-user"]
        .into_iter()
        .filter_map(text);
    let left = lists.flat_map(|list| list.split(',')).filter_map(|part| {
        part.trim()
            .strip_prefix("TimeLeft:")
            .and_then(|left| left.trim().parse().ok())
    });
    left.max().map(Duration::from_millis)
}

/// How many seconds this clock is ahead of the vendor's.
fn clock_difference(headers: &HeaderMap, now: Timestamp) -> Option<i64> {
    let date = headers.get(http::header::DATE)?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    Some(now.as_second() - theirs.as_second())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderValue, StatusCode};

    use super::*;

    fn answer(status: u16) -> HttpAnswer {
        let status = StatusCode::from_u16(status).unwrap();
        HttpAnswer {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    fn error_in(body: &str) -> Option<VendorError> {
        match serde_json::from_str(body) {
            Ok(object) => error(&object),
            Err(_) => xml_error(body.as_bytes()),
        }
    }

    #[test]
    fn errors_are_read_from_every_spelling_and_xml() {
        let expected = |code: &str, text: &str| {
            let (code, text) = (code.to_owned(), text.to_owned());
            Some(VendorError { code, text })
        };
        let throttled = expected("Throttling.User", "slow down");
        for body in [
            r#"{"RequestId": "x", "Code": "Throttling.User", "Message": "slow down"}"#,
            r#"{"code": "Throttling.User", "message": "slow down"}"#,
            r#"{"Code": "Throttling.User", "Message": "slow down", "Description": "other", "Detail": {}}"#,
            r#"{"Code": "Throttling.User", "code": "Throttling.User", "Message": "slow down", "message": "x"}"#,
            r#"{"code": "Throttling.User", "Code": null, "Message": null, "Description": "slow down"}"#,
            r#"{"Code": "Throttling.User", "Message": "slow down", "PushStats": {"PushStat": []}}"#,
            r#"{"Code": "Throttling.User", "Message": "slow down", "PushInfos": {}, "PushStats": null}"#,
            "<Error><Code>Throttling.User</Code><Message>slow down</Message></Error>",
            " <?xml version='1.0'?><Error><Code><![CDATA[Throttling.User]]></Code><Message>slow down</Message></Error>",
        ] {
            assert_eq!(error_in(body), throttled, "{body}");
        }
        for (body, found) in [
            (
                r#"{"RequestId": "x", "Message": "trouble"}"#,
                expected("", "trouble"),
            ),
            (r#"{"RequestId": "x", "Success": false}"#, expected("", "")),
            (
                r#"{"Code": 500, "Message": "trouble"}"#,
                expected("500", "trouble"),
            ),
            (r#"{"Code": "OK", "RequestId": "x"}"#, None),
            (
                r#"{"Code": 200, "Message": "success", "RequestId": "x"}"#,
                None,
            ),
            (r#"{"Message": "success", "RequestId": "x"}"#, None),
            (
                r#"{"Code": "Odd", "PushStats": {"PushStat": [{"SentCount": 5}]}}"#,
                None,
            ),
            ("nonsense", None),
            ("<html><body>no</body></html>", None),
            ("[]", None),
        ] {
            assert_eq!(error_in(body), found, "{body}");
        }
        let text = "Specified signature is not matched. server string to sign is:POST&%2F&secret";
        assert!(!without_signed_text(text).contains("secret"));
    }

    fn of(status: u16, code: &str, text: &str) -> String {
        let query = "AppKey=23267207&MessageId=510427";
        match meaning::<()>(&answer(status), code, text, query, Timestamp::UNIX_EPOCH) {
            Meaning::Verdict(Verdict::Retry(failure, _)) => {
                format!("retry {}", failure.kind.as_str())
            }
            Meaning::Verdict(Verdict::Fail(failure)) => {
                format!("{:?} {}", failure.scope, failure.kind.as_str())
            }
            Meaning::Verdict(Verdict::Done(())) => "good".to_owned(),
            Meaning::Refused(Refused { what, .. }) => match what {
                RefusedPart::NotReady => "not ready".to_owned(),
                RefusedPart::Message(reason, then) => format!("message {reason} {then:?}"),
            },
        }
    }

    #[test]
    fn the_code_decides_before_the_status() {
        for (code, expected) in [
            ("Throttling", "retry rate_limited"),
            ("Throttling.Api", "retry rate_limited"),
            ("ServiceUnavailable", "retry vendor"),
            ("InternalError", "retry vendor"),
            ("Timeout", "retry vendor"),
            ("SignatureNonceUsed", "retry vendor"),
            ("SignatureDoesNotMatch", "Account unauthorized"),
            ("InvalidAccessKeyId.NotFound", "Account unauthorized"),
            ("InvalidSecurityToken.Expired", "Account unauthorized"),
            ("PermissionDenied", "Application forbidden"),
            ("Forbidden.RAM", "Account forbidden"),
            ("InvalidApi.NotFound", "Account not_found"),
            ("InvalidAppKey.Format", "Application vendor"),
            ("InvalidAppKey.NotFound", "Application vendor"),
            ("MissingAppKey", "Application vendor"),
            ("MissingMessageId", "Query vendor"),
            ("TaskWaiting", "not ready"),
            (
                "InvalidMessageId.Format",
                "message InvalidMessageId.Format AtOnce",
            ),
            (
                "InvalidMessageId.LengthExceed",
                "message InvalidMessageId.LengthExceed AtOnce",
            ),
            (
                "InvalidMessageId.NotFound",
                "message InvalidMessageId.NotFound UnlessNew",
            ),
            ("MessageId.NotFound", "message MessageId.NotFound UnlessNew"),
            ("Invalid.Parameter", "message Invalid.Parameter UnlessNew"),
        ] {
            for status in [200, 400, 403, 404] {
                assert_eq!(of(status, code, ""), expected, "{status} {code}");
            }
        }
        for (status, code, text, expected) in [
            (400, "InvalidStartTime.Format", "", "Query vendor"),
            (
                404,
                "Push.NotFound",
                "message id 510427",
                "message not_found UnlessNew",
            ),
            (404, "", "510427 is unknown", "message not_found UnlessNew"),
            (404, "", "no such page", "Query not_found"),
            (
                200,
                "404",
                "message id is unknown",
                "message not_found UnlessNew",
            ),
            (200, "403", "", "Application forbidden"),
            (200, "503", "", "retry vendor"),
            (200, "", "trouble", "Query vendor"),
            (200, "Odd", "trouble", "Query vendor"),
        ] {
            assert_eq!(of(status, code, text), expected, "{status} {code} {text}");
        }
    }

    #[test]
    fn the_wait_is_in_milliseconds() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-ratelimit-user",
            HeaderValue::from_static("Limit:50,Remain:0,TimeLeft:1200"),
        );
        headers.insert(
            "x-ratelimit-user-api",
            HeaderValue::from_static("Limit:5,Remain:0,TimeLeft:900"),
        );
        assert_eq!(wait(&headers), Some(Duration::from_millis(1200)));
        headers.insert("x-acs-retry-after", HeaderValue::from_static("350"));
        assert_eq!(wait(&headers), Some(Duration::from_millis(350)));
        // Positive integers only, as the vendor's library reads them.
        for absurd in ["0", "-5", "1000000000000000000000000000000", "soon", ""] {
            headers.insert("x-acs-retry-after", HeaderValue::from_static(absurd));
            assert_eq!(
                wait(&headers),
                Some(Duration::from_millis(1200)),
                "{absurd}"
            );
        }
    }
}
