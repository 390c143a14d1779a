//! The numbers equal the vendors' own books, family by family, at several simulated moments: the
//! exporter's and the vendors' clocks are one, and stand still while they are compared.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    time::{Duration, Instant},
};

use delivery_clock::{Clock, ManualClock};
use delivery_exporter::{
    app::Exporter,
    config,
    outputs::exposition::{Format, render},
};
use delivery_simulators::{World, credentials};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    harness::{Labels, Metrics, PATIENCE},
    world,
};

type Expected = BTreeMap<(String, Labels), f64>;

/// Moves the time on, and waits until nothing is due.
pub async fn pass(exporter: &Exporter, hand: &ManualClock, by: Duration) -> Metrics {
    hand.advance(by);
    let end = Instant::now() + PATIENCE;
    loop {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let now = exporter.clock().now();
        let metrics = Metrics::read(&render(exporter.table(), now, Format::OpenMetrics));
        let due = metrics.find("delivery_exporter_due_timestamp_seconds", &[]);
        let waiting: Vec<_> = due
            .filter(|(_, due)| *due <= now.as_second() as f64)
            .collect();
        if waiting.is_empty() {
            return metrics;
        }
        assert!(
            Instant::now() < end,
            "still due: {waiting:?}\n{}",
            metrics.text
        );
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Puts expectations together, by the names of metrics and labels.
struct Book<'a> {
    expected: &'a mut Expected,
    common: Vec<(&'a str, &'a str)>,
}

impl Book<'_> {
    fn put(&mut self, family: &str, more: &[(&str, &str)], value: f64) {
        let all = [&self.common[..], more].concat();
        *self
            .expected
            .entry((family.to_owned(), labels(&all)))
            .or_default() += value;
    }

    /// A number of the vendor, in any form; what is missing or `null` is expected to be absent.
    fn number(&mut self, family: &str, more: &[(&str, &str)], value: &Value) {
        let value = value
            .as_f64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        if let Some(value) = value {
            self.put(family, more, value);
        }
    }

    fn ratio(&mut self, channel: &[(&str, &str)]) {
        let get = |family: &str| {
            let all = [&self.common[..], channel].concat();
            self.expected
                .get(&(family.to_owned(), labels(&all)))
                .copied()
        };
        let (sent, delivered) = (
            get("delivery_message_sent"),
            get("delivery_message_delivered"),
        );
        if let (Some(sent), Some(delivered)) = (sent, delivered)
            && sent > 0.0
        {
            self.put("delivery_message_delivery_ratio", channel, delivered / sent);
        }
    }
}

fn infobip_push(world: &World, ids: &HashSet<String>, expected: &mut Expected) {
    let campaigns: BTreeMap<_, _> = world
        .infobip
        .messages()
        .into_iter()
        .map(|message| (message.id, message.campaign.unwrap_or_default()))
        .collect();
    for (id, numbers) in world.infobip.books()["statistics"].as_object().unwrap() {
        if !ids.contains(id) {
            continue;
        }
        let campaign = campaigns.get(id).cloned().unwrap_or_default();
        let mut book = Book {
            expected,
            common: vec![
                ("provider", "infobip_push"),
                ("account", "push"),
                ("application", "shop"),
                ("team", "crm"),
                ("campaign", &campaign),
                ("message_id", id),
            ],
        };
        let push = [("channel", "push")];
        book.number("delivery_message_sent", &push, &numbers["totalSent"]);
        book.number("delivery_message_delivered", &push, &numbers["delivered"]);
        book.number("delivery_message_displayed", &push, &numbers["seen"]);
        for reason in ["registration", "expired", "cloud"] {
            let labels = [push[0], ("reason", reason)];
            book.number(
                "delivery_message_errors",
                &labels,
                &numbers["errors"][reason],
            );
        }
        book.ratio(&push);
        let rate = numbers["delivery"]["rate"].as_f64().unwrap();
        book.put(
            "delivery_message_reported_delivery_ratio",
            &push,
            rate / 100.0,
        );
    }
}

