//! A vendor of one's own, beside those of the program: collected, counted, exposed and documented
//! without a line in `src/`. [`vendor`] is the example that `docs/adding-a-vendor.md` walks through.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod vendor;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::Query, http::HeaderMap, response::IntoResponse, routing::get};
use delivery_clock::Clock;
use delivery_exporter::{
    app::Exporter,
    config::{self, Config},
    outputs::exposition::{self, Format},
    providers::{VENDORS, Vendors, help},
};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use vendor::TOY;

/// The program's vendors and the toy.
fn vendors() -> Vendors {
    Box::leak([VENDORS, &[&TOY]].concat().into_boxed_slice())
}

/// The vendor's side: three messages, one of which it has no numbers of. Which ids it was asked for
/// at once.
async fn serve() -> (String, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let batches = asked.clone();
    let allowed = |headers: &HeaderMap| {
        let key = headers.get("authorization");
        key.is_some_and(|key| key == "Bearer teddy")
    };
    let list = async move |headers: HeaderMap| {
        if !allowed(&headers) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let now = Timestamp::now().as_second();
        let row = |id: &str| json!({"id": id, "at": now - 60});
        Json(json!([row("1"), row("2"), row("3")])).into_response()
    };
    let numbers = async move |Query(query): Query<HashMap<String, String>>| {
        batches.lock().unwrap().push(query["ids"].clone());
        let mut answer = serde_json::Map::new();
        for id in query["ids"].split(',').filter(|id| *id != "3") {
            let number: u64 = id.parse().unwrap();
            let row = json!({"out": 10 * number, "in": 8 * number});
            answer.insert(id.to_owned(), row);
        }
        Json(Value::Object(answer))
    };
    let router = Router::new()
        .route("/list", get(list))
        .route("/numbers", get(numbers))
        .route("/people", get(async || Json(json!({"active": 7}))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (base, asked)
}

fn config_of(directory: &Path, base: &str, key: &str) -> Config {
    let text = json!({
        "collection": {"zero_hold": "0s", "interval": "1s"},
        "providers": [{
            "name": "attic", "type": "toy", "base_url": base, "credentials": {"toy_key": key},
            "applications": [{"id": "7", "name": "bear"}],
        }],
    });
    let path = directory.join("config.yaml");
    config::parse_with(vendors(), &path, &text.to_string(), &|_| None).unwrap()
}

/// What is exposed, once it has all of these lines.
async fn exposed(exporter: &Exporter, lines: &[&str]) -> String {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let now = exporter.clock().now();
        let text = exposition::render(exporter.table(), now, Format::OpenMetrics);
        if lines
            .iter()
            .all(|line| text.lines().any(|own| own == *line))
        {
            return text;
        }
        assert!(Instant::now() < end, "{lines:?} are not all in\n{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vendor_of_ones_own_is_collected_counted_and_exposed() {
    let (base, asked) = serve().await;
    let directory = tempfile::tempdir().unwrap();
    let config = config_of(directory.path(), &base, "teddy");
    let exporter = Exporter::start(&config, Clock::system()).await.unwrap();
    let labels = r#"provider="toy",account="attic",application="bear""#;
    let gauge = |measure: &str, id: &str, value: u64| {
        format!(
            "delivery_message_{measure}{{{labels},channel=\"push\",campaign=\"\",message_id=\"{id}\"}} {value}"
        )
    };
    let lines = [
        gauge("sent", "1", 10),
        gauge("delivered", "2", 16),
        format!(r#"delivery_sent_total{{{labels},channel="push"}} 30"#),
        format!(r#"delivery_delivered_total{{{labels},channel="push"}} 24"#),
        format!(r#"delivery_app_users_active{{{labels},platform="all",time_unit="day"}} 7"#),
        r#"delivery_up{provider="toy",account="attic"} 1"#.to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let text = exposed(&exporter, &lines).await;
    assert!(!text.contains(r#"message_id="3""#), "{text}");
    exporter.stop().await;
    // Never more than the declared batch at once, and more than one.
    let asked = asked.lock().unwrap().clone();
    let sizes: Vec<_> = asked.iter().map(|ids| ids.split(',').count()).collect();
    assert_eq!(sizes.iter().max(), Some(&2), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_vendor_refuses_is_a_failure_of_its_account() {
    let (base, _) = serve().await;
    let directory = tempfile::tempdir().unwrap();
    let config = config_of(directory.path(), &base, "wrong");
    let exporter = Exporter::start(&config, Clock::system()).await.unwrap();
    let failed = r#"delivery_exporter_collect_success{account="attic",dataset="numbers",application="bear"} 0"#;
    exposed(&exporter, &[failed]).await;
    exporter.stop().await;
}

#[test]
fn its_keys_are_read_and_explained() {
    let path = Path::new("config.yaml");
    let parse = |text: &str| config::parse_with(vendors(), path, text, &|_| None);
    let sample = parse(&format!("providers:\n{}", TOY.sample)).unwrap();
    let account = &sample.accounts[0];
    assert_eq!((account.vendor, account.keys.count("toy_shelf")), (&TOY, 3));
    let errors = |text: &str| parse(text).unwrap_err().to_string();
    let text = errors(
        "providers: [{name: a, type: toy, applications: [{id: x}], credentials: {api_key: k}}]",
    );
    assert!(
        text.contains("toy has no credential api_key; it takes toy_key"),
        "{text}"
    );
    assert!(
        text.contains("base_url is missing: a toy has no address of its own"),
        "{text}"
    );
    let other = VENDORS[0]
        .sample
        .replacen("  - name", "  - toy_shelf: 4\n    name", 1);
    let text = errors(&format!("providers:\n{other}"));
    let wanted = format!("toy_shelf is for toy: {} stands on no shelf", VENDORS[0]);
    assert!(text.contains(&wanted), "{text}");
    // Without the toy, nothing of it is known.
    let text = config::parse(path, &format!("providers:\n{}", TOY.sample), &|_| None);
    let text = text.unwrap_err().to_string();
    assert!(text.contains("no value of type"), "{text}");
}

#[test]
fn it_is_in_the_documentation() {
    let reference = config::reference(vendors());
    for part in [
        "or `toy` |",
        "| `toy_shelf` | integer | `3` | toy: which shelf it stands on. |",
        "| `toy_key`, `toy_key_file` | secret |  | toy: the key on the box. |",
        "`numbers` and `people` (toy)",
        "toy's number (Toy).",
    ] {
        assert!(reference.contains(part), "{part} is not in\n{reference}");
    }
    let table = help::table(vendors());
    let row =
        "| `toy` | [Toy Messages](https://example.com/toy) | what goes out and what comes in |";
    assert!(table.contains(row), "{table}");
    assert!(help::tables(vendors()).contains("`out`: `sent`, `in`: `delivered`"));
    let fields = help::measure_fields(vendors(), "sent");
    assert!(fields.ends_with(", Toy out"), "{fields}");
}
