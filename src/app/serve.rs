//! `serve`: runs the exporter and its HTTP server until a signal stops it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, middleware};
use delivery_clock::Clock;
use futures_util::future::BoxFuture;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

use super::{ConfigSource, Exporter, FAILED, OK, supervisor};
use crate::{
    cli::Cli,
    config::{Config, Problem},
    telemetry,
    web::{
        self, AppState, Monitor, ReloadRequest,
        guard::{self, Guard},
    },
};

/// How long requests in progress may take to finish at shutdown.
const WEB_GRACE: Duration = Duration::from_secs(1);
/// The maximum time for the whole shutdown.
const STOP_WITHIN: Duration = Duration::from_secs(9);

/// Where the exporter can be reached.
pub(super) struct Listening {
    /// All addresses that are bound.
    pub(super) addresses: Vec<SocketAddr>,
    /// Whether connections are encrypted.
    pub(super) tls: bool,
}

/// What another command adds to serving.
pub(super) struct Extras {
    /// More endpoints, behind the same guard.
    pub(super) routes: Router,
    /// A task that runs from the time when the exporter can be reached until it stops.
    pub(super) on_listening: Box<dyn FnOnce(Listening) -> BoxFuture<'static, ()> + Send>,
}

pub(super) async fn run(cli: &Cli) -> u8 {
    let source = ConfigSource::of(&cli.flags);
    let config = match source.load() {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return FAILED;
        }
    };
    let traces = match telemetry::start(&cli.flags, Some(&config)) {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("delivery-exporter: otlp.traces: {error}");
            return FAILED;
        }
    };
    let status = serve(cli, &config, Clock::system(), Some(&source), None).await;
    if let Some(traces) = traces {
        traces.stop().await;
    }
    status
}

/// Serves a configuration until a signal ends it. A reload reads it again from `source`.
pub(super) async fn serve(
    cli: &Cli,
    config: &Config,
    clock: Clock,
    source: Option<&ConfigSource>,
    extras: Option<Extras>,
) -> u8 {
    let guard = match cli.flags.web_config_file.as_deref().map(Guard::read) {
        None => Guard::open(),
        Some(Ok(guard)) => guard,
        Some(Err(problems)) => {
            for problem in problems.lines() {
                tracing::error!(problem, "the web configuration is invalid");
            }
            return FAILED;
        }
    };
    warn(&config.warnings);
    for warning in guard.warnings() {
        tracing::warn!(%warning, "the web configuration is questionable");
    }
    let mut listeners = Vec::new();
    for address in &cli.flags.listen_addresses {
        match web::server::listen(address).await {
            Ok(more) => listeners.extend(more),
            Err(error) => {
                tracing::error!(%error, "cannot listen");
                return FAILED;
            }
        }
    }
    let exporter = match Exporter::start(config, clock).await {
        Ok(exporter) => Arc::new(exporter),
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return FAILED;
        }
    };
    match run_with(cli, exporter, listeners, Arc::new(guard), source, extras).await {
        Ok(()) => OK,
        Err(error) => {
            tracing::error!(%error, "signals cannot be handled");
            FAILED
        }
    }
}

/// Logs what is odd in a configuration, a line each.
fn warn(warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!(%warning, "the configuration is odd");
    }
}

