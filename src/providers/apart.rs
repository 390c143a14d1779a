//! Nothing but a vendor's folder knows the vendor: the rest of the source is read for its names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::VENDORS;

/// Files that may name vendors, and why.
const EXCEPTIONS: [(&str, &str); 2] = [
    ("src/providers/mod.rs", "has the list"),
    ("src/app/demo", "plays vendors, on simulators"),
];

/// The code of a file, without its tests: they read configurations, which name vendors.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next();
    code.unwrap_or_default().to_owned()
}

/// The files of modules that are there for tests alone: those that their parents declare so.
fn test_modules(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut modules = Vec::new();
    for path in files {
        let name = path.file_name().unwrap();
        let directory = match name.to_str() {
            Some("mod.rs" | "lib.rs") => path.parent().unwrap().to_owned(),
            _ => path.with_extension(""),
        };
        let text = fs::read_to_string(path).unwrap();
        for after in text.split("#[cfg(test)]\n").skip(1) {
            let line = after.lines().next().unwrap_or_default();
            let line = line.trim_start_matches("pub(crate) ");
            if let Some(name) = line
                .strip_prefix("mod ")
                .and_then(|own| own.strip_suffix(';'))
            {
                modules.push(directory.join(name));
            }
        }
    }
    modules
}

fn files_in(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_in(&path, found);
        } else if path.extension().is_some_and(|own| own == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_vendor_is_named_outside_its_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    files_in(&root.join("src"), &mut files);
    let mut words = Vec::new();
    for vendor in VENDORS {
        words.extend([vendor.name, vendor.title, vendor.short_title].map(str::to_lowercase));
        // `infobip_push` is Infobip's.
        words.extend(vendor.name.split_once('_').map(|(own, _)| own.to_owned()));
        // What others may call theirs too is not in any code as a text.
        let datasets = vendor.datasets.iter().map(|dataset| dataset.as_str());
        let keys = vendor.keys.iter().chain(vendor.optional_credentials);
        let keys = keys.map(|key| key.name);
        let plain = datasets.chain(keys).filter(|word| !GENERAL.contains(word));
        words.extend(plain.map(|word| format!("\"{word}\"")));
    }
    let is_of_vendor = |path: &str| {
        let rest = path.strip_prefix("src/providers/");
        let folder = rest
            .and_then(|rest| rest.split_once('/'))
            .map(|(own, _)| own);
        folder.is_some_and(|own| !SHARED_FOLDERS.contains(&own))
    };
    let of_tests = test_modules(&files);
    let is_test = |path: &Path| {
        let module = path.with_extension("");
        of_tests.iter().any(|own| module.starts_with(own))
    };
    let mut read = 0;
    for path in &files {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        let may = EXCEPTIONS.iter().any(|(own, _)| name.starts_with(own));
        if may || is_test(path) || is_of_vendor(name) {
            continue;
        }
        read += 1;
        let code = code_of(path).to_lowercase();
        for (number, line) in code.lines().enumerate() {
            let found = words.iter().find(|word| line.contains(word.as_str()));
            assert!(found.is_none(), "{name}:{}: {found:?}: {line}", number + 1);
        }
    }
    assert!(read > 100, "{read}");
}

/// Folders of `src/providers` that are no vendor's.
const SHARED_FOLDERS: [&str; 3] = ["http", "paging", "json"];

/// Names of data sets that are texts of others too: sections of every configuration, measures,
/// parts of digests and paths.
const GENERAL: [&str; 5] = ["messages", "reports", "bounces", "links", "log"];
