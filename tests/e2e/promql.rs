//! `rate()` and `increase()` over the counters, then `sum without(instance)`, give the truth over
//! births, crashes, restarts and takeovers: a real Prometheus stores what two replicas show.

use std::time::Duration;

use delivery_clock::Clock;
use delivery_simulators::{Running, credentials, infobip};
use serde_json::json;

use super::{
    harness::{Exporter, free_port},
    postgres::Postgres,
    prometheus::Prometheus,
};

const BULK: &str = "3813836816344707101";
/// What the vendor's number grows by, ten times a second.
const STEP: u64 = 7;

struct Vendor {
    infobip: infobip::Infobip,
    server: Running,
    delivered: u64,
}

impl Vendor {
    async fn start() -> Vendor {
        let clock = Clock::system();
        let options = infobip::Options {
            email_every: Duration::ZERO,
            ..infobip::Options::basic(
                credentials::INFOBIP_USERNAME,
                credentials::INFOBIP_PASSWORD,
                credentials::INFOBIP_APPLICATION,
            )
        };
        let hour = Duration::from_secs(3600);
        let infobip = infobip::Infobip::new(clock.clone(), 1, clock.now(), hour, options);
        let server = infobip
            .start(([127, 0, 0, 1], 0).into())
            .await
            .expect("it starts");
        let mut vendor = Vendor {
            infobip,
            server,
            delivered: 0,
        };
        vendor.put();
        vendor
    }

    fn put(&mut self) {
        let numbers = json!({"totalSent": 1_000_000, "delivered": self.delivered});
        self.infobip.put_bulk(BULK, numbers);
    }

    /// Lets the number grow for so long.
    async fn grow(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            self.delivered += STEP;
            self.put();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// What `increase` adds up by its rule of resets, without its extrapolation: a series' first
/// sample counts nothing, a lower one counts whole.
fn increase(series: &[f64]) -> f64 {
    series
        .windows(2)
        .map(|pair| {
            if pair[1] < pair[0] {
                pair[1]
            } else {
                pair[1] - pair[0]
            }
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_increase_over_all_instances_is_what_the_vendor_had() {
    let postgres = Postgres::start().await;
    let mut vendor = Vendor::start().await;
    let directory = tempfile::tempdir().unwrap();
    let replica = |name: &str| {
        let own = directory.path().join(name);
        std::fs::create_dir(&own).unwrap();
        let config = json!({
            "store": {"url": postgres.url(), "lease": "3s", "replica": name},
            // Longer than a scrape interval, as it has to be.
            "collection": {"interval": "1s", "zero_hold": "3s", "timeout": "2s", "adopt_age": "0s"},
            "providers": [{
                "name": "push", "type": "infobip_push", "base_url": vendor.server.base_url(),
                "credentials": {"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD},
                "applications": [{"id": credentials::INFOBIP_APPLICATION, "name": "shop"}],
                "messages": {"static": [BULK]},
            }],
        });
        (own, config.to_string(), free_port())
    };
    let (a, b) = (replica("a"), replica("b"));
    let targets = [&a, &b].map(|(_, _, port)| format!("127.0.0.1:{port}"));
    let prometheus = Prometheus::start_on(directory.path(), &targets).await;
    let start = async |replica: &(std::path::PathBuf, String, u16)| {
        Exporter::start_on(replica.2, &replica.0, &replica.1).await
    };
    let held = async |exporter: &Exporter| {
        exporter
            .wait_for("it holds the account", |metrics| {
                metrics.get("delivery_exporter_lease_held", &[]) == Some(1.0)
            })
            .await;
    };
    let first = start(&a).await;
    held(&first).await;
    let second = start(&b).await;
    vendor.grow(Duration::from_secs(8)).await;
    // A crash, and B takes over; a crash, and A; then B again, which goes on where it was.
    first.kill();
    held(&second).await;
    vendor.grow(Duration::from_secs(6)).await;
    let first = start(&a).await;
    vendor.grow(Duration::from_secs(2)).await;
    second.kill();
    held(&first).await;
    vendor.grow(Duration::from_secs(6)).await;
    let second = start(&b).await;
    vendor.grow(Duration::from_secs(1)).await;
    first.kill();
    held(&second).await;
    vendor.grow(Duration::from_secs(6)).await;
    // And one that ends in peace, and comes back on the same port.
    assert!(second.terminate().success());
    let second = start(&b).await;
    held(&second).await;
    vendor.grow(Duration::from_secs(3)).await;
    let everything = format!("{}", vendor.delivered);
    second
        .wait_for("everything is counted and released", |metrics| {
            metrics.get("delivery_exporter_held_increments", &[]) == Some(0.0)
                && metrics
                    .get("delivery_message_delivered", &[])
                    .is_some_and(|delivered| delivered.to_string() == everything)
        })
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let truth = vendor.delivered as f64;
    let series = prometheus.samples("delivery_delivered_total[10m]").await;
    assert_eq!(series.len(), 2, "one of each instance");
    let stored: f64 = series.iter().map(|series| increase(series)).sum();
    // What was released and never scraped before an instance changed: at most what grows in a
    // scrape interval and a pass, at each of four ends.
    let per_second = STEP as f64 * 10.0;
    let lost = 4.0 * per_second * 2.5;
    assert!(
        stored <= truth && stored >= truth - lost,
        "{stored} of {truth}, {lost} may be missing: {series:?}"
    );
    let query = "sum without(instance)(increase(delivery_delivered_total[10m]))";
    let bare = prometheus.query(query).await[0].1;
    // Its extrapolation reaches half a scrape interval beyond each end of a series.
    let beyond = 5.0 * per_second;
    assert!(
        bare <= truth + beyond && bare >= truth - lost - beyond,
        "{bare} of {truth}"
    );
    let ledger = postgres
        .ask("SELECT total, pending FROM delivery_exporter.counters WHERE key LIKE '%total%delivered'")
        .await
        .unwrap();
    assert_eq!(ledger, [[format!("c{everything}"), "c0".to_owned()]]);
}
