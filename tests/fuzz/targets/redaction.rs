//! A registered secret is not shown, however it is encoded, and whatever stands beside it.

use std::sync::Once;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use delivery_exporter::redact::{masked, masked_label, register, register_user, shown_within};

/// Secrets of several kinds: with signs, digits alone that look like base64, with a space, long.
const SECRETS: [&str; 4] = [
    "Tr0ub4dor&3/horse+battery%staple",
    "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "correct horse battery 4711",
    "sk_live_51Hq8mZ2eZvKYlo2C0aB9dE7fG6hI5jK4lM3nO2pQ1rS0tU",
];
/// Encodings in encodings are undone so often, as docs/security.md says.
const DEPTH: usize = 4;
/// Each encoding can make a text six times as long; what is measured is time per byte of the input.
const LONGEST: usize = 1 << 10;
/// So much of a secret is more than chance.
const PIECE: usize = 16;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base32(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let digits = bits.as_bytes().chunks(5).map(|five| {
        let digit = format!("{:0<5}", String::from_utf8_lossy(five));
        let digit = u8::from_str_radix(&digit, 2).unwrap_or_default();
        char::from(if digit < 26 {
            b'A' + digit
        } else {
            b'2' + digit - 26
        })
    });
    digits.collect()
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

/// A text with something after so many characters each.
fn broken(text: &str, length: usize, between: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let parts: Vec<String> = letters.chunks(length).map(String::from_iter).collect();
    parts.join(between)
}

/// One encoding of a text.
fn encoded(text: &str, way: u8) -> String {
    let each = |escape: &dyn Fn(u8) -> String, everything: bool| -> String {
        let bytes = text.bytes().map(|byte| {
            if byte.is_ascii_alphanumeric() && !everything {
                char::from(byte).to_string()
            } else {
                escape(byte)
            }
        });
        bytes.collect()
    };
    let chars = |escape: &dyn Fn(u32) -> String| -> String {
        text.chars()
            .map(|own| {
                if own.is_alphanumeric() {
                    own.to_string()
                } else {
                    escape(own.into())
                }
            })
            .collect()
    };
    match way % 23 {
        0 => each(&|byte| format!("%{byte:02X}"), false),
        1 => each(&|byte| format!("%{byte:02x}"), true),
        2 => each(&|byte| format!("%{byte:02X}"), false).replace("%20", "+"),
        3 => STANDARD.encode(text),
        4 => URL_SAFE_NO_PAD.encode(text),
        5 => STANDARD.encode(text).trim_end_matches('=').to_owned(),
        6 => hex(text.as_bytes()),
        7 => hex(text.as_bytes()).to_uppercase(),
        8 => serde_json::to_string(text).unwrap(),
        9 => text
            .encode_utf16()
            .map(|unit| format!("\\u{unit:04X}"))
            .collect(),
        10 => chars(&|own| format!("&#{own};")),
        11 => chars(&|own| format!("&#x{own:x};")),
        12 => each(&|byte| format!("={byte:02X}"), false),
        13 => each(&|byte| format!("={byte:02x}"), true),
        14 if text.is_ascii() => each(&|byte| format!("%u{byte:04x}"), true),
        15 => each(&|byte| format!("\\{byte:03o}"), true),
        16 => broken(&hex(text.as_bytes()), 2, ":"),
        17 => broken(&hex(text.as_bytes()), 2, " "),
        18 => base32(text.as_bytes()),
        19 if text.is_ascii() => STANDARD.encode(utf16(text, u16::to_le_bytes)),
        20 if text.is_ascii() => STANDARD.encode(utf16(text, u16::to_be_bytes)),
        21 => {
            let wide = |own: char| match own {
                '!'..='~' => char::from_u32(u32::from(own) + 0xfee0).unwrap_or(own),
                own => own,
            };
            text.chars().map(wide).collect()
        }
        22 => broken(text, 1, "\u{200b}"),
        _ => STANDARD.encode(text),
    }
}

/// What a text can be decoded to in one step, each encoding by itself; not the exporter's code.
fn decodings(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|own| char::from(*own).to_digit(16));
    let pair = |at: usize| Some((digit(at)? << 4 | digit(at + 1)?) as u8);
    // Percent.
    let mut plain = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match pair(at + 1).filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    all.push(String::from_utf8_lossy(&plain).into_owned());
    all.push(text.replace('+', " "));
    // JSON, of characters in one unit.
    let mut rest = text;
    let mut plain = String::new();
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let unit = rest.strip_prefix('u').and_then(|own| own.get(..4));
        let unit = unit.and_then(|own| u32::from_str_radix(own, 16).ok());
        match (unit.and_then(char::from_u32), rest.chars().next()) {
            (Some(own), _) => {
                plain.push(own);
                rest = &rest[5..];
            }
            (None, Some(own @ ('"' | '\\' | '/'))) => {
                plain.push(own);
                rest = &rest[1..];
            }
            _ => plain.push('\\'),
        }
    }
    all.push(plain + rest);
    // HTML.
    let mut rest = text;
    let mut plain = String::new();
    while let Some(at) = rest.find("&#") {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 2..];
        let number = rest.split_once(';').and_then(|(number, after)| {
            let own = match number.strip_prefix('x') {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            Some((char::from_u32(own.ok()?)?, after))
        });
        match number {
            Some((own, after)) => {
                plain.push(own);
                rest = after;
            }
            None => plain.push_str("&#"),
        }
    }
    all.push(plain + rest);
    all.extend(rarer_decodings(text));
    // Base64 and hexadecimal digits, words of them at each offset.
    let is_base64 = |own: char| own.is_ascii_alphanumeric() || "+/-_".contains(own);
    for word in text.split(|own| !is_base64(own)) {
        let word = word.replace('-', "+").replace('_', "/");
        for offset in 0..4.min(word.len()) {
            let part = &word[offset..];
            let whole = STANDARD.decode(&part[..part.len() - part.len() % 4]);
            all.extend(whole.ok().and_then(|own| printable(&own)));
        }
    }
    for word in text.split(|own: char| !own.is_ascii_hexdigit()) {
        for offset in 0..2.min(word.len()) {
            let digits = &word.as_bytes()[offset..];
            let bytes: Vec<u8> = digits
                .chunks_exact(2)
                .filter_map(|own| {
                    let text = std::str::from_utf8(own).ok()?;
                    u8::from_str_radix(text, 16).ok()
                })
                .collect();
            all.extend(printable(&bytes));
        }
    }
    all.retain(|own| own != text);
    all
}

