//! Every web configuration of the exporter-toolkit's own tests is judged as there.

use std::{fs, path::Path};

use rcgen::{CertificateParams, KeyPair};

use super::*;

/// Those that are accepted; all others are refused.
const GOOD: [&str; 19] = [
    "tls_config_noAuth.requireandverifyclientcert.good.yml",
    "tls_config_noAuth.requireanyclientcert.good.yml",
    // The same as good.blocking, and in no test of the toolkit.
    "web_config_auth_clientCAs_missing.bad.yml",
    // Loads well, and refuses the client.
    "web_config_auth_client_san.bad.yaml",
    "web_config_auth_client_san.good.yaml",
    "web_config_empty.yml",
    "web_config_headers.good.yml",
    "web_config_noAuth.good.blocking.yml",
    "web_config_noAuth.good.yml",
    "web_config_noAuth_allCiphers.good.yml",
    "web_config_noAuth_allCurves.good.yml",
    "web_config_noAuth_noHTTP2.good.yml",
    "web_config_noAuth_someCiphers.good.yml",
    "web_config_noAuth_someCiphers_noOrder.good.yml",
    "web_config_noAuth_someCurves.good.yml",
    "web_config_rate_limiter_nonblocking.yaml",
    "web_config_rate_limiter_one_second.yaml",
    "web_config_users.good.yml",
    "web_config_users_noTLS.good.yml",
];

fn data() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/exporter-toolkit")
}

#[test]
fn each_file_is_judged_as_there() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let sign = |certificate: &str, key: Option<&str>, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let pair = KeyPair::generate().unwrap();
        let signed = CertificateParams::new(names).unwrap().self_signed(&pair);
        fs::write(at(certificate), signed.unwrap().pem()).unwrap();
        if let Some(key) = key {
            fs::write(at(key), pair.serialize_pem()).unwrap();
        }
    };
    sign("server.crt", Some("server.key"), &["localhost"]);
    sign("client_selfsigned.pem", None, &["client"]);
    sign("client2_selfsigned.pem", None, &["test3"]);
    let (mut accepted, mut all) = (Vec::new(), 0);
    for entry in fs::read_dir(data()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        all += 1;
        fs::copy(data().join(&name), at(&name)).unwrap();
        match Guard::read(&at(&name)) {
            Ok(_) => accepted.push(name),
            Err(problem) => assert!(problem.contains(&name), "{name}: {problem}"),
        }
    }
    accepted.sort();
    assert_eq!(accepted, GOOD);
    assert_eq!(all, 39);
}
