//! The English that users read is plain: README and the manual, HELP texts, alert texts. Harper (an npm package) knows the language,
//! docs/vocabulary.md has the project's own words and those that it avoids.

use std::{
    io::Write,
    process::{Command, Stdio},
    sync::LazyLock,
};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use serde_json::{Value, json};

use super::{files, read, relative, root};

/// What of a Markdown file is prose: a paragraph for each block and each cell of a table. Code stays code, and so does what looks
/// like a path or an identifier.
fn prose(markdown: &str) -> String {
    let mut text = String::new();
    let mut skipped = 0_usize;
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => skipped += 1,
            Event::End(TagEnd::CodeBlock) => skipped -= 1,
            _ if skipped > 0 => {}
            Event::Text(part) => {
                for (place, word) in part.split(' ').enumerate() {
                    text.push_str(if place == 0 { "" } else { " " });
                    text.push_str(&as_code_if_one(word));
                }
            }
            Event::Code(part) => text.push_str(&format!("`{}`", part.replace('`', ""))),
            Event::SoftBreak | Event::HardBreak => text.push(' '),
            Event::Start(Tag::Paragraph | Tag::Item | Tag::Heading { .. } | Tag::TableCell)
            | Event::End(
                TagEnd::Paragraph | TagEnd::Item | TagEnd::Heading(_) | TagEnd::TableCell,
            ) => {
                text.push_str("\n\n");
            }
            _ => {}
        }
    }
    text
}

/// A word of a text, as code if it is a path, an identifier, an address, a vendor's field or an alert.
fn as_code_if_one(word: &str) -> String {
    let core = word.trim_matches(|character: char| !character.is_alphanumeric());
    let is_path = core.contains(['/', '_', '.', ':', '=', '@']) && !core.contains("...");
    let has_inner_capital =
        core.chars().skip(1).any(char::is_uppercase) && core.chars().any(char::is_lowercase);
    let is_name = has_inner_capital
        && (core.starts_with(char::is_lowercase)
            || core.starts_with("Delivery")
            || core.ends_with("Count"))
        && !DICTIONARY.iter().any(|known| known == core);
    // A unit whose dot ends the sentence.
    if word == "s." {
        return "seconds.".to_owned();
    }
    // SHA is spoken as a word, which Harper does not know.
    if is_path || is_name || core.starts_with("SHA-") {
        word.replacen(core, "`code`", 1)
    } else {
        word.to_owned()
    }
}

