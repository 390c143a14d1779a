//! What a body from the queue of reports, or a pushed one, holds: reports, tracking events, an
//! error, a page, or something that nobody knows. What may hold a report and is not understood is
//! kept, as it does not come again.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::{
    events::{self, DecodedEvent},
    reports,
};
use crate::providers::{
    Damage, Failure, FailureKind, Pushed,
    infobip::errors::{self, VendorError},
    json::Object,
    salvage::{self, Items},
};

/// The list of reports in a body.
const LIST: &str = "results";
/// Top-level fields that are known: of version 4, the second list of the same type, which would
/// count its reports twice; of a pushed event.
const KNOWN: [&str; 1] = ["emailResults"];
/// How deep reports can be wrapped in other objects.
const MAX_WRAPS: u8 = 3;
/// The most new fields of one body that are told.
const MAX_UNKNOWN_FIELDS: usize = 100;
/// The HTTP status of what is read here.
const OK: u16 = 200;

/// Reads a body. `unknown` is told once of every field that this version does not know.
pub(in crate::providers::infobip) fn read(
    account: &str,
    body: &[u8],
    unknown: &mut dyn FnMut(&str),
) -> Pushed {
    let mut fields = BTreeSet::new();
    let mut note = |field: &str| {
        if fields.len() < MAX_UNKNOWN_FIELDS && !fields.contains(field) {
            fields.insert(field.to_owned());
        }
    };
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut reader = Reader {
        account,
        body,
        text: text.trim_ascii_start(),
        unknown: &mut note,
        read: Pushed::default(),
    };
    reader.run();
    let mut read = reader.read;
    let found = !read.reports.reports.is_empty() || !read.events.is_empty() || read.unsupported > 0;
    if found || read.reports.empty {
        read.reports.failure = None;
    }
    for field in fields {
        unknown(&field);
    }
    read
}

struct Reader<'b> {
    account: &'b str,
    /// As it came.
    body: &'b [u8],
    /// Without a byte order mark and the blanks before the text.
    text: &'b [u8],
    unknown: &'b mut dyn FnMut(&str),
    read: Pushed,
}

impl<'b> Reader<'b> {
    fn run(&mut self) {
        match self.text.first() {
            // Nothing is in it that could be kept.
            None => self.fail("the body is empty"),
            Some(b'<') => self.markup(),
            Some(b'{') => self.object(),
            Some(b'[') => self.other_shape(),
            // A plain text may be reports all the same: in a form's encoding, in base64, as a table.
            Some(_) => self.keep("the body is no JSON object", None),
        }
    }

    fn fail(&mut self, what: &str) {
        let failure = Failure {
            status: Some(OK),
            ..Failure::new(FailureKind::Decode, what)
        };
        self.read.reports.failure = Some(failure);
    }

    /// All of the body is kept. `kind`: it certainly holds no report.
    fn keep(&mut self, what: &str, kind: Option<&'static str>) {
        self.fail(what);
        self.read.reports.damage = Some(Damage {
            at: 0,
            what: what.to_owned(),
            rest: self.body.into(),
            sample_of: kind,
        });
    }

    fn vendor_error(&mut self, error: &VendorError, certain: bool) {
        let what = "the body is an error of the vendor, no list of reports";
        self.keep(what, certain.then_some("error"));
        self.read.reports.failure = Some(error.failure(OK));
    }

