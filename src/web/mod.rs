//! The HTTP server: the accept loop, the routes, and the status page.
//!
//! | endpoint | |
//! |---|---|
//! | `GET /` | the status page |
//! | `GET /runbooks/` | what to do about each alert |
//! | `GET /metrics` | the exposition (`--web.telemetry-path`) |
//! | `GET /-/healthy`, `GET /-/ready` | for orchestrators |
//! | `POST /-/reload` | with `--web.enable-lifecycle` |
//! | `GET /probe` | queries one message now |
//! | `/api/v1/` | registration of sent messages, and the exporter's state, with `server.api_token` |
//! | `POST /webhooks/` | reports that vendors push, with the account's `webhook_token` |

mod api;
mod backend;
mod connections;
pub mod guard;
mod guesses;
mod html;
pub mod peer;
mod probe;
mod runbooks;
pub mod scrapers;
pub mod server;
mod status;
mod tokens;
mod webhooks;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use delivery_clock::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub use backend::Backend;
use guard::Guard;
use scrapers::{Client, Scrapers};
#[doc(hidden)]
pub use status::read_history;
pub use status::{AccountStatus, ConfigurationStatus, ExporterStatus, Monitor};

use crate::{
    outputs::exposition::{Exposition, Parts},
    redact,
    series::Table,
};

/// How long a reload may take before its caller is told to look at the log.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// A request to reload the configuration; the reply contains the problems.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// What the routes need.
#[derive(Clone)]
pub struct AppState {
    /// All series.
    pub table: Arc<Table>,
    /// Renders the series for scrapes.
    pub exposition: Arc<Exposition>,
    /// The clock.
    pub clock: Clock,
    /// `--web.telemetry-path`.
    pub telemetry_path: Arc<str>,
    /// `--web.enable-lifecycle`.
    pub lifecycle: bool,
    /// Where reload requests go.
    pub reload: mpsc::Sender<ReloadRequest>,
    /// The file that a reload reads again.
    pub config_file: Option<Arc<str>>,
    /// What the status page remembers: delivery rates, and the state of alert conditions.
    pub monitor: Arc<Monitor>,
    /// The part of the status page that the series do not contain.
    pub status: Arc<dyn Fn() -> ExporterStatus + Send + Sync>,
    /// Tracks how often each scraper scrapes.
    pub scrapers: Arc<Scrapers>,
    /// `zero_hold`, which a reload can change.
    pub zero_hold: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// The exporter behind the endpoints for programs.
    pub backend: Arc<dyn Backend>,
    /// Limits the number of responses that are prepared at the same time.
    pub making: Making,
}

/// The number of responses that are prepared at the same time, per CPU.
const MAKING: usize = 2;

/// CPU-intensive responses are prepared a few at a time, so that a client that asks for thousands of them
/// delays neither health checks nor the processing of vendors' answers.
#[derive(Clone)]
pub struct Making {
    scrapes: Arc<Semaphore>,
    pages: Arc<Semaphore>,
}

impl Default for Making {
    fn default() -> Making {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let room = || Arc::new(Semaphore::new(MAKING * processors));
        Making {
            scrapes: room(),
            pages: room(),
        }
    }
}

/// Waits for a permit; the semaphore is never closed.
async fn turn(room: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    room.clone().acquire_owned().await.ok()
}

/// All routes, behind the guard.
pub fn router(app: AppState, guard: &Arc<Guard>) -> Router {
    Router::new()
        .route("/", get(status_page))
        .route(&app.telemetry_path.clone(), get(metrics))
        .route(
            "/-/healthy",
            get(async || "delivery-exporter is healthy.\n"),
        )
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload))
        .route("/probe", get(probe::probe))
        .merge(runbooks::router())
        .layer(middleware::from_fn_with_state(guard.clone(), guard::users))
        .merge(api::router())
        .merge(webhooks::router(app.backend.vendors()))
        .with_state(app)
        .layer(middleware::from_fn_with_state(
            guard.clone(),
            guard::headers,
        ))
}

async fn metrics(
    State(app): State<AppState>,
    peer: Option<Extension<peer::Peer>>,
    headers: HeaderMap,
) -> Response {
    if let Some(Extension(peer::Peer(address))) = peer {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let client = Client {
            address: address.ip(),
            program: text("user-agent").unwrap_or_default().to_owned(),
            scheduled: text("x-prometheus-scrape-timeout-seconds").is_some(),
        };
        let now = app.clock.monotonic();
        let sufficient = app.scrapers.visit(client, now, (app.zero_hold)());
        app.table.process().zero_hold_sufficient(sufficient);
    }
    let turn = turn(&app.making.scrapes).await;
    let scrape = app.exposition.scrape(&app.table, &headers);
    if scrape.is_ready() {
        return answer(scrape.answer());
    }
    // Rendering many series would delay other requests on the same thread.
    let work = move || {
        let _turn = turn;
        scrape.answer()
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(own) => answer(own),
        Err(error) => {
            tracing::error!(%error, "a scrape failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A response made of prepared parts.
fn answer((headers, parts): (HeaderMap, Parts)) -> Response {
    (headers, Body::new(parts)).into_response()
}

async fn ready(State(app): State<AppState>) -> Response {
    let waiting: Vec<_> = (app.status)()
        .accounts
        .into_iter()
        .filter(|account| !account.ready)
        .collect();
    if waiting.is_empty() {
        return "delivery-exporter is ready.\n".into_response();
    }
    let names: Vec<_> = waiting
        .iter()
        .map(|note| note.account.name.as_ref())
        .collect();
    let text = format!("waiting for the first answer of: {}\n", names.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn reload(State(app): State<AppState>) -> Response {
    if !app.lifecycle {
        let text = "reload by HTTP is off: start with --web.enable-lifecycle, or send SIGHUP\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let (sender, answer) = oneshot::channel();
    if app.reload.send(sender).await.is_err() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "the exporter is stopping\n",
        )
            .into_response();
    }
    match tokio::time::timeout(RELOAD_TIMEOUT, answer).await {
        Ok(Ok(Ok(()))) => "reloaded\n".into_response(),
        Ok(Ok(Err(problems))) => {
            // Errors quote the contents of message files.
            let problems = format!("{}\n", redact::masked(&problems));
            (StatusCode::INTERNAL_SERVER_ERROR, problems).into_response()
        }
        _ => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the reload has not ended; see the log\n",
        )
            .into_response(),
    }
}

/// Observes delivery rates and alert conditions for the status page, until the process ends.
pub async fn watch(app: AppState) {
    loop {
        let own = app.clone();
        let observed = tokio::task::spawn_blocking(move || {
            let accounts = (own.status)().accounts;
            own.monitor.tick(&own.table, &accounts, own.clock.now());
        });
        if let Err(error) = observed.await {
            tracing::error!(%error, "the accounts could not be observed for the status page");
        }
        app.clock.sleep(status::OBSERVE_EVERY).await;
    }
}

async fn status_page(
    State(app): State<AppState>,
    parameters: Result<Query<status::Parameters>, QueryRejection>,
) -> Response {
    // Invalid parameters must not prevent the page from being shown.
    let parameters = parameters.map(|Query(parameters)| parameters);
    let parameters = parameters.unwrap_or_default();
    let turn = turn(&app.making.pages).await;
    let work = move || {
        let _turn = turn;
        status::page(&app, parameters)
    };
    let page = tokio::task::spawn_blocking(work).await;
    match page {
        Ok(Ok(page)) => html::page(StatusCode::OK, page),
        Ok(Err(error)) => {
            tracing::error!(%error, "the status page could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(error) => {
            tracing::error!(%error, "the status page failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
