//! Removes sensitive data by its form, because it cannot be registered: foreign credentials, addresses of
//! people, tokens of devices.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

use super::MASK;

/// A pattern of this file.
#[expect(clippy::expect_used, reason = "a test makes all of them")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is right")
}

/// Credentials after an authentication scheme or the name of a credential.
static CREDENTIALS: LazyLock<[Regex; 3]> = LazyLock::new(|| {
    [
        // Whole headers, up to the end of the line or the quote.
        pattern(
            r#"(?i)(\b(?:proxy-)?authorization|\b(?:set-)?cookie|\bx-api-key|\bx-acs-[a-z-]+)(["']?\s*[:=]\s*["']?)([^"'\r\n<>{}]{4,})"#,
        ),
        pattern(
            r"(?i)\b(basic|bearer|token|app|apikey|api-key|ibsso|digest|negotiate|key|acs3-hmac-sha256|aws4-hmac-sha256)((?:\s|%20|\+)+)([A-Za-z0-9+/_=.~:%-]{8,})",
        ),
        pattern(
            r#"(?i)\b((?:access|api|security|session|refresh|id|auth|master|client)?[_-]?(?:token|key|secret|signature|password|passwd|pwd|credential|sessionid|session|sid)(?:[_-]?id)?)(["']?\s*(?:=|:|%3d|%3a)\s*["']?)([^\s"'&;,<>{}()]{8,})"#,
        ),
    ]
});
/// Longer runs are tokens of devices or sessions, or signatures.
static LONG_TOKEN: LazyLock<Regex> = LazyLock::new(|| pattern(r"[A-Za-z0-9_-]{40,}"));
static PHONE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\+\d[\d ()-]{6,16}\d"));

/// A text without credentials after a scheme or the name of a credential.
pub(super) fn without_credentials(text: &str) -> String {
    let [headers, schemes, names] = &*CREDENTIALS;
    let text = headers.replace_all(text, "$1$2***");
    let looks_secret = |value: &str| {
        let mixed = value.bytes().any(|byte| byte.is_ascii_digit())
            || value.contains(['+', '=', '%'])
            || value.bytes().skip(1).any(|byte| byte.is_ascii_uppercase());
        if mixed {
            MASK.to_owned()
        } else {
            value.to_owned()
        }
    };
    let mask = |found: &regex::Captures<'_>| {
        format!("{}{}{}", &found[1], &found[2], looks_secret(&found[3]))
    };
    let text = schemes.replace_all(&text, mask);
    let text = names.replace_all(&text, mask);
    let text = LONG_TOKEN.replace_all(&text, |found: &regex::Captures<'_>| {
        let has_digit = found[0].bytes().any(|byte| byte.is_ascii_digit());
        if has_digit {
            "(token)".to_owned()
        } else {
            found[0].to_owned()
        }
    });
    PHONE.replace_all(&text, "(number)").into_owned()
}

/// A text without anything that looks like a person's address, or like a user in a URL.
pub fn without_addresses(text: &str) -> Cow<'_, str> {
    const AT: [&str; 4] = ["@", "%40", "&#64;", "&commat;"];
    let lower = text.to_ascii_lowercase();
    if !AT.iter().any(|at| lower.contains(at)) && !lower.contains("\\u0040") {
        return Cow::Borrowed(text);
    }
    // Matches generously, because removing too much does no harm.
    let is_of_address = |c: char| !c.is_whitespace() && !"\"'<>()[]{},".contains(c);
    let is_address = |word: &str| {
        let word = word.to_ascii_lowercase();
        word.trim_matches('@').contains('@')
            || AT[1..].iter().any(|at| word.contains(at))
            || word.contains("\\u0040")
    };
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_of_address) {
        redacted.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c| !is_of_address(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        redacted.push_str(&without_address(word, is_address));
        rest = after;
    }
    redacted.push_str(rest);
    Cow::Owned(redacted)
}

/// A URL without its user, password and query; other texts are not changed. Also handles invalid URLs, which
/// errors quote.
pub fn without_user(text: &str) -> Cow<'_, str> {
    let Some(colon) = text.find(':') else {
        return Cow::Borrowed(text);
    };
    let scheme = &text[..colon];
    let slashes = text[colon + 1..].trim_start_matches(['/', '\\']);
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let Some((_, rest)) = slashes
        .rsplit_once('@')
        .filter(|_| scheme.chars().all(is_scheme))
    else {
        let before_query = text.split_once('?').filter(|_| text.contains("://"));
        return match before_query {
            Some((before, _)) => Cow::Owned(format!("{before}?***")),
            None => Cow::Borrowed(text),
        };
    };
    let rest = rest.split('?').next().unwrap_or_default();
    Cow::Owned(format!("{scheme}://***@{rest}"))
}

/// Checks one word. A semicolon ends a word, unless it ends a character reference.
fn without_address<'a>(word: &'a str, is_address: impl Fn(&str) -> bool) -> Cow<'a, str> {
    if !is_address(word) {
        return Cow::Borrowed(word);
    }
    match word.strip_suffix(';') {
        Some(_) => Cow::Borrowed("(address);"),
        None => Cow::Borrowed("(address)"),
    }
}
