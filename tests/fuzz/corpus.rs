//! The inputs that each target begins with: one file each in `corpus/TARGET`, committed.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// How the names of inputs begin that guidance by coverage has found.
pub const GUIDED: &str = "guided-";

/// Where the inputs of a target are.
pub fn directory(target: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    own.join(target)
}

/// The inputs of a target, with the names of their files, in the order of the names.
pub fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = directory(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    let mut all: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect();
    all.sort();
    assert!(!all.is_empty(), "{directory:?} is empty");
    all
}

/// Keeps an input that failed, and gives its path.
pub fn keep(target: &str, input: &[u8]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    fs::create_dir_all(&directory).unwrap();
    let digest = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = directory.join(format!("{target}-{digest:016x}"));
    fs::write(&path, input).unwrap();
    path
}
