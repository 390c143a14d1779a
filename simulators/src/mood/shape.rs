//! JSON in a mood: how numbers, times and names are written, and what is added and left out.

use jiff::{Timestamp, tz::Offset};
use serde_json::{Map, Value, json};

use super::{Call, Digits};

/// Writes all numbers in the mood's way.
pub(crate) fn digits(value: &mut Value, call: &Call) {
    let how = match call.mood.digits {
        Digits::Mixed => Digits::UNUSUAL[(call.luck("digits") % 4) as usize],
        other => other,
    };
    // One in four answers of a vendor that mixes is as documented.
    if how != Digits::Usual && how != Digits::Mixed {
        call.note("digits");
        write_digits(value, how);
    }
}

fn write_digits(value: &mut Value, how: Digits) {
    match value {
        Value::Number(number) => {
            let text = number.to_string();
            // More than a double can hold stays as it is.
            let is_whole = text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-');
            let whole = number.as_f64().filter(|_| is_whole && text.len() <= 15);
            *value = match (how, whole) {
                (Digits::Text, _) => Value::String(text),
                (Digits::Fraction, Some(whole)) => json!(whole),
                (Digits::TextFraction, Some(_)) => Value::String(text + ".0"),
                (Digits::TextFraction, None) => Value::String(text),
                _ => return,
            };
        }
        Value::Array(items) => items.iter_mut().for_each(|item| write_digits(item, how)),
        Value::Object(fields) => fields.values_mut().for_each(|item| write_digits(item, how)),
        _ => {}
    }
}

/// Puts `null` where a documented field has no value.
pub(crate) fn nulls(value: &mut Value, names: &[&str], call: &Call) {
    let Some(fields) = value.as_object_mut().filter(|_| call.mood.nulls) else {
        return;
    };
    for name in names {
        if !fields.contains_key(*name) {
            call.note("nulls");
            fields.insert((*name).to_owned(), Value::Null);
        }
    }
}

/// Leaves out optional fields: those that are 0 or empty, and some of the others, always the same ones
/// of a row.
pub(crate) fn absent(value: &mut Value, names: &[&str], call: &Call, row: u64) {
    let Some(fields) = value.as_object_mut().filter(|_| call.mood.absent_fields) else {
        return;
    };
    for (index, name) in names.iter().enumerate() {
        let nothing = match fields.get(*name) {
            Some(Value::Number(number)) => number.as_f64() == Some(0.0),
            Some(Value::String(text)) => text.is_empty(),
            Some(_) => false,
            None => continue,
        };
        if nothing
            || call
                .fixed("absent", row ^ (index as u64) << 40)
                .is_multiple_of(8)
        {
            call.note("absent_fields");
            fields.remove(*name);
        }
    }
}

/// Adds fields that are not documented.
pub(crate) fn new_fields(value: &mut Value, call: &Call) {
    let Some(fields) = value.as_object_mut().filter(|_| call.mood.new_fields) else {
        return;
    };
    call.note("new_fields");
    let all = [
        ("new_text", json!("new")),
        ("new_number", json!(4711)),
        ("new_object", json!({"sent": 900_001, "total": 900_002})),
        ("new_list", json!([1, "two", {"sent": 900_003}])),
        ("new_flag", json!(true)),
    ];
    for (name, value) in all {
        fields.insert(name.to_owned(), value);
    }
}

/// What stands where an object is documented, one time in four; `None`: the object does.
pub(crate) fn odd(call: &Call, purpose: &str, row: u64) -> Option<Value> {
    if !call.mood.odd_shapes {
        return None;
    }
    let luck = call.row(purpose, row);
    if !luck.is_multiple_of(4) {
        return None;
    }
    call.note("odd_shapes");
    Some(match (luck >> 8) % 5 {
        0 => json!([]),
        1 => json!(7),
        2 => json!("none"),
        3 => json!([3, 1, 4, 1, 5, 9, 2, 6]),
        _ => json!(false),
    })
}

