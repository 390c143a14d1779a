mod hostile;
mod report;

use std::{collections::HashMap, fs, path::Path};

use super::*;
use crate::providers::VENDORS;

fn with(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let environment: HashMap<_, _> = environment.iter().copied().collect();
    parse(Path::new("config.yaml"), text, &|name| {
        environment.get(name).map(ToString::to_string)
    })
}

/// The secret of an account that has an API key.
fn api_key(account: &Account) -> crate::secret::SecretSource {
    let mut form = account.credentials.form_secrets();
    let (name, source) = form.next().unwrap();
    assert_eq!((name, form.next().is_none()), ("api_key", true));
    source.clone()
}

fn good(text: &str) -> Config {
    with(text, &[]).unwrap_or_else(|errors| panic!("{errors}"))
}

const MINIMAL: &str = "
providers:
  - name: mail
    type: infobip_email
    credentials: {api_key: k}
";

#[test]
fn the_defaults_are_the_contracts() {
    let config = good(MINIMAL);
    assert_eq!(config.limits.max_series_per_account, 100_000);
    assert_eq!(config.limits.max_campaigns_per_account, 200);
    assert_eq!(config.limits.max_label_values, 100);
    assert!(config.otlp.is_none());
    assert!(config.spool.ends_with("data/spool"));
    let account = &config.accounts[0];
    assert_eq!(account.base_url.as_str(), "https://api.infobip.com/");
    assert_eq!(account.interval.as_secs(), 60);
    assert_eq!(account.timeout.as_secs(), 10);
    assert_eq!(account.stale_after.as_secs(), 900);
    assert_eq!(
        (
            account.rate_limit.requests_per_second,
            account.rate_limit.burst
        ),
        (5.0, 10)
    );
    assert_eq!(account.max_concurrency, 4);
    assert_eq!(
        account.collect,
        [crate::providers::dataset("reports").unwrap()]
    );
    assert_eq!(&*account.applications[0].name, "mail");
    assert_eq!(account.max_response_bytes, 67_108_864);
    assert_eq!(account.per_message.max_messages, 50);
    let engagelab = good(
        "providers: [{name: e, type: engagelab, base_url: 'https://x.example', credentials: {app_key: a, master_secret: b}}]",
    );
    assert_eq!(
        engagelab.accounts[0].messages.max_age.as_secs(),
        29 * 86_400
    );
}

#[test]
fn provider_defaults_lie_under_each_provider_key_by_key() {
    let config = good(
        "
provider_defaults:
  timeout: 3s
  labels: {team: crm, tier: gold}
  rate_limit: {burst: 2}
  credentials: {api_key: shared}
providers:
  - {name: a, type: infobip_email, labels: {team: own}}
  - {name: b, type: infobip_email, timeout: 4s, rate_limit: {requests_per_second: 1}, labels: {region: eu}}
",
    );
    let [a, b] = config.accounts.as_slice() else {
        panic!()
    };
    assert_eq!((a.timeout.as_secs(), b.timeout.as_secs()), (3, 4));
    assert_eq!(
        (b.rate_limit.requests_per_second, b.rate_limit.burst),
        (1.0, 2)
    );
    assert_eq!(
        (a.labels["team"].as_ref(), b.labels["team"].as_ref()),
        ("own", "crm")
    );
    let names: Vec<_> = config.label_names.iter().map(AsRef::as_ref).collect();
    assert_eq!(names, ["region", "team", "tier"]);
}

#[test]
fn values_come_from_the_environment_and_never_change_the_structure() {
    let text = "providers: [{name: \"${NAME}\", type: infobip_email, credentials: {api_key: '${KEY}'}, labels: {price: $$5}}]";
    let key = "a: {b: [c # not yaml";
    let config = with(text, &[("NAME", "mail"), ("KEY", key)]).unwrap();
    let account = &config.accounts[0];
    assert_eq!((&*account.name, &*account.labels["price"]), ("mail", "$5"));
    let secret = api_key(account);
    assert_eq!(secret.value.expose(), key);
    let error = with(text, &[("NAME", "mail")]).unwrap_err().to_string();
    assert_eq!(
        error,
        "config.yaml:1:75: the environment has no variable KEY; set it, or write $$ for a dollar"
    );
}

#[test]
fn ids_of_nineteen_digits_stay_as_they_are_with_and_without_quotes() {
    let config = good(
        "
providers:
  - name: push
    type: infobip_push
    credentials: {username: u, password: p}
    applications: [{id: 1}]
    messages: {static: [3813836816344707101, '3813836816344707102', {id: 0042, sent_at: 2026-11-01T10:00:00Z}]}
",
    );
    let ids: Vec<_> = config.accounts[0]
        .messages
        .fixed
        .iter()
        .map(|own| own.id.as_ref())
        .collect();
    assert_eq!(ids, ["3813836816344707101", "3813836816344707102", "0042"]);
}

