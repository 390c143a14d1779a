//! Clicks on links in e-mails, and the devices that clicked.

use std::sync::Arc;

use serde::Deserialize;

use super::{
    identity::{lower, raw, time_text},
    labels::{link_label, words_label},
};
use crate::providers::{
    Digest,
    digest::digest,
    json::{Count, Skipped, Text},
};

/// A link with its clicks.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::providers::pushwoosh) struct Link {
    pub(in crate::providers::pushwoosh) template: Text,
    pub(in crate::providers::pushwoosh) link: Text,
    pub(in crate::providers::pushwoosh) title: Text,
    pub(in crate::providers::pushwoosh) clicks: Count,
    /// These carry recipients' parameters, and are not asked for.
    full_links: Skipped,
}

/// A click.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::providers::pushwoosh) struct Click {
    timestamp: Text,
    link: Text,
    /// The recipient's address.
    hwid: Text,
}

/// A click that was read: its link without the query, and its device.
pub(in crate::providers::pushwoosh) type DeviceClick = (Arc<str>, Digest);

impl Click {
    /// The click, with what identifies it.
    pub(in crate::providers::pushwoosh) fn read(&self) -> Result<(Digest, DeviceClick), String> {
        let (link, device) = (raw(&self.link), lower(raw(&self.hwid)));
        if link.trim().is_empty() || device.is_empty() {
            return Err("a click without a link or a device".to_owned());
        }
        let time = time_text(raw(&self.timestamp), "%Y-%m-%dT%H:%M:%SZ");
        let key = digest(&["click", link.trim(), &device, &time]);
        Ok((key, (bare(&self.link), digest(&[&device]))))
    }
}

/// A link without its query, which can hold tokens, and without addresses.
pub(in crate::providers::pushwoosh) fn bare(link: &Text) -> Arc<str> {
    let link = link.get().unwrap_or_default().trim();
    Arc::from(link_label(
        link.split(['?', '#']).next().unwrap_or_default(),
    ))
}

/// A text without addresses.
pub(in crate::providers::pushwoosh) fn words(text: &Text) -> Arc<str> {
    Arc::from(words_label(raw(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_no_query_and_no_address() {
        let link: Link =
            serde_json::from_str(r#"{"link":"https://example.com/a?token=1#x"}"#).unwrap();
        assert_eq!(&*bare(&link.link), "https://example.com/a");
        let click: Click = serde_json::from_str(
            r#"{"link":"https://example.com/u/a%40example.com/1?x","hwid":"d"}"#,
        )
        .unwrap();
        assert_eq!(&*click.read().unwrap().1.0, "https://example.com/u/*/1");
    }

    #[test]
    fn a_click_is_one_however_it_is_spelled() {
        let key = |json: &str| serde_json::from_str::<Click>(json).unwrap().read();
        let one = key(r#"{"timestamp": "2026-11-20T10:00:00Z", "link": "https://example.com/a?b=1", "hwid": "a@example.com"}"#).unwrap();
        let same = key(
            r#"{"timestamp": "2026-11-20 10:00:00", "link": " https://example.com/a?b=1", "hwid": "A@example.com "}"#,
        );
        assert_eq!(same.unwrap(), one);
        let other = key(
            r#"{"timestamp": "2026-11-20 10:00:01", "link": "https://example.com/a?b=1", "hwid": "a@example.com"}"#,
        );
        assert_ne!(other.unwrap().0, one.0);
        assert!(key(r#"{"link": "https://example.com/a"}"#).is_err());
        assert!(key(r#"{"hwid": "a@example.com"}"#).is_err());
    }
}
