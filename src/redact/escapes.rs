//! The escapes of single characters: percent, JSON, C, HTML, quoted-printable; letters that look like those of
//! ASCII, and characters that nobody sees.

/// The decoded value of an escape: a byte, a character in UTF-8, or nothing.
pub(super) struct Decoded {
    bytes: [u8; 4],
    length: usize,
}

impl Decoded {
    pub(super) const NOTHING: Decoded = Decoded {
        bytes: [0; 4],
        length: 0,
    };

    pub(super) fn bytes(&self) -> &[u8] {
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

/// Whether a byte never starts an escape of [`escape`].
pub(super) fn is_plain(byte: u8) -> bool {
    (byte.is_ascii_graphic() && !b"%\\&".contains(&byte)) || byte.is_ascii_whitespace()
}

/// The escape at the start of a text that is not empty: its length and its decoded value.
pub(super) fn escape(text: &[u8]) -> Option<(usize, Decoded)> {
    match text[0] {
        b'%' => percent(text),
        b'\\' => backslash(text),
        b'&' => entity(text),
        byte if is_plain(byte) => None,
        // Control characters, such as the zeros of UTF-16.
        0..0x80 => Some((1, Decoded::NOTHING)),
        _ => beyond_ascii(text),
    }
}

fn percent(text: &[u8]) -> Option<(usize, Decoded)> {
    if matches!(text.get(1), Some(b'u' | b'U')) {
        let unit = unit(text, 2)?;
        let character = char::decode_utf16([unit]).next()?.ok()?;
        return Some((6, character.into()));
    }
    Some((3, hex_byte(text.get(1..)?)?.into()))
}

/// Full-width letters, and characters without a width between others.
fn beyond_ascii(text: &[u8]) -> Option<(usize, Decoded)> {
    match *text {
        // U+FF01 to U+FF5E are the characters `!` to `~`.
        [0xef, 0xbc, last @ 0x81..=0xbf, ..] => Some((3, (last - 0x60).into())),
        [0xef, 0xbd, last @ 0x80..=0x9e, ..] => Some((3, (last - 0x20).into())),
        // A soft hyphen, and marks above and below other characters.
        [0xc2, 0xad, ..] | [0xcc, 0x80..=0xbf, ..] | [0xcd, 0x80..=0xaf, ..] => {
            Some((2, Decoded::NOTHING))
        }
        // Zero-width characters, directions, variation selectors, the byte order mark.
        [0xe1, 0xa0, 0x8e, ..]
        | [0xe2, 0x80, 0x8b..=0x8f | 0xaa..=0xae, ..]
        | [0xe2, 0x81, 0xa0..=0xaf, ..]
        | [0xef, 0xb8, 0x80..=0x8f, ..]
        | [0xef, 0xbb, 0xbf, ..] => Some((3, Decoded::NOTHING)),
        _ => None,
    }
}

/// The escape of quoted-printable at the start of a text. Apart from the others, because in a query `=` only
/// stands before the value.
pub(super) fn quoted(text: &[u8]) -> Option<(usize, Decoded)> {
    match *text {
        [b'=', b'\n', ..] => Some((2, Decoded::NOTHING)),
        [b'=', b'\r', b'\n', ..] => Some((3, Decoded::NOTHING)),
        [b'=', ..] => Some((3, hex_byte(&text[1..])?.into())),
        _ => None,
    }
}

/// The length of the space or line end at the start of a text, zero if there is none.
pub(super) fn blank(text: &[u8]) -> usize {
    match *text {
        [byte, ..] if byte.is_ascii_whitespace() => 1,
        [0xc2, 0xa0, ..] => 2,
        [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf, ..]
        | [0xe2, 0x81, 0x9f, ..]
        | [0xe3, 0x80, 0x80, ..] => 3,
        _ => 0,
    }
}

pub(super) fn hex_byte(digits: &[u8]) -> Option<u8> {
    let value = |index: usize| {
        let digit = char::from(*digits.get(index)?).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    Some(value(0)? << 4 | value(1)?)
}

/// Four hexadecimal digits: a unit of UTF-16.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 4)?;
    Some(u16::from(hex_byte(digits)?) << 8 | u16::from(hex_byte(&digits[2..])?))
}

fn backslash(text: &[u8]) -> Option<(usize, Decoded)> {
    match *text.get(1)? {
        b'u' if text.get(2) == Some(&b'{') => {
            let end = text.iter().take(12).position(|byte| *byte == b'}')?;
            Some((end + 1, number(&text[3..end], 16)?.into()))
        }
        b'u' => {
            let first = unit(text, 2)?;
            if let Some(Ok(character)) = char::decode_utf16([first]).next() {
                return Some((6, character.into()));
            }
            // The first half of a surrogate pair.
            let second = text
                .get(6..8)
                .filter(|own| *own == b"\\u")
                .and_then(|_| unit(text, 8))?;
            let character = char::decode_utf16([first, second]).next()?.ok()?;
            Some((12, character.into()))
        }
        b'x' => Some((4, hex_byte(text.get(2..)?)?.into())),
        b'0'..=b'3' => {
            let digits = std::str::from_utf8(text.get(1..4)?).ok()?;
            Some((4, u8::from_str_radix(digits, 8).ok()?.into()))
        }
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
