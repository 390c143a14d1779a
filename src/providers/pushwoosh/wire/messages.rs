//! Messages with their rows of numbers: the items of `messages:list`.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::metrics::{Metrics, Rows, sums};
use crate::{
    model::Snapshot,
    providers::{
        Failure, Observation,
        decode::decode,
        json::{Fields, Skipped, Text, lenient, time, whole_digits},
    },
};

/// A name without what differs between spellings.
pub(in crate::providers::pushwoosh) fn fold(name: &str) -> String {
    name.trim().to_ascii_uppercase()
}

/// What the vendor calls messages that are not sent: their zeros are no numbers.
const UNSENT: [&str; 5] = ["CREATING", "PENDING", "CANCELED", "CANCELLED", "DRAFT"];

/// The items of a page one by one, so that a broken one costs no other its numbers.
pub(in crate::providers::pushwoosh) fn items(
    rows: &[&RawValue],
    unknown: &mut dyn FnMut(&str),
) -> Vec<Item> {
    let item = |raw: &&RawValue| {
        let json = raw.get().as_bytes();
        let names: Names = decode(json, &mut |_| {}).unwrap_or_default();
        let wire = decode::<Wire>(json, unknown).map(Box::new);
        Item { names, wire }
    };
    rows.iter().map(item).collect()
}

/// A message's two names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names {
    id: Text,
    code: Text,
    created_date: Text,
    send_date: Text,
}

/// One message of a page.
#[derive(Debug)]
pub(in crate::providers::pushwoosh) struct Item {
    names: Names,
    wire: Result<Box<Wire>, String>,
}

/// A message, as the vendor documents it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wire {
    id: Skipped,
    code: Skipped,
    created_date: Skipped,
    send_date: Skipped,
    #[serde(deserialize_with = "lenient")]
    status: Option<String>,
    platforms: Skipped,
    source: Skipped,
    push_info: OneOrMany<Info>,
    email_info: OneOrMany<Info>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    details: Skipped,
    metrics: Rows,
}

/// Objects in a list, or one object without a list around it; nothing, if it is `null` or an empty
/// list.
#[derive(Debug)]
struct OneOrMany<T>(Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> OneOrMany<T> {
        OneOrMany(Vec::new())
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany<T>, D::Error> {
        struct OneOrManyVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for OneOrManyVisitor<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object, or a list of objects")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
                let one = T::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(OneOrMany(vec![one]))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
                let mut many = Vec::new();
                while let Some(Fields(one)) = seq.next_element()? {
                    many.push(one);
                }
                Ok(OneOrMany(many))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(OneOrMany::default())
            }
        }
        deserializer.deserialize_any(OneOrManyVisitor(std::marker::PhantomData))
    }
}

impl Item {
    /// The name that the message is known by: its folded code; where there is none, its id.
    pub(in crate::providers::pushwoosh) fn name(&self) -> Option<Arc<str>> {
        let name = self.code().or_else(|| self.id())?;
        Some(Arc::from(fold(name)))
    }

    /// The vendor's code of the message, as it is spelled.
    pub(in crate::providers::pushwoosh) fn code(&self) -> Option<&str> {
        let code = self.names.code.get().map(str::trim);
        code.filter(|code| !code.is_empty())
    }

    /// The vendor's number of the message; 0 is none.
    pub(in crate::providers::pushwoosh) fn id(&self) -> Option<&str> {
        let id = self.names.id.get().map(|id| whole_digits(id.trim()));
        id.filter(|id| !matches!(*id, "" | "0"))
    }

    /// Whether it is an e-mail.
    pub(in crate::providers::pushwoosh) fn is_email(&self) -> bool {
        self.wire
            .as_ref()
            .is_ok_and(|wire| !wire.email_info.0.is_empty())
    }

    /// When it was sent, or will be; where the vendor does not say, when it was created.
    pub(in crate::providers::pushwoosh) fn sent_at(&self) -> Option<Timestamp> {
        let sent = self.names.send_date.get().and_then(time);
        sent.or_else(|| self.names.created_date.get().and_then(time))
    }

    /// What the item says about the message that was asked for as `asked`.
    pub(in crate::providers::pushwoosh) fn observation(
        &self,
        asked: Arc<str>,
        asked_at: Timestamp,
    ) -> Observation {
        match self.snapshot(&asked, asked_at) {
            Ok(Some(snapshot)) => Observation::MessageSnapshot(Box::new(snapshot)),
            Ok(None) => Observation::NotYetAvailable { asked, asked_at },
            Err(problem) => Observation::MessageFailed {
                asked,
                failure: Failure::bad_count(&problem),
            },
        }
    }

