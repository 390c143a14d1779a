//! `check`: what is wrong with the configuration, and with everything that it names.

mod budget;
mod online;
mod ways;

use jiff::Timestamp;

use super::{ConfigSource, FAILED, OK};
use crate::{
    cli::{self, Cli},
    config::{self, Config, MessageEntry, Problem},
    discovery,
    redact::masked,
    web::guard::Guard,
};

/// What was found, in the order in which it is told.
#[derive(Default)]
struct Findings {
    errors: usize,
    warnings: usize,
}

impl Findings {
    fn error(&mut self, problem: &Problem) {
        self.errors += 1;
        eprintln!("{}", masked(&problem.report("error")));
    }

    fn warning(&mut self, problem: &Problem) {
        self.warnings += 1;
        eprintln!("{}", masked(&problem.report("warning")));
    }

    /// The web configuration, with the certificates that it names.
    fn of_web(&mut self, cli: &Cli) {
        let Some(path) = cli.flags.web_config_file.as_deref() else {
            return;
        };
        match config::web(path) {
            Err(errors) => errors.0.iter().for_each(|own| self.error(own)),
            Ok(web) => {
                web.warnings.iter().for_each(|own| self.warning(own));
                if let Err(problem) = Guard::read(path) {
                    self.errors += 1;
                    eprintln!("error: {}\n", masked(&problem));
                }
            }
        }
    }

    /// The configuration, with the messages in the files that each account names.
    fn of_configuration(&mut self, cli: &Cli) -> Option<(Config, Vec<Vec<MessageEntry>>)> {
        match ConfigSource::of(&cli.flags).load() {
            Err(errors) => {
                errors.0.iter().for_each(|own| self.error(own));
                None
            }
            Ok(config) => {
                config.warnings.iter().for_each(|own| self.warning(own));
                let mut messages = Vec::new();
                for account in &config.accounts {
                    let (entries, problems) = discovery::check(account);
                    problems.iter().for_each(|own| self.error(own));
                    messages.push(entries);
                }
                Some((config, messages))
            }
        }
    }

    /// `2 errors, 1 warning`.
    fn count(&self) -> String {
        let of = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what}")),
            more => Some(format!("{more} {what}s")),
        };
        let parts = [of(self.errors, "error"), of(self.warnings, "warning")];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        parts.join(", ")
    }
}

pub(super) async fn run(cli: &Cli, wanted: &cli::Check) -> u8 {
    let mut findings = Findings::default();
    findings.of_web(cli);
    let found = findings.of_configuration(cli);
    let Some((config, messages)) = found.filter(|_| findings.errors == 0) else {
        eprintln!("the configuration is not good: {}", findings.count());
        return FAILED;
    };
    print!("{}", config::summary(&config));
    let budget = budget::budget(
        &config,
        &messages,
        wanted.messages_per_day,
        Timestamp::now(),
    );
    if !budget.page.is_empty() {
        print!("\n{}", masked(&budget.page));
    }
    budget.warnings.iter().for_each(|own| findings.warning(own));
    budget.errors.iter().for_each(|own| findings.error(own));
    if wanted.online {
        let asked = online::ask(&config.accounts, &messages).await;
        print!("\n{}", masked(&asked.page));
        findings.errors += asked.errors;
        findings.warnings += asked.warnings;
    }
    if !findings.count().is_empty() {
        eprintln!("{}", findings.count());
    }
    if findings.errors > 0 { FAILED } else { OK }
}
