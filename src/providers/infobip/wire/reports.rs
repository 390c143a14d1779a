//! One delivery report: of `results` of `GET /email/1/reports`, of version 4, or of a pushed body.
//!
//! Recipients stay in here: what leaves is digests and the vendor's own words.

use std::{str::FromStr, sync::Arc, time::Duration};

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::status::{Error, ErrorFields, Status, StatusFields, outcome};
use crate::providers::{
    Report,
    decode::decode,
    digest::digest,
    infobip::errors,
    json::{Count, Skipped, Text, time},
};

/// A report, as the vendor documents it; every field is optional in its current models. The fields
/// that are skipped are those of the pushed form and of version 4 that are not counted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire<'a> {
    bulk_id: Text,
    message_id: Spelled,
    to: Spelled,
    sent_at: Text,
    done_at: Text,
    message_count: Count,
    /// What `message_count` is called in the pushed form.
    sms_count: Count,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    campaign_reference_id: Text,
    /// Of a tracking event.
    notification_type: Text,
    channel: Skipped,
    sender: Skipped,
    from: Skipped,
    callback_data: Skipped,
    attempt_count: Skipped,
    time_to_first_attempt: Skipped,
    browser_link: Skipped,
    sending_ip: Skipped,
    application_id: Skipped,
    entity_id: Skipped,
    platform: Skipped,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Price {
    price_per_message: Text,
    currency: Text,
}

/// A text that may come as a number, and how version 0.1 read it: what it put into digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spelled {
    text: Option<String>,
    /// Where it differs.
    former: Option<String>,
}

impl Spelled {
    /// The text without blanks around it, unless it is missing or empty.
    pub(super) fn get(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The text as version 0.1 read it.
    pub(super) fn former(&self) -> Option<&str> {
        self.former.as_deref().or(self.get())
    }
}

impl<'de> Deserialize<'de> for Spelled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Spelled, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text: Text = serde_json::from_str(raw).unwrap_or_default();
        let former = match raw.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => Some(raw.to_owned()),
            _ => text.get().map(str::to_owned),
        };
        let text = text.get().map(str::trim).filter(|text| !text.is_empty());
        let text = text.map(str::to_owned);
        Ok(Spelled {
            former: former.filter(|former| Some(former) != text.as_ref()),
            text,
        })
    }
}

/// What tells a report from other things.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Marks<'a> {
    message_id: Spelled,
    to: Spelled,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

/// Whether an object looks like a report wherever it stands: it says of which message, and has a
/// status with something in it.
pub(super) fn is_report(object: &RawValue) -> bool {
    let marks = errors::object::<Marks<'_>>(Some(object)).unwrap_or_default();
    let status = errors::object::<StatusFields>(marks.status);
    (marks.message_id.get().is_some() || marks.to.get().is_some())
        && status.is_some_and(|fields| Status::of(&fields).is_there())
}

/// A part of a report that is an object; `None`: it is missing.
fn part<'a, T: Deserialize<'a> + Default>(
    raw: Option<&'a RawValue>,
    name: &str,
    unknown: &mut dyn FnMut(&str),
) -> Result<Option<T>, String> {
    match raw.map(RawValue::get) {
        None | Some("null") => Ok(None),
        Some(text) if text.starts_with('{') => {
            let unknown = &mut |field: &str| unknown(&format!("{name}.{field}"));
            decode(text.as_bytes(), unknown).map(Some)
        }
        Some(_) => Err(format!("{name} is no object")),
    }
}

