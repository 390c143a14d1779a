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

/// The inputs of a target, with the names of their files, in the order of the names. Those of a vendor begin
/// with the answers in the vendor's folder.
pub fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut all = fixtures_of(target);
    let directory = directory(target);
    if directory.exists() {
        all.extend(files_of(&directory));
    } else {
        all.extend(of_others());
    }
    all
}

/// The answers in a vendor's folder (`src/providers/fixtures.rs` says what their names mean), each with the
/// line that an input begins with.
fn fixtures_of(target: &str) -> Vec<(String, Vec<u8>)> {
    let Some(vendor) = VENDORS.iter().find(|own| own.name == target) else {
        return Vec::new();
    };
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/providers");
    let own = all.join(vendor.name);
    let folder = match vendor.name.split_once('_') {
        Some((shared, _)) if !own.exists() => all.join(shared),
        _ => own,
    };
    let input = |(name, body): (String, Vec<u8>)| {
        let (stem, extension) = name.rsplit_once('.')?;
        let (what, rest) = stem.split_once('-')?;
        let is_own = vendor.dataset(what).is_some() || what == "list" && vendor.can_list;
        if extension == "expected" || !is_own {
            return None;
        }
        let status = rest.split('-').next().and_then(|own| own.parse().ok());
        let head = format!("{what} {}\n", status.unwrap_or(200_u16));
        Some((name, [head.as_bytes(), &body].concat()))
    };
    let files = files_of(&folder.join("fixtures")).into_iter();
    files.filter_map(input).collect()
}

fn files_of(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
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
fn the_answers_in_a_vendors_folder_are_inputs() {
    for vendor in VENDORS {
        let fixtures = fixtures_of(vendor.name);
        assert!(!fixtures.is_empty(), "{vendor}");
        for (name, input) in fixtures {
            let head = input.split(|byte| *byte == b'\n').next().unwrap();
            let head = std::str::from_utf8(head).unwrap();
            let (what, status) = head.split_once(' ').unwrap();
            assert!(name.starts_with(what), "{name}");
            assert!(status.parse::<u16>().is_ok(), "{name}");
        }
    }
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
