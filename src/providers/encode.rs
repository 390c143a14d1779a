//! Percent-encoding as RFC 3986 has it, which is what signatures are made over.

use std::fmt::Write;

/// Encodes everything but the unreserved characters, with capital hex digits.
pub(super) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(byte.into());
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// `name=value` pairs, both encoded, in the given order.
pub(super) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs
        .into_iter()
        .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(percent_encode("a b*~/+中"), "a%20b%2A~%2F%2B%E4%B8%AD");
        assert_eq!(
            query([("Keyword", "a b"), ("Empty", "")]),
            "Keyword=a%20b&Empty="
        );
    }
}
