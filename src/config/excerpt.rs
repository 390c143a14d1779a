//! The line of a file to which a problem belongs, as it can be shown: without any secret.
//!
//! Nothing of a line is shown unless it is known to be harmless: names of keys, and values of keys that the
//! schema knows and that hold no secret. A secret under a misspelt key, in a comment, or in a file that is no YAML is
//! so hidden too.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
    path::Path,
};

use saphyr_parser::{Event, Parser};

use super::{
    errors::{Excerpt, Problem},
    schema::{self, Holds, Key, Section},
    vendors,
};
use crate::{providers::Vendors, redact};

/// What stands for what is not shown.
const MASK: &str = "***";
/// So much of a long line is shown, around the place.
const MAX_CHARACTERS: usize = 110;
/// The most bytes of a line that is shown at all.
const MAX_LINE: usize = 64 << 10;
/// So much of it stands before the place.
const BEFORE: usize = 40;
/// What gives a YAML file its structure.
const PUNCTUATION: &str = "-:,{}[]?";

/// Which values of a file may be shown.
#[derive(Clone, Copy)]
pub(super) enum Rules {
    /// A configuration, or a list of messages, of these vendors.
    Configuration(Vendors),
    /// The web configuration.
    Web,
}

/// The keys of the web configuration whose values hold no secret.
const OF_WEB: [&str; 13] = [
    "cert_file",
    "key_file",
    "client_ca_file",
    "client_auth_type",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "curve_preferences",
    "prefer_server_cipher_suites",
    "http2",
    "interval",
    "burst",
];
/// The mappings of the configuration whose keys the user chooses, and whose values are shown.
const CHOSEN: [&str; 2] = ["labels", "dataset_intervals"];

/// What is known of keys by their names alone, over all sections.
struct Keys {
    /// Those with secrets in them, or below them.
    secrets: HashSet<&'static str>,
    /// What the others hold.
    others: HashMap<&'static str, Holds>,
}

impl Keys {
    fn new(rules: Rules) -> Keys {
        match rules {
            Rules::Web => Keys {
                secrets: HashSet::new(),
                others: OF_WEB.into_iter().map(|name| (name, Holds::Text)).collect(),
            },
            Rules::Configuration(vendors) => {
                let sections = Section::ALL.into_iter();
                let all: Vec<_> = sections
                    .flat_map(|section| schema::keys(vendors, section))
                    .collect();
                let is_secret = |key: &&Key| {
                    key.holds == Holds::Secret
                        || key.name == "headers"
                        || vendors::holds_secrets(vendors, key.name)
                };
                let secrets: HashSet<_> =
                    all.iter().filter(is_secret).map(|key| key.name).collect();
                let others = all.iter().filter(|key| !secrets.contains(key.name));
                Keys {
                    others: others.map(|key| (key.name, key.holds)).collect(),
                    secrets,
                }
            }
        }
    }

    /// Whether there is a key of that name.
    fn knows(&self, key: &str) -> bool {
        self.secrets.contains(key) || self.others.contains_key(key)
    }

    /// Whether the value below these keys may be shown, outermost first.
    fn show(&self, keys: &[String], written: &str) -> bool {
        // The name of a variable is no secret.
        let is_variable = written.starts_with("${")
            && written.ends_with('}')
            && written.matches(['$', '{', '}', ' ']).count() == 3;
        if is_variable {
            return true;
        }
        let Some((key, above)) = keys.split_last() else {
            return false;
        };
        if keys.iter().any(|own| self.secrets.contains(own.as_str())) {
            return false;
        }
        if above
            .last()
            .is_some_and(|own| CHOSEN.contains(&own.as_str()))
        {
            return true;
        }
        // The path of a file with a secret.
        if key
            .strip_suffix("_file")
            .is_some_and(|own| self.secrets.contains(own))
        {
            return true;
        }
        match self.others.get(key.as_str()) {
            None => false,
            // Parts of a URL can be secrets.
            Some(Holds::Url) => !written.contains(['@', '?', '%', '#']),
            // The applications of some vendors are half a secret.
            Some(Holds::Text) if key == "id" => written.bytes().all(|own| own.is_ascii_digit()),
            Some(_) => true,
        }
    }

