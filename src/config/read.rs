//! Reads mappings of the tree along the schema. Whatever is wrong is noted, and reading goes on
//! with the default, so that every problem is found at once.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time,
};

use jiff::Timestamp;
use reqwest::Url;

use super::{
    duration,
    errors::{MAX_ERRORS, Position, Problem},
    excerpt::{self, Rules},
    permissions,
    schema::{self, Holds, Section},
    tree::{Node, Tree},
};
use crate::{
    files,
    providers::{Vendor, Vendors},
    secret::{Secret, SecretSource},
};

/// What reading one configuration shares: its problems, and where relative paths begin.
pub(super) struct Context {
    /// The vendors that a provider can be of.
    pub(super) vendors: Vendors,
    pub(super) directory: PathBuf,
    pub(super) errors: RefCell<Vec<Problem>>,
    /// What is odd and no error.
    pub(super) warnings: RefCell<Vec<Problem>>,
    /// The texts of the files that were read besides the first.
    pub(super) sources: RefCell<Vec<(Arc<Path>, String)>>,
}

impl Context {
    /// Problems are added to `errors`.
    pub(super) fn new(vendors: Vendors, directory: PathBuf, errors: Vec<Problem>) -> Context {
        Context {
            vendors,
            directory,
            errors: RefCell::new(errors),
            warnings: RefCell::default(),
            sources: RefCell::default(),
        }
    }

    /// Notes a problem, unless there are too many of them already: they are told together.
    pub(super) fn error(&self, place: &Position, text: impl Into<String>) {
        if self.is_full() {
            return;
        }
        let problem = Problem::new(place.clone(), text);
        self.errors.borrow_mut().push(problem);
    }

    /// Whether there are so many problems that no more are told.
    pub(super) fn is_full(&self) -> bool {
        self.errors.borrow().len() > MAX_ERRORS
    }

    /// Notes what is odd and no error, once.
    pub(super) fn warn(&self, place: &Position, text: impl Into<String>) {
        let warning = Problem::new(place.clone(), text);
        let mut warnings = self.warnings.borrow_mut();
        // What stands once in provider_defaults is read once for each provider.
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Notes that others can read a file with a secret, which the key `name` names.
    pub(super) fn warn_if_readable(&self, name: &str, place: &Position, path: &Path) {
        if let Some(problem) = permissions::problem(path) {
            self.warn(place, format!("{name}: {problem}"));
        }
    }

    /// The errors and the warnings, each with its line of the file; `text` is that of the first file.
    pub(super) fn into_problems(
        self,
        file: &Path,
        text: &str,
        rules: Rules,
    ) -> (Vec<Problem>, Vec<Problem>) {
        let mut errors = self.errors.into_inner();
        errors.sort();
        // What stands once in provider_defaults is read once for each provider.
        errors.dedup();
        let mut warnings = self.warnings.into_inner();
        let others = self.sources.into_inner();
        let others = others.iter().map(|(file, text)| (&**file, text.as_str()));
        for (file, text) in std::iter::once((file, text)).chain(others) {
            excerpt::attach(&mut errors, file, text, rules);
            excerpt::attach(&mut warnings, file, text, rules);
        }
        (errors, warnings)
    }

    /// A path of the file, as seen from the process.
    pub(super) fn path(&self, text: impl AsRef<Path>) -> PathBuf {
        self.directory.join(text)
    }

    /// A scalar's text.
    pub(super) fn text<'n>(&self, name: &str, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Tree::Scalar { text, .. } if !text.is_empty() => Some(text),
            Tree::Scalar { .. } | Tree::Null => {
                self.error(&node.place, format!("{name} has no value"));
                None
            }
            _ => {
                self.error(
                    &node.place,
                    format!("{name} has to be one value, not {}", node.describe()),
                );
                None
            }
        }
    }

    /// A list's items; nothing is an empty list.
    pub(super) fn list<'n>(&self, name: &str, node: &'n Node) -> &'n [Node] {
        match &node.value {
            Tree::List(items) => items,
            Tree::Null => &[],
            _ => {
                self.error(
                    &node.place,
                    format!("{name} has to be a list, not {}", node.describe()),
                );
                &[]
            }
        }
    }

    /// Reads a value by `parse`; a bad one is described by `want`.
    fn parsed<T>(
        &self,
        name: &str,
        node: &Node,
        want: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name, node)?;
        let value = parse(text);
        if value.is_none() {
            self.error(
                &node.place,
                format!("{name}: {} is no {want}", node.describe()),
            );
        }
        value
    }
}

