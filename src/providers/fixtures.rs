//! Answers of every vendor, as files in its folder, with what is made of them beside them.
//!
//! `fixtures/DATASET-WHAT.json` is the body of an answer to a query of that data set (or `list`), and
//! `DATASET-STATUS-WHAT.json` one under that HTTP status. The file of the same name that ends in
//! `.expected` has each observation in a line, the result, and the fields that are not known.
//! `UPDATE_GOLDEN=1` writes it. The fuzz targets begin with the same bodies.
//!
//! A data set about listed messages is queried after the first list of these that is good. What a vendor
//! pushes is read from the same bodies: its events are lines that begin with `pushed`.
//!
//! Two more files are read where they are there: `fixtures/messages.txt`, the ids that are queried, one a
//! line; and `fixtures/TYPE.yaml`, an entry of `providers` in place of the vendor's sample.

use std::{
    collections::BTreeSet,
    fs,
    future::ready,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use delivery_clock::Clock;
use futures_util::{FutureExt, future::BoxFuture};
use http::{Response, StatusCode};
use jiff::Timestamp;

use super::{
    Answer, DrainQuery, ListQuery, MessagesQuery, Observer, RequestCode, Spool, SpoolError,
    SpoolWriter, SpooledBody, VENDORS, Vendor, WholeQuery, build_on,
    http::{Answers, Http, RateLimit},
};
use crate::{
    config,
    golden::assert_current,
    model::{Application, Dataset, Message, QueryMethod},
    secret::Secret,
};

/// When the answers come.
const NOW: &str = "2026-11-26T10:30:00Z";
/// How far back lists and logs are read.
const DAY: Duration = Duration::from_secs(86_400);
/// So many requests of one query get the body; then the vendor knows nothing more.
const ANSWERED: usize = 4;

/// A body, and what it answers.
struct Fixture {
    path: PathBuf,
    dataset: Dataset,
    /// It answers the query for the list.
    is_list: bool,
    status: StatusCode,
}

/// The vendor's folder: it has the vendor's name, or the part of it before `_` where several
/// vendors share one.
fn folder(vendor: &Vendor) -> PathBuf {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/providers");
    let own = all.join(vendor.name);
    match vendor.name.split_once('_') {
        Some((shared, _)) if !own.exists() => all.join(shared),
        _ => own,
    }
}

/// The bodies that answer queries of a vendor, by name.
fn fixtures_of(vendor: &Vendor) -> Vec<Fixture> {
    let directory = folder(vendor).join("fixtures");
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let is_body = |path: &PathBuf| {
        let extension = path.extension().and_then(|own| own.to_str());
        !matches!(extension, None | Some("expected" | "txt" | "yaml"))
    };
    let fixture = |path: PathBuf| {
        let stem = path.file_stem()?.to_str()?;
        let (what, rest) = stem.split_once('-').unwrap_or((stem, ""));
        let is_list = what == "list" && vendor.can_list;
        let listed = vendor.datasets.iter().find(|own| own.has_snapshots());
        let dataset = match is_list {
            true => *listed?,
            false => vendor.dataset(what)?,
        };
        let status = rest.split('-').next().and_then(|own| own.parse().ok());
        Some(Fixture {
            dataset,
            is_list,
            status: status.unwrap_or(StatusCode::OK),
            path,
        })
    };
    paths
        .into_iter()
        .filter(is_body)
        .filter_map(fixture)
        .collect()
}

#[derive(Default)]
struct Unknown(Mutex<BTreeSet<String>>);

impl Observer for Unknown {
    fn request(&self, _: Dataset, _: RequestCode) {}
    fn retry(&self, _: Dataset) {}
    fn rate_limited(&self, _: Dataset) {}
    fn unknown_field(&self, _: Dataset, field: &str) {
        self.0.lock().unwrap().insert(field.to_owned());
    }
}

/// A spool that keeps nothing.
struct Nowhere;

impl Spool for Nowhere {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn SpoolWriter>, SpoolError>> {
        ready(Ok(Box::new(Nowhere) as Box<dyn SpoolWriter>)).boxed()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }
}

impl SpoolWriter for Nowhere {
    fn write<'a>(&'a mut self, _: &'a [u8]) -> BoxFuture<'a, Result<(), SpoolError>> {
        ready(Ok(())).boxed()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<SpooledBody, SpoolError>> {
        ready(Ok(SpooledBody("body".into()))).boxed()
    }

    fn discard(self: Box<Self>) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

/// What the vendor says now: status, content type, body.
type Said = (StatusCode, &'static str, Vec<u8>);

fn said(fixture: &Fixture) -> Said {
    let kind = match fixture.path.extension().and_then(|own| own.to_str()) {
        Some("xml") => "text/xml",
        Some("html") => "text/html",
        _ => "application/json",
    };
    (fixture.status, kind, fs::read(&fixture.path).unwrap())
}

/// Answers with what the vendor says now, in memory.
fn answers(now: Arc<Mutex<Said>>, requests: Arc<AtomicUsize>) -> Answers {
    Arc::new(move |_| {
        let (status, kind, body) = match requests.fetch_add(1, Ordering::Relaxed) {
            ..ANSWERED => now.lock().unwrap().clone(),
            _ => (StatusCode::NOT_FOUND, "application/json", b"{}".to_vec()),
        };
        let response = Response::builder()
            .status(status)
            .header("content-type", kind);
        ready(Ok(response.body(body.into()).unwrap())).boxed()
    })
}

/// What the vendor's provider makes of a body, as text.
async fn observed(vendor: &Vendor, fixture: &Fixture, list: Option<&Fixture>) -> String {
    let folder = folder(vendor).join("fixtures");
    let entry = fs::read_to_string(folder.join(format!("{}.yaml", vendor.name)));
    let entry = entry.unwrap_or_else(|_| vendor.sample.to_owned());
    let text = format!("providers:\n{entry}");
    let config = config::parse(Path::new("fixtures.yaml"), &text, &|_| None);
    let mut account = config.unwrap().accounts.remove(0);
    account.rate_limit = RateLimit {
        requests_per_second: 1e6,
        burst: 1_000_000,
    };
    // What providers know as secrets is hidden from every text of the process: the words of samples
    // are words of other tests too.
    for (name, source) in &mut account.credentials.form {
        source.value = Secret::new(format!("the {name} of the fixtures"));
    }
    let now: Timestamp = NOW.parse().unwrap();
    let unknown = Arc::new(Unknown::default());
    let http = Http::new(&account, Clock::manual(now).0, unknown.clone()).unwrap();
    let says = Arc::new(Mutex::new(said(list.unwrap_or(fixture))));
    let requests = Arc::new(AtomicUsize::new(0));
    let http = http.answered_by(answers(says.clone(), requests.clone()));
    let provider = build_on(http, &account);
    let no_application = Application {
        id: "".into(),
        name: account.name.clone(),
    };
    let application = account.applications.first().unwrap_or(&no_application);
    let ids = fs::read_to_string(folder.join("messages.txt")).unwrap_or("1".to_owned());
    let message = |id: &str| Message {
        application: application.id.clone(),
        id: id.into(),
        campaign: None,
        sent_at: Some(now - DAY),
    };
    let messages: Vec<Message> = ids.lines().map(message).collect();
    let (dataset, patience) = (fixture.dataset, Duration::ZERO);
    let list_query = ListQuery {
        dataset,
        application,
        oldest: now - DAY,
        since: now - DAY,
        max_messages: 1000,
        with_numbers: true,
        patience,
    };
    if list.is_some() {
        let _ = provider.list(list_query).await;
        requests.store(0, Ordering::Relaxed);
        *says.lock().unwrap() = said(fixture);
        unknown.0.lock().unwrap().clear();
    }
    let answer: Answer = match dataset.method {
        _ if fixture.is_list => provider.list(list_query).await,
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
                since: Some(now - DAY),
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
    };
    let mut lines: Vec<String> = answer
        .observations
        .iter()
        .map(|own| format!("{own:?}"))
        .collect();
    lines.push(match answer.result {
        Ok(()) => "result: ok".to_owned(),
        Err(failure) => format!("result: {failure:?}"),
    });
    if dataset.webhook_path.is_some() {
        let pushed = provider.read_pushed(&said(fixture).2);
        let events = pushed.events.iter();
        lines.extend(events.map(|event| format!("pushed: {event:?}")));
        lines.push(format!("pushed and not counted: {}", pushed.unsupported));
    }
    let unknown = unknown.0.lock().unwrap();
    lines.extend(unknown.iter().map(|field| format!("unknown: {field}")));
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn what_is_made_of_each_answer_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for vendor in VENDORS {
        let fixtures = fixtures_of(vendor);
        let mut lists = fixtures.iter().filter(|own| own.is_list);
        let list = lists.find(|own| own.status.is_success());
        for fixture in &fixtures {
            let list = list.filter(|_| fixture.dataset.is_about_listed_messages());
            let expected = fixture.path.with_extension("expected");
            let file = expected.strip_prefix(root).unwrap().to_str().unwrap();
            assert_current(file, &observed(vendor, fixture, list).await);
        }
    }
}

#[test]
fn every_data_set_has_an_answer_and_every_file_a_data_set() {
    let mut files = BTreeSet::new();
    let mut folders = BTreeSet::new();
    for vendor in VENDORS {
        let fixtures = fixtures_of(vendor);
        for dataset in vendor.datasets {
            let is_there = fixtures
                .iter()
                .any(|own| !own.is_list && own.dataset == *dataset && own.status.is_success());
            assert!(is_there, "{vendor} has no fixtures/{dataset}-*.json");
        }
        let has_list = fixtures.iter().any(|own| own.is_list);
        assert_eq!(has_list, vendor.can_list, "{vendor}: fixtures/list-*.json");
        files.extend(fixtures.into_iter().map(|own| own.path));
        folders.insert(folder(vendor).join("fixtures"));
    }
    for folder in folders {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let body = match path.extension().and_then(|own| own.to_str()) {
                Some("txt" | "yaml") => continue,
                Some("expected") => files
                    .iter()
                    .any(|own| own.with_extension("expected") == path),
                _ => files.contains(&path),
            };
            assert!(body, "{path:?} belongs to no data set");
        }
    }
}
