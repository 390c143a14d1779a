//! The inputs that each target begins with: one file each in `corpus/TARGET`, committed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use delivery_exporter::providers::VENDORS;

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
    if !directory.exists() {
        return of_others();
    }
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

/// The inputs of all vendors that have some: what a vendor begins with of whom nothing was recorded yet.
fn of_others() -> Vec<(String, Vec<u8>)> {
    let recorded = VENDORS.iter().filter(|own| directory(own.name).exists());
    let others = recorded.flat_map(|vendor| {
        let inputs = of(vendor.name).into_iter();
        inputs.map(|(name, input)| (format!("{name}-{}", vendor.name), input))
    });
    others.collect()
}

#[test]
fn a_vendor_of_whom_nothing_was_recorded_begins_with_the_others() {
    assert!(of("a_new_vendor").len() > of(VENDORS[0].name).len());
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
