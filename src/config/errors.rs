//! What is wrong with a configuration: every problem at once, each with its place.

use std::{fmt, path::Path, sync::Arc};

/// So many problems are told; a file with more of them is another kind of file.
pub(super) const MAX_ERRORS: usize = 1000;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One thing in a file that is wrong, or odd. Its texts never hold a secret. `Display` is one line, for logs;
/// [`Problem::report`] shows the place to a person.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Position,
    /// What is wrong.
    pub text: String,
    /// What helps; empty: the text says it.
    pub help: String,
    /// The line of the file.
    pub(super) excerpt: Option<Excerpt>,
}

impl Problem {
    /// A problem. What stands after the last semicolon of `text` is what helps.
    pub fn new(place: Position, text: impl Into<String>) -> Problem {
        let text = text.into();
        // A semicolon in a quoted value divides nothing.
        let is_outside = |help: &str| help.matches('"').count().is_multiple_of(2);
        let (text, help) = match text.rsplit_once("; ") {
            Some((text, help)) if is_outside(help) => (text.to_owned(), help.to_owned()),
            _ => (text, String::new()),
        };
        Problem {
            place,
            text,
            help,
            excerpt: None,
        }
    }

    /// The problem with the line of the file, as compilers show it. `kind` is `error` or `warning`.
    pub fn report(&self, kind: &str) -> String {
        let Problem {
            place, text, help, ..
        } = self;
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let mut report = format!("{kind}: {text}\n{margin}--> {place}\n");
        if let Some(excerpt) = &self.excerpt {
            let mark = excerpt.mark();
            report += &format!(
                "{margin} |\n{number} | {}\n{margin} | {mark}\n",
                excerpt.line
            );
        }
        if !help.is_empty() {
            report += &format!("{margin} = help: {help}\n");
        }
        report
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

/// A line with a place in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Excerpt {
    /// The line, masked.
    pub(super) line: String,
    /// The marked characters.
    pub(super) start: usize,
    pub(super) length: usize,
}

impl Excerpt {
    /// The line below: carets under the place.
    fn mark(&self) -> String {
        let Excerpt { start, length, .. } = self;
        format!("{}{}", " ".repeat(*start), "^".repeat((*length).max(1)))
    }
}

/// All problems of a configuration, in the order of their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
