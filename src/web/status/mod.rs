//! The status page: what a person wants to know first, from the same series as `/metrics`.

mod account;
mod alerts;
mod chart;
mod facts;
mod history;
mod matrix;
mod monitor;
mod query;
mod rates;
mod reasons;
mod remedy;
mod stored;
mod words;

use std::sync::Arc;

use askama::Template;
use jiff::Timestamp;

pub use monitor::Monitor;
pub(super) use monitor::OBSERVE_EVERY;
pub(super) use query::Parameters;
#[doc(hidden)]
pub use stored::read_history;

use account::{AccountRow, Health};
use alerts::Pending;
use matrix::{CellKind, Matrix};
use query::{Order, Query};
use words::{Stamp, length, redact};

use super::{AppState, html};
use crate::{collector::Trouble, config::Account, model::Source};

/// With more accounts than this, healthy ones get their own section only if they are searched for.
const MAX_SECTIONS: usize = 24;
/// How often a page without script reloads, if the reader wants it to, in seconds.
const REFRESH_SECONDS: u32 = 30;

/// State of the exporter that its series do not contain.
pub struct ExporterStatus {
    /// The state of each account, in the order of the configuration.
    pub accounts: Vec<AccountStatus>,
    /// This replica's name.
    pub replica: Arc<str>,
    /// The current configuration.
    pub configuration: ConfigurationStatus,
}

/// State of the configuration that the series do not contain.
#[derive(Clone, Debug, Default)]
pub struct ConfigurationStatus {
    /// When it was loaded.
    pub loaded_at: Timestamp,
    /// The last failed reload since then, and the problems of the refused configuration.
    pub refused: Option<(Timestamp, String)>,
    /// Warnings about it.
    pub warnings: Vec<String>,
}

/// State of an account that its series do not contain.
pub struct AccountStatus {
    /// The account.
    pub account: Arc<Account>,
    /// Whether its ledger is open and its counters are exposed.
    pub opened: bool,
    /// Whether it has had its first answer, good or bad, or has nothing due.
    pub ready: bool,
    /// When the vendor last answered successfully.
    pub good_at: Option<Timestamp>,
    /// When the next query is due.
    pub next: Option<Timestamp>,
    /// The last unresolved failure, in words and without secrets.
    pub last_error: Option<String>,
    /// The current failures.
    pub troubles: Vec<Trouble>,
    /// Sources of messages that cannot be read, with the errors.
    pub broken_sources: Vec<(Source, String)>,
}

/// An alert whose condition holds, in words.
struct PendingRow {
    name: &'static str,
    severity: &'static str,
    about: String,
    since: Stamp,
    fires_at: Stamp,
    /// Whether it has held for long enough to fire.
    fires: bool,
    wait: String,
}

impl PendingRow {
    fn new(pending: &Pending, now: Timestamp) -> PendingRow {
        PendingRow {
            name: pending.rule.name,
            severity: if pending.rule.pages {
                "page"
            } else {
                "warning"
            },
            about: pending.about.clone(),
            since: Stamp::of_unix(pending.since, now),
            fires_at: Stamp::of_unix(pending.fires_at(), now),
            fires: pending.fires_at() <= now.as_second(),
            wait: length(pending.rule.wait),
        }
    }
}

#[derive(Template)]
#[template(path = "status.html", config = "src/web/askama.toml")]
struct Page<'a> {
    style: &'static str,
    script: &'static str,
    version: &'static str,
    replica: &'a str,
    now: Stamp,
    telemetry_path: &'a str,
    query: &'a Query,
    /// The address of the same page with automatic reloading switched on or off.
    toggle_refresh: String,
    /// The accounts to show.
    accounts: Vec<AccountRow>,
    /// The number of all accounts.
    all: usize,
    /// The number of accounts in trouble.
    troubled: usize,
    /// All accounts in trouble, with the reason.
    verdicts: Vec<(String, String)>,
    /// The number of healthy accounts whose usual rate is known.
    compared: usize,
    /// Accounts in an unknown state: they are starting, or another replica holds them.
    unknown: Vec<String>,
    matrix: Option<Matrix>,
    config_file: Option<&'a str>,
    loaded_at: Stamp,
    refused: Option<(Stamp, Vec<String>)>,
    warnings: Vec<String>,
    pending: Vec<PendingRow>,
}

