//! What Pushwoosh is to the rest of the program.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;

use super::{BATCH, Pushwoosh};
use crate::{
    model::{
        BounceKind::{Hard, Soft},
        Channel, Dataset, DatasetSpec,
        ErrorReason::{Rejected, Unspecified},
        HistoryMethod,
        Measure::{
            Bounces, Complaints, Confirmed, Delivered, Errors, InboxOpened, Opened, Sent,
            Unshowable, Unsubscribed,
        },
        QueryCost, QueryMethod, field,
    },
    providers::vendor::{
        Applications, BaseUrl, ConfigKey, DEFAULT_MAX_AGE, KeyKind, ListCost, NoReceipts,
        Publication, Remedies, Vendor,
    },
};

const MINUTE: u64 = 60;

/// How far back the first query of an application goes.
pub(super) const BOUNCES_REACH: SignedDuration = SignedDuration::from_hours(24);
/// Phones that were off report late.
pub(super) const LOG_OVERLAP: SignedDuration = SignedDuration::from_hours(2);

/// The numbers of single messages.
pub(super) const MESSAGES: Dataset = Dataset::new(&DatasetSpec {
    has_snapshots: true,
    history: Some(HistoryMethod::Message),
    ..DatasetSpec::new("messages", QueryMethod::Messages { batch: BATCH })
});

/// Bounced e-mails.
pub(super) const BOUNCES: Dataset = Dataset::new(&DatasetSpec {
    interval: Some(Duration::from_secs(5 * MINUTE)),
    has_bounced_addresses: true,
    history: Some(HistoryMethod::Whole {
        reach: BOUNCES_REACH.unsigned_abs(),
    }),
    // Four days of the round, each with the page behind its last one; half of it while nothing bounces.
    requests: QueryCost {
        each_query: 8.0,
        messages_per_request: None,
    },
    ..DatasetSpec::new("bounces", QueryMethod::Whole)
});

/// Conversions of single messages.
pub(super) const INTERVALS: Dataset = Dataset::new(&DatasetSpec {
    is_default: false,
    interval: Some(Duration::from_secs(60 * MINUTE)),
    ..DatasetSpec::new("intervals", QueryMethod::Messages { batch: 1 })
});

/// The log of events.
pub(super) const LOG: Dataset = Dataset::new(&DatasetSpec {
    is_default: false,
    interval: Some(Duration::from_secs(5 * MINUTE)),
    history: Some(HistoryMethod::Whole {
        reach: LOG_OVERLAP.unsigned_abs(),
    }),
    requests: QueryCost {
        each_query: 2.0,
        messages_per_request: None,
    },
    ..DatasetSpec::new("log", QueryMethod::Whole)
});

/// Clicks on links in e-mails. Links are queried by the codes of e-mails, which the list brings.
pub(super) const LINKS: Dataset = Dataset::new(&DatasetSpec {
    is_default: false,
    interval: Some(Duration::from_secs(60 * MINUTE)),
    needs_listed_messages: Some("which messages are e-mails"),
    requests: QueryCost {
        each_query: 1.0,
        messages_per_request: Some(BATCH),
    },
    ..DatasetSpec::new("links", QueryMethod::Whole)
});

/// Devices that clicked on links in e-mails.
pub(super) const LINK_DEVICES: Dataset = Dataset::new(&DatasetSpec {
    is_default: false,
    interval: Some(Duration::from_secs(360 * MINUTE)),
    needs_listed_messages: Some("which messages are e-mails"),
    requests: QueryCost {
        each_query: 2.0,
        messages_per_request: Some(BATCH),
    },
    ..DatasetSpec::new("link_devices", QueryMethod::Whole)
});

/// The key of how many links keep their names.
pub(super) const MAX_LINKS: &str = "max_links";

/// The declaration.
pub(crate) static VENDOR: Vendor = Vendor {
    name: "pushwoosh",
    title: "Pushwoosh",
    short_title: "Pushwoosh",
    product: "Pushwoosh",
    summary: "push and e-mail messages, per platform, bounces, complaints",
    documentation: "https://docs.pushwoosh.com",
    sample: include_str!("sample.yaml"),
    base_url: BaseUrl::Default("https://api.pushwoosh.com"),
    max_age: DEFAULT_MAX_AGE,
    max_age_reason: "",
    credentials: &[&[ConfigKey::secret("api_token", "")]],
    optional_credentials: &[],
    applications: Applications::Several {
        id: "application code",
        check: None,
    },
    keys: &[ConfigKey {
        name: MAX_LINKS,
        kind: KeyKind::Count,
        default: "50",
        help: "the most clicked so many links keep their names, for `collect: [links]`; the rest is summed under `link=\"other\"`.",
        lack: None,
    }],
    datasets: &[MESSAGES, BOUNCES, INTERVALS, LOG, LINKS, LINK_DEVICES],
    channels: &[
        Channel {
            name: "push",
            fields: &[
                field("sends", Sent),
                field("deliveries", Delivered),
                field("opens", Opened),
                field("inbox_opens", InboxOpened),
                field("unshowable_sends", Unshowable),
                field("errors", Errors(Unspecified)),
            ],
        },
        Channel {
            name: "email",
            fields: &[
                field("sends", Sent),
                field("deliveries", Delivered),
                field("opens", Opened),
                field("confirmed_sends", Confirmed),
                field("unsubs", Unsubscribed),
                field("complaints", Complaints),
                field("errors", Errors(Unspecified)),
                field("rejects", Errors(Rejected)),
                field("hard_bounces", Bounces(Hard)),
                field("soft_bounces", Bounces(Soft)),
            ],
        },
    ],
    publication: Publication::Continuous,
    can_list: true,
    list_cost: Some(ListCost {
        per_page: 1000,
        window: Duration::from_secs(28 * 86_400),
        // Whole days, and one more on either side.
        margin: Duration::from_secs(35 * 3600),
        limit: None,
    }),
    family_fields: &[
        ("breakdown", "metrics rows"),
        ("delivery_conversion_hits", "conversion"),
        ("delivery_conversion_ratio", "conversion"),
        ("delivery_conversion_revenue", "revenue"),
        ("delivery_link_clicks", "clicks"),
        ("delivery_link_devices", "hwid"),
        ("delivery_log_events_total", "getMessageLog"),
        ("delivery_bounced_addresses_total", "bouncedEmails"),
    ],
    measure_notes: &[],
    remedies: Remedies {
        no_receipts: &[NoReceipts {
            platforms: &["ios", "macos"],
            vendor_channels: &[],
            why: "no receipts: on Apple devices Pushwoosh learns of deliveries only from an app with a \
                  Notification Service Extension",
        }],
        ..Remedies::NONE
    },
    build: |parts| Arc::new(Pushwoosh::new(parts.http, &parts.options)),
};
