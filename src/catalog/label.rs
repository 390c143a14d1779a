//! Labels: where their values come from, and what limits the number of values.

use std::{borrow::Cow, cmp::Ordering, sync::Arc};

use crate::model::{Age, BOUNCED_KINDS, BOUNCED_REASONS};

/// Where the values of a label come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The account's `type`.
    Provider,
    /// The account's name.
    Account,
    /// The application's name. A counter of the ledger stores the application's id instead, so that renaming
    /// an application counts nothing twice.
    Application,
    /// The data sets of the account.
    Dataset,
    /// The sources of messages.
    Source,
    /// The ages at which messages are compared; empty if the series belongs to no single age.
    Age,
    /// This fixed list of words.
    Words(&'static [&'static str]),
    /// Words that the program forms: channels, HTTP status codes, versions.
    Program,
    /// The reason or kind of a measure; other words were written by another version.
    Detail(&'static [&'static str]),
    /// `true`, `false`, or empty where the vendor does not say.
    Flag,
    /// A text that the vendor chooses.
    Vendor,
    /// The campaign, named by the customer or the vendor.
    Campaign,
    /// The id of a message.
    Message,
    /// What a vendor reports about a link.
    Link,
}

/// What limits the number of a label's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The set of values is small and fixed, whatever a vendor sends.
    Closed,
    /// `max_label_values`: the first values keep their names, the rest become `other`.
    Values,
    /// `max_campaigns_per_account`, in the same way.
    Campaigns,
    /// The number of exposed messages or links; a single value can still be too long.
    Length,
}

impl Origin {
    /// What limits the number of values of this origin.
    pub(crate) const fn limit(self) -> Limit {
        match self {
            Origin::Vendor => Limit::Values,
            Origin::Campaign => Limit::Campaigns,
            Origin::Message | Origin::Link => Limit::Length,
            _ => Limit::Closed,
        }
    }

    /// The order of two values: of ages by length, of a measure's reasons as they are declared.
    pub fn compare(self, left: &str, right: &str) -> Ordering {
        match self {
            Origin::Age => left.parse::<Age>().ok().cmp(&right.parse().ok()),
            Origin::Detail(words) => {
                let place = |text| words.iter().position(|word| *word == text);
                place(left).cmp(&place(right))
            }
            _ => left.cmp(right),
        }
    }

    /// A value as a ledger has stored it; `None`: no version has written it.
    pub fn read(self, text: &str) -> Option<Cow<'_, str>> {
        match self {
            Origin::Age => {
                let age: Age = text.parse().ok()?;
                Some(Cow::Owned(age.to_string()))
            }
            Origin::Detail(words) => words.contains(&text).then_some(Cow::Borrowed(text)),
            Origin::Flag if !["true", "false"].contains(&text) => Some(Cow::Borrowed("")),
            _ => Some(Cow::Borrowed(text)),
        }
    }
}

/// One label of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The name in the exposition.
    pub name: &'static str,
    /// Where its values come from.
    pub origin: Origin,
}

impl Label {
    /// Whether a limit can change its values.
    pub fn is_limited(&self) -> bool {
        self.origin.limit() != Limit::Closed
    }
}

/// All combinations of label values; `known` returns the possible values of a label.
pub fn combinations(
    labels: &[Label],
    known: impl Fn(&Label) -> Vec<Arc<str>>,
) -> Vec<Vec<Arc<str>>> {
    labels.iter().fold(vec![Vec::new()], |rows, label| {
        let values = known(label);
        let mut longer = Vec::with_capacity(rows.len() * values.len());
        for row in &rows {
            for value in &values {
                longer.push([row.as_slice(), std::slice::from_ref(value)].concat());
            }
        }
        longer
    })
}

const fn label(name: &'static str, origin: Origin) -> Label {
    Label { name, origin }
}

