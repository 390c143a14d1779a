//! Objects: what is read from one alone, and fields that are looked at one by one.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::problem;

/// A struct that is read from a JSON object alone, at any depth of an answer. serde would take a
/// list for the struct's fields in their order, and so read `[7]` as if the vendor had sent a count
/// of 7. `null` is an object without fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::providers) struct Fields<T>(pub(in crate::providers) T);

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

/// A field that is known and not wanted: people's texts, mostly. It is skipped, not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::providers) struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Skipped, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|_| Skipped)
    }
}

/// A field's name, borrowed where nothing in it is escaped.
#[derive(Deserialize)]
pub(in crate::providers) struct Name<'a>(#[serde(borrow)] pub(in crate::providers) Cow<'a, str>);

/// An object whose values are looked at one by one.
pub(in crate::providers) type Object<'a> = BTreeMap<String, &'a RawValue>;

/// The fields of an object in the order of the text, with what comes twice: an answer is looked at
/// once, and then each of its fields by whatever asks for it. `null` is an object without fields.
#[derive(Debug, Default)]
pub(in crate::providers) struct RawFields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> RawFields<'a> {
    /// The fields of a body.
    ///
    /// # Errors
    ///
    /// It is no object, or no JSON: what is wrong, without any of the content.
    pub(in crate::providers) fn parse(body: &'a [u8]) -> Result<RawFields<'a>, String> {
        serde_json::from_slice(body).map_err(|error| problem(&error))
    }

    /// All fields.
    pub(in crate::providers) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, raw)| (name.as_ref(), *raw))
    }

    /// The last field of that name.
    pub(in crate::providers) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let mut fields = self.0.iter().rev();
        fields.find(|(own, _)| own == name).map(|(_, raw)| *raw)
    }

    /// Whether one of these names comes twice: then it is not known which of the values holds.
    pub(in crate::providers) fn is_ambiguous(&self, names: &[&str]) -> bool {
        let is_twice = |name: &&str| {
            self.0
                .iter()
                .filter(|(own, _)| own == name)
                .nth(1)
                .is_some()
        };
        names.iter().any(is_twice)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawFields<'a>, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = RawFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    fields.push((name, map.next_value()?));
                }
                Ok(RawFields(fields))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(RawFields::default())
            }
        }
        deserializer.deserialize_any(FieldsVisitor)
    }
}

/// A value that is taken if it has the right shape, and else is as if it were not there.
pub(in crate::providers) fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::json::Count;

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
    fn fields_are_looked_at_one_by_one_and_what_comes_twice_shows() {
        let fields = RawFields::parse(br#"{"b": [1, {"a": 2}], "a": 1, "c\u0064": "x", "a": 3}"#);
        let fields = fields.unwrap();
        let names: Vec<&str> = fields.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["b", "a", "cd", "a"]);
        let get = |name: &str| fields.get(name).map(RawValue::get);
        assert_eq!((get("a"), get("cd")), (Some("3"), Some("\"x\"")));
        assert_eq!(get("d"), None);
        assert!(fields.is_ambiguous(&["b", "a"]) && !fields.is_ambiguous(&["b", "d"]));
        assert_eq!(RawFields::parse(b"null").unwrap().iter().count(), 0);
        for none in ["", "[]", "7", "{} x", "<html>", r#"{"a": }"#] {
            assert!(RawFields::parse(none.as_bytes()).is_err(), "{none}");
        }
    }
}