/// A mapping with its section's keys.
pub(super) struct Map<'c> {
    context: &'c Context,
    section: Section,
    pub(super) place: Position,
    node: Option<&'c Node>,
}

impl<'c> Map<'c> {
    /// Checks a mapping's keys: unknown ones are errors. A section
    /// that is not there, or empty, is read as one without keys.
    pub(super) fn new(
        context: &'c Context,
        section: Section,
        node: Option<&'c Node>,
        parent: &Position,
    ) -> Map<'c> {
        let place = node.map_or(parent, |node| &node.place).clone();
        match node.map(|node| &node.value) {
            None | Some(Tree::Null) => {}
            Some(Tree::Map(entries)) => {
                for (name, place, _) in entries {
                    if context.is_full() {
                        break;
                    }
                    if let Some(problem) = unknown(context.vendors, section, name) {
                        context.error(place, problem);
                    }
                }
            }
            Some(_) => {
                let what = node.map(Node::describe).unwrap_or_default();
                let title = section.title().replace('`', "");
                context.error(&place, format!("{title} has to be a mapping, not {what}"));
            }
        }
        Map {
            context,
            section,
            place,
            node,
        }
    }

    /// The key of that name.
    fn key(&self, name: &str) -> Option<schema::Key> {
        schema::find(self.context.vendors, self.section, name)
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<&'c Node> {
        debug_assert!(self.key(name).is_some(), "{name} is in no table");
        self.node.and_then(|node| node.get(name))
    }

    /// The value under a name that need not be in the table: a secret's file.
    pub(super) fn node_of(&self, name: &str) -> Option<&'c Node> {
        self.node.and_then(|node| node.get(name))
    }

    /// Where the value of a key (or its file) stands; else where the mapping does.
    pub(super) fn place_of(&self, name: &str) -> &Position {
        let node = self.node_of(name);
        let node = node.or_else(|| self.node_of(&format!("{name}_file")));
        node.map_or(&self.place, |node| &node.place)
    }

    /// Whether the key (or its file) is there.
    pub(super) fn has(&self, name: &str) -> bool {
        let there = |name: &str| self.node_of(name).is_some();
        there(name) || there(&format!("{name}_file"))
    }

    /// The vendors that a provider can be of.
    pub(super) fn vendors(&self) -> Vendors {
        self.context.vendors
    }

    /// The names of the section's keys.
    pub(super) fn key_names(&self) -> Vec<&'static str> {
        let keys = schema::keys(self.context.vendors, self.section);
        keys.iter().map(|key| key.name).collect()
    }

    /// The section below a key.
    pub(super) fn section(&self, name: &str, section: Section) -> Map<'c> {
        Map::new(self.context, section, self.get(name), &self.place)
    }

    /// An error about a key that is missing.
    pub(super) fn missing(&self, name: &str, hint: &str) {
        self.context
            .error(&self.place, format!("{name} is missing{hint}"));
    }

    fn value<T>(&self, name: &str, want: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.get(name)
            .and_then(|node| self.context.parsed(name, node, want, parse))
    }

    /// The value of a key, else its default from the table.
    fn or_default<T: Default>(
        &self,
        name: &str,
        want: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        self.value(name, want, &parse)
            .or_else(|| parse(self.key(name).map_or("", |key| key.default)))
            .unwrap_or_default()
    }

    pub(super) fn text(&self, name: &str) -> Option<Arc<str>> {
        self.get(name)
            .and_then(|node| self.context.text(name, node))
            .map(Arc::from)
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(|text| self.context.path(&*text))
    }

    pub(super) fn default_path(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        path.unwrap_or_else(|| self.context.path(schema::default(self.section, name)))
    }

    pub(super) fn duration(&self, name: &str) -> time::Duration {
        self.or_default(name, DURATION, duration::parse)
    }

    pub(super) fn optional_duration(&self, name: &str) -> Option<time::Duration> {
        self.value(name, DURATION, duration::parse)
    }

    pub(super) fn count(&self, name: &str) -> u64 {
        self.or_default(name, "whole number of at least 0", |text| text.parse().ok())
    }

    pub(super) fn size(&self, name: &str) -> usize {
        self.count(name).try_into().unwrap_or(usize::MAX)
    }

    pub(super) fn rate(&self, name: &str) -> f64 {
        self.or_default(name, "number above 0", |text| {
            text.parse()
                .ok()
                .filter(|rate: &f64| rate.is_finite() && *rate > 0.0)
        })
    }

    pub(super) fn truth(&self, name: &str) -> bool {
        self.or_default(name, TRUTH, truth)
    }

    pub(super) fn optional_truth(&self, name: &str) -> Option<bool> {
        self.value(name, TRUTH, truth)
    }

    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        self.value(name, "time; write it like 2026-11-01T10:00:00Z", |text| {
            text.parse().ok()
        })
    }

    pub(super) fn url(&self, name: &str) -> Option<Url> {
        let node = self.get(name)?;
        let text = self.context.text(name, node)?;
        match web_url(text, &["http", "https"]) {
            Ok(url) => Some(url),
            Err(problem) => {
                // What is only a host, with its port, cannot hold a password.
                let is_digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
                let host = match text.rsplit_once(':') {
                    Some((host, port)) if is_digits(port) => host,
                    _ => text,
                };
                let is_host = !host.contains(['@', '?', ':', '%', '#', '/']);
                let problem = if is_host {
                    format!(": {text:?} is no URL")
                } else {
                    format!(" {problem}")
                };
                let text = format!("{name}{problem}; write it like https://example.com");
                self.context.error(&node.place, text);
                None
            }
        }
    }

    /// A value that is one of some names.
    fn choice<T>(
        &self,
        name: &str,
        names: &[&str],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let written = match self.get(name).map(|node| &node.value) {
            Some(Tree::Scalar { text, .. }) => text.as_str(),
            _ => "",
        };
        let want = format!("value of {name}; {}", choices(names, written));
        self.value(name, &want, parse)
    }

    /// One of the words of the table, by its place there.
    pub(super) fn word(&self, name: &str) -> Option<&'static str> {
        let Some(Holds::Word(words)) = self.key(name).map(|key| key.holds) else {
            return None;
        };
        self.choice(name, words, |text| {
            words.iter().find(|word| **word == text).copied()
        })
    }

    /// The vendor that a key names.
    pub(super) fn vendor(&self, name: &str) -> Option<&'static Vendor> {
        let vendors = self.context.vendors;
        let names: Vec<_> = vendors.iter().map(|vendor| vendor.name).collect();
        self.choice(name, &names, |text| {
            vendors.iter().find(|vendor| vendor.name == text).copied()
        })
    }

    /// A mapping of chosen names to texts, each with its places.
    pub(super) fn names(&self, name: &str) -> Vec<(&'c str, &'c Position, &'c Node)> {
        match self.get(name) {
            None => Vec::new(),
            Some(node) => match &node.value {
                Tree::Map(entries) => entries
                    .iter()
                    .map(|(key, place, node)| (key.as_str(), place, node))
                    .collect(),
                Tree::Null => Vec::new(),
                _ => {
                    let text = format!("{name} has to be a mapping, not {}", node.describe());
                    self.context.error(&node.place, text);
                    Vec::new()
                }
            },
        }
    }

    /// A secret, from the file itself or from the file that it names.
    pub(super) fn secret(&self, name: &str) -> Option<SecretSource> {
        let by_file = format!("{name}_file");
        let file = self.node_of(&by_file);
        match (self.get(name), file) {
            (Some(_), Some(file)) => {
                let text = format!("{name} and {by_file} are both there; keep one of them");
                self.context.error(&file.place, text);
                None
            }
            (Some(node), None) => {
                let value = self.context.text(name, node)?;
                Some(SecretSource {
                    value: Secret::new(value),
                    file: None,
                })
            }
            (None, Some(node)) => {
                let path = self.context.path(self.context.text(&by_file, node)?);
                match secret_in(&path) {
                    Ok(value) => {
                        let context = self.context;
                        context.warn_if_readable(&by_file, &node.place, &path);
                        Some(SecretSource {
                            value,
                            file: Some(path),
                        })
                    }
                    Err(problem) => {
                        let text = format!("{by_file}: {}: {problem}", path.display());
                        self.context.error(&node.place, text);
                        None
                    }
                }
            }
            (None, None) => None,
        }
    }
}

