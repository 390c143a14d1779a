//! `check --online`: each account is asked what its vendor has harmless questions for, and what is wrong is
//! said in words with a remedy.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use delivery_clock::Clock;
use jiff::SignedDuration;

use super::{
    super::observers::NoopObserver,
    ways::{Proxy, explain},
};
use crate::{
    config::{Account, MessageEntry},
    model::Message,
    providers::{self, CheckOutcome, Checkup, CheckupQuery},
};

/// One failure that goes away by itself is none.
const PATIENCE: Duration = Duration::from_secs(3);
/// A clock that is so wrong is worth a warning: ages of messages and latencies are wrong by as much.
const ODD_CLOCK: SignedDuration = SignedDuration::from_secs(60);
/// A clock that is so wrong is an error: vendors refuse signatures beyond it.
const WRONG_CLOCK: SignedDuration = SignedDuration::from_mins(15);

/// What became of the questions to all accounts.
pub(super) struct Outcome {
    /// A page for people. Secrets are not masked in it yet.
    pub(super) page: String,
    /// How many things are wrong.
    pub(super) errors: usize,
    /// How many are not certain, or odd.
    pub(super) warnings: usize,
}

impl Outcome {
    fn line(&mut self, kind: &str, what: &str, text: &str, help: &str) {
        self.errors += usize::from(kind == "error");
        self.warnings += usize::from(kind == "warning");
        // Writing to a string does not fail.
        let _ = writeln!(self.page, "  {kind:<7}  {what}: {text}");
        if !help.is_empty() {
            let help = help.replace('\n', "\n           ");
            let _ = writeln!(self.page, "           help: {help}");
        }
    }

    fn account(&mut self, account: &Account, checkup: Result<Checkup, String>) {
        let Account { name, vendor, .. } = account;
        let _ = writeln!(self.page, "{name}: {vendor} at {}", account.base_url);
        let checkup = match checkup {
            Ok(checkup) => checkup,
            Err(problem) => {
                let help = "see tls and proxy_url of the account";
                self.line("error", "the connection", &problem, help);
                return;
            }
        };
        for answer in &checkup.answers {
            match &answer.outcome {
                CheckOutcome::Good(says) => self.line("ok", &answer.what, says, ""),
                CheckOutcome::Unclear { problem, help } => {
                    self.line("warning", &answer.what, problem, help);
                }
                CheckOutcome::Bad {
                    failure,
                    problem,
                    help,
                } => {
                    let (problem, help) = if problem.is_empty() {
                        explain(account, failure, &Proxy::of(account))
                    } else {
                        (problem.clone(), help.clone())
                    };
                    let text = format!("{problem} ({})", failure.text);
                    self.line("error", &answer.what, &text, &help);
                }
            }
        }
        if let Some(ahead) = checkup.clock_ahead {
            self.clock(ahead);
        }
    }

    fn clock(&mut self, ahead: SignedDuration) {
        let seconds = ahead.as_secs().unsigned_abs();
        let kind = match ahead.abs() {
            off if off >= WRONG_CLOCK => "error",
            off if off >= ODD_CLOCK => "warning",
            _ => return,
        };
        let side = if ahead.is_negative() {
            "behind"
        } else {
            "ahead of"
        };
        let text = format!("this machine is {seconds} s {side} the vendor");
        let help = "set the clock, and let NTP keep it: timedatectl set-ntp true";
        self.line(kind, "clock", &text, help);
    }
}

/// Asks all accounts at once, each within its own limits. `messages` are those that files name, by account.
pub(super) async fn ask(accounts: &[Account], messages: &[Vec<MessageEntry>]) -> Outcome {
    let clock = Clock::system();
    let asked = accounts.iter().zip(messages).map(|(account, named)| {
        let clock = clock.clone();
        async move {
            let provider = providers::build(account, clock, Arc::new(NoopObserver));
            let provider = provider.map_err(|error| error.problem)?;
            let messages = known(account, named);
            let query = CheckupQuery {
                datasets: &account.collect,
                applications: &account.applications,
                messages: &messages,
                lists: account.messages.list,
                patience: PATIENCE,
            };
            Ok(provider.check_up(query).await)
        }
    });
    let answers = futures_util::future::join_all(asked).await;
    let mut outcome = Outcome {
        page: String::new(),
        errors: 0,
        warnings: 0,
    };
    for (account, checkup) in accounts.iter().zip(answers) {
        outcome.account(account, checkup);
    }
    outcome
}

/// The messages that the configuration and its files name.
fn known(account: &Account, named: &[MessageEntry]) -> Vec<Message> {
    let entries = account.messages.fixed.iter().chain(named);
    let messages = entries.filter_map(|entry| {
        let application = account.applications.get(entry.application)?;
        Some(Message {
            application: application.id.clone(),
            id: entry.id.clone(),
            campaign: None,
            sent_at: entry.sent_at,
        })
    });
    messages.collect()
}
