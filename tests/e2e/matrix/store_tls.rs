//! A database whose certificate is wrong when the exporter starts: it does not start, and says why.

use std::sync::Arc;

use serde_json::json;

use super::{
    proxy::{Mode, Proxy},
    rig::{AUTHORITY, PASSWORD, certificates},
};
use crate::{
    harness::{Exporter, binary},
    postgres::Postgres,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_a_wrong_certificate_is_not_used_and_the_message_has_no_password() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let postgres = Postgres::start().await;
    let tls = Arc::new(certificates(path));
    let proxy = Proxy::start_postgres(postgres.address(), 1, Some(tls)).await;
    let url = format!(
        "postgres://postgres:{PASSWORD}@{}/postgres?sslmode=require",
        proxy.address()
    );
    let config = json!({"store": {"url": url, "spool": "spool"}, "providers": []});
    std::fs::write(path.join("config.yaml"), config.to_string()).unwrap();
    let command = || {
        let mut command = binary();
        command
            .args([
                "--config.file=config.yaml",
                "--web.listen-address=127.0.0.1:0",
            ])
            .env("SSL_CERT_FILE", path.join(AUTHORITY))
            .current_dir(path);
        command
    };
    for mode in [
        Mode::TlsWrongName,
        Mode::TlsExpired,
        Mode::TlsUnknownAuthority,
    ] {
        proxy.set(mode);
        let output = tokio::task::spawn_blocking({
            let mut command = command();
            move || command.output().unwrap()
        });
        let output = output.await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        println!("{said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
        for part in [
            mode.refused_as().unwrap(),
            "PostgreSQL at 127.0.0.1",
            "sslmode",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains(PASSWORD), "{said}");
    }
    proxy.set(Mode::Pass);
    let exporter = Exporter::spawn_bare(command(), path).await;
    assert_eq!(exporter.get("/-/healthy").await.0, 200);
}
