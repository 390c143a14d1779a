//! Both providers against a server that answers what it is told to.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use delivery_clock::Clock;
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::providers::infobip::vendor;
use crate::{
    config::{self, Account},
    model::{Dataset, Measure, Message},
    providers::{
        Answer, DrainQuery, Failure, FailureKind, MessagesQuery, Observation, Observer, Refusal,
        RequestCode, Spool, SpoolError, SpoolWriter, SpooledBody, build,
    },
};

/// Status, content type and body of an answer.
type Reply = (u16, &'static str, String);

/// Answers one request after the other; the last answer again and again. The address.
async fn serve(replies: Vec<Reply>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut next = 0;
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if socket.read(&mut byte).await.unwrap_or(0) == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            let (status, kind, body) = replies[next.min(replies.len() - 1)].clone();
            next += 1;
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl Observer for Notes {
    fn request(&self, _: Dataset, code: RequestCode) {
        self.note(code.to_string());
    }
    fn retry(&self, _: Dataset) {
        self.note("retry".into());
    }
    fn rate_limited(&self, _: Dataset) {
        self.note("rate limited".into());
    }
    fn unknown_field(&self, _: Dataset, field: &str) {
        self.note(format!("field {field}"));
    }
}

#[derive(Default)]
struct MemorySpool {
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    begun: AtomicU32,
    /// It is closed once so many bodies were begun, if that is not 0.
    closes_after: u32,
}

struct MemoryWriter(Arc<Mutex<Vec<Vec<u8>>>>, Vec<u8>);

impl Spool for MemorySpool {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn SpoolWriter>, SpoolError>> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let writer: Box<dyn SpoolWriter> = Box::new(MemoryWriter(self.bodies.clone(), Vec::new()));
        std::future::ready(Ok(writer)).boxed()
    }
    fn closed(&self) -> BoxFuture<'_, ()> {
        let begun = self.begun.load(Ordering::SeqCst);
        if (1..=begun).contains(&self.closes_after) {
            return std::future::ready(()).boxed();
        }
        std::future::pending().boxed()
    }
}

impl SpoolWriter for MemoryWriter {
    fn write<'a>(&'a mut self, chunk: &'a [u8]) -> BoxFuture<'a, Result<(), SpoolError>> {
        self.1.extend_from_slice(chunk);
        std::future::ready(Ok(())).boxed()
    }
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<SpooledBody, SpoolError>> {
        let mut bodies = self.0.lock().unwrap();
        bodies.push(self.1);
        let name = SpooledBody(format!("{}", bodies.len()).into());
        std::future::ready(Ok(name)).boxed()
    }
    fn discard(self: Box<Self>) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
}

fn account(kind: &str, credentials: &str, base: &str) -> Account {
    let text = format!(
        "providers: [{{name: a, type: {kind}, base_url: '{base}', credentials: {{{credentials}}}, applications: [{{id: app}}]}}]"
    );
    let config = config::parse(Path::new("test"), &text, &|_| None).unwrap();
    config.accounts[0].clone()
}

type Outcome = (Vec<Observation>, Result<(), Failure>, Vec<String>);

/// What comes of the statistics of one bulk, with as many attempts as there are replies.
async fn statistics(replies: Vec<Reply>) -> Outcome {
    let base = serve(replies.clone()).await;
    let account = account("infobip_push", "api_key: k", &base);
    let notes = Arc::new(Notes::default());
    let clock = Clock::system();
    let provider = build(&account, clock.clone(), notes.clone()).unwrap();
    let message = Message {
        application: Arc::from("app"),
        id: Arc::from("bulk"),
        campaign: None,
        sent_at: None,
    };
    let patience = if replies.len() > 1 { 20 } else { 0 };
    let query = MessagesQuery {
        dataset: vendor::STATISTICS,
        application: &account.applications[0],
        messages: std::slice::from_ref(&message),
        patience: Duration::from_secs(patience),
    };
    let answer = provider.messages(query).await;
    let noted = std::mem::take(&mut *notes.0.lock().unwrap());
    (answer.observations, answer.result, noted)
}

const JSON: &str = "application/json";

