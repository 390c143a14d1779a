//! The endpoints for programs: registration, webhooks, probes; and lists of messages from elsewhere.

use std::sync::Arc;

use delivery_simulators::{Running, credentials, infobip};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    crash::{self, reports},
    harness::{Exporter, client, eventually},
};

const TOKEN: &str = "a-token-for-the-api";

/// A vendor with some bulks, and the configuration of an account on it.
async fn world(bulks: &[&str], messages: Value) -> (infobip::Infobip, Running, Value) {
    let (vendor, server) = crash::vendor().await;
    for bulk in bulks {
        vendor.put_bulk(bulk, json!({"totalSent": 10, "delivered": 9}));
    }
    let config = json!({
        "server": {"api_token": TOKEN},
        "collection": {"zero_hold": "0s", "interval": "1s"},
        "providers": [{
            "name": "push", "type": "infobip_push", "base_url": server.base_url(), "timeout": "2s",
            "credentials": {"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD},
            "applications": [{"id": credentials::INFOBIP_APPLICATION, "name": "shop"}],
            "messages": messages,
        }, {
            "name": "mail", "type": "infobip_email", "base_url": server.base_url(), "timeout": "2s",
            "webhook_token": "a-token-of-the-hook",
            "credentials": {"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD},
        }],
    });
    (vendor, server, config)
}

struct Api<'e> {
    exporter: &'e Exporter,
    token: &'static str,
}

impl Api<'_> {
    async fn ask(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let request = client()
            .request(method, format!("{}{path}", self.exporter.base))
            .bearer_auth(self.token)
            .body(body.to_owned());
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    async fn register(&self, body: &Value) -> (u16, Value) {
        self.ask(Method::POST, "/api/v1/messages", &body.to_string())
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_messages_are_watched_also_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let (_vendor, _server, config) = world(&["7", "3813836816344707101"], json!({})).await;
    let exporter = Exporter::start(directory.path(), &config.to_string()).await;
    let api = Api {
        exporter: &exporter,
        token: TOKEN,
    };
    let whole = json!([
        {"account": "push", "id": 3_813_836_816_344_707_101_u64, "campaign": "spring"},
        {"account": "push", "id": "7", "application": "shop"},
    ]);
    assert_eq!(api.register(&whole).await, (200, json!({"accepted": 2})));
    // Durable before it was answered, and the same again is the same.
    exporter.kill();
    let exporter = Exporter::start(directory.path(), &config.to_string()).await;
    let api = Api {
        exporter: &exporter,
        token: TOKEN,
    };
    assert_eq!(api.register(&whole).await.0, 200);
    let metrics = exporter
        .wait_for("both are watched", |metrics| {
            metrics.sum("delivery_message_sent", &[]) == 20.0
        })
        .await;
    let spring = [("campaign", "spring")];
    assert_eq!(
        metrics.get("delivery_message_delivered", &spring),
        Some(9.0)
    );
    assert_eq!(
        metrics.get("delivery_exporter_tracked_messages", &[("account", "push")]),
        Some(2.0)
    );
    let (status, listed) = api
        .ask(Method::GET, "/api/v1/messages?account=push", "")
        .await;
    assert_eq!(status, 200);
    let entries = listed["messages"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(
        (
            &entries[0]["id"],
            &entries[0]["campaign"],
            &entries[0]["application"]
        ),
        (
            &json!("3813836816344707101"),
            &json!("spring"),
            &json!("shop")
        )
    );
    let (status, state) = api.ask(Method::GET, "/api/v1/status", "").await;
    assert_eq!(status, 200);
    let totals = state["accounts"][0]["totals"].as_array().unwrap();
    let sent = totals
        .iter()
        .find(|own| own["metric"] == "delivery_sent_total")
        .unwrap();
    assert_eq!(
        (&sent["total"], &sent["labels"]["channel"]),
        (&json!(20), &json!("push"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_is_taken_whole_or_refused_with_the_place_of_its_first_fault() {
    let directory = tempfile::tempdir().unwrap();
    let (_vendor, _server, config) = world(&[], json!({"static": ["1"]})).await;
    let exporter = Exporter::start(directory.path(), &config.to_string()).await;
    let api = Api {
        exporter: &exporter,
        token: TOKEN,
    };
    let good = json!({"account": "push", "id": "8"});
    for (second, status, said) in [
        (json!({"account": "push"}), 400, "entry 1: id: is missing"),
        (json!({"id": "1"}), 400, "entry 1: account: is missing"),
        (
            json!({"account": "other", "id": "1"}),
            404,
            "entry 1: account: there is no account other",
        ),
        (
            json!({"account": "mail", "id": "1"}),
            400,
            "entry 1: account: ",
        ),
        (
            json!({"account": "push", "id": "1", "application": "x"}),
            400,
            "entry 1: application: ",
        ),
        (
            json!({"account": "push", "id": "1", "sent_at": "yesterday"}),
            400,
            "entry 1: sent_at: ",
        ),
        (
            json!({"account": "push", "id": "1", "sent_at": "2001-01-01T00:00:00Z"}),
            400,
            "entry 1: sent_at: ",
        ),
        (
            json!({"account": "push", "id": "1", "sentAt": "x"}),
            400,
            "entry 1: sentAt: unknown",
        ),
        (
            json!({"account": "push", "id": ["1"]}),
            400,
            "entry 1: id: must be a string",
        ),
        (
            json!({"account": "push", "id": "9".repeat(70_000)}),
            400,
            "entry 1: id: is longer than 512 bytes",
        ),
        (
            json!({"account": "push", "id": "1", "campaign": "ä".repeat(257)}),
            400,
            "entry 1: campaign: is longer than 512 bytes",
        ),
        (
            json!({"account": "push", "id": "1", "application": "x".repeat(513)}),
            400,
            "entry 1: application: is longer than 512 bytes",
        ),
        (json!("1"), 400, "entry 1: account: "),
    ] {
        let (got, answer) = api.register(&json!([good, second])).await;
        let text = answer["error"].as_str().unwrap();
        assert!(got == status && text.starts_with(said), "{got} {text}");
    }
    assert_eq!(api.ask(Method::POST, "/api/v1/messages", "{").await.0, 400);
    let values = json!([good, vec![0; 250_000]]);
    let (got, answer) = api.register(&values).await;
    let text = answer["error"].as_str().unwrap();
    assert!(got == 400 && text.contains("250000 JSON values"), "{text}");
    let many: Vec<_> = (0..10_001).map(|_| &good).collect();
    assert_eq!(api.register(&json!(many)).await.0, 413);
    let (_, listed) = api
        .ask(Method::GET, "/api/v1/messages?account=push", "")
        .await;
    let taken = |own: &Value| own["id"] == "8";
    assert!(
        !listed["messages"].as_array().unwrap().iter().any(taken),
        "none of them was taken"
    );
    assert_eq!(
        api.ask(Method::GET, "/api/v1/messages?account=x", "")
            .await
            .0,
        404
    );
    let stranger = Api {
        exporter: &exporter,
        token: "wrong",
    };
    assert_eq!(stranger.register(&good).await.0, 401);
    assert_eq!(stranger.ask(Method::GET, "/api/v1/status", "").await.0, 401);
    let log = exporter.log();
    assert!(!log.contains(TOKEN), "{log}");
    // Without a token there is no API.
    let mut closed = config.clone();
    closed["server"] = json!({});
    drop(exporter);
    let exporter = Exporter::start(directory.path(), &closed.to_string()).await;
    let api = Api {
        exporter: &exporter,
        token: TOKEN,
    };
    assert_eq!(api.register(&good).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_comes_by_both_ways_counts_once() {
    let directory = tempfile::tempdir().unwrap();
    let (vendor, _server, config) = world(&[], json!({"static": ["1"]})).await;
    let exporter = Exporter::start(directory.path(), &config.to_string()).await;
    let hook = async |end: &str, authorization: Option<&str>, body: String| {
        let mut request = client()
            .post(format!(
                "{}/webhooks/infobip/email/mail{end}",
                exporter.base
            ))
            .body(body);
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let pushed =
        |from, count| json!({"results": reports(from, count).collect::<Vec<_>>()}).to_string();
    let bearer = Some("Bearer a-token-of-the-hook");
    assert_eq!(hook("", None, pushed(0, 1)).await, 401);
    assert_eq!(hook("/wrong", None, pushed(0, 1)).await, 401);
    assert_eq!(hook("", bearer, pushed(0, 3)).await, 200);
    let delivered = |metrics: &super::harness::Metrics| {
        metrics.sum("delivery_delivered_total", &[("channel", "email")])
    };
    assert_eq!(
        delivered(&exporter.metrics().await),
        3.0,
        "durable, and counted"
    );
    // Polled: two of the same, and two more.
    vendor.put_reports(reports(1, 4));
    exporter
        .wait_for("the polled ones are counted", |metrics| {
            delivered(metrics) == 5.0
        })
        .await;
    // The others' ways: as password, and in the path.
    assert_eq!(
        hook(
            "",
            Some("Basic dXNlcjphLXRva2VuLW9mLXRoZS1ob29r"),
            pushed(0, 5)
        )
        .await,
        200
    );
    assert_eq!(hook("/a-token-of-the-hook", None, pushed(5, 1)).await, 200);
    let event = |kind: &str, id: &str| {
        json!({"notificationType": kind, "eventId": id, "recipient": "a@example.com"}).to_string()
    };
    for (kind, id) in [
        ("COMPLAINED", "c"),
        ("COMPLAINED", "c"),
        ("UNSUBSCRIBED", "u"),
        ("LATE_BOUNCE", "b"),
        ("OPENED", "o"),
    ] {
        assert_eq!(hook("", bearer, event(kind, id)).await, 200);
    }
    assert_eq!(hook("", bearer, "<ReportsResponse/>".into()).await, 200);
    let metrics = exporter.metrics().await;
    assert_eq!(delivered(&metrics), 6.0);
    assert_eq!(
        metrics.sum("delivery_exporter_reports_duplicate_total", &[]),
        7.0
    );
    assert_eq!(
        metrics.sum("delivery_complaints_total", &[("account", "mail")]),
        1.0
    );
    assert_eq!(
        metrics.sum("delivery_unsubscribed_total", &[("account", "mail")]),
        1.0
    );
    assert_eq!(
        metrics.sum("delivery_bounces_total", &[("kind", "hard")]),
        1.0
    );
    assert_eq!(
        metrics.get("delivery_exporter_quarantined_bodies", &[]),
        Some(1.0)
    );
    let outcomes = [
        "counted",
        "duplicate",
        "unsupported",
        "quarantined",
        "refused",
    ]
    .map(|own| {
        metrics.get(
            "delivery_exporter_webhook_requests_total",
            &[("outcome", own)],
        )
    });
    assert_eq!(
        outcomes,
        [Some(5.0), Some(2.0), Some(1.0), Some(1.0), Some(2.0)]
    );
    for text in [&metrics.text, &exporter.log()] {
        assert!(!text.contains("a-token-of-the-hook") && !text.contains("example.com"));
    }
    let other = client().post(format!("{}/webhooks/infobip/email/push", exporter.base));
    assert_eq!(other.send().await.unwrap().status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_asks_for_one_message_and_a_storm_is_one_request() {
    let directory = tempfile::tempdir().unwrap();
    let (_vendor, server, mut config) = world(&["7"], json!({"static": ["1"]})).await;
    config["collection"]["interval"] = json!("1h");
    config["collection"]["stale_after"] = json!("3h");
    let exporter = Exporter::start(directory.path(), &config.to_string()).await;
    exporter
        .wait_for("the first passes are over", |metrics| {
            metrics.find("delivery_up", &[]).count() == 2
        })
        .await;
    let before = server.received().len();
    let exporter = Arc::new(exporter);
    let mut storm = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let own = exporter.clone();
        storm.spawn(async move { own.get("/probe?account=push&message_id=7").await });
    }
    while let Some(probed) = storm.join_next().await {
        let (status, text) = probed.unwrap();
        assert_eq!(status, 200);
        let metrics = super::harness::Metrics::read(&text);
        assert_eq!(metrics.get("delivery_message_delivered", &[]), Some(9.0));
        assert_eq!(metrics.get("probe_success", &[]), Some(1.0));
        assert!(metrics.get("probe_duration_seconds", &[]) > Some(0.0));
        assert!(
            metrics.samples.keys().all(
                |(name, _)| name.starts_with("delivery_message_") || name.starts_with("probe_")
            )
        );
    }
    assert_eq!(
        server.received().len(),
        before + 1,
        "one request for all of them"
    );
    let (_, text) = exporter.get("/probe?account=push&message_id=404").await;
    assert!(text.contains("probe_success 0"), "{text}");
    for (path, status) in [
        ("/probe?account=mail&message_id=1", 400),
        ("/probe?account=push", 400),
        ("/probe?message_id=1", 400),
        ("/probe?account=other&message_id=1", 404),
        ("/probe?account=push&message_id=1&application=other", 400),
    ] {
        assert_eq!(exporter.get(path).await.0, status, "{path}");
    }
    // It never feeds the ledger.
    let metrics = exporter.metrics().await;
    assert_eq!(
        metrics.sum("delivery_sent_total", &[("account", "push")]),
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_probes_gets_its_share_and_the_polling_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (_vendor, server, mut config) = world(&["7"], json!({"static": ["7"]})).await;
    config["collection"]["interval"] = json!("1s");
    let exporter = Arc::new(Exporter::start(directory.path(), &config.to_string()).await);
    exporter
        .wait_for("the first pass is over", |metrics| {
            metrics.get("delivery_up", &[("account", "push")]) == Some(1.0)
        })
        .await;
    let before = server.received().len();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(8);
    let mut flood = tokio::task::JoinSet::new();
    for task in 0..8 {
        let base = exporter.base.clone();
        flood.spawn(async move {
            let (mut answered, mut refused) = (0, 0);
            while std::time::Instant::now() < end {
                let url = format!("{base}/probe?account=push&message_id={task}{answered}{refused}");
                let answer = client().get(url).send().await.unwrap();
                match answer.status().as_u16() {
                    200 => answered += 1,
                    429 => {
                        refused += 1;
                        assert!(answer.headers().contains_key("retry-after"));
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                    status => panic!("{status}"),
                }
            }
            (answered, refused)
        });
    }
    let (mut answered, mut refused) = (0, 0);
    while let Some(counts) = flood.join_next().await {
        let (own_answered, own_refused) = counts.unwrap();
        answered += own_answered;
        refused += own_refused;
    }
    // A burst of five, and one a second of the account's five.
    assert!(
        (6..=16).contains(&answered),
        "{answered} probes were answered"
    );
    assert!(refused > 50, "{refused}");
    let polls = server.received().len() - before - answered;
    assert!(
        polls >= 5,
        "{polls} queries of the collector in 8 intervals"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_http_lists_are_followed_without_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let list = Arc::new(std::sync::Mutex::new(
        json!([{"id": "11", "campaign": "by-http"}]),
    ));
    let served = list.clone();
    let router = axum::Router::new().route(
        "/messages",
        axum::routing::get(async move || served.lock().unwrap().to_string()),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/messages", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let messages = json!({
        "files": ["messages/*.yaml"], "http": [{"url": url, "refresh_interval": "1s"}],
    });
    let (_vendor, _server, config) = world(&["11", "12", "21", "22"], messages).await;
    std::fs::create_dir(directory.path().join("messages")).unwrap();
    let file = directory.path().join("messages/own.yaml");
    std::fs::write(&file, "- {id: \"21\", campaign: by-file}\n").unwrap();
    let exporter = Exporter::start(directory.path(), &config.to_string()).await;
    let seen = async |count: usize| {
        let what = format!("{count} messages are watched");
        exporter
            .wait_for(&what, |metrics| {
                metrics.find("delivery_message_sent", &[]).count() == count
            })
            .await
    };
    let metrics = seen(2).await;
    for campaign in ["by-http", "by-file"] {
        assert_eq!(
            metrics.sum("delivery_message_sent", &[("campaign", campaign)]),
            10.0
        );
    }
    *list.lock().unwrap() = json!([{"id": "12"}]);
    std::fs::write(directory.path().join("next"), "- \"22\"\n").unwrap();
    std::fs::rename(directory.path().join("next"), &file).unwrap();
    seen(4).await;
    // Broken lists leave what is known, and say so.
    *list.lock().unwrap() = json!({"error": "down"});
    std::fs::write(&file, "- {id: \n").unwrap();
    let metrics = exporter
        .wait_for("both are said to be broken", |metrics| {
            ["file", "http"].iter().all(|source| {
                metrics.get("delivery_exporter_discovery_success", &[("source", source)])
                    == Some(0.0)
            })
        })
        .await;
    assert_eq!(metrics.find("delivery_message_sent", &[]).count(), 4);
    eventually("the log says where", async || {
        let log = exporter.log();
        (log.contains("own.yaml:") && log.contains("/messages")).then_some(())
    })
    .await;
    std::fs::write(&file, "[]\n").unwrap();
    exporter
        .wait_for("the file is good again", |metrics| {
            metrics.get("delivery_exporter_discovery_success", &[("source", "file")]) == Some(1.0)
        })
        .await;
}
