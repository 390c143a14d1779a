//! Tolerant reading of vendors' JSON: numbers that come as strings, ids that are numbers, fields
//! that are new. Tolerant of what surrounds a count, strict about the count itself.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor},
};

use crate::model::{Counts, MAX_COUNT, Measure};

/// A count as a vendor sent it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Count {
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
    pub(super) fn get(&self, field: impl fmt::Display) -> Result<Option<u64>, String> {
        match self {
            Count::Absent => Ok(None),
            Count::Value(value) => Ok(Some(*value)),
            Count::Bad(what) => Err(format!("{field} is no count: {what}")),
        }
    }

    /// The sum of two counts; what is absent adds nothing, what is bad stays bad.
    pub(super) fn plus(self, other: Count) -> Count {
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
pub(super) fn counts(fields: &[(Measure, &str, &Count)]) -> Result<Counts, String> {
    let mut counts = Counts::with_capacity(fields.len());
    for (measure, field, count) in fields {
        if let Some(count) = count.get(field)? {
            counts.push((*measure, count));
        }
    }
    Ok(counts)
}

/// A struct that is read from a JSON object alone, at any depth of an answer. serde would take a
/// list for the struct's fields in their order, and so read `[7]` as if the vendor had sent a count
/// of 7. `null` is an object without fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields<T>(pub(super) T);

impl<T> std::ops::Deref for Fields<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Fields<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields<T>, D::Error> {
        struct FieldsVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for FieldsVisitor<T> {
            type Value = Fields<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Fields<T>, M::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Fields)
            }

            fn visit_unit<E>(self) -> Result<Fields<T>, E> {
                Ok(Fields(T::default()))
            }
        }
        deserializer.deserialize_any(FieldsVisitor(std::marker::PhantomData))
    }
}

/// A text that may come as a number. Integers keep every digit: an id of 19 digits does not
/// survive a double. A whole number that is written with a fraction or an exponent (`17.0`) is the
/// same text as without. `null` and anything else are no text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) Option<String>);

impl Text {
    /// The text, unless it is missing or empty.
    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }

    /// The text, empty if there is none.
    pub(super) fn shared(&self) -> Arc<str> {
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

/// A field that is known and not wanted: people's texts, mostly. It is skipped, not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Skipped, D::Error> {
        <&serde_json::value::RawValue>::deserialize(deserializer).map(|_| Skipped)
    }
}

/// Counts on several levels, whatever their names: read once, with the names borrowed from the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Levels<'a> {
    /// A level, by names in order; of a name that comes twice, the last value.
    Level(Vec<(Cow<'a, str>, Levels<'a>)>),
    /// A count, or what stands in its place.
    Count(Count),
    /// A list.
    List,
}

impl<'de: 'a, 'a> Deserialize<'de> for Levels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Levels<'a>, D::Error> {
        struct LevelsVisitor;
        /// Hands a scalar on to what reads counts.
        fn count<'a, 'de, E: de::Error>(
            value: impl IntoDeserializer<'de, E>,
        ) -> Result<Levels<'a>, E> {
            Count::deserialize(value.into_deserializer()).map(Levels::Count)
        }
        impl<'de> Visitor<'de> for LevelsVisitor {
            type Value = Levels<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count, or an object with counts")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut level: Vec<(Cow<'de, str>, Levels<'de>)> = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    level.push((name, map.next_value()?));
                }
                sort_by_name(&mut level);
                Ok(Levels::Level(level))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Levels::List)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
                count(value)
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                count(value)
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
                count(value)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
                count(value)
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
                count(value)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                count(())
            }
        }
        deserializer.deserialize_any(LevelsVisitor)
    }
}

/// Sorts the fields of an object by name; of a name that occurs twice, the last value stays, as in
/// every other JSON reader. Sorted once: an insertion per field makes a large object quadratic.
pub(super) fn sort_by_name<T>(fields: &mut Vec<(Cow<'_, str>, T)>) {
    // Stable, so that equal names keep the order of the text.
    fields.sort_by(|(left, _), (right, _)| left.cmp(right));
    fields.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            std::mem::swap(later, earlier);
        }
        same
    });
}

/// A field's name, borrowed where nothing in it is escaped.
#[derive(Deserialize)]
pub(super) struct Name<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// An object whose values are looked at one by one.
pub(super) type Object<'a> = BTreeMap<String, &'a serde_json::value::RawValue>;

/// A value that is taken if it has the right shape, and else is as if it were not there.
pub(super) fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// The digits of a number that is whole and written with a fraction in a text (`"17.0"`); any other
/// text as it is. For ids and codes that are numbers: other texts may differ in just that.
pub(super) fn whole_digits(text: &str) -> &str {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, fraction)) if digits(whole) && fraction.bytes().all(|byte| byte == b'0') => {
            whole
        }
        _ => text,
    }
}

/// 2000-01-01 in Unix seconds: none of the vendors is that old.
const FIRST_SECOND: i64 = 946_684_800;

/// A time in any of the forms that the vendors use; what has no zone is UTC, and a bare number is
/// Unix seconds, with or without a fraction. A time before 2000 is none: a vendor's program writes
/// its language's zero (`0`, `1970-01-01`, `0001-01-01`) where it has no time.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    any_time(text).filter(is_time)
}

/// Whether a time is not just a program's zero.
pub(super) fn is_time(time: &Timestamp) -> bool {
    time.as_second() >= FIRST_SECOND
}

