//! How many requests a configuration makes, against what `rate_limit` and the vendor allow. Nothing is asked
//! for: the collector's own schedule is run over the coming week.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use delivery_clock::Clock;
use jiff::Timestamp;

use super::super::observers::NoopObserver;
use crate::{
    collector::{self, DatasetForecast, ExpectedMessages, Forecast},
    config::{Account, Config, MessageEntry, Problem, show_duration},
    model::RequestLimit,
    providers,
};

/// So many messages a day an application is assumed to send where a list or a program names them.
const ASSUMED_MESSAGES: f64 = 10.0;
const DAY: f64 = 86_400.0;

/// What the requests of all accounts come to.
#[derive(Default)]
pub(super) struct Budget {
    /// A page for people.
    pub(super) page: String,
    /// What does not fit.
    pub(super) warnings: Vec<Problem>,
    /// Accounts that no client can be made for.
    pub(super) errors: Vec<Problem>,
}

/// The budget of a configuration, whose files name `messages`, by account. `each_day` is how many messages each
/// application sends a day.
pub(super) fn budget(
    config: &Config,
    messages: &[Vec<MessageEntry>],
    each_day: Option<f64>,
    now: Timestamp,
) -> Budget {
    let mut budget = Budget::default();
    if config.accounts.is_empty() {
        return budget;
    }
    let title = "requests a day, averaged over the coming week:\n";
    budget.page.push_str(title);
    let mut known: HashMap<String, Forecast> = HashMap::new();
    for (account, named) in config.accounts.iter().zip(messages) {
        let provider = providers::build(account, Clock::system(), Arc::new(NoopObserver));
        let provider = match provider {
            Ok(provider) => provider,
            Err(error) => {
                budget
                    .errors
                    .push(Problem::new(account.place.clone(), error.problem));
                continue;
            }
        };
        let is_told = account.messages.list
            || !account.messages.http.is_empty()
            || config.api_token.is_some();
        let assumed = match each_day {
            _ if !account.vendor.has_messages() => 0.0,
            Some(each_day) => each_day,
            None if is_told => ASSUMED_MESSAGES,
            None => 0.0,
        };
        let expected = expected(account, named, assumed);
        let forecast = || collector::forecast(account, provider.as_ref(), &expected, now);
        // A configuration of thousands of accounts has few kinds of them.
        let forecast = if expected.iter().all(|own| own.named.is_empty()) {
            let kind = kind(account, assumed);
            known.entry(kind).or_insert_with(forecast).clone()
        } else {
            forecast()
        };
        budget.account(account, &forecast, &expected);
    }
    budget
}

/// All that the forecast of an account without named messages depends on.
fn kind(account: &Account, each_day: f64) -> String {
    let datasets = account.collect.iter();
    let datasets: Vec<_> = datasets
        .map(|own| (own.as_str(), account.dataset_interval(*own)))
        .collect();
    let messages = (account.messages.list, account.messages.max_age);
    let intervals = (account.interval, account.max_interval, &account.cohort_ages);
    let applications = (account.applications.len(), each_day);
    format!(
        "{:?}",
        (
            account.vendor.name,
            datasets,
            messages,
            intervals,
            account.daily,
            applications
        )
    )
}

/// The messages of each application.
fn expected(account: &Account, named: &[MessageEntry], each_day: f64) -> Vec<ExpectedMessages> {
    let mut expected = vec![
        ExpectedMessages {
            named: Vec::new(),
            each_day,
        };
        account.applications.len()
    ];
    for entry in account.messages.fixed.iter().chain(named) {
        if let Some(own) = expected.get_mut(entry.application) {
            own.named.push(entry.sent_at);
        }
    }
    expected
}

impl Budget {
    fn account(&mut self, account: &Account, forecast: &Forecast, expected: &[ExpectedMessages]) {
        let rate = account.rate_limit.requests_per_second;
        let each_day = forecast.each_day();
        // Writing to a string does not fail.
        let _ = writeln!(
            self.page,
            "  {}: {}; rate_limit allows {} ({rate} a second)",
            account.name,
            number(each_day),
            number(rate * DAY),
        );
        for own in &forecast.datasets {
            let notes = notes(account, own, expected);
            let line = format!(
                "    {:<12} {:>9}  {notes}",
                own.dataset.as_str(),
                number(own.each_day)
            );
            let _ = writeln!(self.page, "{}", line.trim_end());
        }
        let takes = Duration::from_secs_f64((forecast.at_start / rate).ceil());
        if takes > account.interval {
            let _ = writeln!(
                self.page,
                "    after a start {} requests are due at once, which takes {}",
                number(forecast.at_start),
                show_duration(takes),
            );
        }
        self.fit(account, forecast);
        self.limits(account);
    }

