//! The command `delivery-exporter`.

use std::process::ExitCode;

use delivery_exporter::{app, cli::Cli};

fn main() -> ExitCode {
    app::main(&Cli::of_process())
}