/// Reads a report; `None`: it is marked as an event, and is no report. `unknown` is told the fields
/// that this version does not know.
///
/// # Errors
///
/// What is wrong, without any of the content: the report has to be kept.
pub(super) fn read(
    account: &str,
    item: &[u8],
    unknown: &mut dyn FnMut(&str),
) -> Result<Option<Report>, String> {
    let wire: Wire<'_> = decode(item, unknown)?;
    if wire.notification_type.get().is_some() && wire.status.is_none() {
        return Ok(None);
    }
    if wire.message_id.get().is_none() && wire.to.get().is_none() {
        // Any object would be a report otherwise, and count as a message.
        return Err("it names neither a message nor a recipient".into());
    }
    let status = part::<StatusFields>(wire.status, "status", unknown)?.unwrap_or_default();
    // A message's fate does not hang on these.
    let error = part::<ErrorFields>(wire.error, "error", unknown)
        .ok()
        .flatten();
    let price = part::<Price>(wire.price, "price", unknown).ok().flatten();
    let (status, error) = (Status::of(&status), Error::of(&error.unwrap_or_default()));
    let own = wire.digests(account, &status);
    let former = (!wire.is_plain(&status)).then(|| wire.former_digests(account, &status));
    Ok(Some(Report {
        report: own.0,
        message: own.1,
        former: former.filter(|former| *former != own),
        channel: "email",
        campaign: wire.campaign_reference_id.get().map(Arc::from),
        outcome: outcome(&status, &error),
        status_group: Arc::from(status.group),
        status: Arc::from(status.name),
        error_group: Arc::from(error.group),
        error: Arc::from(error.name),
        permanent: error.permanent,
        latency: wire.latency(),
        cost: price.and_then(|price| wire.cost(&price)),
    }))
}

/// A recipient in one spelling: in lower case, and without the name that may stand before it
/// (`"User" <user@example.com>`).
fn address(to: &str) -> String {
    let inside = to.strip_suffix('>').and_then(|own| own.rsplit_once('<'));
    let inside = inside.map(|own| own.1.trim());
    let address = inside.filter(|own| !own.is_empty()).unwrap_or(to);
    address.to_lowercase()
}

type Digests = (crate::providers::Digest, crate::providers::Digest);

impl Wire<'_> {
    /// The digests of the report and of its message, made of parsed values: two spellings of one
    /// report have the same.
    fn digests(&self, account: &str, status: &Status) -> Digests {
        let to = address(self.to.get().unwrap_or_default());
        match self.message_id.get() {
            Some(id) => (
                digest(&[account, id, &to, &status.name]),
                digest(&[account, id, &to]),
            ),
            None => {
                // A message of its own: whatever tells it from others to the same address.
                let instant = |text: &Text| {
                    let text = text.get().unwrap_or_default().trim();
                    time(text).map_or_else(|| text.to_owned(), |at| at.as_millisecond().to_string())
                };
                let (sent, done) = (instant(&self.sent_at), instant(&self.done_at));
                let bulk = self.bulk_id.get().unwrap_or_default().trim();
                let own = digest(&[account, "", &to, &status.name, &sent, &done, bulk]);
                (own, own)
            }
        }
    }

    /// Whether the text is in the one spelling, so that version 0.1 made the same digests.
    fn is_plain(&self, status: &Status) -> bool {
        let is_plain = |to: &str| address(to) == to;
        self.message_id.get().is_some()
            && self.message_id.former.is_none()
            && self.to.former.is_none()
            && self.to.get().is_none_or(is_plain)
            && status.name == status.former
    }

    /// The same as version 0.1 made them, of the text.
    fn former_digests(&self, account: &str, status: &Status) -> Digests {
        let to = self.to.former().unwrap_or_default();
        let status = status.former.as_str();
        match self.message_id.former() {
            Some(id) => (
                digest(&[account, id, to, status]),
                digest(&[account, id, to]),
            ),
            None => {
                let times = [&self.sent_at, &self.done_at, &self.bulk_id];
                let times = times.map(|text| text.get().unwrap_or_default());
                let own = digest(&[account, "", to, status, times[0], times[1], times[2]]);
                (own, own)
            }
        }
    }

    fn latency(&self) -> Option<Duration> {
        let (sent, done) = (time(self.sent_at.get()?)?, time(self.done_at.get()?)?);
        Duration::try_from(done.duration_since(sent)).ok()
    }

    /// The price is a decimal at the vendor, and stays one: doubles would not add up.
    fn cost(&self, price: &Price) -> Option<(Decimal, Arc<str>)> {
        let text = price.price_per_message.get()?.trim();
        let each = Decimal::from_str(text)
            .or_else(|_| Decimal::from_scientific(text))
            .ok()?;
        let count = match (&self.message_count, &self.sms_count) {
            (Count::Value(count), _) | (_, Count::Value(count)) => *count,
            _ => 1,
        };
        let cost = each.checked_mul(Decimal::from(count))?;
        (!cost.is_sign_negative()).then(|| (cost, price.currency.shared()))
    }
}

#[cfg(test)]
mod tests;
