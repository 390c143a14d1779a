//! What the vendor sends: pages of messages, each with rows of numbers per platform.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::later;
use crate::{
    model::{BounceKind, Counts, ErrorReason, Measure, Row, Snapshot, Totals},
    providers::{
        Failure, Grown, Observation,
        decode::decode,
        json::{Count, Skipped, Text, counts, lenient, time},
    },
};

/// Rows of a message's history are by the hour.
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// An answer of `messages:list`, or an error in one of its shapes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Page<'a> {
    total: Skipped,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    bounced_emails: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    data: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    conversion: Option<&'a RawValue>,
    /// Rows of hours, beside a message's conversions.
    #[serde(borrow)]
    metrics: Option<Vec<&'a RawValue>>,
    pagination_token: Text,
    error: Text,
    code: Text,
    message: Text,
    details: Skipped,
    status_code: Text,
    status_message: Text,
    response: Skipped,
}

impl Page<'_> {
    /// Whether it is an error: some come with HTTP 200.
    pub(super) fn is_error(&self) -> bool {
        let old = self.status_code.get().is_some_and(|code| code != "200");
        let empty = self.rows().is_none() && self.conversion.is_none() && self.metrics.is_none();
        let coded = self.code.get().is_some_and(|code| code != "0") && empty;
        old || coded || self.error.get().is_some()
    }

    /// The list of the answer, under whatever name it stands.
    fn rows(&self) -> Option<&[&RawValue]> {
        let lists = [&self.items, &self.bounced_emails, &self.data];
        lists.into_iter().flatten().next().map(Vec::as_slice)
    }

    /// The rows of the answer.
    pub(super) fn read<T>(&self, unknown: &mut dyn FnMut(&str)) -> Result<Vec<T>, String>
    where
        T: for<'de> Deserialize<'de> + Default,
    {
        let rows = self.rows().unwrap_or_default().iter();
        rows.map(|raw| decode(raw.get().as_bytes(), unknown))
            .collect()
    }

    /// The conversions of a message, as they came.
    pub(super) fn conversion(&self) -> Option<&str> {
        self.conversion.map(RawValue::get)
    }

    /// What came to a message's numbers, hour by hour. The hour is named by its beginning.
    pub(super) fn hours(&self, unknown: &mut dyn FnMut(&str)) -> Result<Vec<Grown>, String> {
        let mut hours: BTreeMap<Timestamp, Vec<Metrics>> = BTreeMap::new();
        for raw in self.metrics.iter().flatten() {
            let row: Metrics = decode(raw.get().as_bytes(), unknown)?;
            let from = row.timestamp.get().and_then(time);
            let from = from.ok_or("metrics.timestamp is no time")?;
            hours.entry(from).or_default().push(row);
        }
        let grown = |(from, rows): (Timestamp, Vec<Metrics>)| {
            let (totals, breakdown) = sums(rows.iter(), None::<std::iter::Empty<_>>)?;
            let to = later(from, HOUR);
            Ok(Grown {
                from,
                to,
                totals,
                breakdown,
            })
        };
        hours.into_iter().map(grown).collect()
    }

    /// The token of the next page, if there is one.
    pub(super) fn next(&self) -> Option<String> {
        self.pagination_token.get().map(str::to_owned)
    }

    /// The vendor's code (gRPC's, if there is one) and text.
    pub(super) fn error(&self) -> (Option<String>, String) {
        let texts = [&self.message, &self.error, &self.status_message];
        let text = texts.into_iter().find_map(Text::get).unwrap_or_default();
        // `status_code` counts otherwise; it is no gRPC code.
        (self.code.get().map(str::to_owned), text.to_owned())
    }

    /// The items one by one, so that a broken one costs no other its numbers.
    pub(super) fn items(&self, unknown: &mut dyn FnMut(&str)) -> Vec<Item> {
        let items = self.items.iter().flatten();
        items
            .map(|raw| {
                let json = raw.get().as_bytes();
                let names: Names = decode(json, &mut |_| {}).unwrap_or_default();
                match decode::<Wire>(json, unknown) {
                    Ok(wire) => Item {
                        names,
                        wire: Ok(Box::new(wire)),
                    },
                    Err(problem) => Item {
                        names,
                        wire: Err(problem),
                    },
                }
            })
            .collect()
    }
}

/// A message's two names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names {
    id: Text,
    code: Text,
    send_date: Text,
}

/// One message of a page.
pub(super) struct Item {
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
    push_info: Option<Info>,
    email_info: Option<Info>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    details: Skipped,
    metrics: Option<Vec<Metrics>>,
}

