//! What goes wrong at a vendor or on the way, each on an account of its own: what the metrics and
//! the log say, that the other accounts do not notice, and that no secret is anywhere.

use std::{sync::Arc, time::Duration};

use delivery_clock::Clock;
use delivery_simulators::{Running, faults::Fault, infobip};
use serde_json::{Value, json};

use super::harness::{Exporter, Metrics};

const APPLICATION: &str = "15f5e3f8ef4018d73a6822eff5dc38a9";
const PASSWORD: &str = "open-sesame-and-tell-nobody";

/// One account with a fault.
struct Case {
    name: &'static str,
    fault: Option<(Fault, Option<u32>)>,
    /// The reason of the failures; empty: there are none.
    reason: &'static str,
    /// What the log says, in a line of this account.
    log: &'static str,
    /// More to check.
    check: fn(&Metrics, &str),
}

/// Changes the vendor's answer.
fn edit(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Option<(Fault, Option<u32>)> {
    Some((Fault::Edit(Arc::new(change)), None))
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Fault {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Fault::Answer {
        status,
        headers,
        body: body.to_owned(),
    }
}

fn has_no_numbers(metrics: &Metrics, account: &str) {
    let own = [("account", account)];
    assert_eq!(
        metrics.find("delivery_message_sent", &own).count(),
        0,
        "{account}"
    );
}

fn was_tried_again(metrics: &Metrics, account: &str) {
    let retries = metrics.sum(
        "delivery_exporter_api_retries_total",
        &[("account", account)],
    );
    assert!(retries >= 1.0, "{account}: {retries}");
}

fn is_set_aside(metrics: &Metrics, account: &str) {
    was_not_tried_again(metrics, account);
    let own = [("account", account), ("reason", "NOT_FOUND")];
    assert_eq!(
        metrics.sum("delivery_exporter_rejected_messages_total", &own),
        1.0
    );
}

fn was_not_tried_again(metrics: &Metrics, account: &str) {
    let retries = metrics.sum(
        "delivery_exporter_api_retries_total",
        &[("account", account)],
    );
    assert_eq!(retries, 0.0, "{account}");
}

fn requests(metrics: &Metrics, account: &str, code: &str) -> f64 {
    let own = [("account", account), ("code", code)];
    metrics.sum("delivery_exporter_api_requests_total", &own)
}

fn cases() -> Vec<Case> {
    let plain = |name, fault: Fault, reason, log, check| Case {
        name,
        fault: Some((fault, None)),
        reason,
        log,
        check,
    };
    vec![
        Case {
            name: "well",
            fault: None,
            reason: "",
            log: "",
            check: |metrics, account| {
                let sent = metrics.get("delivery_message_sent", &[("account", account)]);
                assert_eq!(sent, Some(31569.0));
            },
        },
        Case {
            name: "wrong-password",
            fault: None,
            reason: "unauthorized",
            log: "check the credentials",
            check: has_no_numbers,
        },
        Case {
            name: "unknown-application",
            fault: None,
            reason: "",
            log: "the vendor refuses this message",
            check: is_set_aside,
        },
        Case {
            name: "unknown-message",
            fault: None,
            reason: "",
            log: "the vendor refuses this message",
            check: is_set_aside,
        },
        Case {
            name: "too-many-requests",
            fault: Some((
                answer(
                    429,
                    &[("retry-after", "1")],
                    r#"{"requestError":{"serviceException":{"messageId":"TOO_MANY_REQUESTS","text":"Too many requests"}}}"#,
                ),
                Some(1),
            )),
            reason: "",
            log: "",
            check: |metrics, account| {
                let limited = metrics.sum(
                    "delivery_exporter_rate_limited_total",
                    &[("account", account)],
                );
                assert_eq!((limited, requests(metrics, account, "429")), (1.0, 1.0));
                was_tried_again(metrics, account);
                assert!(requests(metrics, account, "200") >= 1.0);
            },
        },
        plain(
            "server-error",
            answer(
                500,
                &[],
                r#"{"errorCode":"E500","description":"Something went wrong."}"#,
            ),
            "vendor",
            "E500: Something went wrong.",
            was_tried_again,
        ),
        plain(
            "hang",
            Fault::Hang,
            "timeout",
            "no answer within 500 ms",
            was_tried_again,
        ),
        plain(
            "cut",
            Fault::Cut(40),
            "body",
            "the answer was cut off",
            was_tried_again,
        ),
        plain(
            "reset",
            Fault::Reset,
            "connect",
            "the request failed",
            was_tried_again,
        ),
        plain(
            "page",
            answer(
                200,
                &[("content-type", "text/html")],
                "<html>Sign in</html>",
            ),
            "decode",
            "is a proxy in between",
            |metrics, account| {
                assert!(requests(metrics, account, "decode") >= 1.0);
            },
        ),
        plain(
            "endless",
            Fault::Endless(1 << 30),
            "too_large",
            "larger than 1048576 bytes",
            |metrics, account| {
                assert!(requests(metrics, account, "body") >= 1.0);
            },
        ),
        plain(
            "redirect",
            answer(302, &[("location", "http://127.0.0.1:1/")], ""),
            "redirect",
            "check base_url",
            was_not_tried_again,
        ),
        Case {
            name: "texts",
            fault: edit(|value| {
                value["totalSent"] = json!("31569");
                value["delivery"]["rate"] = json!("93.66");
            }),
            reason: "",
            log: "",
            check: |metrics, account| {
                let own = [("account", account)];
                assert_eq!(metrics.get("delivery_message_sent", &own), Some(31569.0));
                assert_eq!(
                    metrics.get("delivery_message_reported_delivery_ratio", &own),
                    Some(0.9366)
                );
            },
        },
        Case {
            name: "nulls",
            fault: edit(|value| {
                value["delivered"] = Value::Null;
                value["errors"] = Value::Null;
            }),
            reason: "",
            log: "",
            check: |metrics, account| {
                let own = [("account", account)];
                assert_eq!(metrics.get("delivery_message_sent", &own), Some(31569.0));
                for absent in [
                    "delivery_message_delivered",
                    "delivery_message_errors",
                    "delivery_message_delivery_ratio",
                ] {
                    assert_eq!(metrics.find(absent, &own).count(), 0, "{absent}");
                }
            },
        },
        Case {
            name: "keys",
            fault: edit(|value| {
                value.as_object_mut().unwrap().remove("seen");
                value["brandNew"] = json!({"a": 1});
            }),
            reason: "",
            log: "",
            check: |metrics, account| {
                assert_eq!(
                    metrics
                        .find("delivery_message_displayed", &[("account", account)])
                        .count(),
                    0
                );
                let unknown = [("account", account), ("field", "brandNew")];
                assert!(
                    metrics
                        .get("delivery_exporter_unknown_fields_total", &unknown)
                        .unwrap()
                        >= 1.0
                );
            },
        },
        Case {
            name: "negative",
            fault: edit(|value| value["delivered"] = json!(-1)),
            reason: "decode",
            log: "delivered is no count: negative",
            check: has_no_numbers,
        },
        Case {
            name: "huge",
            fault: edit(|value| value["totalSent"] = json!(1_u64 << 53)),
            reason: "decode",
            log: "totalSent is no count: 2^53 or more",
            check: has_no_numbers,
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_told_and_touches_no_other_account() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let mut servers: Vec<Running> = Vec::new();
    let mut providers = Vec::new();
    for case in cases() {
        let options = infobip::Options::basic("user", PASSWORD, APPLICATION);
        let vendor = infobip::Infobip::new(
            clock.clone(),
            1,
            clock.now(),
            Duration::from_secs(3600),
            options,
        );
        vendor.put_bulk(
            "3813836816344707101",
            json!({"totalSent": 31569, "delivered": 29568, "seen": 25632,
                "errors": {"registration": 1654, "expired": 301, "cloud": 46}, "delivery": {"rate": 93.66}}),
        );
        let server = vendor.start(([127, 0, 0, 1], 0).into()).await.unwrap();
        if let Some((fault, times)) = case.fault {
            server.faults().add("/push", fault, times);
        }
        let password = if case.name == "wrong-password" {
            "wrong-and-secret-too"
        } else {
            PASSWORD
        };
        let application = if case.name == "unknown-application" {
            "another"
        } else {
            APPLICATION
        };
        let message = if case.name == "unknown-message" {
            "1"
        } else {
            "3813836816344707101"
        };
        let sent_at = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(30);
        let sent_at = sent_at.to_string();
        providers.push(json!({
            "name": case.name, "type": "infobip_push", "base_url": server.base_url(),
            "interval": "3s", "timeout": "500ms",
            "credentials": {"username": "user", "password": password},
            "applications": [{"id": application, "name": "shop"}],
            // Old enough that the vendor must know it.
            "messages": {"static": [{"id": message, "sent_at": sent_at}]},
        }));
        servers.push(server);
    }
    let config = json!({
        "store": {"spool": "spool"},
        "limits": {"max_response_bytes": 1 << 20},
        "providers": providers,
    });
    let exporter = Exporter::start_with(
        directory.path(),
        &config.to_string(),
        &["--log.level=debug"],
    )
    .await;
    let accounts = cases().len();
    let metrics = exporter
        .wait_for("every account has ended a pass", |metrics| {
            metrics.find("delivery_up", &[]).count() == accounts
        })
        .await;
    let log = exporter.log();
    for case in cases() {
        let own = [("account", case.name)];
        let up = metrics.get("delivery_up", &own).unwrap();
        let success = metrics
            .get("delivery_exporter_collect_success", &own)
            .unwrap();
        let failed: Vec<_> = metrics
            .find("delivery_exporter_collect_failures_total", &own)
            .filter(|(_, count)| *count > 0.0)
            .map(|(labels, _)| labels["reason"].clone())
            .collect();
        if case.reason.is_empty() {
            // A refusal is the message's: it fails nothing, and is no good answer.
            let any_answer = if case.log.is_empty() { 1.0 } else { 0.0 };
            assert_eq!((up, success), (any_answer, 1.0), "{}", case.name);
            assert_eq!(failed, Vec::<String>::new(), "{}", case.name);
        } else {
            assert_eq!((up, success), (0.0, 0.0), "{}", case.name);
            assert_eq!(failed, [case.reason], "{}", case.name);
        }
        if !case.log.is_empty() {
            let lines: Vec<_> = log
                .lines()
                .filter(|line| {
                    line.contains("level=warn") && line.contains(&format!("account={} ", case.name))
                })
                .collect();
            assert_eq!(lines.len(), 1, "once, not once a pass: {lines:#?}");
            assert!(lines[0].contains(case.log), "{}: {}", case.name, lines[0]);
        }
        (case.check)(&metrics, case.name);
    }
    let (_, page) = exporter.get("/").await;
    for secret in [PASSWORD, "wrong-and-secret-too", "dXNlcjpvcGVu"] {
        for (place, text) in [("log", &log), ("metrics", &metrics.text), ("page", &page)] {
            assert!(!text.contains(secret), "a secret is in the {place}");
        }
    }
    // The vendor is well again: so is the account.
    for server in &servers {
        server.faults().clear();
    }
    exporter
        .wait_for("the accounts recover", |metrics| {
            metrics.sum("delivery_up", &[]) == accounts as f64 - 3.0
        })
        .await;
    assert!(exporter.log().contains("the vendor answers again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_read_again_without_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let options = infobip::Options::basic("user", "first-password", APPLICATION);
    let vendor = infobip::Infobip::new(
        clock.clone(),
        1,
        clock.now(),
        Duration::from_secs(3600),
        options,
    );
    vendor.put_bulk("7", json!({"totalSent": 5}));
    let server = vendor.start(([127, 0, 0, 1], 0).into()).await.unwrap();
    std::fs::write(directory.path().join("password"), "first-password\n").unwrap();
    let config = json!({
        "store": {"spool": "spool"},
        "providers": [{
            "name": "push", "type": "infobip_push", "base_url": server.base_url(), "interval": "1s",
            "credentials": {"username": "user", "password_file": "password"},
            "applications": [{"id": APPLICATION}], "messages": {"static": ["7"]},
        }],
    });
    let exporter = Exporter::start(directory.path(), &config.to_string()).await;
    exporter
        .wait_for("it is up", |metrics| {
            metrics.get("delivery_up", &[]) == Some(1.0)
        })
        .await;
    std::fs::write(directory.path().join("password"), "second-password\n").unwrap();
    vendor.change(|options| {
        *options = infobip::Options::basic("user", "second-password", APPLICATION)
    });
    exporter
        .wait_for("the new secret is used", |metrics| {
            let codes =
                |code| metrics.sum("delivery_exporter_api_requests_total", &[("code", code)]);
            codes("401") == 1.0
                && metrics.get("delivery_up", &[]) == Some(1.0)
                && codes("200") >= 2.0
        })
        .await;
    let metrics = exporter.metrics().await;
    assert_eq!(
        metrics.sum("delivery_exporter_collect_failures_total", &[]),
        0.0
    );
}
