//! The configurations that the manual shows: each passes `check`.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use super::{files, read, relative, root};

/// Sections that a configuration of the exporter begins with.
const SECTIONS: [&str; 4] = ["providers:", "otlp:", "store:", "server:"];

/// What a configuration needs that shows one of the other sections alone.
const PROVIDER: &str = "
providers:
  - {name: mail, type: infobip_email, base_url: https://xyz123.api.infobip.com, credentials: {api_key: x}}
";

/// The configurations of a page.
fn configurations(text: &str) -> Vec<&str> {
    let blocks = text.split("```yaml\n").skip(1);
    let blocks = blocks
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block);
    blocks
        .filter(|block| SECTIONS.iter().any(|section| block.starts_with(section)))
        .collect()
}

/// Makes the files that a configuration names, and gives what `check` says.
fn check(configuration: &str) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let secrets = directory.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    for (place, _) in configuration.match_indices("secrets/") {
        let rest = &configuration[place + "secrets/".len()..];
        let end = rest.find([',', '}', '\n', ' ']).unwrap();
        let text = if rest.starts_with("database") {
            "postgres://user:password@host/database"
        } else {
            "a-secret"
        };
        let file = secrets.join(&rest[..end]);
        fs::write(&file, text).unwrap();
        // Others must not read it: `check` would warn.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let mut text = configuration.to_owned();
    if !text.contains("providers:") {
        text.push_str(PROVIDER);
    }
    let file = directory.path().join("config.yaml");
    fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_delivery-exporter"))
        .args(["check", "--config.file"])
        .arg(&file)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn every_configuration_that_is_shown_passes_check() {
    let mut pages = vec![root().join("README.md")];
    pages.extend(files(&root().join("docs"), "md"));
    let mut checked = 0;
    for page in pages {
        for configuration in configurations(&read(&page)) {
            let (is_good, said) = check(configuration);
            assert!(is_good, "{}:\n{configuration}\n{said}", relative(&page));
            checked += 1;
        }
    }
    assert!(checked > 8, "{checked}");
}

#[test]
fn the_quickstart_shows_what_check_prints() {
    let page = read(&root().join("docs/quickstart.md"));
    let (_, shown) = page.split_once("```text\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let (is_good, said) = check(configurations(&page)[0]);
    assert!(is_good && said == shown, "{said}");
}

#[test]
fn the_readme_has_a_configuration_of_ten_lines_the_two_commands_and_what_they_need() {
    let readme = read(&root().join("README.md"));
    let shown = configurations(&readme);
    assert_eq!(shown.len(), 1);
    assert!(shown[0].lines().count() <= 10, "{}", shown[0]);
    for needed in [
        "cargo run -- demo",
        "tests/run ",
        "C compiler",
        "Python 3",
        "serde_yaml",
        "saphyr-parser",
    ] {
        assert!(readme.contains(needed), "{needed}");
    }
    assert!(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/run")
            .exists()
    );
}

#[test]
fn a_configuration_with_a_mistake_does_not_pass() {
    let (is_good, said) = check("otlp: {endpont: http://localhost:4318}\n");
    assert!(!is_good && said.contains("endpont"), "{said}");
}