/// The rows of the tables below a heading of docs/vocabulary.md: their first two columns.
fn vocabulary(heading: &str) -> Vec<(String, String)> {
    let text = read(&root().join("docs/vocabulary.md"));
    let (_, section) = text.split_once(&format!("## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| row.strip_suffix(" |")?.split_once(" | "))
        .map(|(first, second)| (first.to_owned(), second.to_owned()))
        .collect()
}

/// The words that Harper takes besides its own.
static DICTIONARY: LazyLock<Vec<String>> = LazyLock::new(dictionary);

fn dictionary() -> Vec<String> {
    let names = read(&root().join("tests/manual/words.txt"));
    let names = names.lines().filter(|line| !line.starts_with('#'));
    let mut words: Vec<String> = names.map(str::to_owned).collect();
    let mut sorted = words.clone();
    sorted.sort_by_key(|word| word.to_lowercase());
    assert!(
        words == sorted,
        "tests/manual/words.txt is not sorted: {sorted:?}"
    );
    for heading in ["Words of the subject", "Words of the machinery"] {
        for (terms, _) in vocabulary(heading) {
            words.extend(
                terms
                    .split([' ', ','])
                    .filter(|word| !word.is_empty())
                    .map(str::to_owned),
            );
        }
    }
    let possessive: Vec<String> = words.iter().map(|word| format!("{word}'s")).collect();
    words.extend(possessive);
    words
}

/// What is wrong with some texts, by their names: lines for people.
fn problems(texts: &[(String, String)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (avoided, instead) in vocabulary("Rules for prose") {
        for phrase in avoided.split(", ").filter(|phrase| *phrase != "not") {
            for (name, text) in texts {
                if contains_phrase(&text.to_lowercase(), phrase) {
                    problems.push(format!("{name}: \"{phrase}\": rather {instead}"));
                }
            }
        }
    }
    for finding in harper(texts) {
        let part = |key: &str| finding[key].as_str().unwrap().to_owned(); // Harper takes one spelling of a word, by case.
        if DICTIONARY.contains(&part("found")) {
            continue;
        }
        problems.push(format!(
            "{}: \"{}\": {} ({})",
            part("name"),
            part("found"),
            part("message"),
            part("rule")
        ));
    }
    problems
}

/// Whether a text has a phrase as whole words, outside of code.
fn contains_phrase(text: &str, phrase: &str) -> bool {
    let outside: String = text.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    outside.match_indices(phrase).any(|(place, _)| {
        let is_word = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
        !is_word(outside[..place].chars().next_back())
            && !is_word(outside[place + phrase.len()..].chars().next())
    })
}

fn harper(texts: &[(String, String)]) -> Vec<Value> {
    let texts: Vec<Value> = texts
        .iter()
        .map(|(name, text)| json!({"name": name, "text": text}))
        .collect();
    let input = json!({"dictionary": *DICTIONARY, "texts": texts}).to_string();
    assert!(
        root().join("target/node/node_modules/harper.js").exists(),
        "Harper is not below target/node: tests/run installs it"
    );
    let mut node = Command::new("node")
        .arg(root().join("tests/manual/prose.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    node.stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Placeholders of Prometheus in an alert's text, as words.
fn without_placeholders(text: &str) -> String {
    let mut parts = text.split("{{");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        plain.push_str("`x`");
        plain.push_str(part.split_once("}}").map_or("", |(_, rest)| rest));
    }
    plain
}

#[test]
fn what_users_read_is_plain_english() {
    let mut texts = Vec::new();
    let mut pages = vec![
        root().join("README.md"),
        root().join("CONTRIBUTING.md"),
        root().join("SECURITY.md"),
    ];
    // The reference of metrics is made of HELP texts, which are read below.
    pages.extend(
        files(&root().join("docs"), "md")
            .into_iter()
            .filter(|path| !path.ends_with("metrics.md")),
    );
    for page in pages {
        let text = read(&page);
        // The rules for prose name what they avoid.
        let text = if page.ends_with("vocabulary.md") {
            text.split("| not | but |").next().unwrap().to_owned()
        } else {
            text
        };
        texts.push((relative(&page), prose(&text)));
    }
    let families: Value = serde_json::from_str(&read(&root().join("docs/families.json"))).unwrap();
    for family in families.as_array().unwrap() {
        let part = |key: &str| family[key].as_str().unwrap();
        texts.push((format!("HELP of {}", part("name")), prose(part("help"))));
    }
    let alerts: Value =
        serde_json::from_str(&read(&root().join("dashboards/mixin/alerts/alerts.json"))).unwrap();
    for rule in alerts
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
    {
        for key in ["summary", "description"] {
            let text = rule["annotations"][key].as_str().unwrap();
            texts.push((
                format!("{key} of {}", rule["alert"]),
                prose(&without_placeholders(text)),
            ));
        }
    }
    assert!(texts.len() > 250, "{}", texts.len());
    let problems = problems(&texts);
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

#[test]
fn mistakes_and_avoided_words_are_found_and_code_is_left_alone() {
    let long = "word and ".repeat(25);
    let text = format!(
        "# Whoever reads\n\nThis is a error, and the the recieved number. {long} end.\n\n| In order to see | `whoever` |\n|---|---|\n\
        \n```sh\nrecieve a error\n```\n\nIn tests/manual/xyzzy.rs all is well."
    );
    let problems = problems(&[("page".to_owned(), prose(&text))]);
    let mut rules: Vec<&str> = problems
        .iter()
        .map(|problem| match problem.rsplit_once('(') {
            Some((_, rule)) => rule.trim_end_matches(')'),
            None => problem.split('"').nth(1).unwrap(),
        })
        .collect();
    rules.sort_unstable();
    assert_eq!(
        rules,
        [
            "AnA",
            "LongSentences",
            "RepeatedWords",
            "SpellCheck",
            "in order to",
            "whoever"
        ],
        "{problems:#?}"
    );
}
