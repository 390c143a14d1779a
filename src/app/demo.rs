//! `demo`: simulators of all vendors on loopback, and the exporter on them.

use super::FAILED;
use crate::cli::Cli;

pub(super) async fn run(_cli: &Cli) -> u8 {
    FAILED
}
