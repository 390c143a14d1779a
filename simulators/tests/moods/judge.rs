//! Compares what was told with what is true.

use std::collections::BTreeMap;

use delivery_simulators::{Account, World, credentials};
use serde_json::{Map, Value};

/// The numbers of each message that are true now, by its id.
fn truth(world: &World, account: Account) -> Map<String, Value> {
    let books = world.books(account);
    match account {
        Account::InfobipPush | Account::InfobipEmail => books["statistics"].clone(),
        Account::Engagelab | Account::Alibaba => books["messages"].clone(),
        Account::Pushwoosh => {
            let items = credentials::PUSHWOOSH_APPLICATIONS.iter();
            let items = items.flat_map(|code| books[*code].as_array().unwrap());
            let items = items.map(|item| (item["code"].as_str().unwrap().to_owned(), item.clone()));
            Value::Object(items.collect())
        }
    }
    .as_object()
    .unwrap()
    .clone()
}

/// Where a number was told that is higher than the true one.
fn above(told: &Value, truth: &Value, path: &str, found: &mut Vec<String>) {
    match (told, truth) {
        (Value::Object(told), Value::Object(truth)) => {
            for (name, value) in told {
                let truth = truth.get(name).unwrap_or(&Value::Null);
                above(value, truth, &format!("{path}/{name}"), found);
            }
        }
        (Value::Array(told), Value::Array(truth)) => {
            for row in told {
                let same = |own: &&Value| own["platform"] == row["platform"];
                let truth = truth.iter().find(same).unwrap_or(&Value::Null);
                above(row, truth, &format!("{path}/{}", row["platform"]), found);
            }
        }
        (told, truth) => {
            if let Some(told) = told.as_f64()
                && truth.as_f64().is_none_or(|truth| told > truth)
                // A rate may fall, and the platforms of a message are no numbers of it.
                && !path.ends_with("/rate")
                && !path.contains("/platforms/")
            {
                found.push(format!("{path}: {told}, and true is {truth}"));
            }
        }
    }
}

fn empty() -> Value {
    Value::Object(Map::new())
}

/// Nothing was told that is not true.
pub fn told_is_true(world: &World, what: &str) {
    for account in Account::ALL {
        let told = world.told(account);
        let truth = Value::Object(truth(world, account));
        let mut found = Vec::new();
        above(&told["messages"], &truth, account.name(), &mut found);
        let books = world.books(account);
        if account == Account::Engagelab {
            let mut users = Map::new();
            for (unit, items) in books["users"].as_object().unwrap() {
                for (time, item) in items.as_object().unwrap() {
                    users.insert(format!("{unit} {time}"), item.clone());
                }
            }
            for (period, item) in told["users"].as_object().unwrap_or(&Map::new()) {
                // The books have the periods that can be asked for now.
                if let Some(truth) = users.get(period) {
                    above(item, truth, period, &mut found);
                }
            }
        }
        assert!(found.is_empty(), "{what}\n{found:#?}");
        let events = told.get("events").cloned().unwrap_or_else(empty);
        for (kind, applications) in events.as_object().unwrap() {
            for (application, rows) in applications.as_object().unwrap() {
                let truth = books[kind][application].as_array().unwrap();
                for row in rows.as_array().unwrap() {
                    assert!(truth.contains(row), "{what}\n{kind} {application} {row}");
                }
            }
        }
    }
    let told = world.told(Account::InfobipEmail);
    let handed = world.infobip.handed_out();
    let mut kinds: BTreeMap<String, &str> = BTreeMap::new();
    for kind in ["reports", "reports_odd", "reports_lost"] {
        for report in told[kind].as_array().unwrap() {
            assert!(handed.contains(report), "{what}\n{kind} {report}");
            let before = kinds.insert(report.to_string(), kind);
            let both = ["reports_odd", "reports_lost"];
            assert!(
                before.is_none_or(|before| both.contains(&before) && both.contains(&kind)),
                "{what}\n{report} is in {before:?} and in {kind}"
            );
        }
    }
    // Whatever left the queue is in one of the three.
    for report in handed {
        assert!(
            kinds.contains_key(&report.to_string()),
            "{what}\n{report} is nowhere"
        );
    }
}

/// A calm vendor that was asked for everything has told all of it.
pub fn told_is_all(world: &World) {
    for account in [Account::InfobipPush, Account::Engagelab, Account::Alibaba] {
        let truth = truth(world, account);
        assert!(truth.len() > 8);
        let told = world.told(account);
        for (id, truth) in &truth {
            assert_eq!(&told["messages"][id], truth, "{} {id}", account.name());
        }
    }
    let truth = truth(world, Account::Pushwoosh);
    let told = world.told(Account::Pushwoosh);
    for (code, truth) in &truth {
        let mut told = told["messages"][code].clone();
        // The list names what a message does not have as `null`, the books do not name it.
        told.as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        let mut truth = truth.clone();
        truth
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        assert_eq!(told, truth, "{code}");
    }
    let books = world.books(Account::Pushwoosh);
    assert!(told["events"]["clicks"].is_object());
    for application in credentials::PUSHWOOSH_APPLICATIONS {
        for kind in ["bounces", "clicks"] {
            let mut truth = books[kind][application].as_array().unwrap().clone();
            let told = told["events"][kind][application].as_array();
            let mut told = told.cloned().unwrap_or_default();
            truth.sort_by_key(Value::to_string);
            told.sort_by_key(Value::to_string);
            if kind == "clicks" {
                // Two pages of each e-mail were asked for.
                assert!(told.iter().all(|row| truth.contains(row)));
            } else {
                assert_eq!(told, truth, "{kind} {application}");
            }
        }
    }
    let email = world.told(Account::InfobipEmail);
    assert_eq!(
        email["reports"].as_array().unwrap().len(),
        world.infobip.handed_out().len()
    );
    assert!(email["reports_odd"].as_array().unwrap().is_empty());
    assert!(email["reports_lost"].as_array().unwrap().is_empty());
}
