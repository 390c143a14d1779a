//! Events of the log. They have no id: each is known by a digest of what it says, but for its
//! status. Devices go into the digest and nowhere else.

use std::sync::Arc;

use serde::Deserialize;

use super::{
    identity::{digests, instant, lower, raw, time_text},
    messages::fold,
    platform,
};
use crate::{
    model::{Event, EventKind},
    providers::{
        json::{Skipped, Text, whole_digits},
        pushwoosh::names::Codes,
    },
};

/// The canonical spelling of times, as documented.
const TIME: &str = "%Y-%m-%dT%H:%M:%SZ";

/// An event of the log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::providers::pushwoosh) struct LogEvent {
    timestamp: Text,
    application_code: Skipped,
    message_id: Text,
    message_code: Text,
    campaign_code: Skipped,
    hwid: Text,
    user_id: Skipped,
    platform: Text,
    action: Text,
    /// Only of `sent`.
    status: Text,
    push_alerts_enabled: Skipped,
}

impl LogEvent {
    pub(in crate::providers::pushwoosh) fn event(
        &self,
        account: &str,
        application: &str,
        codes: &Codes,
    ) -> Result<Event, String> {
        let (at, device) = (raw(&self.timestamp), raw(&self.hwid));
        let (platform, status) = (raw(&self.platform), raw(&self.status));
        let (code, id) = (raw(&self.message_code), raw(&self.message_id));
        let action = action_of(raw(&self.action));
        if action.is_empty() {
            return Err("an event without an action".to_owned());
        }
        let (folded_code, folded_id) = (fold(code), fold(whole_digits(id.trim())));
        codes.learn(&folded_id, &folded_code);
        let message = match folded_code {
            code if code.is_empty() => codes.of(&folded_id).unwrap_or(folded_id),
            code => code,
        };
        let start = ["log", account, application];
        // Without the status, which a row can have in one answer and lack in another.
        let own = [
            &message,
            &lower(device),
            &action,
            &platform::canonical(platform),
            &time_text(at, TIME),
        ];
        let canonical: Vec<&str> = start.into_iter().chain(own.map(|text| &**text)).collect();
        // Version 0.1 knew of one other spelling.
        let former_action = match raw(&self.action).to_lowercase() {
            own if own == "inbox_delete" => "inbox_deleted".to_owned(),
            own => own,
        };
        let former_message = if code.is_empty() { id } else { code };
        let former = [former_message, device, &former_action, platform, status, at];
        let former: Vec<&str> = start.into_iter().chain(former).collect();
        let (digest, former) = digests(&canonical, &former);
        Ok(Event {
            digest,
            former,
            kind: EventKind::Log {
                action: Arc::from(action),
                platform: Arc::from(platform::label(platform)),
                status: Arc::from(lower(status)),
            },
            at: instant(at),
        })
    }
}

/// An action in its documented spelling. The filter calls one otherwise than the answer.
fn action_of(text: &str) -> String {
    match lower(text).replace([' ', '-'], "_") {
        own if own == "inbox_delete" => "inbox_deleted".to_owned(),
        own => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::digest::digest;

    fn event(json: &str) -> Event {
        let event: LogEvent = serde_json::from_str(json).unwrap();
        event.event("a", "app", &Codes::default()).unwrap()
    }

    #[test]
    fn an_event_whose_message_is_named_by_its_id_alone_is_the_one_that_names_both() {
        let codes = Codes::default();
        let digest = |names: &str| {
            let json = format!(
                r#"{{"timestamp":"2000-01-25T11:18:47Z","action":"sent","hwid":"a",{names}}}"#
            );
            let event: LogEvent = serde_json::from_str(&json).unwrap();
            event.event("a", "app", &codes).unwrap().digest
        };
        let both = digest(r#""message_id":7,"message_code":"A-1""#);
        assert_eq!(digest(r#""message_id":"7.0""#), both);
        assert_eq!(digest(r#""message_code":"a-1""#), both);
        assert_ne!(digest(r#""message_id":8"#), both);
    }

    #[test]
    fn an_event_is_one_however_it_is_spelled() {
        let one = event(
            r#"{"timestamp":"2000-01-25T11:18:47Z","message_id":12345678900,"message_code":"A444-AAABBBCC-00112233",
            "hwid":"aaazzzqqqqxxx","user_id":"user_123","platform":"huawei android","action":"sent","status":"success","push_alerts_enabled":"true"}"#,
        );
        let kind = EventKind::Log {
            action: Arc::from("sent"),
            platform: Arc::from("android"),
            status: Arc::from("success"),
        };
        assert_eq!(one.kind, kind);
        // Version 0.1 knew it by the texts as they came.
        let parts = [
            "log",
            "a",
            "app",
            "A444-AAABBBCC-00112233",
            "aaazzzqqqqxxx",
            "sent",
            "huawei android",
            "success",
            "2000-01-25T11:18:47Z",
        ];
        assert_eq!(one.former, Some(digest(&parts)));
        for other in [
            r#"{"timestamp":"2000-01-25 11:18:47","message_code":"a444-aaabbbcc-00112233",
            "hwid":" AAAZZZQQQQXXX","platform":17,"action":"SENT","status":"Success"}"#,
            r#"{"timestamp":948799127.0,"message_id":"12345678900.0","message_code":"A444-AAABBBCC-00112233",
            "hwid":"aaazzzqqqqxxx","platform":"HUAWEI_ANDROID","action":"Sent ","status":"SUCCESS"}"#,
        ] {
            let other = event(other);
            assert_eq!(
                (other.digest, &other.kind, other.at),
                (one.digest, &one.kind, one.at)
            );
            assert!(other.former.is_some_and(|former| former != other.digest));
        }
        for status in ["null", r#""failed""#] {
            let json = format!(
                r#"{{"timestamp":"2000-01-25T11:18:47Z","message_code":"A444-AAABBBCC-00112233",
                "hwid":"aaazzzqqqqxxx","platform":"huawei android","action":"sent","status":{status}}}"#
            );
            assert_eq!(event(&json).digest, one.digest, "{status}");
        }
        let by_id = |id: &str| event(&format!(r#"{{"message_id":{id},"action":"opened"}}"#)).digest;
        assert_eq!(by_id("12345678900"), by_id("\"12345678900\""));
        assert_eq!(by_id("12345678900"), by_id("12345678900.0"));
        assert_ne!(by_id("12345678900"), by_id("12345678901"));
    }

    #[test]
    fn channels_of_their_own_are_no_other_platform() {
        for (platform, label) in [
            ("email", "email"),
            ("sms", "sms"),
            ("WhatsApp", "whatsapp"),
            ("toaster", "other"),
            ("", ""),
        ] {
            let deleted = event(&format!(
                r#"{{"action":"Inbox_Delete","platform":"{platform}"}}"#
            ));
            let kind = EventKind::Log {
                action: Arc::from("inbox_deleted"),
                platform: Arc::from(label),
                status: Arc::from(""),
            };
            assert_eq!((deleted.kind, deleted.at), (kind, None));
        }
        let event: LogEvent = serde_json::from_str(r#"{"event": "sent"}"#).unwrap();
        assert!(event.event("a", "app", &Codes::default()).is_err());
    }
}
