//! The status page in a real Chromium: what it says is what the simulators have, nobody is shut out,
//! nothing comes from elsewhere.

use std::{path::Path, process::Command, time::Duration};

use delivery_clock::Clock;
use serde_json::{Value, json};

use super::{
    crash,
    harness::{Exporter, eventually},
    world,
};

/// What Chromium finds; `pictures` is where it leaves pictures.
fn look(exporter: &Exporter, arguments: &[&str]) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let done = Command::new(root.join("target/python/bin/python"))
        .arg(root.join("tests/e2e/browser.py"))
        .arg(format!("{}/", exporter.base))
        .args(arguments)
        .output()
        .expect("Python starts");
    let problems = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{problems}");
    serde_json::from_slice(&done.stdout).expect("it prints JSON")
}

/// A number as the page writes it.
fn number(text: &Value) -> f64 {
    let digits: String = text
        .as_str()
        .unwrap()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_page_says_what_the_vendors_have_to_everyone() {
    let directory = tempfile::tempdir().unwrap();
    let world = world::start(&Clock::system()).await;
    world.infobip.put_reports(crash::reports(0, 1200));
    let more = json!({"collection": {"zero_hold": "0s", "adopt_age": "0s", "interval": "1s", "max_interval": "1s"}});
    let config = world::configuration(&world, directory.path(), &more);
    let exporter = Exporter::start(directory.path(), &config).await;
    exporter
        .wait_for("every vendor has answered", |metrics| {
            metrics.sum("delivery_up", &[]) == 5.0
                && metrics.sum("delivery_delivered_total", &[("account", "mail")]) >= 1200.0
                && metrics.sum("delivery_message_sent", &[("account", "loyalty")]) > 60_000.0
        })
        .await;
    let mut from = 1200;
    eventually("a course is drawn", async || {
        world.infobip.put_reports(crash::reports(from, 10));
        from += 10;
        tokio::time::sleep(Duration::from_secs(1)).await;
        exporter
            .get("/")
            .await
            .1
            .contains("<polyline")
            .then_some(())
    })
    .await;
    let metrics = exporter.metrics().await;
    let pictures = std::env::var("STATUS_PICTURES").unwrap_or_else(|_| "-".to_owned());
    let found = look(&exporter, &[&pictures]);
    for (view, own) in found.as_object().unwrap() {
        assert_eq!(own["console"], json!([]), "{view}");
        assert_eq!(own["outside"], json!([]), "{view}");
        assert_eq!(own["violations"], json!([]), "{view}");
        assert_eq!(own["width"], own["wanted_width"], "{view}");
    }
    let accounts = found["desktop"]["accounts"].as_object().unwrap();
    let names: Vec<_> = accounts.keys().map(String::as_str).collect();
    assert_eq!(names, ["china", "loyalty", "mail", "news", "push"]);
    for (name, own) in accounts {
        let labels = [("account", name.as_str())];
        for (field, family) in [
            ("Sent", "delivery_sent_total"),
            ("Delivered", "delivery_delivered_total"),
        ] {
            let counted = metrics.sum(family, &labels);
            // More may have been counted since.
            assert!(number(&own[field]) >= counted, "{name} {field}: {own}");
            assert!(
                number(&own[field]) <= counted * 1.2 + 100.0,
                "{name} {field}: {own}"
            );
        }
        assert!(
            own["Last success"].as_str().unwrap().ends_with("ago"),
            "{own}"
        );
    }
    // A message as the vendor has it, and EngageLab's channels.
    let push = &accounts["push"]["tables"][0];
    let bulk = push
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row[0] == "3813836816344707101")
        .unwrap_or_else(|| panic!("{push}"));
    assert_eq!(bulk[4], "31\u{202f}569");
    assert_eq!(bulk[5], "29\u{202f}568");
    assert_eq!(bulk[6], "93.7 %");
    let channels: Vec<_> = accounts["news"]["tables"][0]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row[0].as_str().unwrap())
        .collect();
    for channel in ["fcm", "huawei", "xiaomi", "apns"] {
        assert!(channels.contains(&channel), "{channels:?}");
    }
    let courses: Vec<_> = accounts
        .values()
        .flat_map(|own| own["course"].as_array().unwrap())
        .collect();
    assert!(!courses.is_empty(), "no course is drawn");
    assert!(courses.iter().all(|words| {
        words
            .as_str()
            .unwrap()
            .starts_with("Delivery rate of the last 10 min: ")
    }));
    // The same without JavaScript.
    let plain = look(&exporter, &["-", "plain"]);
    assert_eq!(plain["desktop"]["accounts"].as_object().unwrap().len(), 5);
    let (_, page) = exporter.get("/").await;
    for secret in [
        delivery_simulators::credentials::INFOBIP_PASSWORD,
        "@example.com",
    ] {
        assert!(!page.contains(secret));
    }
}