    /// Whether the names of keys below these may be shown.
    fn show_keys(&self, above: &[String]) -> bool {
        let is_harmless = |own: &String| self.others.contains_key(own.as_str());
        self.secrets.is_empty() || above.iter().all(is_harmless)
    }
}

/// A scalar of the file.
struct Token {
    /// Its lines, from 1, and its columns in the first and the last of them, from 0.
    lines: (usize, usize),
    columns: (usize, usize),
    is_shown: bool,
}

/// The scalars of a file, as far as it can be read.
struct Tokens {
    keys: Keys,
    tokens: Vec<Token>,
    /// The first line that could not be read.
    unread_from: Option<usize>,
}

impl Tokens {
    /// The scalars on these lines.
    fn read(text: &str, rules: Rules, wanted: &BTreeSet<usize>) -> Tokens {
        let mut all = Tokens {
            keys: Keys::new(rules),
            tokens: Vec::new(),
            unread_from: None,
        };
        // The keys that are open; `None`: a list, or a mapping that waits for its next key.
        let mut open: Vec<(bool, Option<String>)> = Vec::new();
        let mut last = 1;
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else {
                all.unread_from = Some(last);
                break;
            };
            last = span.start.line().max(last);
            let keys = |open: &[(bool, Option<String>)]| -> Vec<String> {
                open.iter().filter_map(|(_, key)| key.clone()).collect()
            };
            match event {
                Event::SequenceStart(..) => open.push((false, None)),
                Event::MappingStart(..) => open.push((true, None)),
                Event::SequenceEnd | Event::MappingEnd => {
                    open.pop();
                    close_value(&mut open);
                }
                Event::Alias(_) => close_value(&mut open),
                Event::Scalar(written, ..) => {
                    let (start, end) = (span.start, span.end);
                    let mut on_lines = wanted.range(start.line()..=end.line().max(start.line()));
                    let above = on_lines.next().map(|_| keys(&open));
                    let is_key = match open.last_mut() {
                        Some((true, key @ None)) => {
                            *key = Some(written.to_string());
                            true
                        }
                        _ => {
                            close_value(&mut open);
                            false
                        }
                    };
                    let Some(above) = above else { continue };
                    let is_shown = if is_key {
                        all.keys.show_keys(&above)
                    } else {
                        all.keys.show(&above, &written)
                    };
                    all.tokens.push(Token {
                        lines: (start.line(), end.line()),
                        columns: (start.col(), end.col()),
                        is_shown,
                    });
                }
                _ => {}
            }
        }
        all
    }

    /// The part of a line that a scalar takes.
    fn columns(token: &Token, line: usize, length: usize) -> Range<usize> {
        let start = if token.lines.0 == line {
            token.columns.0
        } else {
            0
        };
        let end = if token.lines.1 == line {
            token.columns.1
        } else {
            length
        };
        start.min(length)..end.min(length)
    }

    /// The scalars on a part of a line.
    fn on(&self, line: usize, columns: Range<usize>) -> impl Iterator<Item = &Token> {
        let is_before = |own: &Token| (own.lines.1, own.columns.1) < (line, columns.start);
        let from = self.tokens.partition_point(is_before);
        let tokens = self.tokens[from..].iter();
        tokens.take_while(move |own| (own.lines.0, own.columns.0) < (line, columns.end))
    }
}

/// The value of the key that is open has come.
fn close_value(open: &mut [(bool, Option<String>)]) {
    if let Some((true, key)) = open.last_mut() {
        *key = None;
    }
}

/// Gives the problems of a file their lines.
pub(super) fn attach(problems: &mut [Problem], file: &Path, text: &str, rules: Rules) {
    let here = |own: &Problem| *own.place.file == *file;
    let all = problems.iter().filter(|own| here(own));
    let wanted: BTreeSet<usize> = all.map(|own| own.place.line).collect();
    if wanted.is_empty() {
        return;
    }
    let tokens = Tokens::read(text, rules, &wanted);
    let lines: HashMap<usize, &str> = (1..)
        .zip(text.lines())
        .filter(|(number, line)| wanted.contains(number) && line.len() <= MAX_LINE)
        .collect();
    for problem in problems.iter_mut().filter(|own| here(own)) {
        let place = &problem.place;
        if let Some(line) = lines.get(&place.line) {
            problem.excerpt = Some(excerpt(&tokens, line, place.line, place.column - 1));
        }
    }
}

