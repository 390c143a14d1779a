//! What Alibaba Cloud Mobile Push is to the rest of the program.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;

use super::AlibabaPush;
use crate::{
    model::{
        Channel, DailyPublication, Dataset, DatasetSpec, ErrorReason, Field, HistoryMethod,
        Measure, QueryMethod, RequestLimit, field,
    },
    providers::vendor::{
        Applications, BaseUrl, ConfigKey, DEFAULT_MAX_AGE, IdCheck, KeyKind, ListCost, Publication,
        Remedies, Vendor,
    },
};

/// The numbers of single messages.
pub(super) const MESSAGES: Dataset = Dataset::new(&DatasetSpec {
    has_snapshots: true,
    // Days of all messages together.
    history: Some(HistoryMethod::Whole {
        reach: Duration::ZERO,
    }),
    limit: Some(RequestLimit {
        per_second: 50.0,
        counted: COUNTED,
    }),
    ..DatasetSpec::new("messages", QueryMethod::Messages { batch: 1 })
});

/// What the vendor counts together.
const COUNTED: &str = "the Alibaba Cloud account, all its applications and keys";

/// The numbers of one message or day: of pushes.
pub(super) const PUSH: &[Field] = &[
    field("AcceptCount", Measure::Accepted),
    field("SentCount", Measure::Sent),
    field("ReceivedCount", Measure::Delivered),
    field("OpenedCount", Measure::Opened),
    field("DeletedCount", Measure::Dismissed),
];

/// The same of the text messages that supplement pushes.
pub(super) const SMS: &[Field] = &[
    field("SmsSentCount", Measure::Sent),
    field("SmsReceiveSuccessCount", Measure::Delivered),
    field("SmsSkipCount", Measure::Skipped),
    field("SmsFailedCount", Measure::Errors(ErrorReason::SendFailed)),
    field(
        "SmsReceiveFailedCount",
        Measure::Errors(ErrorReason::Undelivered),
    ),
];

/// The product counts days in Beijing time, which has no daylight saving.
pub(super) const BEIJING: DailyPublication = DailyPublication {
    utc_offset: SignedDuration::from_hours(8),
    complete_at: Duration::from_secs(6 * 3600),
};

/// The declaration.
pub(crate) static VENDOR: Vendor = Vendor {
    name: "alibaba_push",
    title: "Alibaba Cloud",
    short_title: "Alibaba",
    product: "Alibaba Cloud Mobile Push",
    summary: "accepted, sent, received, opened, and supplementary text messages",
    documentation: "https://help.aliyun.com/en/document_detail/2249932.html",
    sample: include_str!("sample.yaml"),
    base_url: BaseUrl::Default("https://cloudpush.aliyuncs.com"),
    max_age: DEFAULT_MAX_AGE,
    max_age_reason: "",
    credentials: &[&[
        ConfigKey::secret("access_key_id", ""),
        ConfigKey::secret("access_key_secret", ""),
    ]],
    optional_credentials: &[
        ConfigKey::secret("security_token", "only with temporary credentials."),
        ConfigKey {
            kind: KeyKind::Word(&["v3", "v1"]),
            default: "v3",
            ..ConfigKey::secret(
                "signature",
                "ACS3-HMAC-SHA256 in headers, or the older HMAC-SHA1 in the query.",
            )
        },
    ],
    applications: Applications::Several {
        id: "AppKey",
        check: Some(IdCheck {
            is_id: |id| id.bytes().all(|byte| byte.is_ascii_digit()),
            what: "an AppKey, which is a number",
        }),
    },
    keys: &[],
    datasets: &[MESSAGES],
    channels: &[
        Channel {
            name: "push",
            fields: PUSH,
        },
        Channel {
            name: "sms",
            fields: SMS,
        },
    ],
    publication: Publication::Daily(BEIJING),
    can_list: true,
    list_cost: Some(ListCost {
        per_page: 100,
        window: Duration::from_secs(30 * 86_400),
        margin: Duration::from_secs(15 * 60),
        limit: Some(RequestLimit {
            per_second: 10.0,
            counted: COUNTED,
        }),
    }),
    family_fields: &[],
    measure_notes: &[],
    remedies: Remedies {
        credentials: "Check the clock of this machine too: signed requests are refused when it is \
                      wrong by more than 15 minutes.",
        ..Remedies::NONE
    },
    build: |parts| Arc::new(AlibabaPush::new(parts.http, &parts.options)),
};
