//! How many values a text holds, before anything is made of them.

/// More values than any body has for a reason: 10,000 delivery reports, the numbers of as many messages, or as many
/// registrations.
pub(crate) const MAX_VALUES: usize = 250_000;

/// Whether a body holds so many values that decoding it would take many times its length in memory: a value of
/// two bytes, such as an empty object in a list, becomes one of hundreds.
pub(crate) fn has_too_many_values(body: &[u8]) -> bool {
    has_more_values(body, MAX_VALUES)
}

/// Whether there are more JSON values than `most`, by one look at the bytes.
fn has_more_values(body: &[u8], most: usize) -> bool {
    let mut values = 0;
    let mut rest = body;
    // Each value but the first of a list or object follows a comma; what opens one is a value too.
    while let Some(at) = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b',' | b'{' | b'['))
    {
        let found = rest[at];
        rest = &rest[at + 1..];
        if found == b'"' {
            rest = behind_text(rest);
        } else {
            values += 1;
            if values > most {
                return true;
            }
        }
    }
    false
}

/// What follows a text, of which the first quotation mark has been read.
fn behind_text(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        if rest[at] == b'"' {
            return &rest[at + 1..];
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_exact() {
        let body = br#"[{"a,[{\\\"": "\\", "b": [1, {"": null}]}, 2]"#;
        let is_json: serde_json::Result<serde::de::IgnoredAny> = serde_json::from_slice(body);
        assert!(is_json.is_ok());
        assert!(has_more_values(body, 6) && !has_more_values(body, 7));
    }

    #[test]
    fn values_are_counted_and_what_stands_in_texts_is_not() {
        let many = MAX_VALUES + 1;
        for (unit, is_too_many) in [
            ("0,", true),
            ("{},", true),
            ("[", true),
            (r#"{"messageId":"1"},"#, true),
            (r#""a,b","#, true),
            (",", true),
            ("\"\\\",{[", false),
        ] {
            let body = unit.repeat(many);
            assert_eq!(has_too_many_values(body.as_bytes()), is_too_many, "{unit}");
        }
        let text = format!("[\"{}\", 1]", "\\\",{".repeat(many));
        assert!(!has_too_many_values(text.as_bytes()));
        assert!(!has_too_many_values(&vec![b' '; many]));
        assert!(!has_too_many_values(b"\"\\"));
        let some = format!("[{}0]", "0,".repeat(MAX_VALUES - 10));
        assert!(!has_too_many_values(some.as_bytes()));
    }
}
