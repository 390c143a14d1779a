//! The outermost object of an answer: whether it is an error, in whatever shape, whether it has the
//! documented shape, and the raw rows in it.

use serde_json::value::RawValue;

use super::Endpoint;
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
/// Fields that hold an error's text, the most telling first.
const TEXTS: [&str; 7] = [
    "message",
    "status_message",
    "error_message",
    "error_description",
    "description",
    "detail",
    "msg",
];
/// Objects that an error can stand in. Errors of proxies have no deeper nesting.
const ENVELOPES: [&str; 3] = ["response", "result", "status"];
/// What a `status` says of an answer that is an error.
const FAILED: [&str; 6] = ["error", "fail", "failed", "failure", "denied", "refused"];

/// gRPC's codes by their names, from 1 on.
const CODES: [&str; 16] = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The number of a gRPC code that is a number or a name.
pub(super) fn code_number(code: &str) -> Option<u32> {
    let name = code.trim().to_ascii_uppercase();
    let named = CODES.iter().position(|own| *own == name);
    let named = named.and_then(|place| u32::try_from(place + 1).ok());
    named.or_else(|| name.parse().ok())
}

/// An error of the vendor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VendorError {
    /// Its code, in most cases gRPC's.
    pub(super) code: Option<String>,
    /// Its text; may be empty.
    pub(super) text: String,
}

/// An answer's fields.
#[derive(Debug)]
pub(super) struct Answer<'a>(Object<'a>);

fn text(raw: &RawValue) -> Option<String> {
    let text: Text = serde_json::from_str(raw.get()).unwrap_or_default();
    text.get()
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn object(raw: &RawValue) -> Option<Object<'_>> {
    serde_json::from_str(raw.get()).ok()
}

fn is_empty(raw: &RawValue) -> bool {
    // A list can be megabytes long.
    if raw.get().len() > 64 {
        return false;
    }
    let mut compact: String = raw.get().split_whitespace().collect();
    compact.make_ascii_lowercase();
    matches!(
        compact.as_str(),
        "null" | "false" | "\"\"" | "0" | "{}" | "[]"
    )
}

fn is_good(code: &str) -> bool {
    matches!(
        code.to_ascii_lowercase().as_str(),
        "0" | "200" | "ok" | "success"
    )
}

impl<'a> Answer<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Answer<'a>, String> {
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err("the answer is no JSON object".to_owned());
        }
        decode(body, &mut |_| {}).map(Answer)
    }

    /// The error that the answer is; some come with HTTP 200. An answer with rows is none for the
    /// sake of a code or a text beside them, and one with its documented fields none for a text.
    pub(super) fn error(&self, endpoint: &Endpoint) -> Option<VendorError> {
        let documented = endpoint
            .fields
            .iter()
            .any(|name| self.0.contains_key(*name));
        let rows = endpoint.fields.iter().any(|name| {
            let value = self.0.get(*name);
            value.is_some_and(|raw| raw.get().starts_with(['[', '{']) && !is_empty(raw))
        });
        find_error(&self.0, documented, rows, 2)
    }

    /// What keeps the answer from being one of the endpoint's. An object without any field is one
    /// whose fields are all empty: protobuf leaves those out.
    pub(super) fn check(&self, endpoint: &Endpoint) -> Result<(), String> {
        let documented = endpoint
            .fields
            .iter()
            .any(|name| self.0.contains_key(*name));
        if documented || self.0.is_empty() {
            Ok(())
        } else {
            Err("the answer has none of its documented fields".to_owned())
        }
    }

    /// Notes the fields that are not documented.
    pub(super) fn note_unknown(&self, endpoint: &Endpoint, unknown: &mut dyn FnMut(&str)) {
        for name in self.0.keys() {
            if !endpoint.fields.contains(&&**name) && !ERROR_FIELDS.contains(&&**name) {
                unknown(name);
            }
        }
    }

    /// A field, unless it is missing or `null`.
    pub(super) fn field(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|raw| raw.get() != "null")
    }

    /// The raw elements of a list.
    pub(super) fn list(&self, name: &str) -> Result<Vec<&'a RawValue>, String> {
        let Some(raw) = self.field(name) else {
            return Ok(Vec::new());
        };
        serde_json::from_str(raw.get()).map_err(|_| format!("{name} is no list"))
    }

    /// How many rows there are on all pages; `None`: the answer does not say, or nothing that is a
    /// number of rows.
    pub(super) fn total(&self) -> Option<u64> {
        let count: Count = serde_json::from_str(self.field("total")?.get()).ok()?;
        count.get("total").ok().flatten()
    }

    /// The token of the next page, if there is one.
    pub(super) fn next_token(&self) -> Option<String> {
        self.field("pagination_token").and_then(text)
    }
}

