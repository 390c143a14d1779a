//! The book that mdBook makes of `docs/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{files, read, root};

/// The values of an attribute in HTML as mdBook writes it.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!(" {name}=\"");
    html.split(&begin)
        .skip(1)
        .filter_map(|rest| rest.split_once('"'))
        .map(|(value, _)| value)
        .collect()
}

/// Builds the book, and gives the directory and its pages.
fn build() -> (PathBuf, BTreeMap<PathBuf, String>) {
    let book = Path::new(env!("CARGO_TARGET_TMPDIR")).join("book");
    let _ = fs::remove_dir_all(&book);
    let output = Command::new(root().join("docs/build"))
        .arg(&book)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}; tests/run installs mdBook");
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    let pages = files(&book, "html")
        .into_iter()
        .map(|path| (path.clone(), read(&path)))
        .collect();
    (book, pages)
}

#[test]
fn the_book_builds_and_every_link_in_it_leads_somewhere() {
    let (book, pages) = build();
    assert!(pages.len() > 70, "{}", pages.len());
    let mut broken = Vec::new();
    let mut links = 0;
    for (path, html) in &pages {
        // The page for a wrong address has links from the root of a server.
        if path.ends_with("404.html") {
            continue;
        }
        let ids: BTreeSet<&str> = attributes(html, "id").into_iter().collect();
        for link in attributes(html, "href")
            .into_iter()
            .chain(attributes(html, "src"))
        {
            if link.is_empty() || link.contains("://") || link.starts_with("javascript:") {
                continue;
            }
            links += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            let is_there = match (target.canonicalize(), anchor) {
                (Err(_), _) => false,
                (Ok(_), "") => true,
                (Ok(_), anchor) if file.is_empty() => ids.contains(anchor),
                (Ok(target), anchor) => {
                    let other = pages.get(&target).map(String::as_str).unwrap_or_default();
                    attributes(other, "id").contains(&anchor)
                }
            };
            if !is_there {
                let page = path.strip_prefix(&book).unwrap().display();
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(links > 1000, "{links}");
    assert!(broken.is_empty(), "{}", broken.join("\n"));

    // What stands at the top of the repository is shown in full, with links that work in the book.
    let contributing = &pages[&book.join("contributing.html")];
    assert!(contributing.contains("href=\"testing.html\""));
    assert!(!contributing.contains("This page is"));
    let threats = &pages[&book.join("threats.html")];
    assert!(threats.contains("Who can do what"));
}
