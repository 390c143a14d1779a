//! Reading a list out of a body that may be cut off anywhere: every whole item, and where the rest
//! begins. One pass over the bytes, so that a large body costs no more than its size.

use std::ops::Range;

/// Where a body stops being one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// The first byte after the last whole item.
    pub(super) at: usize,
    /// What is wrong there, without the content.
    pub(super) what: String,
}

/// What a body has at its top level.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// The items of the list, as ranges of the body.
    pub(super) items: Vec<Range<usize>>,
    /// What is wrong with the rest.
    pub(super) broken: Option<Broken>,
    /// The names of the other fields, as ranges of the body.
    pub(super) others: Vec<Range<usize>>,
}

/// The most names of other fields that are noted.
const MAX_OTHERS: usize = 100;

/// The items of the top-level list `name`, and what else there is.
pub(super) fn items(body: &[u8], name: &str) -> Items {
    let mut found = Vec::new();
    let mut scanner = Scanner {
        body,
        at: 0,
        others: Vec::new(),
    };
    let broken = match scanner.object(name, &mut found) {
        Ok(true) => None,
        Ok(false) => Some(Broken {
            at: 0,
            what: format!("there is no list {name}"),
        }),
        Err(what) => {
            // Everything after the last whole item is the rest.
            let at = found.last().map_or(0, |item: &Range<usize>| item.end);
            Some(Broken {
                at,
                what: what.to_owned(),
            })
        }
    };
    Items {
        items: found,
        broken,
        others: scanner.others,
    }
}

/// A body with the list `name` alone: these items of `body`, and what follows the last whole one in
/// a broken body.
pub(super) fn rest(
    body: &[u8],
    name: &str,
    items: &[Range<usize>],
    broken: Option<&Broken>,
) -> Vec<u8> {
    if items.is_empty() && broken.is_some_and(|broken| broken.at == 0) {
        return body.to_vec();
    }
    let mut rest = format!("{{\"{name}\":[").into_bytes();
    let items: Vec<&[u8]> = items.iter().map(|item| &body[item.clone()]).collect();
    rest.extend(items.join(&b','));
    match broken {
        None => rest.extend(b"]}"),
        Some(broken) => {
            let end = body[broken.at..].trim_ascii_start();
            // The comma after an item that is not here.
            let end = match end.strip_prefix(b",") {
                Some(next) if items.is_empty() => next,
                _ => end,
            };
            rest.extend(end);
        }
    }
    rest
}

struct Scanner<'b> {
    body: &'b [u8],
    at: usize,
    others: Vec<Range<usize>>,
}

type Scanned<T> = Result<T, &'static str>;

const CUT: &str = "the body ends in the middle";

