//! Changes of known inputs: parts of JSON in other places, other types, names twice, bytes that are
//! missing.

use rand::{Rng, RngExt, seq::IndexedRandom};
use serde_json::{Map, Value, json};

/// The longest input that changes make.
pub const LONGEST: usize = 64 << 10;

/// The first line of a vendor's input, and the JSON after it.
fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let is_head = end > 0 && end < 40 && !input.starts_with(b"{") && !input.starts_with(b"[");
    input.split_at(if is_head { end } else { 0 })
}

/// An input, changed in one to four places.
pub fn change(input: &[u8], other: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    let (head, body) = halves(input);
    let mut changed = match serde_json::from_slice::<Value>(body) {
        Ok(mut value) if rng.random_range(0..4) > 0 => {
            let donor = serde_json::from_slice::<Value>(halves(other).1).unwrap_or_default();
            for _ in 0..rng.random_range(1..=4) {
                change_value(&mut value, &donor, rng);
            }
            [head, value.to_string().as_bytes()].concat()
        }
        _ => input.to_vec(),
    };
    if rng.random_range(0..3) == 0 {
        for _ in 0..rng.random_range(1..=3) {
            change_bytes(&mut changed, other, rng);
        }
    }
    if rng.random_range(0..100) == 0 {
        repeat(&mut changed, rng);
    }
    changed.truncate(LONGEST);
    changed
}

/// A few bytes so often that what is quadratic in them shows.
fn repeat(bytes: &mut Vec<u8>, rng: &mut impl Rng) {
    let from = rng.random_range(0..=bytes.len());
    let to = (from + rng.random_range(1..=24)).min(bytes.len());
    let piece = bytes[from..to].to_vec();
    let room = LONGEST.saturating_sub(bytes.len());
    let times = room.checked_div(piece.len()).unwrap_or_default();
    bytes.splice(to..to, piece.repeat(times));
}

/// How many values there are, itself included.
pub fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.values().map(size).sum::<usize>(),
        _ => 0,
    }
}

/// The value of a number, counted from the outside in.
pub fn nth(value: &mut Value, number: usize) -> Option<&mut Value> {
    if number == 0 {
        return Some(value);
    }
    let mut left = number - 1;
    let inside: Box<dyn Iterator<Item = &mut Value>> = match value {
        Value::Array(items) => Box::new(items.iter_mut()),
        Value::Object(fields) => Box::new(fields.values_mut()),
        _ => return None,
    };
    for own in inside {
        let count = size(own);
        if left < count {
            return nth(own, left);
        }
        left -= count;
    }
    None
}

/// Values that readers have stumbled over.
fn odd(rng: &mut impl Rng) -> Value {
    let all = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1e308),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(9_007_199_254_740_993_u64),
        json!(""),
        json!(" "),
        json!("0"),
        json!("-1"),
        json!("1e5"),
        json!("12.0"),
        json!("NaN"),
        json!("\u{0}\u{1f}\u{feff}"),
        json!("2026-11-20T10:00:00Z"),
        json!("2026-13-45"),
        json!("99999-01-01T00:00:00+99:99"),
        json!("joe@example.com"),
        json!("é".repeat(300)),
        json!([]),
        json!({}),
        json!([[]]),
        json!([null]),
        json!({"": ""}),
        json!({"total": {"total": []}}),
    ];
    all.choose(rng).unwrap().clone()
}

fn change_value(value: &mut Value, donor: &Value, rng: &mut impl Rng) {
    let place = rng.random_range(0..size(value));
    let Some(own) = nth(value, place) else {
        return;
    };
    match rng.random_range(0..9) {
        0 => *own = odd(rng),
        1 => {
            let mut donor = donor.clone();
            let number = rng.random_range(0..size(&donor));
            *own = nth(&mut donor, number)
                .map(|own| own.take())
                .unwrap_or_default();
        }
        2 => *own = json!([own.take()]),
        3 => *own = json!({"data": own.take()}),
        4 => *own = Value::String(own.to_string()),
        5 => {
            if let Value::Object(fields) = own {
                let names: Vec<String> = fields.keys().cloned().collect();
                if let Some(name) = names.choose(rng) {
                    fields.remove(name);
                }
            }
        }
        6 => {
            if let Value::Object(fields) = own {
                rename(fields, rng);
            }
        }
        7 => {
            if let Value::Array(items) = own
                && let Some(item) = items.choose(rng).cloned()
            {
                items.insert(rng.random_range(0..=items.len()), item);
            }
        }
        _ => {
            if let Value::Object(fields) = own {
                fields.insert(format!("new_{}", rng.random_range(0..100)), odd(rng));
            } else if let Value::Number(number) = own {
                *own = Value::String(number.to_string());
            }
        }
    }
}

fn rename(fields: &mut Map<String, Value>, rng: &mut impl Rng) {
    let names: Vec<String> = fields.keys().cloned().collect();
    if let Some(name) = names.choose(rng)
        && let Some(value) = fields.remove(name)
    {
        let other = names.choose(rng).unwrap();
        let name = match rng.random_range(0..3) {
            0 => name.to_uppercase(),
            1 => format!("{name}_"),
            _ => other.clone(),
        };
        fields.insert(name, value);
    }
}

fn change_bytes(bytes: &mut Vec<u8>, other: &[u8], rng: &mut impl Rng) {
    let place = rng.random_range(0..=bytes.len());
    match rng.random_range(0..6) {
        0 => bytes.truncate(place),
        1 => bytes.insert(place, rng.random()),
        2 => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
        3 => {
            let end = (place + rng.random_range(1..=16)).min(bytes.len());
            bytes.drain(place..end);
        }
        4 => {
            let from = rng.random_range(0..=other.len());
            let to = (from + rng.random_range(0..=64)).min(other.len());
            bytes.splice(place..place, other[from..to].iter().copied());
        }
        _ => {
            let sign = *b"{}[]\",:\\\n \t-+.eE09&*!|>#%@`\xff".choose(rng).unwrap();
            let count = rng.random_range(1..=40);
            bytes.splice(place..place, std::iter::repeat_n(sign, count));
        }
    }
}
