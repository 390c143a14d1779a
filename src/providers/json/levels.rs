//! Counts on several levels of objects.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor},
};

use super::{count::Count, fields::Name};

/// Counts on several levels, whatever their names: read once, with the names borrowed from the text.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::providers) enum Levels<'a> {
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
pub(in crate::providers) fn sort_by_name<T>(fields: &mut Vec<(Cow<'_, str>, T)>) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
