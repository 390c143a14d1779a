//! The types that all modules share: what is queried (accounts, applications, data sets, messages) and what
//! can be counted (measures). They depend neither on a vendor's JSON nor on families of metrics.

mod dataset;

use std::{fmt, sync::Arc};

use jiff::Timestamp;

pub use dataset::{
    Channel, DailyPublication, Dataset, DatasetSpec, Field, HistoryMethod, QueryCost, QueryMethod,
    RequestLimit, field,
};

/// An application of an account: the vendor's id for it, and the label `application`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Application {
    /// The vendor's id (applicationCode, application code, AppKey); empty if the vendor has none and the
    /// account is the application.
    pub id: Arc<str>,
    /// The label's value.
    pub name: Arc<str>,
}

/// The longest id of a message, campaign or other text of a registration, in bytes. Vendors' ids have less
/// than a hundred, and they must fit into a request.
pub const MAX_REGISTERED_BYTES: usize = 512;

/// A sent message that is tracked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The application's id, which together with the message's id identifies the message.
    pub application: Arc<str>,
    /// The vendor's id of the message. Always text: ids of 19 digits do not survive a double.
    pub id: Arc<str>,
    /// The campaign, if one is known.
    pub campaign: Option<Arc<str>>,
    /// When it was sent, if known.
    pub sent_at: Option<Timestamp>,
}

/// The source of a message: the label `source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Registered over the API by its sender.
    Api,
    /// A file with a list.
    File,
    /// A list over HTTP.
    Http,
    /// The configuration.
    Static,
    /// The vendor's own list, or its answer about the message.
    List,
}

impl Source {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Api => "api",
            Source::File => "file",
            Source::Http => "http",
            Source::Static => "static",
            Source::List => "list",
        }
    }
}

/// What is counted for a message, in one vocabulary for all vendors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Intended recipients: devices or addresses.
    Targeted,
    /// Sends that the vendor's server accepted.
    Accepted,
    /// Attempted sends.
    Sent,
    /// Sends that arrived.
    Delivered,
    /// Displayed on the device.
    Displayed,
    /// Opened or clicked.
    Opened,
    /// Dismissed without being opened.
    Dismissed,
    /// Opened from the application's inbox.
    InboxOpened,
    /// Sent to users who have switched notifications off.
    Unshowable,
    /// Sends that the receiving mail server confirmed.
    Confirmed,
    /// Recipients who unsubscribed.
    Unsubscribed,
    /// Recipients who complained.
    Complaints,
    /// Not attempted, because there was no recipient.
    Skipped,
    /// Failed, by reason.
    Errors(ErrorReason),
    /// Bounced, by kind.
    Bounces(BounceKind),
}

impl Measure {
    /// Every measure. A measure's index here is its number in stored states, so new ones must be added at the
    /// end.
    pub const ALL: [Measure; 26] = [
        Measure::Targeted,
        Measure::Accepted,
        Measure::Sent,
        Measure::Delivered,
        Measure::Displayed,
        Measure::Opened,
        Measure::Dismissed,
        Measure::InboxOpened,
        Measure::Unshowable,
        Measure::Confirmed,
        Measure::Unsubscribed,
        Measure::Complaints,
        Measure::Skipped,
        Measure::Errors(ErrorReason::Registration),
        Measure::Errors(ErrorReason::Expired),
        Measure::Errors(ErrorReason::Cloud),
        Measure::Errors(ErrorReason::Unspecified),
        Measure::Errors(ErrorReason::Rejected),
        Measure::Errors(ErrorReason::SendFailed),
        Measure::Errors(ErrorReason::Undelivered),
        Measure::Errors(ErrorReason::Suppressed),
        Measure::Errors(ErrorReason::Dropped),
        Measure::Errors(ErrorReason::System),
        Measure::Errors(ErrorReason::Other),
        Measure::Bounces(BounceKind::Hard),
        Measure::Bounces(BounceKind::Soft),
    ];

    /// The reason or kind, if the measure has one.
    pub fn detail(self) -> Option<&'static str> {
        match self {
            Measure::Errors(reason) => Some(reason.as_str()),
            Measure::Bounces(kind) => Some(kind.as_str()),
            _ => None,
        }
    }

    /// The word in metric names, without its reason or kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Measure::Targeted => "targeted",
            Measure::Accepted => "accepted",
            Measure::Sent => "sent",
            Measure::Delivered => "delivered",
            Measure::Displayed => "displayed",
            Measure::Opened => "opened",
            Measure::Dismissed => "dismissed",
            Measure::InboxOpened => "inbox_opened",
            Measure::Unshowable => "unshowable",
            Measure::Confirmed => "confirmed",
            Measure::Unsubscribed => "unsubscribed",
            Measure::Complaints => "complaints",
            Measure::Skipped => "skipped",
            Measure::Errors(_) => "errors",
            Measure::Bounces(_) => "bounces",
        }
    }
}

