//! What is fuzzed: each hand-written reader of something that comes from outside.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use delivery_clock::Clock;
use delivery_exporter::{
    config::{self, Account, Config},
    ledger,
    model::{Application, Dataset, Message, QueryMethod},
    outputs::{
        exposition::Exposition,
        otlp::{read_answer, read_status},
    },
    providers::{
        self, DrainQuery, ListQuery, MessagesQuery, Observer, Provider, RequestCode, Spool,
        SpoolError, SpoolWriter, SpooledBody, VENDORS, WholeQuery,
        http::{Answers, Http},
    },
    web,
};
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use serde_json::json;

// With their paths, as the guided build takes this file from another directory.
#[path = "targets/doors.rs"]
mod doors;
#[path = "labels.rs"]
mod labels;
#[path = "targets/redaction.rs"]
mod redaction;
#[path = "sample.rs"]
pub mod sample;

/// A reader.
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    reader: Reader,
}

enum Reader {
    /// Of anything but vendors' answers.
    Own(fn(&[u8])),
    /// Of a vendor's answers; the target has the vendor's name.
    Answers,
}

impl Target {
    const fn own(name: &'static str, read: fn(&[u8])) -> Target {
        Target {
            name,
            reader: Reader::Own(read),
        }
    }

    /// Reads an input; a panic is a finding.
    pub fn read(&self, input: &[u8]) {
        match self.reader {
            Reader::Own(read) => read(input),
            Reader::Answers => answers(self.name, input),
        }
    }
}

/// The targets that are no vendor's, in the order of their names.
const OWN: [Target; 12] = [
    Target::own("config", configuration),
    Target::own("doors", doors::request),
    Target::own("environment", environment),
    Target::own("events", pushed),
    Target::own("exposition", labels::round_trip),
    Target::own("headers", headers),
    Target::own("negotiation", negotiation),
    Target::own("otlp_answers", otlp_answers),
    Target::own("redaction", redaction::hide),
    Target::own("reports", pushed),
    Target::own("stored", stored),
    Target::own("web_config", web_configuration),
];

/// All of them, in the order of their names: a vendor's answers are a target under the vendor's name.
pub static ALL: LazyLock<Vec<Target>> = LazyLock::new(|| {
    let vendors = VENDORS.iter().map(|own| Target {
        name: own.name,
        reader: Reader::Answers,
    });
    let mut all: Vec<Target> = OWN.into_iter().chain(vendors).collect();
    all.sort_by_key(|own| own.name);
    all
});

/// The target of a name.
pub fn named(name: &str) -> &'static Target {
    let found = ALL.iter().find(|own| own.name == name);
    found.unwrap_or_else(|| panic!("no target {name}"))
}

/// What is pushed, or was handed out: each vendor that pushes reads it.
fn pushed(input: &[u8]) {
    for own in VENDORS.iter().filter(|own| own.webhook().is_some()) {
        vendor(own.name).provider.read_pushed(input);
    }
}

