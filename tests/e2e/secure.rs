//! `--web.config.file`: TLS and users, as a real Prometheus and curl meet them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use super::{
    command::run,
    harness::{Exporter, eventually},
    prometheus::Prometheus,
};

/// An authority, and what it has signed.
pub struct Authority {
    directory: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(directory: &Path) -> Authority {
        let mut parameters = CertificateParams::default();
        // Another name than those of what it signs, which would look signed by themselves.
        parameters
            .distinguished_name
            .push(DnType::CommonName, "authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer =
            CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        fs::write(directory.join("ca.crt"), issuer.pem()).unwrap();
        Authority {
            directory: directory.to_owned(),
            issuer,
        }
    }

    /// What is signed by it can be trusted by these.
    pub fn certificates(&self) -> [CertificateDer<'static>; 1] {
        [self.issuer.der().clone()]
    }

    /// Signs `<name>.crt`, with the key in `<name>.key`.
    pub fn sign(&self, name: &str) {
        let names = vec!["127.0.0.1".to_owned(), name.to_owned()];
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap();
        let certificate = certificate.signed_by(&key, &self.issuer).unwrap();
        fs::write(
            self.directory.join(format!("{name}.crt")),
            certificate.pem(),
        )
        .unwrap();
        fs::write(
            self.directory.join(format!("{name}.key")),
            key.serialize_pem(),
        )
        .unwrap();
    }
}

/// What curl got: the status (0 without one), the HTTP version, and the body.
pub fn curl(directory: &Path, address: &str, arguments: &[&str]) -> (u16, String, String) {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--max-time",
            "20",
            "--write-out",
            "\n%{http_code} %{http_version}",
        ])
        .args(arguments)
        .arg(address)
        .current_dir(directory)
        .output()
        .expect("curl starts; tests/run says what to install");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, end) = text.rsplit_once('\n').unwrap();
    let (status, version) = end.split_once(' ').unwrap();
    (status.parse().unwrap(), version.to_owned(), body.to_owned())
}

/// A user's line, with a hash that is quick to check.
pub fn user(name: &str, password: &str) -> String {
    format!(
        "basic_auth_users:\n  {name}: {}\n",
        bcrypt::hash(password, 4).unwrap()
    )
}

const TLS: &str = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n";
const TRUST: &[&str] = &["--cacert", "ca.crt"];

async fn start(directory: &Path) -> (Exporter, String) {
    let config = json!({
        "server": {"api_token": "a-token-of-the-api"},
        "store": super::world::store(directory),
        "providers": [{"name": "push", "type": "infobip_push", "base_url": "http://127.0.0.1:9",
            "credentials": {"api_key": "k"}, "applications": [{"id": "app"}]}],
    });
    let config: Value = config;
    let flags = ["--web.config.file=web.yml"];
    let exporter = Exporter::start_with(directory, &config.to_string(), &flags).await;
    let address = exporter.base.replace("http://", "https://");
    (exporter, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_by_tls_as_a_user_and_others_get_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let authority = Authority::new(directory);
    authority.sign("server");
    let headers = "http_server_config: {headers: {X-Frame-Options: deny}}\n";
    let web = format!("{TLS}{headers}{}", user("reader", "a-password"));
    fs::write(directory.join("web.yml"), &web).unwrap();
    let (exporter, address) = start(directory).await;
    let metrics = format!("{address}/metrics");
    let with = |more: &[&str]| {
        let arguments = [TRUST, more].concat();
        curl(directory, &metrics, &arguments)
    };
    let (status, version, body) = with(&["--user", "reader:a-password"]);
    assert_eq!((status, version.as_str()), (200, "2"));
    assert!(body.contains("delivery_exporter_build_info"));
    assert_eq!(with(&["--user", "reader:a-password", "--http1.1"]).1, "1.1");
    for other in [
        &["--user", "reader:wrong"][..],
        &["--user", "nobody:a-password"],
        &["--user", "reader:"],
        &[],
    ] {
        let (status, _, body) = with(&[&["--include"], other].concat());
        assert_eq!(status, 401, "{other:?}");
        let body = body.to_lowercase();
        assert!(body.contains("www-authenticate: basic") && body.contains("x-frame-options: deny"));
        assert!(!body.contains("delivery_exporter"));
    }
    // Every endpoint but those with a token of their own.
    for path in ["/", "/-/healthy", "/-/ready", "/probe"] {
        assert_eq!(
            curl(directory, &format!("{address}{path}"), TRUST).0,
            401,
            "{path}"
        );
    }
    let status_of_api = |header: &str| {
        let arguments = [TRUST, &["--header", header]].concat();
        curl(directory, &format!("{address}/api/v1/status"), &arguments).0
    };
    assert_eq!(
        status_of_api("Authorization: Bearer a-token-of-the-api"),
        200
    );
    assert_eq!(status_of_api("Authorization: Bearer another"), 401);
    // Without the authority's certificate, and without TLS.
    assert_eq!(curl(directory, &metrics, &[]).0, 0);
    let (status, _, body) = curl(directory, &exporter.base, &[]);
    assert_eq!(
        (status, body.as_str()),
        (400, "This server speaks HTTPS.\n")
    );

    let port = address.rsplit(':').next().unwrap();
    let scrape = json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "delivery", "scheme": "https",
            "tls_config": {"ca_file": directory.join("ca.crt")},
            "basic_auth": {"username": "reader", "password": "a-password"},
            "static_configs": [{"targets": [format!("127.0.0.1:{port}")]}]}],
    });
    let prometheus = Prometheus::start_with(directory, &scrape.to_string()).await;
    eventually("Prometheus has scraped", async || {
        (prometheus.target().await["health"] == "up").then_some(())
    })
    .await;

    // A renewed certificate and another user, without a restart; a bad file leaves them.
    let old = fs::read_to_string(directory.join("ca.crt")).unwrap();
    let authority = Authority::new(directory);
    authority.sign("server");
    let web = format!("{TLS}{}", user("other", "another-password"));
    fs::write(directory.join("web.yml"), web).unwrap();
    eventually("the new certificate is used", async || {
        (with(&["--user", "other:another-password"]).0 == 200).then_some(())
    })
    .await;
    assert_eq!(with(&["--user", "reader:a-password"]).0, 401);
    fs::write(directory.join("old.crt"), old).unwrap();
    assert_eq!(curl(directory, &metrics, &["--cacert", "old.crt"]).0, 0);
    fs::write(
        directory.join("web.yml"),
        "tls_server_config: {cert_file: gone.crt, key_file: x}\n",
    )
    .unwrap();
    eventually("the bad file is told of", async || {
        assert_eq!(with(&["--user", "other:another-password"]).0, 200);
        exporter.log().contains("the old one stays").then_some(())
    })
    .await;
    let log = exporter.log();
    assert!(!log.contains("a-password") && !log.contains("$2"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_certificates_where_they_have_to() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let foreign = tempfile::tempdir().unwrap();
    Authority::new(foreign.path()).sign("stranger");
    for file in ["stranger.crt", "stranger.key"] {
        fs::copy(foreign.path().join(file), directory.join(file)).unwrap();
    }
    let authority = Authority::new(directory);
    authority.sign("server");
    authority.sign("client");
    let own: &[&str] = &["--cert", "client.crt", "--key", "client.key"];
    let strange: &[&str] = &["--cert", "stranger.crt", "--key", "stranger.key"];
    for (policy, ca, none, stranger) in [
        ("RequireAndVerifyClientCert", true, 0, 0),
        ("VerifyClientCertIfGiven", true, 200, 0),
        ("RequireAnyClientCert", false, 0, 200),
        ("RequestClientCert", false, 200, 200),
    ] {
        let ca = if ca { ", client_ca_file: ca.crt" } else { "" };
        let web = format!(
            "tls_server_config: {{cert_file: server.crt, key_file: server.key, client_auth_type: {policy}{ca}, min_version: TLS12, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256], curve_preferences: [CurveP256]}}\n"
        );
        fs::write(directory.join("web.yml"), web).unwrap();
        let (exporter, address) = start(directory).await;
        for (certificate, expected) in [(own, 200), (&[], none), (strange, stranger)] {
            for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
                let arguments = [TRUST, certificate, version].concat();
                let (status, ..) = curl(directory, &format!("{address}/metrics"), &arguments);
                assert_eq!(status, expected, "{policy} {certificate:?} {version:?}");
            }
        }
        drop(exporter);
    }
}