async fn run_with(
    cli: &Cli,
    exporter: Arc<Exporter>,
    listeners: Vec<TcpListener>,
    guard: Arc<Guard>,
    source: Option<&ConfigSource>,
    extras: Option<Extras>,
) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let (reload, reloads) = mpsc::channel::<ReloadRequest>(1);
    let (stop, stopped) = watch::channel(false);
    let (noted, watched) = (exporter.clone(), exporter.clone());
    let monitor = Arc::new(Monitor::open(&exporter.config().spool));
    let app = AppState {
        table: exporter.table().clone(),
        exposition: exporter.exposition().clone(),
        clock: exporter.clock().clone(),
        telemetry_path: cli.flags.telemetry_path.as_str().into(),
        lifecycle: cli.flags.enable_lifecycle && source.is_some(),
        reload,
        config_file: source.map(|own| own.file.display().to_string().into()),
        monitor: monitor.clone(),
        status: Arc::new(move || noted.current_status()),
        scrapers: Arc::default(),
        zero_hold: Arc::new(move || watched.zero_hold()),
        backend: exporter.clone(),
        making: web::Making::default(),
    };
    let addresses: Vec<_> = listeners
        .iter()
        .filter_map(|own| own.local_addr().ok())
        .collect();
    let watching = tokio::spawn(web::watch(app.clone()));
    let tls = guard.rules().await.tls.is_some();
    let mut router = web::router(app, &guard);
    let mut on_listening = None;
    if let Some(extras) = extras {
        let users = middleware::from_fn_with_state(guard.clone(), guard::users);
        let headers = middleware::from_fn_with_state(guard.clone(), guard::headers);
        router = router.merge(extras.routes.layer(users).layer(headers));
        on_listening = Some(extras.on_listening);
    }
    let server = tokio::spawn(web::server::serve(
        listeners, router, guard, stopped, WEB_GRACE,
    ));
    let tended = exporter.clone();
    let tending = tokio::spawn(async move { tended.maintain().await });
    for address in &addresses {
        tracing::info!(%address, "listening");
    }
    // In a separate task, so that a stop signal does not wait for a slow reload.
    let can_reload = source.is_some();
    let (by_signal, signalled) = mpsc::channel(1);
    let reloading = tokio::spawn(reload_when_asked(
        source.cloned(),
        exporter.clone(),
        reloads,
        signalled,
    ));
    let supervised = tokio::spawn(supervisor::run(exporter.clock().clone()));
    let beside = on_listening.map(|run| tokio::spawn(run(Listening { addresses, tls })));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => {
                // Without a file to reload, SIGHUP means that the terminal was closed.
                if !can_reload {
                    break;
                }
                // A reload that is already queued will read the current file.
                let _ = by_signal.try_send(());
            }
        }
    }
    supervised.abort();
    supervisor::stopping();
    tending.abort();
    watching.abort();
    if let Some(beside) = beside {
        beside.abort();
    }
    tracing::info!("stopping");
    let end = async {
        // Waits for a reload in progress, so that what it started is stopped too.
        exporter.stop().await;
        reloading.abort();
        // Scrapes are served until the last push is done.
        let _ = stop.send(true);
        let _ = server.await;
        let saved = tokio::task::spawn_blocking(move || monitor.save()).await;
        if let Err(error) = saved {
            tracing::error!(%error, "the status page's history could not be kept");
        }
    };
    if tokio::time::timeout(STOP_WITHIN, end).await.is_err() {
        tracing::warn!("some work did not finish in time and is aborted");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Runs reloads one at a time, for signals and for requests.
async fn reload_when_asked(
    source: Option<ConfigSource>,
    exporter: Arc<Exporter>,
    mut requests: mpsc::Receiver<ReloadRequest>,
    mut signals: mpsc::Receiver<()>,
) {
    loop {
        tokio::select! {
            Some(()) = signals.recv() => {
                // Failures are already logged.
                let _ = reload_from(source.as_ref(), &exporter).await;
            }
            Some(request) = requests.recv() => {
                let outcome = reload_from(source.as_ref(), &exporter).await;
                // The requester may have disconnected.
                let _ = request.send(outcome);
            }
            else => return,
        }
    }
}

/// Reloads the configuration; if it is invalid, the old one stays in force.
async fn reload_from(source: Option<&ConfigSource>, exporter: &Exporter) -> Result<(), String> {
    let Some(source) = source.cloned() else {
        return Err("there is no configuration file to reload".to_owned());
    };
    let _reloading = supervisor::reloading();
    let loaded = tokio::task::spawn_blocking(move || source.load()).await;
    let loaded = loaded.map_err(|error| format!("the configuration cannot be read: {error}"))?;
    let outcome = match loaded {
        Ok(config) => {
            let reloaded = exporter.reload(&config).await;
            if reloaded.is_ok() {
                warn(&config.warnings);
            }
            reloaded.map_err(|error| error.to_string())
        }
        Err(errors) => Err(errors.to_string()),
    };
    match &outcome {
        Ok(()) => tracing::info!("the configuration was reloaded"),
        Err(problems) => {
            exporter.refused(problems);
            for problem in problems.lines() {
                tracing::error!(
                    problem,
                    "the configuration was not reloaded; the old one stays in force"
                );
            }
        }
    }
    outcome
}
