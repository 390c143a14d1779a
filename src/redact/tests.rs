//! Every secret, in every encoding, whole and in part.

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;

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

fn hex(bytes: &[u8], upper: bool) -> String {
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
pub(crate) fn encodings(text: &str) -> Vec<(&'static str, String)> {
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

/// Nothing of an encoded secret is left that is longer than chance.
fn assert_hidden(shown: &str, encoded: &str, name: &str) {
    let letters: Vec<char> = encoded.chars().collect();
    // Where each letter takes six, three of them may stand in any word.
    let is_wide = name.contains("everything") || name.contains("decimals");
    let chance = if is_wide { 60 } else { 20 };
    for piece in letters.windows(chance.min(letters.len())) {
        let piece: String = piece.iter().collect();
        assert!(!shown.contains(&piece), "{name}: {piece:?} is in {shown:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_encoding_of_a_secret_is_shown(
        secret in "[a-zA-Z0-9!#$%&'()*+,./:;<=>?@^_`{|}~\" -]{12,48}[0-9]",
        user in "[a-z]{4,12}[0-9]{2}",
    ) {
        register([secret.as_str()]);
        register_user(&user, &secret);
        for (name, encoded) in encodings(&secret) {
            for text in [
                encoded.clone(),
                format!("{{\"message\": \"refused: {encoded}\"}}"),
                format!("x={encoded}&y"),
            ] {
                assert_hidden(&masked(&text), &encoded, name);
                assert_hidden(&shown(&text), &encoded, name);
            }
        }
        for (name, encoded) in encodings(&format!("{user}:{secret}")) {
            if name.starts_with("SHA") { continue; }
            assert_hidden(&shown(&format!("header Basic {encoded}, refused")), &encoded, name);
        }
        // A whole request, however it is wrapped.
        let head = format!("GET /x HTTP/1.1\r\nhost: v\r\nauthorization: Basic {}\r\n\r\n", STANDARD.encode(format!("{user}:{secret}")));
        for (name, encoded) in encodings(&head) {
            if name.starts_with("SHA") { continue; }
            let shown = shown_within(&encoded, 4000);
            let pair = STANDARD.encode(format!("{user}:{secret}"));
            for (inner, own) in encodings(&pair) {
                assert_hidden(&shown, &own, &format!("{name}, {inner}"));
            }
            assert!(!decodes_to(&shown, &secret), "{name}: {shown}");
        }
    }

    #[test]
    fn parts_of_a_secret_are_not_shown(secret in "[a-zA-Z0-9+/]{40,80}[0-9]", from in 0usize..20, length in 16usize..30) {
        register([secret.as_str()]);
        let part = &secret[from..(from + length).min(secret.len())];
        let shown = masked(part);
        assert!(!shown.contains(part), "{shown}");
        let header = STANDARD.encode(format!("user:{secret}"));
        let part = &header[8..48];
        assert!(!masked(part).contains(part));
    }

    #[test]
    fn any_text_can_be_shown(text in "\\PC{0,300}") {
        let shown = shown(&text);
        prop_assert!(shown.chars().count() <= MAX_CHARACTERS + 1);
        prop_assert!(!shown.chars().any(hides));
        // What is shown is not changed by being shown again: texts pass more than one door.
        let again = super::shown(&shown);
        prop_assert!(again.len() <= shown.len() + 16);
    }
}

/// Whether some decoding of a text has the secret in it, by ways that are not those of this room.
fn decodes_to(text: &str, secret: &str) -> bool {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"+/-_".contains(c));
    words.into_iter().any(|word| {
        (0..word.len().min(4)).any(|offset| {
            let part = &word[offset..];
            let part = &part[..part.len() - part.len() % 4];
            STANDARD
                .decode(part)
                .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(secret))
        })
    })
}

#[test]
fn what_vendors_say_stays_readable() {
    for text in [
        "HTTP 401: UNAUTHORIZED: Invalid login details",
        "HTTP 400: 21003: parameter message_ids is invalid",
        "the token lacks a permission or this application",
        "invalid token, expired yesterday; ask for a new key",
        "SignatureDoesNotMatch: the signature is not what we calculated",
        "no application 15f5e3f8ef4018d73a6822eff5dc38a9",
        "request 7fa1c9a3-95f3-4f4b-9d43-6e1f2a5b8c7d failed",
        "message 3813836816344707101 of 2026-11-30T10:00:00Z",
        "the connection failed: tcp connect error: Connection refused (os error 111)",
        "unable to read /var/lib/delivery-exporter/spool/shop-push/000017.body",
    ] {
        assert_eq!(shown(text), text);
    }
}

#[test]
fn what_nobody_registered_is_known_by_its_form() {
    for (text, expected) in [
        (
            "refused: Authorization: Basic dTE6cGFzc3dvcmQ=",
            "refused: Authorization: ***",
        ),
        (
            "header 'Bearer eyJhbGciOi.J9x_1' is old",
            "header 'Bearer ***' is old",
        ),
        ("Cookie: a=b; session=1234", "Cookie: ***"),
        ("x?access_token=abcdef1234&a=b", "x?access_token=***&a=b"),
        ("{\"password\":\"Hunter2hunter\"}", "{\"password\":\"***\"}"),
        ("to a.b+c@example.com failed", "to (address) failed"),
        ("to a.b%40example.com failed", "to (address) failed"),
        ("to +49 176 1234567 failed", "to (number) failed"),
        (
            "device 740f4707bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78ad is gone",
            "device (token) is gone",
        ),
        ("a\nb\u{202e}c\u{1b}[31m", "a b c [31m"),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
    assert!(shown(&"x".repeat(1000)).chars().count() <= MAX_CHARACTERS + 1);
}

#[test]
fn what_stands_right_beside_it_hides_no_encoded_secret() {
    let secret = "a-secret-of-the-account-4711";
    register([secret]);
    let twice = STANDARD.encode(STANDARD.encode(secret));
    let thrice = STANDARD.encode(hex(secret.as_bytes(), false));
    for encoded in [&twice, &thrice, &STANDARD.encode(&twice)] {
        for before in ["AAAA".repeat(20), "\r\r\r\rA".to_owned(), "0".repeat(80)] {
            let text = format!("{before}{encoded}");
            assert_hidden(&masked(&text), encoded, &before);
        }
    }
}

#[test]
fn a_signature_is_not_shown_in_any_encoding() {
    let bytes = Sha256::digest("a request to be signed");
    let signature = hex(&bytes, false);
    note_signature(&signature);
    for text in [
        signature.clone(),
        signature.to_uppercase(),
        STANDARD.encode(bytes),
    ] {
        assert!(!masked(&text).contains(&text), "{text}");
    }
}

#[test]
fn urls_and_headers_are_taken_apart() {
    register_url("http://proxyuser:p%40ss-w0rd!@proxy:3128/x?key=0123456789abcdef-in-query");
    register(["Basic c29tZWJvZHk6YW5vdGhlci1zZWNyZXQtMQ=="]);
    for secret in [
        "p%40ss-w0rd!",
        "p@ss-w0rd!",
        "0123456789abcdef-in-query",
        "another-secret-1",
    ] {
        let text = format!("<{secret}>");
        assert_eq!(masked(&text), "<***>", "{secret}");
    }
    // A name stays where it may be another's; a vendor has no need to say it.
    assert_eq!(masked("proxyuser"), "proxyuser");
    assert_eq!(shown("no proxyuser here"), "no *** here");
}

#[test]
fn short_secrets_and_words_spoil_no_text() {
    register(["token", "abc", "delivered"]);
    assert_eq!(shown("the token of abc"), "the token of abc");
    assert_eq!(masked("delivered"), "delivered");
    assert_eq!(shown("was delivered"), "was ***");
}

#[test]
fn many_accounts_cost_little() {
    let begun = std::time::Instant::now();
    for number in 0..500 {
        let password = format!("password-{number}-of-many-accounts");
        register_user(&format!("user-of-account-{number}"), &password);
    }
    let known = "the password-499-of-many-accounts is known";
    assert_eq!(masked(known), "the *** is known");
    for number in 0..10_000 {
        assert_eq!(masked_label(&format!("campaign-{number}")), None);
    }
    // A debug build on a busy machine; a new index for each account would take minutes.
    let passed = begun.elapsed();
    assert!(passed < std::time::Duration::from_secs(20), "{passed:?}");
}

#[test]
fn many_short_names_cost_no_more_than_one() {
    for number in 0..5_000 {
        register_user(&format!("u{number:06}"), "");
    }
    assert_eq!(shown("no u004999 here"), "no *** here");
    let text = STANDARD.encode("some words of a vendor, ".repeat(100));
    let begun = std::time::Instant::now();
    let _ = shown(&text);
    // A debug build on a busy machine; one look for each name takes minutes.
    let passed = begun.elapsed();
    assert!(passed < std::time::Duration::from_secs(5), "{passed:?}");
}

#[test]
fn many_secrets_that_begin_alike_cost_a_bounded_time() {
    let secrets: Vec<_> = (0..2_000)
        .map(|number| format!("alike-alike-alike-alike-{number:06}"))
        .collect();
    register(secrets.iter().map(String::as_str));
    assert_eq!(
        shown("no alike-alike-alike-alike-001999 here"),
        "no *** here"
    );
    let begun = std::time::Instant::now();
    let masked = masked(&"alike-".repeat((64 << 10) / 6)).into_owned();
    assert!(!masked.contains("alike-alike-"), "{masked}");
    // A debug build on a busy machine; without the bound it is minutes.
    let passed = begun.elapsed();
    assert!(passed < std::time::Duration::from_secs(10), "{passed:?}");
}

#[test]
fn the_time_is_bounded_by_the_length() {
    register(["one-secret-of-the-account-4711"]);
    let mut slowest = std::time::Duration::ZERO;
    for unit in [
        "A", "QUFB", "%25", "\\u0041", "&#65;", "\\\\", "61", "a b", "é",
    ] {
        let text = unit.repeat((64 << 10) / unit.len());
        let begun = std::time::Instant::now();
        let _ = masked(&text);
        slowest = slowest.max(begun.elapsed());
    }
    // A debug build on a busy machine; without the bound it is minutes.
    assert!(slowest < std::time::Duration::from_secs(20), "{slowest:?}");
}

#[test]
fn the_short_look_at_labels_finds_what_the_long_one_finds() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let secret = "look-for-this-one-4712";
    register([secret]);
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let forms = [
        secret.to_owned(),
        secret.to_uppercase(),
        secret[..16].to_owned(),
        secret.replace('-', "&#45;"),
        secret.replace('-', "\\u002d"),
        STANDARD.encode(secret),
        STANDARD.encode(format!("user:{secret}")),
        hex,
        percent,
        // A piece that is too short, and texts that are none.
        secret[..6].to_owned(),
        "price-alert".to_owned(),
        "DELIVERED_TO_OPERATOR".to_owned(),
        "550e8400-e29b-41d4-a716-446655440000".to_owned(),
        "1613113584000123".to_owned(),
    ];
    for form in forms {
        for text in [form.clone(), format!("a {form}"), format!("{form}&b=ü")] {
            let long = masked(&text).into_owned();
            let expected = (long != text).then_some(long);
            assert_eq!(masked_label(&text), expected, "{text}");
        }
    }
    assert!(masked_label(&format!("a {secret}")).is_some());
}
