//! One provider of the file.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use reqwest::Url;

use super::{
    duration,
    messages::{messages, per_message},
    read::{Context, Map, choices, web_url},
    schema::{self, Section},
    tls::tls,
    tree::{Node, Tree},
    types::{Account, Limits, RateLimit},
    unique::UniqueValues,
    vendor_keys::{credentials, vendor_keys, webhook_token},
};
use crate::{
    catalog,
    model::{Application, DailyPublication, Dataset},
    providers::{
        Vendor,
        vendor::{Applications, BaseUrl},
    },
};

/// `collection`: what a provider falls back to.
pub(super) struct Collection {
    interval: Duration,
    timeout: Duration,
    stale_after: Duration,
    cohort_ages: Vec<Duration>,
    max_interval: Duration,
}

impl Collection {
    pub(super) fn read(map: &Map<'_>, context: &Context) -> Collection {
        let collection = Collection {
            interval: map.duration("interval"),
            timeout: map.duration("timeout"),
            stale_after: map.duration("stale_after"),
            cohort_ages: cohort_ages(map, context),
            max_interval: map.duration("max_interval"),
        };
        for name in ["interval", "timeout"] {
            if let Some(node) = map.get(name)
                && map.optional_duration(name) == Some(Duration::ZERO)
            {
                context.error(&node.place, format!("{name} has to be longer than 0s"));
            }
        }
        collection
    }
}

/// `cohort_ages`, else those of the table.
fn cohort_ages(map: &Map<'_>, context: &Context) -> Vec<Duration> {
    let Some(node) = map.get("cohort_ages") else {
        let default = schema::default(Section::Collection, "cohort_ages");
        let ages = default.trim_matches(['[', ']']).split(", ");
        return ages.filter_map(duration::parse).collect();
    };
    let mut ages = Vec::new();
    for entry in context.list("cohort_ages", node) {
        let Some(text) = context.text("cohort_ages", entry) else {
            continue;
        };
        match duration::parse(text).filter(|age| age.as_secs() > 0 && age.subsec_nanos() == 0) {
            Some(age) if age.as_secs() <= MAX_COHORT_AGE => ages.push(age),
            _ => context.error(
                &entry.place,
                format!(
                    "cohort_ages: {text} is no age; write whole seconds, like 5m or 24h, up to 365d"
                ),
            ),
        }
    }
    ages
}

/// A year: no vendor keeps numbers for longer.
const MAX_COHORT_AGE: u64 = 365 * 86_400;

/// Labels that Prometheus and OpenTelemetry set: not to be overwritten.
const OUTSIDE_LABELS: [&str; 5] = ["job", "instance", "le", "quantile", "otel_scope_name"];

/// Whether series have a label of this name already, or Prometheus sets it.
pub fn is_own_label(name: &str) -> bool {
    catalog::is_label(name) || OUTSIDE_LABELS.contains(&name)
}

