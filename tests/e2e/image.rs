//! The Dockerfile, without building it: hadolint, and what it repeats of other files. `tests/image/run` builds
//! and uses the image.

use std::{
    fs,
    io::Write,
    process::{Command, Output, Stdio},
};

use super::rules::root;

fn dockerfile() -> String {
    fs::read_to_string(root().join("Dockerfile")).unwrap()
}

fn hadolint(text: &str) -> Output {
    let mut program = Command::new(root().join("target/python/bin/hadolint"))
        .args(["--no-color", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = program.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    program.wait_with_output().unwrap()
}

#[test]
fn hadolint_finds_nothing_in_the_dockerfile() {
    let said = hadolint(&dockerfile());
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && text.is_empty(), "{text}");
    let worse = dockerfile().replace("rust:1.95.0-slim-bookworm", "rust:latest");
    assert!(!hadolint(&worse).status.success());
}

#[test]
fn the_dockerfile_has_the_versions_of_the_manifests() {
    let text = dockerfile();
    let version = concat!("ARG VERSION=", env!("CARGO_PKG_VERSION"), "\n");
    assert!(text.contains(version), "not {version}");
    let toolchain = fs::read_to_string(root().join("rust-toolchain.toml")).unwrap();
    let channel = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = \""))
        .unwrap();
    let base = format!(
        "FROM rust:{}-slim-bookworm AS chef",
        channel.trim_end_matches('"')
    );
    assert!(text.contains(&base), "not {base}");
}

#[test]
fn the_image_does_not_run_as_root_and_has_what_its_build_reads() {
    let text = dockerfile();
    let (_, last) = text.rsplit_once("\nFROM ").unwrap();
    assert!(last.contains("\nUSER 65532:65532\n"), "{last}");
    assert!(last.contains(r#"CMD ["/usr/local/bin/delivery-exporter", "health"]"#));
    for label in ["title", "description", "licenses", "version", "revision"] {
        assert!(last.contains(&format!("org.opencontainers.image.{label}=")));
    }
    // Every file that the sources include, and that cargo looks for.
    let ignored = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let ignored: Vec<_> = ignored
        .lines()
        .filter(|own| !own.starts_with('#'))
        .collect();
    for needed in [
        "README.md",
        "benches/ledger.rs",
        "build.rs",
        "dashboards/alerts/delivery.rules.yml",
        "docs/runbooks",
        "examples/ask_once.rs",
        "tests/e2e/main.rs",
    ] {
        assert!(root().join(needed).exists(), "{needed}");
        let is_ignored = ignored.iter().any(|own| needed.starts_with(own));
        assert!(!is_ignored, "{needed} is not sent to the build");
    }
}
