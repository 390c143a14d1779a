//! The command `delivery-exporter`.

use std::process::ExitCode;

use clap::Parser;
use delivery_exporter::{app, cli::Cli};

fn main() -> ExitCode {
    app::main(&Cli::parse())
}
