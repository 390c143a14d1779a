//! The status page: what a person wants to know first, made from the same table as `/metrics`.

use std::{collections::BTreeMap, fmt, sync::Arc};

use askama::Template;
use jiff::Timestamp;

use super::Site;
use crate::series::{Family, Labels, Value, Visitor};

/// The most messages of an account on the page.
const NEWEST: usize = 10;

/// What the series do not say.
pub struct Notes {
    /// Of each account, in the order of the configuration.
    pub accounts: Vec<AccountNote>,
    /// This replica's name.
    pub replica: Arc<str>,
}

/// What the series do not say of an account.
pub struct AccountNote {
    /// The label `account`.
    pub name: Arc<str>,
    /// It has had its first answer, good or bad, or has nothing due.
    pub ready: bool,
    /// When something is asked for next.
    pub next: Option<Timestamp>,
    /// The last failure that is not over, in words, without a secret.
    pub last_error: Option<String>,
}

#[derive(Template)]
#[template(path = "status.html", config = "src/web/askama.toml")]
struct Page<'a> {
    version: &'static str,
    replica: &'a str,
    now: String,
    telemetry_path: &'a str,
    accounts: Vec<AccountRow>,
}

struct AccountRow {
    name: String,
    provider: String,
    health: Health,
    last_success: String,
    next: String,
    tracked: String,
    sent: String,
    delivered: String,
    rate: String,
    last_error: String,
    messages: Vec<MessageRow>,
}

struct MessageRow {
    id: String,
    application: String,
    campaign: String,
    channel: String,
    sent: String,
    delivered: String,
    rate: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Health {
    Waiting,
    Up,
    Troubled,
    Down,
}

impl Health {
    /// The class that gives the word its colour.
    fn class(self) -> &'static str {
        match self {
            Health::Waiting => "dim",
            Health::Up => "good",
            Health::Troubled | Health::Down => "bad",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Health::Waiting => "waiting",
            Health::Up => "up",
            Health::Troubled => "up, with failures",
            Health::Down => "down",
        })
    }
}

/// The page as HTML.
pub(super) fn page(site: &Site) -> Result<String, askama::Error> {
    let notes = (site.notes)();
    let now = site.clock.now();
    let mut numbers = Numbers::default();
    site.table.visit(now, &mut numbers);
    let accounts = notes
        .accounts
        .iter()
        .map(|note| row(note, numbers.accounts.get(note.name.as_ref()), now))
        .collect();
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        replica: &notes.replica,
        now: time(now),
        telemetry_path: &site.telemetry_path,
        accounts,
    };
    page.render()
}

fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// What is read out of the table.
#[derive(Default)]
struct Numbers {
    family: &'static str,
    accounts: BTreeMap<String, AccountNumbers>,
}

#[derive(Default)]
struct AccountNumbers {
    provider: String,
    up: Option<bool>,
    last_success: f64,
    tracked: f64,
    /// Of delivery reports.
    sent: f64,
    delivered: f64,
    /// In the order of the table: the newest first.
    messages: Vec<MessageNumbers>,
}

struct MessageNumbers {
    key: [String; 4],
    sent: Option<f64>,
    delivered: Option<f64>,
}

impl Visitor for Numbers {
    fn family(&mut self, family: &'static Family) {
        self.family = &family.name;
    }

    fn sample(&mut self, labels: Labels<'_>, value: &Value) {
        let label = |name: &str| {
            labels
                .pairs()
                .find(|(own, _)| *own == name)
                .map_or("", |(_, value)| value)
        };
        let number = match value {
            Value::Gauge(number) | Value::Counter(number, _) => number.as_f64(),
            Value::Histogram(..) => return,
        };
        let known = matches!(
            self.family,
            "delivery_message_sent"
                | "delivery_message_delivered"
                | "delivery_sent_total"
                | "delivery_delivered_total"
                | "delivery_up"
                | "delivery_exporter_last_success_timestamp_seconds"
                | "delivery_exporter_tracked_messages"
        );
        if !known {
            return;
        }
        let account = self
            .accounts
            .entry(label("account").to_owned())
            .or_default();
        match self.family {
            "delivery_up" => {
                account.up = Some(number > 0.0);
                label("provider").clone_into(&mut account.provider);
            }
            "delivery_exporter_last_success_timestamp_seconds" => {
                account.last_success = account.last_success.max(number);
            }
            "delivery_exporter_tracked_messages" => account.tracked = number,
            "delivery_sent_total" => account.sent += number,
            "delivery_delivered_total" => account.delivered += number,
            family => {
                let key = ["message_id", "application", "campaign", "channel"]
                    .map(|name| label(name).to_owned());
                let found = account
                    .messages
                    .iter()
                    .position(|message| message.key == key);
                let index = found.unwrap_or_else(|| {
                    account.messages.push(MessageNumbers {
                        key,
                        sent: None,
                        delivered: None,
                    });
                    account.messages.len() - 1
                });
                let message = &mut account.messages[index];
                if family == "delivery_message_sent" {
                    message.sent = Some(number);
                } else {
                    message.delivered = Some(number);
                }
            }
        }
    }
}

fn row(note: &AccountNote, numbers: Option<&AccountNumbers>, now: Timestamp) -> AccountRow {
    let none = AccountNumbers::default();
    let numbers = numbers.unwrap_or(&none);
    let messages = || numbers.messages.iter();
    let sent = numbers.sent + messages().filter_map(|message| message.sent).sum::<f64>();
    let delivered = numbers.delivered
        + messages()
            .filter_map(|message| message.delivered)
            .sum::<f64>();
    let health = match (numbers.up, &note.last_error) {
        (None, _) => Health::Waiting,
        (Some(false), _) => Health::Down,
        (Some(true), Some(_)) => Health::Troubled,
        (Some(true), None) => Health::Up,
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole seconds are enough here"
    )]
    let last_success = Timestamp::from_second(numbers.last_success as i64)
        .ok()
        .filter(|_| numbers.last_success > 0.0)
        .map_or_else(
            || "never".to_owned(),
            |last| format!("{} s ago", now.as_second() - last.as_second()),
        );
    AccountRow {
        name: note.name.to_string(),
        provider: numbers.provider.clone(),
        health,
        last_success,
        next: note.next.map_or_else(|| "nothing is due".to_owned(), time),
        tracked: count(Some(numbers.tracked)),
        sent: count(Some(sent)),
        delivered: count(Some(delivered)),
        rate: rate(Some(sent), Some(delivered)),
        last_error: note.last_error.clone().unwrap_or_default(),
        messages: messages()
            .take(NEWEST)
            .map(|message| MessageRow {
                id: message.key[0].clone(),
                application: message.key[1].clone(),
                campaign: message.key[2].clone(),
                channel: message.key[3].clone(),
                sent: count(message.sent),
                delivered: count(message.delivered),
                rate: rate(message.sent, message.delivered),
            })
            .collect(),
    }
}

fn count(count: Option<f64>) -> String {
    count.map(|count| count.to_string()).unwrap_or_default()
}

fn rate(sent: Option<f64>, delivered: Option<f64>) -> String {
    match (sent, delivered) {
        (Some(sent), Some(delivered)) if sent > 0.0 => {
            format!("{:.1} %", 100.0 * delivered / sent)
        }
        _ => String::new(),
    }
}