/// Why a send failed: the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorReason {
    /// The registration is no longer valid: the application was uninstalled.
    Registration,
    /// The message's validity period expired.
    Expired,
    /// The cloud that the device is reached through (APNs or another) failed.
    Cloud,
    /// The vendor does not say.
    Unspecified,
    /// Refused by the vendor or the receiving side.
    Rejected,
    /// A text message could not be sent.
    SendFailed,
    /// A text message was sent and not received.
    Undelivered,
    /// Not attempted because of an earlier bounce or complaint.
    Suppressed,
    /// Dropped before it reached a mailbox.
    Dropped,
    /// The sending side failed.
    System,
    /// Anything else.
    Other,
}

impl ErrorReason {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorReason::Registration => "registration",
            ErrorReason::Expired => "expired",
            ErrorReason::Cloud => "cloud",
            ErrorReason::Unspecified => "unspecified",
            ErrorReason::Rejected => "rejected",
            ErrorReason::SendFailed => "send_failed",
            ErrorReason::Undelivered => "undelivered",
            ErrorReason::Suppressed => "suppressed",
            ErrorReason::Dropped => "dropped",
            ErrorReason::System => "system",
            ErrorReason::Other => "other",
        }
    }
}

/// How an e-mail bounced: the label `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BounceKind {
    /// Permanent: the address does not exist.
    Hard,
    /// Temporary: the mailbox is full, or the server is unavailable.
    Soft,
}

impl BounceKind {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            BounceKind::Hard => "hard",
            BounceKind::Soft => "soft",
        }
    }
}

/// An age at which messages are compared: the label `age`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Age {
    /// The first published state, for a vendor that publishes once a day.
    First,
    /// The time since the message was sent, in seconds.
    Seconds(u32),
}

impl fmt::Display for Age {
    /// The canonical form, however the configuration writes it: `30s` below a minute, `15m` below an hour,
    /// and hours from there on (`1h30m`, `72h`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Age::Seconds(all) = *self else {
            return f.write_str("first");
        };
        if all == 0 {
            return f.write_str("0s");
        }
        for (count, unit) in [(all / 3600, 'h'), (all / 60 % 60, 'm'), (all % 60, 's')] {
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for Age {
    type Err = ();

    /// Parses the canonical form.
    fn from_str(text: &str) -> Result<Age, ()> {
        if text == "first" {
            return Ok(Age::First);
        }
        let (mut seconds, mut number) = (0_u32, String::new());
        for c in text.chars() {
            let unit = match c {
                'h' => 3600,
                'm' => 60,
                's' => 1,
                _ => {
                    number.push(c);
                    continue;
                }
            };
            let count: u32 = std::mem::take(&mut number).parse().map_err(|_| ())?;
            seconds = count
                .checked_mul(unit)
                .and_then(|more| seconds.checked_add(more))
                .ok_or(())?;
        }
        if number.is_empty() {
            Ok(Age::Seconds(seconds))
        } else {
            Err(())
        }
    }
}

/// A metric of an application or a message other than its counts: the current value of a gauge.
#[derive(Clone, Debug, PartialEq)]
pub struct AppMetric {
    /// The kind, with its labels.
    pub kind: AppMetricKind,
    /// Its value.
    pub value: f64,
}

/// The kind of an application metric, with its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the fields are named after the labels")]
pub enum AppMetricKind {
    /// New users of the newest complete period.
    UsersNew {
        platform: Arc<str>,
        time_unit: &'static str,
    },
    /// Active users of the newest complete period.
    UsersActive {
        platform: Arc<str>,
        time_unit: &'static str,
    },
    /// Online users of the newest complete period.
    UsersOnline {
        platform: Arc<str>,
        time_unit: &'static str,
    },
    /// Test devices in a status.
    CanaryDevices {
        message_id: Arc<str>,
        status: Arc<str>,
    },
    /// Conversions of a message.
    ConversionHits {
        campaign: Arc<str>,
        message_id: Arc<str>,
        event: Arc<str>,
    },
    /// The vendor's conversion ratio, 0 to 1.
    ConversionRatio {
        campaign: Arc<str>,
        message_id: Arc<str>,
        event: Arc<str>,
    },
    /// Revenue of a message's conversions.
    ConversionRevenue {
        campaign: Arc<str>,
        message_id: Arc<str>,
        event: Arc<str>,
    },
    /// Clicks on a link.
    LinkClicks {
        template: Arc<str>,
        link: Arc<str>,
        title: Arc<str>,
    },
    /// Distinct devices that clicked on a link.
    LinkDevices { link: Arc<str> },
}

impl AppMetricKind {
    /// Whether it is a ratio, which cannot be added up.
    pub fn is_ratio(&self) -> bool {
        matches!(self, AppMetricKind::ConversionRatio { .. })
    }
}

/// Something that happened once, and that a vendor may report more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Identifies the event, so that nothing that identifies a person is stored.
    pub digest: [u8; 16],
    /// The digest that version 0.1 computed for the same row, if it differs: a ledger that contains it has
    /// counted the row.
    pub former: Option<[u8; 16]>,
    /// What it is.
    pub kind: EventKind,
    /// When it happened, if the vendor says so. Events from before the application's first query are not
    /// counted.
    pub at: Option<Timestamp>,
}

