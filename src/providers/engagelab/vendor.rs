//! What EngageLab AppPush is to the rest of the program.

use std::{sync::Arc, time::Duration};

use super::{BATCH, Engagelab};
use crate::{
    model::{
        Channel, Dataset, DatasetSpec, HistoryMethod,
        Measure::{Delivered, Displayed, Opened, Sent, Targeted},
        QueryCost, QueryMethod, RequestLimit, field,
    },
    providers::vendor::{
        Applications, BaseUrl, ConfigKey, KeyKind, NoReceipts, Publication, Remedies, Vendor,
    },
};

/// The numbers of single messages.
pub(super) const MESSAGES: Dataset = Dataset::new(&DatasetSpec {
    has_snapshots: true,
    limit: LIMIT,
    ..DatasetSpec::new("messages", QueryMethod::Messages { batch: BATCH })
});

/// The vendor's limit.
const LIMIT: Option<RequestLimit> = Some(RequestLimit {
    per_second: 500.0,
    counted: "the AppKey, with all that the application sends",
});

/// Users of an application.
pub(super) const USERS: Dataset = Dataset::new(&DatasetSpec {
    interval: Some(Duration::from_secs(3600)),
    history: Some(HistoryMethod::Whole {
        reach: Duration::ZERO,
    }),
    // Hours, days and months.
    requests: QueryCost {
        each_query: 3.0,
        messages_per_request: None,
    },
    limit: LIMIT,
    ..DatasetSpec::new("users", QueryMethod::Whole)
});

/// The status of single messages on test devices.
pub(super) const LIFECYCLE: Dataset = Dataset::new(&DatasetSpec {
    is_default: false,
    interval: Some(Duration::from_secs(5 * 60)),
    needs_key: Some((CANARIES, "the registration ids of test devices")),
    limit: LIMIT,
    ..DatasetSpec::new("lifecycle", QueryMethod::Messages { batch: 1 })
});

/// The key of the test devices. They name devices, and are never shown.
pub(super) const CANARIES: &str = "canaries";

/// The declaration.
pub(crate) static VENDOR: Vendor = Vendor {
    name: "engagelab",
    title: "EngageLab",
    short_title: "EngageLab",
    product: "EngageLab AppPush",
    summary: "each message, its message types, and every vendor channel (FCM, Huawei, Xiaomi, OPPO, vivo, APNs, …)",
    documentation: "https://www.engagelab.com/docs/app-push/rest-api/statistics-api",
    sample: include_str!("sample.yaml"),
    base_url: BaseUrl::Required(
        "this vendor has one address per data centre, such as https://pushapi-sgp.engagelab.com",
    ),
    // The vendor refuses ids that are 30 days old, so the last query has to come before.
    max_age: Duration::from_secs(29 * 86_400),
    max_age_reason: "whose API refuses older ids",
    credentials: &[&[
        ConfigKey::secret("app_key", ""),
        ConfigKey::secret("master_secret", ""),
    ]],
    optional_credentials: &[],
    applications: Applications::One,
    keys: &[ConfigKey {
        name: CANARIES,
        kind: KeyKind::Secrets { item: "a canary" },
        default: "",
        help: "the registration ids of test devices whose status is followed for each message, for `collect: [lifecycle]`.",
        lack: Some("has no lifecycle of devices"),
    }],
    datasets: &[MESSAGES, USERS, LIFECYCLE],
    channels: &[Channel {
        name: "push",
        fields: &[
            field("targets", Targeted),
            field("sent", Sent),
            field("delivered", Delivered),
            field("impressions", Displayed),
            field("clicks", Opened),
        ],
    }],
    publication: Publication::Continuous,
    can_list: false,
    list_cost: None,
    family_fields: &[
        ("breakdown", "leaves under sub"),
        ("types", "objects under sub"),
        ("delivery_app_users_new", "new"),
        ("delivery_app_users_active", "active"),
        ("delivery_app_users_online", "online"),
        (
            "delivery_canary_devices",
            "lifecycle status; error for a device that the vendor answers with an error",
        ),
    ],
    measure_notes: &[],
    remedies: Remedies {
        no_receipts: &[NoReceipts {
            platforms: &["ios"],
            vendor_channels: &["huawei", "meizu"],
            why: "no receipts: EngageLab learns of deliveries through iOS, Huawei and Meizu only with a \
                  callback that you set up in its console and in the app",
        }],
        ..Remedies::NONE
    },
    build: |parts| Arc::new(Engagelab::new(parts.http, &parts.options)),
};
