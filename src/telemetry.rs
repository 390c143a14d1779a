//! What the exporter tells about itself besides metrics: its log, and traces.

/// The target of the spans that become traces: passes and vendor requests.
pub const TRACE_TARGET: &str = "delivery_exporter::trace";
