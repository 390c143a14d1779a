//! Decoded forms of a text: percent, JSON and HTML escapes, base64, hexadecimal digits. Each decoded byte is
//! mapped to the bytes of the text that it comes from, so that a secret found in a decoded form can be
//! removed from the text itself.

use std::ops::Range;

/// Shorter runs of base64 are found without decoding, because secrets are also registered in base64. With
/// short secrets, they can contain a user and a password.
const MIN_BASE64: usize = 24;
const MIN_BASE64_OF_SHORT: usize = 8;
/// Shorter runs of hexadecimal digits are too short to contain a secret.
const MIN_HEX: usize = 16;

/// Whether a decoded form of a text may contain a secret of eight bytes or more: it has escapes, `+` for
/// spaces, or a run that is long enough for [`View::packed`].
pub(super) fn may_be_encoded(text: &[u8]) -> bool {
    let (mut base64, mut hex) = (0, 0);
    for byte in text {
        if b"%\\&+".contains(byte) {
            return true;
        }
        base64 = if is_base64(*byte) { base64 + 1 } else { 0 };
        hex = if byte.is_ascii_hexdigit() { hex + 1 } else { 0 };
        if base64 >= MIN_BASE64 || hex >= MIN_HEX {
            return true;
        }
    }
    false
}

/// A text, or a decoded form of it.
pub(super) struct View {
    pub(super) bytes: Vec<u8>,
    /// The position in the text where each byte starts, and where the last one ends.
    starts: Vec<usize>,
}

impl View {
    /// The text itself.
    pub(super) fn new(text: &str) -> View {
        View {
            bytes: text.as_bytes().to_vec(),
            starts: (0..=text.len()).collect(),
        }
    }

    fn with_capacity(capacity: usize) -> View {
        View {
            bytes: Vec::with_capacity(capacity),
            starts: Vec::with_capacity(capacity + 1),
        }
    }

    /// The part of the text that these bytes come from.
    pub(super) fn source(&self, range: Range<usize>) -> Range<usize> {
        let at = |index: usize| self.starts.get(index).copied().unwrap_or_default();
        at(range.start)..at(range.end)
    }

    /// Whether this may be text: what is decoded at a wrong offset hardly ever is.
    pub(super) fn is_text(&self) -> bool {
        let printable = |byte: &&u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        let count = self.bytes.iter().filter(printable).count();
        count * 10 >= self.bytes.len() * 9
    }

    /// The parts that are text, in a view that as a whole is not.
    pub(super) fn texts(&self) -> impl Iterator<Item = View> {
        let is_text = |byte: u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        let stretches = self.runs(is_text, MIN_BASE64_OF_SHORT);
        stretches.into_iter().map(|run| View {
            starts: self.starts[run.start..=run.end].to_vec(),
            bytes: self.bytes[run].to_vec(),
        })
    }

