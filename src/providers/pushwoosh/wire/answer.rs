//! The outermost object of an answer: whether it has the documented shape, and the raw rows in it.

use serde_json::value::RawValue;

use crate::providers::{
    decode::decode,
    json::{Count, Object, Text},
};

/// Fields of errors. They are known in every answer.
const ERROR_FIELDS: [&str; 7] = [
    "error",
    "code",
    "message",
    "details",
    "status_code",
    "status_message",
    "response",
];
/// An answer's fields.
#[derive(Debug)]
pub(in crate::providers::pushwoosh) struct Answer<'a>(Object<'a>);

impl<'a> Answer<'a> {
    pub(in crate::providers::pushwoosh) fn parse(body: &'a [u8]) -> Result<Answer<'a>, String> {
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err("the answer is no JSON object".to_owned());
        }
        decode(body, &mut |_| {}).map(Answer)
    }

    /// What keeps the answer from being one with these documented fields. An object without any field is one
    /// whose fields are all empty: protobuf leaves those out.
    pub(in crate::providers::pushwoosh) fn check(&self, documented: &[&str]) -> Result<(), String> {
        if self.has_any(documented) || self.0.is_empty() {
            Ok(())
        } else {
            Err("the answer has none of its documented fields".to_owned())
        }
    }

    /// Whether one of these fields is there.
    pub(in crate::providers::pushwoosh) fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.0.contains_key(*name))
    }

    /// All fields.
    pub(in crate::providers::pushwoosh) fn fields(&self) -> &Object<'a> {
        &self.0
    }

    /// Notes the fields that are not documented.
    pub(in crate::providers::pushwoosh) fn note_unknown(
        &self,
        documented: &[&str],
        unknown: &mut dyn FnMut(&str),
    ) {
        for name in self.0.keys() {
            if !documented.contains(&&**name) && !ERROR_FIELDS.contains(&&**name) {
                unknown(name);
            }
        }
    }

    /// A field, unless it is missing or `null`.
    pub(in crate::providers::pushwoosh) fn field(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|raw| raw.get() != "null")
    }

    /// The raw elements of a list.
    pub(in crate::providers::pushwoosh) fn list(
        &self,
        name: &str,
    ) -> Result<Vec<&'a RawValue>, String> {
        let Some(raw) = self.field(name) else {
            return Ok(Vec::new());
        };
        serde_json::from_str(raw.get()).map_err(|_| format!("{name} is no list"))
    }

    /// How many rows there are on all pages; `None`: the answer does not say, or nothing that is a
    /// number of rows.
    pub(in crate::providers::pushwoosh) fn total(&self) -> Option<u64> {
        let count: Count = serde_json::from_str(self.field("total")?.get()).ok()?;
        count.get("total").ok().flatten()
    }

    /// The token of the next page, if there is one.
    pub(in crate::providers::pushwoosh) fn next_token(&self) -> Option<String> {
        self.field("pagination_token").and_then(text)
    }
}

/// A text or a number, unless it is blank.
pub(in crate::providers::pushwoosh) fn text(raw: &RawValue) -> Option<String> {
    let text: Text = serde_json::from_str(raw.get()).unwrap_or_default();
    text.get()
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[&str] = &["total", "items"];

    #[test]
    fn an_answer_has_the_documented_shape() {
        let check = |json: &str| {
            let answer = Answer::parse(json.as_bytes())?;
            answer.check(LIST)?;
            answer.list("items").map(|rows| rows.len())
        };
        assert_eq!(check("{}"), Ok(0));
        assert_eq!(check(r#" {"total": 0}"#), Ok(0));
        assert_eq!(check(r#"{"items": null}"#), Ok(0));
        assert_eq!(check(r#"{"items": [1, {}]}"#), Ok(2));
        for json in [
            "null",
            "[]",
            "",
            "<html>",
            r#"{"rows": []}"#,
            r#"{"items": {}}"#,
            r#"{"items": 5}"#,
        ] {
            assert!(check(json).is_err(), "{json}");
        }
        let json = r#"{"items": [], "took": 5, "message": "x"}"#;
        let mut unknown = Vec::new();
        let answer = Answer::parse(json.as_bytes()).unwrap();
        answer.note_unknown(LIST, &mut |name| unknown.push(name.to_owned()));
        assert_eq!(unknown, ["took"]);
    }

    #[test]
    fn total_is_read_in_every_form() {
        for (json, total) in [
            (r#"{"total": 25}"#, Some(25)),
            (r#"{"total": "25"}"#, Some(25)),
            (r#"{"total": 25.0}"#, Some(25)),
            (r#"{"total": null}"#, None),
            (r#"{"total": -1}"#, None),
            (r#"{"total": "many"}"#, None),
            (r#"{"total": {}}"#, None),
            ("{}", None),
        ] {
            assert_eq!(
                Answer::parse(json.as_bytes()).unwrap().total(),
                total,
                "{json}"
            );
        }
    }
}