    /// Warns where the requests are more than `rate_limit` lets through.
    fn fit(&mut self, account: &Account, forecast: &Forecast) {
        let rate = account.rate_limit.requests_per_second;
        let seconds = account.interval.as_secs_f64();
        let interval = show_duration(account.interval);
        let allowed = rate * seconds + f64::from(account.rate_limit.burst);
        let needed = forecast.each_day() / DAY;
        let text = if needed > rate {
            format!(
                "{} needs {} requests a day, and rate_limit allows {}: passes do not fit, and numbers fall behind for ever; raise rate_limit.requests_per_second above {:.1}, or interval",
                account.name,
                number(forecast.each_day()),
                number(rate * DAY),
                needed,
            )
        } else if forecast.busiest > allowed {
            format!(
                "the busiest pass of {} needs {} requests, and rate_limit allows {} in its interval of {interval}: numbers are late then; raise rate_limit.requests_per_second above {:.1}, or interval",
                account.name,
                number(forecast.busiest),
                number(allowed),
                forecast.busiest / seconds,
            )
        } else {
            return;
        };
        self.warnings
            .push(Problem::new(account.place.clone(), text));
    }

    /// Warns where `rate_limit` is more than the vendor takes.
    fn limits(&mut self, account: &Account) {
        let rate = account.rate_limit.requests_per_second;
        let own = account
            .collect
            .iter()
            .map(|dataset| (dataset.as_str(), dataset.limit));
        let list = account.vendor.list_cost.filter(|_| account.messages.list);
        let list = list.map(|cost| ("the list of messages", cost.limit));
        let mut told: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (what, limit) in own.chain(list) {
            if let Some(limit) = limit.filter(|limit| rate > limit.per_second) {
                told.entry(words(&limit)).or_default().push(what);
            }
        }
        for (limit, what) in told {
            let text = format!(
                "rate_limit of {} lets {rate} requests a second through, and {} takes fewer for {}; the vendor's limit is {limit}",
                account.name,
                account.vendor.title,
                what.join(", "),
            );
            self.warnings
                .push(Problem::new(account.place.clone(), text));
        }
    }
}

/// `50 a second of the account`.
fn words(limit: &RequestLimit) -> String {
    format!("{} a second of {}", limit.per_second, limit.counted)
}

/// What a line says besides its number.
fn notes(account: &Account, own: &DatasetForecast, expected: &[ExpectedMessages]) -> String {
    let mut notes = Vec::new();
    if own.for_lists > 0.0 {
        notes.push(format!("{} of them for the list", number(own.for_lists)));
    }
    if let Some(of_message) = own.of_message {
        let named: usize = expected.iter().map(|own| own.named.len()).sum();
        if named > 0 {
            notes.push(format!("{} named messages", number(named as f64)));
        }
        let assumed = expected.first().map_or(0.0, |own| own.each_day);
        if assumed > 0.0 {
            let applications = match expected.len() {
                1 => String::new(),
                more => format!(" for each of {more} applications"),
            };
            notes.push(format!("{assumed} messages a day assumed{applications}"));
        }
        notes.push(format!(
            "a message alone costs {} in its {}",
            number(of_message),
            show_duration(account.messages.max_age)
        ));
    }
    if let Some(limit) = own.dataset.limit {
        notes.push(format!("the vendor takes {}", words(&limit)));
    }
    notes.join("; ")
}

/// A number in groups of three digits.
fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{config, golden};

    fn told(text: &str, each_day: Option<f64>) -> String {
        told_at("2026-11-30T08:00:00Z", text, each_day)
    }

    /// The page and the warnings of a configuration.
    fn told_at(now: &str, text: &str, each_day: Option<f64>) -> String {
        let config = config::parse(Path::new("config.yaml"), text, &|_| None).unwrap();
        let none = vec![Vec::new(); config.accounts.len()];
        let budget = budget(&config, &none, each_day, now.parse().unwrap());
        let warnings = budget.warnings.iter().map(|own| own.report("warning"));
        format!("{}{}", budget.page, warnings.collect::<String>())
    }

    const ALL: &str = "
