//! Tracking events, which the vendor pushes to the same address as delivery reports: a body without
//! `results`.

use std::sync::Arc;

use serde::{Deserialize, de::IgnoredAny};

use crate::{
    model::{BounceKind, Happening, HappeningKind, Measure},
    providers::{Pushed, digest::digest, json::Text},
};

/// A pushed body, as far as it tells an event from reports.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    results: Option<IgnoredAny>,
    notification_type: Text,
    event_id: Text,
    campaign_reference_id: Text,
}

/// The event in a body; `None`: it holds reports, or cannot be read and has to be kept.
pub(super) fn read(account: &str, body: &[u8]) -> Option<Pushed> {
    // A list would be read as the fields in their order.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let wire = serde_json::from_slice::<Wire>(body).ok();
    let Some(wire) = wire.filter(|_| is_object) else {
        // Whole JSON of another shape is nothing to keep.
        let whole = serde_json::from_slice::<IgnoredAny>(body).is_ok();
        let has_results = body.windows(9).any(|own| own == b"\"results\"");
        return (whole && !has_results).then_some(Pushed::Unsupported);
    };
    if wire.results.is_some() {
        return None;
    }
    let measure = match wire.notification_type.get() {
        Some("COMPLAINED") => Measure::Complaints,
        Some("UNSUBSCRIBED") => Measure::Unsubscribed,
        Some("LATE_BOUNCE") => Measure::Bounces(BounceKind::Hard),
        _ => return Some(Pushed::Unsupported),
    };
    let digest = match wire.event_id.get() {
        Some(id) => digest(&["event", account, id]),
        // Nothing else says that two of them are one.
        None => digest(&["event body", account, &String::from_utf8_lossy(body)]),
    };
    let campaign = wire.campaign_reference_id.get().map(Arc::from);
    Some(Pushed::Event(Happening {
        digest,
        former: None,
        kind: HappeningKind::Tracked { measure, campaign },
        // However late it is told, it is news.
        at: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_from_reports() {
        let kind = |body: &str| match read("mail", body.as_bytes()) {
            None => "reports".to_owned(),
            Some(Pushed::Event(Happening {
                kind: HappeningKind::Tracked { measure, campaign },
                ..
            })) => format!("{measure:?} {campaign:?}"),
            Some(other) => format!("{other:?}"),
        };
        assert_eq!(kind(r#"{"results":[]}"#), "reports");
        assert_eq!(kind(r#"{"results":[{"messageId":"#), "reports");
        assert_eq!(kind("<ReportsResponse/>"), "reports");
        assert_eq!(kind("{}"), "Unsupported");
        assert_eq!(kind("[1]"), "Unsupported");
        assert_eq!(
            kind(r#"{"notificationType":"OPENED","eventId":"e"}"#),
            "Unsupported"
        );
        let bounce = r#"{"notificationType":"LATE_BOUNCE","eventId":"e1","messageId":17}"#;
        assert_eq!(kind(bounce), "Bounces(Hard) None");
        let complaint =
            r#"{"notificationType":"COMPLAINED","eventId":5,"campaignReferenceId":"summer"}"#;
        assert_eq!(kind(complaint), "Complaints Some(\"summer\")");
        let digest = |body: &str| match read("mail", body.as_bytes()) {
            Some(Pushed::Event(event)) => event.digest,
            _ => [0; 16],
        };
        let again = r#"{"eventId":"e1","notificationType":"LATE_BOUNCE","domain":"x"}"#;
        assert_eq!(digest(bounce), digest(again));
    }
}
