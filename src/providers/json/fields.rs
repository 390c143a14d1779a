//! Objects: what is read from one alone, and fields that are looked at one by one.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};

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
        <&serde_json::value::RawValue>::deserialize(deserializer).map(|_| Skipped)
    }
}

/// A field's name, borrowed where nothing in it is escaped.
#[derive(Deserialize)]
pub(in crate::providers) struct Name<'a>(#[serde(borrow)] pub(in crate::providers) Cow<'a, str>);

/// An object whose values are looked at one by one.
pub(in crate::providers) type Object<'a> = BTreeMap<String, &'a serde_json::value::RawValue>;

/// A value that is taken if it has the right shape, and else is as if it were not there.
pub(in crate::providers) fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?;
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
}
