//! `--web.config.file`: TLS and users of the endpoints, in the file format of the Prometheus
//! exporter-toolkit.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    errors::{ConfigError, ConfigErrors, Place},
    read::Context,
    tree::{self, Node, Tree},
};
use crate::secret::Secret;

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

const CLIENT_AUTH: [(&str, ClientAuth); 5] = [
    ("NoClientCert", ClientAuth::None),
    ("RequestClientCert", ClientAuth::Request),
    ("RequireAnyClientCert", ClientAuth::RequireAny),
    ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
    ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
];

/// The headers that can be set.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "Strict-Transport-Security",
];

/// Reads the file. What it names is not looked at.
///
/// # Errors
///
/// Every problem, with its place.
pub fn web(path: &Path) -> Result<WebConfig, ConfigErrors> {
    let file: Arc<Path> = path.into();
    let mut errors = Vec::new();
    let root = match std::fs::read_to_string(path) {
        // A bcrypt hash is full of dollars: nothing is taken from the environment.
        Ok(text) => tree::parse(&file, &text, None, &mut errors),
        Err(error) => {
            let place = Place {
                file: file.clone(),
                line: 1,
                column: 1,
            };
            let text = format!("--web.config.file cannot be read: {error}");
            errors.push(ConfigError { place, text });
            None
        }
    };
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let context = Context::new(directory, errors);
    let config = root.map_or_else(WebConfig::default, |root| read(&context, &root));
    let mut errors = context.errors.into_inner();
    if errors.is_empty() {
        return Ok(config);
    }
    errors.sort();
    Err(ConfigErrors(errors))
}

fn read(context: &Context, root: &Node) -> WebConfig {
    let keys = [
        "tls_server_config",
        "http_server_config",
        "basic_auth_users",
    ];
    map(context, "the file", root, &keys);
    let tls = root
        .get("tls_server_config")
        .and_then(|own| tls(context, own));
    let mut config = WebConfig {
        tls,
        http2: true,
        ..WebConfig::default()
    };
    if let Some(http) = root.get("http_server_config") {
        map(context, "http_server_config", http, &["http2", "headers"]);
        config.http2 = truth(context, http, "http2", true);
        let headers = http.get("headers").into_iter();
        for (name, place, node) in headers.flat_map(|own| map(context, "headers", own, &HEADERS)) {
            let known = HEADERS.iter().find(|own| *own == name);
            if let (Some(known), Some(value)) = (known, context.text(name, node)) {
                match http::HeaderValue::from_str(value) {
                    Ok(_) => config.headers.push((known, Arc::from(value))),
                    Err(_) => context.error(place, format!("{name} is no header's value")),
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

fn tls(context: &Context, node: &Node) -> Option<WebTls> {
    let keys = [
        "cert_file",
        "key_file",
        "cert",
        "key",
        "client_ca_file",
        "client_ca",
        "client_auth_type",
        "min_version",
        "max_version",
        "cipher_suites",
        "curve_preferences",
        "prefer_server_cipher_suites",
    ];
    map(context, "tls_server_config", node, &keys);
    let certificate = pem(context, node, "cert", "cert_file");
    let key = pem(context, node, "key", "key_file");
    let client_ca = pem(context, node, "client_ca", "client_ca_file");
    for (there, name) in [(&certificate, "cert_file"), (&key, "key_file")] {
        if there.is_none() {
            context.error(&node.place, format!("tls_server_config needs {name}"));
        }
    }
    let client_auth = word(context, node, "client_auth_type", &CLIENT_AUTH).unwrap_or_default();
    let verifies = matches!(
        client_auth,
        ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify
    );
    if verifies != client_ca.is_some() {
        let text = if verifies {
            "client_auth_type needs client_ca_file"
        } else {
            "client_ca_file needs a client_auth_type that verifies: VerifyClientCertIfGiven or RequireAndVerifyClientCert"
        };
        context.error(&node.place, text);
    }
    let versions = [("TLS12", 12), ("TLS13", 13)];
    let least = word(context, node, "min_version", &versions).unwrap_or(12);
    let most = word(context, node, "max_version", &versions).unwrap_or(13);
    if least > most {
        context.error(&node.place, "min_version is above max_version");
    }
    // A server's preference is always kept.
    truth(context, node, "prefer_server_cipher_suites", true);
    Some(WebTls {
        certificate: certificate?,
        key: key?,
        client_auth,
        client_ca,
        tls12: least == 12,
        tls13: most == 13,
        cipher_suites: texts(context, node, "cipher_suites"),
        curves: texts(context, node, "curve_preferences"),
    })
}

/// The entries of a mapping; nothing is an empty one.
fn entries<'n>(context: &Context, title: &str, node: &'n Node) -> &'n [(String, Place, Node)] {
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
) -> &'n [(String, Place, Node)] {
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

fn pem(context: &Context, node: &Node, text: &str, file: &str) -> Option<Pem> {
    let of = |name: &str| {
        let own = node.get(name)?;
        // The toolkit takes an empty text for none.
        let empty = matches!(&own.value, Tree::Scalar { text, .. } if text.is_empty());
        if empty { None } else { context.text(name, own) }
    };
    match (of(text), of(file)) {
        (Some(_), Some(_)) => {
            context.error(&node.place, format!("{text} and {file} exclude each other"));
            None
        }
        (Some(text), None) => Some(Pem::Text(Secret::new(text))),
        (None, Some(path)) => Some(Pem::File(context.path(path))),
        (None, None) => None,
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
    let words = [("true", true), ("false", false)];
    word(context, node, name, &words).unwrap_or(default)
}

fn texts(context: &Context, node: &Node, name: &str) -> Vec<Arc<str>> {
    let items = node
        .get(name)
        .map_or(&[][..], |own| context.list(name, own));
    let texts = items.iter().filter_map(|item| context.text(name, item));
    texts.map(Arc::from).collect()
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
            "tls_server_config:\n  cert_file: a.crt\n  client_ca_file: ca.crt\n  client_allowed_sans: [x]\n  min_version: TLS10\n\
             http_server_config:\n  headers:\n    X-Other: y\nbasic_auth_users:\n  bob: secret\n  a:b: $2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze\nrate_limit: {}\n",
        )
        .unwrap_err();
        for told in [
            "web.yml:2:3: tls_server_config needs key_file",
            "web.yml:2:3: client_ca_file needs a client_auth_type that verifies",
            "web.yml:4:3: client_allowed_sans is no key of tls_server_config",
            "web.yml:5:16: min_version: \"TLS10\" is none of TLS12, TLS13",
            "web.yml:8:5: X-Other is no key of headers",
            "web.yml:10:8: is no bcrypt hash",
            "web.yml:11:3: a user's name cannot have a colon",
            "web.yml:12:1: rate_limit is no key of the file",
        ] {
            assert!(errors.contains(told), "{told}: {errors}");
        }
        assert!(!errors.contains("secret"), "{errors}");
    }
}
