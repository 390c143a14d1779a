//! `collect`: every vendor once, and the metrics on standard output.

use std::io::Write;

use delivery_clock::Clock;

use super::{Exporter, FAILED, OK, PARTLY, load};
use crate::{
    cli::Cli,
    outputs::exposition::{self, Format},
    telemetry,
};

pub(super) async fn run(cli: &Cli) -> u8 {
    let config = match load(&cli.flags.config_file) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return FAILED;
        }
    };
    // Without the configuration: one pass pushes no traces.
    let _ = telemetry::start(&cli.flags, None);
    let clock = Clock::system();
    let (exporter, all) = match Exporter::once(&config, clock.clone()).await {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("delivery-exporter: {error}");
            return FAILED;
        }
    };
    let text = exposition::render(exporter.table(), clock.now(), Format::OpenMetrics);
    // What is printed is released; the accounts are free again.
    exporter.stop().await;
    let mut output = std::io::stdout().lock();
    if output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .is_err()
    {
        // Whoever read has gone.
        return FAILED;
    }
    if all { OK } else { PARTLY }
}
