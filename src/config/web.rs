//! `--web.config.file`: TLS and users of the endpoints, in the file format of the Prometheus
//! exporter-toolkit.

mod tls;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    errors::{ConfigErrors, Position, Problem},
    excerpt::Rules,
    read::Context,
    tree::{self, Node, Tree},
};
use crate::{files, secret::Secret};
use tls::tls;

/// What the file says.
#[derive(Clone, Debug, Default)]
pub struct WebConfig {
    /// TLS; without it, connections are plain.
    pub tls: Option<WebTls>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// Headers of every answer.
    pub headers: Vec<(&'static str, Arc<str>)>,
    /// The bcrypt hashes of passwords, by user; none: everybody may read.
    pub users: BTreeMap<Arc<str>, Arc<str>>,
    /// How often all clients together may ask; none: as often as they like.
    pub rate_limit: Option<WebRateLimit>,
    /// What is odd and no error.
    pub warnings: Vec<Problem>,
}

/// `rate_limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebRateLimit {
    /// One more request in such a time.
    pub interval: Duration,
    /// So many at once after a pause; 0 refuses all.
    pub burst: u32,
}

/// `tls_server_config`.
#[derive(Clone, Debug)]
pub struct WebTls {
    /// The certificate with its chain.
    pub certificate: Pem,
    /// Its key.
    pub key: Pem,
    /// What clients have to show.
    pub client_auth: ClientAuth,
    /// Who signs their certificates.
    pub client_ca: Option<Pem>,
    /// The names of which a client's certificate has to have one; none: any will do.
    pub allowed_sans: Option<Vec<Arc<str>>>,
    /// Whether TLS 1.2 is spoken.
    pub tls12: bool,
    /// Whether TLS 1.3 is spoken.
    pub tls13: bool,
    /// The cipher suites of TLS 1.2, by their names; none: the library's.
    pub cipher_suites: Vec<Arc<str>>,
    /// The groups of key exchange, by the names that Go gives them; none: the library's.
    pub curves: Vec<Arc<str>>,
}

/// A PEM file, or its text.
#[derive(Clone, Debug)]
pub enum Pem {
    /// Where it is.
    File(PathBuf),
    /// Its text.
    Text(Secret),
}

/// `client_auth_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// No certificate.
    #[default]
    None,
    /// Any certificate, or none.
    Request,
    /// Any certificate.
    RequireAny,
    /// A certificate of the CA, or none.
    VerifyIfGiven,
    /// A certificate of the CA.
    RequireAndVerify,
}

/// The headers that can be set, with the values that they can have; none: any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-XSS-Protection", &[]),
    ("Strict-Transport-Security", &[]),
];

/// Reads the file. What it names is not looked at.
///
/// # Errors
///
/// Every problem, with its place.
pub fn web(path: &Path) -> Result<WebConfig, ConfigErrors> {
    let file: Arc<Path> = path.into();
    let mut errors = Vec::new();
    let mut text = String::new();
    let root = match files::read_text(path, files::MAX_WEB_CONFIG) {
        // A bcrypt hash is full of dollars: nothing is taken from the environment.
        Ok(read) => {
            text = read;
            tree::parse(&file, &text, None, &mut errors)
        }
        Err(error) => {
            let place = Position {
                file: file.clone(),
                line: 1,
                column: 1,
            };
            let text = format!("--web.config.file cannot be read: {error}");
            errors.push(Problem::new(place, text));
            None
        }
    };
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let context = Context::new(&[], directory, errors);
    let config = root.map_or_else(WebConfig::default, |root| {
        let config = read(&context, &root);
        if let Some(tls) = &config.tls
            && let Pem::File(path) = &tls.key
        {
            let section = root.get("tls_server_config");
            let node = section.and_then(|section| section.get("key_file"));
            let place = node.map_or(&root.place, |node| &node.place);
            context.warn_if_readable("key_file", place, path);
        }
        config
    });
    let (errors, warnings) = context.into_problems(path, &text, Rules::Web);
    if errors.is_empty() {
        return Ok(WebConfig { warnings, ..config });
    }
    Err(ConfigErrors(errors))
}