#[test]
fn check_and_start_refuse_a_bad_web_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let config = "providers: [{name: a, type: infobip_push, credentials: {api_key: k}, applications: [{id: x}]}]";
    fs::write(directory.join("config.yaml"), config).unwrap();
    let authority = Authority::new(directory);
    authority.sign("server");
    authority.sign("other");
    for (web, told) in [
        (None, "web.yml:1:1: --web.config.file cannot be read"),
        (
            Some("tls_server_config: {cert_file: server.crt}"),
            "needs key_file",
        ),
        (
            Some("tls_server_config: {cert_file: gone.crt, key_file: server.key}"),
            "gone.crt: No such file",
        ),
        (
            Some("tls_server_config: {cert_file: server.key, key_file: server.key}"),
            "server.key contains no certificate",
        ),
        (
            Some("tls_server_config: {cert_file: server.crt, key_file: server.crt}"),
            "server.crt: ",
        ),
        (
            Some("tls_server_config: {cert_file: server.crt, key_file: other.key}"),
            "server.crt: ",
        ),
        (
            Some(
                "tls_server_config: {cert_file: server.crt, key_file: server.key, cipher_suites: [RC4]}",
            ),
            "is none of TLS_AES_128_GCM_SHA256",
        ),
        (
            Some("basic_auth_users: {a: plain}"),
            "web.yml:1:23: is no bcrypt hash",
        ),
        (
            Some("rate_limit: {rate: 1}"),
            "rate is no key of rate_limit",
        ),
        (
            Some("http_server_config: {headers: {X-Frame-Options: maybe}}"),
            "is none of deny, sameorigin",
        ),
    ] {
        match web {
            Some(web) => fs::write(directory.join("web.yml"), web).unwrap(),
            None => assert!(!directory.join("web.yml").exists()),
        }
        for command in ["check", "serve"] {
            let flags = [
                command,
                "--web.config.file=web.yml",
                "--web.listen-address=127.0.0.1:0",
            ];
            let (status, printed, said) = run(&flags, directory);
            assert_eq!(status, Some(1), "{told}");
            let all = printed + &said;
            if command == "serve" {
                assert!(all.contains(told), "{told}: {all}");
            }
            // The place and the problem: `check` shows the line between them.
            let (place, what) = told.split_once(": ").unwrap_or(("", told));
            assert!(all.contains(place) && all.contains(what), "{told}: {all}");
        }
    }
    fs::write(directory.join("web.yml"), TLS).unwrap();
    let (status, ..) = run(&["check", "--web.config.file=web.yml"], directory);
    assert_eq!(status, Some(0));
}