    /// HTML, or the XML in which this vendor can send reports too.
    fn markup(&mut self) {
        let body = String::from_utf8_lossy(self.text).into_owned();
        let lower = body.to_ascii_lowercase();
        let has_reports = has_result(&lower);
        let error = errors::read_xml(&lower, &body);
        if let Some(error) = error.filter(|_| !has_reports) {
            return self.vendor_error(&error, true);
        }
        let head = lower.get(..1024).unwrap_or(&lower);
        let is_page = head.contains("<!doctype html") || head.contains("<html");
        if is_page && !has_reports && !lower.contains("messageid") {
            self.keep(
                "the body is no JSON object: it is an HTML page",
                Some("page"),
            );
            let failure = self.read.reports.failure.take();
            let advice = "it is a page, not JSON: is base_url right, is a proxy in between?";
            self.read.reports.failure = failure.map(|failure| failure.advise(advice));
        } else {
            let names_message = ["messageid", "recipient", "@"];
            let certain = !has_reports
                && lower.trim_end().ends_with('>')
                && !names_message.iter().any(|name| lower.contains(name));
            let kind = certain.then_some("xml");
            self.keep("the body is no JSON object: it is XML", kind);
        }
    }

    fn object(&mut self) {
        let Items {
            items,
            broken,
            others,
        } = salvage::items(self.text, LIST);
        if broken.as_ref().is_some_and(|broken| broken.at == 0) {
            return self.other_shape();
        }
        if items.is_empty() && broken.is_none() && self.empty_list() {
            return;
        }
        for name in others {
            let name = String::from_utf8_lossy(&self.text[name]);
            if !KNOWN.contains(&name.as_ref()) {
                (self.unknown)(&name);
            }
        }
        let mut unread = Vec::new();
        let mut problem = None;
        for item in items {
            if let Err(what) = self.item(&self.text[item.clone()]) {
                let what = || (item.start, format!("a report cannot be read: {what}"));
                problem.get_or_insert_with(what);
                unread.push(item);
            }
        }
        let end = || broken.as_ref().map(|own| (own.at, own.what.clone()));
        if let Some((at, what)) = problem.or_else(end) {
            self.fail(&what);
            self.read.reports.damage = Some(Damage {
                at: at + (self.body.len() - self.text.len()),
                what,
                rest: salvage::rest(self.text, LIST, &unread, broken.as_ref()).into(),
                sample_of: None,
            });
        }
    }

    /// An empty list of reports: the vendor has none, unless an error or an event is beside it.
    /// Whether that was all.
    fn empty_list(&mut self) -> bool {
        if let Some(error) = errors::read(self.text).filter(|error| error.documented) {
            self.vendor_error(&error, errors::is_nothing_else(self.text));
            return true;
        }
        let Ok(raw) = serde_json::from_slice::<&RawValue>(self.text) else {
            return false;
        };
        self.read.reports.empty = !self.event(raw, Some(self.body));
        false
    }

