//! Reads the entries of a registration. They are flat, so whatever is nested in them is skipped rather than built in
//! memory: a body of 8 MiB can hold a million values, which would take a hundred times as much.

use std::{collections::BTreeMap, fmt};

use axum::http::StatusCode;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::providers::{MAX_VALUES, has_too_many_values};

/// The maximum number of entries in one request.
pub(super) const MAX_ENTRIES: usize = 10_000;

/// The fields of an entry by name, or none if the entry is no object.
pub(super) struct Entry(pub(super) Option<BTreeMap<String, Field>>);

/// The value of a field.
pub(super) enum Field {
    Null,
    Text(String),
    /// A number without a sign, a fraction and an exponent.
    Number(u64),
    Other,
}

/// Why a body has no entries to read.
pub(super) enum Problem {
    TooManyValues,
    /// With their number.
    TooManyEntries(usize),
    NoEntries,
    NoJson(serde_json::Error),
}

impl Problem {
    /// The status and the text to refuse the body with.
    pub(super) fn answer(&self) -> (StatusCode, String) {
        match self {
            Problem::TooManyValues => (
                StatusCode::BAD_REQUEST,
                format!(
                    "the body has more than {MAX_VALUES} JSON values; send at most {MAX_ENTRIES} entries, which are flat"
                ),
            ),
            Problem::TooManyEntries(count) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("too many entries: {count}; send at most {MAX_ENTRIES}"),
            ),
            Problem::NoEntries => (
                StatusCode::BAD_REQUEST,
                "send one message as an object, or a list of them".to_owned(),
            ),
            Problem::NoJson(error) => (
                StatusCode::BAD_REQUEST,
                format!("the body is not valid JSON: {error}"),
            ),
        }
    }
}

/// Reads an entry or a list of them.
pub(super) fn read(body: &[u8]) -> Result<Vec<Entry>, Problem> {
    if has_too_many_values(body) {
        return Err(Problem::TooManyValues);
    }
    let body = serde_json::from_slice(body).map_err(Problem::NoJson)?;
    match body {
        Body::Entries(_, count) if count > MAX_ENTRIES => Err(Problem::TooManyEntries(count)),
        Body::Entries(entries, _) => Ok(entries),
        Body::Other => Err(Problem::NoEntries),
    }
}

enum Body {
    /// The entries, up to the maximum, and how many there are.
    Entries(Vec<Entry>, usize),
    Other,
}

/// The visits of values that are `Other` for a type.
macro_rules! others {
    ($other:expr; $($visit:ident($of:ty)),*) => {
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("JSON")
        }

        $(fn $visit<E>(self, _: $of) -> Result<Self::Value, E> {
            Ok($other)
        })*
    };
}

/// Skips the rest of a list; how many there were.
fn skip_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<usize, A::Error> {
    let mut count = 0;
    while list.next_element::<IgnoredAny>()?.is_some() {
        count += 1;
    }
    Ok(count)
}

fn fields<'de, A: MapAccess<'de>>(mut map: A) -> Result<BTreeMap<String, Field>, A::Error> {
    let mut fields = BTreeMap::new();
    while let Some((name, field)) = map.next_entry()? {
        fields.insert(name, field);
    }
    Ok(fields)
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Body, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Body;

            others!(Body::Other; visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));

            fn visit_unit<E>(self) -> Result<Body, E> {
                Ok(Body::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Body, A::Error> {
                Ok(Body::Entries(vec![Entry(Some(fields(map)?))], 1))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Body, A::Error> {
                let mut entries = Vec::new();
                while entries.len() < MAX_ENTRIES {
                    match list.next_element()? {
                        Some(entry) => entries.push(entry),
                        None => {
                            let count = entries.len();
                            return Ok(Body::Entries(entries, count));
                        }
                    }
                }
                let count = entries.len() + skip_list(list)?;
                Ok(Body::Entries(entries, count))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entry, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Entry;

            others!(Entry(None); visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));

            fn visit_unit<E>(self) -> Result<Entry, E> {
                Ok(Entry(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                fields(map).map(|fields| Entry(Some(fields)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Entry, A::Error> {
                skip_list(list)?;
                Ok(Entry(None))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Field;

            others!(Field::Other; visit_bool(bool), visit_i64(i64), visit_f64(f64));

            fn visit_unit<E>(self) -> Result<Field, E> {
                Ok(Field::Null)
            }

            fn visit_u64<E>(self, number: u64) -> Result<Field, E> {
                Ok(Field::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Field, E> {
                Ok(Field::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Field::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Field, A::Error> {
                skip_list(list)?;
                Ok(Field::Other)
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_before_they_are_read() {
        let many = format!("[{}{{}}]", r#"{"":0},"#.repeat(1_000_000));
        assert!(matches!(read(many.as_bytes()), Err(Problem::TooManyValues)));
        // No more than a full list of complete entries.
        let entry = r#"{"account":"a","id":"1","application":"b","campaign":"c","sent_at":"d"},"#;
        let whole = format!("[{}{{}}]", entry.repeat(MAX_ENTRIES - 1));
        assert_eq!(
            read(whole.as_bytes()).map_or(0, |own| own.len()),
            MAX_ENTRIES
        );
    }

    #[test]
    fn entries_beyond_the_maximum_are_counted_and_not_kept() {
        let body = format!("[{}0]", "0,".repeat(40_000));
        let count = match read(body.as_bytes()) {
            Err(Problem::TooManyEntries(count)) => count,
            _ => 0,
        };
        assert_eq!(count, 40_001);
        let Ok(Body::Entries(kept, _)) = serde_json::from_str(&body) else {
            panic!("these are entries");
        };
        assert_eq!(kept.len(), MAX_ENTRIES);
    }

    #[test]
    fn what_is_nested_is_skipped() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let body = format!(
            r#"{{"id": 18446744073709551615, "x": {{"y": [1]}}, "z": {deep}, "n": null, "t": "\u00e4"}}"#
        );
        let Ok(entries) = read(body.as_bytes()) else {
            panic!("it is an entry");
        };
        let fields = entries[0].0.as_ref().unwrap();
        assert!(matches!(fields["id"], Field::Number(u64::MAX)));
        assert!(matches!(fields["x"], Field::Other) && matches!(fields["z"], Field::Other));
        assert!(matches!(fields["n"], Field::Null));
        assert!(matches!(&fields["t"], Field::Text(text) if text == "ä"));
        for (body, problem) in [
            ("1", "entries"),
            ("null", "entries"),
            ("{", "json"),
            ("[1] 2", "json"),
        ] {
            let found = match read(body.as_bytes()) {
                Err(Problem::NoEntries) => "entries",
                Err(Problem::NoJson(_)) => "json",
                _ => "none",
            };
            assert_eq!(found, problem, "{body}");
        }
        assert!(
            read(b"[1, \"2\", [], {}]").is_ok_and(|own| own
                .iter()
                .filter(|own| own.0.is_none())
                .count()
                == 3)
        );
    }
}
