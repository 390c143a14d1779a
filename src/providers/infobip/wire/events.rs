//! Tracking events, which the vendor pushes to the same address as delivery reports.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{reports::Spelled, status::StatusFields};
use crate::{
    model::{BounceKind, Event, EventKind, Measure},
    providers::{
        digest::digest,
        infobip::errors::object,
        json::{Text, time},
    },
};

/// An event, as far as it is read.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire<'a> {
    notification_type: Text,
    event_id: Spelled,
    campaign_reference_id: Text,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

/// A tracking event.
pub(super) enum DecodedEvent {
    /// One that counts.
    Counted(Event),
    /// One that is known and does not count: an open, a click, a type that is new.
    Unsupported,
}

/// The event in an object; `None`: it is none. `whole` is the body of which version 0.1 would have
/// made the digest, where the object is all of it.
pub(super) fn read(account: &str, raw: &RawValue, whole: Option<&[u8]>) -> Option<DecodedEvent> {
    let wire = object::<Wire<'_>>(Some(raw))?;
    let kind = wire.notification_type.get()?.trim().to_ascii_uppercase();
    if kind.is_empty() || object::<StatusFields>(wire.status).is_some() {
        return None;
    }
    let measure = match kind.as_str() {
        "COMPLAINED" => Measure::Complaints,
        "UNSUBSCRIBED" => Measure::Unsubscribed,
        "LATE_BOUNCE" => Measure::Bounces(BounceKind::Hard),
        _ => return Some(DecodedEvent::Unsupported),
    };
    let (own, former) = match (wire.event_id.get(), wire.event_id.former()) {
        (Some(id), former) => (
            digest(&["event", account, id]),
            former.map(|id| digest(&["event", account, id])),
        ),
        // Nothing else says that two of them are one.
        (None, _) => {
            let body = whole.map(String::from_utf8_lossy);
            (
                digest(&["event values", account, &canonical(raw)]),
                body.map(|body| digest(&["event body", account, &body])),
            )
        }
    };
    let campaign = wire.campaign_reference_id.get().map(Arc::from);
    Some(DecodedEvent::Counted(Event {
        digest: own,
        former: former.filter(|former| *former != own),
        kind: EventKind::Tracked { measure, campaign },
        // However late it is told, it is news.
        at: None,
    }))
}

/// A value in one spelling: names in order, without blanks, numbers and times in one form, addresses
/// in lower case, and without what is null.
fn canonical(raw: &RawValue) -> String {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let fields: BTreeMap<String, &RawValue> =
                serde_json::from_str(text).unwrap_or_default();
            let fields = fields.iter().filter(|(_, value)| value.get() != "null");
            let fields = fields.map(|(name, value)| format!("{name:?}:{}", canonical(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            let items: Vec<String> = items.into_iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Some(b'"' | b'-' | b'0'..=b'9') => {
            let value: Text = serde_json::from_str(text).unwrap_or_default();
            let value = value.get().unwrap_or_default().trim();
            let dated = value.contains('T') && value.contains(':');
            match time(value).filter(|_| dated) {
                Some(at) => at.as_millisecond().to_string(),
                None if value.contains('@') => format!("{:?}", value.to_lowercase()),
                None => format!("{value:?}"),
            }
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: &str) -> Option<Event> {
        let raw: &RawValue = serde_json::from_str(body).unwrap();
        match read("mail", raw, Some(body.as_bytes()))? {
            DecodedEvent::Counted(event) => Some(event),
            DecodedEvent::Unsupported => None,
        }
    }

    #[test]
    fn events_are_told_from_other_things() {
        let kind = |body: &str| {
            let raw: &RawValue = serde_json::from_str(body).unwrap();
            match read("mail", raw, None) {
                None => "no event".to_owned(),
                Some(DecodedEvent::Unsupported) => "unsupported".to_owned(),
                Some(DecodedEvent::Counted(own)) => match own.kind {
                    EventKind::Tracked { measure, campaign } => {
                        format!("{measure:?} {campaign:?}")
                    }
                    other => format!("{other:?}"),
                },
            }
        };
        for (body, expected) in [
            ("{}", "no event"),
            ("[1]", "no event"),
            (r#"{"notificationType":""}"#, "no event"),
            (r#"{"notificationType":{"x":1}}"#, "no event"),
            (
                r#"{"notificationType":"DELIVERY","messageId":"m","status":{"id":5}}"#,
                "no event",
            ),
            (
                r#"{"notificationType":"OPENED","eventId":"e"}"#,
                "unsupported",
            ),
            (r#"{"notificationType":"NEW_IN_2027"}"#, "unsupported"),
            (
                r#"{"notificationType":"LATE_BOUNCE","eventId":"e1","messageId":17}"#,
                "Bounces(Hard) None",
            ),
            (
                r#"{"notificationType":"complained","eventId":5,"campaignReferenceId":"summer"}"#,
                "Complaints Some(\"summer\")",
            ),
        ] {
            assert_eq!(kind(body), expected, "{body}");
        }
    }

    #[test]
    fn an_event_is_one_in_every_spelling() {
        let with_id = event(r#"{"notificationType":"LATE_BOUNCE","eventId":"e1","messageId":17}"#);
        let again = event(r#"{"eventId":" e1 ","notificationType":"LATE_BOUNCE","domain":"x"}"#);
        let digest_of = |own: &Option<Event>| own.as_ref().unwrap().digest;
        assert_eq!(digest_of(&with_id), digest_of(&again));
        assert_eq!(with_id.unwrap().former, None);

        let text = r#"{"notificationType":"COMPLAINED","recipient":"A@x.com","sendDateTime":1704106800000,
            "at":"2024-01-01T11:00:00.000+0000","bulkId":null,"tags":[1,"b"]}"#;
        let first = event(text);
        let spelled = r#"{"at":"2024-01-01T12:00:00+01:00","tags":["1","b"],"sendDateTime":"1704106800000.0",
            "notificationType":"COMPLAINED","recipient":"a@X.com"}"#;
        let number = spelled.replace("\"1704106800000.0\"", "1704106800000.0");
        assert_eq!(digest_of(&first), digest_of(&event(&number)));
        // What version 0.1 made of the body.
        let former = digest(&["event body", "mail", text]);
        assert_eq!(first.as_ref().unwrap().former, Some(former));
        let other = event(&text.replace("A@x.com", "b@x.com"));
        assert_ne!(digest_of(&first), digest_of(&other));
    }
}
