//! Large answers: every object of a known answer with many more fields, every list with many more
//! items, every text much longer. What is four times as long may take four times as long, not
//! sixteen times: one vendor's odd answer must not hold a processor for minutes.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use super::{
    change::{nth, size},
    corpus,
    oracle::judge,
    shake::LIMITS,
    targets,
};

/// How many fields or items are added first; four times as many are added then.
const MANY: usize = 4000;
/// Below this the clock is too coarse to compare.
const NOTICED: Duration = Duration::from_millis(150);
/// Twice what four times the length may take: other work is in between.
const GROWS: u32 = 8;

/// What is done to a value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// New fields in an object, in no order.
    NewFields,
    /// The object's own values under new names.
    LikeFields,
    /// One name many times.
    SameField,
    /// A list's items, each with texts of its own.
    Items,
    /// A longer text.
    Longer,
}

const WAYS: [Way; 5] = [
    Way::NewFields,
    Way::LikeFields,
    Way::SameField,
    Way::Items,
    Way::Longer,
];

/// Where a value is, with all items of a list as one place: `data[].total`.
fn places(value: &Value, path: String, out: &mut Vec<String>) {
    out.push(path.clone());
    match value {
        Value::Array(items) => items
            .iter()
            .for_each(|own| places(own, format!("{path}[]"), out)),
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(name, own)| places(own, format!("{path}.{name}"), out));
        }
        _ => {}
    }
}

/// The same item with other texts and numbers: another message, another address.
fn renumbered(value: &Value, number: usize) -> Value {
    match value {
        Value::String(text) if !text.is_empty() => Value::String(format!("{text}{number}")),
        Value::Number(_) => json!(number),
        Value::Array(items) => items.iter().map(|own| renumbered(own, number)).collect(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, own)| (name.clone(), renumbered(own, number)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// The value as text with `count` more in the place; `None`: the way is for other types.
fn amplified(whole: &Value, place: usize, way: Way, count: usize) -> Option<String> {
    const MARK: &str = "\u{e000}mark\u{e000}";
    let mut whole = whole.clone();
    let own = nth(&mut whole, place)?;
    // Unlike any order in which the fields could be kept already.
    let scattered = |number: usize| number.wrapping_mul(2_654_435_761) % 1_000_000_007;
    match (way, own) {
        (Way::NewFields, Value::Object(fields)) => {
            fields.extend(
                (0..count).map(|number| (format!("n{}", scattered(number)), json!(number))),
            );
        }
        (Way::LikeFields, Value::Object(fields)) => {
            let values: Vec<Value> = fields.values().cloned().collect();
            let value = values
                .iter()
                .max_by_key(|own| size(own))
                .filter(|own| size(own) < 40)?;
            fields
                .extend((0..count).map(|number| (format!("{}", scattered(number)), value.clone())));
        }
        (Way::SameField, Value::Object(fields)) => {
            let (name, value) = fields
                .iter()
                .next()
                .map(|(name, own)| (name.clone(), own.clone()))?;
            if size(&value) > 40 {
                return None;
            }
            fields.insert(MARK.to_owned(), Value::Null);
            let again = format!("{}:{value},", json!(name)).repeat(count);
            let mark = format!("{}:null", json!(MARK));
            let end = format!("{again}{}:{value}", json!(name));
            return Some(whole.to_string().replace(&mark, &end));
        }
        (Way::Items, Value::Array(items)) => {
            let item = items
                .iter()
                .find(|own| size(own) < 80)
                .cloned()
                .unwrap_or_else(|| json!("x"));
            items.extend((0..count).map(|number| renumbered(&item, number)));
        }
        (Way::Longer, Value::String(text)) => text.push_str(&"ä7 ".repeat(10 * count)),
        _ => return None,
    }
    Some(whole.to_string())
}

fn check(target: &'static targets::Target) {
    let mut known = BTreeSet::new();
    let mut compared = 0;
    let corpus = corpus::of(target.name).into_iter();
    // What guidance has found has the same places, and a thousand that no vendor would think of.
    for (name, input) in corpus.filter(|(name, _)| !name.starts_with(corpus::GUIDED)) {
        let end = input
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let (head, body) = input.split_at(if input.first() == Some(&b'{') { 0 } else { end });
        let Ok(whole) = serde_json::from_slice::<Value>(body) else {
            continue;
        };
        let mut all = Vec::new();
        places(&whole, String::from_utf8_lossy(head).into_owned(), &mut all);
        for (number, place) in all.into_iter().enumerate() {
            for way in WAYS {
                if !known.insert((place.clone(), format!("{way:?}"))) {
                    continue;
                }
                let of = |count: usize| {
                    let text = amplified(&whole, number, way, count)?;
                    Some([head, text.as_bytes()].concat())
                };
                let (Some(small), Some(large)) = (of(MANY), of(4 * MANY)) else {
                    continue;
                };
                let read = |input: &[u8]| {
                    judge(target, input, LIMITS).unwrap_or_else(|problem| {
                        panic!("{}/{name}, {way:?} in {place}: {problem}", target.name)
                    })
                };
                let (short, long) = (read(&small), read(&large));
                compared += 1;
                // Once more before it counts: something else may have run in between.
                if long > NOTICED && long > short * GROWS && read(&large) > read(&small) * GROWS {
                    panic!(
                        "{}/{name}, {way:?} in {place}: {short:?} for {} bytes, {long:?} for {}",
                        target.name,
                        small.len(),
                        large.len(),
                    );
                }
            }
        }
    }
    println!(
        "{}: {compared} places in which an answer can be long",
        target.name
    );
    assert!(compared > 0);
}

macro_rules! amplified {
    ($($target:ident),* $(,)?) => {
        $(
            #[test]
            fn $target() {
                check(targets::named(stringify!($target)));
            }
        )*
    };
}

amplified!(config, events, reports);

#[test]
fn answers_of_every_vendor() {
    super::of_every_vendor(check);
}
