//! One account as the page shows it.

use std::fmt;

use jiff::Timestamp;

use super::{
    AccountStatus, PendingRow,
    chart::{Chart, chart},
    facts::{AccountFacts, NewestMessage},
    monitor::{Observed, age},
    rates::{Basis, Measured, PartRates},
    reasons::{self, LowChannels, Reason},
    words::{Stamp, count, length, percent, redact, short_length, whole_percent},
};
use crate::{model::Age, providers::Vendor};

/// The health of an account, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    Down,
    Failing,
    Low,
    Attention,
    Starting,
    Fine,
    Idle,
    Elsewhere,
}

impl Health {
    /// Whether somebody has to do something.
    pub(super) fn is_bad(self) -> bool {
        self <= Health::Attention
    }

    /// The CSS class for its colour and symbol.
    pub(super) fn class(self) -> &'static str {
        match self {
            Health::Down | Health::Failing | Health::Low => "bad",
            Health::Attention => "warn",
            Health::Fine => "good",
            Health::Starting | Health::Idle | Health::Elsewhere => "dim",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Health::Down => "no answers",
            Health::Failing => "partly failing",
            Health::Low => "below usual",
            Health::Attention => "needs attention",
            Health::Starting => "starting",
            Health::Fine => "fine",
            Health::Idle => "nothing due",
            Health::Elsewhere => "on another replica",
        })
    }
}

/// The CSS class for a share of the usual rate.
pub(super) fn level(share: f64, is_low: bool) -> &'static str {
    match share {
        _ if is_low => "bad",
        share if share < 0.7 => "bad",
        share if share < 0.9 => "warn",
        _ => "good",
    }
}

/// A row for a vendor channel, or for a channel without a breakdown.
pub(super) struct ChannelRow {
    pub(super) name: String,
    pub(super) platform: String,
    pub(super) sent: String,
    pub(super) delivered: String,
    /// Delivered / sent.
    pub(super) rate: String,
    /// The current rate at equal age, and the usual one.
    pub(super) now: Option<NowCell>,
    /// Why it has no deliveries, if the vendor reports none for it.
    pub(super) without_receipts: Option<&'static str>,
}

/// A rate compared with the usual rate.
#[derive(Clone)]
pub(super) struct NowCell {
    pub(super) rate: String,
    /// The share of the usual rate; `None` if no usual rate is known.
    pub(super) share: Option<String>,
    pub(super) level: &'static str,
    /// The usual range.
    pub(super) usual: String,
    pub(super) sent: String,
    pub(super) delivered: String,
    /// Too little was sent to be judged.
    pub(super) is_small: bool,
}

impl NowCell {
    fn new(measured: &Measured, is_low: bool) -> NowCell {
        NowCell {
            rate: percent(measured.rate()),
            share: measured.share.map(whole_percent),
            level: measured.share.map_or("none", |share| level(share, is_low)),
            usual: measured.usual.map_or_else(String::new, |usual| {
                format!("{} to {}", percent(usual.low), percent(usual.high))
            }),
            sent: count(measured.sent),
            delivered: count(measured.delivered),
            is_small: measured.usual.is_some() && measured.share.is_none(),
        }
    }
}

/// One of the newest messages.
pub(super) struct MessageRow {
    pub(super) id: String,
    pub(super) application: String,
    pub(super) campaign: String,
    pub(super) channel: String,
    pub(super) sent: String,
    pub(super) delivered: String,
    pub(super) rate: String,
}

/// One account.
pub(super) struct AccountRow {
    pub(super) name: String,
    pub(super) provider: &'static str,
    pub(super) vendor: &'static str,
    /// File and line.
    pub(super) place: String,
    pub(super) health: Health,
    /// The first reason, in one sentence.
    pub(super) verdict: String,
    pub(super) reasons: Vec<Reason>,
    pub(super) pending: Vec<PendingRow>,
    pub(super) next: String,
    pub(super) last_success: Option<(Stamp, String)>,
    /// The same in Unix time, to sort by.
    pub(super) last_success_at: i64,
    pub(super) tracked: String,
    /// What the rate is calculated from.
    pub(super) rate_of: String,
    pub(super) rate_notes: Vec<String>,
    pub(super) now: Option<NowCell>,
    /// The vendor does not answer, so the rate is as old as its last answer.
    pub(super) is_stale: bool,
    pub(super) rate_now: Option<f64>,
    pub(super) share: Option<f64>,
    /// The number of days that the usual rate is based on, or why there is none.
    pub(super) usual_of: String,
    /// The period of the rate.
    pub(super) window: &'static str,
    pub(super) chart: Option<Chart>,
    pub(super) sent_word: &'static str,
    pub(super) sent: String,
    pub(super) sent_number: f64,
    /// When counting began, if that is less than a day ago.
    pub(super) sent_since: Option<Stamp>,
    pub(super) delivered: String,
    /// The period of the sums.
    pub(super) period: String,
    pub(super) channels: Vec<ChannelRow>,
    /// Whether the channels show more than the account's total.
    pub(super) is_broken_down: bool,
    pub(super) messages: Vec<MessageRow>,
    /// The texts that a search matches.
    pub(super) searched: Vec<String>,
    pub(super) has_section: bool,
}