providers:
  - {name: push, type: infobip_push, base_url: 'https://x.api.infobip.com', credentials: {api_key: k}, applications: [{id: a}],
     messages: {static: ['1', {id: '2', sent_at: 2026-11-29T10:00:00Z}]}}
  - {name: mail, type: infobip_email, base_url: 'https://x.api.infobip.com', credentials: {api_key: k}}
  - {name: news, type: engagelab, base_url: 'https://pushapi-sgp.engagelab.com', credentials: {app_key: a, master_secret: b},
     messages: {http: [{url: 'http://127.0.0.1/messages'}]}}
  - {name: loyalty, type: pushwoosh, credentials: {api_token: t}, applications: [{id: a}, {id: b}]}
  - {name: china, type: alibaba_push, credentials: {access_key_id: a, access_key_secret: b}, applications: [{id: '1'}]}
";

    #[test]
    fn the_budget_of_each_vendor_is_as_before() {
        golden::assert_current("tests/data/check/budget.txt", &told(ALL, None));
    }

    #[test]
    fn a_forecast_ends_and_is_the_same_within_a_second() {
        let fraction = told_at("2026-11-30T08:00:00.6Z", ALL, None);
        assert_eq!(fraction, told(ALL, None));
    }

    #[test]
    fn accounts_and_applications_alike_are_forecast_once() {
        let pushwoosh = |name: usize, applications: &str| {
            format!(
                "\n  - {{name: a{name}, type: pushwoosh, credentials: {{api_token: t}}, applications: [{applications}]}}"
            )
        };
        let page = |own: &str| told(&format!("providers:{own}"), None);
        let many: String = (0..300)
            .map(|name| pushwoosh(name, "{id: a}, {id: b}"))
            .collect();
        let began = std::time::Instant::now();
        let one = page(&pushwoosh(0, "{id: a}, {id: b}"));
        let alone = began.elapsed();
        let began = std::time::Instant::now();
        let all = page(&many);
        assert_eq!(all.matches("    messages ").count(), 300);
        assert!(
            began.elapsed() < alone * 100,
            "{:?}, one {alone:?}",
            began.elapsed()
        );
        let own = one.lines().find(|line| line.contains("bounces")).unwrap();
        assert_eq!(all.matches(own).count(), 300, "{one}");
        // Two applications make twice the requests of one.
        let each_day = |page: &str| -> f64 {
            let line = page.lines().find(|line| line.contains("bounces")).unwrap();
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .replace(',', "")
                .parse()
                .unwrap()
        };
        assert_eq!(
            each_day(&one),
            2.0 * each_day(&page(&pushwoosh(0, "{id: a}")))
        );
    }

    #[test]
    fn what_does_not_fit_is_a_warning_with_what_would() {
        let narrow = ALL.replace("static: [", "max_age: 30d, static: [");
        let narrow = format!(
            "provider_defaults: {{rate_limit: {{requests_per_second: 0.01, burst: 1}}}}{narrow}"
        );
        let said = told(&narrow, Some(50.0));
        assert!(said.contains("push needs "), "{said}");
        assert!(said.contains("passes do not fit"), "{said}");
        assert!(
            said.contains("help: raise rate_limit.requests_per_second above "),
            "{said}"
        );
        assert!(said.contains("after a start "), "{said}");
        let wide = format!("provider_defaults: {{rate_limit: {{requests_per_second: 60}}}}{ALL}");
        let said = told(&wide, None);
        assert!(said.contains("takes fewer for messages\n"), "{said}");
        assert!(
            said.contains("takes fewer for the list of messages\n"),
            "{said}"
        );
        assert!(
            said.contains("the vendor's limit is 10 a second of the Alibaba Cloud account"),
            "{said}"
        );
        assert_eq!(said.matches("warning: ").count(), 2, "{said}");
    }

    #[test]
    fn many_messages_are_forecast_at_once_and_in_proportion() {
        let began = std::time::Instant::now();
        let per_day = |each_day: f64| {
            let config = config::parse(Path::new("config.yaml"), ALL, &|_| None).unwrap();
            let account = &config.accounts[0];
            let provider =
                providers::build(account, Clock::system(), Arc::new(NoopObserver)).unwrap();
            let expected = expected(account, &[], each_day);
            let now = "2026-11-30T08:00:00Z".parse().unwrap();
            collector::forecast(account, provider.as_ref(), &expected, now).each_day()
        };
        let (few, many) = (per_day(30.0), per_day(30_000.0));
        assert!((many / few / 1000.0 - 1.0).abs() < 0.1, "{few} {many}");
        assert!(began.elapsed().as_secs() < 20);
    }
}
