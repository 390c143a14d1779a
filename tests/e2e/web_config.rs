//! `--web.config.file` as the exporter-toolkit has it: names of clients, groups, rate limit, and users
//! on every route, as curl and OpenSSL meet them.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use super::{
    harness::Exporter,
    secure::{Authority, curl, user},
};

async fn start(directory: &Path, web: &str, flags: &[&str]) -> (Exporter, String) {
    fs::write(directory.join("web.yml"), web).unwrap();
    let config = json!({
        "store": super::world::store(directory),
        "providers": [{"name": "push", "type": "infobip_push", "base_url": "http://127.0.0.1:9",
            "credentials": {"api_key": "k"}, "applications": [{"id": "app"}]}],
    });
    let flags = [&["--web.config.file=web.yml"], flags].concat();
    let exporter = Exporter::start_with(directory, &config.to_string(), &flags).await;
    let address = exporter.base.replace("http://", "https://");
    (exporter, address)
}

/// A certificate that signs itself, as `openssl req -x509` makes it.
fn self_signed(directory: &Path, name: &str, names: &str) {
    let subject = format!("/CN={name}");
    let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            &subject,
            "-addext",
            &format!("subjectAltName={names}"),
        ])
        .args(["-keyout", &key, "-out", &certificate])
        .current_dir(directory)
        .output()
        .expect("openssl starts; tests/run says what to install");
    assert!(made.status.success(), "{made:?}");
}

fn toolkit(name: &str) -> String {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/exporter-toolkit");
    fs::read_to_string(data.join(name)).unwrap()
}

