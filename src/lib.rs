//! delivery-exporter: a Prometheus and OpenTelemetry exporter for the delivery of push
//! notifications and e-mail through several vendors.
//!
//! Data flows in one direction, `discovery → collector → providers → ledger → series → outputs`; each module
//! depends only on the public types of its neighbours. `docs/architecture.md` is the map.

pub mod app;
mod blocking;
pub mod catalog;
pub mod cli;
pub mod collector;
pub mod config;
pub mod discovery;
mod files;
#[cfg(test)]
mod golden;
pub mod ledger;
pub mod model;
pub mod outputs;
pub mod progress;
#[cfg(test)]
mod project;
pub mod providers;
pub mod redact;
pub mod secret;
pub mod series;
mod spans;
pub mod store_url;
pub mod telemetry;
mod tls;
pub mod web;
