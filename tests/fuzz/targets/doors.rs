//! Requests to the exporter's own HTTP side: `/probe`, `/api/`, `/webhooks/`, the status page, and
//! what a scraper sends.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use delivery_clock::Clock;
use delivery_exporter::{
    config::{self, Account, Config},
    ledger::{Registration, StoreError},
    outputs::exposition::Exposition,
    providers::{VENDORS, Vendors},
    secret::Secret,
    series::{Probed, Table, Visitor, WebhookOutcome, show_probe},
    web::{
        self, AccountStatus, AppState, Backend, ConfigurationStatus, ExporterStatus, Making,
        Monitor, guard::Guard,
    },
};
use futures_util::{FutureExt, future::BoxFuture};
use http::{Request, header};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::{headers_of, line, sample, vendor};

/// What opens `/api/` and the webhook.
const API_TOKEN: &str = "api-token-0815";
const HOOK_TOKEN: &str = "hook-token-4711";
/// The longest answer: the status page with its style and script.
const LONGEST_ANSWER: usize = 1 << 20;

/// An exporter that knows three accounts, and takes everything.
struct Exporter {
    config: Config,
    accounts: Vec<Arc<Account>>,
    clock: Clock,
    /// Something was done or told that needs the API's or the webhook's token.
    by_api: AtomicBool,
    by_hook: AtomicBool,
}

impl Backend for Exporter {
    fn api_token(&self) -> Option<Secret> {
        Some(Secret::new(API_TOKEN))
    }

    fn vendors(&self) -> Vendors {
        self.config.vendors
    }

    fn accounts(&self) -> Vec<Arc<Account>> {
        self.accounts.clone()
    }

    fn max_body(&self) -> usize {
        1 << 20
    }

    fn register(&self, _: Vec<Registration>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.by_api.store(true, Ordering::Relaxed);
        std::future::ready(Ok(())).boxed()
    }

    fn rejected(&self, _: &str, _: &str) {}

    fn messages<'a>(
        &'a self,
        account: &'a str,
    ) -> BoxFuture<'a, Result<serde_json::Value, StoreError>> {
        self.by_api.store(true, Ordering::Relaxed);
        std::future::ready(Ok(json!([{"account": account}]))).boxed()
    }

    fn status(&self) -> BoxFuture<'_, Result<serde_json::Value, StoreError>> {
        self.by_api.store(true, Ordering::Relaxed);
        std::future::ready(Ok(json!({}))).boxed()
    }

    fn pushed<'a>(
        &'a self,
        account: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<WebhookOutcome, String>> {
        self.by_hook.store(true, Ordering::Relaxed);
        let account = self.accounts.iter().find(|own| *own.name == *account);
        let kind = account.map_or("infobip_email", |own| own.vendor.name);
        vendor(kind).provider.read_pushed(&body);
        std::future::ready(Ok(WebhookOutcome::Counted)).boxed()
    }

    fn refused(&self, _: &str) {}

    fn probe<'a>(
        &'a self,
        account: &'a Account,
        application: usize,
        message: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Probed>, Duration>> {
        if message == "later" {
            return std::future::ready(Err(Duration::from_millis(1500))).boxed();
        }
        let application = account.applications[application].clone();
        let probed = Probed {
            message: delivery_exporter::model::Message {
                application: application.id.clone(),
                id: message.into(),
                campaign: None,
                sent_at: None,
            },
            application,
            snapshot: None,
            lasted: Duration::from_millis(5),
        };
        std::future::ready(Ok(Arc::new(probed))).boxed()
    }

    fn show_probe(&self, account: &Account, probed: &Probed, visitor: &mut dyn Visitor) {
        show_probe(account, &self.config, &self.clock, probed, visitor);
    }
}

/// The routes, and what runs them; made once a thread.
struct Doors {
    exporter: Arc<Exporter>,
    router: Router,
    runtime: tokio::runtime::Runtime,
}

