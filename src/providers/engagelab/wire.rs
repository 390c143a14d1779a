//! What the vendor sends: a message with numbers on up to three levels, and spellings that differ
//! from place to place.

pub(super) mod lifecycle;
pub(super) mod users;

use std::{borrow::Cow, fmt, sync::Arc};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    model::{Counts, Measure, Row, Snapshot, Totals, TypeTotals},
    providers::json::{Count, Levels, Name, Object, Text, problem, sort_by_name},
};

/// The five numbers in both spellings: `target` and `click` stand in some places where `targets`
/// and `clicks` stand in others.
const FIELDS: [(&str, &str, Measure); 5] = [
    ("targets", "target", Measure::Targeted),
    ("sent", "sent", Measure::Sent),
    ("delivered", "delivered", Measure::Delivered),
    ("impressions", "impressions", Measure::Displayed),
    ("clicks", "click", Measure::Opened),
];

fn is_number(name: &str) -> bool {
    FIELDS
        .iter()
        .any(|(plural, singular, _)| name == *plural || name == *singular)
}

/// The path of a field from the top of a message. Shown, it is a path of names: a key that is no
/// name (an id, a time, a text) is `*`, so that nothing of the content shows.
#[derive(Clone, Copy)]
struct JsonPath<'p>(Option<&'p JsonPath<'p>>, &'p str);

impl fmt::Display for JsonPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(outer) = self.0 {
            write!(f, "{outer}.")?;
        }
        f.write_str(field_name(self.1))
    }
}

/// A key as it may be shown: a name as programs have them, else `*`.
pub(super) fn field_name(key: &str) -> &str {
    let begins = key.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if begins && key.len() <= 64 && key.bytes().all(is_letter) {
        key
    } else {
        "*"
    }
}

type Level<'a> = [(Cow<'a, str>, Levels<'a>)];

/// The fields of a level; `null` has none. Anything else that stands in an object's place has none
/// either, and is noted.
fn level<'n, 'a>(
    levels: &'n Levels<'a>,
    path: JsonPath<'_>,
    unknown: &mut dyn FnMut(&str),
) -> &'n Level<'a> {
    match levels {
        Levels::Level(level) => level,
        Levels::Count(Count::Absent) => &[],
        Levels::Count(_) | Levels::List => {
            unknown(&path.to_string());
            &[]
        }
    }
}

/// The numbers of one level. What is not there is not in the result; an empty object has none. Of a
/// number in both spellings the greater is taken: they are one number, and never added up.
fn counts(level: &Level<'_>, path: Option<&JsonPath<'_>>) -> Result<Counts, String> {
    let find = |name: &str| {
        let found = level.binary_search_by(|(own, _)| own.as_ref().cmp(name));
        found.ok().map(|place| &level[place].1)
    };
    let mut counts = Counts::new();
    for (plural, singular, measure) in FIELDS {
        let mut greatest = None;
        for value in [find(plural), find(singular)].into_iter().flatten() {
            let name = JsonPath(path, plural);
            let Levels::Count(count) = value else {
                return Err(format!("{name} is no count"));
            };
            greatest = greatest.max(count.get(name)?);
        }
        counts.extend(greatest.map(|count| (measure, count)));
    }
    Ok(counts)
}

/// A message with everything that is counted of it.
#[derive(Debug, Default)]
struct WholeMessage<'a> {
    plan_id: Text,
    /// `plan_id` is neither a text nor a number.
    odd_plan_id: bool,
    /// A field is there that is known and has no numbers.
    has_more: bool,
    /// The fields with numbers, by name.
    levels: Vec<(Cow<'a, str>, Levels<'a>)>,
}

impl<'a> WholeMessage<'a> {
    /// Reads a message by itself. `null` is one without fields.
    fn read(json: &'a str) -> Result<WholeMessage<'a>, String> {
        let message: Option<WholeMessage<'a>> =
            serde_json::from_str(json).map_err(|error| problem(&error))?;
        Ok(message.unwrap_or_default())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for WholeMessage<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WholeMessage<'a>, D::Error> {
        struct MessageVisitor;
        impl<'de> Visitor<'de> for MessageVisitor {
            type Value = WholeMessage<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut message = WholeMessage::default();
                while let Some(Name(name)) = map.next_key()? {
                    match name.as_ref() {
                        "plan_id" => {
                            let raw: &RawValue = map.next_value()?;
                            message.plan_id = serde_json::from_str(raw.get()).unwrap_or_default();
                            message.odd_plan_id =
                                message.plan_id.0.is_none() && raw.get() != "null";
                            message.has_more = true;
                        }
                        // The customer's text: skipped.
                        "pushContent" => {
                            map.next_value::<IgnoredAny>()?;
                            message.has_more = true;
                        }
                        _ => message.levels.push((name, map.next_value()?)),
                    }
                }
                sort_by_name(&mut message.levels);
                Ok(message)
            }
        }
        deserializer.deserialize_map(MessageVisitor)
    }
}