impl Page<'_> {
    /// The address of the same page in another order.
    fn in_order(&self, key: &str) -> String {
        let order = match key {
            "name" => Order::Name,
            "rate" => Order::Rate,
            "sent" => Order::Sent,
            "success" => Order::Success,
            _ => Order::Trouble,
        };
        self.query.in_order(order)
    }

    /// For `aria-sort`: whether the page is sorted by this column.
    fn is_sorted(&self, key: &str) -> bool {
        self.query
            .orders()
            .iter()
            .any(|(own, _, chosen)| *own == key && *chosen)
    }
}

/// The page as HTML.
pub(super) fn page(app: &AppState, parameters: Parameters) -> Result<String, askama::Error> {
    let query = Query::from(parameters);
    let status = (app.status)();
    let now = app.clock.now();
    let facts = app.monitor.observe(&app.table, &status.accounts, now);
    let mut newest = facts::newest_messages(&app.table, now);
    let none = facts::AccountFacts::default();
    let observed: Vec<_> = status
        .accounts
        .iter()
        .map(|note| app.monitor.of(&note.account, now))
        .collect();
    let low_elsewhere = reasons::low_channels(&status.accounts, &observed);
    let rows = status
        .accounts
        .iter()
        .zip(&observed)
        .map(|(note, observed)| {
            let name = note.account.name.as_ref();
            let facts = facts.accounts.get(name).unwrap_or(&none);
            let messages = newest.remove(name).unwrap_or_default();
            AccountRow::new(note, facts, observed, messages, &low_elsewhere, now)
        });
    let mut rows: Vec<AccountRow> = rows.collect();
    let all = rows.len();
    let verdicts: Vec<_> = rows
        .iter()
        .filter(|row| row.health.is_bad())
        .map(|row| (row.name.clone(), row.verdict.clone()))
        .collect();
    let compared = rows.iter().filter(|row| row.share.is_some()).count();
    let unknown = [Health::Starting, Health::Elsewhere].map(|health| {
        let number = rows.iter().filter(|row| row.health == health).count();
        (number > 0).then(|| format!("{number} {health}"))
    });
    rows.retain(|row| {
        (!query.only_trouble || row.health.is_bad())
            && query.matches(row.searched.iter().map(String::as_str))
    });
    sort(&mut rows, query.order);
    let is_long = rows.len() > MAX_SECTIONS;
    for row in &mut rows {
        row.has_section = !is_long || row.health.is_bad();
    }
    let configuration = status.configuration;
    let refused = configuration.refused.map(|(at, problems)| {
        let problems = problems.lines().map(redact).collect();
        (Stamp::new(at, now), problems)
    });
    let process_pending = app.monitor.process_pending();
    let page = Page {
        style: html::STYLE,
        script: html::SCRIPT,
        version: env!("CARGO_PKG_VERSION"),
        replica: &status.replica,
        now: Stamp::new(now, now),
        telemetry_path: app.telemetry_path.trim_start_matches('/'),
        toggle_refresh: query.refreshing(match query.refresh {
            Some(_) => None,
            None => Some(REFRESH_SECONDS),
        }),
        query: &query,
        matrix: Matrix::new(&rows),
        all,
        troubled: verdicts.len(),
        verdicts,
        compared,
        unknown: unknown.into_iter().flatten().collect(),
        accounts: rows,
        config_file: app.config_file.as_deref(),
        loaded_at: Stamp::new(configuration.loaded_at, now),
        refused,
        warnings: configuration
            .warnings
            .iter()
            .map(|own| redact(own))
            .collect(),
        pending: process_pending
            .iter()
            .map(|own| PendingRow::new(own, now))
            .collect(),
    };
    page.render()
}

fn sort(rows: &mut [AccountRow], order: Order) {
    match order {
        Order::Trouble => rows.sort_by_key(|row| row.health),
        Order::Name => rows.sort_by(|left, right| left.name.cmp(&right.name)),
        Order::Rate => rows.sort_by(|left, right| {
            let key = |row: &AccountRow| (row.share.unwrap_or(9.0), row.rate_now.unwrap_or(9.0));
            let (left, right) = (key(left), key(right));
            left.0.total_cmp(&right.0).then(left.1.total_cmp(&right.1))
        }),
        Order::Sent => rows.sort_by(|left, right| right.sent_number.total_cmp(&left.sent_number)),
        Order::Success => rows.sort_by_key(|row| row.last_success_at),
    }
}
