//! What is counted, once: delivery reports that are handed out once, and the spool that keeps
//! their bodies.
//!
//! Reports go in, [`Increment`]s come out. This room knows neither HTTP nor a metric's name.

use std::sync::Arc;

use rust_decimal::Decimal;

use crate::model::Measure;

/// Something that was counted for the first time, of one application.
#[derive(Clone, Debug, PartialEq)]
pub enum Increment {
    /// A delivery report (contract 4.3: this counts reports, not messages).
    Report {
        /// The label `channel`.
        channel: &'static str,
        /// The label `status_group`.
        status_group: Arc<str>,
        /// The label `status`.
        status: Arc<str>,
        /// The label `error_group`.
        error_group: Arc<str>,
        /// The label `error`.
        error: Arc<str>,
        /// The label `permanent`; `None`: empty.
        permanent: Option<bool>,
    },
    /// A message reached a state.
    Message {
        /// Which.
        measure: Measure,
        /// The label `channel`.
        channel: &'static str,
        /// The campaign, where the report that made the count names one.
        campaign: Option<Arc<str>>,
    },
    /// The time from sending to the first final report.
    Latency {
        /// The label `channel`.
        channel: &'static str,
        /// The label `status_group`.
        status_group: Arc<str>,
        /// The time.
        seconds: f64,
    },
    /// What a message cost.
    Cost {
        /// The label `channel`.
        channel: &'static str,
        /// The label `currency`.
        currency: Arc<str>,
        /// The exact amount.
        amount: Decimal,
    },
    /// A report that was counted before.
    Duplicate,
    /// A body, or the rest of one, that could not be read and was set aside.
    Quarantined,
}
