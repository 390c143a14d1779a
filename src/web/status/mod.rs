//! The status page: what a person wants to know first, made from the same table as `/metrics`.

mod course;
mod numbers;

use std::{fmt, sync::Arc};

use askama::Template;
use jiff::Timestamp;

pub use course::Courses;
use course::Picture;
pub(super) use course::STEP as COURSE_STEP;
use numbers::{AccountNumbers, Numbers, Pair};

use super::Site;

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
    /// The label `provider`.
    pub provider: &'static str,
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
    /// How many of them are not well.
    troubled: usize,
}

struct AccountRow {
    name: String,
    provider: &'static str,
    health: Health,
    waits_for: String,
    last_success: String,
    tracked: String,
    sent: String,
    delivered: String,
    rate: String,
    course: Option<Picture>,
    last_error: String,
    channels: Vec<ChannelRow>,
    messages: Vec<MessageRow>,
}

struct ChannelRow {
    name: String,
    platform: String,
    sent: String,
    delivered: String,
    rate: String,
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
    Elsewhere,
    Up,
    Troubled,
    Down,
}

impl Health {
    fn of(note: &AccountNote, numbers: &AccountNumbers) -> Health {
        match (numbers.held, numbers.up, &note.last_error) {
            (Some(false), ..) => Health::Elsewhere,
            (_, None, _) => Health::Waiting,
            (_, Some(false), _) => Health::Down,
            (_, Some(true), Some(_)) => Health::Troubled,
            (_, Some(true), None) => Health::Up,
        }
    }

    fn is_bad(self) -> bool {
        matches!(self, Health::Troubled | Health::Down)
    }

    /// The class that gives the word its colour.
    fn class(self) -> &'static str {
        match self {
            Health::Waiting | Health::Elsewhere => "dim",
            Health::Up => "good",
            Health::Troubled | Health::Down => "bad",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Health::Waiting => "waiting",
            Health::Elsewhere => "on another replica",
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
    let none = AccountNumbers::default();
    let accounts: Vec<_> = notes
        .accounts
        .iter()
        .map(|note| {
            let own = numbers.accounts.get(note.name.as_ref()).unwrap_or(&none);
            row(note, own, site.courses.picture(&note.name), now)
        })
        .collect();
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        replica: &notes.replica,
        now: now.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        telemetry_path: &site.telemetry_path,
        troubled: accounts.iter().filter(|own| own.health.is_bad()).count(),
        accounts,
    };
    page.render()
}

/// A length of time as people say it: the two largest units.
fn length(seconds: i64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let mut left = seconds.max(0);
    let mut parts = Vec::new();
    for (unit, size) in units {
        if left >= size {
            parts.push(format!("{} {unit}", left / size));
            left %= size;
        }
    }
    parts.truncate(2);
    if parts.is_empty() {
        "0 s".to_owned()
    } else {
        parts.join(" ")
    }
}

/// What an account waits for, in words.
fn waits_for(note: &AccountNote, health: Health, now: Timestamp) -> String {
    if health == Health::Elsewhere {
        return "its lease, which another replica holds".to_owned();
    }
    let next = note.next.map(|next| next.as_second() - now.as_second());
    match next {
        _ if !note.ready => "its first answer".to_owned(),
        None => "messages to ask for".to_owned(),
        Some(wait) if wait > 0 => format!("the next pass, in {}", length(wait)),
        Some(_) => "the vendor's answers".to_owned(),
    }
}

fn row(
    note: &AccountNote,
    numbers: &AccountNumbers,
    course: Option<Picture>,
    now: Timestamp,
) -> AccountRow {
    let health = Health::of(note, numbers);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole seconds are enough here"
    )]
    let last = numbers.last_success as i64;
    let last_success = if last > 0 {
        format!("{} ago", length(now.as_second() - last))
    } else {
        "never".to_owned()
    };
    let mut channels: Vec<_> = numbers.channels.iter().collect();
    channels.sort_by(|left, right| right.1.sent.total_cmp(&left.1.sent));
    AccountRow {
        name: note.name.to_string(),
        provider: note.provider,
        health,
        waits_for: waits_for(note, health, now),
        last_success,
        tracked: count(Some(numbers.tracked)),
        sent: count(Some(numbers.counted.sent)),
        delivered: count(Some(numbers.counted.delivered)),
        rate: rate(Some(numbers.rated())),
        course,
        last_error: note.last_error.clone().unwrap_or_default(),
        channels: channels
            .into_iter()
            .map(|([name, platform], pair)| ChannelRow {
                name: name.clone(),
                platform: platform.clone(),
                sent: count(Some(pair.sent)),
                delivered: count(Some(pair.delivered)),
                rate: rate(Some(*pair)),
            })
            .collect(),
        messages: numbers
            .messages
            .iter()
            .map(|message| MessageRow {
                id: message.key[0].clone(),
                application: message.key[1].clone(),
                campaign: message.key[2].clone(),
                channel: message.key[3].clone(),
                sent: count(message.sent),
                delivered: count(message.delivered),
                rate: rate(
                    message
                        .sent
                        .zip(message.delivered)
                        .map(|(sent, delivered)| Pair { sent, delivered }),
                ),
            })
            .collect(),
    }
}

/// A number with its thousands apart.
fn count(count: Option<f64>) -> String {
    let Some(count) = count else {
        return String::new();
    };
    let digits = format!("{count:.0}");
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            // A narrow space that does not break.
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn rate(pair: Option<Pair>) -> String {
    pair.and_then(Pair::rate)
        .map(|rate| format!("{:.1} %", 100.0 * rate))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_written_for_people() {
        assert_eq!(count(Some(1_234_567.0)), "1\u{202f}234\u{202f}567");
        assert_eq!(count(Some(120.0)), "120");
        assert_eq!(count(None), "");
        assert_eq!(
            [0, 59, 60, 3661, 90_000].map(length),
            ["0 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h"]
        );
    }
}
