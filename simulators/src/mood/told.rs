//! What a vendor has said in good answers, in the documented form.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value, json};

/// What a vendor has said in good answers. As a [`Value`] it is an object:
///
/// - `messages`: by the id of each message (Infobip: of each bulk), its numbers as the books write
///   them, each the highest that was ever said;
/// - other numbers by a name of their own (`users` and `lifecycle` of EngageLab, `days` of Alibaba, `hours`,
///   `conversions` and `links` of Pushwoosh), in the same way;
/// - `listed`: by application (an empty text where there is none) and id, the rows of lists;
/// - `events`: by kind and application, the distinct rows, as the books write them;
/// - `reports`, `reports_odd`, `reports_lost`: the distinct e-mail reports that were handed out, in the order
///   of their first hand-out; those
///   that were only handed out in a form that is documented nowhere; and those that left the queue
///   with an answer that was no answer.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    numbers: BTreeMap<&'static str, BTreeMap<String, Value>>,
    events: BTreeMap<&'static str, BTreeMap<String, BTreeSet<String>>>,
    reports: BTreeMap<&'static str, HandedOut>,
}

/// Reports by their text, each with its place in the order in which they were first handed out.
type HandedOut = BTreeMap<String, (usize, Value)>;

impl Told {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers were said of something.
    pub(crate) fn numbers(&self, kind: &'static str, id: &str, numbers: &Value) {
        let mut state = self.lock();
        let all = state.numbers.entry(kind).or_default();
        match all.get_mut(id) {
            Some(known) => raise(known, numbers),
            None => {
                all.insert(id.to_owned(), numbers.clone());
            }
        }
    }

    /// An event was told.
    pub(crate) fn event(&self, kind: &'static str, application: &str, row: &Value) {
        let mut state = self.lock();
        let applications = state.events.entry(kind).or_default();
        let rows = applications.entry(application.to_owned()).or_default();
        rows.insert(row.to_string());
    }

    /// A report was handed out: `kind` is `reports`, `reports_odd` or `reports_lost`.
    pub(crate) fn report(&self, kind: &'static str, report: &Value) {
        let mut state = self.lock();
        let reports = state.reports.entry(kind).or_default();
        let place = reports.len();
        let first = || (place, report.clone());
        reports.entry(report.to_string()).or_insert_with(first);
    }

    /// Whether a report was handed out.
    pub(crate) fn has_report(&self, report: &Value) -> bool {
        let state = self.lock();
        let reports = state.reports.get("reports");
        reports.is_some_and(|reports| reports.contains_key(&report.to_string()))
    }

    /// Everything.
    pub(crate) fn value(&self) -> Value {
        let state = self.lock();
        let mut value = Map::new();
        value.insert("messages".to_owned(), json!({}));
        for (kind, numbers) in &state.numbers {
            value.insert((*kind).to_owned(), json!(numbers));
        }
        let read = |row: &String| serde_json::from_str::<Value>(row).unwrap_or_default();
        let mut events = Map::new();
        for (kind, applications) in &state.events {
            let of = |(code, rows): (&String, &BTreeSet<String>)| {
                (code.clone(), rows.iter().map(read).collect::<Value>())
            };
            events.insert((*kind).to_owned(), applications.iter().map(of).collect());
        }
        value.insert("events".to_owned(), Value::Object(events));
        for kind in ["reports", "reports_odd", "reports_lost"] {
            let good = state.reports.get("reports").filter(|_| kind != "reports");
            let is_good = |text: &&String| good.is_some_and(|good| good.contains_key(*text));
            let reports = state.reports.get(kind).into_iter().flatten();
            let reports = reports.filter(|(text, _)| !is_good(text));
            let mut rows: Vec<&(usize, Value)> = reports.map(|(_, report)| report).collect();
            rows.sort_by_key(|(place, _)| *place);
            let rows: Vec<&Value> = rows.into_iter().map(|(_, report)| report).collect();
            value.insert(kind.to_owned(), json!(rows));
        }
        Value::Object(value)
    }
}

/// What names a row in a list of numbers.
const NAMES: [&str; 3] = ["platform", "name", "link"];

/// Raises each number to the one in `other`, where that is higher, and adds what is new.
fn raise(known: &mut Value, other: &Value) {
    match (known, other) {
        (Value::Object(known), Value::Object(other)) => {
            for (name, value) in other {
                match known.get_mut(name) {
                    Some(known) => raise(known, value),
                    None => {
                        known.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(known), Value::Array(other)) => {
            for row in other {
                let name = NAMES.iter().find(|name| row.get(**name).is_some());
                // A row without a name is the only one of its list (an e-mail's numbers), if the
                // list has one row; of other lists, what is not there yet is new.
                let alone = other.len() == 1 && known.len() == 1;
                let same = |own: &Value| match name {
                    Some(name) => own[*name] == row[*name],
                    None => own == row || alone && own.is_object() && row.is_object(),
                };
                match known.iter().position(same) {
                    Some(index) => raise(&mut known[index], row),
                    None => known.push(row.clone()),
                }
            }
        }
        (known, other) => {
            let higher = match (known.as_f64(), other.as_f64()) {
                (Some(known), Some(other)) => other > known,
                _ => !other.is_null(),
            };
            if higher {
                *known = other.clone();
            }
        }
    }
}