    /// The view without escapes; `None` if it has none.
    pub(super) fn unescaped(&self) -> Option<View> {
        if !self.bytes.iter().any(|byte| b"%\\&".contains(byte)) {
            return None;
        }
        let mut view = View::with_capacity(self.bytes.len());
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
            for byte in decoded.bytes() {
                view.bytes.push(*byte);
                view.starts.push(self.starts[at]);
            }
            at += length;
        }
        view.starts.push(self.starts[self.bytes.len()]);
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
            starts: self.starts.clone(),
        })
    }

    /// All possible decodings of each run of base64 or hexadecimal digits, because the secret may start
    /// anywhere in what was encoded.
    pub(super) fn packed(&self, with_short: bool, mut each: impl FnMut(Range<usize>, View)) {
        let least = if with_short {
            MIN_BASE64_OF_SHORT
        } else {
            MIN_BASE64
        };
        for run in self.runs(is_base64, least) {
            // An id, because no encoded text consists only of digits.
            if self.bytes[run.clone()].iter().all(u8::is_ascii_digit) {
                continue;
            }
            // Line ends are not digits, and are skipped.
            let digits = run
                .clone()
                .filter(|at| base64_value(self.bytes[*at]).is_some());
            for start in digits.take(4) {
                each(run.clone(), self.base64(start..run.end));
            }
        }
        for run in self.runs(|byte| byte.is_ascii_hexdigit(), MIN_HEX) {
            for offset in 0..2 {
                each(run.clone(), self.hex(run.start + offset..run.end));
            }
        }
    }

    fn runs(&self, is_part: impl Fn(u8) -> bool, least: usize) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        let mut start = None;
        for (at, byte) in self.bytes.iter().copied().chain([0]).enumerate() {
            match start {
                None if is_part(byte) => start = Some(at),
                Some(begin) if !is_part(byte) => {
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

    fn base64(&self, run: Range<usize>) -> View {
        let mut view = View::with_capacity(run.len());
        let (mut bits, mut count) = (0u32, 0);
        for at in run.clone() {
            let Some(value) = base64_value(self.bytes[at]) else {
                continue;
            };
            bits = bits << 6 | value;
            count += 6;
            if count >= 8 {
                count -= 8;
                view.push((bits >> count) as u8, self.starts[at]);
                bits &= (1 << count) - 1;
            }
        }
        view.starts.push(self.starts[run.end]);
        view
    }

    fn hex(&self, run: Range<usize>) -> View {
        let mut view = View::with_capacity(run.len() / 2);
        for at in run.clone().step_by(2) {
            if let Some(byte) = hex_byte(&self.bytes[at..run.end]) {
                view.push(byte, self.starts[at]);
            }
        }
        view.starts.push(self.starts[run.end]);
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

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let value = |index: usize| {
        let digit = char::from(*digits.get(index)?).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    Some(value(0)? << 4 | value(1)?)
}

/// The decoded value of an escape: a byte, or a character in UTF-8.
struct Decoded {
    bytes: [u8; 4],
    length: usize,
}

impl Decoded {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl From<u8> for Decoded {
    fn from(byte: u8) -> Decoded {
        Decoded {
            bytes: [byte, 0, 0, 0],
            length: 1,
        }
    }
}

impl From<char> for Decoded {
    fn from(character: char) -> Decoded {
        let mut bytes = [0; 4];
        let length = character.encode_utf8(&mut bytes).len();
        Decoded { bytes, length }
    }
}

/// The escape at the start of a text: its length and its decoded value.
fn escape(text: &[u8]) -> Option<(usize, Decoded)> {
    match text[0] {
        b'%' => Some((3, hex_byte(text.get(1..)?)?.into())),
        b'\\' => backslash(text),
        b'&' => entity(text),
        _ => None,
    }
}

fn backslash(text: &[u8]) -> Option<(usize, Decoded)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 4)?;
        Some(u16::from(hex_byte(digits)?) << 8 | u16::from(hex_byte(&digits[2..])?))
    };
    match *text.get(1)? {
        b'u' if text.get(2) == Some(&b'{') => {
            let end = text.iter().take(12).position(|byte| *byte == b'}')?;
            Some((end + 1, number(&text[3..end], 16)?.into()))
        }
        b'u' => {
            let first = unit(2)?;
            if let Some(Ok(character)) = char::decode_utf16([first]).next() {
                return Some((6, character.into()));
            }
            // The first half of a surrogate pair.
            let second = text
                .get(6..8)
                .filter(|own| *own == b"\\u")
                .and_then(|_| unit(8))?;
            let character = char::decode_utf16([first, second]).next()?.ok()?;
            Some((12, character.into()))
        }
        b'x' => Some((4, hex_byte(text.get(2..)?)?.into())),
        b'n' => Some((2, b'\n'.into())),
        b'r' => Some((2, b'\r'.into())),
        b't' => Some((2, b'\t'.into())),
        other if other.is_ascii_punctuation() => Some((2, other.into())),
        _ => None,
    }
}

/// HTML's named references for the characters that a secret in ASCII can contain.
const NAMED: [(&str, u8); 35] = [
    ("amp", b'&'),
    ("lt", b'<'),
    ("gt", b'>'),
    ("quot", b'"'),
    ("apos", b'\''),
    ("excl", b'!'),
    ("num", b'#'),
    ("dollar", b'$'),
    ("percnt", b'%'),
    ("lpar", b'('),
    ("rpar", b')'),
    ("ast", b'*'),
    ("plus", b'+'),
    ("comma", b','),
    ("period", b'.'),
    ("sol", b'/'),
    ("colon", b':'),
    ("semi", b';'),
    ("equals", b'='),
    ("quest", b'?'),
    ("commat", b'@'),
    ("lsqb", b'['),
    ("lbrack", b'['),
    ("bsol", b'\\'),
    ("rsqb", b']'),
    ("rbrack", b']'),
    ("hat", b'^'),
    ("lowbar", b'_'),
    ("grave", b'`'),
    ("lcub", b'{'),
    ("lbrace", b'{'),
    ("verbar", b'|'),
    ("vert", b'|'),
    ("rcub", b'}'),
    ("rbrace", b'}'),
];

fn entity(text: &[u8]) -> Option<(usize, Decoded)> {
    let end = text.iter().take(12).position(|byte| *byte == b';')?;
    let name = &text[1..end];
    let decoded = match name {
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16)?.into(),
        [b'#', digits @ ..] => number(digits, 10)?.into(),
        name => {
            let found = NAMED
                .iter()
                .find(|(own, _)| own.as_bytes().eq_ignore_ascii_case(name));
            found?.1.into()
        }
    };
    Some((end + 1, decoded))
}

fn number(digits: &[u8], radix: u32) -> Option<char> {
    let digits = std::str::from_utf8(digits).ok()?;
    char::from_u32(u32::from_str_radix(digits, radix).ok()?)
}
