//! Reads and verifies the tokens of requests.

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// The token of a `Bearer` header.
pub(super) fn bearer(headers: &HeaderMap) -> Option<String> {
    scheme(headers, "bearer").map(str::to_owned)
}

/// The user and the password of a `Basic` header.
pub(super) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let bytes = STANDARD.decode(scheme(headers, "basic")?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The password of a `Basic` header, for any user name.
pub(super) fn basic_password(headers: &HeaderMap) -> Option<String> {
    basic(headers).map(|(_, password)| password)
}

fn scheme<'h>(headers: &'h HeaderMap, scheme: &str) -> Option<&'h str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (word, rest) = value.split_once(' ')?;
    word.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// Whether a token equals the secret. Digests are compared, so that the response time reveals nothing about
/// it.
pub(super) fn is_right(token: Option<&str>, secret: &Secret) -> bool {
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    token.is_some_and(|token| digest(token) == digest(secret.expose()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn tokens_are_read_from_both_schemes() {
        let headers = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            headers
        };
        assert_eq!(bearer(&headers("bearer abc")), Some("abc".into()));
        assert_eq!(bearer(&headers("Basic abc")), None);
        let basic = headers("Basic dXNlcjpwYTpzcw==");
        assert_eq!(basic_password(&basic), Some("pa:ss".into()));
        assert_eq!(basic_password(&headers("Basic !")), None);
        let secret = Secret::new("abc");
        assert!(is_right(Some("abc"), &secret));
        assert!(!is_right(Some("abd"), &secret) && !is_right(None, &secret));
    }
}
