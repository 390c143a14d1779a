//! Decoded forms of a text: escapes, base64, base32, hexadecimal digits, the text without its spaces. Each
//! decoded byte is mapped to the bytes of the text that it comes from, so that a secret found in a decoded form
//! can be removed from the text itself.

use std::ops::Range;

use super::escapes::{Decoded, blank, escape, hex_byte, is_plain, quoted};

/// Shorter runs of base64 are found without decoding, because secrets are also registered in base64. With
/// short secrets, they can contain a user and a password.
const MIN_BASE64: usize = 24;
const MIN_BASE64_OF_SHORT: usize = 8;
/// Shorter runs of hexadecimal digits are too short to contain a secret.
const MIN_HEX: usize = 16;
/// The number of digits of base32 in which eight bytes, and ten, are encoded.
const MIN_BASE32_OF_SHORT: usize = 13;
const MIN_BASE32: usize = 16;

/// Whether a decoded form of a text may contain a secret of eight bytes or more: it has escapes, `+` for
/// spaces, or a run that is long enough for [`View::packed`]. Spaces are not removed.
pub(super) fn may_be_encoded(text: &[u8]) -> bool {
    let (mut base64, mut hex) = (0, 0);
    let mut base32 = [0; 2];
    for (at, byte) in text.iter().enumerate() {
        let rest = &text[at..];
        if b"%\\&+".contains(byte)
            || (!is_plain(*byte) && escape(rest).is_some())
            || (*byte == b'=' && quoted(rest).is_some())
        {
            return true;
        }
        base64 = if is_base64(*byte) { base64 + 1 } else { 0 };
        for (count, is_part) in base32.iter_mut().zip(BASE32) {
            *count = if is_part(*byte) { *count + 1 } else { 0 };
        }
        if byte.is_ascii_hexdigit() {
            hex += 1;
        } else if !separates_hex(*byte) {
            hex = 0;
        }
        if base64 >= MIN_BASE64 || hex >= MIN_HEX || base32.iter().any(|own| *own >= MIN_BASE32) {
            return true;
        }
    }
    false
}

/// How a view was made, which decides what else may be made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The text, what its escapes stand for, or what was decoded from digits.
    Plain,
    /// With spaces for `+`.
    Spaced,
    /// Without the escapes of quoted-printable.
    Unquoted,
    /// Without spaces and line ends: words that stood apart may look like a secret.
    Joined,
}

/// A text, or a decoded form of it.
pub(super) struct View {
    pub(super) bytes: Vec<u8>,
    pub(super) kind: Kind,
    /// The position in the text where each byte starts, and where the last one ends.
    starts: Vec<usize>,
    /// Where something was left out: the index of the byte after it, and the position in the text where the
    /// byte before it ends.
    gaps: Vec<(usize, usize)>,
}

impl View {
    /// The text itself.
    pub(super) fn new(text: &str) -> View {
        View {
            bytes: text.as_bytes().to_vec(),
            kind: Kind::Plain,
            starts: (0..=text.len()).collect(),
            gaps: Vec::new(),
        }
    }

    fn with_capacity(capacity: usize, kind: Kind) -> View {
        View {
            bytes: Vec::with_capacity(capacity),
            kind,
            starts: Vec::with_capacity(capacity + 1),
            gaps: Vec::new(),
        }
    }

    /// The part of the text that these bytes come from.
    pub(super) fn source(&self, range: Range<usize>) -> Range<usize> {
        let start = self.starts.get(range.start).copied();
        start.unwrap_or_default()..self.end(range.end)
    }

    /// The position in the text where the byte before this index ends.
    fn end(&self, index: usize) -> usize {
        match self.gaps.binary_search_by_key(&index, |(next, _)| *next) {
            Ok(found) => self.gaps[found].1,
            Err(_) => self.starts.get(index).copied().unwrap_or_default(),
        }
    }

    /// Notes that something after this position of the text is left out.
    fn leave_gap(&mut self, end: usize) {
        let next = self.bytes.len();
        if self.gaps.last().is_none_or(|(last, _)| *last != next) {
            self.gaps.push((next, end));
        }
    }

    /// Whether this may be text: what is decoded at a wrong offset hardly ever is.
    pub(super) fn is_text(&self) -> bool {
        let chunks = self.bytes.utf8_chunks();
        let characters = chunks.flat_map(|chunk| chunk.valid().chars());
        let printable = characters.filter(|own| !own.is_control() || own.is_ascii_whitespace());
        let count: usize = printable.map(char::len_utf8).sum();
        count * 10 >= self.bytes.len() * 9
    }

