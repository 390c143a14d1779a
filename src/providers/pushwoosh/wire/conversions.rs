//! Conversions of a message: `conversion` of `totalsByIntervals`.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::labels::words_label;
use crate::{
    model::{AppMetric, AppMetricKind, Message},
    providers::json::{Count, Text, problem},
};

/// A number, in whatever form; a percent sign divides by a hundred.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match text.trim().strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
            None => text.trim().parse().ok()?,
        },
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// A kind of conversion: its name, which is the customer's choice, and its fields.
type Event = (String, Map<String, Value>);

/// The kinds of conversions in a `conversion` or its `events`, as a list as documented, as one
/// object, or as an object by their names. What is none of that is unknown.
fn events(value: &Value, unknown: &mut dyn FnMut(&str)) -> Vec<Event> {
    let mut found = Vec::new();
    match value {
        Value::Null => {}
        Value::Array(items) => {
            found.extend(items.iter().flat_map(|item| match item {
                Value::Object(_) => events(item, unknown),
                _ => {
                    unknown("conversion.events");
                    Vec::new()
                }
            }));
        }
        Value::Object(fields) if fields.contains_key("events") => {
            found = events(&fields["events"], unknown);
        }
        Value::Object(fields) if fields.contains_key("name") || fields.contains_key("hits") => {
            let name = fields.get("name").map(Value::to_string).unwrap_or_default();
            let name: Text = serde_json::from_str(&name).unwrap_or_default();
            match name.get() {
                Some(name) => found.push((name.to_owned(), fields.clone())),
                None => unknown("conversion.events"),
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Object(event) => found.push((name.clone(), event.clone())),
                    _ if name == "sends" || name == "opens" => {}
                    _ => unknown(&format!("conversion.{}", words_label(name))),
                }
            }
        }
        _ => unknown("conversion"),
    }
    found
}