fn read(context: &Context, root: &Node) -> WebConfig {
    let keys = [
        "tls_server_config",
        "http_server_config",
        "basic_auth_users",
        "rate_limit",
    ];
    map(context, "the file", root, &keys);
    let http2 = root
        .get("http_server_config")
        .is_none_or(|http| truth(context, http, "http2", true));
    let tls = root
        .get("tls_server_config")
        .and_then(|own| tls(context, own, http2));
    let mut config = WebConfig {
        tls,
        http2,
        rate_limit: root
            .get("rate_limit")
            .and_then(|own| rate_limit(context, own)),
        ..WebConfig::default()
    };
    if let Some(http) = root.get("http_server_config") {
        map(context, "http_server_config", http, &["http2", "headers"]);
        let headers = http.get("headers").into_iter();
        let names = HEADERS.map(|(name, _)| name);
        for (name, place, node) in headers.flat_map(|own| map(context, "headers", own, &names)) {
            let known = HEADERS.iter().find(|(own, _)| own == name);
            if let (Some((known, values)), Some(value)) = (known, context.text(name, node)) {
                if http::HeaderValue::from_str(value).is_err() {
                    context.error(place, format!("{name} is no header's value"));
                } else if !values.is_empty() && !values.contains(&value) {
                    let text = format!("{name}: {value:?} is none of {}", values.join(", "));
                    context.error(&node.place, text);
                } else {
                    config.headers.push((known, Arc::from(value)));
                }
            }
        }
    }
    let users = root.get("basic_auth_users").into_iter();
    for (name, place, node) in users.flat_map(|own| entries(context, "basic_auth_users", own)) {
        let Some(hash) = context.text("a password's hash", node) else {
            continue;
        };
        if name.contains(':') {
            context.error(place, "a user's name cannot have a colon");
        } else if hash.parse::<bcrypt::HashParts>().is_err() {
            context.error(
                &node.place,
                "is no bcrypt hash; make one with: htpasswd -nBC 10 \"\"",
            );
        } else {
            config.users.insert(Arc::from(&**name), Arc::from(hash));
        }
    }
    config
}

/// `rate_limit`; an interval of 0 is no limit.
fn rate_limit(context: &Context, node: &Node) -> Option<WebRateLimit> {
    map(context, "rate_limit", node, &["interval", "burst"]);
    let value = |name: &str, want: &str| {
        let own = node.get(name)?;
        Some((own, context.text(name, own)?, want.to_owned()))
    };
    let mut interval = Duration::ZERO;
    if let Some((own, text, want)) = value("interval", "duration; write it like 1s or 250ms") {
        match go_duration(text) {
            Some(read) => interval = read,
            None => context.error(&own.place, format!("interval: {text:?} is no {want}")),
        }
    }
    let mut burst = 0;
    if let Some((own, text, want)) = value("burst", "whole number of at least 0") {
        match text.parse() {
            Ok(read) => burst = read,
            Err(_) => context.error(&own.place, format!("burst: {text:?} is no {want}")),
        }
    }
    (!interval.is_zero()).then_some(WebRateLimit { interval, burst })
}

/// A duration as Go writes it: `1.5s`, `1m30s`, `250ms`; a bare number is one of nanoseconds.
fn go_duration(text: &str) -> Option<Duration> {
    if let Ok(nanoseconds) = text.parse() {
        return Some(Duration::from_nanos(nanoseconds));
    }
    let units = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("μs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = rest.split_at(end.unwrap_or(rest.len()));
        seconds += number * units.iter().find(|(name, _)| *name == unit)?.1;
        rest = after;
    }
    (!text.is_empty()).then_some(())?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The entries of a mapping; nothing is an empty one.
fn entries<'n>(context: &Context, title: &str, node: &'n Node) -> &'n [(String, Position, Node)] {
    match &node.value {
        Tree::Map(entries) => entries,
        Tree::Null => &[],
        _ => {
            let what = node.describe();
            context.error(
                &node.place,
                format!("{title} has to be a mapping, not {what}"),
            );
            &[]
        }
    }
}

/// The entries of a mapping with these keys: others are errors.
fn map<'n>(
    context: &Context,
    title: &str,
    node: &'n Node,
    keys: &[&str],
) -> &'n [(String, Position, Node)] {
    let entries = entries(context, title, node);
    for (name, place, _) in entries {
        if !keys.contains(&name.as_str()) {
            let keys = keys.join(", ");
            context.error(
                place,
                format!("{name} is no key of {title} in this version: {keys}"),
            );
        }
    }
    entries
}

