//! Links between the Markdown files of the repository, as they stand there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{files, read, relative, root};

/// What of a Markdown file others can link to, and what it links to.
#[derive(Default)]
struct Page {
    anchors: BTreeSet<String>,
    links: Vec<String>,
}

/// The anchor that GitHub gives a heading.
fn slug(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|character| character.is_alphanumeric() || [' ', '-', '_'].contains(character));
    let text: String = kept.collect();
    text.to_lowercase().replace(' ', "-")
}

fn page(text: &str) -> Page {
    let mut page = Page::default();
    let mut heading: Option<String> = None;
    let mut used: HashMap<String, usize> = HashMap::new();
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let slug = slug(&heading.take().unwrap());
                let count = used.entry(slug.clone()).or_default();
                page.anchors.insert(match *count {
                    0 => slug,
                    before => format!("{slug}-{before}"),
                });
                *count += 1;
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.links.push(dest_url.into_string());
            }
            _ => {}
        }
    }
    page
}

fn leads_out(link: &str) -> bool {
    ["http://", "https://", "mailto:"]
        .iter()
        .any(|scheme| link.starts_with(scheme))
}

/// What is wrong with the links of some pages.
fn broken(pages: &BTreeMap<PathBuf, Page>) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, page) in pages {
        for link in page.links.iter().filter(|link| !leads_out(link)) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            let place = relative(path);
            let Ok(target) = target.canonicalize() else {
                broken.push(format!("{place}: {link}: there is no such file"));
                continue;
            };
            let anchors = pages.get(&target).map(|page| &page.anchors);
            if !anchor.is_empty() && !anchors.is_some_and(|anchors| anchors.contains(anchor)) {
                broken.push(format!("{place}: {link}: there is no such heading"));
            }
        }
    }
    broken
}

#[test]
fn every_link_of_every_markdown_file_leads_somewhere() {
    let pages: BTreeMap<PathBuf, Page> = files(root(), "md")
        .into_iter()
        .filter(|path| !path.starts_with(root().join("tests/data")))
        .map(|path| (path.canonicalize().unwrap(), page(&read(&path))))
        .collect();
    assert!(pages.len() > 80, "{}", pages.len());
    let inside = pages.values().flat_map(|page| &page.links);
    assert!(inside.filter(|link| !leads_out(link)).count() > 200);
    let broken = broken(&pages);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_link_to_a_file_or_heading_that_is_not_there_is_found() {
    let readme = root().join("README.md").canonicalize().unwrap();
    let text = "# One `two`: three\n\n# One two three\n\n[](#one-two-three) [](#one-two-three-1) [](#one) [](LICENSE) \
        [](LICENCE) ![](docs/pictures/none.png) [](https://example.com/)";
    let broken = broken(&BTreeMap::from([(readme, page(text))]));
    let links: Vec<&str> = broken
        .iter()
        .map(|line| line.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(links, ["#one", "LICENCE", "docs/pictures/none.png"]);
}

#[test]
fn every_page_is_in_the_table_of_contents_and_every_runbook_in_its_list() {
    let summary = page(&read(&root().join("docs/SUMMARY.md")));
    let listed: BTreeSet<String> = summary.links.into_iter().collect();
    let runbooks = read(&root().join("docs/runbooks.md"));
    let docs = root().join("docs");
    for path in files(&docs, "md") {
        let name = path.strip_prefix(&docs).unwrap().display().to_string();
        assert!(
            name == "SUMMARY.md" || listed.contains(&name),
            "docs/SUMMARY.md lacks {name}"
        );
        if name.starts_with("runbooks/") {
            assert!(
                runbooks.contains(&format!("]({name})")),
                "docs/runbooks.md lacks {name}"
            );
        }
    }
}

/// Mermaid ends a statement at a semicolon, also within a text, and then draws nothing.
#[test]
fn diagrams_have_no_semicolons() {
    let mut diagrams = 0;
    for path in files(&root().join("docs"), "md") {
        let text = read(&path);
        for diagram in text.split("```mermaid\n").skip(1) {
            let (diagram, _) = diagram.split_once("```").unwrap();
            assert!(!diagram.contains(';'), "{}: {diagram}", relative(&path));
            diagrams += 1;
        }
    }
    assert!(diagrams > 1, "{diagrams}");
}
