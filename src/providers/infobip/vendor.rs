//! What Infobip's two products are to the rest of the program: push statistics, and delivery
//! reports of e-mails.

use super::{build_email, build_push};
use crate::{
    model::{
        BounceKind::{Hard, Soft},
        Channel, Dataset, DatasetSpec,
        ErrorReason::{Cloud, Dropped, Expired, Other, Registration, Rejected, Suppressed, System},
        Measure::{Bounces, Complaints, Delivered, Displayed, Errors, Sent, Unsubscribed},
        QueryCost, QueryMethod, field,
    },
    providers::vendor::{
        Applications, BaseUrl, ConfigKey, DEFAULT_MAX_AGE, Publication, Remedies, Vendor,
    },
};

/// The statistics of one push bulk.
pub(super) const STATISTICS: Dataset = Dataset::new(&DatasetSpec {
    has_snapshots: true,
    ..DatasetSpec::new("statistics", QueryMethod::Messages { batch: 1 })
});

/// E-mail delivery reports, handed out once.
pub(super) const REPORTS: Dataset = Dataset::new(&DatasetSpec {
    webhook_path: Some("/webhooks/infobip/email"),
    // One with reports, and the empty one behind it.
    requests: QueryCost {
        each_query: 2.0,
        messages_per_request: None,
    },
    ..DatasetSpec::new("reports", QueryMethod::Drain)
});

const BASE_URL: BaseUrl = BaseUrl::Shared {
    url: "https://api.infobip.com",
    own: "each account has a base URL of its own, which Infobip's console shows when one is logged in; write base_url: https://xxxxx.api.infobip.com",
};

const CREDENTIALS: &[&[ConfigKey]] = &[
    &[
        ConfigKey::secret("username", "with `password`."),
        ConfigKey::secret("password", "with `username`."),
    ],
    &[ConfigKey::secret("api_key", "instead of a password.")],
    &[ConfigKey::secret(
        "token",
        "instead of a password. A value that starts with its scheme (`Bearer x`, `IBSSO x`) is sent as it is, a bare one as `Bearer`.",
    )],
];

/// Push.
pub(crate) static PUSH: Vendor = Vendor {
    name: "infobip_push",
    title: "Infobip",
    short_title: "Infobip",
    product: "Infobip, push statistics",
    summary: "sent, delivered, seen, errors of each bulk",
    documentation: "https://www.infobip.com/docs/api/channels/mobile-app-messaging",
    sample: include_str!("sample-push.yaml"),
    base_url: BASE_URL,
    max_age: DEFAULT_MAX_AGE,
    max_age_reason: "",
    credentials: CREDENTIALS,
    optional_credentials: &[],
    applications: Applications::Several {
        id: "applicationCode",
        check: None,
    },
    keys: &[],
    datasets: &[STATISTICS],
    channels: &[Channel {
        name: "push",
        fields: &[
            field("totalSent", Sent),
            field("delivered", Delivered),
            field("seen", Displayed),
            field("errors.registration", Errors(Registration)),
            field("errors.expired", Errors(Expired)),
            field("errors.cloud", Errors(Cloud)),
        ],
    }],
    publication: Publication::Continuous,
    can_list: false,
    list_cost: None,
    family_fields: &[(
        "delivery_message_reported_delivery_ratio",
        "delivery.rate / 100",
    )],
    measure_notes: &[],
    remedies: Remedies::NONE,
    build: build_push,
};

/// E-mail.
pub(crate) static EMAIL: Vendor = Vendor {
    name: "infobip_email",
    title: "Infobip",
    short_title: "Infobip",
    product: "Infobip, e-mail delivery reports",
    summary: "each report once: delivered, bounces, errors, time to delivery, cost",
    documentation: "https://www.infobip.com/docs/api/channels/email/get-outbound-email-message-delivery-reports",
    sample: include_str!("sample-email.yaml"),
    base_url: BASE_URL,
    max_age: DEFAULT_MAX_AGE,
    max_age_reason: "",
    credentials: CREDENTIALS,
    optional_credentials: &[],
    applications: Applications::One,
    keys: &[],
    datasets: &[REPORTS],
    // Counted from the reports: no field of the vendor's is such a number.
    channels: &[Channel {
        name: "email",
        fields: &[
            field("", Sent),
            field("", Delivered),
            field("", Complaints),
            field("", Unsubscribed),
            field("", Bounces(Hard)),
            field("", Bounces(Soft)),
            field("", Errors(Suppressed)),
            field("", Errors(Dropped)),
            field("", Errors(System)),
            field("", Errors(Expired)),
            field("", Errors(Rejected)),
            field("", Errors(Other)),
        ],
    }],
    publication: Publication::Continuous,
    can_list: false,
    list_cost: None,
    family_fields: &[
        ("delivery_reports_total", "status, error"),
        ("delivery_report_latency_seconds", "doneAt - sentAt"),
        (
            "delivery_report_cost_total",
            "pricePerMessage x messageCount of a message's first report with a price",
        ),
    ],
    measure_notes: &[
        (
            "sent",
            "For Infobip e-mail sent means reported on: messages with a first delivery report, so that an outage shows as missing reports.",
        ),
        (
            "delivered",
            "For Infobip e-mail: messages with a final delivered report (not DELIVERED_TO_OPERATOR).",
        ),
        (
            "bounces",
            "For Infobip e-mail: messages whose first final report is a bounce, hard or soft by error.permanent, and late bounces.",
        ),
        (
            "errors",
            "For Infobip e-mail: messages whose first final report is an error without a bounce.",
        ),
    ],
    remedies: Remedies::NONE,
    build: build_email,
};