/// The figures of one message's conversions.
pub(in crate::providers::pushwoosh) fn conversions(
    json: &str,
    message: &Message,
    unknown: &mut dyn FnMut(&str),
) -> Result<Vec<AppMetric>, String> {
    let conversion: Value = serde_json::from_str(json).map_err(|error| problem(&error))?;
    let campaign = message.campaign.clone().unwrap_or_default();
    let mut figures: Vec<AppMetric> = Vec::new();
    let mut shared: HashMap<AppMetricKind, usize> = HashMap::new();
    for (name, fields) in events(&conversion, unknown) {
        for field in fields.keys() {
            if !["name", "hits", "conversion", "revenue"].contains(&&**field) {
                unknown(&format!("conversion.events.{field}"));
            }
        }
        let (event, message_id): (Arc<str>, _) =
            (Arc::from(words_label(&name)), message.id.clone());
        // Names that differ in an address alone are one name: their numbers are added up, except
        // for ratios, of which there is no sum.
        let is_shared = *event != *name;
        let mut add = |kind: AppMetricKind, value: f64| {
            if is_shared {
                match shared.entry(kind.clone()) {
                    Entry::Occupied(place) => {
                        figures[*place.get()].value += value;
                        return;
                    }
                    Entry::Vacant(place) => {
                        place.insert(figures.len());
                    }
                }
            }
            figures.push(AppMetric { kind, value });
        };
        let hits = fields.get("hits").map(Value::to_string);
        let hits: Count = hits
            .map_or(Ok(Count::Absent), |hits| serde_json::from_str(&hits))
            .map_err(|error| problem(&error))?;
        if let Some(hits) = hits.get("conversion.events.hits")? {
            #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
            let value = hits as f64;
            let kind = AppMetricKind::ConversionHits {
                campaign: campaign.clone(),
                message_id: message_id.clone(),
                event: event.clone(),
            };
            add(kind, value);
        }
        // A ratio relative to opens, or an older API's `"100%"`.
        let ratio = fields.get("conversion").and_then(number);
        if let Some(value) = ratio.filter(|_| !is_shared) {
            let kind = AppMetricKind::ConversionRatio {
                campaign: campaign.clone(),
                message_id: message_id.clone(),
                event: event.clone(),
            };
            add(kind, value);
        }
        // Without a currency.
        if let Some(value) = fields.get("revenue").and_then(number) {
            let kind = AppMetricKind::ConversionRevenue {
                campaign: campaign.clone(),
                message_id,
                event,
            };
            add(kind, value);
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_read_in_every_form() {
        let message = Message {
            application: Arc::from("app"),
            id: Arc::from("A444"),
            campaign: Some(Arc::from("spring")),
            sent_at: None,
        };
        let json = r#"{"sends":"55902","opens":"772","events":[
            {"name":"cart_add","hits":"96","conversion":0.12,"revenue":0},
            {"name":"buy","hits":3,"conversion":"100%","revenue":"12.5"}, {"hits":1}]}"#;
        let found: Vec<f64> = conversions(json, &message, &mut |_| {})
            .unwrap()
            .iter()
            .map(|own| own.value)
            .collect();
        assert_eq!(found, [96.0, 0.12, 0.0, 3.0, 1.0, 12.5]);
        assert!(
            conversions("null", &message, &mut |_| {})
                .unwrap()
                .is_empty()
        );
        assert!(
            conversions(
                r#"{"events":[{"name":"x","hits":-1}]}"#,
                &message,
                &mut |_| {}
            )
            .is_err()
        );
    }

    #[test]
    fn names_that_hold_addresses_share_one_name_without() {
        let message = Message {
            application: Arc::from("app"),
            id: Arc::from("A444"),
            campaign: None,
            sent_at: None,
        };
        let json = r#"{"goals for joe@x.org": 5, "buy joe@x.org": {"hits": 3, "conversion": 0.5, "revenue": 2},
            "buy ann%40x.org": {"hits": "4", "conversion": 0.25}}"#;
        let mut fields = Vec::new();
        let mut note = |field: &str| fields.push(field.to_owned());
        let figures = conversions(json, &message, &mut note).unwrap();
        let values: Vec<f64> = figures.iter().map(|figure| figure.value).collect();
        // In the order of the names: Ann's come first.
        assert_eq!(values, [7.0, 2.0]);
        assert!(!format!("{figures:?} {fields:?}").contains("x.org"));
        assert_eq!(fields, ["conversion.goals for *"]);
    }

    #[test]
    fn conversions_are_understood_as_lists_and_objects() {
        let message = Message {
            application: Arc::from("app"),
            id: Arc::from("A444"),
            campaign: None,
            sent_at: None,
        };
        let mut unknown = Vec::new();
        let mut hits = |json: &str| -> Vec<f64> {
            let note = &mut |field: &str| unknown.push(field.to_owned());
            let figures = conversions(json, &message, note).unwrap();
            figures.iter().map(|figure| figure.value).collect()
        };
        for json in [
            r#"{"events": [{"name": "x", "hits": "7"}]}"#,
            r#"{"sends": "9", "events": {"name": "x", "hits": 7.0}}"#,
            r#"{"events": {"x": {"hits": 7}}}"#,
            r#"[{"sends": 1, "events": [{"name": "x", "hits": 7}]}]"#,
            r#"[{"name": "x", "hits": 7}]"#,
        ] {
            assert_eq!(hits(json), [7.0], "{json}");
        }
        for json in [
            "[]",
            "{}",
            r#"{"sends": 1, "opens": 2}"#,
            r#"{"events": null}"#,
        ] {
            assert!(hits(json).is_empty(), "{json}");
        }
        for json in [
            "5",
            r#"{"events": [5]}"#,
            r#"{"goals": 5}"#,
            r#"[{"hits": 3}]"#,
        ] {
            assert!(hits(json).is_empty(), "{json}");
        }
        let expected = [
            "conversion",
            "conversion.events",
            "conversion.goals",
            "conversion.events",
        ];
        assert_eq!(unknown, expected);
    }
}
