//! The forecast of `check` against what a simulated week really asks for: the whole exporter on a clock that the
//! test moves, over real HTTP. `delivery_exporter_api_requests_total` is the judge.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use delivery_clock::{Clock, ManualClock};
use delivery_exporter::{
    app::Exporter,
    collector::{self, ExpectedMessages},
    config::{self, Account},
    outputs::exposition::{Format, render},
    providers::{self, Observer, RequestCode},
};
use delivery_simulators::{Options, World, credentials, engagelab};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    harness::{Metrics, PATIENCE},
    world,
};

const DAY: i64 = 86_400;
/// One message of each vendor in such a time.
const GAP: Duration = Duration::from_secs(8 * 3600);
/// So long, in real time, what is due may take before the clock goes on nevertheless.
const NUDGE_AFTER: Duration = Duration::from_millis(40);
/// The forecast may be off by so much. The simulated Pushwoosh always lists the next message, which is scheduled and so
/// asked for every interval: no forecast knows of it.
const MARGIN: f64 = 0.2;

struct Silent;

impl Observer for Silent {
    fn request(&self, _: delivery_exporter::model::Dataset, _: RequestCode) {}
    fn retry(&self, _: delivery_exporter::model::Dataset) {}
    fn rate_limited(&self, _: delivery_exporter::model::Dataset) {}
    fn unknown_field(&self, _: delivery_exporter::model::Dataset, _: &str) {}
}

/// Lets the time go on to `until`, from one due time to the next.
async fn go_on(exporter: &Exporter, hand: &ManualClock, until: Timestamp) {
    let (mut moved_at, mut end) = (Instant::now(), Instant::now() + PATIENCE);
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let now = exporter.clock().now();
        let accounts = exporter.current_status().accounts;
        let next = accounts.iter().filter_map(|account| account.next).min();
        let by = match next {
            Some(next) if next > now => {
                end = Instant::now() + PATIENCE;
                next.min(until).duration_since(now)
            }
            // Something waits for its turn by `rate_limit`.
            _ if moved_at.elapsed() > NUDGE_AFTER => SignedDuration::from_secs(1),
            _ => {
                assert!(Instant::now() < end, "still due at {now}: {next:?}");
                continue;
            }
        };
        if now >= until {
            return;
        }
        hand.advance(Duration::try_from(by).unwrap());
        moved_at = Instant::now();
    }
}

/// What the customer names: what was sent before the week began.
fn known(messages: &[delivery_simulators::Known]) -> Value {
    json!(world::named(messages, &[]))
}

fn configuration(world: &World, directory: &Path) -> String {
    let [infobip, engagelab, pushwoosh, alibaba] = &world.servers;
    let password = json!({"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD});
    json!({
        "store": world::store(directory),
        "collection": {"interval": "15m", "stale_after": "1h", "zero_hold": "0s"},
        "provider_defaults": {"per_message": {"max_messages": 0}},
        "providers": [
            {"name": "push", "type": "infobip_push", "base_url": infobip.base_url(), "credentials": password,
             "applications": [{"id": credentials::INFOBIP_APPLICATION}],
             "messages": {"static": known(&world.infobip.messages())}},
            {"name": "mail", "type": "infobip_email", "base_url": infobip.base_url(), "credentials": password},
            {"name": "news", "type": "engagelab", "base_url": engagelab.base_url(),
             "credentials": {"app_key": credentials::ENGAGELAB_APP_KEY, "master_secret": credentials::ENGAGELAB_MASTER_SECRET},
             "collect": ["messages", "users", "lifecycle"], "canaries": engagelab::CANARIES,
             "dataset_intervals": {"lifecycle": "2h"},
             "messages": {"static": known(&world.engagelab.messages())}},
            {"name": "loyalty", "type": "pushwoosh", "base_url": pushwoosh.base_url(),
             "credentials": {"api_token": credentials::PUSHWOOSH_API_TOKEN},
             "collect": ["messages", "bounces", "intervals", "log", "links", "link_devices"],
             "dataset_intervals": {"bounces": "30m", "log": "30m", "intervals": "6h"},
             "applications": [{"id": credentials::PUSHWOOSH_APPLICATIONS[1]}]},
            {"name": "china", "type": "alibaba_push", "base_url": alibaba.base_url(),
             "credentials": {"access_key_id": credentials::ALIBABA_KEY_ID, "access_key_secret": credentials::ALIBABA_KEY_SECRET},
             "applications": [{"id": credentials::ALIBABA_APP_KEY}]},
        ],
    })
    .to_string()
}

/// The messages of an account as `check` would expect them: those that are named, or the vendor's own traffic.
fn expected(account: &Account, each_day: f64) -> ExpectedMessages {
    let fixed = account.messages.fixed.iter();
    ExpectedMessages {
        named: fixed.map(|entry| entry.sent_at).collect(),
        each_day: if account.messages.list { each_day } else { 0.0 },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forecast_of_a_week_is_within_a_fifth_of_its_requests() {
    let directory = tempfile::tempdir().unwrap();
    let began: Timestamp = "2026-11-02T09:00:00Z".parse().unwrap();
    let (clock, hand) = Clock::manual(began);
    let options = Options {
        gap: GAP,
        history: Duration::from_secs(28 * 86_400),
        ..Options::default()
    };
    let world = World::start(options, &clock).await.unwrap();
    let text = configuration(&world, directory.path());
    let path = directory.path().join("config.yaml");
    fs::write(&path, &text).unwrap();
    let config = config::load(&path, &|_| None).unwrap();
    let exporter = Exporter::start(&config, clock.clone()).await.unwrap();
    let until = began + SignedDuration::from_secs(7 * DAY);
    go_on(&exporter, &hand, until).await;
    let metrics = Metrics::read(&render(exporter.table(), until, Format::OpenMetrics));
    exporter.stop().await;
    let failures = metrics.sum("delivery_exporter_collect_failures_total", &[]);
    assert_eq!(failures, 0.0, "{}", metrics.text);
    let (mut table, mut wrong) = (String::new(), 0);
    for account in &config.accounts {
        let provider =
            providers::build(account, clock.clone(), std::sync::Arc::new(Silent)).unwrap();
        let tracked = [("account", &*account.name)];
        let tracked = metrics.sum("delivery_exporter_tracked_messages", &tracked);
        let max_age = account.messages.max_age.as_secs_f64() / DAY as f64;
        let each_day = tracked / max_age;
        let expected = [expected(account, each_day)];
        let forecast = collector::forecast(account, provider.as_ref(), &expected, began);
        for own in &forecast.datasets {
            let labels = [
                ("account", &*account.name),
                ("dataset", own.dataset.as_str()),
            ];
            let asked = metrics.sum("delivery_exporter_api_requests_total", &labels) / 7.0;
            let off = own.each_day / asked - 1.0;
            let line = format!(
                "{} {}: {:.1} a day forecast, {asked:.1} asked, {:+.0} %\n",
                account.name,
                own.dataset,
                own.each_day,
                off * 100.0
            );
            wrong += usize::from(off.is_nan() || off.abs() > MARGIN);
            table += &line;
        }
    }
    println!("{table}");
    assert_eq!(wrong, 0, "{table}");
}
