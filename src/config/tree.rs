//! A YAML file as a tree that knows the place of everything in it.
//!
//! serde stops at the first error and knows no places; so the parser's events become a tree first,
//! and the schema walks it. `${VAR}` is replaced here, scalar by scalar, so that a value from the
//! environment can never change the file's structure.

use std::{borrow::Cow, collections::HashMap, path::Path, sync::Arc};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::errors::{MAX_ERRORS, Position, Problem};
use crate::redact;

/// How deep mappings and lists may be nested. The schema needs six levels.
const MAX_DEPTH: usize = 32;
/// How large a file may be.
const MAX_BYTES: usize = 64 << 20;

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Position,
    pub(super) value: Tree,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    /// Nothing: `~`, `null`, or empty.
    Null,
    /// Text, a number, a truth value: the schema decides which.
    Scalar {
        /// With the environment's values in it.
        text: String,
        /// As it stands in the file, for error messages.
        written: String,
    },
    /// A list.
    List(Vec<Node>),
    /// Keys, each once, with their places and values.
    Map(Vec<(String, Position, Node)>),
}

/// The environment.
pub(super) type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// Reads `text`; without an environment its values stand as they are. Everything wrong with it is added to `errors`; `None`: it is no YAML at all.
pub(super) fn parse(
    file: &Arc<Path>,
    text: &str,
    environment: Option<&Environment<'_>>,
    errors: &mut Vec<Problem>,
) -> Option<Node> {
    let mut builder = Builder {
        file,
        environment,
        errors,
    };
    let begin = builder.place(Marker::new(0, 1, 0));
    if text.len() > MAX_BYTES {
        builder.error(
            begin,
            format!("the file is larger than {} MiB", MAX_BYTES >> 20),
        );
        return None;
    }
    builder.document(text, begin)
}

struct Builder<'a, 'e> {
    file: &'a Arc<Path>,
    environment: Option<&'a Environment<'e>>,
    errors: &'a mut Vec<Problem>,
}

/// A list or mapping that is not finished yet.
enum Open {
    List {
        place: Position,
        items: Vec<Node>,
    },
    Map {
        place: Position,
        entries: Vec<(String, Position, Node)>,
        /// The lines of the keys, to find one that is there twice without looking through all.
        lines: HashMap<String, usize>,
        key: Option<(String, Position)>,
    },
}

impl Builder<'_, '_> {
    fn place(&self, marker: Marker) -> Position {
        Position {
            file: self.file.clone(),
            line: marker.line().max(1),
            column: marker.col() + 1,
        }
    }

    fn error(&mut self, place: Position, text: impl Into<String>) {
        self.errors.push(Problem::new(place, text));
    }

