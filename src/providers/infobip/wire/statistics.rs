//! The numbers of one push bulk: the answer of `GET /push/1/statistics`.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    model::{ErrorReason, Measure, Totals},
    providers::{
        decode::{decode, without_places},
        json::{Count, RawFields, Text, counts, problem},
    },
};

/// The documented fields: an answer without any of them is no answer.
const FIELDS: [&str; 5] = ["totalSent", "delivered", "seen", "errors", "delivery"];

/// The numbers of an answer.
#[derive(Debug, Default)]
pub(in crate::providers::infobip) struct Statistics {
    total_sent: Count,
    delivered: Count,
    seen: Count,
    errors: Errors,
    delivery: Delivery,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Errors {
    registration: Count,
    expired: Count,
    cloud: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delivery {
    /// Delivered / sent in percent, 0 to 100.
    rate: Rate,
}

/// A number that may come as text; anything else (`null`, `"NaN"`) is none.
#[derive(Debug, Default)]
struct Rate(Option<f64>);

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Rate, D::Error> {
        let text = Text::deserialize(deserializer)?;
        let number = text.get().and_then(|text| text.trim().parse::<f64>().ok());
        Ok(Rate(number.filter(|rate| rate.is_finite() && *rate >= 0.0)))
    }
}

/// A part of the answer that is an object. One of another shape says nothing that could be
/// understood, and the others' numbers are taken all the same.
fn part<'a, T: Deserialize<'a> + Default>(
    raw: Option<&'a RawValue>,
    name: &str,
    unknown: &mut dyn FnMut(&str),
) -> T {
    let Some(text) = raw.map(RawValue::get).filter(|text| *text != "null") else {
        return T::default();
    };
    let mut inside = Vec::new();
    let read = decode(text.as_bytes(), &mut |field| {
        inside.push(format!("{name}.{field}"))
    });
    match read {
        Ok(value) => {
            inside.iter().for_each(|field| unknown(field));
            value
        }
        Err(_) => {
            unknown(name);
            T::default()
        }
    }
}

impl Statistics {
    /// The numbers of an answer with these fields; `None`: it has none of the documented ones.
    pub(in crate::providers::infobip) fn read(
        fields: &RawFields<'_>,
        unknown: &mut dyn FnMut(&str),
    ) -> Result<Option<Statistics>, String> {
        if fields.is_ambiguous(&FIELDS) {
            return Err("the answer has a field twice".to_owned());
        }
        let count = |raw: &RawValue| {
            serde_json::from_str::<Count>(raw.get()).map_err(|error| problem(&error))
        };
        let mut statistics = Statistics::default();
        let (mut errors, mut delivery, mut any) = (None, None, false);
        for (name, raw) in fields.iter() {
            match name {
                "totalSent" => statistics.total_sent = count(raw)?,
                "delivered" => statistics.delivered = count(raw)?,
                "seen" => statistics.seen = count(raw)?,
                "errors" => errors = Some(raw),
                "delivery" => delivery = Some(raw),
                _ => unknown(&without_places(name)),
            }
            any |= FIELDS.contains(&name);
        }
        if !any {
            return Ok(None);
        }
        statistics.errors = part(errors, "errors", unknown);
        statistics.delivery = part(delivery, "delivery", unknown);
        Ok(Some(statistics))
    }

    /// Whether no documented number is there: then it is no answer. A number that cannot be counted
    /// is one.
    pub(in crate::providers::infobip) fn says_nothing(&self) -> bool {
        let totals = self.totals();
        totals.is_ok_and(|own| own.counts.is_empty() && own.reported_ratio.is_none())
    }

    pub(in crate::providers::infobip) fn totals(&self) -> Result<Totals, String> {
        let errors = &self.errors;
        let counts = counts(&[
            (Measure::Sent, "totalSent", &self.total_sent),
            (Measure::Delivered, "delivered", &self.delivered),
            (Measure::Displayed, "seen", &self.seen),
            (
                Measure::Errors(ErrorReason::Registration),
                "errors.registration",
                &errors.registration,
            ),
            (
                Measure::Errors(ErrorReason::Expired),
                "errors.expired",
                &errors.expired,
            ),
            (
                Measure::Errors(ErrorReason::Cloud),
                "errors.cloud",
                &errors.cloud,
            ),
        ])?;
        let reported_ratio = self.delivery.rate.0.map(|percent| percent / 100.0);
        Ok(Totals {
            channel: "push",
            counts,
            reported_ratio,
        })
    }
}

#[cfg(test)]
mod tests;
