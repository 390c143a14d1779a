//! The encodings in which a server can send back what it was sent.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use sha1::Sha1;
use sha2::{Digest, Sha256};

fn percent(text: &str, everything: bool, upper: bool) -> String {
    let escape = |byte: u8| {
        if !everything && byte.is_ascii_alphanumeric() {
            char::from(byte).to_string()
        } else if upper {
            format!("%{byte:02X}")
        } else {
            format!("%{byte:02x}")
        }
    };
    text.bytes().map(escape).collect()
}

fn form(text: &str) -> String {
    text.split(' ')
        .map(|word| percent(word, false, true))
        .collect::<Vec<_>>()
        .join("+")
}

fn json(text: &str, everything: bool) -> String {
    let escape = |c: char| {
        if everything || !c.is_ascii_alphanumeric() {
            let mut units = [0; 2];
            let units = c.encode_utf16(&mut units).iter();
            units.map(|unit| format!("\\u{unit:04x}")).collect()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escape).collect()
}

fn html(text: &str, decimal: bool) -> String {
    let escape = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '"' => "&quot;".to_owned(),
        c if c.is_ascii_alphanumeric() && !decimal => c.to_string(),
        c if decimal => format!("&#{};", u32::from(c)),
        c => format!("&#x{:X};", u32::from(c)),
    };
    text.chars().map(escape).collect()
}

pub(super) fn hex(bytes: &[u8], upper: bool) -> String {
    let digits = |byte: &u8| {
        if upper {
            format!("{byte:02X}")
        } else {
            format!("{byte:02x}")
        }
    };
    bytes.iter().map(digits).collect()
}

/// Everything that a server can make of what it was sent.
pub(super) fn encodings(text: &str) -> Vec<(&'static str, String)> {
    let serialized = serde_json::to_string(text).unwrap();
    let wrapped: Vec<String> = STANDARD
        .encode(text)
        .as_bytes()
        .chunks(19)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    let mut all = vec![
        ("raw", text.to_owned()),
        ("upper case", text.to_ascii_uppercase()),
        ("lower case", text.to_ascii_lowercase()),
        ("base64", STANDARD.encode(text)),
        (
            "base64 in large letters",
            STANDARD.encode(text).to_ascii_uppercase(),
        ),
        ("base64 without padding", STANDARD_NO_PAD.encode(text)),
        ("URL-safe base64", URL_SAFE.encode(text)),
        (
            "URL-safe base64 without padding",
            URL_SAFE_NO_PAD.encode(text),
        ),
        (
            "base64 at an offset of 1",
            STANDARD.encode(format!("u{text}")),
        ),
        (
            "base64 at an offset of 2",
            STANDARD.encode(format!("u:{text}")),
        ),
        ("base64 in lines", wrapped.join("\r\n")),
        ("base64 of base64", STANDARD.encode(STANDARD.encode(text))),
        ("percent", percent(text, false, true)),
        ("percent in lower case", percent(text, false, false)),
        ("percent of everything", percent(text, true, true)),
        (
            "percent of percent",
            percent(&percent(text, false, true), false, true),
        ),
        ("form", form(text)),
        ("JSON", serialized[1..serialized.len() - 1].to_owned()),
        ("JSON with slashes", text.replace('/', "\\/")),
        ("JSON escapes", json(text, false)),
        ("JSON escapes of everything", json(text, true)),
        ("HTML", html(text, false)),
        ("HTML in decimals", html(text, true)),
        ("hexadecimal digits", hex(text.as_bytes(), false)),
        ("large hexadecimal digits", hex(text.as_bytes(), true)),
        (
            "percent of base64",
            percent(&STANDARD.encode(text), false, true),
        ),
        ("Debug", format!("{text:?}").trim_matches('"').to_owned()),
    ];
    for (name, digest) in [
        ("SHA-256", Sha256::digest(text).to_vec()),
        ("SHA-1", Sha1::digest(text).to_vec()),
    ] {
        all.push((name, hex(&digest, false)));
        all.push((name, STANDARD.encode(&digest)));
    }
    all
}

fn base32(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digits = |five: &[u8]| {
        let mut block = [0; 8];
        block[3..3 + five.len()].copy_from_slice(five);
        let (bits, count) = (u64::from_be_bytes(block), (five.len() * 8).div_ceil(5));
        let digit = |at| char::from(DIGITS[(bits >> (35 - 5 * at)) as usize & 31]);
        (0..8)
            .map(|at| if at < count { digit(at) } else { '=' })
            .collect::<String>()
    };
    bytes.chunks(5).map(digits).collect()
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

/// A text with something after so many characters each.
fn broken(text: &str, length: usize, between: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let parts = letters.chunks(length).map(String::from_iter);
    parts.collect::<Vec<_>>().join(between)
}

/// What a server rather does to spite, or to show bytes to a person.
pub(super) fn rarer_encodings(text: &str) -> Vec<(&'static str, String)> {
    let quoted = |text: &str| percent(text, false, true).replace('%', "=");
    let each = |escape: &dyn Fn(u8) -> String| text.bytes().map(escape).collect::<String>();
    let full_width = |c: char| match c {
        '!'..='~' => char::from_u32(u32::from(c) + 0xfee0).unwrap(),
        ' ' => '\u{3000}',
        other => other,
    };
    let digits = hex(text.as_bytes(), false);
    let little = utf16(text, u16::to_le_bytes);
    let big = utf16(text, u16::to_be_bytes);
    vec![
        (
            "quoted-printable in lines",
            broken(text, 9, "\u{1}")
                .split('\u{1}')
                .map(quoted)
                .collect::<Vec<_>>()
                .join("=\r\n"),
        ),
        (
            "quoted-printable of everything",
            percent(text, true, true).replace('%', "="),
        ),
        ("%u of everything", each(&|byte| format!("%u{byte:04x}"))),
        (
            "octal escapes of everything",
            each(&|byte| format!("\\{byte:03o}")),
        ),
        (
            "C escapes of everything",
            each(&|byte| format!("\\x{byte:02x}")),
        ),
        ("hexadecimal digits with colons", broken(&digits, 2, ":")),
        ("hexadecimal digits with spaces", broken(&digits, 2, " ")),
        ("hexadecimal digits with dashes", broken(&digits, 2, "-")),
        (
            "hexadecimal digits with commas",
            each(&|byte| format!("0x{byte:02X}, ")),
        ),
        ("a dump of hexadecimal digits", broken(&digits, 4, " ")),
        ("base32", base32(text.as_bytes())),
        (
            "base32 without padding",
            base32(text.as_bytes()).replace('=', ""),
        ),
        (
            "base32 in small letters",
            base32(text.as_bytes()).to_lowercase(),
        ),
        ("base64 of UTF-16", STANDARD.encode(&little)),
        (
            "base64 of UTF-16, the large byte first",
            STANDARD.encode(&big),
        ),
        ("hexadecimal digits of UTF-16", hex(&little, false)),
        ("full-width letters", text.chars().map(full_width).collect()),
        ("spaces without a width", broken(text, 1, "\u{200b}")),
        ("soft hyphens", broken(text, 1, "\u{ad}")),
        ("accents", broken(text, 1, "\u{301}")),
        ("zeros", broken(text, 1, "\0")),
        ("letter by letter", broken(text, 1, " ")),
        ("pieces", broken(text, 6, " ")),
        ("short lines", broken(text, 5, "\r\n")),
        ("pieces of base64", broken(&STANDARD.encode(text), 8, " ")),
    ]
}
