//! Counts: tolerant of their form, strict about their value.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::model::{Counts, MAX_COUNT, Measure};

/// A count as a vendor sent it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::providers) enum Count {
    /// Missing, `null`, or an empty text.
    #[default]
    Absent,
    /// A believable count.
    Value(u64),
    /// Negative, no integer, 2^53 or more, or no number at all.
    Bad(String),
}

impl Count {
    /// The count, if there is one; a bad one is an error that names `field`.
    pub(in crate::providers) fn get(
        &self,
        field: impl fmt::Display,
    ) -> Result<Option<u64>, String> {
        match self {
            Count::Absent => Ok(None),
            Count::Value(value) => Ok(Some(*value)),
            Count::Bad(what) => Err(format!("{field} is no count: {what}")),
        }
    }

    /// The sum of two counts; what is absent adds nothing, what is bad stays bad.
    pub(in crate::providers) fn plus(self, other: Count) -> Count {
        match (self, other) {
            (Count::Bad(what), _) | (_, Count::Bad(what)) => Count::Bad(what),
            (Count::Absent, count) | (count, Count::Absent) => count,
            (Count::Value(a), Count::Value(b)) => match a.checked_add(b) {
                Some(sum) if sum <= MAX_COUNT => Count::Value(sum),
                _ => Count::Bad("a sum of 2^53 or more".to_owned()),
            },
        }
    }

    fn from_text(text: &str) -> Count {
        let text = text.trim();
        if text.is_empty() {
            return Count::Absent;
        }
        match text.parse::<u64>() {
            Ok(value) if value <= MAX_COUNT => Count::Value(value),
            Ok(_) => Count::Bad("2^53 or more".to_owned()),
            Err(_) => match text.parse::<f64>() {
                Ok(value) => Count::from_float(value),
                Err(_) => Count::Bad("a text".to_owned()),
            },
        }
    }

    /// A count that was written with a point or an exponent, such as `12.0`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "checked to be a whole number in range"
    )]
    fn from_float(value: f64) -> Count {
        if value < 0.0 {
            Count::Bad("negative".to_owned())
        } else if value > MAX_COUNT as f64 {
            Count::Bad("2^53 or more".to_owned())
        } else if value.fract() == 0.0 {
            Count::Value(value as u64)
        } else {
            Count::Bad("no whole number".to_owned())
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Count, D::Error> {
        struct CountVisitor;
        impl<'de> Visitor<'de> for CountVisitor {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count")
            }

            fn visit_u64<E>(self, value: u64) -> Result<Count, E> {
                Ok(if value <= MAX_COUNT {
                    Count::Value(value)
                } else {
                    Count::Bad("2^53 or more".to_owned())
                })
            }

            fn visit_i64<E>(self, value: i64) -> Result<Count, E> {
                Ok(u64::try_from(value)
                    .map_or_else(|_| Count::Bad("negative".to_owned()), Count::Value))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Count, E> {
                Ok(Count::from_float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Count, E> {
                Ok(Count::from_text(value))
            }

            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count::Absent)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
                Ok(Count::Bad("a truth value".to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Count::Bad("a list".to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Count, A::Error> {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Count::Bad("an object".to_owned()))
            }
        }
        deserializer.deserialize_any(CountVisitor)
    }
}

/// The counts that are there, each under its measure; a bad one is an error that names its field.
pub(in crate::providers) fn counts(fields: &[(Measure, &str, &Count)]) -> Result<Counts, String> {
    let mut counts = Counts::with_capacity(fields.len());
    for (measure, field, count) in fields {
        if let Some(count) = count.get(field)? {
            counts.push((*measure, count));
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(json: &str) -> Count {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn counts_are_taken_in_every_harmless_form() {
        assert_eq!(count("12"), Count::Value(12));
        assert_eq!(count("\"12\""), Count::Value(12));
        assert_eq!(count("12.0"), Count::Value(12));
        assert_eq!(count("1e3"), Count::Value(1000));
        assert_eq!(count("null"), Count::Absent);
        assert_eq!(count("\"\""), Count::Absent);
        assert_eq!(count("9007199254740991"), Count::Value(MAX_COUNT));
    }

    #[test]
    fn what_is_no_count_is_bad_and_no_error_of_the_whole_answer() {
        for bad in [
            "-1",
            "1.5",
            "9007199254740992",
            "18446744073709551616",
            "1e300",
            "\"x\"",
            "true",
            "[1]",
            "{\"a\":1}",
        ] {
            assert!(matches!(count(bad), Count::Bad(_)), "{bad}");
        }
    }
}
