//! From the tree to the typed configuration.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    account, duration,
    errors::{ConfigErrors, Position, Problem},
    excerpt::Rules,
    otlp,
    read::{Context, Map},
    schema::{self, Section},
    secrets,
    tree::{self, Environment, Node, Tree},
    types::{Account, Config, Limits},
};
use crate::{
    files,
    providers::{VENDORS, Vendors},
    store_url::StoreUrl,
};

/// Reads a configuration file and everything that it names.
///
/// # Errors
///
/// Every problem found, each with file, line and column.
pub fn load(
    path: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigErrors> {
    let text = files::read_text(path, files::MAX_CONFIG).map_err(|error| {
        unreadable(
            path,
            &error.to_string(),
            "name another file with --config.file",
        )
    })?;
    parse(path, &text, environment)
}

/// The problem of a file that cannot be read; `help` can be empty.
pub fn unreadable(path: &Path, problem: &str, help: &str) -> ConfigErrors {
    let place = Position {
        file: path.into(),
        line: 1,
        column: 1,
    };
    let problem = Problem::new(place, format!("cannot be read: {problem}"));
    let help = help.to_owned();
    ConfigErrors(vec![Problem { help, ..problem }])
}

/// Reads a configuration's text as if it stood in the file `path`.
///
/// # Errors
///
/// As of [`load`].
pub fn parse(
    path: &Path,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigErrors> {
    parse_with(VENDORS, path, text, environment)
}

/// As [`parse`], with other vendors than those of this program.
///
/// # Errors
///
/// As of [`load`].
pub fn parse_with(
    vendors: Vendors,
    path: &Path,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigErrors> {
    let file: Arc<Path> = path.into();
    let mut errors = Vec::new();
    let root = tree::parse(&file, text, Some(environment), &mut errors);
    // A value that is not there cannot be right either; once is enough to say.
    let broken: HashSet<_> = errors.iter().map(|error| error.place.clone()).collect();
    let of_tree = errors.len();
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let context = Context::new(vendors, directory, errors);
    let config = root.map(|root| whole(&context, &root, environment));
    let mut index = 0;
    context.errors.borrow_mut().retain(|error| {
        index += 1;
        index <= of_tree || !broken.contains(&error.place)
    });
    if let Some(config) = config
        .as_ref()
        .filter(|_| context.errors.borrow().is_empty())
    {
        secrets::register_all(config, environment);
    }
    let (errors, warnings) = context.into_problems(path, text, Rules::Configuration(vendors));
    match config {
        Some(config) if errors.is_empty() => Ok(Config { warnings, ..config }),
        _ => Err(ConfigErrors(errors)),
    }
}

fn whole(context: &Context, root: &Node, environment: &Environment<'_>) -> Config {
    let map = Map::new(context, Section::Root, Some(root), &root.place);
    let server = map.section("server", Section::Server);
    let store = map.section("store", Section::Store);
    let limits = limits(context, &map.section("limits", Section::Limits));
    let of_collection = map.section("collection", Section::Collection);
    let collection = account::Collection::read(&of_collection, context);
    let zero_hold = of_collection.duration("zero_hold");
    let otlp = if map.get("otlp").is_some() {
        otlp::read(context, &map.section("otlp", Section::Otlp), environment)
    } else {
        None
    };
    if let Some(otlp) = &otlp
        && !zero_hold.is_zero()
        && zero_hold < otlp.interval
    {
        let place = match of_collection.get("zero_hold") {
            Some(node) => &node.place,
            None => &of_collection.place,
        };
        let text = format!(
            "zero_hold of {} is shorter than otlp.interval ({}): a receiver would never see a new counter at 0",
            duration::show(zero_hold),
            duration::show(otlp.interval)
        );
        context.error(place, text);
    }
    // Its keys are looked at even if there is no provider to take them.
    let defaults = map.section("provider_defaults", Section::Provider);
    for name in ["name", "type"] {
        if let Some(node) = defaults.get(name) {
            context.error(
                &node.place,
                format!("{name} belongs to each provider, not to provider_defaults"),
            );
        }
    }
    let mut entries: Vec<Node> = Vec::new();
    if let Some(node) = map.get("providers") {
        entries.extend_from_slice(context.list("providers", node));
    }
    if let Some(node) = map.get("provider_files") {
        for pattern in context.list("provider_files", node) {
            if let Some(text) = context.text("provider_files", pattern) {
                provider_files(context, text, &pattern.place, environment, &mut entries);
            }
        }
    }
    let mut accounts: Vec<Account> = Vec::new();
    let mut names: HashMap<Arc<str>, Position> = HashMap::new();
    for entry in &entries {
        let merged = match map.get("provider_defaults") {
            Some(defaults) => entry.over(defaults),
            None => entry.clone(),
        };
        let Some(account) = account::read(context, &merged, &collection, &limits) else {
            continue;
        };
        match names.get(&account.name) {
            Some(first) => {
                let text = format!(
                    "a second provider with the name {}; the first one is at {first}",
                    account.name
                );
                context.error(&entry.place, text);
            }
            None => {
                names.insert(account.name.clone(), entry.place.clone());
                accounts.push(account);
            }
        }
    }
    if entries.is_empty() && context.errors.borrow().is_empty() {
        context.warn(
            &root.place,
            "there are no providers: nothing will be collected",
        );
    }
    let data = data_directory(environment);
    let label_names: BTreeSet<_> = accounts
        .iter()
        .flat_map(|account| account.labels.keys().cloned())
        .collect();
    Config {
        vendors: context.vendors,
        store: store_url(context, &store, data.as_deref()),
        lease: lease(context, &store),
        spool: match (&data, store.path("spool")) {
            (_, Some(spool)) => spool,
            (Some(data), None) => data.join(SPOOL),
            (None, None) => store.default_path("spool"),
        },
        replica: store.text("replica").unwrap_or_else(host_name),
        zero_hold,
        adopt_age: of_collection.duration("adopt_age"),
        limits,
        api_token: server.secret("api_token").map(|source| source.value),
        otlp,
        label_names: label_names.into_iter().collect(),
        accounts,
        warnings: Vec::new(),
    }
}

/// The variable in which systemd names the state directories of a service, separated by colons.
pub const STATE_DIRECTORY: &str = "STATE_DIRECTORY";
/// What is in a data directory.
const LEDGER: &str = "delivery.db";
const SPOOL: &str = "spool";

/// The data directory that the process was given; `None`: the defaults of the schema hold.
fn data_directory(environment: &Environment<'_>) -> Option<PathBuf> {
    let all = environment(STATE_DIRECTORY)?;
    let first = all.split(':').next().unwrap_or_default();
    (!first.is_empty()).then(|| PathBuf::from(first))
}

/// `store.url`; a wrong one is an error, and read as the default. `data` is the data directory, if the
/// process was given one.
fn store_url(context: &Context, map: &Map<'_>, data: Option<&Path>) -> StoreUrl {
    let read = |text: &str| StoreUrl::parse(text).map(|url| url.placed(|path| context.path(path)));
    let default = || {
        read(schema::default(Section::Store, "url"))
            .unwrap_or_else(|| StoreUrl::Sqlite(context.path("data/delivery.db")))
    };
    let Some(source) = map.secret("url") else {
        let Some(data) = data else {
            return default();
        };
        let ledger = data.join(LEDGER);
        // A ledger that is forgotten would begin all counters at 0 without a word.
        if let StoreUrl::Sqlite(former) = default()
            && former != ledger
            && former.exists()
            && !ledger.exists()
        {
            let text = format!(
                "there is a ledger at {}, which is not used: the data directory is {}; move it there, or name it with store.url",
                former.display(),
                data.display()
            );
            context.warn(&map.place, text);
        }
        return StoreUrl::Sqlite(ledger);
    };
    if let Some(url) = read(source.value.expose()) {
        return url;
    }
    let place = ["url", "url_file"]
        .into_iter()
        .find_map(|name| map.node_of(name))
        .map_or(&map.place, |node| &node.place);
    context.error(
        place,
        "store.url is no store; write sqlite:data/delivery.db, or postgres://user:password@host/database",
    );
    default()
}

fn lease(context: &Context, map: &Map<'_>) -> Duration {
    let lease = map.duration("lease");
    if lease < Duration::from_secs(3)
        && let Some(node) = map.get("lease")
    {
        context.error(
            &node.place,
            "lease has to be at least 3s: it is renewed several times before it ends",
        );
    }
    lease
}

fn limits(context: &Context, map: &Map<'_>) -> Limits {
    let max_label_length = map.size("max_label_length");
    if max_label_length < 32
        && let Some(node) = map.get("max_label_length")
    {
        context.error(
            &node.place,
            "max_label_length has to be at least 32: a cut value has to be told from others",
        );
    }
    Limits {
        max_label_length,
        max_series_per_account: map.size("max_series_per_account"),
        max_messages_per_account: map.size("max_messages_per_account"),
        max_campaigns_per_account: map.size("max_campaigns_per_account"),
        max_label_values: map.size("max_label_values"),
        max_response_bytes: map.count("max_response_bytes"),
    }
}

/// The host's name, which stays the same over restarts.
fn host_name() -> Arc<str> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    Arc::from(if name.is_empty() {
        "delivery-exporter"
    } else {
        name
    })
}

/// Adds the providers of all files that fit a pattern, in the order of their names.
fn provider_files(
    context: &Context,
    pattern: &str,
    place: &Position,
    environment: &Environment<'_>,
    entries: &mut Vec<Node>,
) {
    let whole = context.path(pattern);
    let paths = match glob::glob(&whole.to_string_lossy()) {
        Ok(paths) => paths,
        Err(error) => {
            context.error(place, format!("{pattern:?} is no pattern: {error}"));
            return;
        }
    };
    let mut found = false;
    for path in paths {
        found = true;
        let (path, text) = match path {
            Ok(path) => (
                path.clone(),
                files::read_text(&path, files::MAX_CONFIG).map_err(|error| error.to_string()),
            ),
            Err(error) => (error.path().to_owned(), Err(error.error().to_string())),
        };
        let text = match text {
            Ok(text) => text,
            Err(problem) => {
                context.error(place, format!("{}: {problem}", path.display()));
                continue;
            }
        };
        let file: Arc<Path> = path.as_path().into();
        let root = tree::parse(
            &file,
            &text,
            Some(environment),
            &mut context.errors.borrow_mut(),
        );
        context.sources.borrow_mut().push((file, text));
        if let Some(root) = root {
            if matches!(root.value, Tree::Map(_)) {
                context.error(
                    &root.place,
                    "has to be a list of providers: begin with \"- name: \"",
                );
            } else {
                entries.extend_from_slice(context.list("the file", &root));
            }
        }
    }
    if !found {
        context.warn(place, format!("no file fits the pattern {pattern}"));
    }
}

/// What a configuration is about, without a secret.
pub fn summary(config: &Config) -> String {
    let mut lines = Vec::new();
    for account in &config.accounts {
        let datasets: Vec<_> = account
            .collect
            .iter()
            .map(|dataset| dataset.as_str())
            .collect();
        let mut line = format!(
            "{}: {}, {}, every {}",
            account.name,
            account.vendor,
            datasets.join(", "),
            duration::show(account.interval)
        );
        if account.vendor.has_messages() {
            line.push_str(&format!(
                ", {} static messages",
                account.messages.fixed.len()
            ));
            for (count, what) in [
                (account.messages.files.len(), "patterns of files"),
                (account.messages.http.len(), "HTTP lists"),
            ] {
                if count > 0 {
                    line.push_str(&format!(", {count} {what}"));
                }
            }
            if account.messages.list {
                line.push_str(" and the vendor's list");
            }
        }
        lines.push(line);
    }
    if let Some(otlp) = &config.otlp {
        let protocol = match otlp.protocol {
            super::OtlpProtocol::HttpProtobuf => "http/protobuf",
            super::OtlpProtocol::Grpc => "grpc",
        };
        lines.push(format!(
            "otlp: {protocol}, every {}",
            duration::show(otlp.interval)
        ));
    }
    lines.push(format!(
        "the configuration is good: {} accounts\n",
        config.accounts.len()
    ));
    lines.join("\n")
}
