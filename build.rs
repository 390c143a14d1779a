//! Embeds the source revision, the compiler version and the runbooks into the binary.

use std::{env, fmt::Write, fs, path::PathBuf, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=DELIVERY_EXPORTER_REVISION");
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/refs/heads");
    let revision = env::var("DELIVERY_EXPORTER_REVISION")
        .ok()
        .or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    let compiler = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let rustc = output(&compiler, &["--version"])
        .and_then(|text| text.split_whitespace().nth(1).map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=DELIVERY_EXPORTER_REVISION={revision}");
    println!("cargo::rustc-env=DELIVERY_EXPORTER_RUSTC={rustc}");
    embed_runbooks();
}

/// Writes the table of all runbooks by name, which `web::runbooks` includes, so that an added file is served
/// without a change of code.
fn embed_runbooks() {
    println!("cargo::rerun-if-changed=docs/runbooks");
    let directory = |name| PathBuf::from(env::var_os(name).unwrap_or_default());
    let source = directory("CARGO_MANIFEST_DIR").join("docs/runbooks");
    let files = fs::read_dir(&source).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    let mut table = String::from("[\n");
    for path in &paths {
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.file_stem().unwrap_or_default();
        // Writing to a string does not fail.
        let _ = writeln!(table, "({name:?}, include_str!({path:?})),");
    }
    table.push_str("]\n");
    let target = directory("OUT_DIR").join("runbooks.rs");
    if let Err(error) = fs::write(&target, table) {
        println!("cargo::error={}: {error}", target.display());
    }
}

/// The output of a program, if it can be run.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
