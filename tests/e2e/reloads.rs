//! Reloads that fail after the configuration was read: what ran before goes on as it was, and the failure shows.

use std::{fs, path::Path};

use delivery_simulators::credentials;
use serde_json::{Value, json};

use super::{
    crash,
    harness::{Exporter, Metrics, client, eventually},
};

const TOKEN: &str = "a-token-of-the-api";

fn account(name: &str, base_url: &str, team: &str) -> Value {
    json!({
        "name": name, "type": "infobip_email", "base_url": base_url, "labels": {"team": team},
        "credentials": {"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD},
    })
}

fn write(directory: &Path, providers: &[Value], more: &Value) -> String {
    let mut config = json!({
        "server": {"api_token": TOKEN},
        "store": {"spool": "spool", "url": "sqlite:delivery.db"},
        "collection": {"zero_hold": "0s", "interval": "1s"},
        "providers": providers,
    });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    fs::write(directory.join("config.yaml"), config.to_string()).unwrap();
    config.to_string()
}

fn requests(metrics: &Metrics) -> f64 {
    let own = [("account", "mail"), ("team", "first")];
    metrics.sum("delivery_exporter_api_requests_total", &own)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_fails_late_leaves_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (_vendor, server) = crash::vendor().await;
    let base = server.base_url();
    let old = [account("mail", &base, "first")];
    let config = write(path, &old, &json!({}));
    let flags = ["--web.enable-lifecycle"];
    let exporter = Exporter::start_with(path, &config, &flags).await;
    let up = |metrics: &Metrics| metrics.get("delivery_up", &[("account", "mail")]) == Some(1.0);
    exporter.wait_for("the account is up", up).await;
    // Where the new account's bodies would go stands a file.
    fs::write(path.join("spool/new"), "in the way").unwrap();
    let new = [
        account("mail", &base, "second"),
        account("new", &base, "second"),
    ];
    let broken_otlp = json!({"otlp": {"endpoint": "https://127.0.0.1:9", "tls": {"ca_file": "no-certificate.pem"}}});
    fs::write(path.join("no-certificate.pem"), "no certificate").unwrap();
    for (providers, more, expected) in [
        (&new[..], json!({}), "spool/new"),
        (&new[..1], broken_otlp, "otlp"),
    ] {
        write(path, providers, &more);
        let (status, said) = exporter.post("/-/reload").await;
        assert_eq!(status, 500, "{said}");
        assert!(said.contains(expected), "{said}");
        let before = exporter.metrics().await;
        let successful = "delivery_exporter_config_last_reload_successful";
        assert_eq!(before.get(successful, &[]), Some(0.0));
        assert_eq!(before.sum("delivery_up", &[("account", "new")]), 0.0);
        // The old account is asked again and again, under its old labels.
        exporter
            .wait_for("the old account is asked on", |metrics| {
                requests(metrics) >= requests(&before) + 3.0 && up(metrics)
            })
            .await;
        assert_eq!(exporter.get("/-/ready").await.0, 200);
        let status = client()
            .get(format!("{}/api/v1/status", exporter.base))
            .bearer_auth(TOKEN);
        let status = status.send().await.unwrap().text().await.unwrap();
        let status: Value = serde_json::from_str(&status).unwrap();
        let accounts = status["accounts"].as_array().unwrap();
        assert_eq!(accounts.len(), 1, "{status}");
        assert!(exporter.log().contains("the old one stays in force"));
    }
    // What was in the way is gone: the same configuration is taken.
    fs::remove_file(path.join("spool/new")).unwrap();
    write(path, &new, &json!({}));
    let said = exporter.post("/-/reload").await;
    assert_eq!(said, (200, "reloaded\n".to_owned()));
    eventually("both accounts are up", async || {
        let metrics = exporter.metrics().await;
        (metrics.sum("delivery_up", &[("team", "second")]) == 2.0).then_some(())
    })
    .await;
    assert!(exporter.terminate().success());
}