/// What the usual rate is based on, in words.
fn usual_of(measured: Option<&Measured>, has_rate: bool) -> String {
    match measured.and_then(|measured| measured.usual) {
        Some(usual) if usual.days > 0 => format!(
            "usual: same time of day on the last {} day{}",
            usual.days,
            if usual.days == 1 { "" } else { "s" }
        ),
        Some(_) => "usual: based on earlier hours; no full day is known yet".to_owned(),
        None if has_rate => {
            "no usual rate yet: it needs some hours of data, or better a day".to_owned()
        }
        None => String::new(),
    }
}

fn health(
    note: &AccountStatus,
    facts: &AccountFacts,
    observed: &Observed,
    has_reason: bool,
    now: Timestamp,
) -> Health {
    let is_failing = !note.troubles.is_empty() || note.last_error.is_some();
    if facts.held == Some(false) {
        return Health::Elsewhere;
    }
    let is_low = reasons::is_low_account(&observed.rates)
        || observed.rates.parts.iter().any(reasons::is_low_channel);
    match facts.up {
        Some(false) => Health::Down,
        _ if is_failing => Health::Failing,
        _ if is_low => Health::Low,
        _ if has_reason || !observed.pending.is_empty() => Health::Attention,
        // The first pass may take long; one good answer is enough.
        Some(true) => Health::Fine,
        None if note.good_at.is_some() => Health::Fine,
        // A vendor that publishes once a day is queried in the morning.
        None if note.opened
            && note
                .next
                .is_none_or(|next| next.as_second() - now.as_second() > 300) =>
        {
            Health::Idle
        }
        None => Health::Starting,
    }
}

/// What an account does next, in words.
fn next(note: &AccountStatus, health: Health, now: Timestamp) -> String {
    if health == Health::Elsewhere {
        return "waiting for the lease, which another replica holds".to_owned();
    }
    match note.next.map(|next| next.as_second() - now.as_second()) {
        _ if !note.opened => "opening its ledger".to_owned(),
        None => "waiting for messages to query".to_owned(),
        Some(wait) if wait > 0 => format!("next query in {}", length(wait)),
        Some(_) => "waiting for the vendor's answers".to_owned(),
    }
}