/// The toolkit takes an empty text for none.
fn is_empty(node: &Node) -> bool {
    match &node.value {
        Tree::Null => true,
        Tree::Scalar { text, .. } => text.is_empty(),
        _ => false,
    }
}

fn word<T: Copy>(context: &Context, node: &Node, name: &str, words: &[(&str, T)]) -> Option<T> {
    let own = node.get(name)?;
    let text = context.text(name, own)?;
    let found = words.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        context.error(
            &own.place,
            format!("{name}: {text:?} is none of {}", words.join(", ")),
        );
    }
    found.map(|(_, value)| *value)
}

fn truth(context: &Context, node: &Node, name: &str, default: bool) -> bool {
    let words = [
        ("true", true),
        ("false", false),
        ("yes", true),
        ("no", false),
        ("on", true),
        ("off", false),
    ];
    word(context, node, name, &words).unwrap_or(default)
}

/// The texts of a list, each one of `words`; without words any.
fn texts(context: &Context, node: &Node, name: &str, words: &[&str]) -> Vec<Arc<str>> {
    let items = node
        .get(name)
        .map_or(&[][..], |own| context.list(name, own));
    let mut texts = Vec::new();
    for item in items {
        match context.text(name, item) {
            Some(text) if !words.is_empty() && !words.contains(&text) => {
                let text = format!("{name}: {text:?} is none of {}", words.join(", "));
                context.error(&item.place, text);
            }
            text => texts.extend(text.map(Arc::from)),
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<WebConfig, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        std::fs::write(&path, text).unwrap();
        let place = format!("{}/", directory.path().display());
        web(&path).map_err(|errors| errors.to_string().replace(&place, ""))
    }

    #[test]
    fn the_toolkits_file_is_read() {
        let config = read_text(
            "tls_server_config:\n  cert_file: a.crt\n  key_file: /k/a.key\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  min_version: TLS13\n\
             http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n\
             basic_auth_users:\n  alice: $2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze\n",
        )
        .unwrap();
        let tls = config.tls.unwrap();
        assert!(
            matches!(tls.certificate, Pem::File(path) if path.ends_with("a.crt") && path.is_absolute())
        );
        assert!(matches!(tls.key, Pem::File(path) if path == Path::new("/k/a.key")));
        assert_eq!(tls.client_auth, ClientAuth::RequireAndVerify);
        assert!(!tls.tls12 && tls.tls13 && !config.http2);
        assert_eq!(config.headers, [("X-Frame-Options", Arc::from("deny"))]);
        assert!(config.users.contains_key("alice"));
        let empty = read_text("").unwrap();
        assert!(empty.tls.is_none() && empty.users.is_empty() && empty.http2);
    }

    #[test]
    fn every_problem_is_told_with_its_place() {
        let errors = read_text(
            "tls_server_config:\n  cert_file: a.crt\n  client_ca_file: ca.crt\n  client_allowed_sans: [x]\n  min_version: TLS9\n\
             http_server_config:\n  headers:\n    X-Other: y\nbasic_auth_users:\n  bob: secret\n  a:b: $2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze\nrate_limit: {interval: 5x, burst: -1}\n",
        )
        .unwrap_err();
        for told in [
            "web.yml:2:3: tls_server_config needs key_file",
            "web.yml:2:3: client_ca_file needs a client_auth_type",
            "web.yml:2:3: client_allowed_sans needs a client_auth_type",
            "web.yml:5:16: min_version: \"TLS9\" is none of TLS10, TLS11, TLS12, TLS13",
            "web.yml:8:5: X-Other is no key of headers",
            "web.yml:10:8: is no bcrypt hash",
            "web.yml:11:3: a user's name cannot have a colon",
            "web.yml:12:24: interval: \"5x\" is no duration",
            "web.yml:12:35: burst: \"-1\" is no whole number",
        ] {
            assert!(errors.contains(told), "{told}: {errors}");
        }
        assert!(!errors.contains("secret"), "{errors}");
    }
}