/// A row of numbers: of a platform under `push_info`, of all under `email_info`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Metrics {
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

/// What a platform's code stands for.
enum Platform {
    /// Part of push: platform and vendor channel.
    Push(&'static str, &'static str),
    /// A channel of its own.
    Channel(&'static str),
    /// In no source: `other`, with the code as the channel.
    Unknown,
}

/// The vendor's platform codes. The number of e-mail is in no source of the vendor; 14 is inferred
/// from its neighbours.
fn platform(code: &str) -> Platform {
    match code {
        "1" => Platform::Push("ios", "apns"),
        "3" => Platform::Push("android", "fcm"),
        "7" => Platform::Push("macos", "apns"),
        "8" => Platform::Push("windows", "wns"),
        "9" => Platform::Push("amazon", "adm"),
        "10" => Platform::Push("web", "safari"),
        "11" => Platform::Push("web", "chrome"),
        "12" => Platform::Push("web", "firefox"),
        "13" => Platform::Push("web", "ie"),
        "14" => Platform::Channel("email"),
        "17" => Platform::Push("android", "huawei"),
        "18" => Platform::Channel("sms"),
        "19" => Platform::Push("android", "xiaomi"),
        "21" => Platform::Channel("whatsapp"),
        "150" => Platform::Push("web", "edge"),
        _ => Platform::Unknown,
    }
}

impl Item {
    /// The name that the message is known by: its code; where there is none, its id.
    pub(super) fn id(&self) -> Option<Arc<str>> {
        self.names().next().map(Arc::from)
    }

    /// Both names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        [&self.names.code, &self.names.id]
            .into_iter()
            .filter_map(Text::get)
    }

    /// Whether it is an e-mail.
    pub(super) fn is_email(&self) -> bool {
        self.wire
            .as_ref()
            .is_ok_and(|wire| wire.email_info.is_some())
    }

    /// When it was sent, or will be.
    pub(super) fn sent_at(&self) -> Option<Timestamp> {
        self.names.send_date.get().and_then(time)
    }

