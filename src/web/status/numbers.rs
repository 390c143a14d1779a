//! What the status page reads out of the table of series.

use std::collections::BTreeMap;

use crate::series::{Family, Labels, Value, Visitor};

/// The most messages of an account on the page.
const NEWEST: usize = 10;

/// What was sent and delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pair {
    pub(super) sent: f64,
    pub(super) delivered: f64,
}

impl Pair {
    /// Delivered by sent; `None`: nothing was sent.
    pub(super) fn rate(self) -> Option<f64> {
        (self.sent > 0.0).then(|| self.delivered / self.sent)
    }

    /// The one of the two that a family's name says.
    fn part(&mut self, family: &str) -> &mut f64 {
        if family.contains("sent") {
            &mut self.sent
        } else {
            &mut self.delivered
        }
    }
}

/// The numbers of one account.
#[derive(Default)]
pub(super) struct AccountNumbers {
    pub(super) up: Option<bool>,
    /// 0: another replica holds the account.
    pub(super) held: Option<bool>,
    pub(super) last_success: f64,
    pub(super) tracked: f64,
    /// All that was counted.
    pub(super) counted: Pair,
    /// Of messages at equal ages, over all ages.
    pub(super) cohorts: Pair,
    /// By vendor channel and platform.
    pub(super) channels: BTreeMap<[String; 2], Pair>,
    /// The newest, in the order of the table: the newest first.
    pub(super) messages: Vec<MessageNumbers>,
}

impl AccountNumbers {
    /// What the delivery rate is made of: messages of equal age, where there are such.
    pub(super) fn rated(&self) -> Pair {
        if self.cohorts.sent > 0.0 {
            self.cohorts
        } else {
            self.counted
        }
    }
}

/// The numbers of one message.
pub(super) struct MessageNumbers {
    /// Id, application, campaign, channel.
    pub(super) key: [String; 4],
    pub(super) sent: Option<f64>,
    pub(super) delivered: Option<f64>,
}

/// The numbers of all accounts.
#[derive(Default)]
pub(super) struct Numbers {
    /// Only what the courses are made of.
    pub(super) rates_alone: bool,
    pub(super) family: &'static str,
    pub(super) accounts: BTreeMap<String, AccountNumbers>,
}

const RATES: [&str; 4] = [
    "delivery_sent_total",
    "delivery_delivered_total",
    "delivery_cohort_sent_total",
    "delivery_cohort_delivered_total",
];
const REST: [&str; 8] = [
    "delivery_message_sent",
    "delivery_message_delivered",
    "delivery_channel_sent_total",
    "delivery_channel_delivered_total",
    "delivery_up",
    "delivery_exporter_lease_held",
    "delivery_exporter_last_success_timestamp_seconds",
    "delivery_exporter_tracked_messages",
];

impl Visitor for Numbers {
    fn wants(&self, family: &'static Family) -> bool {
        let name: &str = &family.name;
        RATES.contains(&name) || !self.rates_alone && REST.contains(&name)
    }

    fn family(&mut self, family: &'static Family) {
        self.family = &family.name;
    }

    fn sample(&mut self, labels: Labels<'_>, value: &Value) {
        let label = |name: &str| {
            labels
                .pairs()
                .find(|(own, _)| *own == name)
                .map_or("", |(_, value)| value)
        };
        let number = match value {
            Value::Gauge(number) | Value::Counter(number, _) => number.as_f64(),
            Value::Histogram(..) => return,
        };
        let account = self
            .accounts
            .entry(label("account").to_owned())
            .or_default();
        match self.family {
            "delivery_up" => account.up = Some(number > 0.0),
            "delivery_exporter_lease_held" => account.held = Some(number > 0.0),
            "delivery_exporter_last_success_timestamp_seconds" => {
                account.last_success = account.last_success.max(number);
            }
            "delivery_exporter_tracked_messages" => account.tracked = number,
            family if family.starts_with("delivery_cohort_") => {
                *account.cohorts.part(family) += number;
            }
            family if family.starts_with("delivery_channel_") => {
                let key = ["vendor_channel", "platform"].map(|name| label(name).to_owned());
                *account.channels.entry(key).or_default().part(family) += number;
            }
            family if family.starts_with("delivery_message_") => {
                let key = ["message_id", "application", "campaign", "channel"]
                    .map(|name| label(name).to_owned());
                let found = account
                    .messages
                    .iter()
                    .position(|message| message.key == key);
                let message = match found {
                    Some(index) => &mut account.messages[index],
                    None if account.messages.len() < NEWEST => {
                        account.messages.push_mut(MessageNumbers {
                            key,
                            sent: None,
                            delivered: None,
                        })
                    }
                    None => return,
                };
                if family == "delivery_message_sent" {
                    message.sent = Some(number);
                } else {
                    message.delivered = Some(number);
                }
            }
            family => *account.counted.part(family) += number,
        }
    }
}