pub(super) fn read(
    context: &Context,
    node: &Node,
    collection: &Collection,
    limits: &Limits,
) -> Option<Account> {
    if !matches!(node.value, Tree::Map(_)) {
        context.error(
            &node.place,
            format!("a provider has to be a mapping, not {}", node.describe()),
        );
        return None;
    }
    let map = Map::new(context, Section::Provider, Some(node), &node.place);
    let name = name(context, &map);
    let vendor = vendor(&map)?;
    // The rest is read without a name too, so that everything is found at once.
    let label = name.clone().unwrap_or_default();
    let applications = applications(context, &map, vendor, &label);
    let interval = map
        .optional_duration("interval")
        .unwrap_or(collection.interval);
    let timeout = map
        .optional_duration("timeout")
        .unwrap_or(collection.timeout);
    let stale_after = map
        .optional_duration("stale_after")
        .unwrap_or(collection.stale_after);
    let place = |name: &str| map.get(name).map_or(&map.place, |node| &node.place);
    for (name, value) in [("interval", interval), ("timeout", timeout)] {
        if value.is_zero() {
            context.error(place(name), format!("{name} has to be longer than 0s"));
        }
    }
    if stale_after < interval * 2 {
        let text = format!(
            "stale_after of {} is less than 2 x interval ({}): gauges would vanish between two queries",
            duration::show(stale_after),
            duration::show(interval * 2)
        );
        context.error(place("stale_after"), text);
    }
    let max_concurrency = map.size("max_concurrency");
    if max_concurrency == 0 {
        context.error(
            place("max_concurrency"),
            "max_concurrency has to be at least 1",
        );
    }
    let rate = map.section("rate_limit", Section::RateLimit);
    let rate_limit = RateLimit {
        requests_per_second: rate.rate("requests_per_second"),
        burst: rate.count("burst").try_into().unwrap_or(u32::MAX),
    };
    if rate_limit.burst == 0 {
        context.error(&rate.place, "burst has to be at least 1");
    }
    let collect = collect(context, &map, vendor);
    let base_url = base_url(context, &map, vendor);
    let credentials = credentials(context, &map, vendor);
    let messages = messages(context, &map, vendor, &applications);
    let account = Account {
        place: map.place.clone(),
        interval,
        dataset_intervals: dataset_intervals(context, &map, vendor),
        timeout,
        stale_after,
        daily: daily(context, &map, vendor),
        cohort_ages: collection.cohort_ages.clone(),
        max_interval: collection.max_interval,
        proxy_url: proxy(context, &map),
        tls: tls(context, &map),
        rate_limit,
        max_concurrency,
        labels: labels(context, &map),
        collect,
        applications,
        per_message: per_message(&map.section("per_message", Section::PerMessage)),
        max_messages: limits.max_messages_per_account,
        max_response_bytes: limits.max_response_bytes,
        base_url: base_url?,
        credentials: credentials?,
        messages,
        keys: vendor_keys(context, &map, vendor),
        webhook_token: webhook_token(context, &map, vendor),
        name: name?,
        vendor,
    };
    for dataset in &account.collect {
        if let Some((key, what)) = dataset.needs_key
            && !account.keys.is_given(key)
        {
            let text = format!("{dataset} needs {key}: {what}");
            context.error(place("collect"), text);
        }
    }
    let finds_messages =
        account.messages.list || account.collect.iter().any(|own| own.has_snapshots());
    for dataset in &account.collect {
        if let Some(what) = dataset.needs_listed_messages.filter(|_| !finds_messages) {
            let snapshots = vendor.datasets.iter().find(|own| own.has_snapshots());
            let source = match snapshots {
                Some(snapshots) => format!("{snapshots} in collect, or messages.list"),
                None => "messages.list".to_owned(),
            };
            let text = format!("{dataset} needs {source}: without them nothing tells {what}");
            context.error(place("collect"), text);
        }
    }
    if vendor.has_messages()
        && account.messages.fixed.is_empty()
        && account.messages.files.is_empty()
        && account.messages.http.is_empty()
        && !account.messages.list
    {
        let warning = format!("{} has no messages to watch", account.name);
        context.warn(&map.place, warning);
    }
    Some(account)
}