/// A URL with a host and one of these schemes. What is wrong with another one is said without the
/// URL: it can hold a password.
pub(super) fn web_url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL ({error})"))?;
    if !schemes.contains(&url.scheme()) {
        let is_short = text.contains("://") && url.scheme().len() <= 12;
        let scheme = if is_short { url.scheme() } else { "another" };
        return Err(format!(
            "has the scheme {scheme}; there are {}",
            schemes.join(", ")
        ));
    }
    if !url.has_host() {
        return Err("has no host".to_owned());
    }
    Ok(url)
}

const DURATION: &str = "duration; write it like 30s, 5m, 1h30m or 7d";
const TRUTH: &str = "truth value: write true or false";

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// The secret in a file.
fn secret_in(path: &Path) -> Result<Secret, String> {
    let source = SecretSource {
        value: Secret::new(""),
        file: Some(path.to_owned()),
    };
    match source.reread() {
        Ok(Some(secret)) if !secret.expose().is_empty() => Ok(secret),
        Ok(_) => Err("the file is empty".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err("the file is no text".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Whether a file that is only named here can be read.
pub(super) fn readable(path: &Path) -> Result<(), String> {
    files::read(path, files::MAX_PEM)
        .map(drop)
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// What is wrong with a key's name; `None`: nothing.
fn unknown(vendors: Vendors, section: Section, name: &str) -> Option<String> {
    if schema::find(vendors, section, name).is_some() {
        return None;
    }
    let secret = |key: schema::Key| key.holds == Holds::Secret;
    if let Some(plain) = name.strip_suffix("_file")
        && schema::find(vendors, section, plain).is_some_and(secret)
    {
        return None;
    }
    let keys = schema::keys(vendors, section);
    let mut names: Vec<_> = keys.iter().map(|key| key.name).collect();
    Some(match nearest(&names, name) {
        Some(nearest) => format!("unknown key {name}; did you mean {nearest}?"),
        None => {
            names.sort_unstable();
            format!(
                "unknown key {name}; {} has: {}",
                section.title().replace('`', ""),
                names.join(", ")
            )
        }
    })
}

/// The name that was probably meant; `None`: none of them is near.
fn nearest<'n>(names: &[&'n str], written: &str) -> Option<&'n str> {
    let all = names.iter().map(|known| (distance(known, written), *known));
    let (distance, nearest) = all.min()?;
    (distance <= (1 + nearest.len() / 4).min(3)).then_some(nearest)
}

/// What helps where a name is none of some: the nearest of them first, then all.
pub(super) fn choices(names: &[&str], written: &str) -> String {
    let all = names.join(", ");
    match (names, nearest(names, written)) {
        ([], _) => "there is none".to_owned(),
        ([_], Some(nearest)) => format!("did you mean {nearest}?"),
        (_, Some(nearest)) => format!("did you mean {nearest}? There are {all}"),
        ([only], None) => format!("there is only {only}"),
        (_, None) => format!("there are {all}"),
    }
}

/// How many letters have to be changed, added or taken away to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// The headers of a file: one `Name: value` a line; empty lines and those with `#` are left out.
pub(super) fn headers_in(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut headers = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(index + 1)?;
        headers.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(headers)
}
