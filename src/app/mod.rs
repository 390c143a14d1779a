//! The wiring: subcommands, signals, reload. This module calls the other modules; none of them calls it.

mod backend;
mod backfill;
mod backup;
mod check;
mod collect;
mod demo;
mod exporter;
mod health;
mod ledger_options;
mod manual;
mod migrate;
mod observers;
mod probes;
mod replay;
mod serve;
mod substitutes;
mod supervisor;

use std::{path::PathBuf, process::ExitCode};

pub use exporter::{Exporter, StartError};
pub use substitutes::Substitutes;

use crate::{
    cli::{Cli, Command, Flags},
    config::{self, Config, ConfigErrors},
    telemetry,
};

/// Everything went well.
const OK: u8 = 0;
/// The user must change something, or an error ended the process.
const FAILED: u8 = 1;
/// Part of the work is done.
const PARTLY: u8 = 2;
/// What each exit status means, for the manual page and `docs/command-line.md`.
const EXIT_STATUS: [(u8, &str); 3] = [
    (OK, "Success; for serve and demo: stopped by a signal."),
    (
        FAILED,
        "Nothing was done, or the process had to end: an invalid configuration, an address in use, a ledger that cannot be opened; for check: something is wrong, with --online at a vendor too; for health: the exporter is not healthy.",
    ),
    (
        PARTLY,
        "Partial success; for collect: an account failed, and the metrics of the others are printed; for replay: some bodies remain in quarantine; for backfill: some history could not be fetched. Also: an invalid command line.",
    ),
];

/// Runs the command line, and returns the exit status.
pub fn main(cli: &Cli) -> ExitCode {
    if let Err(error) = cli.checked() {
        eprintln!("delivery-exporter: {error}");
        return FAILED.into();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("delivery-exporter: the runtime cannot start: {error}");
            return FAILED.into();
        }
    };
    let status = runtime.block_on(run(cli));
    // DNS lookups that hang must not delay the exit.
    runtime.shutdown_background();
    status.into()
}

async fn run(cli: &Cli) -> u8 {
    match cli.command.as_ref().unwrap_or(&Command::Serve) {
        Command::Serve => serve::run(cli).await,
        Command::Check(wanted) => check::run(cli, wanted).await,
        Command::Collect => collect::run(cli).await,
        Command::Demo(wanted) => demo::run(cli, wanted).await,
        Command::Replay => replay::run(cli).await,
        Command::Backfill(wanted) => backfill::run(cli, wanted).await,
        Command::Health => health::run(cli).await,
        Command::Backup(wanted) => backup::run(cli, wanted).await,
        Command::Migrate(wanted) => migrate::run(cli, wanted).await,
        Command::Man => manual::man(),
        Command::Completions(wanted) => manual::completions(wanted.shell),
    }
}

/// Where the configuration is read from, at the start and at each reload.
#[derive(Clone, Debug)]
struct ConfigSource {
    file: PathBuf,
    /// `--storage.path`.
    storage_path: Option<PathBuf>,
}

impl ConfigSource {
    /// What the flags say.
    fn of(flags: &Flags) -> ConfigSource {
        ConfigSource {
            file: flags.config_file.clone(),
            storage_path: flags.storage_path.clone(),
        }
    }

    /// Reads the configuration with this process's environment.
    fn load(&self) -> Result<Config, ConfigErrors> {
        config::load(&self.file, &|name| match &self.storage_path {
            // The flag replaces the directory that systemd would provide.
            Some(path) if name == config::STATE_DIRECTORY => Some(path.to_str()?.to_owned()),
            _ => std::env::var(name).ok(),
        })
    }
}

/// Starts the log and loads the configuration for a command that runs once; `None` after printing what is
/// wrong with it.
fn prepared(cli: &Cli) -> Option<Config> {
    match ConfigSource::of(&cli.flags).load() {
        Ok(config) => {
            // No configuration is passed, because such a command pushes no traces.
            let _ = telemetry::start(&cli.flags, None);
            Some(config)
        }
        Err(errors) => {
            eprintln!("{errors}");
            None
        }
    }
}