impl Doors {
    fn new() -> Doors {
        let password = json!({"username": "u", "password": "p"});
        let accounts = [
            json!({"name": "shop", "type": "infobip_push", "credentials": password,
                "applications": [{"id": "a1", "name": "one"}, {"id": "a2", "name": "two"}]}),
            json!({"name": "mail", "type": "infobip_email", "credentials": password, "webhook_token": HOOK_TOKEN}),
            json!({"name": "push", "type": "pushwoosh", "credentials": {"api_token": "t"},
                "applications": [{"id": "AAAAA-11111", "name": "app"}]}),
        ];
        let mut file = "providers:\n".to_owned();
        for account in accounts {
            file.push_str(&format!("  - {account}\n"));
        }
        // And one of each vendor that there is.
        for vendor in VENDORS {
            let mut keys = sample::everything(vendor, HOOK_TOKEN);
            keys.push(("base_url", json!("http://127.0.0.1:9")));
            file.push_str(&sample::account(vendor, vendor.name, &keys));
        }
        let config = config::parse(Path::new("fuzz.yaml"), &file, &|_| None).unwrap();
        let accounts: Vec<_> = config.accounts.iter().cloned().map(Arc::new).collect();
        let clock = Clock::system();
        let exporter = Arc::new(Exporter {
            config,
            accounts: accounts.clone(),
            clock: clock.clone(),
            by_api: AtomicBool::default(),
            by_hook: AtomicBool::default(),
        });
        let status = move || ExporterStatus {
            accounts: accounts.iter().map(status_of).collect(),
            replica: "fuzz".into(),
            configuration: ConfigurationStatus::default(),
        };
        let exposition = Arc::new(Exposition::new(clock.clone()));
        let nowhere = tempfile::tempdir().unwrap();
        let app = AppState {
            table: Arc::new(Table::new(clock.clone(), exposition.clone())),
            exposition,
            clock,
            telemetry_path: "/metrics".into(),
            lifecycle: false,
            reload: mpsc::channel(1).0,
            config_file: None,
            monitor: Arc::new(Monitor::open(nowhere.path())),
            status: Arc::new(status),
            scrapers: Arc::default(),
            zero_hold: Arc::new(|| Duration::from_secs(120)),
            backend: exporter.clone(),
            making: Making::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Doors {
            exporter,
            router: web::router(app, &Arc::new(Guard::open())),
            runtime,
        }
    }
}

fn status_of(account: &Arc<Account>) -> AccountStatus {
    AccountStatus {
        account: account.clone(),
        opened: true,
        ready: true,
        good_at: None,
        next: None,
        last_error: None,
        troubles: Vec::new(),
        broken_sources: Vec::new(),
    }
}

/// A request: a line with method and address, the headers, an empty line, the body.
pub fn request(input: &[u8]) {
    thread_local!(static DOORS: Doors = Doors::new());
    let (head, rest) = line(input);
    let (headers, body) = headers_of(rest);
    let (method, address) = head.split_once(' ').unwrap_or(("GET", &head));
    let request = Request::builder().method(method).uri(address);
    let Ok(mut request) = request.body(Body::from(body.to_vec())) else {
        return;
    };
    *request.headers_mut() = headers;
    DOORS.with(|doors| doors.answer(request, input));
}

impl Doors {
    fn answer(&self, request: Request<Body>, input: &[u8]) {
        self.exporter.by_api.store(false, Ordering::Relaxed);
        self.exporter.by_hook.store(false, Ordering::Relaxed);
        let is_head = request.method() == http::Method::HEAD;
        let (parts, body) = self.runtime.block_on(async {
            let answer = self.router.clone().oneshot(request).await;
            let (parts, body) = answer.unwrap_or_else(|error| match error {}).into_parts();
            (parts, body.collect().await.unwrap().to_bytes())
        });
        let status = parts.status.as_u16();
        assert!(status != 500, "{status}: {body:?}");
        assert!(
            body.len() <= LONGEST_ANSWER + 8 * input.len(),
            "{} bytes",
            body.len()
        );
        assert_eq!(parts.headers["x-content-type-options"], "nosniff");
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|own| own.to_str().ok()).unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        if kind.starts_with("application/json") && !is_head {
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
        // What is asked for comes back as text, never as a tag.
        if kind.starts_with("text/html") {
            assert!(!text.to_ascii_lowercase().contains("<zq"), "{text}");
        }
        let sent = String::from_utf8_lossy(input);
        for (done, token) in [
            (&self.exporter.by_api, API_TOKEN),
            (&self.exporter.by_hook, HOOK_TOKEN),
        ] {
            let done = done.load(Ordering::Relaxed);
            // Who has sent it may be told what was sent.
            if !knows(&sent, token) {
                assert!(!done, "it opens without {token}");
                assert!(!text.contains(token), "{token} is told");
            }
        }
    }
}

/// Whether a request has a token, in one of the ways to send it.
fn knows(sent: &str, token: &str) -> bool {
    use base64::Engine;
    let decoded = percent_decoded(sent);
    let in_basic = sent.split_whitespace().any(|word| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(word);
        bytes.is_ok_and(|own| String::from_utf8_lossy(&own).contains(token))
    });
    sent.contains(token) || decoded.contains(token) || in_basic
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|own| std::str::from_utf8(own).ok());
        let code = digits.and_then(|own| u8::from_str_radix(own, 16).ok());
        match code.filter(|_| *first == b'%') {
            Some(code) => {
                bytes.push(code);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