/// EngageLab's five numbers in either spelling.
const FIVE: [(&str, &str, &str); 5] = [
    ("targeted", "targets", "target"),
    ("sent", "sent", "sent"),
    ("delivered", "delivered", "delivered"),
    ("displayed", "impressions", "impressions"),
    ("opened", "clicks", "click"),
];

fn engagelab(world: &World, ids: &HashSet<String>, expected: &mut Expected) {
    for (id, numbers) in world.engagelab.books()["messages"].as_object().unwrap() {
        if !ids.contains(id) {
            continue;
        }
        let campaign = numbers["plan_id"].as_str().unwrap_or_default();
        let mut book = Book {
            expected,
            common: vec![
                ("provider", "engagelab"),
                ("account", "news"),
                ("application", "news"),
                ("team", ""),
                ("campaign", campaign),
                ("message_id", id),
            ],
        };
        let mut five = |level: &str, more: &[(&str, &str)], object: &Value| {
            for (measure, plural, singular) in FIVE {
                let value = object
                    .get(plural)
                    .or(object.get(singular))
                    .unwrap_or(&Value::Null);
                book.number(&format!("delivery_message_{level}{measure}"), more, value);
            }
        };
        let push = [("channel", "push")];
        five("", &push, numbers);
        for (kind, object) in numbers["sub"].as_object().into_iter().flatten() {
            five("type_", &[("message_type", kind)], object);
            for (key, channels) in object.as_object().unwrap() {
                let Some(platform) = key.strip_prefix("sub_") else {
                    continue;
                };
                let platform = if platform == "hmos" {
                    "harmonyos"
                } else {
                    platform
                };
                for (channel, leaf) in channels.as_object().unwrap() {
                    let channel = channel.to_lowercase();
                    let more = [
                        ("message_type", kind.as_str()),
                        ("platform", platform),
                        ("vendor_channel", &channel),
                    ];
                    five("channel_", &more, leaf);
                }
            }
        }
        book.ratio(&push);
    }
}

/// EngageLab's users, of the newest complete hour, day and month.
fn engagelab_users(world: &World, now: Timestamp, expected: &mut Expected) {
    let books = world.engagelab.books();
    let now = jiff::tz::Offset::UTC.to_datetime(now);
    for (unit, label, form) in [
        ("HOUR", "hour", "%Y-%m-%d %H"),
        ("DAY", "day", "%Y-%m-%d"),
        ("MONTH", "month", "%Y-%m"),
    ] {
        let current = now.strftime(form).to_string();
        let complete = books["users"][unit].as_object().unwrap().iter();
        let Some((_, item)) = complete
            .filter(|(time, _)| **time < current)
            .max_by_key(|own| own.0)
        else {
            continue;
        };
        for (platform, users) in item
            .as_object()
            .unwrap()
            .iter()
            .filter(|own| own.0 != "time")
        {
            let platform = if platform == "hmos" {
                "harmonyos"
            } else {
                platform
            };
            let mut book = Book {
                expected,
                common: vec![
                    ("provider", "engagelab"),
                    ("account", "news"),
                    ("application", "news"),
                    ("team", ""),
                    ("platform", platform),
                    ("time_unit", label),
                ],
            };
            for name in ["new", "active", "online"] {
                book.number(&format!("delivery_app_users_{name}"), &[], &users[name]);
            }
        }
    }
}

/// In which status each message is on the test devices.
fn engagelab_lifecycle(world: &World, ids: &HashSet<String>, expected: &mut Expected) {
    for (id, devices) in world.engagelab.books()["lifecycle"].as_object().unwrap() {
        if !ids.contains(id) {
            continue;
        }
        for device in devices.as_object().unwrap().values() {
            let status = device["status"]
                .as_str()
                .map_or("error".into(), str::to_lowercase);
            let mut book = Book {
                expected,
                common: vec![
                    ("provider", "engagelab"),
                    ("account", "news"),
                    ("application", "news"),
                    ("team", ""),
                    ("message_id", id),
                    ("status", &status),
                ],
            };
            book.put("delivery_canary_devices", &[], 1.0);
        }
    }
}