const TRUST: &[&str] = &["--cacert", "ca.crt"];

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_known_by_the_names_in_their_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let authority = Authority::new(directory);
    for name in ["server", "client", "other"] {
        authority.sign(name);
    }
    let names = "DNS:test3,email:a@b.example,IP:10.0.0.9,URI:spiffe://x/y";
    self_signed(directory, "client2_selfsigned", names);
    let signed = |name: &str| [format!("{name}.crt"), format!("{name}.key")];
    let own = [
        "client2_selfsigned.pem".to_owned(),
        "client2_selfsigned.key".to_owned(),
    ];
    let tls = |ca: &str, policy: &str, names: &str| {
        format!(
            "tls_server_config: {{cert_file: server.crt, key_file: server.key, client_auth_type: {policy}, client_ca_file: {ca}, client_allowed_sans: [{names}]}}\n"
        )
    };
    let must = "RequireAndVerifyClientCert";
    let cases = [
        (
            toolkit("web_config_auth_client_san.good.yaml"),
            own.clone(),
            true,
        ),
        (
            toolkit("web_config_auth_client_san.bad.yaml"),
            own.clone(),
            false,
        ),
        (
            tls("client2_selfsigned.pem", must, "a@b.example"),
            own.clone(),
            true,
        ),
        (
            tls("client2_selfsigned.pem", must, "10.0.0.9"),
            own.clone(),
            true,
        ),
        (
            tls("client2_selfsigned.pem", must, "'spiffe://x/y'"),
            own.clone(),
            true,
        ),
        (
            tls("client2_selfsigned.pem", must, "TEST3, est3"),
            own.clone(),
            false,
        ),
        (tls("client2_selfsigned.pem", must, ""), own.clone(), false),
        (tls("ca.crt", must, "client"), signed("client"), true),
        (tls("ca.crt", must, "client"), signed("other"), false),
        // The right name, signed by nobody who is trusted.
        (tls("ca.crt", must, "test3"), own.clone(), false),
        (
            tls("ca.crt", "VerifyClientCertIfGiven", "client"),
            signed("client"),
            true,
        ),
        (
            tls("ca.crt", "VerifyClientCertIfGiven", "client"),
            signed("other"),
            false,
        ),
        (
            tls("ca.crt", "RequireAnyClientCert", "test3"),
            own.clone(),
            true,
        ),
        (
            tls("ca.crt", "RequireAnyClientCert", "test4"),
            own.clone(),
            false,
        ),
    ];
    for (web, [certificate, key], passes) in cases {
        let (exporter, address) = start(directory, &web, &[]).await;
        let metrics = format!("{address}/metrics");
        for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
            let shown: &[&str] = &["--cert", &certificate, "--key", &key];
            let (status, ..) = curl(directory, &metrics, &[TRUST, shown, version].concat());
            let expected = if passes { 200 } else { 0 };
            assert_eq!(status, expected, "{web} {certificate} {version:?}");
            // Nobody passes without a certificate where names are wanted.
            let (status, ..) = curl(directory, &metrics, &[TRUST, version].concat());
            assert_eq!(status, 0, "{web}");
        }
        // OpenSSL says that the certificate is what is wrong.
        let port = address.rsplit(':').next().unwrap().to_owned();
        let client = Command::new("openssl")
            .args([
                "s_client",
                "-tls1_2",
                "-connect",
                &format!("127.0.0.1:{port}"),
            ])
            .args(["-cert", &certificate, "-key", &key])
            .current_dir(directory)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&client.stderr);
        assert_eq!(said.contains("alert"), !passes, "{web}: {said}");
        drop(exporter);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_groups_of_the_toolkit_are_spoken() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    Authority::new(directory).sign("server");
    for (file, spoken, unspoken) in [
        (
            "web_config_noAuth_someCurves.good.yml",
            &["P-521"][..],
            &["X25519", "P-256"][..],
        ),
        (
            "web_config_noAuth_allCurves.good.yml",
            &["P-256", "P-384", "P-521", "X25519"],
            &["X448"],
        ),
    ] {
        let (exporter, address) = start(directory, &toolkit(file), &[]).await;
        let metrics = format!("{address}/metrics");
        for (curves, expected) in [(spoken, 200), (unspoken, 0)] {
            for curve in curves {
                let (status, ..) =
                    curl(directory, &metrics, &[TRUST, &["--curves", curve]].concat());
                assert_eq!(status, expected, "{file} {curve}");
            }
        }
        drop(exporter);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_told_so_and_health_is_still_told() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let web = "rate_limit: {interval: 1h, burst: 3}\n";
    let (exporter, _) = start(directory, web, &[]).await;
    let mut statuses = Vec::new();
    for path in [
        "/metrics",
        "/",
        "/metrics",
        "/metrics",
        "/",
        "/api/v1/status",
        "/-/healthy",
    ] {
        statuses.push(exporter.get(path).await.0);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429, 200]);
    drop(exporter);
    for (file, status) in [
        // With a burst of 0 nothing passes; with an interval of 0 everything.
        ("web_config_rate_limiter_one_second.yaml", 429),
        ("web_config_rate_limiter_nonblocking.yaml", 200),
    ] {
        let (exporter, _) = start(directory, &toolkit(file), &[]).await;
        for _ in 0..3 {
            assert_eq!(exporter.get("/metrics").await.0, status, "{file}");
        }
        drop(exporter);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_below_the_api_are_for_users_however_the_path_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for telemetry in ["/api/metrics", "/webhooks/infobip/email/metrics"] {
        let flag = format!("--web.telemetry-path={telemetry}");
        let (exporter, _) = start(directory, &user("reader", "a-password"), &[&flag]).await;
        let ask = |path: &str, arguments: &[&str]| {
            let address = format!("{}{path}", exporter.base);
            let arguments = [&["--path-as-is", "--noproxy", "*"], arguments].concat();
            curl(directory, &address, &arguments)
        };
        let (status, _, body) = ask(telemetry, &["--user", "reader:a-password"]);
        assert!(
            status == 200 && body.contains("delivery_exporter_build_info"),
            "{telemetry} {status}"
        );
        let below = telemetry.rsplit_once('/').unwrap().0;
        let variants = [
            telemetry.to_owned(),
            format!("{telemetry}/"),
            format!("{telemetry}?a=b"),
            format!("{telemetry}%2f"),
            format!("/{telemetry}"),
            format!("{below}//metrics"),
            format!("{below}/%6detrics"),
            format!("{below}/METRICS"),
            format!("{below}/./metrics"),
            format!("{below}/x/../metrics"),
            format!("{}{}", telemetry[..2].replace('a', "%61"), &telemetry[2..]),
            telemetry.to_uppercase(),
        ];
        for path in variants {
            for more in [
                &[][..],
                &["--head"],
                &["--request", "OPTIONS"],
                &["--request", "POST"],
                &["--user", "reader:wrong"],
                &["--header", "Authorization: Bearer x"],
            ] {
                let (status, _, body) = ask(&path, more);
                assert!(status >= 400, "{path} {more:?}: {status}");
                assert!(
                    !body.contains("delivery_exporter"),
                    "{path} {more:?}: {body}"
                );
            }
        }
        drop(exporter);
    }
}
