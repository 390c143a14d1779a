//! What Pushwoosh tells besides messages, against the vendor's books, over a restart: each bounce and
//! each event counts once, however often and late it is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use delivery_clock::{Clock, ManualClock};
use delivery_exporter::{app::Exporter, config};
use delivery_simulators::{World, credentials};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{books::pass, harness::Metrics, world};

const APPLICATIONS: [(&str, &str); 2] = [
    (credentials::PUSHWOOSH_APPLICATIONS[0], "loyalty"),
    (credentials::PUSHWOOSH_APPLICATIONS[1], "partner"),
];

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

/// The rows of both applications that are no history.
fn news(world: &World, book: &str, date: &str, birth: Timestamp) -> Vec<(&'static str, Value)> {
    let books = world.pushwoosh.books();
    let oldest = birth - SignedDuration::from_hours(1);
    let mut rows = Vec::new();
    for (code, name) in APPLICATIONS {
        for row in books[book][code].as_array().unwrap() {
            let at: Timestamp = text(row, date).parse().unwrap();
            if at >= oldest {
                rows.push((name, row.clone()));
            }
        }
    }
    rows
}

fn check_bounces(world: &World, metrics: &Metrics, birth: Timestamp) -> f64 {
    let rows = news(world, "bounces", "date", birth);
    for (application, _) in APPLICATIONS.map(|(_, name)| (name, ())) {
        for (kind, types) in [
            ("hard", &["Hardbounce", "hardbounce"][..]),
            ("soft", &["Softbounce"]),
            ("complaint", &["Complaint"]),
            ("unknown", &["Somethingelse"]),
        ] {
            let own = rows
                .iter()
                .filter(|(name, row)| *name == application && types.contains(&text(row, "type")));
            let labels = [("application", application), ("kind", kind)];
            let found = metrics.sum("delivery_bounced_addresses_total", &labels);
            assert_eq!(found, own.count() as f64, "{labels:?}");
        }
    }
    metrics.sum("delivery_bounced_addresses_total", &[])
}

fn check_log(world: &World, metrics: &Metrics, birth: Timestamp) -> f64 {
    let mut expected: BTreeMap<(&str, String, &str), f64> = BTreeMap::new();
    for (application, event) in news(world, "log", "timestamp", birth) {
        let action = text(&event, "action").replace("inbox_delete", "inbox_deleted");
        let platform = match text(&event, "platform") {
            "ios" => "ios",
            "android" | "huawei android" => "android",
            "chrome" => "web",
            "email" => "email",
            _ => "other",
        };
        *expected.entry((application, action, platform)).or_default() += 1.0;
    }
    for ((application, action, platform), count) in &expected {
        let labels = [
            ("application", *application),
            ("action", action),
            ("platform", platform),
        ];
        assert_eq!(
            metrics.sum("delivery_log_events_total", &labels),
            *count,
            "{labels:?}"
        );
    }
    let all = metrics.sum("delivery_log_events_total", &[]);
    assert_eq!(all, expected.values().sum::<f64>());
    all
}

fn check_figures(world: &World, metrics: &Metrics) {
    let books = world.pushwoosh.books();
    let mut conversions = 0;
    for (code, own) in books["conversions"].as_object().unwrap() {
        for event in own["events"].as_array().unwrap() {
            let labels = [
                ("message_id", code.as_str()),
                ("event", text(event, "name")),
            ];
            let hits: f64 = text(event, "hits").parse().unwrap();
            assert_eq!(
                metrics.get("delivery_conversion_hits", &labels),
                Some(hits),
                "{labels:?}"
            );
            assert_eq!(
                metrics.get("delivery_conversion_ratio", &labels),
                event["conversion"].as_f64()
            );
            assert_eq!(
                metrics.get("delivery_conversion_revenue", &labels),
                event["revenue"].as_f64()
            );
            conversions += 1;
        }
    }
    assert!(conversions > 0);
    assert_eq!(
        metrics.find("delivery_conversion_hits", &[]).count(),
        conversions
    );
    for (code, application) in APPLICATIONS {
        let mut clicks: BTreeMap<&str, f64> = BTreeMap::new();
        let mut devices: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let rows = books["clicks"][code].as_array().unwrap();
        for row in rows {
            let link = text(row, "link").split('?').next().unwrap();
            *clicks.entry(link).or_default() += 1.0;
            devices.entry(link).or_default().insert(text(row, "hwid"));
        }
        for (link, count) in clicks {
            let labels = [("application", application), ("link", link)];
            assert_eq!(
                metrics.get("delivery_link_clicks", &labels),
                Some(count),
                "{labels:?}"
            );
            let devices = devices[link].len() as f64;
            assert_eq!(
                metrics.get("delivery_link_devices", &labels),
                Some(devices),
                "{labels:?}"
            );
        }
    }
    assert!(metrics.find("delivery_link_clicks", &[]).count() > 2);
    assert!(
        !metrics.text.contains("@example.com"),
        "an address is shown"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bounce_and_event_counts_once_and_figures_are_the_vendors() {
    let directory = tempfile::tempdir().unwrap();
    let begin: Timestamp = "2026-11-20T09:00:00Z".parse().unwrap();
    let (clock, hand): (Clock, ManualClock) = Clock::manual(begin);
    let world = world::start(&clock).await;
    let sets = [
        "messages",
        "bounces",
        "intervals",
        "log",
        "links",
        "link_devices",
    ];
    let every: serde_json::Map<String, Value> = sets
        .iter()
        .map(|name| ((*name).to_owned(), json!("60s")))
        .collect();
    let config = json!({
        "store": world::store(directory.path()),
        "collection": {"zero_hold": "0s", "max_interval": "1s"},
        "providers": [{
            "name": "loyalty", "type": "pushwoosh", "base_url": world.servers[2].base_url(),
            "credentials": {"api_token": credentials::PUSHWOOSH_API_TOKEN},
            "collect": sets, "dataset_intervals": every, "max_concurrency": 8,
            "rate_limit": {"requests_per_second": 10_000, "burst": 10_000},
            "applications": APPLICATIONS.map(|(id, name)| json!({"id": id, "name": name})),
            "messages": {"list": true},
        }],
    });
    let config = config::parse(Path::new("test"), &config.to_string(), &|_| None).unwrap();
    // When the data sets were first asked for: within seconds of the start.
    let birth = begin;
    let mut counted = (0.0, 0.0);
    for minutes in [&[1, 2, 45][..], &[3, 240, 26 * 60]] {
        let exporter = Exporter::start(&config, clock.clone()).await.unwrap();
        for minutes in minutes {
            pass(&exporter, &hand, Duration::from_secs(minutes * 60 + 5)).await;
            // Links are of the e-mails that the list named: what the first pass found is asked for
            // in the second one.
            let metrics = pass(&exporter, &hand, Duration::from_secs(65)).await;
            let now = (
                check_bounces(&world, &metrics, birth),
                check_log(&world, &metrics, birth),
            );
            assert!(
                now.0 >= counted.0 && now.1 >= counted.1,
                "{now:?} after {counted:?}"
            );
            counted = now;
            check_figures(&world, &metrics);
            assert_eq!(
                metrics.sum("delivery_exporter_collect_failures_total", &[]),
                0.0
            );
            assert_eq!(
                metrics.sum("delivery_exporter_unknown_fields_total", &[]),
                0.0
            );
        }
        exporter.stop().await;
    }
    assert!(counted.0 > 10.0 && counted.1 > 20.0, "{counted:?}");
}