impl AccountRow {
    pub(super) fn new(
        note: &AccountStatus,
        facts: &AccountFacts,
        observed: &Observed,
        messages: Vec<NewestMessage>,
        low_elsewhere: &LowChannels,
        now: Timestamp,
    ) -> AccountRow {
        let account = &note.account;
        let rates = &observed.rates;
        let is_elsewhere = facts.held == Some(false);
        let reasons = if is_elsewhere {
            Vec::new()
        } else {
            reasons::reasons(note, observed, low_elsewhere, now)
        };
        let health = health(note, facts, observed, !reasons.is_empty(), now);
        let age = age(account);
        let (rate_of, rate_note) = match (rates.basis, age) {
            (Basis::Cohorts, Some(Age::First) | None) => (
                "Delivered, as first published".to_owned(),
                "The vendor publishes once a day.".to_owned(),
            ),
            (Basis::Cohorts, Some(Age::Seconds(age))) => (
                format!("Delivered within {}", length(i64::from(age))),
                "Messages of equal age are compared, so one that is still being delivered does not look \
                 like an outage."
                    .to_owned(),
            ),
            (Basis::Counted, None) => (
                "Delivered of reported".to_owned(),
                "This vendor reports on a message once its outcome is final, so messages reported on stand in for sent."
                    .to_owned(),
            ),
            (Basis::Counted, Some(age)) => (
                "Delivered so far".to_owned(),
                match age {
                    Age::First => "No first publication of a message has been seen yet.".to_owned(),
                    Age::Seconds(age) => format!(
                        "No message has reached the age of {} yet. Messages are still being delivered, and the \
                         rate still rises.",
                        length(i64::from(age))
                    ),
                },
            ),
        };
        let good_at = note.good_at.map_or(0, Timestamp::as_second);
        let last_success_at = observed
            .last_success
            .max(as_seconds(facts.last_success))
            .max(good_at);
        let last_success = (last_success_at > 0).then(|| {
            let stamp = Stamp::of_unix(last_success_at, now);
            (
                stamp,
                format!("{} ago", short_length(now.as_second() - last_success_at)),
            )
        });
        let observed_for = now.as_second() - observed.since;
        let period = if observed_for >= 86_400 {
            "last 24 h".to_owned()
        } else {
            format!(
                "in the {} since the exporter first ran",
                length(observed_for)
            )
        };
        let mut rate_notes = vec![rate_note];
        let silent: Vec<_> = rates
            .parts
            .iter()
            .filter(|part| reasons::without_receipts(account.vendor, part).is_some())
            .map(|part| redact(&part.key.vendor_channel))
            .collect();
        if !silent.is_empty() {
            rate_notes.push(format!(
                "Includes {}, whose deliveries are not reported, so the real rate is higher.",
                silent.join(", ")
            ));
        }
        let rated: f64 = rates.parts.iter().map(|part| part.rated.sent).sum();
        if rates.basis == Basis::Cohorts && rated > 1.5 * rates.counted.sent {
            rate_notes.push(
                "The rate covers messages that were sent before the exporter first ran; the sums do not."
                    .to_owned(),
            );
        }
        let is_low = reasons::is_low_account(rates);
        let verdict = reasons.first().map(|own| own.why.clone());
        let channels: Vec<_> = channels(account.vendor, &rates.parts);
        let searched = [
            account.name.as_ref(),
            account.vendor.name,
            account.vendor.title,
        ];
        let searched = searched.into_iter().map(str::to_owned);
        let applications = account.applications.iter().map(|own| own.name.to_string());
        let of_channels = channels.iter().map(|own| own.name.clone());
        AccountRow {
            searched: searched.chain(applications).chain(of_channels).collect(),
            name: account.name.to_string(),
            provider: account.vendor.name,
            vendor: account.vendor.title,
            place: format!("{}:{}", account.place.file.display(), account.place.line),
            health,
            verdict: verdict.unwrap_or_else(|| health.to_string()),
            pending: observed
                .pending
                .iter()
                .map(|own| PendingRow::new(own, now))
                .collect(),
            reasons,
            next: next(note, health, now),
            last_success,
            last_success_at,
            tracked: count(facts.tracked),
            now: rates.now.as_ref().map(|now| NowCell::new(now, is_low)),
            is_stale: health == Health::Down,
            rate_now: rates.now.map(|now| now.rate()),
            share: rates.now.and_then(|now| now.share),
            usual_of: usual_of(rates.now.as_ref(), rates.rates.iter().any(Option::is_some)),
            window: rates.window.name(),
            chart: chart(rates, &rate_of, observed_for),
            rate_of,
            rate_notes,
            sent_word: match (rates.basis, age) {
                (Basis::Counted, None) => "Reported on",
                _ => "Sent",
            },
            sent: count(rates.counted.sent),
            sent_number: rates.counted.sent,
            sent_since: (observed_for < 86_400).then(|| Stamp::of_unix(observed.since, now)),
            delivered: count(rates.counted.delivered),
            period,
            is_broken_down: rates
                .parts
                .iter()
                .any(|part| !part.key.vendor_channel.is_empty())
                || channels.len() > 1,
            channels,
            messages: messages.into_iter().map(message).collect(),
            has_section: true,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "whole seconds are enough here"
)]
fn as_seconds(at: f64) -> i64 {
    at as i64
}

fn channels(vendor: &Vendor, parts: &[PartRates]) -> Vec<ChannelRow> {
    let mut parts: Vec<_> = parts.iter().collect();
    parts.sort_by(|left, right| right.counted.sent.total_cmp(&left.counted.sent));
    let row = |part: &PartRates| {
        let without_receipts = reasons::without_receipts(vendor, part);
        ChannelRow {
            name: redact(if part.key.vendor_channel.is_empty() {
                &part.key.channel
            } else {
                &part.key.vendor_channel
            }),
            platform: part.key.platform.clone(),
            sent: count(part.counted.sent),
            delivered: count(part.counted.delivered),
            rate: if part.counted.sent > 0.0 {
                percent(part.counted.delivered / part.counted.sent)
            } else {
                String::new()
            },
            now: part
                .now
                .as_ref()
                .map(|now| NowCell::new(now, reasons::is_low_channel(part))),
            without_receipts,
        }
    };
    parts.into_iter().map(row).collect()
}

fn message(message: NewestMessage) -> MessageRow {
    let delivered = message.delivered;
    MessageRow {
        id: redact(&message.id),
        application: redact(&message.application),
        campaign: redact(&message.campaign),
        channel: message.channel,
        sent: count(message.sent),
        delivered: delivered.map(count).unwrap_or_default(),
        rate: match delivered {
            Some(delivered) if message.sent > 0.0 => percent(delivered / message.sent),
            _ => String::new(),
        },
    }
}
