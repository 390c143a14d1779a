//! End-to-end tests: the exporter against the simulated vendors on one side, and real Prometheus,
//! nginx and OTLP receivers on the other. `tests/run` says what has to be installed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod alerts;
mod backfill;
mod boards;
mod bombs;
mod books;
mod checkup;
mod command;
mod connections;
mod crash;
mod demo;
mod disks;
mod doors;
mod echo;
mod faults;
mod forecast;
mod harness;
mod hooks;
mod idle;
mod image;
mod kills;
mod kubernetes;
mod luck;
mod matrix;
mod moods;
mod moving;
mod operating;
mod otlp;
mod package;
mod page;
mod postgres;
mod powercut;
mod preload;
mod prometheus;
mod promql;
mod protocols;
mod quiet;
mod readers;
mod real_vendors;
mod recorded;
mod reloads;
mod replay;
mod replicas;
mod rules;
mod runbooks;
#[path = "../fuzz/sample.rs"]
#[expect(dead_code, reason = "fuzzing collects everything")]
mod sample;
mod secure;
mod seeds;
mod sets;
mod soak;
mod universe;
mod vendor_clients;
mod web_config;
mod world;
