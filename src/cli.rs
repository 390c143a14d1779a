//! The command line: subcommands and flags in the form of the Prometheus ecosystem.

use std::{path::PathBuf, sync::Arc};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
    builder::BoolishValueParser,
};
use delivery_simulators::Incident;
use jiff::Timestamp;

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
    /// What to do; the default is serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags, accepted before or after the subcommand.
    #[command(flatten)]
    pub flags: Flags,
}

/// A subcommand.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum Command {
    /// Poll all vendors, and serve and push the metrics (the default).
    Serve,
    /// Check the configuration and the files it names, without a network call; with --online, the accounts too.
    Check(Check),
    /// Query every vendor once, and print the metrics as OpenMetrics text. Exits with 2 if an account failed.
    Collect,
    /// Start simulators of all vendors on loopback, and an exporter that collects from them.
    Demo(Demo),
    /// Write the history that vendors provide to a file for promtool.
    Backfill(Backfill),
    /// Parse the quarantined bodies again, and count what can be read now.
    Replay,
    /// Check the health of an exporter that runs on this machine. Exits with 0 if it is healthy, with 1
    /// otherwise.
    Health,
    /// Write a consistent copy of the SQLite ledger to a file, even while the exporter runs.
    Backup(Backup),
    /// Move the ledger to the other kind of store: from SQLite to PostgreSQL, or back.
    Migrate(Migrate),
    /// Print the manual page.
    Man,
    /// Print the completions of a shell.
    Completions(Completions),
}

/// What is checked besides the files.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct Check {
    /// Ask every vendor harmless questions too: whether it can be reached, whether the credentials are good, the
    /// applications exist and the rights suffice, and whether the clocks agree. Exits 1 if something is wrong.
    #[arg(long)]
    pub online: bool,
    /// How many messages each application sends a day, for the forecast of requests. Without it: 10 where a list or a
    /// program names messages, else only those that the configuration and its files name.
    #[arg(long, value_name = "N", value_parser = messages_per_day)]
    pub messages_per_day: Option<f64>,
}

fn messages_per_day(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    let number = number.filter(|own| (0.0..=1e7).contains(own));
    number.ok_or_else(|| "write a number from 0 to 10000000".to_owned())
}

/// Where a copy of the ledger goes.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// A file that does not exist yet.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// The stores that a ledger moves between.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Migrate {
    /// The store that has the ledger: sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE. Its contents are
    /// not changed.
    #[arg(long, value_name = "URL")]
    pub from: String,
    /// The store that receives the ledger, in the same form. It must be empty.
    #[arg(long, value_name = "URL")]
    pub to: String,
}

/// The shell to print completions for.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A shell that completes commands and flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// The friendly interactive shell.
    Fish,
}

/// The options of the demo.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Demo {
    /// An incident to start with. Repeatable.
    #[arg(long, value_name = "NAME", value_enum)]
    pub incident: Vec<Incident>,
    /// Also start `prometheus` from the PATH, with the alert rules.
    #[arg(long)]
    pub with_prometheus: bool,
}

/// Which history to write, and where.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// Start of the period: a day (2026-11-01, from midnight UTC) or a time (2026-11-01T08:00:00Z).
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub from: Timestamp,
    /// End of the period, in the same form.
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub to: Timestamp,
    /// The file to write, in OpenMetrics with timestamps.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// A label that Prometheus adds when it scrapes: job=NAME, instance=HOST:PORT. Repeatable.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(Arc<str>, Arc<str>)>,
}

fn date(text: &str) -> Result<Timestamp, String> {
    let of_day = |text: &str| {
        // A date with a time but without a zone is not a day.
        let date = text.parse::<jiff::civil::Date>().ok()?;
        (text.len() == "2026-11-01".len()).then_some(())?;
        let begin = date.to_datetime(jiff::civil::Time::midnight());
        jiff::tz::Offset::UTC.to_timestamp(begin).ok()
    };
    let time = text.parse().ok().or_else(|| of_day(text));
    time.ok_or_else(|| "write a day as 2026-11-01, or a time as 2026-11-01T08:00:00Z".to_owned())
}

fn label(text: &str) -> Result<(Arc<str>, Arc<str>), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("write a label as NAME=VALUE, such as job=delivery")?;
    let begins = name.starts_with(|own: char| own.is_ascii_alphabetic() || own == '_');
    let goes_on = name
        .chars()
        .all(|own| own.is_ascii_alphanumeric() || own == '_');
    if !begins || !goes_on || name.starts_with("__") {
        return Err(format!("{name:?} is not a valid label name"));
    }
    Ok((Arc::from(name), Arc::from(value)))
}

/// The flags of every subcommand.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// The configuration file.
    #[arg(
        long = "config.file",
        value_name = "FILE",
        default_value = "config.yaml",
        global = true
    )]
    pub config_file: PathBuf,
    /// The data directory for the ledger and the spool, unless store.url and store.spool name other places.
    /// The default is the directory that systemd provides (STATE_DIRECTORY), or else the directory data next
    /// to the configuration file.
    #[arg(long = "storage.path", value_name = "DIRECTORY", global = true)]
    pub storage_path: Option<PathBuf>,
    /// Address to listen on; repeatable, or several separated by commas. Port 0 picks a free port and logs
    /// it.
    #[arg(
        long = "web.listen-address",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = ":9847",
        global = true
    )]
    pub listen_addresses: Vec<String>,
    /// TLS and basic authentication for the endpoints, in the file format of the Prometheus exporter-toolkit.
    #[arg(long = "web.config.file", value_name = "FILE", global = true)]
    pub web_config_file: Option<PathBuf>,
    /// Path under which to serve metrics.
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
        value_parser = BoolishValueParser::new(),
        overrides_with = "no_lifecycle"
    )]
    pub enable_lifecycle: bool,
    #[arg(long = "no-web.enable-lifecycle", hide = true, global = true)]
    no_lifecycle: bool,
    /// Lowest level to log.
    #[arg(
        long = "log.level",
        value_name = "LEVEL",
        default_value = "info",
        global = true
    )]
    pub log_level: LogLevel,
    /// Format of the log.
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
    /// Changes of state.
    Info,
    /// Problems that somebody should look at.
    Warn,
    /// Failures.
    Error,
}

