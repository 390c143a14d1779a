//! Finds pieces of secrets in a text, in time that is linear in the text.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    ops::Range,
};

/// The number of bytes by which pieces are found.
const GRAM: usize = 8;
/// The length of a piece of a long secret, in bytes, that must not be shown.
const MAX_PIECE: usize = 16;
/// Secrets up to this length are indexed at every position. For longer ones, every eighth position is enough,
/// because a piece of [`MAX_PIECE`] bytes contains at least one of them.
const EVERY_PLACE: usize = 2 * MAX_PIECE;
/// The number of bits of the filter per gram, and its minimum size in bits.
const BITS_PER_GRAM: usize = 16;
const MIN_FILTER_BITS: usize = 1 << 12;
/// The number of different pairs of bytes.
const PAIRS: usize = 1 << 16;

/// Which part of a secret is removed, and from which texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Care {
    /// Any significant piece, from any text.
    Pieces,
    /// Only the complete secret, from any text: a user with the password.
    Whole,
    /// Only the complete secret, and only from foreign texts: a user's name, or a word used as a password.
    /// Elsewhere it may be the name of something harmless.
    InTexts,
}

struct Entry {
    bytes: Vec<u8>,
    care: Care,
    /// The minimum length of a match.
    least: usize,
}

/// A searchable index of secrets.
pub(super) struct Index {
    entries: Vec<Entry>,
    /// Each gram with the number of its entry and its position in it, sorted.
    grams: Vec<([u8; GRAM], u32, u32)>,
    /// A filter of the existing grams, whose size in bits is a power of two.
    filter: Vec<u64>,
    /// Secrets that are shorter than a gram, by length, so that searching for thousands costs no more than
    /// for one.
    short: BTreeMap<usize, HashMap<Vec<u8>, Vec<usize>>>,
    /// The first two bytes of the short secrets: a bit for each pair.
    short_starts: Vec<u64>,
    /// Whether a secret has a space, which forms write as `+`.
    pub(super) has_space: bool,
}

impl Index {
    /// An index of secrets, none of them empty.
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = (&'a [u8], Care)>) -> Index {
        let mut index = Index {
            entries: Vec::new(),
            grams: Vec::new(),
            filter: Vec::new(),
            short: BTreeMap::new(),
            short_starts: vec![0; PAIRS / 64],
            has_space: false,
        };
        for (bytes, care) in secrets {
            index.add(bytes, care);
        }
        index.grams.sort_unstable();
        let bits = (index.grams.len() * BITS_PER_GRAM).next_power_of_two();
        index.filter = vec![0; bits.max(MIN_FILTER_BITS) / 64];
        for (gram, ..) in &index.grams {
            let bit = hash(gram, index.filter.len());
            index.filter[bit / 64] |= 1 << (bit % 64);
        }
        index
    }

    fn add(&mut self, bytes: &[u8], care: Care) {
        // The comparison ignores case, because servers change the case of headers.
        let bytes = bytes.to_ascii_lowercase();
        let (number, length) = (self.entries.len(), bytes.len());
        self.has_space |= bytes.contains(&b' ');
        if length < GRAM {
            let same = self.short.entry(length).or_default();
            same.entry(bytes.clone()).or_default().push(number);
            if let [first, second, ..] = bytes[..] {
                let pair = pair(first, second);
                self.short_starts[pair / 64] |= 1 << (pair % 64);
            }
        } else {
            let step = if length <= EVERY_PLACE { 1 } else { GRAM };
            let last = length - GRAM;
            let mut places: Vec<usize> = (0..=last).step_by(step).collect();
            if places.last() != Some(&last) {
                places.push(last);
            }
            for place in places {
                let Some(gram) = bytes[place..].first_chunk::<GRAM>() else {
                    continue;
                };
                // Neither the length of a secret nor their number overflows.
                if let (Ok(number), Ok(place)) = (number.try_into(), place.try_into()) {
                    self.grams.push((*gram, number, place));
                }
            }
        }
        let least = match care {
            Care::Pieces => length.min((length / 2).clamp(GRAM, MAX_PIECE)),
            Care::Whole | Care::InTexts => length,
        };
        self.entries.push(Entry { bytes, care, least });
    }

    /// Finds the pieces of secrets in a text. `in_text` means that the text is foreign, so that even a user's
    /// name is removed. `comparisons` is the remaining budget of comparisons with secrets; `None` if it is
    /// exhausted because many secrets resemble the text.
    pub(super) fn find(
        &self,
        text: &[u8],
        in_text: bool,
        comparisons: &mut usize,
        mut found: impl FnMut(Range<usize>),
    ) -> Option<()> {
        // Most names are lower-case, and are checked often.
        let text = if text.iter().any(u8::is_ascii_uppercase) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        };
        let looked_for = |entry: &Entry| in_text || entry.care != Care::InTexts;
        for (length, entries) in &self.short {
            for (at, window) in text.windows(*length).enumerate() {
                if let [first, second, ..] = window {
                    let pair = pair(*first, *second);
                    if self.short_starts[pair / 64] & 1 << (pair % 64) == 0 {
                        continue;
                    }
                }
                let same = entries.get(window).into_iter().flatten();
                for _ in same.filter(|number| looked_for(&self.entries[**number])) {
                    found(at..at + window.len());
                }
            }
        }
        // Matches found at one position need not be measured again at the next one.
        let mut measured: HashMap<usize, Range<usize>> = HashMap::new();
        for (at, window) in text.windows(GRAM).enumerate() {
            let Some(gram) = window.first_chunk::<GRAM>() else {
                continue;
            };
            let bit = hash(gram, self.filter.len());
            if self.filter[bit / 64] & 1 << (bit % 64) == 0 {
                continue;
            }
            let first = self.grams.partition_point(|(own, ..)| own < gram);
            let same = self.grams[first..]
                .iter()
                .take_while(|(own, ..)| own == gram);
            for (_, number, place) in same {
                *comparisons = comparisons.checked_sub(1)?;
                let (number, place) = (*number as usize, *place as usize);
                let entry = &self.entries[number];
                let is_known = |own: &Range<usize>| own.contains(&at) && own.end >= at + GRAM;
                if !looked_for(entry) || measured.get(&number).is_some_and(is_known) {
                    continue;
                }
                let before = entry.bytes[..place].iter().rev();
                let before = before.zip(text[..at].iter().rev());
                let before = before.take_while(|(own, other)| own == other).count();
                let after = entry.bytes[place + GRAM..].iter();
                let after = after.zip(&text[at + GRAM..]);
                let after = after.take_while(|(own, other)| own == other).count();
                let piece = at - before..at + GRAM + after;
                *comparisons = comparisons.checked_sub(piece.len() / GRAM)?;
                if piece.len() >= entry.least {
                    found(piece.clone());
                    measured.insert(number, piece);
                }
            }
        }
        Some(())
    }
}

/// The number of two bytes.
fn pair(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

/// The bit of a gram in a filter with this number of words.
fn hash(gram: &[u8; GRAM], words: usize) -> usize {
    let mixed = u64::from_le_bytes(*gram).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) as usize & (words * 64 - 1)
}