/// Each escape that stands alone, and the characters that stand for others or for nothing.
fn rarer_decodings(text: &str) -> Vec<String> {
    let escapes = [("=", 2, 16), ("%u", 4, 16), ("\\", 3, 8)];
    let mut all: Vec<String> = escapes
        .iter()
        .map(|(mark, length, radix)| {
            let mut parts = text.split(mark);
            let mut plain = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                let number = part.get(..*length);
                let number = number.and_then(|own| u32::from_str_radix(own, *radix).ok());
                match number.and_then(char::from_u32) {
                    Some(own) => {
                        plain.push(own);
                        plain.push_str(&part[*length..]);
                    }
                    None => {
                        plain.push_str(mark);
                        plain.push_str(part);
                    }
                }
            }
            plain
        })
        .collect();
    let fold = |own: char| match own {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(own) - 0xfee0),
        '\0' | '\u{200b}' => None,
        own => Some(own),
    };
    all.push(text.chars().filter_map(fold).collect());
    let without_colons: String = text.chars().filter(|own| !": ".contains(*own)).collect();
    for word in without_colons.split(|own: char| !own.is_ascii_hexdigit()) {
        let bytes: Vec<u8> = word
            .as_bytes()
            .chunks_exact(2)
            .filter_map(|own| u8::from_str_radix(std::str::from_utf8(own).ok()?, 16).ok())
            .collect();
        all.extend(printable(&bytes));
    }
    for word in text.split(|own: char| !matches!(own, 'A'..='Z' | '2'..='7')) {
        let bits: String = word
            .bytes()
            .map(|own| {
                if own.is_ascii_digit() {
                    own - b'2' + 26
                } else {
                    own - b'A'
                }
            })
            .map(|digit| format!("{digit:05b}"))
            .collect();
        let bytes: Vec<u8> = bits
            .as_bytes()
            .chunks_exact(8)
            .filter_map(|own| u8::from_str_radix(std::str::from_utf8(own).ok()?, 2).ok())
            .collect();
        all.extend(printable(&bytes));
    }
    all
}