/// As [`time`], and zeros too: for what is compared, not reckoned with.
pub(super) fn any_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_second(seconds).ok();
    }
    if let Ok(seconds) = text.parse::<rust_decimal::Decimal>() {
        let milliseconds = seconds.checked_mul(1000.into())?.trunc();
        return Timestamp::from_millisecond(milliseconds.try_into().ok()?).ok();
    }
    // Java's form has a zone without a colon, and some have one after a blank.
    if let Ok(zoned) = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text)
        && let Ok(time) = zoned.to_timestamp()
    {
        return Some(time);
    }
    let civil: DateTime = text.parse().ok()?;
    TimeZone::UTC.to_timestamp(civil).ok()
}

/// A decode error of serde, without the content that it quotes.
pub(super) fn problem(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Io => "cannot be read",
        serde_json::error::Category::Syntax => "is no JSON",
        serde_json::error::Category::Data => "has an unexpected shape",
        serde_json::error::Category::Eof => "ends too early",
    };
    format!(
        "the answer {what} (line {}, column {})",
        error.line(),
        error.column()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(json: &str) -> Count {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn levels_are_read_once_with_the_last_of_what_comes_twice() {
        let json = r#"{"b": {"sent": "7", "x": [1, {"y": 2}]}, "a": 1, "a": null, "c\u0064": -1}"#;
        let levels: Levels<'_> = serde_json::from_str(json).unwrap();
        let Levels::Level(level) = levels else {
            panic!("an object");
        };
        let names: Vec<&str> = level.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["a", "b", "cd"]);
        assert_eq!(level[0].1, Levels::Count(Count::Absent));
        let inner = vec![
            (Cow::Borrowed("sent"), Levels::Count(Count::Value(7))),
            (Cow::Borrowed("x"), Levels::List),
        ];
        assert_eq!(level[1].1, Levels::Level(inner));
        assert!(matches!(level[2].1, Levels::Count(Count::Bad(_))));
        assert!(matches!(level[1].0, Cow::Borrowed(_)));
    }

    #[test]
    fn a_million_names_are_read_in_time_and_the_last_of_each_stays() {
        // Descending names: the worst order for an insertion per name.
        let names = (0..1_000_000_u32).rev();
        let fields: Vec<String> = names
            .map(|name| format!("\"{:07}\":{}", name / 2, name % 2))
            .collect();
        let json = format!("{{{}}}", fields.join(","));
        let start = std::time::Instant::now();
        let Levels::Level(level) = serde_json::from_str(&json).unwrap() else {
            panic!("an object");
        };
        let took = start.elapsed();
        assert_eq!(level.len(), 500_000);
        assert!(level.is_sorted_by(|left, right| left.0 < right.0));
        // Even numbers come last in this order.
        let zero = Levels::Count(Count::Value(0));
        assert!(level.iter().all(|(_, value)| *value == zero));
        // An insertion per name takes minutes.
        assert!(took.as_secs() < 20, "{took:?}");
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

    #[test]
    fn a_list_is_no_object() {
        #[derive(Debug, Default, PartialEq, Deserialize)]
        #[serde(default)]
        struct Inner {
            sent: Count,
        }
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Outer {
            inner: Fields<Inner>,
        }
        let read = |json| serde_json::from_str::<Fields<Outer>>(json).map(|own| own.0.inner.0.sent);
        assert_eq!(read(r#"{"inner": {"sent": 7}}"#).unwrap(), Count::Value(7));
        assert_eq!(read(r#"{"inner": null}"#).unwrap(), Count::Absent);
        for json in [r#"[{"sent": 7}]"#, r#"{"inner": [7]}"#, r#"{"inner": 7}"#] {
            assert!(read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn the_zero_of_a_program_is_no_time() {
        for zero in [
            "0",
            "0.0",
            "0001-01-01 00:00:00",
            "0001-01-01T00:00:00Z",
            "1970-01-01 00:00:00",
            "1970-01-01T00:00:00.000+0000",
            "-62135596800",
            "1999-12-31T23:59:59Z",
        ] {
            assert_eq!(time(zero), None, "{zero}");
        }
        assert!(time("2000-01-01 00:00:00").is_some());
    }

    #[test]
    fn times_are_read_in_every_form_of_the_vendors() {
        let milliseconds = |text| time(text).map(Timestamp::as_millisecond);
        assert_eq!(
            milliseconds("2016-08-31T13:25:18.477+0000"),
            Some(1_472_649_918_477)
        );
        assert_eq!(
            milliseconds("2024-07-16T17:26:54.966-0300"),
            Some(1_721_161_614_966)
        );
        assert_eq!(
            milliseconds("2022-05-05T17:32:28.777+01:00"),
            Some(1_651_768_348_777)
        );
        assert_eq!(
            milliseconds("2022-05-05T17:32:28.777Z"),
            Some(1_651_771_948_777)
        );
        assert_eq!(milliseconds("2016-09-14 17:19:42"), Some(1_473_873_582_000));
        assert_eq!(milliseconds("2000-01-25T11:18:47Z"), Some(948_799_127_000));
        assert_eq!(milliseconds("1750000000"), Some(1_750_000_000_000));
        assert_eq!(milliseconds("1750000000.0"), Some(1_750_000_000_000));
        assert_eq!(milliseconds("1750000000.25"), Some(1_750_000_000_250));
        assert_eq!(time("99999999999999999999999999.5"), None);
        assert_eq!(time("string"), None);
        assert_eq!(time(""), None);
    }
}