#[test]
fn secrets_come_from_files_without_their_line_end_and_are_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("key"), "s3cr3t\n").unwrap();
    let path = directory.path().join("config.yaml");
    fs::write(&path, MINIMAL.replace("api_key: k", "api_key_file: key")).unwrap();
    let config = load(&path, &|_| None).unwrap();
    let secret = api_key(&config.accounts[0]);
    assert_eq!(secret.value.expose(), "s3cr3t");
    assert!(!format!("{config:?}").contains("s3cr3t"));
    assert!(!summary(&config).contains("s3cr3t"));
    fs::write(directory.path().join("key"), "rotated\r\n").unwrap();
    assert_eq!(secret.reread().unwrap().unwrap().expose(), "rotated");
}

#[test]
fn a_secret_that_others_can_read_is_warned_of_once_without_its_content() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str, mode| {
        use std::os::unix::fs::PermissionsExt;
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    write("key", "s3cr3t", 0o644);
    write("headers", "X-Key: s3cr3t", 0o644);
    write("token", "s3cr3t", 0o600);
    let text = "server: {api_token_file: token}
otlp: {headers_file: headers}
provider_defaults: {credentials: {api_key_file: key}, base_url: 'https://x.example'}
providers: [{name: a, type: infobip_email}, {name: b, type: infobip_email}]
";
    let path = directory.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    let config = load(&path, &|_| None).unwrap();
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for (place, name) in [
        ("2:22: headers_file", "headers"),
        ("3:49: api_key_file", "key"),
    ] {
        let file = directory.path().join(name);
        let file = file.display();
        let expected = format!(
            "{}:{place}: {file} can be read by every user of this machine (mode 0644); run: chmod 600 {file}",
            path.display()
        );
        assert!(warnings.contains(&expected), "{expected}\n{warnings:?}");
    }
    let reports = config.warnings.iter().map(|own| own.report("warning"));
    let told = reports.collect::<String>() + &summary(&config);
    assert!(
        told.contains("help: run: chmod 600") && !told.contains("s3cr3t"),
        "{told}"
    );
}

#[test]
fn more_providers_come_from_other_files_with_errors_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("providers.d")).unwrap();
    let path = directory.path().join("config.yaml");
    fs::write(
        &path,
        format!("provider_files: [providers.d/*.yaml, none/*]{MINIMAL}"),
    )
    .unwrap();
    let other = directory.path().join("providers.d/a.yaml");
    fs::write(
        &other,
        "- {name: other, type: infobip_email, credentials: {token: t}}\n",
    )
    .unwrap();
    let config = load(&path, &|_| None).unwrap();
    let names: Vec<_> = config
        .accounts
        .iter()
        .map(|account| account.name.as_ref())
        .collect();
    assert_eq!(names, ["mail", "other"]);
    assert!(
        config.warnings[0].text.contains("none/*"),
        "{:?}",
        config.warnings
    );
    fs::write(
        &other,
        "- {name: mail, type: infobip_email, credentials: {token: t}}\n",
    )
    .unwrap();
    let error = load(&path, &|_| None).unwrap_err().to_string();
    assert!(
        error.contains("a.yaml:1:3: a second provider with the name mail"),
        "{error}"
    );
}

#[test]
fn otlp_values_come_from_the_file_then_the_environment_then_the_defaults() {
    let otlp = |text: &str, environment: &[(&str, &str)]| {
        with(&format!("{text}{MINIMAL}"), environment)
            .unwrap()
            .otlp
            .unwrap()
    };
    let plain = otlp("otlp: {}", &[]);
    assert_eq!(
        plain.metrics_endpoint.as_str(),
        "http://localhost:4318/v1/metrics"
    );
    assert_eq!(
        (plain.protocol, plain.gzip, plain.max_points_per_request),
        (OtlpProtocol::HttpProtobuf, true, 2000)
    );
    assert_eq!(otlp("otlp:", &[]).interval.as_secs(), 60);
    let grpc = otlp("otlp: {protocol: grpc}", &[]);
    assert_eq!(grpc.metrics_endpoint.as_str(), "http://localhost:4317/");
    let environment = [
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "https://collector.example:4318/base/",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "https://traces.example/own",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20x, tenant=a",
        ),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
    ];
    let set = otlp("otlp: {}", &environment);
    assert_eq!(
        set.metrics_endpoint.as_str(),
        "https://collector.example:4318/base/v1/metrics"
    );
    assert_eq!(set.traces_endpoint.as_str(), "https://traces.example/own");
    let headers: Vec<_> = set
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect();
    assert_eq!(headers, [("authorization", "Bearer x"), ("tenant", "a")]);
    assert_eq!((set.timeout.as_millis(), set.gzip), (2500, false));
    let file = otlp(
        "otlp: {endpoint: 'http://own:1', compression: gzip, headers: {a: b}}",
        &environment,
    );
    assert_eq!(file.metrics_endpoint.as_str(), "http://own:1/v1/metrics");
    assert_eq!(file.traces_endpoint.as_str(), "http://own:1/v1/traces");
    assert_eq!((file.gzip, file.headers.len()), (true, 1));
    let bad = with(
        &format!("otlp: {{}}{MINIMAL}"),
        &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")],
    );
    assert!(
        bad.unwrap_err()
            .to_string()
            .contains("OTEL_EXPORTER_OTLP_PROTOCOL")
    );
    assert!(
        good(MINIMAL).otlp.is_none(),
        "the section switches the push on"
    );
}