    fn document(&mut self, text: &str, begin: Position) -> Option<Node> {
        let mut open: Vec<Open> = Vec::new();
        let mut root = None;
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let place = self.place(*error.marker());
                    let line = text.lines().nth(place.line - 1).unwrap_or_default();
                    // The braces of a variable are those of a mapping, where they stand in one.
                    let hint = if line.contains("${") {
                        "; write \"${NAME}\" in quotes here"
                    } else {
                        ""
                    };
                    self.error(place, format!("this is no YAML: {}{hint}", error.info()));
                    return None;
                }
            };
            let place = self.place(span.start);
            let node = match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        self.error(place, "a second document begins: a configuration is one");
                        return None;
                    }
                    continue;
                }
                Event::SequenceStart(..) => {
                    open.push(Open::List {
                        place,
                        items: Vec::new(),
                    });
                    None
                }
                Event::MappingStart(..) => {
                    open.push(Open::Map {
                        place,
                        entries: Vec::new(),
                        lines: HashMap::new(),
                        key: None,
                    });
                    None
                }
                Event::Scalar(text, style, ..) => Some(self.scalar(&open, place, &text, style)),
                Event::Alias(_) => {
                    self.error(
                        place.clone(),
                        "aliases (*name) are not taken: write the value out",
                    );
                    Some(Node {
                        place,
                        value: Tree::Null,
                    })
                }
                Event::SequenceEnd | Event::MappingEnd => open.pop().map(Open::close),
                _ => continue,
            };
            if open.len() > MAX_DEPTH {
                let place = self.place(span.start);
                self.error(place, format!("nested deeper than {MAX_DEPTH} levels"));
                return None;
            }
            if self.errors.len() >= MAX_ERRORS {
                let place = self.place(span.start);
                self.error(
                    place,
                    "there are more problems; from here on the file is not read",
                );
                return None;
            }
            let Some(node) = node else { continue };
            match open.last_mut() {
                None => root = Some(node),
                Some(Open::List { items, .. }) => items.push(node),
                Some(Open::Map {
                    entries,
                    lines,
                    key,
                    ..
                }) => match key.take() {
                    Some((key, place)) => {
                        if let Some(first) = lines.get(&key) {
                            let text =
                                format!("{key} is there twice; the first one is in line {first}");
                            self.errors.push(Problem::new(place, text));
                        } else {
                            lines.insert(key.clone(), place.line);
                            entries.push((key, place, node));
                        }
                    }
                    None => match node.value {
                        Tree::Scalar { written, .. } => *key = Some((written, node.place)),
                        _ => {
                            let text = "a key has to be a word".to_owned();
                            self.errors.push(Problem::new(node.place.clone(), text));
                            *key = Some((String::new(), node.place));
                        }
                    },
                },
            }
        }
        root.or(Some(Node {
            place: begin,
            value: Tree::Null,
        }))
    }

    /// A scalar; one that is a key keeps what is written.
    fn scalar(&mut self, open: &[Open], place: Position, text: &str, style: ScalarStyle) -> Node {
        let is_key = matches!(open.last(), Some(Open::Map { key: None, .. }));
        let written = text.to_owned();
        let plain = style == ScalarStyle::Plain;
        let value = if is_key {
            Tree::Scalar {
                text: written.clone(),
                written,
            }
        } else if plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            Tree::Null
        } else {
            Tree::Scalar {
                text: self.substitute(&place, text).into_owned(),
                written,
            }
        };
        Node { place, value }
    }

    /// Replaces `${VAR}` from the environment, and `$$` by a dollar.
    fn substitute<'t>(&mut self, place: &Position, text: &'t str) -> Cow<'t, str> {
        let Some(environment) = self.environment.filter(|_| text.contains('$')) else {
            return Cow::Borrowed(text);
        };
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            replaced.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                replaced.push('$');
                rest = after;
            } else if let Some((name, after)) = rest
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'))
            {
                rest = after;
                match environment(name) {
                    Some(value) => replaced.push_str(&value),
                    None => self.error(
                        place.clone(),
                        format!(
                            "the environment has no variable {name}; set it, or write $$ for a dollar"
                        ),
                    ),
                }
            } else {
                replaced.push('$');
            }
        }
        replaced.push_str(rest);
        Cow::Owned(replaced)
    }
}

impl Open {
    fn close(self) -> Node {
        match self {
            Open::List { place, items } => Node {
                place,
                value: Tree::List(items),
            },
            Open::Map { place, entries, .. } => Node {
                place,
                value: Tree::Map(entries),
            },
        }
    }
}

impl Node {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Tree::Map(entries) => entries
                .iter()
                .find(|(own, ..)| own == key)
                .map(|(.., node)| node),
            _ => None,
        }
    }

    /// What is there, in words.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Tree::Null => "nothing".to_owned(),
            // A URL can hold a password, also one that is wrong or under a wrong key.
            Tree::Scalar { written, .. } => {
                format!("{:?}", redact::shown(&redact::without_user(written)))
            }
            Tree::List(_) => "a list".to_owned(),
            Tree::Map(_) => "a mapping".to_owned(),
        }
    }

    /// This mapping with what `defaults` has besides: mappings are merged key by key, anything
    /// else is taken from here. `x` here hides `x_file` there, and the other way round.
    pub(super) fn over(&self, defaults: &Node) -> Node {
        let (Tree::Map(own), Tree::Map(others)) = (&self.value, &defaults.value) else {
            return self.clone();
        };
        let mut entries = own.clone();
        let places: HashMap<&str, usize> = own
            .iter()
            .enumerate()
            .map(|(index, (key, ..))| (key.as_str(), index))
            .collect();
        for (key, place, node) in others {
            let twin = match key.strip_suffix("_file") {
                Some(plain) => plain.to_owned(),
                None => format!("{key}_file"),
            };
            if let Some(index) = places.get(key.as_str()) {
                let found = &mut entries[*index].2;
                *found = found.over(node);
            } else if !places.contains_key(twin.as_str()) {
                entries.push((key.clone(), place.clone(), node.clone()));
            }
        }
        Node {
            place: self.place.clone(),
            value: Tree::Map(entries),
        }
    }
}
