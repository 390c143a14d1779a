//! Tests that the repository's documents match its contents.

mod imports;

use std::{collections::BTreeSet, fs, path::Path};

fn text(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn each_direct_dependency_has_its_reason() {
    let mut direct = BTreeSet::new();
    for manifest in ["Cargo.toml", "clock/Cargo.toml", "simulators/Cargo.toml"] {
        let mut is_list = false;
        for line in text(manifest).lines() {
            if let Some(section) = line.strip_prefix('[') {
                let section = section.trim_end_matches(']');
                is_list = ["dependencies", "dev-dependencies", "build-dependencies"]
                    .iter()
                    .any(|own| {
                        section == *own || section.starts_with("target.") && section.ends_with(own)
                    });
            } else if is_list
                && let Some(name) = line.split(['=', '.', ' ']).next()
                && !name.is_empty()
                && !name.starts_with('#')
            {
                direct.insert(name.to_owned());
            }
        }
    }
    let listed: Vec<String> = text("docs/dependencies.md")
        .lines()
        .filter_map(|line| {
            let (name, reason) = line.strip_prefix("| `")?.split_once("` | ")?;
            assert!(
                reason.trim_end_matches(" |").len() > 3,
                "{name} has no reason"
            );
            Some(name.to_owned())
        })
        .collect();
    assert!(direct.len() > 50, "{direct:?}");
    let direct: Vec<String> = direct.into_iter().collect();
    assert_eq!(
        listed, direct,
        "docs/dependencies.md lists them in the order of their names"
    );
}

#[test]
fn each_claim_of_the_threat_model_names_a_test_that_is_there() {
    let model = text("SECURITY.md");
    let mut tests = 0;
    for line in model
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains(".rs)"))
    {
        // `a_test`, `another` (src/file.rs)
        let mut names = Vec::new();
        for part in line.split('`').skip(1) {
            let is_name = part.contains('_')
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            if is_name {
                names.push(part);
            }
            let file = part
                .trim_start()
                .strip_prefix('(')
                .and_then(|rest| rest.split_once(')'));
            if let Some((file, _)) = file.filter(|(file, _)| file.ends_with(".rs")) {
                let source = text(file);
                for name in names.drain(..) {
                    // Settings are written like names too.
                    let is_test = source.contains(&format!("fn {name}("));
                    assert!(
                        is_test
                            || text("docs/configuration.md").contains(name)
                            || WEB_KEYS.contains(&name),
                        "{name} is not in {file}"
                    );
                    tests += usize::from(is_test);
                }
            }
        }
    }
    assert!(tests > 15, "{tests}");
}

/// Keys of the web configuration that the model mentions.
const WEB_KEYS: [&str; 2] = ["client_allowed_sans", "rate_limit"];

/// Each deliberate fault refers to lines that exist in the code.
#[test]
fn each_fault_has_its_lines_in_the_code() {
    let pattern = format!("{}/tests/faults/*.patch", env!("CARGO_MANIFEST_DIR"));
    let mut faults = 0;
    for path in glob::glob(&pattern).unwrap().flatten() {
        let patch = fs::read_to_string(&path).unwrap();
        let file = patch.lines().find_map(|line| line.strip_prefix("--- a/"));
        let (_, hunk) = patch.split_once("\n@@ ").unwrap();
        assert!(!hunk.contains("\n@@ "), "{}: one hunk", path.display());
        let replaced: Vec<&str> = hunk
            .lines()
            .skip(1)
            .filter(|line| !line.starts_with('+'))
            .map(|line| line.get(1..).unwrap_or_default())
            .collect();
        let replaced = replaced.join("\n");
        let code = text(file.unwrap());
        assert!(code.contains(replaced.trim_end()), "{}", path.display());
        faults += 1;
    }
    assert!(faults > 3, "{faults}");
}
