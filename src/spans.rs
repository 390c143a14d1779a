//! The target that marks spans as traces.

/// The target of spans that are pushed as traces (`otlp.traces`), and not logged.
pub const TRACE_TARGET: &str = "delivery_exporter::trace";
