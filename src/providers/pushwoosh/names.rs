//! The two names of a message, and which of them stand for one message.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::wire::messages::{Item, fold};

/// So many ids are remembered with their codes; then all are learned anew.
const MAX_CODES: usize = 200_000;

/// The codes of messages by their ids, as far as an answer named both: a row of another answer may
/// name the id alone.
#[derive(Debug, Default)]
pub(super) struct Codes(Mutex<HashMap<String, String>>);

/// The vendor's newest spelling of each code that is not spelled as it is folded. A message is known
/// by its folded code, and asked for by the vendor's spelling: the vendor may tell them apart.
#[derive(Debug, Default)]
pub(super) struct Spellings(Mutex<HashMap<String, Arc<str>>>);

impl Spellings {
    /// Learns how the vendor spells a code.
    pub(super) fn learn(&self, code: &str) {
        let folded = fold(code);
        let mut spellings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if folded == code {
            spellings.remove(&folded);
            return;
        }
        if spellings.len() >= MAX_CODES {
            spellings.clear();
        }
        spellings.insert(folded, Arc::from(code));
    }

    /// The message's name as the vendor spells it; where that is not known, as it is.
    pub(super) fn of(&self, name: &Arc<str>) -> Arc<str> {
        let spellings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = spellings.get(&fold(name));
        own.unwrap_or(name).clone()
    }
}

impl Codes {
    /// Learns that a message has both names, each folded.
    pub(super) fn learn(&self, id: &str, code: &str) {
        // A message that has no id yet has a 0 there.
        if id.is_empty() || code.is_empty() || id == "0" {
            return;
        }
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if codes.len() >= MAX_CODES {
            codes.clear();
        }
        codes
            .entry(id.to_owned())
            .or_insert_with(|| code.to_owned());
    }

    /// The code of the message with that id.
    pub(super) fn of(&self, id: &str) -> Option<String> {
        let codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        codes.get(id).cloned()
    }
}

/// The messages of a list, known by either of their names: a page may name a message by its id
/// alone and another page by both.
#[derive(Debug, Default)]
pub(super) struct MessageKeys {
    codes: HashMap<String, Arc<str>>,
    /// With whether the message's code is known. Two codes under one id are two messages.
    ids: HashMap<String, (Arc<str>, bool)>,
}

impl MessageKeys {
    /// The key of an item's message; `None`: it has no name.
    pub(super) fn key(&mut self, item: &Item) -> Option<Arc<str>> {
        let (code, id) = (item.code().map(fold), item.id().map(fold));
        let Some(code) = code else {
            let id = id?;
            let new = || (Arc::from(format!("id {id}")), false);
            return Some(self.ids.entry(id.clone()).or_insert_with(new).0.clone());
        };
        if let Some(key) = self.codes.get(&code) {
            return Some(key.clone());
        }
        let by_id = id.as_ref().and_then(|id| self.ids.get_mut(id));
        let key = match by_id {
            Some((key, has_code @ false)) => {
                *has_code = true;
                key.clone()
            }
            _ => Arc::from(code.as_str()),
        };
        if let Some(id) = id {
            self.ids.entry(id).or_insert_with(|| (key.clone(), true));
        }
        self.codes.insert(code, key.clone());
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn the_newest_spelling_of_a_code_is_used() {
        let spellings = Spellings::default();
        let name: Arc<str> = Arc::from("C-1");
        let other: Arc<str> = Arc::from("d-2");
        spellings.learn("c-1");
        assert_eq!(
            (&*spellings.of(&name), &*spellings.of(&other)),
            ("c-1", "d-2")
        );
        spellings.learn("C-1");
        assert_eq!(&*spellings.of(&name), "C-1");
    }

    #[test]
    fn a_message_has_one_key_under_either_name() {
        let json = r#"[{"id": 1, "code": "A-1"}, {"id": "1"}, {"code": "a-1"}, {"id": 2}, {"id": 2.0, "code": "B-2"},
            {"code": "B-2"}, {"id": 1, "code": "C-3"}, {"id": 0, "code": "D-4"}, {"id": 0, "code": "E-5"}, {"id": 0}, {}]"#;
        let rows: Vec<&RawValue> = serde_json::from_str(json).unwrap();
        let mut keys = MessageKeys::default();
        let items = super::super::wire::messages::items(&rows, &mut |_| {});
        let found: Vec<_> = items.iter().map(|item| keys.key(item)).collect();
        let found: Vec<_> = found.iter().map(|key| key.as_deref()).collect();
        assert_eq!(
            found,
            [
                Some("A-1"),
                Some("A-1"),
                Some("A-1"),
                Some("id 2"),
                Some("id 2"),
                Some("id 2"),
                Some("C-3"),
                Some("D-4"),
                Some("E-5"),
                None,
                None
            ]
        );
    }
}