/// The configuration of one account, whose vendor is nowhere.
pub fn one_account(kind: &str) -> Config {
    let vendor = VENDORS.iter().find(|own| own.name == kind);
    let vendor = vendor.unwrap_or_else(|| panic!("no type {kind}"));
    let mut keys = sample::everything(vendor, "t");
    let rate = json!({"requests_per_second": 1e9, "burst": 1_000_000_000});
    keys.extend([
        ("base_url", json!("http://127.0.0.1:9")),
        ("rate_limit", rate),
    ]);
    let text = format!("providers:\n{}", sample::account(vendor, "fuzz", &keys));
    config::parse(Path::new("fuzz.yaml"), &text, &|_| None)
        .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// Counts what is noted; an unbounded number of names would be a finding of its own.
#[derive(Default)]
struct Noted(Mutex<BTreeMap<String, u64>>);

impl Observer for Noted {
    fn request(&self, _: Dataset, _: RequestCode) {}
    fn retry(&self, _: Dataset) {}
    fn rate_limited(&self, _: Dataset) {}
    fn unknown_field(&self, _: Dataset, field: &str) {
        let mut noted = self.0.lock().unwrap();
        if noted.len() < 10_000 {
            *noted.entry(field.to_owned()).or_default() += 1;
        }
    }
}

/// What a vendor says.
type Said = (StatusCode, HeaderMap, Bytes);

/// A provider whose vendor says the same to everything.
pub struct Vendor {
    pub provider: Arc<dyn Provider>,
    account: Account,
    said: Arc<Mutex<Said>>,
    requests: Arc<AtomicUsize>,
    runtime: tokio::runtime::Runtime,
}

/// So many requests of one query are answered with the input; then the vendor knows nothing more,
/// and a list of many pages ends.
const ANSWERED: usize = 3;

impl Vendor {
    fn new(kind: &str) -> Vendor {
        let account = one_account(kind).accounts.remove(0);
        let said = Arc::new(Mutex::new(Said::default()));
        let requests = Arc::new(AtomicUsize::new(0));
        let (own, count) = (said.clone(), requests.clone());
        let answers: Answers = Arc::new(move |_| {
            let (mut status, mut headers, mut body) = own.lock().unwrap().clone();
            if count.fetch_add(1, Ordering::Relaxed) >= ANSWERED {
                (status, body) = (StatusCode::NOT_FOUND, Bytes::from_static(b"{}"));
            }
            let json = HeaderValue::from_static("application/json");
            headers.entry("content-type").or_insert(json);
            let mut response = Response::new(body.into());
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Box::pin(std::future::ready(Ok(response)))
        });
        let http = Http::new(&account, Clock::system(), Arc::new(Noted::default())).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Vendor {
            provider: providers::build_on(http.answered_by(answers), &account),
            account,
            said,
            requests,
            runtime,
        }
    }

    /// Asks each query of `DATASET STATUS` or `list STATUS` that is answered so.
    fn ask(&self, what: &str, headers: HeaderMap, body: &[u8]) {
        let (what, status) = what.split_once(' ').unwrap_or((what, "200"));
        let status = status.parse().ok();
        let status = status.and_then(|own| StatusCode::from_u16(own).ok());
        let status = status.filter(|own| own.as_u16() >= 200);
        let datasets = &self.account.collect;
        let dataset = datasets.iter().find(|own| own.as_str() == what);
        let (dataset, list) = (*dataset.unwrap_or(&datasets[0]), what == "list");
        let body = Bytes::copy_from_slice(body);
        *self.said.lock().unwrap() = (status.unwrap_or_default(), headers, body);
        self.requests.store(0, Ordering::Relaxed);
        let application = self.account.applications.first().cloned();
        let application = application.unwrap_or(Application {
            id: "fuzz".into(),
            name: "fuzz".into(),
        });
        let message = |id: &str| Message {
            application: application.id.clone(),
            id: Arc::from(id),
            campaign: None,
            sent_at: Some(Timestamp::from_second(1_795_000_000).unwrap()),
        };
        let messages: Vec<_> = ["1279985472", "1279985473", "ADE0-F758EC2F-00000001"]
            .map(message)
            .into();
        let since = Timestamp::from_second(1_795_000_000).unwrap();
        let patience = Duration::ZERO;
        let (application, provider) = (&application, &self.provider);
        let query = async {
            match dataset.method {
                _ if list => {
                    let query = ListQuery {
                        dataset,
                        application,
                        oldest: since,
                        since,
                        max_messages: 1000,
                        with_numbers: true,
                        patience,
                    };
                    provider.list(query).await
                }
                QueryMethod::Messages { batch } => {
                    let query = MessagesQuery {
                        dataset,
                        application,
                        messages: &messages[..batch.min(messages.len())],
                        patience,
                    };
                    provider.messages(query).await
                }
                QueryMethod::Whole => {
                    let query = WholeQuery {
                        dataset,
                        application,
                        messages: &messages,
                        since: Some(since),
                        patience,
                    };
                    provider.whole(query).await
                }
                QueryMethod::Drain => {
                    let query = DrainQuery {
                        dataset,
                        spool: &Nowhere,
                        patience,
                    };
                    provider.drain(query).await
                }
            }
        };
        // How it ends is the vendor's business.
        let _ = self.runtime.block_on(query);
    }
}

/// A spool that keeps nothing.
struct Nowhere;
struct Discarded;

impl Spool for Nowhere {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn SpoolWriter>, SpoolError>> {
        std::future::ready(Ok(Box::new(Discarded) as Box<dyn SpoolWriter>)).boxed()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }
}

impl SpoolWriter for Discarded {
    fn write<'a>(&'a mut self, _: &'a [u8]) -> BoxFuture<'a, Result<(), SpoolError>> {
        std::future::ready(Ok(())).boxed()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<SpooledBody, SpoolError>> {
        std::future::ready(Ok(SpooledBody("body".into()))).boxed()
    }

    fn discard(self: Box<Self>) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
}

thread_local! {
    static MADE: RefCell<BTreeMap<String, &'static Vendor>> = const { RefCell::new(BTreeMap::new()) };
}

/// The vendor of a type, made once a thread.
pub fn vendor(kind: &str) -> &'static Vendor {
    MADE.with_borrow_mut(|all| {
        if let Some(known) = all.get(kind) {
            return *known;
        }
        let made: &'static Vendor = Box::leak(Box::new(Vendor::new(kind)));
        all.insert(kind.to_owned(), made);
        made
    })
}

/// A vendor's answer. The input's first line says to what, `DATASET STATUS` or `list STATUS`; the
/// rest is the body.
fn answers(kind: &str, input: &[u8]) {
    let (head, body) = line(input);
    vendor(kind).ask(&head, HeaderMap::new(), body);
}

/// The first line, and what comes after it.
fn line(input: &[u8]) -> (Cow<'_, str>, &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n');
    let (line, rest) = input.split_at(end.unwrap_or(input.len()));
    let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
    (String::from_utf8_lossy(line), rest)
}