/// How the vendor publishes once a day, with `daily_complete_at`.
fn daily(context: &Context, map: &Map<'_>, vendor: &Vendor) -> Option<DailyPublication> {
    let default = vendor.daily();
    let Some(node) = map.get("daily_complete_at") else {
        return default;
    };
    let Some(default) = default else {
        let text = format!(
            "daily_complete_at is for vendors that publish once a day; {vendor} is not one"
        );
        context.error(&node.place, text);
        return None;
    };
    let text = map.text("daily_complete_at")?;
    let time = text.split_once(':').and_then(|(hours, minutes)| {
        let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
        (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
    });
    let Some(minutes) = time else {
        let text = format!("daily_complete_at: {text} is no time of day; write it like 06:00");
        context.error(&node.place, text);
        return Some(default);
    };
    Some(DailyPublication {
        complete_at: Duration::from_secs(minutes * 60),
        ..default
    })
}

fn name(context: &Context, map: &Map<'_>) -> Option<Arc<str>> {
    let Some(node) = map.get("name") else {
        map.missing("name", ": it is the label account");
        return None;
    };
    let name = map.text("name")?;
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.chars().all(good) && name.len() <= 100 {
        return Some(name);
    }
    context.error(
        &node.place,
        format!("name {name:?}: take up to 100 letters, digits, _ and - (it is the label account)"),
    );
    None
}

fn vendor(map: &Map<'_>) -> Option<&'static Vendor> {
    if map.get("type").is_none() {
        let example = map.vendors().first().map_or("", |vendor| vendor.name);
        map.missing("type", &format!(": the vendor's API, such as {example}"));
    }
    map.vendor("type")
}

fn base_url(context: &Context, map: &Map<'_>, vendor: &Vendor) -> Option<Url> {
    let insecure = map.truth("allow_insecure_http");
    let Some(node) = map.get("base_url") else {
        return match vendor.base_url {
            BaseUrl::Default(url) => Url::parse(url).ok(),
            BaseUrl::Shared { url, own } => {
                let place = map.get("type").map_or(&map.place, |node| &node.place);
                context.warn(
                    place,
                    format!("base_url is missing: {url} is used, but {own}"),
                );
                Url::parse(url).ok()
            }
            BaseUrl::Required(hint) => {
                map.missing("base_url", &format!(": {hint}"));
                None
            }
        };
    };
    let url = map.url("base_url")?;
    if !url.username().is_empty() || url.password().is_some() {
        context.error(
            &node.place,
            "base_url holds a user or password; put them under credentials",
        );
    } else if url.query().is_some() || url.fragment().is_some() {
        context.error(
            &node.place,
            "base_url has a query or fragment; take everything after the path out",
        );
    } else if url.scheme() == "http" && !insecure && !loopback(&url) {
        context.error(
            &node.place,
            "base_url is plain http, which shows the credentials to the network; use https, or set allow_insecure_http: true",
        );
    }
    Some(url)
}

fn loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// The proxies that are built in.
const PROXY_SCHEMES: [&str; 2] = ["http", "https"];

fn proxy(context: &Context, map: &Map<'_>) -> Option<crate::secret::Secret> {
    let proxy = map.secret("proxy_url")?.value;
    let node = map.get("proxy_url");
    if let Err(problem) = web_url(proxy.expose(), &PROXY_SCHEMES) {
        let node = node.or_else(|| map.node_of("proxy_url_file"));
        let place = node.map_or(&map.place, |node| &node.place);
        let text = format!("proxy_url {problem}; write it like http://proxy:3128");
        context.error(place, text);
    }
    Some(proxy)
}

fn datasets(vendor: &Vendor) -> String {
    let datasets = vendor.datasets.iter();
    let names: Vec<_> = datasets.map(|dataset| dataset.as_str()).collect();
    names.join(", ")
}

/// A data set of this type, by its name.
fn dataset(
    context: &Context,
    vendor: &Vendor,
    name: &str,
    place: &super::errors::Position,
) -> Option<Dataset> {
    let known = vendor.dataset(name);
    if known.is_none() {
        let names: Vec<_> = vendor.datasets.iter().map(|own| own.as_str()).collect();
        let text = format!("{vendor} has no data set {name}; {}", choices(&names, name));
        context.error(place, text);
    }
    known
}

fn collect(context: &Context, map: &Map<'_>, vendor: &Vendor) -> Vec<Dataset> {
    let Some(node) = map.get("collect") else {
        let all = vendor.datasets.iter().copied();
        return all.filter(|dataset| dataset.is_default).collect();
    };
    let mut collect = Vec::new();
    for item in context.list("collect", node) {
        if let Some(name) = context.text("collect", item)
            && let Some(dataset) = dataset(context, vendor, name, &item.place)
            && !collect.contains(&dataset)
        {
            collect.push(dataset);
        }
    }
    if matches!(&node.value, Tree::List(items) if items.is_empty()) {
        let text = format!(
            "collect is empty; take it out, or name {}",
            datasets(vendor)
        );
        context.error(&node.place, text);
    }
    collect
}

fn dataset_intervals(
    context: &Context,
    map: &Map<'_>,
    vendor: &Vendor,
) -> BTreeMap<Dataset, Duration> {
    let mut intervals = BTreeMap::new();
    for (name, place, node) in map.names("dataset_intervals") {
        let Some(dataset) = dataset(context, vendor, name, place) else {
            continue;
        };
        let Some(text) = context.text(name, node) else {
            continue;
        };
        match duration::parse(text).filter(|interval| !interval.is_zero()) {
            Some(interval) => {
                intervals.insert(dataset, interval);
            }
            None => {
                let text = format!(
                    "{name}: {} is no duration above 0s; write it like 5m",
                    node.describe()
                );
                context.error(&node.place, text);
            }
        }
    }
    intervals
}

fn labels(context: &Context, map: &Map<'_>) -> BTreeMap<Arc<str>, Arc<str>> {
    let mut labels = BTreeMap::new();
    for (name, place, node) in map.names("labels") {
        let mut letters = name.chars();
        let begins = letters
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let good = begins && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !good {
            context.error(
                place,
                format!("{name:?} is no label name; take letters, digits and _"),
            );
        } else if is_own_label(name) || name.starts_with("__") {
            context.error(
                place,
                format!(
                    "the label {name} is set by the exporter or by Prometheus; choose another name"
                ),
            );
        } else {
            let value = match &node.value {
                Tree::Scalar { text, .. } => Some(text.as_str()),
                _ => context.text(name, node),
            };
            if let Some(value) = value {
                labels.insert(Arc::from(name), Arc::from(value));
            }
        }
    }
    labels
}

fn applications(
    context: &Context,
    map: &Map<'_>,
    vendor: &Vendor,
    account: &Arc<str>,
) -> Vec<Application> {
    let node = map.get("applications");
    let items = node.map_or(&[][..], |node| context.list("applications", node));
    let place = node.map_or(&map.place, |node| &node.place);
    let Applications::Several { check, .. } = vendor.applications else {
        if items.len() > 1 {
            let text =
                format!("{vendor} knows one application per account; make a provider of each");
            context.error(place, text);
        }
        let name = items.first().and_then(|item| {
            let entry = Map::new(context, Section::Application, Some(item), &item.place);
            entry.text("name").or_else(|| entry.text("id"))
        });
        return vec![Application {
            id: Arc::from(""),
            name: name.unwrap_or_else(|| account.clone()),
        }];
    };
    let mut applications = Vec::new();
    let mut ids = UniqueValues::new(context);
    let mut names = UniqueValues::new(context);
    for item in items {
        let entry = Map::new(context, Section::Application, Some(item), &item.place);
        let Some(id) = entry.text("id") else {
            if entry.get("id").is_none() {
                entry.missing("id", " in an application");
            }
            continue;
        };
        if let Some(check) = check.filter(|check| !(check.is_id)(&id)) {
            let text = format!("the id of an application has to be {}", check.what);
            context.error(&entry.place, text);
        }
        let name = entry.text("name").unwrap_or_else(|| id.clone());
        if ids.first("the application id", &id, &entry.place)
            && names.first("the application name", &name, &entry.place)
        {
            applications.push(Application { id, name });
        }
    }
    if items.is_empty() {
        let text =
            format!("applications are missing: {vendor} needs one or more, each with its id");
        context.error(place, text);
    }
    applications
}
