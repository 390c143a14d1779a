//! A simulated vendor, on a port of its own or in memory: requests are noted, faults are met, and other
//! programs can look at the books.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use delivery_clock::Clock;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};
use tower::ServiceExt;

use crate::{
    faults::{Described, Fault, Faults, spoil},
    mood::transport,
};

/// A request that came in.
#[derive(Clone, Debug)]
pub struct Received {
    /// When.
    pub at: Timestamp,
    /// The method.
    pub method: Method,
    /// Path and query, as they came.
    pub uri: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A simulator that listens on a port.
pub struct Running {
    address: SocketAddr,
    service: Service,
    task: JoinHandle<()>,
}

/// What answers the requests to a simulated vendor, with faults and a record of requests of its own. Clones
/// are one.
#[derive(Clone)]
pub struct Service {
    account: Arc<dyn transport::Vendor>,
    router: Router,
    admin: Router,
    faults: Faults,
    received: Arc<Mutex<Log>>,
    in_flight: Arc<AtomicUsize>,
    clock: Clock,
}

/// The newest requests: a demo may run for weeks.
#[derive(Default)]
struct Log {
    newest: VecDeque<Received>,
    count: usize,
}

/// So many requests are kept.
const MAX_RECEIVED: usize = 100_000;

impl Log {
    fn push(&mut self, received: Received) {
        self.count += 1;
        if self.newest.len() == MAX_RECEIVED {
            self.newest.pop_front();
        }
        self.newest.push_back(received);
    }
}

impl Service {
    /// What answers with a vendor's routes.
    pub(crate) fn new(
        router: Router,
        account: Arc<dyn transport::Vendor>,
        clock: Clock,
    ) -> Service {
        let faults = Faults::default();
        Service {
            admin: admin(faults.clone(), account.clone()),
            account,
            router,
            faults,
            received: Arc::default(),
            in_flight: Arc::default(),
            clock,
        }
    }

    /// What goes wrong on it.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

impl Running {
    /// Serves on an address of this machine; port 0 takes a free one.
    pub(crate) async fn start(address: SocketAddr, service: Service) -> io::Result<Running> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, service.clone()));
        Ok(Running {
            address,
            service,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to configure as `base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What goes wrong on it.
    pub fn faults(&self) -> &Faults {
        &self.service.faults
    }

    /// How many requests have come in.
    pub fn received_count(&self) -> usize {
        lock(&self.service.received).count
    }

    /// How many requests have come in whose answer has not been begun.
    pub fn in_flight(&self) -> usize {
        self.service.in_flight.load(Ordering::SeqCst)
    }

    /// The requests so far, but for those before the newest hundred thousand.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.service.received)
            .newest
            .iter()
            .cloned()
            .collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a request until it is answered, or whoever made it has gone.
struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn begin(count: &Arc<AtomicUsize>) -> InFlight {
        count.fetch_add(1, Ordering::SeqCst);
        InFlight(count.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, service: Service) {
    // The connections end with the simulator.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let service = service.clone();
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request| service.clone().serve(request));
            let builder = auto::Builder::new(TokioExecutor::new());
            // A client that goes away is its own affair.
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

impl Service {
    async fn serve(self, request: Request<hyper::body::Incoming>) -> io::Result<Response> {
        let _in_flight = InFlight::begin(&self.in_flight);
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        self.answer(Request::from_parts(parts, body)).await
    }

    /// Answers a request, as if it had come over a socket. Delays last as long as tokio's time says.
    ///
    /// # Errors
    ///
    /// The connection is closed without an answer. The body of an answer that is cut off ends with an error.
    pub async fn answer(&self, request: Request<Bytes>) -> io::Result<Response> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        if path.starts_with("/_simulator/") {
            let request = Request::from_parts(parts, Body::from(body));
            return Ok(never(self.admin.clone().oneshot(request).await));
        }
        let (method, uri, headers) = (
            parts.method.clone(),
            parts.uri.clone(),
            parts.headers.clone(),
        );
        let at = self.clock.now();
        lock(&self.received).push(Received {
            at,
            method,
            uri,
            headers,
            body: body.clone(),
        });
        let fault = self.faults.meet(&path);
        let call = self.account.endpoint(&parts).and_then(|(name, acting)| {
            let request = || self.account.request(&parts, &body);
            acting.call(name, request, self.account.volatile())
        });
        // The client gets nothing of such an answer.
        let lost = matches!(fault, Some(Fault::Reset | Fault::Cut(_)));
        let answer = async {
            let asked = parts.headers.clone();
            let mut request = Request::from_parts(parts, Body::from(body));
            let (mut response, now) = match call {
                None => {
                    let response = never(self.router.clone().oneshot(request).await);
                    (response, self.clock.now())
                }
                Some(call) => {
                    request.extensions_mut().insert(call.clone());
                    let good = async { never(self.router.clone().oneshot(request).await) };
                    let now = self.clock.now();
                    let account = self.account.as_ref();
                    let response = transport::answer(account, &call, &asked, now, lost, good).await;
                    (response, call.acting.clock(self.clock.now()))
                }
            };
            // The vendor's clock, not the machine's.
            let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            if let Ok(date) = date.parse() {
                response.headers_mut().insert(header::DATE, date);
            }
            response
        };
        match fault {
            None => Ok(answer.await),
            Some(fault) => spoil(fault, answer)
                .await
                .ok_or_else(|| io::Error::other("closed without an answer")),
        }
    }
}

fn never<T>(result: Result<T, std::convert::Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

fn admin(faults: Faults, account: Arc<dyn transport::Vendor>) -> Router {
    type Shown = (Faults, Arc<dyn transport::Vendor>);
    let set = async |State((faults, _)): State<Shown>, Json(described): Json<Described>| {
        if faults.add_described(described) {
            StatusCode::NO_CONTENT.into_response()
        } else {
            let text = "name one of status, delay_ms, hang, cut, reset, endless\n";
            (StatusCode::BAD_REQUEST, text).into_response()
        }
    };
    let clear = async |State((faults, _)): State<Shown>| {
        faults.clear();
        StatusCode::NO_CONTENT
    };
    let show = async |State((_, account)): State<Shown>| Json(account.books());
    let told = async |State((_, account)): State<Shown>| Json(account.told());
    Router::new()
        .route("/_simulator/faults", post(set).delete(clear))
        .route("/_simulator/books", get(show))
        .route("/_simulator/told", get(told))
        .with_state((faults, account))
}

/// An answer in JSON.
pub(crate) fn json(status: u16, value: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [(header::CONTENT_TYPE, "application/json;charset=UTF-8")];
    (status, headers, value.to_string()).into_response()
}

/// The parameters of a query or form, decoded, in their order.
pub(crate) fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name), percent_decode(value))
        })
        .collect()
}

/// Decodes `%XX`, and `+` as a blank.
pub(crate) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = after;
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &after[2..];
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
