//! Labels of any text are written so that a reader of the format reads the same text.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use delivery_clock::Clock;
use delivery_exporter::{
    model::{Application, Measure, Message, Row, Snapshot, Totals},
    outputs::exposition::{Exposition, answer},
    redact::masked_label,
    series::{Probed, Table, show_probe},
};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::one_account;

/// A table without accounts.
pub fn empty_table() -> Table {
    let clock = Clock::system();
    Table::new(clock.clone(), Arc::new(Exposition::new(clock)))
}

/// A message whose texts are the lines of the input, on a page and back.
pub fn round_trip(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    // A line end inside a text is written as U+2028, so that inputs can have some.
    let texts: Vec<Arc<str>> = input
        .split('\n')
        .map(|text| Arc::from(text.replace('\u{2028}', "\n")))
        .collect();
    // Another target of this process may have read a configuration with such a password.
    let is_secret = |own: &str| masked_label(&clean(own)).is_some();
    if texts.iter().any(|own| is_secret(own)) {
        return;
    }
    let text = |index: usize| texts.get(index).cloned().unwrap_or_default();
    let at = Timestamp::from_second(1_795_000_000).unwrap();
    let rows = texts.iter().skip(2).take(90).enumerate();
    let breakdown: Vec<Row> = rows
        .map(|(number, channel)| Row {
            message_type: "notification".into(),
            platform: text(number % 3),
            vendor_channel: channel.clone(),
            counts: vec![(Measure::Sent, number as u64)],
        })
        .collect();
    let message = Message {
        application: "app".into(),
        id: text(0),
        campaign: Some(text(1)),
        sent_at: Some(at),
    };
    let snapshot = Snapshot {
        asked: text(0),
        id: text(0),
        campaign: None,
        sent_at: None,
        asked_at: at,
        totals: vec![Totals {
            channel: "push",
            counts: vec![(Measure::Sent, 7)],
            reported_ratio: Some(0.5),
        }],
        breakdown,
        types: Vec::new(),
    };
    let config = one_account("infobip_push");
    let probed = Probed {
        application: Application {
            id: "app".into(),
            name: "app".into(),
        },
        message,
        snapshot: Some(snapshot),
        lasted: Duration::from_millis(5),
    };
    for accept in ["text/plain", "application/openmetrics-text; version=1.0.0"] {
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_static(accept));
        let (_, parts) = answer(&headers, |visitor| {
            show_probe(
                &config.accounts[0],
                &config,
                &Clock::system(),
                &probed,
                visitor,
            );
        });
        let body = parts.collect().now_or_never().unwrap();
        let body: Bytes = body.unwrap_or_else(|error| match error {}).to_bytes();
        let page = std::str::from_utf8(&body).unwrap();
        let found = read(page);
        let of = |name: &str, label: &str| -> BTreeSet<String> {
            let of_name = found.keys().filter(|(own, _)| own == name);
            of_name
                .filter_map(|(_, labels)| labels.get(label).cloned())
                .collect()
        };
        let sent = "delivery_message_sent";
        assert_eq!(
            of(sent, "message_id"),
            [shown(&text(0), true)].into(),
            "{page}"
        );
        assert_eq!(
            of(sent, "campaign"),
            [shown(&text(1), false)].into(),
            "{page}"
        );
        let channels: BTreeSet<_> = texts.iter().skip(2).take(90).collect();
        let expected = channels.iter().map(|own| shown(own, false)).collect();
        let channel = of("delivery_message_channel_sent", "vendor_channel");
        assert_eq!(channel, expected, "{page}");
    }
}

/// A text without the characters that no label has.
fn clean(text: &str) -> String {
    text.replace(['\u{1f}', '\0'], "\u{fffd}")
}

/// What is shown of a text as a label, by the words of the documentation.
fn shown(text: &str, is_id: bool) -> String {
    let text = if is_id { text.to_owned() } else { clean(text) };
    if text.len() <= 256 {
        return text;
    }
    let digest = Sha256::digest(text.as_bytes());
    let mut cut: String = text.clone();
    while cut.len() > 256 - 9 {
        cut.pop();
    }
    let hex: String = digest
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{cut}~{hex}")
}

type Found = BTreeMap<(String, BTreeMap<String, String>), String>;

/// Reads a page as the format's documentation says: names, labels with three escapes, a value.
fn read(page: &str) -> Found {
    let mut found = Found::new();
    let lines = page.split_terminator('\n');
    for line in lines.filter(|line| !line.starts_with('#')) {
        let (name, mut rest) = line.split_at(line.find(['{', ' ']).unwrap());
        assert!(
            name.bytes()
                .all(|own| own.is_ascii_alphanumeric() || own == b'_'),
            "{line}"
        );
        let mut labels = BTreeMap::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            loop {
                rest = rest.strip_prefix(',').unwrap_or(rest);
                if let Some(after) = rest.strip_prefix('}') {
                    rest = after;
                    break;
                }
                let (label, after) = rest.split_once("=\"").unwrap();
                let mut value = String::new();
                let mut characters = after.char_indices();
                loop {
                    let (at, character) = characters.next().unwrap_or_else(|| panic!("{line}"));
                    match character {
                        '"' => {
                            rest = &after[at + 1..];
                            break;
                        }
                        '\\' => match characters.next().unwrap().1 {
                            'n' => value.push('\n'),
                            own @ ('\\' | '"') => value.push(own),
                            other => panic!("\\{other} in {line}"),
                        },
                        other => value.push(other),
                    }
                }
                let twice = labels.insert(label.to_owned(), value);
                assert!(twice.is_none(), "{label} twice in {line}");
            }
        }
        let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
        value
            .parse::<f64>()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        let twice = found.insert((name.to_owned(), labels), value.to_owned());
        assert!(twice.is_none(), "a series twice: {line}");
    }
    found
}