    /// A body without the documented list, if it is whole JSON.
    fn other_shape(&mut self) {
        let Ok(raw) = serde_json::from_slice::<&'b RawValue>(self.text) else {
            return self.keep("the body is no whole JSON", None);
        };
        let error = errors::read(self.text);
        let inside = gather(raw, MAX_WRAPS);
        let certain = || inside.is_none() && !has_report(raw) && errors::is_nothing_else(self.text);
        match (error, &inside) {
            (Some(error), _) if error.documented => self.vendor_error(&error, certain()),
            (Some(error), None) => self.vendor_error(&error, certain()),
            (_, Some(_)) => self.wrapped(raw, inside.unwrap_or_default()),
            (None, None) => self.unknown_shape(raw),
        }
    }

    /// Reports and events that stand alone, in a list, or in one more object.
    fn wrapped(&mut self, raw: &'b RawValue, inside: Vec<&'b RawValue>) {
        let mut unread: Vec<&str> = Vec::new();
        let mut problem = None;
        let all = inside.len();
        for own in inside {
            // Version 0.1 counted an event that was all of the body, and no other.
            let whole = std::ptr::eq(own.get(), raw.get()).then_some(self.body);
            if self.event(own, whole) {
                continue;
            }
            let outcome = if reports::is_report(own) {
                self.item(own.get().as_bytes())
            } else {
                Err("it is neither a report nor an event".to_owned())
            };
            if let Err(what) = outcome {
                problem.get_or_insert_with(|| format!("a report cannot be read: {what}"));
                unread.push(own.get());
            }
        }
        let Some(what) = problem else {
            return;
        };
        self.keep(&what, None);
        if unread.len() < all
            && let Some(damage) = &mut self.read.reports.damage
        {
            damage.rest = format!("[{}]", unread.join(",")).into_bytes().into();
        }
    }

    fn unknown_shape(&mut self, raw: &RawValue) {
        let object: Option<Object<'_>> = serde_json::from_str(raw.get()).ok();
        let list: Option<Vec<&RawValue>> = serde_json::from_str(raw.get()).ok();
        let nothing = |own: &RawValue| matches!(own.get(), "null" | "{}" | "[]");
        let names = object.iter().flat_map(Object::keys);
        let is_null = object.as_ref().and_then(|own| own.get(LIST));
        if is_null.is_some_and(|own| own.get() == "null") && names.count() == 1 {
            // No list is a list without reports.
            self.read.reports.empty = true;
            return;
        }
        let values = object.iter().flat_map(Object::values).copied();
        let items = list.iter().flatten().copied();
        let kind = values.chain(items).all(nothing).then_some("nothing");
        self.keep("the body has an unknown shape", kind);
    }

    /// Counts an event; whether it was one.
    fn event(&mut self, raw: &RawValue, whole: Option<&[u8]>) -> bool {
        match events::read(self.account, raw, whole) {
            Some(DecodedEvent::Counted(event)) => self.read.events.push(event),
            Some(DecodedEvent::Unsupported) => self.read.unsupported += 1,
            None => return false,
        }
        true
    }

    /// Reads an item of a list of reports; an event can stand there too.
    fn item(&mut self, item: &[u8]) -> Result<(), String> {
        if let Some(report) = reports::read(self.account, item, self.unknown)? {
            self.read.reports.reports.push(report);
            return Ok(());
        }
        match serde_json::from_slice::<&RawValue>(item) {
            Ok(raw) if self.event(raw, None) => Ok(()),
            _ => Err("it is neither a report nor an event".into()),
        }
    }
}

/// Whether an XML text in lower case has an element `result`, in whatever namespace. `results` is
/// the list, which may be empty.
fn has_result(lower: &str) -> bool {
    lower.match_indices("result").any(|(at, name)| {
        let before = lower[..at].ends_with(['<', ':']);
        let after = &lower[at + name.len()..];
        before && !after.starts_with(|next: char| next.is_alphanumeric())
    })
}

/// Whether something is a report or an event.
fn is_known(raw: &RawValue) -> bool {
    reports::is_report(raw) || events::read("", raw, None).is_some()
}

/// The reports and events in a value: it is one, or a list of them, or an object with nothing else
/// in it but scalars. `None`: none of what is in it is one. A list's other elements are among them.
fn gather(raw: &RawValue, wraps: u8) -> Option<Vec<&RawValue>> {
    if is_known(raw) {
        return Some(vec![raw]);
    }
    let wraps = wraps.checked_sub(1)?;
    if raw.get().starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
        let mut found = Vec::new();
        let mut known = false;
        for element in elements {
            match gather(element, wraps) {
                Some(inside) => {
                    known = true;
                    found.extend(inside);
                }
                None => found.push(element),
            }
        }
        return known.then_some(found);
    }
    let object: Object<'_> = serde_json::from_str(raw.get()).ok()?;
    let container = |own: &&RawValue| own.get().starts_with(['{', '[']);
    if let Some(own) = object.get(LIST).copied().filter(container) {
        return gather(own, wraps);
    }
    let mut containers = object.values().copied().filter(container);
    match (containers.next(), containers.next()) {
        (Some(one), None) => gather(one, wraps),
        _ => None,
    }
}

/// Whether a report stands anywhere in a value.
fn has_report(raw: &RawValue) -> bool {
    if raw.get().starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        return elements.into_iter().any(has_report);
    }
    let object: Object<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
    reports::is_report(raw) || object.into_values().any(has_report)
}

#[cfg(test)]
mod tests;
