//! What the vendor sends: a message with numbers on up to three levels, and spellings that differ
//! from place to place.

use std::{borrow::Cow, fmt, sync::Arc};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    model::{Counts, Measure, Row, Snapshot, Totals, TypeTotals},
    providers::json::{Count, Levels, Name, Object, Text, problem, put},
};

/// The five numbers in both spellings: `target` and `click` stand in some places where `targets`
/// and `clicks` stand in others.
const FIELDS: [(&str, &str, Measure); 5] = [
    ("targets", "target", Measure::Targeted),
    ("sent", "sent", Measure::Sent),
    ("delivered", "delivered", Measure::Delivered),
    ("impressions", "impressions", Measure::Displayed),
    ("clicks", "click", Measure::Opened),
];

fn is_number(name: &str) -> bool {
    FIELDS
        .iter()
        .any(|(plural, singular, _)| name == *plural || name == *singular)
}

/// Where something stands, for whoever reads that it is wrong.
#[derive(Clone, Copy)]
struct Place<'p>(Option<&'p Place<'p>>, &'p str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(outer) = self.0 {
            write!(f, "{outer}.")?;
        }
        f.write_str(self.1)
    }
}

type Level<'a> = [(Cow<'a, str>, Levels<'a>)];

/// The fields of a level; `null` has none.
fn level<'n, 'a>(levels: &'n Levels<'a>, place: Place<'_>) -> Result<&'n Level<'a>, String> {
    match levels {
        Levels::Level(level) => Ok(level),
        Levels::Count(Count::Absent) => Ok(&[]),
        _ => Err(format!("{place} is no object")),
    }
}

/// The numbers of one level. What is not there is not in the result; an empty object has none.
fn counts(level: &Level<'_>, place: Option<&Place<'_>>) -> Result<Counts, String> {
    let find = |name: &str| {
        let found = level.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value)
    };
    let mut counts = Counts::new();
    for (plural, singular, measure) in FIELDS {
        let Some(value) = find(plural).or_else(|| find(singular)) else {
            continue;
        };
        let name = Place(place, plural);
        let Levels::Count(count) = value else {
            return Err(format!("{name} is no count"));
        };
        if let Some(count) = count.get(name)? {
            counts.push((measure, count));
        }
    }
    Ok(counts)
}

/// A message with everything that is counted of it.
#[derive(Default)]
struct WholeMessage<'a> {
    plan_id: Text,
    levels: Vec<(Cow<'a, str>, Levels<'a>)>,
}

impl<'de: 'a, 'a> Deserialize<'de> for WholeMessage<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WholeMessage<'a>, D::Error> {
        struct MessageVisitor;
        impl<'de> Visitor<'de> for MessageVisitor {
            type Value = WholeMessage<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut message = WholeMessage::default();
                while let Some(Name(name)) = map.next_key()? {
                    match name.as_ref() {
                        "plan_id" => message.plan_id = map.next_value()?,
                        // The customer's text: skipped.
                        "pushContent" => {
                            map.next_value::<IgnoredAny>()?;
                        }
                        _ => {
                            let value = map.next_value()?;
                            put(&mut message.levels, name, value);
                        }
                    }
                }
                Ok(message)
            }
        }
        deserializer.deserialize_map(MessageVisitor)
    }
}

pub(super) fn parse<'a, T: serde::Deserialize<'a>>(
    raw: &'a RawValue,
    place: &str,
) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|error| format!("{place}: {}", problem(&error)))
}

/// An object, or nothing for `null`.
pub(super) fn object<'a>(raw: &'a RawValue, place: &str) -> Result<Object<'a>, String> {
    Ok(parse::<Option<Object<'a>>>(raw, place)?.unwrap_or_default())
}

/// A platform in the vocabulary of all vendors: the key without `sub_`.
fn platform(key: &str) -> Option<Arc<str>> {
    key.strip_prefix("sub_").map(platform_name)
}