/// The parts of decoded bytes that may be text, and long enough to hold a piece of a secret.
fn printable(bytes: &[u8]) -> Option<String> {
    let is_text = |own: &u8| own.is_ascii_graphic() || own.is_ascii_whitespace();
    let zeros = bytes.iter().filter(|own| **own == 0).count();
    let utf16: Vec<u8>;
    let bytes = if zeros * 3 > bytes.len() {
        utf16 = bytes.iter().copied().filter(|own| *own != 0).collect();
        &utf16
    } else {
        bytes
    };
    let parts: Vec<_> = bytes
        .split(|own| !is_text(own))
        .filter(|own| own.len() >= PIECE)
        .map(String::from_utf8_lossy)
        .collect();
    (!parts.is_empty()).then(|| parts.join("\0"))
}

/// A piece of the secret that is in a text, in up to `depth` encodings; `budget`: so many bytes are
/// looked at.
fn piece<'s>(text: &str, secret: &'s str, depth: usize, budget: &mut usize) -> Option<&'s str> {
    *budget = budget.checked_sub(text.len() + 1)?;
    let lower = text.to_ascii_lowercase();
    let pieces = (0..=secret.len() - PIECE).map(|at| &secret[at..at + PIECE]);
    let mut pieces = pieces.filter(|own| lower.contains(&own.to_ascii_lowercase()));
    if let Some(found) = pieces.next() {
        return Some(found);
    }
    let joined: String = lower.split_whitespace().collect();
    let mut pieces = (0..=secret.len() - PIECE).map(|at| &secret[at..at + PIECE]);
    if let Some(found) = pieces.find(|own| joined.contains(&own.to_ascii_lowercase())) {
        return Some(found);
    }
    let deeper = if depth > 0 {
        decodings(text)
    } else {
        Vec::new()
    };
    deeper
        .iter()
        .find_map(|own| piece(own, secret, depth - 1, budget))
}

/// The input is the number of a secret, how often it is encoded, four encodings, and what stands
/// around it inside and outside of them.
pub fn hide(input: &[u8]) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        register(SECRETS);
        register_user("shop-user-17", SECRETS[0]);
    });
    let (head, rest) = input.split_at(input.len().min(2 + DEPTH));
    let byte = |at: usize| head.get(at).copied().unwrap_or_default();
    let secret = SECRETS[usize::from(byte(0)) % SECRETS.len()];
    let depth = usize::from(byte(1)) % (DEPTH + 1);
    let around = String::from_utf8_lossy(rest);
    let mut around = around.splitn(4, '\n');
    let mut part = || around.next().unwrap_or_default();
    let (inner, before, after) = ((part(), part()), part(), part());
    let mut text = format!("{}{secret}{}", inner.0, inner.1);
    // A secret itself can be broken; what is broken inside an escape is no encoding.
    if byte(1) & 0x80 != 0 && depth < DEPTH {
        text = broken(&text, 6, " ");
    }
    for layer in 0..depth {
        let longer = encoded(&text, byte(2 + layer));
        if longer.len() > LONGEST {
            break;
        }
        text = longer;
    }
    let text = format!("{before}{text}{after}");
    let label = masked_label(&text).unwrap_or_else(|| text.clone());
    for shown in [masked(&text).into_owned(), label, shown_within(&text, 4000)] {
        let mut budget = 4096 + 64 * shown.len();
        if let Some(found) = piece(&shown, secret, DEPTH, &mut budget) {
            panic!("{found:?} of {secret:?} is in {shown:?}, which is shown of {text:?}");
        }
    }
}