    /// The parts that are text, in a view that as a whole is not. Zeros are left out, because ASCII in UTF-16
    /// has one beside each character.
    pub(super) fn texts(&self) -> impl Iterator<Item = View> {
        let is_text = |own: char| own == '\0' || !own.is_control() || own.is_ascii_whitespace();
        let mut stretches = Vec::new();
        let (mut start, mut at) = (0, 0);
        for chunk in self.bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                let next = at + character.len_utf8();
                if !is_text(character) {
                    stretches.push(start..at);
                    start = next;
                }
                at = next;
            }
            if !chunk.invalid().is_empty() {
                stretches.push(start..at);
                at += chunk.invalid().len();
                start = at;
            }
        }
        stretches.push(start..at);
        let views = stretches.into_iter().map(|run| {
            let mut view = View::with_capacity(run.len(), Kind::Plain);
            for at in run.clone().filter(|at| self.bytes[*at] != 0) {
                view.push(self.bytes[at], self.starts[at]);
            }
            view.starts.push(self.end(run.end));
            view
        });
        views.filter(|view| view.bytes.len() >= MIN_BASE64_OF_SHORT)
    }

    /// The view without escapes, with ASCII for full-width letters, and without characters that nobody sees;
    /// `None` if it has none.
    pub(super) fn unescaped(&self) -> Option<View> {
        if self.bytes.iter().all(|byte| is_plain(*byte)) {
            return None;
        }
        self.without(self.kind, escape)
    }

    /// The view without the escapes of quoted-printable; `None` if it has none.
    pub(super) fn unquoted(&self) -> Option<View> {
        if !self.bytes.contains(&b'=') {
            return None;
        }
        self.without(Kind::Unquoted, quoted)
    }

    /// The view without spaces and line ends; `None` if it has none.
    pub(super) fn joined(&self) -> Option<View> {
        self.without(Kind::Joined, |text| match blank(text) {
            0 => None,
            length => Some((length, Decoded::NOTHING)),
        })
    }

    fn without(
        &self,
        kind: Kind,
        escape: impl Fn(&[u8]) -> Option<(usize, Decoded)>,
    ) -> Option<View> {
        let mut view = View::with_capacity(self.bytes.len(), kind);
        let (mut at, mut changed) = (0, false);
        while at < self.bytes.len() {
            let rest = &self.bytes[at..];
            let (length, decoded) = match escape(rest) {
                Some(found) => {
                    changed = true;
                    found
                }
                None => (1, Decoded::from(rest[0])),
            };
            if decoded.bytes().is_empty() || !self.gaps.is_empty() {
                let end = self.end(at);
                if end != self.starts[at] || decoded.bytes().is_empty() {
                    view.leave_gap(end);
                }
            }
            for byte in decoded.bytes() {
                view.push(*byte, self.starts[at]);
            }
            at += length;
        }
        view.starts.push(self.end(self.bytes.len()));
        changed.then_some(view)
    }

    /// The view with spaces for `+`, as in a form; `None` if it has none.
    pub(super) fn with_spaces(&self) -> Option<View> {
        let bytes: Vec<u8> = self
            .bytes
            .iter()
            .map(|byte| if *byte == b'+' { b' ' } else { *byte })
            .collect();
        (bytes != self.bytes).then(|| View {
            bytes,
            kind: Kind::Spaced,
            starts: self.starts.clone(),
            gaps: self.gaps.clone(),
        })
    }

    /// All possible decodings of each run of base64, base32 or hexadecimal digits, because the secret may start
    /// anywhere in what was encoded. With each one comes the run, if what stands in it beside a secret belongs to
    /// the secret.
    pub(super) fn packed(
        &self,
        with_short: bool,
        mut each: impl FnMut(Option<Range<usize>>, View),
    ) {
        let is_joined = self.kind == Kind::Joined;
        let rest = |run: &Range<usize>| (!is_joined).then(|| run.clone());
        let (least, least_of_base32) = if with_short {
            (MIN_BASE64_OF_SHORT, MIN_BASE32_OF_SHORT)
        } else {
            (MIN_BASE64, MIN_BASE32)
        };
        // An id, because no encoded text consists only of digits.
        let is_id = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
        for run in self.runs(is_base64, least) {
            let digits = &self.bytes[run.clone()];
            if is_id(digits) || (is_joined && changes(digits) * 12 < digits.len()) {
                continue;
            }
            // Line ends are not digits, and are skipped.
            let digits = run
                .clone()
                .filter(|at| base64_value(self.bytes[*at]).is_some());
            for start in digits.take(4) {
                each(rest(&run), self.digits(start..run.end, 6, base64_value));
            }
        }
        for is_part in BASE32 {
            for run in self.runs(is_part, least_of_base32) {
                let digits = &self.bytes[run.clone()];
                if is_id(digits) || (is_joined && changes(digits) == 0) {
                    continue;
                }
                for start in run.clone().take(8) {
                    each(rest(&run), self.digits(start..run.end, 5, base32_value));
                }
            }
        }
        if is_joined {
            return;
        }
        for run in self.runs(|byte| byte.is_ascii_hexdigit(), MIN_HEX) {
            for offset in 0..2 {
                each(rest(&run), self.hex(run.start + offset..run.end));
            }
        }
        let is_part = |byte: u8| byte.is_ascii_hexdigit() || separates_hex(byte);
        for run in self.runs(is_part, MIN_HEX) {
            let is_digit = |at: &usize| {
                let is_prefix =
                    self.bytes[*at] == b'0' && matches!(self.bytes.get(at + 1), Some(b'x' | b'X'));
                self.bytes[*at].is_ascii_hexdigit() && !is_prefix
            };
            let digits: Vec<usize> = run.filter(is_digit).collect();
            let (Some(first), Some(last)) = (digits.first(), digits.last()) else {
                continue;
            };
            if digits.len() < MIN_HEX || last - first < digits.len() {
                continue;
            }
            for offset in 0..2 {
                each(None, self.separated_hex(&digits[offset..], *last));
            }
        }
    }

    fn runs(&self, is_part: impl Fn(u8) -> bool, least: usize) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        let mut start = None;
        let bytes = self.bytes.iter().map(|byte| is_part(*byte));
        for (at, is_part) in bytes.chain([false]).enumerate() {
            match start {
                None if is_part => start = Some(at),
                Some(begin) if !is_part => {
                    if at - begin >= least {
                        runs.push(begin..at);
                    }
                    start = None;
                }
                _ => {}
            }
        }
        runs
    }

    /// What a run of digits of this width in bits encodes.
    fn digits(&self, run: Range<usize>, width: u32, value: fn(u8) -> Option<u32>) -> View {
        let mut view = View::with_capacity(run.len(), Kind::Plain);
        let (mut bits, mut count) = (0u32, 0);
        for at in run.clone() {
            if !self.gaps.is_empty() && self.end(at) != self.starts[at] {
                view.leave_gap(self.end(at));
            }
            let Some(value) = value(self.bytes[at]) else {
                continue;
            };
            bits = bits << width | value;
            count += width;
            if count >= 8 {
                count -= 8;
                view.push((bits >> count) as u8, self.starts[at]);
                bits &= (1 << count) - 1;
            }
        }
        view.starts.push(self.end(run.end));
        view
    }

    /// What pairs of hexadecimal digits at these places encode.
    fn separated_hex(&self, digits: &[usize], last: usize) -> View {
        let mut view = View::with_capacity(digits.len() / 2, Kind::Plain);
        for pair in digits.chunks_exact(2) {
            if let Some(byte) = hex_byte(&[self.bytes[pair[0]], self.bytes[pair[1]]]) {
                view.push(byte, self.starts[pair[0]]);
            }
        }
        view.starts.push(self.end(last + 1));
        view
    }

    fn hex(&self, run: Range<usize>) -> View {
        let mut view = View::with_capacity(run.len() / 2, Kind::Plain);
        for at in run.clone().step_by(2) {
            if let Some(byte) = hex_byte(&self.bytes[at..run.end]) {
                view.push(byte, self.starts[at]);
            }
        }
        view.starts.push(self.end(run.end));
        view
    }

    fn push(&mut self, byte: u8, start: usize) {
        self.bytes.push(byte);
        self.starts.push(start);
    }
}