/// The golden files of bad configurations: `<name>.yaml` and what is said about it, `<name>.txt`.
/// `UPDATE_GOLDEN=1` writes what is said now.
#[test]
fn bad_configurations_are_refused_in_words_that_help() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut files = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        files += 1;
        let text = fs::read_to_string(&path).unwrap();
        let name = Path::new(path.file_name().unwrap());
        let errors = parse(name, &text, &|_| None).err();
        let said = format!(
            "{}\n",
            errors.unwrap_or_else(|| panic!("{} is good", path.display()))
        );
        assert!(!said.contains("hunter2"), "a secret is shown: {said}");
        let golden = path.with_extension("txt");
        if update {
            fs::write(&golden, &said).unwrap();
        }
        assert_eq!(
            said,
            fs::read_to_string(&golden).unwrap_or_default(),
            "{}",
            path.display()
        );
    }
    assert!(files >= 15, "{files}");
}

#[test]
fn no_text_makes_the_reader_panic() {
    for text in [
        "",
        "~",
        "[]",
        "- a",
        "a",
        "\u{feff}providers: []",
        "providers: {",
        "? [a]: b",
        "&a *a",
        "a: *b",
        "providers: [[]]",
        "providers: [~]",
        "providers:\n\t- x",
        "%YAML 1.2\n---\n...",
        "---\n---\n",
        "providers: [{name: a, type: infobip_push, credentials: [1], applications: {a: b}, messages: 7}]",
        "otlp: 7",
        "limits: [1]",
        "{a: {a: {a: {a: {a: {a: {a: 1}}}}}}}",
        "a: \"\\xZZ\"",
        "providers: ${",
    ] {
        let _ = with(text, &[]);
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(with(&deep, &[]).is_err());
}

#[test]
fn the_sample_at_the_root_is_good_and_names_every_key_and_vendor() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("config.yaml")).unwrap();
    let (head, _) = text.split_once("\nproviders:\n").unwrap();
    let samples: Vec<_> = VENDORS.iter().map(|vendor| vendor.sample).collect();
    let whole = format!("{head}\nproviders:\n{}", samples.join("\n"));
    crate::golden::assert_current("config.yaml", &whole);
    let config =
        load(&root.join("config.yaml"), &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let types: Vec<_> = config
        .accounts
        .iter()
        .map(|account| account.vendor)
        .collect();
    assert_eq!(types, VENDORS);
    let text = fs::read_to_string(root.join("config.yaml")).unwrap();
    let sections = schema::Section::ALL.into_iter();
    for key in sections.flat_map(|section| schema::keys(VENDORS, section)) {
        assert!(
            text.contains(&format!("{}:", key.name))
                || text.contains(&format!("{},", key.name))
                || text.contains(&format!("or {}", key.name)),
            "{}",
            key.name
        );
    }
}

#[test]
fn the_reference_page_is_current() {
    crate::golden::assert_current("docs/configuration.md", &reference(VENDORS));
}

#[test]
fn a_key_that_vendors_share_has_the_help_of_each() {
    use crate::providers::{Vendor, Vendors, vendor::ConfigKey};
    let like = |name: &'static str, help: &'static str| -> &'static Vendor {
        let form: &'static [ConfigKey] = Box::leak(Box::new([ConfigKey::secret("key", help)]));
        Box::leak(Box::new(Vendor {
            name,
            credentials: Box::leak(Box::new([form])),
            ..*VENDORS[0]
        }))
    };
    let vendors: Vendors = Box::leak(Box::new([
        like("first", "the one on the box."),
        like("second", "the one below it."),
        like("third", ""),
        like("fourth", "the one on the box."),
    ]));
    let row = "| `key`, `key_file` | secret |  | first, fourth: the one on the box. second: the one below it. third. |";
    let reference = reference(vendors);
    assert!(reference.contains(row), "{reference}");
}