/// A platform in the vocabulary of all vendors.
pub(super) fn platform_name(name: &str) -> Arc<str> {
    match name {
        "hmos" => Arc::from("harmonyos"),
        other => Arc::from(other.to_lowercase()),
    }
}

/// The state of a message; `None`: it has no number yet.
pub(super) fn snapshot(
    json: &str,
    id: Arc<str>,
    asked_at: Timestamp,
    unknown: &mut dyn FnMut(&str),
) -> Result<Option<Snapshot>, String> {
    let message: Option<WholeMessage<'_>> =
        serde_json::from_str(json).map_err(|error| problem(&error))?;
    let message = message.unwrap_or_default();
    let total = counts(&message.levels, None)?;
    let campaign = message.plan_id.get().map(Arc::from);
    let mut types = Vec::new();
    let mut breakdown = Vec::new();
    for (key, value) in &message.levels {
        match key.as_ref() {
            "sub" => {
                let sub = Place(None, "sub");
                for (message_type, value) in level(value, sub)? {
                    let place = Place(Some(&sub), message_type);
                    read_type(value, place, &mut types, &mut breakdown, unknown)?;
                }
            }
            key if is_number(key) => {}
            key => unknown(key),
        }
    }
    if total.is_empty() && types.is_empty() && breakdown.is_empty() {
        return Ok(None);
    }
    let totals = match total.is_empty() {
        true => Vec::new(),
        false => vec![Totals {
            channel: "push",
            counts: total,
            reported_ratio: None,
        }],
    };
    Ok(Some(Snapshot {
        asked: id.clone(),
        id,
        campaign,
        sent_at: None,
        asked_at,
        totals,
        breakdown,
        types,
    }))
}

/// One message type under `sub`: its own numbers, and vendor channels under each platform.
fn read_type(
    value: &Levels<'_>,
    place: Place<'_>,
    types: &mut Vec<TypeTotals>,
    breakdown: &mut Vec<Row>,
    unknown: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let value = level(value, place)?;
    let message_type: Arc<str> = Arc::from(place.1);
    let own = counts(value, Some(&place))?;
    if !own.is_empty() {
        types.push(TypeTotals {
            message_type: message_type.clone(),
            counts: own,
        });
    }
    for (key, value) in value {
        let here = Place(Some(&place), key);
        let Some(platform) = platform(key) else {
            if !is_number(key) {
                unknown(&here.to_string());
            }
            continue;
        };
        for (channel, value) in level(value, here)? {
            let here = Place(Some(&here), channel);
            let leaf = level(value, here)?;
            for (name, _) in leaf.iter().filter(|(name, _)| !is_number(name)) {
                unknown(&Place(Some(&here), name).to_string());
            }
            let counts = counts(leaf, Some(&here))?;
            if !counts.is_empty() {
                let row = Row {
                    message_type: message_type.clone(),
                    platform: platform.clone(),
                    vendor_channel: Arc::from(channel.to_lowercase()),
                    counts,
                };
                add(breakdown, row);
            }
        }
    }
    Ok(())
}

/// Adds a row; one with the same labels (keys that differ in case only) is added up.
fn add(breakdown: &mut Vec<Row>, row: Row) {
    let same = breakdown.iter_mut().find(|other| {
        (&other.message_type, &other.platform, &other.vendor_channel)
            == (&row.message_type, &row.platform, &row.vendor_channel)
    });
    match same {
        None => breakdown.push(row),
        Some(other) => {
            for (measure, count) in row.counts {
                match other.counts.iter_mut().find(|(own, _)| *own == measure) {
                    Some((_, sum)) => *sum += count,
                    None => other.counts.push((measure, count)),
                }
            }
        }
    }
}

