//! Searches a text, and everything that it can be decoded to, for the registered secrets.

use std::{ops::Range, sync::Arc};

use super::{
    REGISTRY,
    index::Index,
    views::{Kind, View},
};

/// The maximum depth of nested encodings to decode.
const MAX_DEPTH: usize = 4;
/// The maximum total length of decoded forms, as a multiple of the text's length. Four nested encodings need
/// about 24. A text that needs more was built to do so, and is not shown at all.
const MAX_WORK: usize = 64;
/// The budget of comparisons with secrets, per byte of the text and as a minimum: thousands of secrets with
/// the same prefix are each compared wherever the prefix occurs.
const MAX_COMPARISONS: usize = 64;
const MIN_COMPARISONS: usize = 1_000_000;

/// A search for secrets in one text.
pub(super) struct Search {
    indices: [Arc<Index>; 2],
    /// Whether the text is foreign and not the exporter's own.
    in_text: bool,
    work: usize,
    comparisons: usize,
    found: Vec<Range<usize>>,
}

fn comparisons_for(text: &[u8]) -> usize {
    let for_each = text.len().saturating_mul(MAX_COMPARISONS);
    for_each.max(MIN_COMPARISONS)
}

impl Search {
    /// The ranges of secrets in a text; `None` if the search takes too long.
    pub(super) fn run(text: &str, in_text: bool) -> Option<Vec<Range<usize>>> {
        let mut search = Search {
            indices: [REGISTRY.index(), REGISTRY.signatures()],
            in_text,
            work: (text.len() + 64).saturating_mul(MAX_WORK),
            comparisons: comparisons_for(text.as_bytes()),
            found: Vec::new(),
        };
        search.look(&View::new(text), MAX_DEPTH)?;
        Some(search.found)
    }

    /// Whether an undecoded text contains no secret that must not occur in any text, neither with its spaces nor
    /// without them.
    pub(super) fn finds_nothing_in(text: &str) -> bool {
        let has_spaces = text.contains(char::is_whitespace);
        let joined = has_spaces.then(|| View::new(text).joined()).flatten();
        let mut is_clean = true;
        for index in [REGISTRY.index(), REGISTRY.signatures()] {
            let mut left = comparisons_for(text.as_bytes());
            let told = index.find(text.as_bytes(), false, false, &mut left, |_| {
                is_clean = false
            });
            is_clean &= told.is_some();
            if let Some(joined) = &joined {
                let told = index.find(&joined.bytes, false, true, &mut left, |_| is_clean = false);
                is_clean &= told.is_some();
            }
        }
        if let Some(joined) = joined {
            joined.packed(false, |_, _| is_clean = false);
        }
        is_clean
    }

    fn look(&mut self, view: &View, depth: usize) -> Option<()> {
        self.work = self.work.checked_sub(view.bytes.len() + 1)?;
        let is_joined = view.kind == Kind::Joined;
        for index in self.indices.clone() {
            let found = |range| self.found.push(view.source(range));
            let comparisons = &mut self.comparisons;
            index.find(&view.bytes, self.in_text, is_joined, comparisons, found)?;
        }
        if depth == 0 {
            return Some(());
        }
        // Each kind of view is made of few others, because all orders of them would be too many.
        if !is_joined && let Some(plain) = view.unescaped() {
            self.look(&plain, depth - 1)?;
        }
        if view.kind == Kind::Plain {
            if let Some(plain) = view.unquoted() {
                self.look(&plain, depth - 1)?;
            }
            if let Some(plain) = view.with_spaces() {
                self.look(&plain, depth - 1)?;
            }
        }
        // The digits of a view with spaces are those of the view with `+`.
        let is_spaced = view.kind == Kind::Spaced;
        if !is_joined && let Some(joined) = view.joined() {
            self.look(&joined, if is_spaced { 0 } else { depth })?;
        }
        if is_spaced {
            return Some(());
        }
        let mut in_time = Some(());
        view.packed(self.in_text, |run, decoded| {
            let before = self.found.len();
            in_time = in_time.and_then(|()| {
                if decoded.is_text() {
                    return self.look(&decoded, depth - 1);
                }
                self.look(&decoded, 0)?;
                // Adjacent characters were decoded as garbage.
                let mut texts = decoded.texts();
                texts.try_for_each(|text| self.look(&text, depth - 1))
            });
            if self.found.len() > before
                && let Some(run) = run
            {
                // The rest of the run belongs to the secret.
                self.found.push(view.source(run));
            }
        });
        in_time
    }
}
