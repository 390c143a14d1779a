//! Small libraries in C that stand before the system's own functions (`LD_PRELOAD`).

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Builds the library of a name beside this file.
pub fn library(name: &str, directory: &Path) -> PathBuf {
    let library = directory.join(format!("{name}.so"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/e2e/{name}.c"));
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .output()
        .expect("cc runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    library
}