const PUSHWOOSH: [(&str, &str); 9] = [
    ("sent", "sends"),
    ("delivered", "deliveries"),
    ("opened", "opens"),
    ("inbox_opened", "inbox_opens"),
    ("unshowable", "unshowable_sends"),
    ("confirmed", "confirmed_sends"),
    ("unsubscribed", "unsubs"),
    ("complaints", "complaints"),
    ("errors", "errors"),
];

fn pushwoosh(world: &World, expected: &mut Expected) {
    let books = world.pushwoosh.books();
    for (code, name) in credentials::PUSHWOOSH_APPLICATIONS
        .iter()
        .zip(["loyalty", "partner"])
    {
        for item in books[*code].as_array().unwrap() {
            if item["status"]
                .as_str()
                .unwrap()
                .eq_ignore_ascii_case("pending")
            {
                continue;
            }
            let id = item["code"].as_str().unwrap();
            let mut book = Book {
                expected,
                common: vec![
                    ("provider", "pushwoosh"),
                    ("account", "loyalty"),
                    ("application", name),
                    ("team", ""),
                    ("campaign", ""),
                    ("message_id", id),
                ],
            };
            let mut channels = HashSet::new();
            let rows = |info: &str| {
                item[info]["metrics"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default()
            };
            for row in rows("push_info") {
                let place = match row["platform"].as_u64().unwrap() {
                    1 => ("push", "ios", "apns".to_owned()),
                    3 => ("push", "android", "fcm".to_owned()),
                    7 => ("push", "macos", "apns".to_owned()),
                    10 => ("push", "web", "safari".to_owned()),
                    11 => ("push", "web", "chrome".to_owned()),
                    12 => ("push", "web", "firefox".to_owned()),
                    17 => ("push", "android", "huawei".to_owned()),
                    18 => ("sms", "", String::new()),
                    19 => ("push", "android", "xiaomi".to_owned()),
                    21 => ("whatsapp", "", String::new()),
                    150 => ("push", "web", "edge".to_owned()),
                    other => ("push", "other", other.to_string()),
                };
                let (channel, platform, vendor_channel) = place;
                channels.insert(channel);
                for (measure, field) in PUSHWOOSH {
                    let mut more = vec![("channel", channel)];
                    if measure == "errors" {
                        more.push(("reason", "unspecified"));
                    }
                    book.number(&format!("delivery_message_{measure}"), &more, &row[field]);
                    if channel == "push" {
                        let more = [
                            ("message_type", "notification"),
                            ("platform", platform),
                            ("vendor_channel", vendor_channel.as_str()),
                        ];
                        let family = format!("delivery_message_channel_{measure}");
                        book.number(&family, &more, &row[field]);
                    }
                }
            }
            for row in rows("email_info") {
                channels.insert("email");
                let email = ("channel", "email");
                for (measure, field) in PUSHWOOSH {
                    let mut more = vec![email];
                    if measure == "errors" {
                        more.push(("reason", "unspecified"));
                    }
                    book.number(&format!("delivery_message_{measure}"), &more, &row[field]);
                }
                let rejected = [email, ("reason", "rejected")];
                book.number("delivery_message_errors", &rejected, &row["rejects"]);
                for (kind, field) in [("hard", "hard_bounces"), ("soft", "soft_bounces")] {
                    let more = [email, ("kind", kind)];
                    book.number("delivery_message_bounces", &more, &row[field]);
                }
            }
            for channel in channels {
                book.ratio(&[("channel", channel)]);
            }
        }
    }
}

fn alibaba(world: &World, expected: &mut Expected) {
    for (id, numbers) in world.alibaba.books()["messages"].as_object().unwrap() {
        let mut book = Book {
            expected,
            common: vec![
                ("provider", "alibaba_push"),
                ("account", "china"),
                ("application", "cn"),
                ("team", ""),
                ("campaign", ""),
                ("message_id", id),
            ],
        };
        for (channel, measure, field, reason) in [
            ("push", "accepted", "AcceptCount", None),
            ("push", "sent", "SentCount", None),
            ("push", "delivered", "ReceivedCount", None),
            ("push", "opened", "OpenedCount", None),
            ("push", "dismissed", "DeletedCount", None),
            ("sms", "sent", "SmsSentCount", None),
            ("sms", "delivered", "SmsReceiveSuccessCount", None),
            ("sms", "skipped", "SmsSkipCount", None),
            ("sms", "errors", "SmsFailedCount", Some("send_failed")),
            (
                "sms",
                "errors",
                "SmsReceiveFailedCount",
                Some("undelivered"),
            ),
        ] {
            let mut more = vec![("channel", channel)];
            more.extend(reason.map(|reason| ("reason", reason)));
            book.number(
                &format!("delivery_message_{measure}"),
                &more,
                &numbers[field],
            );
        }
        book.ratio(&[("channel", "push")]);
        book.ratio(&[("channel", "sms")]);
    }
}

/// A plain model of the counters of reports, over every report that was handed out.
fn reports(world: &World) -> BTreeMap<String, f64> {
    let mut counted = BTreeMap::new();
    let mut add = |what: String, by: f64| *counted.entry(what).or_insert(0.0) += by;
    let (mut seen, mut sent) = (HashSet::new(), HashSet::new());
    let (mut delivered, mut ended, mut priced) = (HashSet::new(), HashSet::new(), HashSet::new());
    for report in world.infobip.handed_out() {
        let text = |pointer: &str| {
            report
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let id = text("/messageId").to_owned();
        let (group, status) = (text("/status/groupName"), text("/status/name"));
        let (error_group, error) = (text("/error/groupName"), text("/error/name"));
        let permanent = report.pointer("/error/permanent").and_then(Value::as_bool);
        if !seen.insert((id.clone(), status.to_owned())) {
            continue;
        }
        let permanent_text = permanent.map(|own| own.to_string()).unwrap_or_default();
        add(
            format!("report {group} {status} {error_group} {error} {permanent_text}"),
            1.0,
        );
        if sent.insert(id.clone()) {
            add("sent".into(), 1.0);
        }
        let is_final = group != "PENDING" && status != "DELIVERED_TO_OPERATOR";
        if is_final && group == "DELIVERED" && delivered.insert(id.clone()) {
            add("delivered".into(), 1.0);
        }
        if is_final && ended.insert(id.clone()) {
            let outcome = match (group, error_group, error) {
                ("DELIVERED", ..) => None,
                (_, "USER_ERRORS", _) if permanent == Some(true) => Some("bounces hard"),
                (_, "USER_ERRORS", _) => Some("bounces soft"),
                (_, "HANDSET_ERRORS", "EC_SUPPRESSED_BOUNCE") => Some("errors suppressed"),
                (_, "HANDSET_ERRORS", _) => Some("errors dropped"),
                (_, "OPERATOR_ERRORS", _) => Some("errors system"),
                ("EXPIRED", ..) => Some("errors expired"),
                ("REJECTED", ..) => Some("errors rejected"),
                _ => Some("errors other"),
            };
            if let Some(outcome) = outcome {
                add(outcome.to_owned(), 1.0);
            }
            add(format!("latency {group}"), 1.0);
        }
        if priced.insert(id) {
            add("cost EUR in 1/10000".into(), 25.0);
        }
    }
    counted
}

/// The same from the exporter's own series.
fn counted(metrics: &Metrics) -> BTreeMap<String, f64> {
    let mut counted = BTreeMap::new();
    let mail = [
        ("account", "mail"),
        ("channel", "email"),
        ("application", "mail"),
    ];
    let mut add = |what: String, value: f64| {
        if value != 0.0 {
            counted.insert(what, value);
        }
    };
    for (own, value) in metrics.find("delivery_reports_total", &mail) {
        let label = |name: &str| own[name].as_str();
        let what = format!(
            "report {} {} {} {} {}",
            label("status_group"),
            label("status"),
            label("error_group"),
            label("error"),
            label("permanent")
        );
        add(what, value);
    }
    for word in ["sent", "delivered"] {
        add(
            word.to_owned(),
            metrics.sum(&format!("delivery_{word}_total"), &mail),
        );
    }
    for (own, value) in metrics.find("delivery_bounces_total", &mail) {
        add(format!("bounces {}", own["kind"]), value);
    }
    for (own, value) in metrics.find("delivery_errors_total", &mail) {
        add(format!("errors {}", own["reason"]), value);
    }
    for (own, value) in metrics.find("delivery_report_latency_seconds_count", &mail) {
        add(format!("latency {}", own["status_group"]), value);
    }
    for (own, value) in metrics.find("delivery_report_cost_total", &mail) {
        add(
            format!("cost {} in 1/10000", own["currency"]),
            (value * 10_000.0).round(),
        );
    }
    counted
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_equal_the_vendors_books_at_every_moment() {
    let directory = tempfile::tempdir().unwrap();
    let (clock, hand) = Clock::manual("2026-11-20T09:00:00Z".parse().unwrap());
    let world = world::start(&clock).await;
    let text = world::configuration(&world, directory.path(), &json!({}));
    let ids = |name: &str| -> HashSet<String> {
        let config: Value = serde_json::from_str(&text).unwrap();
        let providers = config["providers"].as_array().unwrap();
        let own = providers.iter().find(|own| own["name"] == name).unwrap();
        let entries = own["messages"]["static"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| entry["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let config = config::parse(Path::new("test"), &text, &|_| None).unwrap();
    let exporter = Exporter::start(&config, clock).await.unwrap();
    let mut families = HashSet::new();
    // Minutes later, an hour later, and on the next day in Beijing.
    for minutes in [1, 2, 17, 60, 5 * 60, 12 * 60, 26 * 60] {
        let metrics = pass(&exporter, &hand, Duration::from_secs(minutes * 60 + 5)).await;
        let mut expected = Expected::new();
        infobip_push(&world, &ids("push"), &mut expected);
        engagelab(&world, &ids("news"), &mut expected);
        engagelab_users(&world, exporter.clock().now(), &mut expected);
        engagelab_lifecycle(&world, &ids("news"), &mut expected);
        pushwoosh(&world, &mut expected);
        alibaba(&world, &mut expected);
        let shown = metrics.samples.iter().filter(|((name, _), _)| {
            ["delivery_message_", "delivery_app_", "delivery_canary_"]
                .iter()
                .any(|own| name.starts_with(own))
        });
        let shown: Expected = shown.map(|(key, value)| (key.clone(), *value)).collect();
        for (key, value) in &expected {
            let found = shown.get(key);
            assert!(
                found.is_some_and(|found| (found - value).abs() < 1e-9),
                "{key:?}: {value} is {found:?}"
            );
        }
        for key in shown.keys() {
            assert!(expected.contains_key(key), "{key:?} is not in the books");
        }
        families.extend(shown.into_keys().map(|(name, _)| name));
        assert_eq!(counted(&metrics), reports(&world));
        for (labels, up) in metrics.find("delivery_up", &[]) {
            assert_eq!(up, 1.0, "{labels:?}");
        }
        assert_eq!(metrics.find("delivery_up", &[]).count(), 5);
        assert_eq!(
            metrics.sum("delivery_exporter_collect_failures_total", &[]),
            0.0
        );
        assert_eq!(
            metrics.sum("delivery_exporter_snapshot_decreases_total", &[]),
            0.0
        );
    }
    let all = delivery_exporter::series::families()
        .iter()
        .map(|family| family.name.as_str());
    let missing: Vec<_> = all
        .filter(|name| name.starts_with("delivery_message_") && !families.contains(*name))
        .collect();
    assert_eq!(
        missing,
        Vec::<&str>::new(),
        "every family of messages has data"
    );
    exporter.stop().await;
}
