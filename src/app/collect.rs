//! `collect`: queries every vendor once, and prints the metrics to standard output.

use std::io::Write;

use delivery_clock::Clock;

use super::{Exporter, FAILED, OK, PARTLY, prepared};
use crate::{
    cli::Cli,
    outputs::exposition::{self, Format},
};

pub(super) async fn run(cli: &Cli) -> u8 {
    let Some(config) = prepared(cli) else {
        return FAILED;
    };
    let clock = Clock::system();
    let (exporter, all) = match Exporter::once(&config, clock.clone()).await {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("delivery-exporter: {error}");
            return FAILED;
        }
    };
    let text = exposition::render(exporter.table(), clock.now(), Format::OpenMetrics);
    // Releases the printed increments and the leases of the accounts.
    exporter.stop().await;
    let mut output = std::io::stdout().lock();
    if output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .is_err()
    {
        // The reader has closed standard output.
        return FAILED;
    }
    if all { OK } else { PARTLY }
}
