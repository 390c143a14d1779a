//! Changes of known inputs: parts of JSON in other places, other types, names twice, bytes that are
//! missing; with the oracle that everything is read in a time that grows with its length alone.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Map, Value, json};

use super::{corpus, targets::Target};

/// Of processor time, for an input of any length, and for each of its bytes. A debug build on a busy
/// machine; what is quadratic takes many times as long.
const AT_ONCE: Duration = Duration::from_millis(400);
const PER_BYTE: Duration = Duration::from_micros(20);

/// The longest input that changes make.
const LONGEST: usize = 64 << 10;

/// The processor time of this thread.
pub fn spent() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = text.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanoseconds)
}

/// Reads an input, and says what is wrong with how it went.
pub fn judge(target: &Target, input: &[u8]) -> Result<Duration, String> {
    let before = spent();
    let ended = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = spent() - before;
    if let Err(panic) = ended {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|own| (*own).to_owned()));
        return Err(format!("panics: {}", text.unwrap_or_default()));
    }
    let most = AT_ONCE + PER_BYTE * u32::try_from(input.len()).unwrap();
    if took > most {
        return Err(format!(
            "takes {took:?} for {} bytes, more than {most:?}",
            input.len()
        ));
    }
    Ok(took)
}

fn seconds() -> f64 {
    let wanted = std::env::var("FUZZ_SECONDS").ok();
    wanted.map_or(2.0, |own| own.parse().expect("FUZZ_SECONDS is a number"))
}

/// The corpus, and then changes of it until the time is over.
pub fn run(target: &Target) {
    let corpus = corpus::of(target.name);
    for (name, input) in &corpus {
        if let Err(problem) = judge(target, input) {
            panic!("{}/{name}: {problem}", target.name);
        }
    }
    let seed = std::env::var("FUZZ_SEED")
        .ok()
        .and_then(|own| own.parse().ok())
        .unwrap_or(1);
    let mut rng = StdRng::seed_from_u64(seed);
    let end = Instant::now() + Duration::from_secs_f64(seconds());
    let mut count = 0;
    while Instant::now() < end {
        let (_, input) = corpus.choose(&mut rng).unwrap();
        let (_, other) = corpus.choose(&mut rng).unwrap();
        let input = change(input, other, &mut rng);
        if let Err(problem) = judge(target, &input) {
            let path = corpus::keep(target.name, &input);
            panic!(
                "{problem}\nthe input is kept as {}: put it into tests/fuzz/corpus/{}",
                path.display(),
                target.name
            );
        }
        count += 1;
    }
    println!(
        "{}: {} known inputs and {count} changes, seed {seed}",
        target.name,
        corpus.len()
    );
}

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
fn change(input: &[u8], other: &[u8], rng: &mut StdRng) -> Vec<u8> {
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
    changed.truncate(LONGEST);
    changed
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
fn odd(rng: &mut StdRng) -> Value {
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

fn change_value(value: &mut Value, donor: &Value, rng: &mut StdRng) {
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

fn rename(fields: &mut Map<String, Value>, rng: &mut StdRng) {
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

fn change_bytes(bytes: &mut Vec<u8>, other: &[u8], rng: &mut StdRng) {
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
