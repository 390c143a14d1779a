//! Rows of numbers per platform, of a message or of an hour.

use std::{collections::BTreeMap, fmt, sync::Arc};

use delivery_clock::later;
use jiff::{SignedDuration, Timestamp};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::platform::{self, Kind};
use crate::{
    model::{BounceKind, Counts, ErrorReason, Measure, Row, Totals},
    providers::{
        HistoryIncrease,
        decode::decode,
        json::{Count, Fields, Object, Text, counts, time},
    },
};

/// Rows of a message's history are by the hour.
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// Rows of numbers: a list as documented, one row without a list around it, or rows by platform.
#[derive(Debug, Default)]
pub(in crate::providers::pushwoosh) struct Rows(pub(in crate::providers::pushwoosh) Vec<Metrics>);

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rows, D::Error> {
        struct RowsVisitor;
        impl<'de> Visitor<'de> for RowsVisitor {
            type Value = Rows;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of rows, or one row")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Rows, S::Error> {
                let mut rows = Vec::new();
                while let Some(Fields(row)) = seq.next_element()? {
                    rows.push(row);
                }
                Ok(Rows(rows))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Rows, M::Error> {
                let fields: Object<'de> =
                    Deserialize::deserialize(de::value::MapAccessDeserializer::new(map))?;
                rows_of_object(&fields).map(Rows).map_err(de::Error::custom)
            }

            fn visit_unit<E>(self) -> Result<Rows, E> {
                Ok(Rows::default())
            }
        }
        deserializer.deserialize_any(RowsVisitor)
    }
}

/// The rows of an object that stands where a list of rows is documented.
fn rows_of_object(fields: &Object<'_>) -> Result<Vec<Metrics>, String> {
    let read = |json: &str| decode::<Metrics>(json.as_bytes(), &mut |_| {});
    if fields.values().all(|raw| raw.get().starts_with('{')) {
        let by_platform = fields.iter().map(|(name, raw)| {
            let mut row = read(raw.get())?;
            if row.platform.get().is_none() {
                row.platform = Text(Some(name.clone()));
            }
            Ok(row)
        });
        return by_platform.collect();
    }
    let fields = fields.iter().map(|(name, raw)| {
        let name = serde_json::Value::from(name.as_str());
        format!("{name}:{raw}")
    });
    let fields: Vec<String> = fields.collect();
    let row = read(&format!("{{{}}}", fields.join(",")))?;
    if row.counts()?.is_empty() {
        return Err("metrics is no list of rows".to_owned());
    }
    Ok(vec![row])
}

/// A row of numbers: of a platform under `push_info`, of all under `email_info`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::providers::pushwoosh) struct Metrics {
    /// Only of rows of hours.
    timestamp: Text,
    platform: Text,
    sends: Count,
    opens: Count,
    deliveries: Count,
    inbox_opens: Count,
    unshowable_sends: Count,
    errors: Count,
    hard_bounces: Count,
    soft_bounces: Count,
    rejects: Count,
    confirmed_sends: Count,
    unsubs: Count,
    complaints: Count,
}

impl Metrics {
    fn plus(self, other: Metrics) -> Metrics {
        Metrics {
            timestamp: self.timestamp,
            platform: self.platform,
            sends: self.sends.plus(other.sends),
            opens: self.opens.plus(other.opens),
            deliveries: self.deliveries.plus(other.deliveries),
            inbox_opens: self.inbox_opens.plus(other.inbox_opens),
            unshowable_sends: self.unshowable_sends.plus(other.unshowable_sends),
            errors: self.errors.plus(other.errors),
            hard_bounces: self.hard_bounces.plus(other.hard_bounces),
            soft_bounces: self.soft_bounces.plus(other.soft_bounces),
            rejects: self.rejects.plus(other.rejects),
            confirmed_sends: self.confirmed_sends.plus(other.confirmed_sends),
            unsubs: self.unsubs.plus(other.unsubs),
            complaints: self.complaints.plus(other.complaints),
        }
    }

    fn counts(&self) -> Result<Counts, String> {
        counts(&[
            (Measure::Sent, "sends", &self.sends),
            (Measure::Delivered, "deliveries", &self.deliveries),
            (Measure::Opened, "opens", &self.opens),
            (Measure::InboxOpened, "inbox_opens", &self.inbox_opens),
            (
                Measure::Unshowable,
                "unshowable_sends",
                &self.unshowable_sends,
            ),
            (Measure::Confirmed, "confirmed_sends", &self.confirmed_sends),
            (Measure::Unsubscribed, "unsubs", &self.unsubs),
            (Measure::Complaints, "complaints", &self.complaints),
            (
                Measure::Errors(ErrorReason::Unspecified),
                "errors",
                &self.errors,
            ),
            (
                Measure::Errors(ErrorReason::Rejected),
                "rejects",
                &self.rejects,
            ),
            (
                Measure::Bounces(BounceKind::Hard),
                "hard_bounces",
                &self.hard_bounces,
            ),
            (
                Measure::Bounces(BounceKind::Soft),
                "soft_bounces",
                &self.soft_bounces,
            ),
        ])
    }
}

