//! Ids and words: texts that may come as numbers.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Deserializer};

/// A text that may come as a number. Integers keep every digit: an id of 19 digits does not
/// survive a double. A whole number that is written with a fraction or an exponent (`17.0`) is the
/// same text as without. `null` and anything else are no text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::providers) struct Text(pub(in crate::providers) Option<String>);

impl Text {
    /// The text, unless it is missing or empty.
    pub(in crate::providers) fn get(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }

    /// The text, empty if there is none.
    pub(in crate::providers) fn shared(&self) -> Arc<str> {
        Arc::from(self.0.as_deref().unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        // The raw value keeps the digits of numbers of any length.
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?.get();
        Ok(Text(match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<Cow<'_, str>>(raw)
                .ok()
                .map(Cow::into_owned),
            Some(b'-' | b'0'..=b'9') => Some(whole_number(raw).unwrap_or_else(|| raw.to_owned())),
            _ => None,
        }))
    }
}

/// The digits of a number that is whole and written as if it were not; `None`: it is written as a
/// whole number, or is none.
fn whole_number(raw: &str) -> Option<String> {
    if !raw.contains(['.', 'e', 'E']) {
        return None;
    }
    let number = rust_decimal::Decimal::from_scientific(raw)
        .or_else(|_| raw.parse())
        .ok()?;
    number
        .is_integer()
        .then(|| number.trunc().normalize().to_string())
}

/// The digits of a number that is whole and written with a fraction in a text (`"17.0"`); any other
/// text as it is. For ids and codes that are numbers: other texts may differ in just that.
pub(in crate::providers) fn whole_digits(text: &str) -> &str {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, fraction)) if digits(whole) && fraction.bytes().all(|byte| byte == b'0') => {
            whole
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_every_digit() {
        let text = |json| serde_json::from_str::<Text>(json).unwrap().0;
        assert_eq!(
            text("3813836816344707101").as_deref(),
            Some("3813836816344707101")
        );
        assert_eq!(
            text("\"3813836816344707101\"").as_deref(),
            Some("3813836816344707101")
        );
        assert_eq!(
            text("38138368163447071013813836816344707101").map(|t| t.len()),
            Some(38)
        );
        assert_eq!(text("null"), None);
        assert_eq!(text("{}"), None);
    }

    #[test]
    fn a_whole_number_is_one_text_however_it_is_written() {
        let text = |json| serde_json::from_str::<Text>(json).unwrap().0;
        for json in [
            "12345678900",
            "12345678900.0",
            "1.23456789e10",
            "\"12345678900\"",
        ] {
            assert_eq!(text(json).as_deref(), Some("12345678900"), "{json}");
        }
        for json in ["0.0025", "1.5e-3", "1e999"] {
            assert_eq!(text(json).as_deref(), Some(json));
        }
    }

    #[test]
    fn digits_lose_a_fraction_of_zeros() {
        let texts = ["17.0", "17", "17.", "17.50", "1.2.0", ".0", "v17.0", "-1.0"];
        let whole = ["17", "17", "17", "17.50", "1.2.0", ".0", "v17.0", "-1.0"];
        assert_eq!(texts.map(whole_digits), whole);
    }
}
