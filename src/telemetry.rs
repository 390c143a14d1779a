//! The exporter's log and traces.

use tracing::{Level, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, filter_fn},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{
    cli::{Flags, LogFormat, LogLevel},
    config::Config,
    outputs::otlp::Traces,
    progress::ProgressAwareWriter,
    spans::TRACE_TARGET,
};

/// Libraries that log warnings about the behaviour of a client or server. Anyone who can connect could fill
/// the log with them.
const PROTOCOL_LIBRARIES: [&str; 5] = ["h2", "hyper", "hyper_util", "rustls", "tokio_rustls"];

/// The lowest level at which a target's messages are useful to users.
fn level_of(target: &str) -> Level {
    let library = target.split("::").next().unwrap_or_default();
    if PROTOCOL_LIBRARIES.contains(&library) {
        Level::ERROR
    } else {
        Level::WARN
    }
}

/// Sets up the log, on standard error, and traces if they are configured.
///
/// # Errors
///
/// The connection for traces cannot be set up. The log works nevertheless.
pub fn start(flags: &Flags, config: Option<&Config>) -> Result<Option<Traces>, String> {
    let traces = match config.and_then(|config| Some((config, config.otlp.as_ref()?))) {
        Some((config, otlp)) if otlp.traces => Some(Traces::start(otlp, &config.replica)),
        _ => None,
    };
    let (traces, problem) = match traces {
        Some(Ok(traces)) => (Some(traces), None),
        Some(Err(problem)) => (None, Some(problem)),
        None => (None, None),
    };
    let level = match flags.log_level {
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warn => Level::WARN,
        LogLevel::Error => Level::ERROR,
    };
    // Debug messages of libraries are of no use to operators.
    let ours = filter_fn(|metadata| {
        let own = metadata.target().starts_with("delivery_");
        (own && metadata.target() != TRACE_TARGET)
            || *metadata.level() <= level_of(metadata.target())
    });
    let log = log_layer(flags.log_format)
        .with_filter(ours)
        .with_filter(LevelFilter::from_level(level));
    let spans = traces.as_ref().map(|traces| {
        traces
            .layer()
            .with_filter(filter_fn(|metadata| metadata.target() == TRACE_TARGET))
    });
    // A process with two exporters (a test) has one log.
    let _ = tracing_subscriber::registry()
        .with(log)
        .with(spans)
        .try_init();
    match problem {
        Some(problem) => Err(problem),
        None => Ok(traces),
    }
}

fn log_layer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    match format {
        LogFormat::Logfmt => tracing_logfmt::builder()
            .with_span_name(false)
            .with_span_path(false)
            .layer()
            .with_writer(ProgressAwareWriter::default)
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(ProgressAwareWriter::default)
            .boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_do_to_connections_is_not_logged_by_libraries() {
        for target in ["h2::proto::streams::recv", "rustls::server::hs", "hyper"] {
            assert_eq!(level_of(target), Level::ERROR, "{target}");
        }
        for target in [
            "tokio_postgres::connection",
            "hyperion",
            "opentelemetry_sdk",
        ] {
            assert_eq!(level_of(target), Level::WARN, "{target}");
        }
    }
}
