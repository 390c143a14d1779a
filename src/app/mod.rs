//! The wiring: subcommands, signals, reload. Everything here calls the rooms; none calls back.

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
/// Something that the person has to change, or an error that ends the process.
const FAILED: u8 = 1;
/// Part of the work is done.
const PARTLY: u8 = 2;
/// What each exit status means, for the manual page and `docs/command-line.md`.
const EXIT_STATUS: [(u8, &str); 3] = [
    (
        OK,
        "Everything went well; serve and demo: they were stopped by a signal.",
    ),
    (
        FAILED,
        "Nothing was done, or the process had to end: a wrong configuration, an address in use, a ledger that cannot be opened; check: something is wrong, with --online at a vendor too; health: the exporter is not healthy.",
    ),
    (
        PARTLY,
        "Part of it was done; collect: an account failed, the metrics of the others are printed; replay: something stays in quarantine; backfill: some history could not be had. Also: the command line was wrong.",
    ),
];

/// Runs the command line to its end, and gives the exit status.
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
    // Lookups of names that hang must not hold the exit.
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

/// Where the configuration is read, at the start and at each reload.
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
            // The flag stands for what systemd would give.
            Some(path) if name == config::STATE_DIRECTORY => Some(path.to_str()?.to_owned()),
            _ => std::env::var(name).ok(),
        })
    }
}

/// The configuration of a command that ends by itself, whose log begins; `None`: what is wrong with
/// it is told.
fn prepared(cli: &Cli) -> Option<Config> {
    match ConfigSource::of(&cli.flags).load() {
        Ok(config) => {
            // Without the configuration: such a command pushes no traces.
            let _ = telemetry::start(&cli.flags, None);
            Some(config)
        }
        Err(errors) => {
            eprintln!("{errors}");
            None
        }
    }
}