/// The error that an object is; `documented` and `rows` say what else it has.
fn find_error(
    fields: &Object<'_>,
    documented: bool,
    rows: bool,
    depth: u32,
) -> Option<VendorError> {
    let value = |name: &str| fields.get(name).filter(|raw| !is_empty(raw));
    let own_text = TEXTS
        .iter()
        .find_map(|name| value(name).and_then(|raw| text(raw)));
    let own_code = ["code", "error_code"]
        .iter()
        .find_map(|name| value(name).and_then(|raw| text(raw)));
    let nested = |raw: &RawValue| {
        let inner = object(raw)?;
        (depth > 0).then(|| find_error(&inner, false, false, depth - 1))?
    };
    let mut found: Option<VendorError> = None;
    for raw in ["error", "errors"].iter().filter_map(|name| value(name)) {
        let first = match raw.get().as_bytes().first() {
            Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok(),
            _ => Some(vec![&**raw]),
        };
        let first = first.unwrap_or_default().into_iter().next();
        let inner = first.and_then(|raw| {
            let text = || text(raw).map(|text| VendorError { code: None, text });
            nested(raw).or_else(text)
        });
        found = found.or(Some(inner.unwrap_or_default()));
    }
    let failed_status = value("status").and_then(|raw| text(raw)).filter(|status| {
        let http = status.parse::<u32>().is_ok_and(|status| status >= 400);
        let named = CODES.contains(&&*status.to_ascii_uppercase());
        http || named || FAILED.contains(&&*status.to_ascii_lowercase())
    });
    if let Some(status) = failed_status {
        let code = code_number(&status).map(|_| status);
        found = found.or(Some(VendorError {
            code,
            text: String::new(),
        }));
    }
    let old = value("status_code").and_then(|raw| text(raw));
    if old.is_some_and(|code| !is_good(&code)) {
        found = found.or(Some(VendorError::default()));
    }
    if fields
        .get("success")
        .is_some_and(|raw| raw.get() == "false")
    {
        found = found.or(Some(VendorError::default()));
    }
    if !rows {
        let bad = own_code.as_deref().is_some_and(|code| !is_good(code));
        let bare = own_code.is_none() && own_text.is_some() && !documented;
        if bad || bare {
            found = found.or(Some(VendorError::default()));
        }
        if !documented {
            let envelopes = ENVELOPES.iter().filter_map(|name| value(name));
            found = found.or_else(|| envelopes.filter_map(|raw| nested(raw)).next());
        }
    }
    let mut error = found?;
    if let Some(code) = own_code.filter(|code| !is_good(code)) {
        error.code = Some(code);
    }
    if let Some(text) = own_text {
        error.text = text;
    }
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: Endpoint = Endpoint {
        path: "/",
        word: "Api",
        fields: &["total", "items"],
    };

    fn error(json: &str) -> Option<VendorError> {
        Answer::parse(json.as_bytes()).unwrap().error(&LIST)
    }

    #[test]
    fn errors_are_known_in_every_shape() {
        for (json, code, text) in [
            (
                r#"{"error": "account not found"}"#,
                None,
                "account not found",
            ),
            (
                r#"{"code": 16, "message": "bad token", "details": []}"#,
                Some("16"),
                "bad token",
            ),
            (
                r#"{"error": "bad token", "code": 16, "message": "bad token"}"#,
                Some("16"),
                "bad token",
            ),
            (
                r#"{"status_code": 210, "status_message": "Argument error", "response": null}"#,
                None,
                "Argument error",
            ),
            (r#"{"message": "bad token"}"#, None, "bad token"),
            (r#"{"code": 7}"#, Some("7"), ""),
            (
                r#"{"code": "PERMISSION_DENIED"}"#,
                Some("PERMISSION_DENIED"),
                "",
            ),
            (r#"{"code": 7.0, "items": []}"#, Some("7"), ""),
            (r#"{"status": "error"}"#, None, ""),
            (
                r#"{"status": "ERROR", "message": "x", "total": 0}"#,
                None,
                "x",
            ),
            (r#"{"status": 403}"#, Some("403"), ""),
            (
                r#"{"error": {"code": 7, "message": "no"}}"#,
                Some("7"),
                "no",
            ),
            (
                r#"{"error": {"status": "NOT_FOUND"}}"#,
                Some("NOT_FOUND"),
                "",
            ),
            (r#"{"error": {"anything": 1}}"#, None, ""),
            (
                r#"{"errors": [{"code": 3, "message": "no"}]}"#,
                Some("3"),
                "no",
            ),
            (
                r#"{"status": {"code": 16, "message": "no"}}"#,
                Some("16"),
                "no",
            ),
            (r#"{"response": {"error": "no"}}"#, None, "no"),
            (
                r#"{"result": {"code": 8, "message": "slow"}}"#,
                Some("8"),
                "slow",
            ),
            (r#"{"success": false, "items": []}"#, None, ""),
            (
                r#"{"error": "partial", "items": [{"id": 1}]}"#,
                None,
                "partial",
            ),
        ] {
            let error = error(json).unwrap_or_else(|| panic!("{json}"));
            assert_eq!(
                (error.code.as_deref(), &*error.text),
                (code, text),
                "{json}"
            );
        }
        for json in [
            "{}",
            r#"{"total": 0, "items": []}"#,
            r#"{"items": [], "error": "", "code": 0, "message": "OK", "status_code": 200}"#,
            r#"{"items": [], "error": null, "message": "nothing found", "status": "ok"}"#,
            r#"{"items": [{"id": 1}], "code": 1}"#,
            r#"{"total": "0", "error": false, "errors": [ ]}"#,
        ] {
            assert_eq!(error(json), None, "{json}");
        }
        assert_eq!(code_number("resource_exhausted"), Some(8));
        assert_eq!(code_number("x"), None);
    }

    #[test]
    fn an_answer_has_the_documented_shape() {
        let check = |json: &str| {
            let answer = Answer::parse(json.as_bytes())?;
            answer.check(&LIST)?;
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
        answer.note_unknown(&LIST, &mut |name| unknown.push(name.to_owned()));
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