/// A platform in the vocabulary of all vendors: the key without `sub_`.
fn platform(key: &str) -> Option<Arc<str>> {
    key.strip_prefix("sub_").map(platform_name)
}

/// A platform in the vocabulary of all vendors.
pub(super) fn platform_name(name: &str) -> Arc<str> {
    match name {
        "hmos" => Arc::from("harmonyos"),
        other => Arc::from(other.to_lowercase()),
    }
}

/// The message types that the vendor documents.
const MESSAGE_TYPES: [&str; 5] = [
    "notification",
    "message",
    "live_activity",
    "voip",
    "inapp_message",
];

/// A message type in its documented spelling, however case, `_` and `-` are used; one that is not
/// documented as it is.
fn message_type_of(key: &str) -> &str {
    let folded = |name: &str| -> String {
        let letters = name.chars().filter(|letter| !matches!(letter, '_' | '-'));
        letters.flat_map(char::to_lowercase).collect()
    };
    let own = folded(key);
    let known = MESSAGE_TYPES.into_iter().find(|name| folded(name) == own);
    known.unwrap_or(key)
}

/// Takes into `counts` what `others` has more: both are numbers of one thing in two spellings.
fn take_greater(counts: &mut Counts, others: Counts) {
    for (measure, count) in others {
        match counts.iter_mut().find(|(own, _)| *own == measure) {
            Some((_, greatest)) => *greatest = count.max(*greatest),
            None => counts.push((measure, count)),
        }
    }
}

/// The state of a message; `None`: it has no number yet. A part that has another shape than
/// expected is noted and left out; a bad count is an error of the message.
fn snapshot(
    message: &WholeMessage<'_>,
    id: Arc<str>,
    asked_at: Timestamp,
    unknown: &mut dyn FnMut(&str),
) -> Result<Option<Snapshot>, String> {
    let total = counts(&message.levels, None)?;
    let campaign = message.plan_id.get().map(Arc::from);
    if message.odd_plan_id {
        unknown("plan_id");
    }
    let mut types = Vec::new();
    let mut rows = Vec::new();
    let mut understood = message.has_more || message.levels.is_empty();
    for (key, value) in &message.levels {
        let path = JsonPath(None, key);
        match key.as_ref() {
            "sub" => {
                understood = true;
                for (message_type, value) in level(value, path, unknown) {
                    let path = JsonPath(Some(&path), message_type);
                    read_type(value, path, &mut types, &mut rows, unknown)?;
                }
            }
            key if is_number(key) => understood = true,
            _ => unknown(&path.to_string()),
        }
    }
    if !understood {
        // Else a wrapped or renamed answer would be a message without numbers for ever.
        return Err("no field of the message is known".to_owned());
    }
    let breakdown = merged(rows, unknown);
    if total.is_empty() && types.is_empty() && breakdown.is_empty() {
        return Ok(None);
    }
    let totals = match total.is_empty() {
        true => Vec::new(),
        false => vec![Totals {
            channel: "push",
            counts: total,
            reported_ratio: None,
        }],
    };
    Ok(Some(Snapshot {
        asked: id.clone(),
        id,
        campaign,
        sent_at: None,
        asked_at,
        totals,
        breakdown,
        types,
    }))
}

/// One message type under `sub`: its own numbers, and vendor channels under each platform. Numbers
/// directly under a platform have no family: beside the channels they would count twice. Of a type
/// that comes in two spellings the greater numbers are taken, and the second spelling is noted.
fn read_type(
    value: &Levels<'_>,
    path: JsonPath<'_>,
    types: &mut Vec<TypeTotals>,
    rows: &mut Vec<Row>,
    unknown: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let value = level(value, path, unknown);
    let message_type: Arc<str> = Arc::from(message_type_of(path.1));
    let own = counts(value, Some(&path))?;
    let first = types
        .iter_mut()
        .find(|first| first.message_type == message_type);
    match first {
        _ if own.is_empty() => {}
        Some(first) => {
            unknown(&path.to_string());
            take_greater(&mut first.counts, own);
        }
        None => types.push(TypeTotals {
            message_type: message_type.clone(),
            counts: own,
        }),
    }
    for (key, value) in value {
        let path = JsonPath(Some(&path), key);
        let Some(platform) = platform(key) else {
            if !is_number(key) {
                unknown(&path.to_string());
            }
            continue;
        };
        for (channel, value) in level(value, path, unknown) {
            let path = JsonPath(Some(&path), channel);
            let leaf = level(value, path, unknown);
            for (name, _) in leaf.iter().filter(|(name, _)| !is_number(name)) {
                unknown(&JsonPath(Some(&path), name).to_string());
            }
            let counts = counts(leaf, Some(&path))?;
            if !counts.is_empty() {
                rows.push(Row {
                    message_type: message_type.clone(),
                    platform: platform.clone(),
                    vendor_channel: Arc::from(channel.to_lowercase()),
                    counts,
                });
            }
        }
    }
    Ok(())
}

