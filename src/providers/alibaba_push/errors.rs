//! The vendor's errors: decided by their code, since the HTTP status says little (throttling is a
//! 400), and by the status only where there is no code.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;

use crate::providers::{
    Failure, FailureKind, Scope,
    http::{Answer, Verdict},
    json::{Skipped, Text},
    verdict::{by_status, said},
};

/// What a vendor's error means for what was asked.
pub(super) enum Meaning<T> {
    /// As for every vendor.
    Verdict(Verdict<T>),
    /// Not an error: the numbers are still being made.
    NotYet,
    /// The message is not one that can be asked for.
    BadMessage(String),
}

/// An error's code and text, from JSON in either spelling, or XML.
pub(super) fn error(body: &[u8]) -> Option<(String, String)> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Error {
        #[serde(rename = "Code", alias = "code")]
        code: Text,
        #[serde(
            rename = "Message",
            alias = "message",
            alias = "Detail",
            alias = "Description"
        )]
        message: Text,
        #[serde(rename = "PushStats")]
        stats: Option<Skipped>,
        #[serde(rename = "PushInfos")]
        infos: Option<Skipped>,
    }
    if let Ok(error) = serde_json::from_slice::<Error>(body) {
        let has_data = error.stats.is_some() || error.infos.is_some();
        let code = error.code.get().filter(|_| !has_data)?;
        return Some((code.to_owned(), error.message.0.unwrap_or_default()));
    }
    let text = std::str::from_utf8(body).ok()?;
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.trim().to_owned())
    };
    Some((element("Code")?, element("Message").unwrap_or_default()))
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

/// What the code means. `text` is the vendor's, redacted.
pub(super) fn meaning<T>(answer: &Answer, code: &str, text: &str, now: Timestamp) -> Meaning<T> {
    let status = answer.status.as_u16();
    let failure = |kind, scope, advice: Option<&'static str>| Failure {
        kind,
        scope,
        status: Some(status),
        code: Some(code.into()),
        text: said(status, Some(code), text),
        advice,
    };
    let fail = |kind, scope, advice| Meaning::Verdict(Verdict::Fail(failure(kind, scope, advice)));
    let retry =
        |kind, pause| Meaning::Verdict(Verdict::Retry(failure(kind, Scope::Query, None), pause));
    let account = Scope::Account;
    match code {
        "TaskWaiting" => Meaning::NotYet,
        _ if code == "Throttling" || code.starts_with("Throttling.") => {
            retry(FailureKind::RateLimited, wait(&answer.headers))
        }
        "ServiceUnavailable" | "InternalError" | "Timeout" | "SignatureNonceUsed" => {
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
                );
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
        _ if code.starts_with("InvalidAppKey") => fail(
            FailureKind::Vendor,
            Scope::Application,
            Some("check the application's id"),
        ),
        _ if is_bad_parameter(code) => Meaning::BadMessage(code.to_owned()),
        _ if code.starts_with("Missing") => fail(FailureKind::Vendor, Scope::Query, None),
        _ => Meaning::Verdict(by_status(answer, Some(code), text)),
    }
}

/// `Invalid<Parameter>.Format`, `.Empty`, `.LengthExceed`, and `Invalid.Parameter`.
fn is_bad_parameter(code: &str) -> bool {
    let kinds = [".Format", ".Empty", ".LengthExceed", ".Parameter"];
    code.starts_with("Invalid") && kinds.iter().any(|kind| code.ends_with(kind))
}

/// How long the vendor asks to wait: its own header in milliseconds, or the older lists of limits.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(wait) = text("x-acs-retry-after").and_then(|text| text.trim().parse().ok()) {
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

    fn answer(status: u16) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    #[test]
    fn errors_are_read_from_both_spellings_and_xml() {
        let own = |text: &str| text.to_owned();
        let expected = Some((own("Throttling.User"), own("slow down")));
        for body in [
            r#"{"RequestId": "x", "Code": "Throttling.User", "Message": "slow down"}"#,
            r#"{"code": "Throttling.User", "message": "slow down"}"#,
            "<Error><Code>Throttling.User</Code><Message>slow down</Message></Error>",
        ] {
            assert_eq!(error(body.as_bytes()), expected, "{body}");
        }
        assert_eq!(error(br#"{"Code": "OK", "PushStats": {}}"#), None);
        assert_eq!(error(b"nonsense"), None);
        let text = "Specified signature is not matched. server string to sign is:POST&%2F&secret";
        assert!(!without_signed_text(text).contains("secret"));
    }

    #[test]
    fn the_code_decides_before_the_status() {
        let now = Timestamp::UNIX_EPOCH;
        let of = |status, code| meaning::<()>(&answer(status), code, "", now);
        for (status, code) in [
            (400, "Throttling"),
            (400, "Throttling.Api"),
            (403, "ServiceUnavailable"),
            (400, "InternalError"),
            (400, "SignatureNonceUsed"),
        ] {
            assert!(
                matches!(of(status, code), Meaning::Verdict(Verdict::Retry(..))),
                "{code}"
            );
        }
        for (status, code, kind, scope) in [
            (
                400,
                "SignatureDoesNotMatch",
                FailureKind::Unauthorized,
                Scope::Account,
            ),
            (
                404,
                "InvalidAccessKeyId.NotFound",
                FailureKind::Unauthorized,
                Scope::Account,
            ),
            (
                400,
                "InvalidSecurityToken.Expired",
                FailureKind::Unauthorized,
                Scope::Account,
            ),
            (
                400,
                "PermissionDenied",
                FailureKind::Forbidden,
                Scope::Application,
            ),
            (403, "Forbidden.RAM", FailureKind::Forbidden, Scope::Account),
            (
                404,
                "InvalidApi.NotFound",
                FailureKind::NotFound,
                Scope::Account,
            ),
        ] {
            let Meaning::Verdict(Verdict::Fail(failure)) = of(status, code) else {
                panic!("{code}")
            };
            assert_eq!((failure.kind, failure.scope), (kind, scope), "{code}");
        }
        assert!(matches!(of(400, "TaskWaiting"), Meaning::NotYet));
        assert!(matches!(
            of(400, "InvalidMessageId.Format"),
            Meaning::BadMessage(_)
        ));
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
    }
}
