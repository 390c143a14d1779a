//! What a counter counts.

use std::sync::Arc;

use crate::model::{Age, Measure};

/// A counter of an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterKey {
    /// The application's id: renaming an application counts nothing again.
    pub application: Arc<str>,
    /// Which of its counters.
    pub counter: Counter,
}

/// The counters of an application (contract 4.2 and 4.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the fields are the contract's labels")]
pub enum Counter {
    /// A measure of all messages.
    Total { channel: Arc<str>, measure: Measure },
    /// The same of one campaign.
    Campaign {
        channel: Arc<str>,
        campaign: Arc<str>,
        measure: Measure,
    },
    /// A measure of one row of the breakdown.
    Channel {
        message_type: Arc<str>,
        platform: Arc<str>,
        vendor_channel: Arc<str>,
        measure: Measure,
    },
    /// Messages at an age.
    Cohort {
        channel: Arc<str>,
        age: Age,
        part: CohortPart,
    },
    /// The same by vendor channel.
    CohortChannel {
        platform: Arc<str>,
        vendor_channel: Arc<str>,
        age: Age,
        part: CohortPart,
    },
    /// Delivery reports.
    Report {
        channel: Arc<str>,
        status_group: Arc<str>,
        status: Arc<str>,
        error_group: Arc<str>,
        error: Arc<str>,
        permanent: Option<bool>,
    },
    /// Times from sending to a message's first final report.
    Latency {
        channel: Arc<str>,
        status_group: Arc<str>,
    },
    /// Events of a vendor's log.
    Log {
        action: Arc<str>,
        platform: Arc<str>,
        status: Arc<str>,
    },
    /// Bounced e-mails, of vendors that tell them one by one.
    BouncedAddress { kind: Arc<str>, reason: Arc<str> },
    /// What messages cost.
    Cost {
        channel: Arc<str>,
        currency: Arc<str>,
    },
}

impl Counter {
    /// Hands each text that a vendor or a customer fills, with its label, to what bounds it.
    pub(super) fn bound(&mut self, bound: &mut dyn FnMut(&str, &mut Arc<str>)) {
        match self {
            Counter::Total { .. } | Counter::Cohort { .. } => {}
            Counter::Campaign { campaign, .. } => bound("campaign", campaign),
            Counter::Channel {
                message_type,
                platform,
                vendor_channel,
                ..
            } => {
                bound("message_type", message_type);
                bound("platform", platform);
                bound("vendor_channel", vendor_channel);
            }
            Counter::CohortChannel {
                platform,
                vendor_channel,
                ..
            } => {
                bound("platform", platform);
                bound("vendor_channel", vendor_channel);
            }
            Counter::Report {
                status_group,
                status,
                error_group,
                error,
                ..
            } => {
                bound("status_group", status_group);
                bound("status", status);
                bound("error_group", error_group);
                bound("error", error);
            }
            Counter::Latency { status_group, .. } => bound("status_group", status_group),
            Counter::Cost { currency, .. } => bound("currency", currency),
            Counter::Log {
                action,
                platform,
                status,
            } => {
                bound("action", action);
                bound("platform", platform);
                bound("status", status);
            }
            // A small fixed set.
            Counter::BouncedAddress { .. } => {}
        }
    }
}

/// What is counted of a cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CohortPart {
    /// Sends.
    Sent,
    /// Deliveries.
    Delivered,
    /// Messages.
    Messages,
}

impl CohortPart {
    /// All parts.
    pub const ALL: [CohortPart; 3] = [
        CohortPart::Sent,
        CohortPart::Delivered,
        CohortPart::Messages,
    ];

    /// The word in metric names.
    pub fn as_str(self) -> &'static str {
        match self {
            CohortPart::Sent => "sent",
            CohortPart::Delivered => "delivered",
            CohortPart::Messages => "messages",
        }
    }
}

/// Between the fields of a stored key: no label has it.
const SEPARATOR: char = '\u{1f}';

/// A text without what separates fields, or what a database refuses.
pub(super) fn clean(text: &Arc<str>) -> Arc<str> {
    if text.contains([SEPARATOR, '\0']) {
        Arc::from(text.replace([SEPARATOR, '\0'], "\u{fffd}"))
    } else {
        text.clone()
    }
}

impl CounterKey {
    /// The campaign, of a counter of one.
    pub fn campaign(&self) -> Option<&Arc<str>> {
        match &self.counter {
            Counter::Campaign { campaign, .. } => Some(campaign),
            _ => None,
        }
    }

