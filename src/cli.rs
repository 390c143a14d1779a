//! The command line: subcommands and flags in the form of the Prometheus ecosystem.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The text of `--version`.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision ",
    env!("DELIVERY_EXPORTER_REVISION"),
    ", ",
    env!("DELIVERY_EXPORTER_RUSTC"),
    ")"
);

/// Prometheus and OpenTelemetry exporter for the delivery of push notifications and e-mail.
#[derive(Debug, Parser)]
#[command(name = "delivery-exporter", version = VERSION, args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// What to do; without one: serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags, which stand before or after the subcommand.
    #[command(flatten)]
    pub flags: Flags,
}

/// A subcommand.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Ask every vendor again and again, and serve and push what they say (the default).
    Serve,
    /// Check the configuration and the files it names, without a network call.
    Check,
    /// Ask every vendor once, and print OpenMetrics text. Exits 2 if an account failed.
    Collect,
    /// Start simulators of all vendors on loopback, and the exporter on them.
    Demo,
    /// History that vendors keep, for promtool. Comes with a later version.
    #[command(hide = true)]
    Backfill(Rest),
    /// Read what lies in quarantine once more, and count what can be read now.
    Replay,
}

/// Arguments of a subcommand that a later version brings: taken in so that it can be refused by
/// its name.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<String>,
}

/// The flags of every subcommand.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// The configuration.
    #[arg(
        long = "config.file",
        value_name = "FILE",
        default_value = "config.yaml",
        global = true
    )]
    pub config_file: PathBuf,
    /// Where to listen; repeatable. Port 0 picks a free one and logs it.
    #[arg(
        long = "web.listen-address",
        value_name = "ADDRESS",
        default_value = ":9847",
        global = true
    )]
    pub listen_addresses: Vec<String>,
    /// TLS and users of the endpoints. Comes with a later version.
    #[arg(
        long = "web.config.file",
        value_name = "FILE",
        hide = true,
        global = true
    )]
    pub web_config_file: Option<PathBuf>,
    /// Where metrics are served.
    #[arg(
        long = "web.telemetry-path",
        value_name = "PATH",
        default_value = "/metrics",
        global = true
    )]
    pub telemetry_path: String,
    /// Allow `POST /-/reload`.
    #[arg(
        long = "web.enable-lifecycle",
        global = true,
        overrides_with = "no_lifecycle"
    )]
    pub enable_lifecycle: bool,
    #[arg(long = "no-web.enable-lifecycle", hide = true, global = true)]
    no_lifecycle: bool,
    /// The least important lines that are logged.
    #[arg(
        long = "log.level",
        value_name = "LEVEL",
        default_value = "info",
        global = true
    )]
    pub log_level: LogLevel,
    /// How lines are logged.
    #[arg(
        long = "log.format",
        value_name = "FORMAT",
        default_value = "logfmt",
        global = true
    )]
    pub log_format: LogFormat,
}

/// `--log.level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What changes.
    Info,
    /// What needs a look.
    Warn,
    /// What does not work.
    Error,
}

/// `--log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// A flag or subcommand that cannot be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CliError {
    /// A later version has it.
    #[error("{what} comes with a later version of delivery-exporter; {instead}")]
    Later {
        /// The flag or subcommand.
        what: &'static str,
        /// What to do until then.
        instead: &'static str,
    },
    /// The telemetry path cannot be served.
    #[error(
        "--web.telemetry-path={0:?}: must start with / and be another path than those of the exporter itself (/, /-/…)"
    )]
    TelemetryPath(String),
}

impl Cli {
    /// Refuses what this version does not have, so that nobody relies on it: an exporter that
    /// ignored `--web.config.file` would serve without the TLS and the users that were asked for.
    ///
    /// # Errors
    ///
    /// The first flag or subcommand that cannot be taken.
    pub fn refuse_later(&self) -> Result<(), CliError> {
        if self.flags.web_config_file.is_some() {
            return Err(CliError::Later {
                what: "--web.config.file (TLS and users)",
                instead: "leave it out, and put a reverse proxy with TLS and authentication in front",
            });
        }
        if let Some(Command::Backfill(_)) = &self.command {
            return Err(CliError::Later {
                what: "the subcommand backfill",
                instead: "see delivery-exporter --help for those that exist",
            });
        }
        let path = &self.flags.telemetry_path;
        if !path.starts_with('/')
            || path == "/"
            || path.starts_with("/-/")
            || path.contains(['{', '}', '?', '#', ' '])
        {
            return Err(CliError::TelemetryPath(path.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Cli {
        Cli::try_parse_from(std::iter::once(&"delivery-exporter").chain(arguments)).unwrap()
    }

    #[test]
    fn the_defaults_are_the_contracts() {
        let cli = parse(&[]);
        assert_eq!(cli.command, None);
        assert_eq!(cli.flags.config_file, PathBuf::from("config.yaml"));
        assert_eq!(cli.flags.listen_addresses, [":9847"]);
        assert_eq!(cli.flags.telemetry_path, "/metrics");
        assert!(!cli.flags.enable_lifecycle);
        assert_eq!(
            (cli.flags.log_level, cli.flags.log_format),
            (LogLevel::Info, LogFormat::Logfmt)
        );
        assert_eq!(cli.refuse_later(), Ok(()));
    }

    #[test]
    fn flags_stand_before_or_after_the_subcommand_with_or_without_equals() {
        for arguments in [
            ["--config.file=a.yaml", "--log.format", "json", "check"],
            ["check", "--config.file=a.yaml", "--log.format", "json"],
        ] {
            let cli = parse(&arguments);
            assert_eq!(cli.command, Some(Command::Check));
            assert_eq!(cli.flags.config_file, PathBuf::from("a.yaml"));
            assert_eq!(cli.flags.log_format, LogFormat::Json);
        }
        let cli = parse(&[
            "--web.listen-address=127.0.0.1:0",
            "serve",
            "--web.listen-address",
            "[::1]:1",
        ]);
        assert!(!cli.flags.listen_addresses.is_empty());
    }

    #[test]
    fn the_listen_address_is_repeatable() {
        let cli = parse(&[
            "--web.listen-address=127.0.0.1:0",
            "--web.listen-address",
            "[::1]:1",
        ]);
        assert_eq!(cli.flags.listen_addresses, ["127.0.0.1:0", "[::1]:1"]);
    }

    #[test]
    fn what_a_later_version_brings_is_refused_by_name() {
        let refused = |arguments: &[&str]| parse(arguments).refuse_later().unwrap_err().to_string();
        assert!(refused(&["--web.config.file=web.yaml"]).starts_with("--web.config.file"));
        assert!(refused(&["backfill", "--from", "2026-11-01", "--output=x"]).contains("backfill"));
        assert!(refused(&["--web.telemetry-path=metrics"]).contains("telemetry-path"));
        assert!(refused(&["--web.telemetry-path=/"]).contains("telemetry-path"));
    }
}