    /// What the item says about the message that was asked for as `asked`.
    pub(super) fn observation(&self, asked: Arc<str>, asked_at: Timestamp) -> Observation {
        match self.snapshot(&asked, asked_at) {
            Ok(Some(snapshot)) => Observation::Snapshot(Box::new(snapshot)),
            Ok(None) => Observation::NotYet { asked, asked_at },
            Err(problem) => Observation::Failed {
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
        if matches!(status.as_str(), "CREATING" | "PENDING" | "CANCELED") {
            // Not sent: its zeros are no numbers.
            return Ok(None);
        }
        let push = rows_of(wire.push_info.as_ref());
        let email = wire.email_info.as_ref().map(|info| rows_of(Some(info)));
        let (totals, breakdown) = sums(push, email)?;
        if totals.is_empty() {
            return Ok(None);
        }
        Ok(Some(Snapshot {
            asked: asked.clone(),
            id: self.id().unwrap_or_else(|| asked.clone()),
            campaign: None,
            sent_at: self.sent_at(),
            asked_at,
            totals,
            breakdown,
            types: Vec::new(),
        }))
    }
}

/// Rows of numbers by channel, and the rows of push by platform. Where there are rows of e-mail, they
/// alone are its numbers.
fn sums<'m>(
    push: impl Iterator<Item = &'m Metrics>,
    email: Option<impl Iterator<Item = &'m Metrics>>,
) -> Result<(Vec<Totals>, Vec<Row>), String> {
    let mut channels: BTreeMap<&'static str, Metrics> = BTreeMap::new();
    let mut rows: BTreeMap<(Arc<str>, Arc<str>), Metrics> = BTreeMap::new();
    let add = |channels: &mut BTreeMap<_, Metrics>, channel, row: &Metrics| {
        let sum = channels
            .remove(channel)
            .map_or_else(|| row.clone(), |sum| sum.plus(row.clone()));
        channels.insert(channel, sum);
    };
    for row in push {
        let code = row.platform.get().unwrap_or_default();
        let place = match platform(code) {
            Platform::Channel("email") if email.is_some() => continue,
            Platform::Channel(channel) => {
                add(&mut channels, channel, row);
                continue;
            }
            Platform::Push(platform, channel) => (Arc::from(platform), Arc::from(channel)),
            Platform::Unknown => (Arc::from("other"), Arc::from(code)),
        };
        add(&mut channels, "push", row);
        let sum = rows
            .remove(&place)
            .map_or_else(|| row.clone(), |sum| sum.plus(row.clone()));
        rows.insert(place, sum);
    }
    for row in email.into_iter().flatten() {
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

fn rows_of(info: Option<&Info>) -> impl Iterator<Item = &Metrics> {
    info.and_then(|info| info.metrics.as_ref())
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(json: &str) -> Vec<Item> {
        decode::<Page<'_>>(json.as_bytes(), &mut |_| {})
            .unwrap()
            .items(&mut |_| {})
    }

    fn snapshot(item: &str) -> Option<Snapshot> {
        let items = items(&format!(r#"{{"items":[{item}]}}"#));
        items[0]
            .snapshot(&Arc::from("asked"), Timestamp::UNIX_EPOCH)
            .unwrap()
    }

    #[test]
    fn push_rows_are_summed_by_channel_and_broken_down_by_platform() {
        let snapshot = snapshot(
            r#"{"id": 12345678900, "code": "A444-AAABBBCC-00112233", "send_date": "2026-11-20 10:00:00", "status": "DONE",
            "push_info": {"metrics": [
              {"sends": 5000, "opens": 120, "deliveries": 0, "inbox_opens": 4, "unshowable_sends": 900, "errors": 3, "platform": 1},
              {"sends": "55902", "opens": 382, "deliveries": 22931, "platform": 3},
              {"sends": 10, "platform": "3"}, {"sends": 7, "platform": 18}, {"sends": 3, "platform": 99}]}}"#,
        )
        .unwrap();
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
    fn rows_of_one_hour_are_put_together() {
        let json = r#"{"metrics": [
            {"timestamp": "2024-08-03 15:00:00", "platform": 3, "sends": "55902", "opens": "382", "deliveries": "22931",
             "inbox_opens": "0", "unshowable_sends": "2", "errors": "0"},
            {"timestamp": "2024-08-03 14:00:00", "platform": 3, "sends": "1"},
            {"timestamp": "2024-08-03 15:00:00", "platform": 1, "sends": "98"}], "conversion": {"sends": "55902"}}"#;
        let page = decode::<Page<'_>>(json.as_bytes(), &mut |_| {}).unwrap();
        assert!(!page.is_error());
        let hours = page
            .hours(&mut |field| panic!("{field} is unknown"))
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
            r#"{"metrics": [{"sends": 1}]}"#,
            r#"{"metrics": [{"timestamp": "2024-08-03 15:00:00", "sends": -1}]}"#,
        ] {
            let page = decode::<Page<'_>>(bad.as_bytes(), &mut |_| {}).unwrap();
            assert!(page.hours(&mut |_| {}).is_err(), "{bad}");
        }
    }

    #[test]
    fn email_numbers_come_as_texts_and_with_bounces() {
        let snapshot = snapshot(
            r#"{"id": 1, "code": "B", "status": "PROCESSING", "push_info": {"metrics": [{"platform": 14, "sends": 5}]},
            "email_info": {"metrics": [{"sends": "1000", "hard_bounces": "12", "soft_bounces": "31", "rejects": "2", "errors": "0"}]}}"#,
        )
        .unwrap();
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
            r#"{{"items": [{{"code": "A", "push_info": 7}}, {{"code": "B", {rows}}}, {{"code": "C", "push_info": {{"metrics": [{{"sends": -1, "platform": 1}}]}}}}]}}"#
        );
        let observed: Vec<_> = items(&page)
            .iter()
            .map(|item| item.observation(Arc::from("x"), Timestamp::UNIX_EPOCH))
            .collect();
        assert!(matches!(observed[0], Observation::Failed { .. }));
        assert!(matches!(observed[1], Observation::Snapshot(_)));
        assert!(matches!(observed[2], Observation::Failed { .. }));
    }

    #[test]
    fn errors_are_known_in_every_shape() {
        let page = |json: &'static str| decode::<Page<'_>>(json.as_bytes(), &mut |_| {}).unwrap();
        for (json, code) in [
            (r#"{"error": "account not found"}"#, None),
            (
                r#"{"code": 16, "message": "invalid auth token", "details": []}"#,
                Some("16"),
            ),
            (
                r#"{"status_code": 210, "status_message": "Argument error", "response": null}"#,
                None,
            ),
        ] {
            let page = page(json);
            assert!(page.is_error(), "{json}");
            assert_eq!(page.error().0.as_deref(), code);
            assert!(!page.error().1.is_empty());
        }
        assert!(!page("{}").is_error());
        assert!(!page(r#"{"total": 0, "items": []}"#).is_error());
    }
}
