//! Pages and tables that are generated from the code and committed; a test checks that each is current.

use std::{fs, path::Path};

/// Fails if the committed file is not `text`. `UPDATE_GOLDEN=1` writes it.
pub fn assert_current(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{file} is not current; UPDATE_GOLDEN=1 cargo test writes it"
    );
}

/// The same for the part of a file between `<!-- name -->` and `<!-- /name -->`.
pub fn assert_part_current(file: &str, name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let whole = fs::read_to_string(&path).unwrap();
    let (before, rest) = whole
        .split_once(&begin)
        .unwrap_or_else(|| panic!("{file} has no {begin}"));
    let (_, after) = rest
        .split_once(&end)
        .unwrap_or_else(|| panic!("{file} has no {end}"));
    assert_current(file, &format!("{before}{begin}{text}{end}{after}"));
}