/// The rows, one of each labels. Two keys that differ in case only, or two names of one platform,
/// may be one channel in two spellings: the greater number is taken, and the second key is noted.
/// Adding them up could count a channel twice.
fn merged(mut rows: Vec<Row>, unknown: &mut dyn FnMut(&str)) -> Vec<Row> {
    fn labels(row: &Row) -> (&Arc<str>, &Arc<str>, &Arc<str>) {
        (&row.message_type, &row.platform, &row.vendor_channel)
    }
    rows.sort_by(|left, right| labels(left).cmp(&labels(right)));
    rows.dedup_by(|second, first| {
        if labels(second) != labels(first) {
            return false;
        }
        let platform = format!("sub_{}", second.platform);
        let sub = JsonPath(None, "sub");
        let message_type = JsonPath(Some(&sub), &second.message_type);
        let platform = JsonPath(Some(&message_type), &platform);
        unknown(&JsonPath(Some(&platform), &second.vendor_channel).to_string());
        take_greater(&mut first.counts, std::mem::take(&mut second.counts));
        true
    });
    rows
}

/// Whether an answer is about what was asked for: something of that is in it, or nothing at all.
/// `{}` says that there is nothing yet.
fn has_shape(answer: &Object<'_>, mut asked: impl Iterator<Item = impl AsRef<str>>) -> bool {
    answer.is_empty() || asked.any(|id| answer.contains_key(id.as_ref()))
}

/// An id as the vendor takes it: decimal digits. It refuses a whole batch for any other.
pub(super) fn is_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())
}

/// An answer about a batch of messages.
#[derive(Debug, Default)]
pub(super) struct Batch<'a> {
    /// What stands under ids, in their order; of an id that comes twice the last. `None`: it was taken.
    messages: Vec<(Cow<'a, str>, Option<BatchMessage<'a>>)>,
    /// Everything else: an error, or what is new.
    pub(super) others: Object<'a>,
}

/// A message of a batch.
#[derive(Debug)]
enum BatchMessage<'a> {
    Whole(WholeMessage<'a>),
    /// Not read yet.
    Raw(&'a RawValue),
}

impl<'a> Batch<'a> {
    /// Reads an answer once. Where that does not work, something in it is no message, or no JSON: then
    /// each part is read by itself, so that a bad one costs no other its numbers.
    pub(super) fn parse(body: &'a [u8]) -> Result<Batch<'a>, serde_json::Error> {
        // The reader of texts does not look at the bytes of what it skips.
        if let Ok(text) = std::str::from_utf8(body)
            && let Ok(batch) = serde_json::from_str(text)
        {
            return Ok(batch);
        }
        let object: Object<'a> = serde_json::from_slice(body)?;
        let (messages, others) = object
            .into_iter()
            .partition::<Object<'a>, _>(|(name, _)| is_id(name));
        let messages = messages
            .into_iter()
            .map(|(id, raw)| (Cow::Owned(id), Some(BatchMessage::Raw(raw))));
        Ok(Batch {
            messages: messages.collect(),
            others,
        })
    }

    fn place(&self, id: &str) -> Option<usize> {
        let found = self
            .messages
            .binary_search_by(|(own, _)| own.as_ref().cmp(id));
        found.ok()
    }

    /// Whether the answer is about what was asked for: something of that is in it, or nothing at
    /// all.
    pub(super) fn has_shape<'i>(&self, mut asked: impl Iterator<Item = &'i str>) -> bool {
        let is_empty = self.messages.is_empty() && self.others.is_empty();
        is_empty || asked.any(|id| self.place(id).is_some())
    }

    /// Takes the state of a message out of the answer; `None`: it is not there. What is inside is
    /// as for [`snapshot`].
    pub(super) fn take(
        &mut self,
        id: &Arc<str>,
        asked_at: Timestamp,
        unknown: &mut dyn FnMut(&str),
    ) -> Option<Result<Option<Snapshot>, String>> {
        let place = self.place(id)?;
        let message = match self.messages.get_mut(place)?.1.take()? {
            BatchMessage::Whole(message) => Ok(message),
            BatchMessage::Raw(raw) => WholeMessage::read(raw.get()),
        };
        Some(message.and_then(|message| snapshot(&message, id.clone(), asked_at, unknown)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Batch<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Batch<'a>, D::Error> {
        struct BatchVisitor;
        impl<'de> Visitor<'de> for BatchVisitor {
            type Value = Batch<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("messages by their ids")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut batch = Batch::default();
                while let Some(Name(name)) = map.next_key()? {
                    if is_id(&name) {
                        let message: Option<WholeMessage<'de>> = map.next_value()?;
                        let message = BatchMessage::Whole(message.unwrap_or_default());
                        batch.messages.push((name, Some(message)));
                    } else {
                        batch.others.insert(name.into_owned(), map.next_value()?);
                    }
                }
                sort_by_name(&mut batch.messages);
                Ok(batch)
            }
        }
        deserializer.deserialize_map(BatchVisitor)
    }
}

#[cfg(test)]
mod tests;