/// The code and text of an error: nested under `error`, or flat.
pub(super) fn error(body: &[u8]) -> (Option<u32>, String) {
    let Ok(outer) = serde_json::from_slice::<Object<'_>>(body) else {
        return (None, String::new());
    };
    let nested = outer
        .get("error")
        .and_then(|raw| serde_json::from_str(raw.get()).ok());
    let fields: Object<'_> = nested.unwrap_or(outer);
    let text = |name: &str| {
        let text: Option<Text> = fields
            .get(name)
            .and_then(|raw| serde_json::from_str(raw.get()).ok());
        text.and_then(|text| text.0)
    };
    (
        text("code").and_then(|code| code.parse().ok()),
        text("message").unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> (Result<Option<Snapshot>, String>, Vec<String>) {
        let mut fields = Vec::new();
        let mut note = |field: &str| fields.push(field.to_owned());
        let snapshot = snapshot(json, Arc::from("1"), Timestamp::UNIX_EPOCH, &mut note);
        (snapshot, fields)
    }

    #[test]
    fn every_level_is_read_in_both_spellings_and_never_added_up() {
        let json = r#"{"plan_id": "spring-sale", "pushContent": {"secret": "text"},
            "targets": 11, "sent": 11, "delivered": 10, "impressions": 8, "clicks": 2,
            "sub": {"notification": {"target": 1600, "sent": 1440, "delivered": 1280, "impressions": 1120, "click": 0,
                "sub_android": {"engageLab_android": {"targets": 100, "sent": 90, "delivered": 80, "impressions": 70, "clicks": 0}},
                "sub_hmos": {"engageLab_hmos": {"targets": 20, "sent": 20}},
                "sub_fuchsia": {"New": {"sent": "7", "delivered": null}}},
              "message": {}, "voip": {"targets": 41, "target_converted": 3}}}"#;
        let (snapshot, fields) = read(json);
        let snapshot = snapshot.unwrap().unwrap();
        assert_eq!(snapshot.campaign.as_deref(), Some("spring-sale"));
        assert_eq!(
            snapshot.totals[0].counts,
            [
                (Measure::Targeted, 11),
                (Measure::Sent, 11),
                (Measure::Delivered, 10),
                (Measure::Displayed, 8),
                (Measure::Opened, 2)
            ]
        );
        let types: Vec<_> = snapshot
            .types
            .iter()
            .map(|own| (&*own.message_type, own.counts[0]))
            .collect();
        assert_eq!(
            types,
            [
                ("notification", (Measure::Targeted, 1600)),
                ("voip", (Measure::Targeted, 41))
            ]
        );
        let rows: Vec<_> = snapshot
            .breakdown
            .iter()
            .map(|row| (&*row.platform, &*row.vendor_channel, row.counts.len()))
            .collect();
        assert_eq!(
            rows,
            [
                ("android", "engagelab_android", 5),
                ("fuchsia", "new", 1),
                ("harmonyos", "engagelab_hmos", 2)
            ]
        );
        assert_eq!(fields, ["sub.voip.target_converted"]);
    }

    #[test]
    fn nothing_yet_is_neither_zeros_nor_a_failure() {
        for json in [
            "{}",
            "null",
            r#"{"sub": {"notification": {}, "message": {}}}"#,
        ] {
            assert_eq!(read(json).0, Ok(None), "{json}");
        }
    }

    #[test]
    fn a_bad_count_or_shape_says_where() {
        assert!(read(r#"{"sent": -1}"#).0.unwrap_err().contains("sent"));
        let deep = r#"{"sub": {"notification": {"sub_ios": {"apns": {"sent": 1.5}}}}}"#;
        assert!(
            read(deep)
                .0
                .unwrap_err()
                .contains("sub.notification.sub_ios.apns.sent")
        );
        assert!(read(r#"{"sub": 7}"#).0.is_err());
        assert!(read("[]").0.is_err());
    }

    #[test]
    fn errors_are_read_nested_and_flat() {
        let text = |text: &str| text.to_owned();
        assert_eq!(
            error(br#"{"error":{"code":21003,"message":"m"}}"#),
            (Some(21003), text("m"))
        );
        assert_eq!(
            error(br#"{"code":"23001","message":"m"}"#),
            (Some(23001), text("m"))
        );
        assert_eq!(error(b"<html>"), (None, String::new()));
    }
}
