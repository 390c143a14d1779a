//! The demo is well, so nothing may alert on it, not even a pending alert: half an hour of the rules'
//! time in a real Prometheus, while people look at it with curl and a browser.
//!
//! The suite runs the rules at a fifteenth of their durations, two minutes; `QUIET_MINUTES=30` runs
//! them as they are shipped.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{
    harness::{Exporter, client, eventually_within},
    prometheus::Prometheus,
    rules::python,
};

/// How long the rules run in their own time.
const RULE_MINUTES: u64 = 30;
/// What curl and browsers send.
const CLIENTS: [(&str, &str); 2] = [
    ("curl/8.14.1", "*/*"),
    (
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "text/html,application/xhtml+xml,*/*;q=0.8",
    ),
];
/// Longer apart than the demo's `zero_hold`.
const VISITS: Duration = Duration::from_secs(13);

fn minutes() -> u64 {
    let text = std::env::var("QUIET_MINUTES").unwrap_or_else(|_| "2".to_owned());
    text.parse().expect("QUIET_MINUTES is a number")
}

/// Looks at the demo as people do.
async fn visit(base: &str, program: &str, accept: &str) {
    for path in ["/", "/metrics", "/api/v1/status", "/-/ready"] {
        let request = client().get(format!("{base}{path}"));
        let request = request
            .header("user-agent", program)
            .header("accept", accept);
        request.send().await.expect(path);
    }
}

/// The alerts that are pending or firing, in words.
async fn alarms(prometheus: &Prometheus, query: &str) -> Vec<String> {
    let found = prometheus.query(query).await;
    let text = |(labels, _)| Value::Object(labels).to_string();
    found.into_iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_untouched_demo_raises_no_alert() {
    let minutes = minutes();
    assert!((1..=RULE_MINUTES).contains(&minutes) && RULE_MINUTES.is_multiple_of(minutes));
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("delivery.rules.yml");
    let scale = (RULE_MINUTES / minutes).to_string();
    let written = python(&["-m", "source", "--scale", &scale, "--rules"])
        .arg(&rules)
        .status()
        .unwrap();
    assert!(written.success());
    let exporter = Exporter::spawn(directory.path(), &["demo".to_owned()]).await;
    let target = exporter.base.trim_start_matches("http://");
    let config = format!(
        "global: {{scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 15s}}\n\
         rule_files: ['{}']\n\
         scrape_configs:\n- job_name: delivery\n  static_configs: [{{targets: ['{target}']}}]\n",
        rules.display()
    );
    let prometheus = Prometheus::start_with(directory.path(), &config).await;
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    while Instant::now() < end {
        for (program, accept) in CLIENTS {
            visit(&exporter.base, program, accept).await;
        }
        let now = alarms(&prometheus, "ALERTS").await;
        assert_eq!(now, Vec::<String>::new(), "{}", exporter.log());
        tokio::time::sleep(VISITS).await;
    }
    let ever = alarms(&prometheus, "count_over_time(ALERTS[1h])").await;
    assert_eq!(ever, Vec::<String>::new());
    // The rules were evaluated, and on something.
    let patience = Duration::from_secs(60);
    eventually_within(patience, "the demo's sends are recorded", async || {
        let sent = prometheus.query("sum(delivery:sent:increase1h)").await;
        sent.first().is_some_and(|own| own.1 > 0.0).then_some(())
    })
    .await;
    let answer = prometheus.get("/api/v1/rules").await;
    let groups = answer["data"]["groups"].as_array().unwrap();
    let all: Vec<&Value> = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert!(all.len() > 100, "{}", all.len());
    for rule in all {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}