/// What came to a message's numbers, hour by hour. The hour is named by its beginning.
pub(in crate::providers::pushwoosh) fn hours(
    rows: &[&RawValue],
    unknown: &mut dyn FnMut(&str),
) -> Result<Vec<HistoryIncrease>, String> {
    let mut hours: BTreeMap<Timestamp, Vec<Metrics>> = BTreeMap::new();
    for raw in rows {
        let row: Metrics = decode(raw.get().as_bytes(), unknown)?;
        let from = row.timestamp.get().and_then(time);
        let from = from.ok_or("metrics.timestamp is no time")?;
        hours.entry(from).or_default().push(row);
    }
    let grown = |(from, rows): (Timestamp, Vec<Metrics>)| {
        let (totals, breakdown) = sums(rows.iter(), std::iter::empty())?;
        let to = later(from, HOUR);
        Ok(HistoryIncrease {
            from,
            to,
            totals,
            breakdown,
        })
    };
    hours.into_iter().map(grown).collect()
}

/// Rows of numbers by channel, and the rows of push by platform. Where there are rows of e-mail, they
/// alone are its numbers.
pub(in crate::providers::pushwoosh) fn sums<'m>(
    push: impl Iterator<Item = &'m Metrics>,
    email: impl Iterator<Item = &'m Metrics>,
) -> Result<(Vec<Totals>, Vec<Row>), String> {
    let mut channels: BTreeMap<&'static str, Metrics> = BTreeMap::new();
    let mut rows: BTreeMap<(Arc<str>, Arc<str>), Metrics> = BTreeMap::new();
    let add = |channels: &mut BTreeMap<_, Metrics>, channel, row: &Metrics| {
        let sum = channels
            .remove(channel)
            .map_or_else(|| row.clone(), |sum| sum.plus(row.clone()));
        channels.insert(channel, sum);
    };
    let email: Vec<_> = email.collect();
    for row in push {
        let code = row.platform.get().unwrap_or_default();
        let place = match platform::kind(code) {
            Some(Kind::Channel("email")) if !email.is_empty() => continue,
            Some(Kind::Channel(channel)) => {
                add(&mut channels, channel, row);
                continue;
            }
            Some(Kind::Push(platform, channel)) => (Arc::from(platform), Arc::from(channel)),
            None => (Arc::from("other"), Arc::from(platform::canonical(code))),
        };
        add(&mut channels, "push", row);
        let sum = rows
            .remove(&place)
            .map_or_else(|| row.clone(), |sum| sum.plus(row.clone()));
        rows.insert(place, sum);
    }
    for row in email {
        add(&mut channels, "email", row);
    }
    let mut totals = Vec::new();
    for (channel, sum) in channels {
        let counts = sum.counts()?;
        if !counts.is_empty() {
            totals.push(Totals {
                channel,
                counts,
                reported_ratio: None,
            });
        }
    }
    let message_type: Arc<str> = Arc::from("notification");
    let mut breakdown = Vec::new();
    for ((platform, vendor_channel), sum) in rows {
        let message_type = message_type.clone();
        breakdown.push(Row {
            message_type,
            platform,
            vendor_channel,
            counts: sum.counts()?,
        });
    }
    breakdown.retain(|row| !row.counts.is_empty());
    Ok((totals, breakdown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declared_field_is_read_as_its_measure() {
        let channels = crate::providers::pushwoosh::vendor::VENDOR.channels.iter();
        for field in channels.flat_map(|channel| channel.fields) {
            let json = format!(r#"{{"{}": "7"}}"#, field.name);
            let row: Metrics = serde_json::from_str(&json).unwrap();
            assert_eq!(row.counts().unwrap(), [(field.measure, 7)], "{json}");
        }
    }

    #[test]
    fn rows_of_one_hour_are_put_together() {
        let read = |json: &str| {
            let rows: Vec<&RawValue> = serde_json::from_str(json).unwrap();
            hours(&rows, &mut |field| panic!("{field} is unknown"))
        };
        let hours = read(
            r#"[{"timestamp": "2024-08-03 15:00:00", "platform": 3, "sends": "55902", "opens": "382", "deliveries": "22931",
             "inbox_opens": "0", "unshowable_sends": "2", "errors": "0"},
            {"timestamp": "2024-08-03 14:00:00", "platform": 3, "sends": "1"},
            {"timestamp": "2024-08-03 15:00:00", "platform": 1, "sends": "98"}]"#,
        )
        .unwrap();
        let sent: Vec<_> = hours
            .iter()
            .map(|hour| {
                (
                    hour.to.to_string(),
                    hour.totals[0].counts[0].1,
                    hour.breakdown.len(),
                )
            })
            .collect();
        assert_eq!(
            sent,
            [
                ("2024-08-03T15:00:00Z".to_owned(), 1, 1),
                ("2024-08-03T16:00:00Z".to_owned(), 56_000, 2)
            ]
        );
        for bad in [
            r#"[{"sends": 1}]"#,
            r#"[{"timestamp": "2024-08-03 15:00:00", "sends": -1}]"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
