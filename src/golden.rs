//! Pages and tables that are generated from the code and committed; a test checks that each is current.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Several tests write parts of one file, each in a thread of its own: a part that is read while
/// another is written would put the old one back.
static WRITING: Mutex<()> = Mutex::new(());

fn path_of(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn is_update() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

fn assert_same(file: &str, committed: &str, text: &str) {
    assert!(
        committed == text,
        "{file} is not current; UPDATE_GOLDEN=1 cargo test --lib writes it"
    );
}

/// Fails if the committed file is not `text`. `UPDATE_GOLDEN=1` writes it.
pub fn assert_current(file: &str, text: &str) {
    let path = path_of(file);
    if is_update() {
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        fs::write(&path, text).unwrap();
    }
    assert_same(file, &fs::read_to_string(&path).unwrap_or_default(), text);
}

/// The same for the part of a file between `<!-- name -->` and `<!-- /name -->`.
pub fn assert_part_current(file: &str, name: &str, text: &str) {
    let path = path_of(file);
    if is_update() {
        write_part(&path, name, text);
    }
    assert_same(
        file,
        &part(&fs::read_to_string(&path).unwrap(), name).1,
        text,
    );
}

/// What stands before a part, the part, and what stands behind it, the marks not among them.
fn part(whole: &str, name: &str) -> (String, String, String) {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let mark = |mark: &str| panic!("there is no {mark}");
    let (before, rest) = whole.split_once(&begin).unwrap_or_else(|| mark(&begin));
    let (part, after) = rest.split_once(&end).unwrap_or_else(|| mark(&end));
    (
        format!("{before}{begin}"),
        part.to_owned(),
        format!("{end}{after}"),
    )
}

fn write_part(path: &Path, name: &str, text: &str) {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let (before, _, after) = part(&fs::read_to_string(path).unwrap(), name);
    fs::write(path, format!("{before}{text}{after}")).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_one_file_are_written_at_a_time_and_none_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("page.md");
        let names: Vec<String> = (0..8).map(|number| format!("part-{number}")).collect();
        let empty = names
            .iter()
            .map(|name| format!("<!-- {name} -->\n<!-- /{name} -->\n"));
        fs::write(&path, empty.collect::<String>()).unwrap();
        std::thread::scope(|scope| {
            for name in &names {
                let path = &path;
                scope.spawn(move || {
                    for round in 0..50 {
                        write_part(path, name, &format!("{name} {round}\n"));
                    }
                });
            }
        });
        let whole = fs::read_to_string(&path).unwrap();
        for name in &names {
            assert_eq!(part(&whole, name).1, format!("{name} 49\n"));
        }
    }
}