pub(crate) const PROVIDER: Label = label("provider", Origin::Provider);
pub(crate) const ACCOUNT: Label = label("account", Origin::Account);
pub(crate) const APPLICATION: Label = label("application", Origin::Application);
pub(crate) const DATASET: Label = label("dataset", Origin::Dataset);
pub(crate) const SOURCE: Label = label("source", Origin::Source);

pub(crate) const CHANNEL: Label = label("channel", Origin::Program);
pub(crate) const CAMPAIGN: Label = label("campaign", Origin::Campaign);
pub(crate) const MESSAGE_ID: Label = label("message_id", Origin::Message);
pub(crate) const REASON: Label = label(
    "reason",
    Origin::Detail(&[
        "registration",
        "expired",
        "cloud",
        "unspecified",
        "rejected",
        "send_failed",
        "undelivered",
        "suppressed",
        "dropped",
        "system",
        "other",
    ]),
);
pub(crate) const KIND: Label = label("kind", Origin::Detail(&["hard", "soft"]));
pub(crate) const MESSAGE_TYPE: Label = label("message_type", Origin::Vendor);
pub(crate) const PLATFORM: Label = label("platform", Origin::Vendor);
pub(crate) const VENDOR_CHANNEL: Label = label("vendor_channel", Origin::Vendor);
pub(crate) const AGE: Label = label("age", Origin::Age);

pub(crate) const STATUS_GROUP: Label = label("status_group", Origin::Vendor);
pub(crate) const STATUS: Label = label("status", Origin::Vendor);
pub(crate) const ERROR_GROUP: Label = label("error_group", Origin::Vendor);
pub(crate) const ERROR: Label = label("error", Origin::Vendor);
pub(crate) const PERMANENT: Label = label("permanent", Origin::Flag);
pub(crate) const CURRENCY: Label = label("currency", Origin::Vendor);

pub(crate) const TIME_UNIT: Label = label("time_unit", Origin::Program);
pub(crate) const EVENT: Label = label("event", Origin::Vendor);
pub(crate) const TEMPLATE: Label = label("template", Origin::Link);
pub(crate) const LINK: Label = label("link", Origin::Link);
pub(crate) const TITLE: Label = label("title", Origin::Link);
pub(crate) const ACTION: Label = label("action", Origin::Vendor);
pub(crate) const BOUNCED_KIND: Label = label("kind", Origin::Words(&BOUNCED_KINDS));
pub(crate) const BOUNCED_REASON: Label = label("reason", Origin::Words(&BOUNCED_REASONS));

pub(crate) const FAILURE: Label = label(
    "reason",
    Origin::Words(&[
        "unauthorized",
        "forbidden",
        "not_found",
        "rate_limited",
        "timeout",
        "dns",
        "connect",
        "tls",
        "body",
        "too_large",
        "redirect",
        "request",
        "decode",
        "vendor",
        "store",
    ]),
);
pub(crate) const CODE: Label = label("code", Origin::Program);
pub(crate) const FIELD: Label = label("field", Origin::Vendor);
/// The vendor's error code, or one of the exporter's own words.
pub(crate) const REJECTION: Label = label("reason", Origin::Vendor);
pub(crate) const MISSED: Label = label(
    "reason",
    Origin::Words(&["late", "no_data", "still_sending"]),
);
pub(crate) const FAMILY: Label = label("family", Origin::Program);
pub(crate) const DROPPED: Label = label("reason", Origin::Program);
pub(crate) const WEBHOOK_OUTCOME: Label = label(
    "outcome",
    Origin::Words(&[
        "counted",
        "duplicate",
        "unsupported",
        "quarantined",
        "refused",
    ]),
);

pub(crate) const VERSION: Label = label("version", Origin::Program);
pub(crate) const REVISION: Label = label("revision", Origin::Program);
pub(crate) const RUSTC: Label = label("rustc", Origin::Program);
pub(crate) const POINT_OUTCOME: Label = label(
    "outcome",
    Origin::Words(&["accepted", "rejected", "failed"]),
);