fn exception(code: &str, text: &str) -> String {
    format!(r#"{{"requestError":{{"serviceException":{{"messageId":"{code}","text":"{text}"}}}}}}"#)
}

mod drains;

#[tokio::test]
async fn an_error_under_200_is_a_failure_of_its_kind() {
    for (body, kind) in [
        (
            exception("UNAUTHORIZED", "Invalid login details"),
            FailureKind::Unauthorized,
        ),
        (
            exception("UNAUTHORIZED", "Unauthorized access"),
            FailureKind::Forbidden,
        ),
        (
            exception("TOO_MANY_REQUESTS", "x"),
            FailureKind::RateLimited,
        ),
        (
            r#"{"errorCode":"E500","description":"x"}"#.into(),
            FailureKind::Vendor,
        ),
        (
            r#"{"code":403,"message":"x"}"#.into(),
            FailureKind::Forbidden,
        ),
        // Nothing in it is a number, whatever it has in place of one.
        (
            r#"{"errors": ["Service unavailable"]}"#.into(),
            FailureKind::Vendor,
        ),
        (r#"{"errors": "no"}"#.into(), FailureKind::Vendor),
        (r#"{"errors": {"code":"X"}}"#.into(), FailureKind::Vendor),
        (r#"{"errors": {"x":1}}"#.into(), FailureKind::Decode),
        (r#"{"errors": [1]}"#.into(), FailureKind::Decode),
        (r#"{"delivery": null}"#.into(), FailureKind::Decode),
        (
            r#"{"totalSent": null, "delivery": {"rate": "NaN"}}"#.into(),
            FailureKind::Decode,
        ),
        ("{}".into(), FailureKind::Decode),
        (r#"{"new":1}"#.into(), FailureKind::Decode),
        ("[1,2,3]".into(), FailureKind::Decode),
        ("<html>".into(), FailureKind::Decode),
        (String::new(), FailureKind::Decode),
    ] {
        let (seen, result, _) = statistics(vec![(200, JSON, body.clone())]).await;
        assert_eq!((seen.len(), result.unwrap_err().kind), (0, kind), "{body}");
    }
}

#[tokio::test]
async fn what_may_go_away_is_asked_for_again_by_the_code_under_200_too() {
    let numbers = r#"{"totalSent": 5, "errors": [1], "delivery": {"rate": 93.66}, "x": 1}"#;
    for first in [
        exception("TOO_MANY_REQUESTS", "x"),
        r#"{"errorCode":"E503"}"#.into(),
    ] {
        let replies = vec![(200, JSON, first), (200, JSON, numbers.into())];
        let (seen, result, notes) = statistics(replies).await;
        assert_eq!(result, Ok(()));
        let [Observation::MessageSnapshot(snapshot)] = seen.as_slice() else {
            panic!("{seen:?}");
        };
        assert_eq!(snapshot.totals[0].counts, [(Measure::Sent, 5)]);
        assert_eq!(snapshot.totals[0].reported_ratio, Some(0.9366));
        for note in ["retry", "field errors", "field x"] {
            assert!(notes.iter().any(|own| own == note), "{note} {notes:?}");
        }
    }
}

#[tokio::test]
async fn a_bulk_that_the_vendor_does_not_take_is_refused_by_itself() {
    for (status, body, reason) in [
        (404, exception("NOT_FOUND", "x"), "NOT_FOUND"),
        (400, exception("BAD_REQUEST", "x"), "BAD_REQUEST"),
        (
            404,
            r#"{"errorCode":"E404","description":"x"}"#.into(),
            "E404",
        ),
        (404, r#"{"requestError":{}}"#.into(), "not_found"),
        (404, String::new(), "not_found"),
        (410, "\r\n".into(), "not_found"),
        (200, exception("NOT_FOUND", "x"), "NOT_FOUND"),
    ] {
        let (seen, result, _) = statistics(vec![(status, JSON, body.clone())]).await;
        let refused = Observation::MessageRejected {
            asked: Arc::from("bulk"),
            reason: Arc::from(reason),
            then: Refusal::UnlessNew,
        };
        assert_eq!((seen, result), (vec![refused], Ok(())), "{body}");
    }
    // What is not the vendor's own word says nothing about the bulk.
    for (status, kind, body, expected) in [
        (
            404,
            "text/html",
            "<html>not here</html>",
            FailureKind::NotFound,
        ),
        (404, JSON, "gone", FailureKind::NotFound),
        (410, "text/html", "<html>gone</html>", FailureKind::Vendor),
        (400, JSON, "", FailureKind::Vendor),
        (403, JSON, "", FailureKind::Forbidden),
    ] {
        let (seen, result, _) = statistics(vec![(status, kind, body.into())]).await;
        assert_eq!(
            (seen.len(), result.unwrap_err().kind),
            (0, expected),
            "{status} {body}"
        );
    }
}

/// What comes of one drain, and how many bodies are in the spool then.
async fn drain(account: &Account) -> (Outcome, usize) {
    let notes = Arc::new(Notes::default());
    let clock = Clock::system();
    let provider = build(account, clock.clone(), notes.clone()).unwrap();
    let spool = MemorySpool::default();
    let query = DrainQuery {
        dataset: vendor::REPORTS,
        spool: &spool,
        patience: Duration::ZERO,
    };
    let Answer {
        observations: seen,
        result,
        ..
    } = provider.drain(query).await;
    let noted = std::mem::take(&mut *notes.0.lock().unwrap());
    let bodies = spool.bodies.lock().unwrap().len();
    ((seen, result, noted), bodies)
}

/// Whoever asks after the lease has ended may not be there when the answer arrives.
#[tokio::test]
async fn nothing_more_is_asked_of_a_queue_once_the_spool_is_closed() {
    // Closed as the first request, and as the second one, is about to be made.
    for (closes_after, codes) in [
        (1, &[][..]),
        (2, &["500", "retry"]),
        (0, &["500", "retry", "200"]),
    ] {
        let replies = vec![(500, JSON, "{}".into()), (200, JSON, REPORTS.into())];
        let base = serve(replies).await;
        let notes = Arc::new(Notes::default());
        let account = account("infobip_email", "api_key: k", &base);
        let provider = build(&account, Clock::system(), notes.clone()).unwrap();
        let spool = MemorySpool {
            closes_after,
            ..MemorySpool::default()
        };
        let query = DrainQuery {
            dataset: vendor::REPORTS,
            spool: &spool,
            patience: Duration::from_secs(20),
        };
        let answer = provider.drain(query).await;
        let noted = notes.0.lock().unwrap().clone();
        let asked: Vec<&str> = noted
            .iter()
            .map(String::as_str)
            .filter(|note| !note.starts_with("field"))
            .collect();
        assert_eq!(asked, codes, "closed after {closes_after}");
        assert!(answer.result.is_err());
        assert_eq!(
            spool.bodies.lock().unwrap().len(),
            usize::from(closes_after == 0)
        );
    }
}

const REPORTS: &str =
    r#"{"results":[{"messageId":"m","to":"x","status":{"id":5},"brandNew":1}],"paging":{}}"#;

#[tokio::test]
async fn a_drain_that_gets_no_reports_fails_after_its_body_is_handed_over() {
    for (kind, body, failure) in [
        (
            JSON,
            exception("UNAUTHORIZED", "Invalid login details"),
            FailureKind::Unauthorized,
        ),
        (
            JSON,
            exception("TOO_MANY_REQUESTS", "x"),
            FailureKind::RateLimited,
        ),
        (
            JSON,
            r#"{"errorCode":"E403"}"#.into(),
            FailureKind::Forbidden,
        ),
        (
            "text/html",
            "<!doctype html><html>log in</html>".into(),
            FailureKind::Decode,
        ),
        (JSON, "<ReportsResponse/>".into(), FailureKind::Decode),
        (JSON, String::new(), FailureKind::Decode),
    ] {
        let base = serve(vec![(200, kind, body.clone())]).await;
        let ((seen, result, notes), bodies) =
            drain(&account("infobip_email", "api_key: k", &base)).await;
        assert_eq!(bodies, 1, "{body}");
        let [
            Observation::DrainedBody {
                read, cut: None, ..
            },
        ] = seen.as_slice()
        else {
            panic!("{seen:?}");
        };
        let own = result.unwrap_err();
        assert_eq!(
            (own.kind, read.failure.as_ref()),
            (failure, Some(&own)),
            "{body}"
        );
        let limited = notes.iter().any(|own| own == "rate limited");
        assert_eq!(limited, failure == FailureKind::RateLimited);
    }
}

#[tokio::test]
async fn reports_are_read_and_their_new_fields_told() {
    let marked = format!("\u{feff}\n{REPORTS}\n");
    let base = serve(vec![(200, JSON, marked)]).await;
    let ((seen, result, notes), _) = drain(&account("infobip_email", "api_key: k", &base)).await;
    let [Observation::DrainedBody { read, .. }] = seen.as_slice() else {
        panic!("{seen:?}");
    };
    assert_eq!(
        (result, read.reports.len(), &read.damage),
        (Ok(()), 1, &None)
    );
    assert_eq!(notes, ["200", "field brandNew", "field paging"]);
}

#[tokio::test]
async fn a_rotated_secret_is_read_again_when_a_drain_is_refused_under_200() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    std::fs::write(&path, "old").unwrap();
    let refused = (
        200,
        JSON,
        exception("UNAUTHORIZED", "Invalid login details"),
    );
    let base = serve(vec![refused.clone(), (200, JSON, REPORTS.into())]).await;
    let credentials = format!("api_key_file: '{}'", path.display());
    let ((seen, result, notes), _) = drain(&account("infobip_email", &credentials, &base)).await;
    assert_eq!((seen.len(), result), (2, Ok(())));
    assert_eq!(notes[..3], ["200", "retry", "200"]);
    // Once.
    let base = serve(vec![refused]).await;
    let ((seen, result, _), _) = drain(&account("infobip_email", &credentials, &base)).await;
    assert_eq!(
        (seen.len(), result.unwrap_err().kind),
        (2, FailureKind::Unauthorized)
    );
}