/// The kinds of events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named after the labels")]
pub enum EventKind {
    /// An event of the vendor's log.
    Log {
        action: Arc<str>,
        platform: Arc<str>,
        status: Arc<str>,
    },
    /// An event of an e-mail after its reports: a complaint, or a late bounce.
    Tracked {
        measure: Measure,
        campaign: Option<Arc<str>>,
    },
    /// A bounced e-mail address, with one of a small set of kinds and reasons.
    BouncedAddress {
        kind: &'static str,
        reason: &'static str,
    },
}

/// The kinds of bounced addresses, whose counters exist from the start.
pub const BOUNCED_KINDS: [&str; 4] = ["hard", "soft", "complaint", "unknown"];
/// The classes of the reasons of bounced addresses.
pub const BOUNCED_REASONS: [&str; 6] = [
    "invalid_recipient",
    "mailbox_full",
    "blocked",
    "policy",
    "timeout",
    "other",
];

/// A vendor's counts: each measure that it sent, once. Measures that it did not send are absent.
pub type Counts = Vec<(Measure, u64)>;

/// The highest plausible count: every integer up to it can be represented exactly as a double.
pub const MAX_COUNT: u64 = (1 << 53) - 1;

/// The state of one message at one moment, as reported by the vendor.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The id under which the message was queried.
    pub asked: Arc<str>,
    /// The vendor's own id of the message, the label `message_id`. It differs from `asked` if a vendor has
    /// two ids for a message.
    pub id: Arc<str>,
    /// The campaign according to the vendor.
    pub campaign: Option<Arc<str>>,
    /// When it was sent according to the vendor.
    pub sent_at: Option<Timestamp>,
    /// The start of the request, which determines the age of the snapshot.
    pub asked_at: Timestamp,
    /// The totals of the message, one entry per `channel`.
    pub totals: Vec<Totals>,
    /// The breakdown by vendor channel.
    pub breakdown: Vec<Row>,
    /// The totals per message type, if the vendor reports them as a separate level.
    pub types: Vec<TypeTotals>,
}

/// The totals of a message on one channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Totals {
    /// The label `channel`: `push`, `email`, `sms`, or a messenger.
    pub channel: &'static str,
    /// The counts.
    pub counts: Counts,
    /// The vendor's own delivery ratio, from 0 to 1.
    pub reported_ratio: Option<f64>,
}

/// One row of the breakdown by vendor channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The label `message_type`.
    pub message_type: Arc<str>,
    /// The label `platform`.
    pub platform: Arc<str>,
    /// The label `vendor_channel`.
    pub vendor_channel: Arc<str>,
    /// The counts.
    pub counts: Counts,
}

/// The totals of one message type of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeTotals {
    /// The label `message_type`.
    pub message_type: Arc<str>,
    /// The counts.
    pub counts: Counts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_form() {
        let forms = [
            (30, "30s"),
            (300, "5m"),
            (5400, "1h30m"),
            (86_400, "24h"),
            (259_200, "72h"),
        ];
        for (seconds, text) in forms {
            assert_eq!(Age::Seconds(seconds).to_string(), text);
            assert_eq!(text.parse(), Ok(Age::Seconds(seconds)));
        }
        assert_eq!("first".parse(), Ok(Age::First));
        assert_eq!("5".parse::<Age>(), Err(()));
    }
}