impl Scanner<'_> {
    fn peek(&self) -> Scanned<u8> {
        self.body.get(self.at).copied().ok_or(CUT)
    }

    fn blanks(&mut self) {
        while self.body.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Scanned<()> {
        if self.peek()? != byte {
            return Err("the body is no JSON");
        }
        self.at += 1;
        Ok(())
    }

    /// The top-level object; whether the list was there.
    fn object(&mut self, name: &str, found: &mut Vec<Range<usize>>) -> Scanned<bool> {
        // A byte order mark is harmless.
        if self.body.starts_with(b"\xef\xbb\xbf") {
            self.at = 3;
        }
        self.blanks();
        if self.peek()? != b'{' {
            return Err("the body is no JSON object");
        }
        self.at += 1;
        let mut there = false;
        self.blanks();
        if self.peek()? == b'}' {
            self.at += 1;
        } else {
            loop {
                self.blanks();
                let key = self.string()?;
                self.blanks();
                self.expect(b':')?;
                self.blanks();
                let is_list = self.peek()? == b'[';
                let key = key.start + 1..key.end - 1;
                let is_own = &self.body[key.clone()] == name.as_bytes();
                if is_own && is_list {
                    there = true;
                    self.list(found)?;
                } else {
                    if !is_own && self.others.len() < MAX_OTHERS {
                        self.others.push(key);
                    }
                    self.value()?;
                }
                if !self.more(b'}')? {
                    break;
                }
            }
        }
        self.blanks();
        if self.at < self.body.len() {
            Err("something follows the JSON object")
        } else {
            Ok(there)
        }
    }

    fn list(&mut self, found: &mut Vec<Range<usize>>) -> Scanned<()> {
        self.expect(b'[')?;
        self.blanks();
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.blanks();
            found.push(self.value()?);
            if !self.more(b']')? {
                return Ok(());
            }
        }
    }

    /// Whether a comma follows, or the end.
    fn more(&mut self, end: u8) -> Scanned<bool> {
        self.blanks();
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => Ok(true),
            byte if byte == end => Ok(false),
            _ => Err("the body is no JSON"),
        }
    }

    fn string(&mut self) -> Scanned<Range<usize>> {
        let start = self.at;
        self.expect(b'"')?;
        loop {
            match self.peek()? {
                b'\\' => self.at += 2,
                b'"' => {
                    self.at += 1;
                    return Ok(start..self.at);
                }
                _ => self.at += 1,
            }
        }
    }

    /// Any value; whether it is valid inside is for the JSON parser to say.
    fn value(&mut self) -> Scanned<Range<usize>> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1).ok_or("the body is no JSON")?;
                    self.at += 1;
                }
                _ if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => {
                    // A number or a word ends where something else begins; at the end of the body
                    // it may have been longer.
                    while !matches!(self.peek()?, b',' | b'}' | b']' | b':')
                        && !self.peek()?.is_ascii_whitespace()
                    {
                        self.at += 1;
                    }
                }
            }
            if depth == 0 {
                return if self.at > start {
                    Ok(start..self.at)
                } else {
                    Err("the body is no JSON")
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> (Vec<&str>, Option<Broken>) {
        let Items { items, broken, .. } = items(body.as_bytes(), "results");
        (items.into_iter().map(|item| &body[item]).collect(), broken)
    }

    #[test]
    fn only_the_top_level_list_of_that_name_is_read() {
        let body = r#" {"emailResults":[{"results":[9]}],"x":{"results":[8]},"results":[{"a":"]}\"{"}, {"b":[1,2]} ],"z":1} "#;
        assert_eq!(
            read(body),
            (vec![r#"{"a":"]}\"{"}"#, r#"{"b":[1,2]}"#], None)
        );
        assert_eq!(read(r#"{"results":[]}"#), (vec![], None));
    }

    #[test]
    fn the_names_of_other_fields_are_noted() {
        let body = br#"{"a":1,"results":[{"x":1}],"b":{"results":[2]}}"#;
        let others = items(body, "results").others;
        let names: Vec<_> = others.into_iter().map(|own| &body[own]).collect();
        assert_eq!(names, [b"a", b"b"]);
    }

    #[test]
    fn the_whole_items_before_a_cut_are_kept_wherever_it_is() {
        let item = r#"{"k":"v\\","n":{"m":[1,"}"]}}"#;
        let body = format!(r#"{{"results": [{item}, {item}, {item}]}}"#);
        let ends: Vec<_> = body
            .match_indices(item)
            .map(|(at, _)| at + item.len())
            .collect();
        for cut in 0..body.len() {
            let read = items(&body.as_bytes()[..cut], "results");
            let (items, damage) = (read.items, read.broken);
            assert_eq!(
                items.len(),
                ends.iter().filter(|end| **end <= cut).count(),
                "{cut}"
            );
            let damage = damage.unwrap_or_else(|| panic!("{cut}"));
            assert_eq!(damage.at, items.last().map_or(0, |item| item.end));
        }
    }

    #[test]
    fn what_is_no_such_list_is_damage_from_the_start() {
        for body in [
            "",
            "<xml/>",
            "null",
            "{}",
            r#"{"results":null}"#,
            r#"{"results":7}"#,
            "[]",
        ] {
            let (items, damage) = read(body);
            assert_eq!(
                (items.len(), damage.map(|damage| damage.at)),
                (0, Some(0)),
                "{body}"
            );
        }
        assert!(read(r#"{"results":[]} x"#).1.is_some());
        assert!(read(r#"{"results":[{"a":1}{"b":2}]}"#).1.is_some());
    }
}