/// Letters, digits, the special characters of both alphabets, and the line ends that some encoders insert.
fn is_base64(byte: u8) -> bool {
    base64_value(byte).is_some() || matches!(byte, b'\r' | b'\n')
}

fn base64_value(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

/// Base32 of one case: whatever changed the case changed it everywhere.
const BASE32: [fn(u8) -> bool; 2] = [
    |byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'),
    |byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'),
];

fn base32_value(byte: u8) -> Option<u32> {
    let value = match byte.to_ascii_uppercase() {
        letter @ b'A'..=b'Z' => letter - b'A',
        digit @ b'2'..=b'7' => digit - b'2' + 26,
        _ => return None,
    };
    Some(value.into())
}

/// What stands between the pairs of a dump: `53:77`, `53 77`, `0x53, 0x77`.
fn separates_hex(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b":-,;+xX".contains(&byte)
}

/// How often a small letter stands before a large one, or a letter beside a digit. In words without their spaces
/// this is rare, in base64 it is every third character.
fn changes(text: &[u8]) -> usize {
    let is_change = |pair: &&[u8]| {
        let (first, second) = (pair[0], pair[1]);
        (first.is_ascii_lowercase() && second.is_ascii_uppercase())
            || (first.is_ascii_digit() && second.is_ascii_alphabetic())
            || (first.is_ascii_alphabetic() && second.is_ascii_digit())
    };
    text.windows(2).filter(is_change).count()
}
