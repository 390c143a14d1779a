//! HTTP/2 and TLS as others' test programs see them: h2spec and sslyze. `tests/protocols` builds and installs
//! them, and runs these tests.
//!
//! What h2spec finds is the libraries' doing (hyper-util chooses between HTTP/1 and 2, h2 speaks the latter), and
//! harms nobody: that much is tested here without h2spec.

use std::{fs, process::Command, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    connections::{END_HEADERS, END_STREAM, HEADERS, PREFACE, RESET, SETTINGS, frame, get_metrics},
    harness::Exporter,
    secure::Authority,
    world,
};

const GO_AWAY: u8 = 7;
const DATA: u8 = 0;

/// What h2spec may find, in its words.
const KNOWN: [&str; 3] = [
    // Whoever does not send the preface is taken for a client of HTTP/1, answered 400, and the connection
    // is closed. h2spec waits for a frame.
    "Sends invalid connection preface",
    // h2 ends the connection with PROTOCOL_ERROR instead of STREAM_CLOSED; h2spec may see the first
    // request's answer, which was on its way.
    "Sends a HEADERS frame after sending RST_STREAM frame",
    // h2 drops pseudo-headers of trailers. h2spec may see the answer, which does not wait for trailers.
    "Sends a HEADERS frame that contains a pseudo-header field as trailers",
];

async fn start(directory: &std::path::Path, tls: bool) -> Exporter {
    let config = json!({
        "store": world::store(directory),
        "providers": [{"name": "push", "type": "infobip_push", "base_url": "http://127.0.0.1:9",
            "credentials": {"api_key": "k"}, "applications": [{"id": "app"}]}],
    });
    let mut flags = Vec::new();
    if tls {
        Authority::new(directory).sign("server");
        let web = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n";
        fs::write(directory.join("web.yml"), web).unwrap();
        flags.push("--web.config.file=web.yml");
    }
    Exporter::start_with(directory, &config.to_string(), &flags).await
}

/// Sends bytes, a pause after each part, and gives the kinds of the frames that come until the server closes the
/// connection or is silent for a second; and whether it has closed it.
async fn talk(address: &str, parts: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>, bool) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for part in parts {
        stream.write_all(part).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    let closed = loop {
        match tokio::time::timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
            Err(_) => break false,
            Ok(Err(_) | Ok(0)) => break true,
            Ok(Ok(length)) => all.extend_from_slice(&buffer[..length]),
        }
    };
    let (mut kinds, mut rest) = (Vec::new(), &all[..]);
    while rest.len() >= 9 {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        kinds.push(rest[3]);
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    (kinds, all, closed)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_h2spec_finds_ends_the_connection_or_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let exporter = start(directory.path(), false).await;
    let address = exporter.base.replace("http://", "");
    let hello = [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
    let get = frame(HEADERS, END_STREAM | END_HEADERS, 1, &get_metrics());
    let reset = frame(RESET, 0, 1, &[0, 0, 0, 8]);

    let no_preface = b"INVALID CONNECTION PREFACE\r\n\r\n".to_vec();
    let (_, text, closed) = talk(&address, &[no_preface]).await;
    assert!(text.starts_with(b"HTTP/1.1 400 "), "{text:?}");
    assert!(closed);

    let (kinds, _, closed) =
        talk(&address, &[hello.clone(), get.clone(), reset, get.clone()]).await;
    assert_eq!(kinds.last(), Some(&GO_AWAY), "{kinds:?}");
    assert!(closed);

    // The head of a request that goes on, a byte of its body, and trailers with `:method`.
    let head = frame(HEADERS, END_HEADERS, 1, &get_metrics());
    let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x82]);
    let parts = [hello, [head, frame(DATA, 0, 1, b"x"), trailers].concat()];
    let (kinds, _, _) = talk(&address, &parts).await;
    assert!(
        kinds.contains(&HEADERS) || kinds.contains(&RESET) || kinds.contains(&GO_AWAY),
        "{kinds:?}"
    );
    assert_eq!(exporter.get("/-/healthy").await.0, 200);
}

/// The tests of h2spec that fail, by their names.
fn h2spec(program: &str, port: &str, more: &[&str]) -> Vec<String> {
    let output = Command::new(program)
        .args([
            "--host",
            "127.0.0.1",
            "--port",
            port,
            "--path",
            "/",
            "--timeout",
            "5",
        ])
        .args(more)
        .output()
        .expect("h2spec starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let count = text.lines().rev().find(|line| line.contains(" tests, "));
    println!("h2spec {more:?}: {}", count.expect("it has run its tests"));
    let failures = text.split_once("Failures:").map_or("", |own| own.1);
    let named = failures
        .lines()
        .filter_map(|line| line.trim().strip_prefix("× "));
    named
        .map(|name| name.split_once(": ").map_or(name, |own| own.1).to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "tests/protocols installs what it needs, and runs it"]
async fn h2spec_finds_what_is_known_and_nothing_else() {
    let program = std::env::var("H2SPEC").expect("H2SPEC names the program");
    for tls in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let exporter = start(directory.path(), tls).await;
        let (_, port) = exporter.base.rsplit_once(':').unwrap();
        let more: &[&str] = if tls { &["--tls", "--insecure"] } else { &[] };
        for failure in h2spec(&program, port, more) {
            println!("  {failure}");
            assert!(KNOWN.contains(&failure.as_str()), "{failure}");
        }
        assert!(exporter.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "tests/protocols installs what it needs, and runs it"]
async fn sslyze_finds_nothing() {
    let program = std::env::var("SSLYZE").expect("SSLYZE names the program");
    let directory = tempfile::tempdir().unwrap();
    let exporter = start(directory.path(), true).await;
    let address = exporter.base.replace("http://", "");
    let file = directory.path().join("found.json");
    let output = Command::new(program)
        .arg(format!("--json_out={}", file.display()))
        .arg(&address)
        .output()
        .expect("sslyze starts");
    let found: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let result = &found["server_scan_results"][0];
    assert_eq!(
        result["scan_status"],
        "COMPLETED",
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let get = |key: &str| result["scan_result"][key]["result"].clone();
    for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        let suites = get(&format!("{old}_cipher_suites"));
        assert_eq!(suites["is_tls_version_supported"], false, "{old}");
    }
    for new in ["tls_1_2", "tls_1_3"] {
        let suites = get(&format!("{new}_cipher_suites"));
        let accepted = suites["accepted_cipher_suites"].as_array().unwrap();
        let names: Vec<_> = accepted
            .iter()
            .map(|own| own["cipher_suite"]["name"].as_str().unwrap())
            .collect();
        println!("{new}: {names:?}");
        assert!(!names.is_empty());
        assert!(
            names
                .iter()
                .all(|own| own.contains("GCM") || own.contains("CHACHA20")),
            "{names:?}"
        );
    }
    for (scan, key, wanted) in [
        ("tls_compression", "supports_compression", json!(false)),
        (
            "openssl_ccs_injection",
            "is_vulnerable_to_ccs_injection",
            json!(false),
        ),
        ("tls_fallback_scsv", "supports_fallback_scsv", json!(true)),
        ("heartbleed", "is_vulnerable_to_heartbleed", json!(false)),
        (
            "robot",
            "robot_result",
            json!("NOT_VULNERABLE_RSA_NOT_SUPPORTED"),
        ),
        (
            "session_renegotiation",
            "is_vulnerable_to_client_renegotiation_dos",
            json!(false),
        ),
        (
            "tls_extended_master_secret",
            "supports_ems_extension",
            json!(true),
        ),
    ] {
        assert_eq!(get(scan)[key], wanted, "{scan}");
    }
}