    fn snapshot(&self, asked: &Arc<str>, asked_at: Timestamp) -> Result<Option<Snapshot>, String> {
        let wire = self.wire.as_ref().map_err(Clone::clone)?;
        let status = wire
            .status
            .as_deref()
            .unwrap_or_default()
            .to_ascii_uppercase();
        if UNSENT.contains(&status.trim()) {
            return Ok(None);
        }
        let rows = |infos: &'_ OneOrMany<Info>| -> Vec<Metrics> {
            let rows = infos.0.iter().flat_map(|info| &info.metrics.0);
            rows.cloned().collect()
        };
        let (push, email) = (rows(&wire.push_info), rows(&wire.email_info));
        let (totals, breakdown) = sums(push.iter(), email.iter())?;
        if totals.is_empty() {
            return Ok(None);
        }
        Ok(Some(Snapshot {
            asked: asked.clone(),
            id: self.name().unwrap_or_else(|| asked.clone()),
            campaign: None,
            sent_at: self.sent_at(),
            asked_at,
            totals,
            breakdown,
            types: Vec::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BounceKind, ErrorReason, Measure};

    fn items(json: &str) -> Vec<Item> {
        let rows: Vec<&RawValue> = serde_json::from_str(json).unwrap();
        super::items(&rows, &mut |_| {})
    }

    fn snapshot(item: &str) -> Option<Snapshot> {
        let items = items(&format!("[{item}]"));
        items[0]
            .snapshot(&Arc::from("asked"), Timestamp::UNIX_EPOCH)
            .unwrap()
    }

    /// What an answer says about its one message.
    fn documented(answer: &str) -> Snapshot {
        let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
        snapshot(&answer["items"][0].to_string()).unwrap()
    }

    #[test]
    fn push_rows_are_summed_by_channel_and_broken_down_by_platform() {
        let snapshot = documented(include_str!("../fixtures/messages-push.json"));
        assert_eq!(&*snapshot.id, "A444-AAABBBCC-00112233");
        assert_eq!(snapshot.sent_at, "2026-11-20T10:00:00Z".parse().ok());
        let totals: Vec<_> = snapshot
            .totals
            .iter()
            .map(|own| (own.channel, own.counts[0]))
            .collect();
        assert_eq!(
            totals,
            [
                ("push", (Measure::Sent, 5000 + 55902 + 10 + 3)),
                ("sms", (Measure::Sent, 7))
            ]
        );
        let rows: Vec<_> = snapshot
            .breakdown
            .iter()
            .map(|row| (&*row.platform, &*row.vendor_channel, row.counts[0].1))
            .collect();
        assert_eq!(
            rows,
            [
                ("android", "fcm", 55912),
                ("ios", "apns", 5000),
                ("other", "99", 3)
            ]
        );
    }

    #[test]
    fn email_numbers_come_as_texts_and_with_bounces() {
        let snapshot = documented(include_str!("../fixtures/messages-email.json"));
        assert_eq!(snapshot.totals.len(), 1);
        assert_eq!(
            snapshot.totals[0].counts,
            [
                (Measure::Sent, 1000),
                (Measure::Errors(ErrorReason::Unspecified), 0),
                (Measure::Errors(ErrorReason::Rejected), 2),
                (Measure::Bounces(BounceKind::Hard), 12),
                (Measure::Bounces(BounceKind::Soft), 31),
            ]
        );
    }

    #[test]
    fn what_is_not_sent_or_has_no_rows_is_not_yet() {
        let rows = r#""push_info": {"metrics": [{"sends": 0, "platform": 1}]}"#;
        assert!(snapshot(&format!(r#"{{"code": "A", "status": "pending", {rows}}}"#)).is_none());
        assert!(snapshot(&format!(r#"{{"code": "A", "status": "done", {rows}}}"#)).is_some());
        assert!(
            snapshot(r#"{"code": "A", "push_info": {"metrics": []}, "email_info": null}"#)
                .is_none()
        );
        assert!(snapshot(r#"{"code": "A"}"#).is_none());
    }

    #[test]
    fn a_broken_item_costs_no_other_its_numbers() {
        let rows = r#""push_info": {"metrics": [{"sends": 1, "platform": 1}]}"#;
        let page = format!(
            r#"[{{"code": "A", "push_info": 7}}, {{"code": "B", {rows}}}, {{"code": "C", "push_info": {{"metrics": [{{"sends": -1, "platform": 1}}]}}}}]"#
        );
        let observed: Vec<_> = items(&page)
            .iter()
            .map(|item| item.observation(Arc::from("x"), Timestamp::UNIX_EPOCH))
            .collect();
        assert!(matches!(observed[0], Observation::MessageFailed { .. }));
        assert!(matches!(observed[1], Observation::MessageSnapshot(_)));
        assert!(matches!(observed[2], Observation::MessageFailed { .. }));
    }

    #[test]
    fn rows_are_understood_without_a_list_and_with_platforms_in_every_spelling() {
        let sent = |metrics: &str| {
            let item = format!(r#"{{"code": "A", "push_info": {{"metrics": {metrics}}}}}"#);
            let snapshot = snapshot(&item)?;
            let rows = snapshot.breakdown.iter();
            let channels: Vec<_> = rows.map(|row| row.vendor_channel.to_string()).collect();
            Some((snapshot.totals[0].counts[0].1, channels.join(",")))
        };
        for metrics in [
            r#"{"sends": 5, "platform": 3}"#,
            r#"[{"sends": 2, "platform": "3"}, {"sends": 3, "platform": 3.0}]"#,
            r#"[{"sends": 2, "platform": "ANDROID"}, {"sends": "3.0", "platform": "android"}]"#,
            r#"{"android": {"sends": 5}}"#,
            r#"{"3": {"sends": 5}}"#,
        ] {
            assert_eq!(sent(metrics), Some((5, "fcm".to_owned())), "{metrics}");
        }
        let huawei = r#"[{"sends": 2, "platform": "huawei android"}, {"sends": 3, "platform": "HUAWEI_ANDROID"}]"#;
        assert_eq!(sent(huawei), Some((5, "huawei".to_owned())));
        for metrics in ["{}", "[]", "null"] {
            assert_eq!(sent(metrics), None, "{metrics}");
        }
        // What is not understood is a failure of the message, not the absence of numbers.
        let item = r#"[{"code": "A", "push_info": {"metrics": {"total": 5}}}, {"code": "A", "push_info": {"metrics": [[5]]}}]"#;
        for item in items(item) {
            let observed = item.observation(Arc::from("A"), Timestamp::UNIX_EPOCH);
            assert!(
                matches!(observed, Observation::MessageFailed { .. }),
                "{observed:?}"
            );
        }
        // A list around an info is no loss; empty infos of e-mail leave the row of e-mail.
        let snapshot = snapshot(
            r#"{"code": "A", "push_info": [{"metrics": [{"sends": 5, "platform": 14}]}], "email_info": {}}"#,
        );
        let totals = snapshot.unwrap().totals;
        assert_eq!((totals[0].channel, totals[0].counts[0].1), ("email", 5));
    }

    #[test]
    fn the_date_of_creation_stands_in_for_a_date_of_sending_that_is_missing() {
        let sent_at = |item: &str| items(&format!("[{item}]"))[0].sent_at();
        let created = "2026-11-20T10:00:01Z".parse().ok();
        for item in [
            r#"{"created_date": "2026-11-20 10:00:01"}"#,
            r#"{"created_date": "2026-11-20 10:00:01", "send_date": null}"#,
            r#"{"created_date": "2026-11-20 10:00:01", "send_date": "0000-00-00 00:00:00"}"#,
            r#"{"created_date": "2026-11-20 10:00:01", "send_date": "0001-01-01 00:00:00"}"#,
            r#"{"created_date": "2026-11-20 10:00:01", "send_date": "1970-01-01 00:00:00"}"#,
            r#"{"created_date": "2026-11-20 10:00:01", "send_date": 0}"#,
            r#"{"created_date": "2026-11-20 10:00:01", "send_date": "0"}"#,
            r#"{"created_date": "2026-11-21 10:00:01", "send_date": "2026-11-20T10:00:01Z"}"#,
        ] {
            assert_eq!(sent_at(item), created, "{item}");
        }
        let items = items(
            r#"[{"id": 0, "code": " "}, {"id": 7.0, "code": " A "}, {"id": "7.0"}, {"id": "0.0"}]"#,
        );
        let ids: Vec<_> = items.iter().map(Item::id).collect();
        assert_eq!(ids, [None, Some("7"), Some("7"), None]);
        assert_eq!(items[0].name(), None);
        assert_eq!(items[1].name().as_deref(), Some("A"));
    }
}