fn excerpt(tokens: &Tokens, text: &str, line: usize, column: usize) -> Excerpt {
    // A line that is longer than any screen is not looked at to its end.
    let (skipped, characters) = part(text, column);
    let length = skipped + characters.len();
    let is_unread = tokens.unread_from.is_some_and(|unread| line >= unread);
    let mut shown = vec![false; characters.len()];
    let mut is_token = vec![false; characters.len()];
    let mut marked = 1;
    for token in tokens.on(line, skipped..length) {
        let columns = Tokens::columns(token, line, length);
        if columns.start == column {
            marked = columns.len();
        }
        let columns = columns.start.max(skipped)..columns.end;
        for index in columns.map(|column| column - skipped) {
            is_token[index] = true;
            shown[index] = token.is_shown;
        }
    }
    let mut end = characters.len();
    for (index, character) in characters.iter().enumerate().filter(|_| !is_unread) {
        let follows_space = index == 0 || characters[index - 1].is_whitespace();
        if !is_token[index] && *character == '#' && follows_space {
            // Nobody knows what is in a comment.
            end = index;
            break;
        }
        shown[index] |=
            !is_token[index] && (character.is_whitespace() || PUNCTUATION.contains(*character));
    }
    if is_unread {
        let harmless = simple_line(&characters, &tokens.keys);
        shown = (0..characters.len())
            .map(|index| harmless.contains(&index))
            .collect();
    }
    let mut drawn = String::new();
    let (mut drawn_length, mut start, mut stop) = (0, None, 0);
    let mark = column.saturating_sub(skipped);
    if skipped > 0 {
        drawn.push('…');
        drawn_length += 1;
    }
    for index in 0..end {
        let begins_mask = !shown[index] && (index == 0 || shown[index - 1] || index == mark);
        if index == mark {
            start = Some(drawn_length);
        }
        if shown[index] {
            let character = characters[index];
            drawn.push(if character.is_control() || character == '\t' {
                ' '
            } else {
                character
            });
            drawn_length += 1;
        } else if begins_mask {
            drawn.push_str(MASK);
            drawn_length += MASK.len();
        }
        if (mark..mark + marked.max(1)).contains(&index) {
            stop = drawn_length;
        }
    }
    let trimmed = drawn.trim_end().to_owned();
    let start = start.unwrap_or(trimmed.chars().count());
    let goes_on = end == characters.len() && text.chars().nth(length).is_some();
    let line = if goes_on { trimmed + "…" } else { trimmed };
    Excerpt {
        line: redact::masked(&line).into_owned(),
        start,
        length: stop.saturating_sub(start),
    }
}

/// The part of a line around a column: how many characters stand before it, and the characters.
fn part(text: &str, column: usize) -> (usize, Vec<char>) {
    let is_long = text.chars().nth(MAX_CHARACTERS).is_some();
    let skipped = if is_long && column > BEFORE {
        column - BEFORE
    } else {
        0
    };
    let characters = text.chars().skip(skipped).take(MAX_CHARACTERS);
    (skipped, characters.collect())
}

/// What can be shown of a line that stands in no known place: spaces and dashes before a key, the key, and its
/// value if that is a plain word under a key without secrets.
fn simple_line(characters: &[char], keys: &Keys) -> Range<usize> {
    let is_key = |own: &char| own.is_ascii_alphanumeric() || *own == '_';
    let is_lead = |own: &&char| **own == ' ' || **own == '-';
    let lead = characters.iter().take_while(is_lead).count();
    let length = characters[lead..]
        .iter()
        .take_while(|own| is_key(own))
        .count();
    let key: String = characters[lead..lead + length].iter().collect();
    let colon = lead + length;
    // Where a quote is open, a line can be the middle of a secret.
    if !keys.knows(&key) || characters.get(colon) != Some(&':') {
        return 0..lead;
    }
    let value: String = characters[colon + 1..].iter().collect();
    let is_plain = value
        .chars()
        .all(|own| own.is_ascii_alphanumeric() || " _./".contains(own));
    let is_shown = is_plain && keys.show(std::slice::from_ref(&key), value.trim());
    let end = if is_shown {
        characters.len()
    } else {
        (colon + 2).min(characters.len())
    };
    0..end
}