/// `--log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object per line.
    Json,
}

/// Paths with these prefixes belong to the exporter itself.
const OWN_PATHS: [&str; 5] = ["/-/", "/probe", "/api/v1/", "/runbooks", "/demo/"];

/// A flag with an unusable value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CliError {
    /// The telemetry path cannot be served.
    #[error(
        "--web.telemetry-path={0:?}: must start with / and must not be one of the exporter's own paths (/, /-/…, /probe, /api/v1/…, /runbooks…)"
    )]
    TelemetryPath(String),
}

/// The environment variable for a flag: `DELIVERY_EXPORTER_WEB_LISTEN_ADDRESS` for `--web.listen-address`.
fn variable(flag: &str) -> String {
    let name = flag.replace(['.', '-'], "_").to_ascii_uppercase();
    format!("DELIVERY_EXPORTER_{name}")
}

/// Lets environment variables set every flag of a command and of its subcommands.
fn with_variables(command: clap::Command) -> clap::Command {
    command
        .mut_args(|argument| {
            let flag = argument.get_long().map(str::to_owned);
            match flag {
                // An empty variable counts as unset.
                Some(flag)
                    if !argument.is_hide_set()
                        && std::env::var_os(variable(&flag)).is_none_or(|own| !own.is_empty()) =>
                {
                    argument.env(variable(&flag))
                }
                _ => argument,
            }
        })
        .mut_subcommands(with_variables)
}

/// The definition of the command line, used for parsing and for the documentation.
pub fn command() -> clap::Command {
    with_variables(Cli::command())
}

impl Cli {
    /// The command line and environment of this process. On an error, and for `--help` and `--version`, it
    /// prints the text and ends the process.
    pub fn of_process() -> Cli {
        let matches = command().get_matches();
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Checks what the flag parser cannot check.
    ///
    /// # Errors
    ///
    /// The first flag with an unusable value.
    pub fn checked(&self) -> Result<(), CliError> {
        let path = &self.flags.telemetry_path;
        if !path.starts_with('/')
            || path == "/"
            || OWN_PATHS.iter().any(|own| path.starts_with(own))
            || path.contains(['{', '}', '?', '#', ' ', ':', '*', '\\'])
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
        assert_eq!(cli.checked(), Ok(()));
    }

    #[test]
    fn flags_stand_before_or_after_the_subcommand_with_or_without_equals() {
        for arguments in [
            ["--config.file=a.yaml", "--log.format", "json", "check"],
            ["check", "--config.file=a.yaml", "--log.format", "json"],
        ] {
            let cli = parse(&arguments);
            assert_eq!(cli.command, Some(Command::Check(Check::default())));
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
    fn history_has_days_or_times_and_labels() {
        let given = parse(&[
            "backfill",
            "--from=2026-11-01",
            "--to",
            "2026-11-02T08:00:00+01:00",
            "--output=x",
            "--label",
            "job=delivery",
            "--label=instance=a:9847",
        ]);
        let Some(Command::Backfill(given)) = given.command else {
            panic!("{given:?}");
        };
        let times = [given.from, given.to].map(|at| at.to_string());
        assert_eq!(times, ["2026-11-01T00:00:00Z", "2026-11-02T07:00:00Z"]);
        let label = |name: &str, value: &str| (Arc::from(name), Arc::from(value));
        assert_eq!(
            given.labels,
            [label("job", "delivery"), label("instance", "a:9847")]
        );
        for bad in [
            "--from=yesterday",
            "--from=2026-11-01T08:00:00",
            "--label=job",
            "--label=1=x",
            "--label=__name__=x",
        ] {
            let all = [
                "x",
                "backfill",
                "--from=2026-11-01",
                "--to=2026-11-02",
                "--output=x",
                bad,
            ];
            assert!(Cli::try_parse_from(all).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_demo_has_incidents_and_prometheus() {
        assert_eq!(
            parse(&["demo"]).command,
            Some(Command::Demo(Demo::default()))
        );
        let cli = parse(&[
            "demo",
            "--incident=fcm-outage",
            "--incident",
            "key-expired",
            "--with-prometheus",
        ]);
        let expected = Demo {
            incident: vec![Incident::FcmOutage, Incident::KeyExpired],
            with_prometheus: true,
        };
        assert_eq!(cli.command, Some(Command::Demo(expected)));
        let unknown = ["x", "demo", "--incident=flood"];
        let problem = Cli::try_parse_from(unknown).unwrap_err().to_string();
        assert!(problem.contains("bounce-storm"), "{problem}");
    }

    #[test]
    fn a_telemetry_path_is_another_than_the_exporters_own() {
        let refused = |arguments: &[&str]| parse(arguments).checked().unwrap_err().to_string();
        assert!(refused(&["--web.telemetry-path=metrics"]).contains("telemetry-path"));
        for path in [
            "/",
            "/-/metrics",
            "/probe",
            "/api/v1/status",
            "/runbooks/x",
            "/a:b/*c",
        ] {
            let flag = format!("--web.telemetry-path={path}");
            assert!(refused(&[&flag]).contains("telemetry-path"), "{path}");
        }
        assert!(
            parse(&["--web.telemetry-path=/api/metrics"])
                .checked()
                .is_ok()
        );
    }
}