    /// The stored form: words, so that a change of the code's order changes nothing.
    pub(crate) fn to_text(&self) -> String {
        let mut fields: Vec<&str> = Vec::with_capacity(8);
        let age_text;
        match &self.counter {
            Counter::Total { channel, measure } => {
                fields.extend(["total", channel, measure.as_str()]);
                fields.extend(measure.detail());
            }
            Counter::Campaign {
                channel,
                campaign,
                measure,
            } => {
                fields.extend(["campaign", channel, campaign, measure.as_str()]);
                fields.extend(measure.detail());
            }
            Counter::Channel {
                message_type,
                platform,
                vendor_channel,
                measure,
            } => {
                fields.extend([
                    "channel",
                    message_type,
                    platform,
                    vendor_channel,
                    measure.as_str(),
                ]);
                fields.extend(measure.detail());
            }
            Counter::Cohort { channel, age, part } => {
                age_text = age.to_string();
                fields.extend(["cohort", channel, &age_text, part.as_str()]);
            }
            Counter::CohortChannel {
                platform,
                vendor_channel,
                age,
                part,
            } => {
                age_text = age.to_string();
                fields.extend([
                    "cohort_channel",
                    platform,
                    vendor_channel,
                    &age_text,
                    part.as_str(),
                ]);
            }
            Counter::Report {
                channel,
                status_group,
                status,
                error_group,
                error,
                permanent,
            } => {
                let permanent = permanent.map_or("", |own| if own { "true" } else { "false" });
                fields.extend([
                    "report",
                    channel,
                    status_group,
                    status,
                    error_group,
                    error,
                    permanent,
                ]);
            }
            Counter::Latency {
                channel,
                status_group,
            } => fields.extend(["latency", channel, status_group]),
            Counter::Log {
                action,
                platform,
                status,
            } => fields.extend(["log", action, platform, status]),
            Counter::BouncedAddress { kind, reason } => {
                fields.extend(["bounced_address", kind, reason]);
            }
            Counter::Cost { channel, currency } => fields.extend(["cost", channel, currency]),
        }
        let mut text = self.application.to_string();
        for field in fields {
            text.push(SEPARATOR);
            text.push_str(field);
        }
        text
    }

    /// Reads the stored form.
    pub(crate) fn parse(text: &str) -> Option<CounterKey> {
        let fields: Vec<&str> = text.split(SEPARATOR).collect();
        let own = |text: &&str| Arc::from(*text);
        let measure = |words: &[&str]| {
            let (word, detail) = (words.first()?, words.get(1));
            Measure::ALL
                .into_iter()
                .find(|own| own.as_str() == *word && own.detail() == detail.copied())
        };
        let part = |word: &str| CohortPart::ALL.into_iter().find(|own| own.as_str() == word);
        let (application, fields) = fields.split_first()?;
        let counter = match fields {
            ["total", channel, rest @ ..] => Counter::Total {
                channel: own(channel),
                measure: measure(rest)?,
            },
            ["campaign", channel, campaign, rest @ ..] => Counter::Campaign {
                channel: own(channel),
                campaign: own(campaign),
                measure: measure(rest)?,
            },
            ["channel", message_type, platform, vendor_channel, rest @ ..] => Counter::Channel {
                message_type: own(message_type),
                platform: own(platform),
                vendor_channel: own(vendor_channel),
                measure: measure(rest)?,
            },
            ["cohort", channel, age, word] => Counter::Cohort {
                channel: own(channel),
                age: age.parse().ok()?,
                part: part(word)?,
            },
            ["cohort_channel", platform, vendor_channel, age, word] => Counter::CohortChannel {
                platform: own(platform),
                vendor_channel: own(vendor_channel),
                age: age.parse().ok()?,
                part: part(word)?,
            },
            [
                "report",
                channel,
                status_group,
                status,
                error_group,
                error,
                permanent,
            ] => Counter::Report {
                channel: own(channel),
                status_group: own(status_group),
                status: own(status),
                error_group: own(error_group),
                error: own(error),
                permanent: match *permanent {
                    "true" => Some(true),
                    "false" => Some(false),
                    _ => None,
                },
            },
            ["latency", channel, status_group] => Counter::Latency {
                channel: own(channel),
                status_group: own(status_group),
            },
            ["log", action, platform, status] => Counter::Log {
                action: own(action),
                platform: own(platform),
                status: own(status),
            },
            ["bounced_address", kind, reason] => Counter::BouncedAddress {
                kind: own(kind),
                reason: own(reason),
            },
            ["cost", channel, currency] => Counter::Cost {
                channel: own(channel),
                currency: own(currency),
            },
            _ => return None,
        };
        Some(CounterKey {
            application: own(application),
            counter,
        })
    }
}

#[cfg(test)]
pub(crate) mod stored;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BounceKind, ErrorReason};

    #[test]
    fn keys_survive_being_stored() {
        let text = |text: &str| Arc::from(text);
        let counters = [
            Counter::Total {
                channel: text("push"),
                measure: Measure::Errors(ErrorReason::SendFailed),
            },
            Counter::Campaign {
                channel: text("email"),
                campaign: text("Frühling, 50 %"),
                measure: Measure::Bounces(BounceKind::Soft),
            },
            Counter::Channel {
                message_type: text("notification"),
                platform: text(""),
                vendor_channel: text("fcm"),
                measure: Measure::Sent,
            },
            Counter::Cohort {
                channel: text("push"),
                age: Age::Seconds(5400),
                part: CohortPart::Messages,
            },
            Counter::CohortChannel {
                platform: text("android"),
                vendor_channel: text("oppo"),
                age: Age::First,
                part: CohortPart::Delivered,
            },
            Counter::Report {
                channel: text("email"),
                status_group: text("PENDING"),
                status: text("PENDING_ENROUTE"),
                error_group: text(""),
                error: text(""),
                permanent: None,
            },
            Counter::Latency {
                channel: text("email"),
                status_group: text("DELIVERED"),
            },
            Counter::Cost {
                channel: text("email"),
                currency: text("EUR"),
            },
            Counter::Log {
                action: text("opened"),
                platform: text("ios"),
                status: text(""),
            },
            Counter::BouncedAddress {
                kind: text("hard"),
                reason: text("mailbox_full"),
            },
        ];
        for counter in counters {
            let key = CounterKey {
                application: text(""),
                counter,
            };
            assert_eq!(CounterKey::parse(&key.to_text()), Some(key));
        }
    }
}