/// Lines of headers up to an empty one, and what comes after it. What is no header is left out.
fn headers_of(mut rest: &[u8]) -> (HeaderMap, &[u8]) {
    let mut headers = HeaderMap::new();
    loop {
        let (own, after) = line(rest);
        rest = after;
        if own.is_empty() {
            return (headers, rest);
        }
        if let Some((name, value)) = own.split_once(": ")
            && let Ok(name) = HeaderName::from_bytes(name.as_bytes())
            && let Ok(value) = HeaderValue::from_bytes(value.as_bytes())
            && headers.len() < 100
        {
            headers.append(name, value);
        }
    }
}

/// Headers of a vendor's answer: after a line `TYPE DATASET STATUS`, before the body.
fn headers(input: &[u8]) {
    let (head, rest) = line(input);
    let (kind, what) = head.split_once(' ').unwrap_or((&head, ""));
    let mut known = VENDORS.iter().map(|own| own.name);
    let known = known.find(|own| *own == kind);
    let (headers, body) = headers_of(rest);
    vendor(known.unwrap_or("alibaba_push")).ask(what, headers, body);
}

/// What an OTLP receiver answers: after a line with the status of HTTP or the code of gRPC and the
/// headers, the body or the details.
fn otlp_answers(input: &[u8]) {
    let (head, rest) = line(input);
    let (headers, body) = headers_of(rest);
    let (kind, code) = head.split_once(' ').unwrap_or((&head, ""));
    let body = Bytes::copy_from_slice(body);
    if kind == "grpc" {
        let text = headers.get("grpc-message");
        let text = text.and_then(|own| own.to_str().ok()).unwrap_or_default();
        read_status(code.parse().unwrap_or(14), text, body);
        return;
    }
    let mut response = Response::new(body);
    *response.status_mut() = code.parse().unwrap_or(StatusCode::OK);
    *response.headers_mut() = headers;
    let rejected = read_answer(response).now_or_never();
    assert!(rejected.is_some(), "an answer that is there waits");
}

/// A row of the store or a kept file: the first letter says of which kind.
fn stored(input: &[u8]) {
    let Some((kind, row)) = input.split_first() else {
        return;
    };
    if *kind == b'h' {
        let _ = web::read_history(row);
    } else {
        ledger::read_stored(*kind, row);
    }
}

/// Variables of the environment, a line for each, in which `otlp` is configured, and which stand in a
/// configuration's values.
fn environment(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let variables: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| !name.contains("CERTIFICATE") && !name.contains("KEY"))
        .collect();
    let file = json!({"otlp": {}, "collection": {"interval": "${INTERVAL}"}, "providers": [{
        "name": "a", "type": "infobip_email", "base_url": "${URL}/path", "labels": {"x": "${LABEL}$$"},
        "credentials": {"username": "${USER}", "password": "p${PASSWORD}"},
    }]});
    let environment = |name: &str| variables.get(name).map(|own| (*own).to_owned());
    if let Err(errors) = config::parse(Path::new("fuzz.yaml"), &file.to_string(), &environment) {
        assert!(!errors.to_string().is_empty());
    }
}

/// The configuration, and the list of messages in a file.
fn configuration(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let parsed = config::parse(Path::new("fuzz.yaml"), &text, &|_| None);
    if let Err(errors) = parsed {
        assert!(!errors.to_string().is_empty());
    }
    let account = &vendor("infobip_push").account;
    if let Err(errors) =
        config::message_list(Path::new("messages.yaml"), &text, &account.applications)
    {
        assert!(!errors.to_string().is_empty());
    }
}

thread_local! {
    static DIRECTORY: tempfile::TempDir = tempfile::tempdir().unwrap();
}

/// The file that says who may look.
fn web_configuration(input: &[u8]) {
    DIRECTORY.with(|directory| {
        let path = directory.path().join("web.yaml");
        fs::write(&path, input).unwrap();
        if let Err(errors) = config::web(&path) {
            assert!(!errors.to_string().is_empty());
        }
    });
}

/// What a scraper says that it takes: the first line is `Accept`, the second `Accept-Encoding`.
fn negotiation(input: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut lines = input.split(|byte| *byte == b'\n');
    for name in ["accept", "accept-encoding"] {
        let value = lines
            .next()
            .and_then(|line| HeaderValue::from_bytes(line).ok());
        if let Some(value) = value {
            headers.append(name, value);
        }
    }
    let table = labels::empty_table();
    let exposition = Exposition::new(Clock::system());
    let (answer, parts) = exposition.scrape(&table, &headers).answer();
    assert!(answer.contains_key("content-type"));
    drop(parts);
}
