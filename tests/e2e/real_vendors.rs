//! Where real vendors differ from what a program likes to assume: `collect` at the vendor's own
//! pace, vendors that are not there, slow lists, and accounts that name no message.

use std::{path::Path, time::Duration};

use delivery_clock::Clock;
use delivery_exporter::{
    app::Exporter,
    config,
    outputs::exposition::{Format, render},
};
use delivery_simulators::{Options, World, credentials, faults::Fault};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    harness::{Metrics, PATIENCE, eventually},
    world,
};

/// So many times as fast as the machine's clock.
const FAST: u32 = 20;

fn begin() -> Timestamp {
    "2026-11-20T09:00:00Z".parse().unwrap()
}

async fn vendors(clock: &Clock, gap: Duration) -> World {
    let options = Options {
        gap,
        history: Duration::from_secs(86_400),
        ..Options::default()
    };
    World::start(options, clock).await.unwrap()
}

fn parse(directory: &Path, providers: Value) -> config::Config {
    let text = json!({
        "store": world::store(directory),
        "collection": {"zero_hold": "0s", "adopt_age": "0s"},
        "providers": providers,
    });
    config::parse(Path::new("test"), &text.to_string(), &|_| None).unwrap()
}

fn metrics(exporter: &Exporter) -> Metrics {
    let now = exporter.clock().now();
    Metrics::read(&render(exporter.table(), now, Format::OpenMetrics))
}

fn pushwoosh(world: &World) -> Value {
    json!({
        "name": "loyalty", "type": "pushwoosh", "base_url": world.servers[2].base_url(),
        "credentials": {"api_token": credentials::PUSHWOOSH_API_TOKEN},
        "applications": [{"id": credentials::PUSHWOOSH_APPLICATIONS[1]}],
    })
}

fn alibaba(world: &World) -> Value {
    json!({
        "name": "china", "type": "alibaba_push", "base_url": world.servers[3].base_url(),
        "credentials": {"access_key_id": credentials::ALIBABA_KEY_ID, "access_key_secret": credentials::ALIBABA_KEY_SECRET},
        "applications": [{"id": credentials::ALIBABA_APP_KEY}],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn collect_asks_for_each_of_many_messages_once_at_the_vendors_pace_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::scaled(begin(), FAST);
    let world = vendors(&clock, Duration::from_secs(6 * 3600)).await;
    let ids: Vec<String> = (0..40).map(|number| format!("bulk-{number}")).collect();
    for id in &ids {
        world.infobip.put_bulk(id, json!({"totalSent": 7}));
    }
    let config = parse(
        directory.path(),
        json!([{
            "name": "push", "type": "infobip_push", "base_url": world.servers[0].base_url(), "interval": "3s",
            "credentials": {"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD},
            "applications": [{"id": credentials::INFOBIP_APPLICATION}], "messages": {"static": ids},
        }]),
    );
    let once = tokio::time::timeout(PATIENCE, Exporter::once(&config, clock)).await;
    let (exporter, all) = once.expect("collect ends").unwrap();
    assert!(all);
    assert_eq!(
        // A counter that no run has printed is printed as 0 first.
        metrics(&exporter).sum("delivery_message_sent", &[]),
        7.0 * 40.0
    );
    assert_eq!(world.servers[0].received_count(), 40, "each once");
    exporter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn collect_ends_where_no_vendor_is() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::scaled(begin(), FAST);
    let nobody = format!("http://127.0.0.1:{}", super::harness::free_port());
    let world = vendors(&clock, Duration::from_secs(6 * 3600)).await;
    let (mut push, mut daily) = (pushwoosh(&world), alibaba(&world));
    for own in [&mut push, &mut daily] {
        own["base_url"] = json!(nobody);
        own["interval"] = json!("3s");
    }
    let config = parse(directory.path(), json!([push, daily]));
    let once = tokio::time::timeout(PATIENCE, Exporter::once(&config, clock)).await;
    let (exporter, all) = once.expect("collect ends").unwrap();
    assert!(!all);
    let metrics = metrics(&exporter);
    let reason = [("reason", "connect")];
    for account in ["loyalty", "china"] {
        let own = [("account", account), reason[0]];
        let failures = metrics.sum("delivery_exporter_collect_failures_total", &own);
        assert!(failures >= 1.0, "{account}");
    }
    exporter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_and_slow_list_keeps_the_statistics_waiting_for_no_more_than_a_turn() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::scaled(begin(), FAST);
    // A thousand records of one day.
    let world = vendors(&clock, Duration::from_secs(86)).await;
    let slow = Fault::Delay(Duration::from_millis(20));
    world.servers[3].faults().add("/", slow, None);
    let mut account = alibaba(&world);
    account["interval"] = json!("3s");
    let config = parse(directory.path(), json!([account]));
    let exporter = Exporter::start(&config, clock).await.unwrap();
    eventually("there are statistics", async || {
        let sent = metrics(&exporter)
            .find("delivery_message_sent", &[("channel", "push")])
            .count();
        (sent > 10).then_some(())
    })
    .await;
    exporter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_names_no_message_watches_what_the_vendor_lists() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::scaled(begin(), FAST);
    let world = vendors(&clock, Duration::from_secs(3 * 3600)).await;
    let config = parse(
        directory.path(),
        json!([pushwoosh(&world), alibaba(&world)]),
    );
    let exporter = Exporter::start(&config, clock).await.unwrap();
    let shown = eventually("both accounts watch messages", async || {
        let metrics = metrics(&exporter);
        let tracked = |account| {
            let own = [("account", account)];
            metrics.sum("delivery_exporter_tracked_messages", &own) > 2.0
                && metrics.find("delivery_message_sent", &own).count() > 0
        };
        (tracked("loyalty") && tracked("china")).then_some(())
    });
    shown.await;
    exporter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_there_after_the_first_pass_and_in_collect() {
    let directory = tempfile::tempdir().unwrap();
    let (clock, _hand) = Clock::manual(begin());
    let world = vendors(&clock, Duration::from_secs(3600)).await;
    let mut account = pushwoosh(&world);
    account["collect"] = json!(["messages", "links", "link_devices"]);
    account["rate_limit"] = json!({"requests_per_second": 10_000, "burst": 10_000});
    let config = parse(directory.path(), json!([account]));
    let once = tokio::time::timeout(PATIENCE, Exporter::once(&config, clock)).await;
    let (exporter, all) = once.expect("collect ends").unwrap();
    assert!(all);
    let metrics = metrics(&exporter);
    for family in ["delivery_link_clicks", "delivery_link_devices"] {
        assert!(metrics.find(family, &[]).count() > 0, "{family}");
    }
    exporter.stop().await;
}
