//! `check --online`: what a vendor is asked, and what its answers mean for the person who sets an
//! account up.

use std::time::Duration;

use jiff::SignedDuration;

use super::{Failure, FailureKind, Scope};
use crate::model::{Application, Dataset, Message};

/// What an account would collect.
#[derive(Clone, Copy, Debug)]
pub struct CheckupQuery<'a> {
    /// The data sets.
    pub datasets: &'a [Dataset],
    /// The applications.
    pub applications: &'a [Application],
    /// Messages that the configuration names, each with its application.
    pub messages: &'a [Message],
    /// Whether the vendor is asked for its list of messages.
    pub lists: bool,
    /// How long a question may be asked again.
    pub patience: Duration,
}

impl CheckupQuery<'_> {
    /// The message of an application that was sent last, as far as the configuration says.
    pub fn newest(&self, application: &Application) -> Option<&Message> {
        let own = self.messages.iter();
        let own = own.filter(|message| message.application == application.id);
        own.max_by_key(|message| message.sent_at)
    }
}

/// The answers to the questions.
#[derive(Debug, Default)]
pub struct Checkup {
    /// In the order of the questions.
    pub answers: Vec<CheckAnswer>,
    /// By how much this machine's clock is ahead of the vendor's.
    pub clock_ahead: Option<SignedDuration>,
    is_over: bool,
}

/// The answer to one question.
#[derive(Debug)]
pub struct CheckAnswer {
    /// What was asked for: `statistics of shop`.
    pub what: String,
    /// What came of it.
    pub outcome: CheckOutcome,
}

/// What an answer means.
#[derive(Debug)]
pub enum CheckOutcome {
    /// It is well; in words.
    Good(String),
    /// It is not certain, and nothing is known to be wrong.
    Unclear {
        /// What is not known.
        problem: String,
        /// What would help.
        help: String,
    },
    /// It will fail in the same way when it is collected.
    Bad {
        /// How the vendor, or the way to it, failed.
        failure: Failure,
        /// What that means, where the vendor's own codes say more than the failure's kind; else empty.
        problem: String,
        /// What helps, or empty.
        help: String,
    },
}

/// What a failure means and what helps, by the vendor's own codes; `None`: what its kind says of it.
pub type Explained = Option<(String, String)>;

impl Checkup {
    /// Whether the last failure concerns every other question alike.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// A question was answered well.
    pub fn good(&mut self, what: &str, says: &str) {
        self.add(what, CheckOutcome::Good(says.to_owned()));
    }

    /// A question left something open.
    pub fn unclear(&mut self, what: &str, problem: &str, help: &str) {
        let (problem, help) = (problem.to_owned(), help.to_owned());
        self.add(what, CheckOutcome::Unclear { problem, help });
    }

    /// A question failed.
    pub fn bad(&mut self, what: &str, failure: Failure, explained: Explained) {
        self.is_over |= failure.scope == Scope::Account
            || matches!(
                failure.kind,
                FailureKind::Dns
                    | FailureKind::Connect
                    | FailureKind::Tls
                    | FailureKind::Timeout
                    | FailureKind::Redirect
                    | FailureKind::RateLimited
            );
        let (problem, help) = explained.unwrap_or_default();
        self.add(
            what,
            CheckOutcome::Bad {
                failure,
                problem,
                help,
            },
        );
    }

    fn add(&mut self, what: &str, outcome: CheckOutcome) {
        let what = what.to_owned();
        self.answers.push(CheckAnswer { what, outcome });
    }
}