/// A list of one row as the row; `None`: it stays a list.
pub(crate) fn single(list: &Value, call: &Call) -> Option<Value> {
    let [row] = list.as_array()?.as_slice() else {
        return None;
    };
    if !call.mood.single_rows || !row.is_object() {
        return None;
    }
    call.note("single_rows");
    Some(row.clone())
}

/// Puts something odd in the place of what is at a path, and takes it out of what is said.
pub(crate) fn displace(wire: &mut Value, said: &mut Value, path: &[&str], odd: Value) {
    let Some((name, parents)) = path.split_last() else {
        return;
    };
    let (mut wire, mut said) = (wire, said);
    for parent in parents {
        let (Some(inner), Some(inner_said)) = (wire.get_mut(*parent), said.get_mut(*parent)) else {
            return;
        };
        (wire, said) = (inner, inner_said);
    }
    if let (Some(wire), Some(said)) = (wire.as_object_mut(), said.as_object_mut())
        && put(wire, name, Some(odd))
    {
        said.remove(*name);
    }
}

/// Replaces a field, if there is one and there is a replacement.
pub(crate) fn put(fields: &mut Map<String, Value>, name: &str, value: Option<Value>) -> bool {
    match (fields.get_mut(name), value) {
        (Some(field), Some(value)) => {
            *field = value;
            true
        }
        _ => false,
    }
}

/// Spells a time in another way, at every request of a row in another one.
pub(crate) fn time(value: &mut Value, call: &Call, row: u64) {
    if !call.mood.respelled {
        return;
    }
    let Some(at) = value.as_str().and_then(read_time) else {
        return;
    };
    let whole = at.subsec_nanosecond() == 0;
    let utc = |form: &str| at.strftime(form).to_string();
    let fraction = if whole { "" } else { "%.3f" };
    let spelled = match call.row("time", row) % 7 {
        0 => json!(utc(&format!("%Y-%m-%dT%H:%M:%S{fraction}Z"))),
        1 => json!(utc(&format!("%Y-%m-%d %H:%M:%S{fraction}"))),
        2 => json!(utc(&format!("%Y-%m-%dT%H:%M:%S{fraction}+0000"))),
        3 => json!(utc("%Y-%m-%dT%H:%M:%S%.3f+00:00")),
        4 => {
            let local = Offset::constant(3).to_datetime(at);
            json!(
                local
                    .strftime(&format!("%Y-%m-%dT%H:%M:%S{fraction}+0300"))
                    .to_string()
            )
        }
        5 if whole => json!(at.as_second()),
        _ => return,
    };
    call.note("respelled");
    *value = spelled;
}

/// Reads a time in one of the simulators' own spellings.
pub(crate) fn read_time(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let text = text.replace(' ', "T") + "Z";
    text.parse().ok()
}

/// Writes a name or an address in capitals, or in small letters, or as it is.
pub(crate) fn case(value: &mut Value, call: &Call, purpose: &str, row: u64) {
    let Some(text) = value.as_str().filter(|_| call.mood.respelled) else {
        return;
    };
    let spelled = match call.row(purpose, row) % 3 {
        0 => text.to_uppercase(),
        1 => text.to_lowercase(),
        _ => return,
    };
    call.note("respelled");
    *value = Value::String(spelled);
}

/// Writes an id as a number, or as a text.
pub(crate) fn id(value: &mut Value, call: &Call, row: u64) {
    if !call.mood.respelled || call.row("id", row).is_multiple_of(2) {
        return;
    }
    let spelled = match value {
        Value::String(text) => text.parse::<u64>().ok().map(|number| json!(number)),
        Value::Number(number) => Some(json!(number.to_string())),
        _ => None,
    };
    if let Some(spelled) = spelled {
        call.note("respelled");
        *value = spelled;
    }
}
